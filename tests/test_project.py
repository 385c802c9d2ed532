"""The notebooks and scripts as a user meets them, and the files that must say the same thing."""
import importlib.util
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import papermill
import pytest
import scipy
from papermill.exceptions import PapermillExecutionError

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
NUMBERED = sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))
TABLES = ROOT / "notebooks" / "06_tables.ipynb"

spec = importlib.util.spec_from_file_location("run", ROOT / "notebooks" / "run.py")
run = importlib.util.module_from_spec(spec)
spec.loader.exec_module(run)


@pytest.fixture(scope="session")
def workspace(tmp_path_factory):
    """A copy of the project, so that runs write nothing into this one."""
    copy = tmp_path_factory.mktemp("project")
    tracked = [p for name in ("hmlc_core", "notebooks", "data/reference", "figures/paper.mplstyle", "environment.sh", "run_all.sh",
                              "pyproject.toml") for p in ([ROOT / name] if (ROOT / name).is_file() else (ROOT / name).rglob("*.*"))]
    for path in tracked:
        if "__pycache__" not in path.parts and ".ipynb_checkpoints" not in path.parts:
            target = copy / path.relative_to(ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    return copy


def run_all(workspace, *words):
    environment = {k: v for k, v in os.environ.items() if k not in ("HMLC_DATA", "MPLBACKEND")}
    environment |= {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    return subprocess.run(["bash", "run_all.sh", "--profile", "smoke", *words], cwd=workspace, env=environment,
                          capture_output=True, text=True, timeout=900)


@pytest.fixture(scope="session")
def first_run(workspace):
    return run_all(workspace, "--with", "baselines,order,ablation")


def test_smoke_run_regenerates_every_figure_and_table(workspace, first_run):
    assert first_run.returncode == 0, first_run.stdout[-3000:] + first_run.stderr[-3000:]
    made = {p.name for p in (workspace / "figures" / "smoke").iterdir()}
    figures = ["fig1_pairs", "fig2_architecture", "fig3_hierarchical_mnist", "fig4_tsne", "fig4_tsne_wide", "masks",
               "learning_curves", "linear_accuracy", "finding_mnist"]
    tables = ["table1_hierarchical_mnist", "table1_more_hierarchical_mnist", "table2_variance", "table3_order", "verdicts", "times"]
    claims = {name for name in made if name.startswith(("claim_", "claims.", "information_of_parts", "mask_", "number_of_levels"))}
    assert {"claims.md", "claim_order.png", "claim_control_g_hmlc.pdf", "mask_usage.png", "number_of_levels.png",
            "information_of_parts_hierarchical_mnist.png"} <= claims
    assert made - claims == {f"{n}.{k}" for n in figures for k in ("pdf", "png")} | {f"{n}.{k}" for n in tables for k in ("csv", "md")} | {"README.md"}
    page = (workspace / "figures" / "smoke" / "README.md").read_text()
    assert "![fig4_tsne](fig4_tsne.png)" in page and "A-HMLC above G-HMLC" in page
    assert "[7/7] 07_claims" in first_run.stdout and "elapsed" in first_run.stdout and "left" in first_run.stdout
    table = (workspace / "figures" / "smoke" / "table1_hierarchical_mnist.md").read_text()
    for name in ("G-HMLC", "A-HMLC", "HMCE (paper)", "cross-entropy", "seeds 0, 1"):
        assert name in table


def test_second_run_uses_the_cache_and_gives_the_same_numbers(workspace, first_run):
    before = (workspace / "data" / "results" / "smoke.csv").read_text()
    stamps = {p: p.stat().st_mtime_ns for p in (workspace / "data" / "runs").rglob("checkpoint.pt")}
    again = run_all(workspace, "--only", "03,04", "--with", "baselines,order,ablation")
    assert again.returncode == 0, again.stderr[-3000:]
    assert {p: p.stat().st_mtime_ns for p in (workspace / "data" / "runs").rglob("checkpoint.pt")} == stamps
    assert (workspace / "data" / "results" / "smoke.csv").read_text() == before


def test_executed_notebooks_end_with_provenance_and_hold_no_warnings(workspace, first_run):
    executed = sorted((workspace / "data" / "executed").glob("*.ipynb"))
    assert [p.name for p in executed] == [f"smoke-{n.name}" for n in NUMBERED]
    for path in executed:
        outputs = [o for cell in nbformat.read(path, 4).cells for o in cell.get("outputs", [])]
        assert "wall time" in outputs[-1]["text"]
        assert not [o for o in outputs if o.output_type == "error" or "Warning" in o.get("text", "")], path.name


def test_failing_notebook_stops_with_its_name_cell_and_error(workspace, first_run):
    notebook = nbformat.read(TABLES, 4)
    notebook.cells.insert(3, nbformat.v4.new_code_cell("raise KeyError('planted')"))
    broken = workspace / "notebooks" / TABLES.name
    kept = broken.read_bytes()
    nbformat.write(notebook, broken)
    found = run_all(workspace, "--only", "06")
    broken.write_bytes(kept)
    assert found.returncode != 0
    assert re.search(r"06_tables.ipynb failed in cell \d+:\s+KeyError: 'planted'", found.stderr)


@pytest.mark.parametrize("words, message", [(["--profile", "huge"], "invalid choice"), (["--only", "99"], "unknown: 99"),
                                            (["--with", "cifar"], "unknown: cifar"), (["--frsh"], "unrecognized")])
def test_unknown_options_are_refused(words, message, capsys):
    with pytest.raises(SystemExit) as stopped:
        run.parse(words)
    assert stopped.value.code == 2 and message in capsys.readouterr().err


def test_unknown_papermill_parameter_is_refused():
    with pytest.raises(SystemExit, match="has no parameter epochs"):
        run.execute(NOTEBOOKS[0], {"profile": "smoke", "epochs": 3}, None, 1)


def test_data_set_that_cannot_be_had_is_said_at_the_end_and_the_rest_runs(monkeypatch, capsys):
    ran = []

    def execute(notebook, parameters, dataset, jobs):
        ran.append((notebook.name[:2], dataset))
        if dataset == "cifar100":
            raise PapermillExecutionError(3, 3, "", "FileNotFoundError", "put it there", [])

    monkeypatch.setattr(run, "execute", execute)
    monkeypatch.setattr(sys, "argv", ["run_all.sh", "--profile", "smoke", "--with", "cifar100,modelnet10", "--only", "03,04,06"])
    run.main()
    assert ran == [("03", "hierarchical_mnist"), ("03", "cifar100"), ("03", "modelnet10"), ("04", "hierarchical_mnist"),
                   ("04", "modelnet10"), ("06", None)]
    assert "NOT RUN: cifar100. put it there" in capsys.readouterr().out


def test_help_fits_a_screen(capsys):
    with pytest.raises(SystemExit):
        run.parse(["--help"])
    assert len(capsys.readouterr().out.splitlines()) <= 24


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_notebooks_are_clean(path):
    notebook = nbformat.read(path, 4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert not any(cell.outputs or cell.execution_count for cell in code)
    if path in NUMBERED:
        more = {"dataset", "jobs"} if path.name[:2] in run.PER_DATASET else set()
        assert set(papermill.inspect_notebook(str(path))) == {"profile", "extras"} | more
    assert "results.provenance()" in code[-1].source
    assert notebook.cells[0].cell_type == "markdown" and notebook.cells[0].source.startswith("# ")


def test_environment_yml_names_the_dependencies_of_pyproject():
    ours = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    names = {"opentsne": "openTSNE", "pytorch": "torch"}
    theirs = re.findall(r"^  - ([\w-]+)(>=.*)$", (ROOT / "environment.yml").read_text(), re.M)
    assert sorted(names.get(n, n) + v for n, v in theirs if n != "python") == sorted(ours)
    assert dict(theirs)["python"] == tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]


def test_lock_satisfies_the_dependencies():
    from packaging.requirements import Requirement
    lock = dict(re.findall(r"^([\w.-]+)==(\S+)$", (ROOT / "requirements.lock").read_text(), re.M))
    lock = {name.lower().replace("_", "-"): version for name, version in lock.items()}
    for text in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]:
        requirement = Requirement(text)
        assert requirement.specifier.contains(lock[requirement.name.lower()]), text


def test_reference_holds_the_planned_runs_from_committed_code():
    from hmlc_core import profiles, results
    reference = results.read(ROOT / "data" / "reference" / "cpu.csv")
    label = lambda p: (p.dataset, profiles.run_label(p.method, p.profile, p.dataset), p.seed)
    have = set(zip(reference.dataset, reference.method, reference.seed))
    assert {label(p) for p in profiles.planned_runs("cpu")} <= have
    assert have <= {label(p) for p in profiles.planned_runs("cpu", list(profiles.EXTRAS))}
    assert not reference[["device", "data_source", "torch", "commit", "config_hash"]].isna().any().any()
    repeats = results.read(ROOT / "data" / "reference" / "cpu_repeats.csv")
    assert set(repeats.dataset) == {"hierarchical_mnist"} and set(repeats.method) <= set(reference.method)
    assert not pd.concat([reference, repeats]).commit.str.endswith("+").any()


@pytest.mark.parametrize("profile", ["smoke", "cpu", "gpu"])
def test_planned_runs_are_told_apart_by_their_labels(profile):
    from hmlc_core import profiles
    plans = profiles.planned_runs(profile, list(profiles.EXTRAS))
    labels = [(plan.dataset, profiles.run_label(plan.method, plan.profile, plan.dataset), plan.seed) for plan in plans]
    assert len(set(labels)) == len(labels) > 200
    for name in ("hierarchical_mnist", "cifar100", "modelnet10", "modelnet40"):
        assert profiles.planned_runs(profile, list(profiles.EXTRAS), name)
    assert sum(len(profiles.planned_runs(profile, list(profiles.EXTRAS), name)) for name in ("hierarchical_mnist", *profiles.TABLE1)) == len(plans)


def test_check_without_a_reference_stops_before_the_run(monkeypatch):
    monkeypatch.setattr("sys.argv", ["run_all.sh", "--profile", "smoke", "--check"])
    with pytest.raises(SystemExit, match="no .*smoke.csv to compare with"):
        run.main()


def test_check_says_what_it_does_not_compare(capsys):
    from hmlc_core import results
    rows = lambda dataset, source: [dict.fromkeys(results.COLUMNS, "x") | dict(dataset=dataset, data_source=source, level="a", seed=seed, value=0.5, seconds=1.0)
                                    for seed in range(2)]
    results.add(rows("same", "here") + rows("other", "here") + rows("new", "here"), results.path("cpu"))
    results.add(rows("same", "here") + rows("other", "elsewhere"), results.reference_path("cpu"))
    assert run.check("cpu") == 0
    assert capsys.readouterr().out.strip().endswith("source: new, other")


def test_readme_tables_are_those_of_the_reference(workspace):
    made = run_all(workspace, "--profile", "cpu", "--only", "06")
    assert made.returncode == 0, made.stderr[-3000:]
    tables = "\n".join(path.read_text() for path in (workspace / "figures" / "cpu").glob("*.md")).replace(" *(recorded)*", "")
    text = (ROOT / "README.md").read_text() + (ROOT / "RESULTS.md").read_text()
    rows = [line for line in text.splitlines() if line.startswith("|") and ("±" in line or line.startswith(("| CIFAR-100 |", "| ModelNet10 |")))]
    claims = [line for line in rows if line.startswith("| **")]
    assert len(rows) > 100 and len(claims) == 5
    for row in set(rows) - set(claims):
        assert row in tables, row


def intervals(values, signed=False):
    """Texts of mean and interval over the seeds that each column of [seeds, columns] has."""
    from hmlc_core import results
    count = np.isfinite(values).sum(0)
    half = scipy.stats.t.ppf(0.975, count - 1) * np.nanstd(values, 0, ddof=1) / np.sqrt(count)
    return {results.percent(mean, width, signed) for mean, width in zip(np.nanmean(values, 0), half)}


def test_numbers_in_the_text_are_those_of_the_reference():
    from hmlc_core import results
    frame, repeats = (results.read(ROOT / "data" / "reference" / f"{name}.csv") for name in ("cpu", "cpu_repeats"))
    known = {results.percent(*results.mean_and_interval(values)) for _, values in repeats.groupby(["commit", "method", "level", "metric"]).value}
    frame = frame[frame.metric.isin(["linear_accuracy", "tail_accuracy", "explained_variance", "effective_rank", "tice", "fpa"]) | frame.metric.str.startswith("bits_of_part")]
    for (_, _, metric), group in frame.groupby(["dataset", "level", "metric"]):
        table = group.pivot_table(index="seed", columns="method", values="value") / (100 if metric == "effective_rank" or metric.startswith("bits") else 1)
        values = table.loc[:, table.count() > 1].to_numpy()
        known |= intervals(values).union(*(intervals(values - column[:, None], signed=True) for column in values.T))
    swapped, given = (frame[(frame.dataset == name) & (frame.metric == "linear_accuracy")].set_index(["method", "level", "seed"]).value
                      for name in ("hierarchical_mnist_swapped", "hierarchical_mnist"))
    known |= {results.percent(*results.mean_and_interval(change), signed=True) for _, change in (swapped - given).dropna().groupby(["method", "level"])}
    text = "\n".join(line for name in ("README.md", "RESULTS.md") for line in (ROOT / name).read_text().splitlines()
                     if not line.startswith("|") or line.startswith("| **"))
    said = [number.replace("−", "-") for number in re.findall(r"[+−-]?\d+\.\d ± \d+\.\d", text)]
    assert len(said) > 10 and not set(said) - known


def test_readme_examples_run_and_its_pictures_are_there():
    text = (ROOT / "README.md").read_text()
    for block in re.findall(r"```python\n(.*?)```", text, re.S):
        exec(block, {"__name__": "__main__"})
    for link in re.findall(r"\]\(([^)h#][^)]*)\)", text):
        assert (ROOT / link.partition("#")[0]).exists(), link


def colab_cell(notebook):
    return next(cell.source for cell in nbformat.read(notebook, 4).cells if "colab" in cell.metadata.get("tags", []))


def test_every_notebook_has_the_same_colab_cell_which_does_nothing_elsewhere():
    assert len({colab_cell(path) for path in NOTEBOOKS}) == 1
    before = dict(os.environ), os.getcwd(), list(sys.path)
    exec(colab_cell(NOTEBOOKS[0]), {})
    assert (dict(os.environ), os.getcwd(), list(sys.path)) == before


COLAB = """
import os, subprocess, sys, types
google, colab, drive = (types.ModuleType(name) for name in ("google", "google.colab", "google.colab.drive"))
google.colab, colab.drive, drive.mount = colab, drive, os.makedirs
sys.modules |= {{"google": google, "google.colab": colab, "google.colab.drive": drive}}
commands = []
real, subprocess.run = subprocess.run, lambda words, **more: commands.append(words) or (real(words, **more) if words[0] == "git" else None)
import importlib.util
find, importlib.util.find_spec = importlib.util.find_spec, lambda name, *more: None if name == "embreex" else find(name, *more)
exec(open("cell.py").read())
print(commands[-1], "\\n", open(commands[-1][5]).read() if os.path.exists(commands[-1][5]) else "", os.getcwd())
"""


def test_colab_cell_fetches_installs_what_is_missing_and_keeps_runs_on_drive(tmp_path):
    content = tmp_path / "content"
    content.mkdir()
    cell = colab_cell(NOTEBOOKS[0]).replace("/content", str(content)).replace("keep_on_drive = False", "keep_on_drive = True")
    (tmp_path / "simulated.py").write_text(COLAB.format())
    for source in ("", str(ROOT)):
        (tmp_path / "cell.py").write_text(cell.replace('repository = ""', f'repository = "{source}"'))
        ended = subprocess.run([sys.executable, "simulated.py"], cwd=tmp_path, capture_output=True, text=True)
        if not source:
            assert "give the address of the git repository" in ended.stderr
    assert ended.returncode == 0, ended.stderr
    assert "installing embreex\n" in ended.stdout and "--constraint" in ended.stdout
    assert "torch" not in ended.stdout.split("--constraint")[1].split("]")[0].replace(str(tmp_path), "")
    runs = content / "hmlc" / "data" / "runs"
    assert runs.is_symlink() and runs.resolve() == (content / "drive" / "MyDrive" / "hmlc" / "runs").resolve()
