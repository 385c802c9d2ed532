"""run_all.sh as a user meets it: options at once, the cache, Ctrl-C, what is missing."""

import functools
import http.server
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest
from conftest import ROOT
from papermill.exceptions import PapermillExecutionError

import run
from hmlc_core import files, load_dataset
from study import check, options, plan, results, work

PARTS = ("hmlc_core", "notebooks", "data/reference", "figures/paper.mplstyle", "environment.sh")
PARTS += ("run_all.sh", "pyproject.toml")
NUMBERED = [path.name for path in options.NOTEBOOKS]


def copy_project(target):
    for name in PARTS:
        source = ROOT / name
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            skip = shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints")
            shutil.copytree(source, target / name, ignore=skip)
        else:
            shutil.copy(source, target / name)


def start(project, *words, **environment):
    kept = {k: v for k, v in os.environ.items() if k not in ("HMLC_DATA", "HMLC_ROOT")}
    kept |= {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", **environment}
    command = ["bash", str(project / "run_all.sh"), *words]
    return subprocess.Popen(
        command, env=kept, cwd=project.parent, text=True, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # of a background job
    )  # fmt: skip


def run_all(project, *words, **environment):
    process = start(project, *words, **environment)
    process.out, process.err = process.communicate(timeout=900)
    return process


@pytest.fixture(scope="session")
def project(tmp_path_factory):
    """A copy of the project, so that runs write nothing into this one."""
    copy = tmp_path_factory.mktemp("somewhere") / "project"
    copy_project(copy)
    return copy


@pytest.fixture(scope="session")
def work_folder(tmp_path_factory):
    return tmp_path_factory.mktemp("work")


@pytest.fixture(scope="session")
def first_run(project, work_folder):
    return run_all(project, "--profile", "smoke", "--check", HMLC_ROOT=str(work_folder))


def test_smoke_run_agrees_with_its_reference(first_run):
    assert first_run.returncode == 0, first_run.out[-3000:] + first_run.err[-3000:]
    assert re.search(r"numbers of 6 runs in smoke.csv, .* 0 differ, 0 missing", first_run.out)


def test_smoke_run_makes_every_figure_and_table_where_it_was_told_to(
    project, work_folder, first_run
):
    made = {path.name for path in (work_folder / "figures" / "smoke").iterdir()}
    figures = ("fig1_pairs", "fig2_architecture", "fig3_hierarchical_mnist", "fig4_tsne", "masks")
    figures += ("fig4_tsne_wide", "learning_curves", "linear_accuracy", "claim_a_hmlc")
    figures += ("claim_control_g_hmlc", "mask_usage", "number_of_levels")
    assert {f"{name}.{kind}" for name in figures for kind in ("png", "pdf")} <= made
    tables = ("table1_hierarchical_mnist", "table2_variance", "verdicts", "times", "claims")
    assert {f"{name}.md" for name in tables} <= made
    page = (work_folder / "figures" / "smoke" / "README.md").read_text()
    assert "![fig4_tsne](fig4_tsne.png)" in page and "A-HMLC above G-HMLC" in page
    assert not (project / "data" / "runs").exists() and not (project / "figures" / "smoke").exists()


def test_output_of_a_good_run(first_run):
    out, err = first_run.out, first_run.err
    assert "Profile smoke: 6 training runs, 6 of them new" in out
    assert f"[7/7] {NUMBERED[-1][:-6]}" in out and "elapsed, about" in out
    assert "IPKernelApp" not in out + err and "Traceback" not in out + err
    assert len((out + err).splitlines()) < 150


def test_executed_notebooks_end_with_provenance_and_hold_no_warnings(work_folder, first_run):
    executed = sorted((work_folder / "data" / "executed").glob("*.ipynb"))
    assert [path.name for path in executed] == [f"smoke-{name}" for name in NUMBERED]
    for path in executed:
        outputs = [o for cell in nbformat.read(path, 4).cells for o in cell.get("outputs", [])]
        assert "wall time" in "".join(o.get("text", "") for o in outputs[-3:])
        bad = [o for o in outputs if o.output_type == "error" or "Warning" in o.get("text", "")]
        assert not bad, path.name


def test_second_run_comes_from_the_cache_and_gives_the_same_numbers(
    project, work_folder, first_run
):
    csv = work_folder / "data" / "results" / "smoke.csv"
    before = csv.read_text()
    runs = (work_folder / "data" / "runs").rglob("checkpoint.pt")
    stamps = {path: path.stat().st_mtime_ns for path in runs}
    words = ("--profile", "smoke", "--only", "3,4")
    again = run_all(project, *words, HMLC_ROOT=str(work_folder))
    assert again.returncode == 0, again.err[-3000:]
    assert "6 training runs, 0 of them new" in again.out
    assert again.out.count("from cache: hierarchical_mnist") == 6
    assert "[1/2] 03_pretrain" in again.out and "[2/2] 04_linear_evaluation" in again.out
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps
    assert csv.read_text() == before


def test_failing_notebook_stops_with_its_name_cell_and_error(tmp_path):
    parameters = nbformat.v4.new_code_cell("profile = 'cpu'", metadata={"tags": ["parameters"]})
    notebook = nbformat.v4.new_notebook(cells=[parameters])
    notebook.cells.append(nbformat.v4.new_code_cell("raise KeyError('planted')"))
    notebook.metadata.kernelspec = {"name": "python3", "language": "python", "display_name": "p"}
    path = tmp_path / "06_broken.ipynb"
    nbformat.write(notebook, path)
    with pytest.raises(SystemExit) as stopped:
        run.run_notebook(path, {"profile": "smoke"}, None)
    words = str(stopped.value)
    assert re.search(r"06_broken.ipynb failed in cell \d+:\nKeyError: 'planted'", words)
    assert "run again to go on" in words


def test_ctrl_c_ends_in_one_line_and_running_again_goes_on(project, tmp_path):
    words = ("--profile", "smoke", "--only", "03", "--jobs", "1")
    process = start(project, *words, HMLC_ROOT=str(tmp_path))
    lines = []
    for line in process.stdout:
        lines.append(line)
        if "1/6 " in line:
            os.killpg(process.pid, signal.SIGINT)
            break
    out, err = process.communicate(timeout=60)
    assert process.returncode not in (0, None)
    assert "Traceback" not in out + err
    assert err.strip().splitlines()[-1].startswith("Stopped. What is finished is kept: run again")
    again = run_all(project, *words, HMLC_ROOT=str(tmp_path))
    assert again.returncode == 0 and "from cache: hierarchical_mnist" in again.out


def test_ctrl_c_is_one_line_whatever_the_dying_kernel_has_logged(project, tmp_path):
    """Whether the kernel is found dead before the stop gets through is a matter of chance."""
    late = """
    import logging, os, signal, time, run

    def carry_out(args):
        try:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(60)
        except KeyboardInterrupt:
            for name in ("asyncio", "traitlets", "papermill"):
                logging.getLogger(name).critical("Kernel died")
            raise

    run.carry_out = carry_out
    run.main(["--profile", "smoke"])
    """
    command = [sys.executable, "-c", textwrap.dedent(late)]
    where = {**os.environ, "PYTHONPATH": str(project / "notebooks"), "HMLC_ROOT": str(tmp_path)}
    ended = subprocess.run(command, env=where, text=True, capture_output=True, timeout=120)
    assert (ended.stdout, ended.stderr.strip()) == ("", f"Stopped. {run.GO_ON}")


def test_ctrl_c_while_it_starts_is_one_line(project, tmp_path):
    """Sent while a module is imported that takes its time."""
    slow = "import time\nprint('imported', flush=True)\ntime.sleep(60)\n"
    (tmp_path / "papermill.py").write_text(slow)
    words = {"HMLC_ROOT": str(tmp_path / "work"), "PYTHONPATH": str(tmp_path)}
    process = start(project, "--profile", "smoke", **words)
    assert process.stdout.readline() == "imported\n"
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode not in (0, None)
    assert err.strip() == f"Stopped. {run.GO_ON}"


SLOW = """
import signal, subprocess, sys, time
if __name__ == "__main__":
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(30)"])
    print("working", flush=True)
    time.sleep(30)
"""


@pytest.mark.parametrize("step", ["python -m venv", "python -m pip install"])
def test_ctrl_c_while_packages_are_installed_is_one_line(step, tmp_path):
    """Sent to a process of Python that has started another, as venv and pip do."""
    for name in ("environment.sh", "run_all.sh", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "notebooks/study").mkdir(parents=True)
    shutil.copy(ROOT / "notebooks/study/options.py", tmp_path / "notebooks/study")
    for package in ("venv", "pip"):
        (tmp_path / f"{package}.py").write_text(SLOW if package in step else "")
    if "pip" in step:
        (tmp_path / ".venv/bin").mkdir(parents=True)
        (tmp_path / ".venv/bin/python").symlink_to(sys.executable)
    shell = "source environment.sh; has_packages() { false; }; install_torch() { :; }; "
    process = subprocess.Popen(
        ["bash", "-c", shell + "install_packages"], cwd=tmp_path, text=True, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    assert process.stdout.readline().startswith("Installing")
    assert process.stdout.readline() == "working\n"
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=20)  # ends once no part of it writes any more
    assert (process.returncode, out, err) == (130, "", f"Stopped. {run.GO_ON}\n")


def test_an_environment_of_somebody_else_is_not_deleted(tmp_path):
    shutil.copy(ROOT / "environment.sh", tmp_path)
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv/mine").touch()
    command = ["bash", "-c", "source environment.sh; make_venv python3"]
    ended = subprocess.run(command, cwd=tmp_path, text=True, capture_output=True)
    assert ended.returncode == 1 and ".venv is not of this script" in ended.stderr
    assert (tmp_path / ".venv/mine").exists()


# ------------------------------------------------------------ options, before anything is installed


@pytest.fixture
def bare(tmp_path):
    """A PATH on which Python has the standard library alone."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "python").write_text(f'#!/bin/sh\nexec "{sys.executable}" -I -S "$@"\n')
    (folder / "python").chmod(0o755)
    return f"{folder}:/usr/bin:/bin"


WRONG = [
    (["--jobs", "0"], "'0' is no whole number of at least 1"),
    (["--jobs", "two"], "'two' is no whole number of at least 1"),
    (["--jobs", "1.5"], "'1.5' is no whole number"),
    (["--profile", "huge"], "invalid choice"),
    (["--only", "99"], "--only: 99; choose from 01, 02"),
    (["--only", ""], "--only: no name at all"),
    (["--with", "cifar"], "--with: cifar; choose from baselines"),
    (["--with", "all,cifar"], "--with: cifar;"),
    (["--with", ","], "--with: no name at all"),
    (["--fresh", "--only", "6"], "--fresh deletes trained runs"),
    (["--check", "--profile", "paper"], "no reference of profile paper"),
    (["--frsh"], "unrecognized"),
]


@pytest.mark.parametrize("words, message", WRONG)
def test_wrong_options_are_answered_before_anything_is_installed(words, message, bare, tmp_path):
    copy_project(tmp_path / "project")
    ended = run_all(tmp_path / "project", *words, PATH=bare)
    assert ended.returncode == 2 and message in ended.err and "Installing" not in ended.out
    assert not (tmp_path / "project" / ".venv").exists()


def test_help_is_answered_before_anything_is_installed_and_fits_a_screen(bare, tmp_path):
    copy_project(tmp_path / "project")
    ended = run_all(tmp_path / "project", "--help", PATH=bare)
    assert ended.returncode == 0 and "Installing" not in ended.out
    assert "--check" in ended.out and len(ended.out.splitlines()) <= 32
    assert not (tmp_path / "project" / ".venv").exists()


def test_a_folder_that_cannot_be_written_is_named_before_anything_is_installed(bare, tmp_path):
    copy_project(tmp_path / "project")
    (tmp_path / "file").write_text("")
    ended = run_all(tmp_path / "project", PATH=bare, HMLC_ROOT="~nobody.here/x")
    assert "$HMLC_ROOT is ~nobody.here/x: " in ended.err and "Traceback" not in ended.err
    ended = run_all(tmp_path / "project", PATH=bare, HMLC_ROOT=str(tmp_path / "file"))
    assert ended.returncode == 1 and f"cannot write into {tmp_path / 'file'}/data" in ended.err
    assert not (tmp_path / "project" / ".venv").exists()


def test_options_mean_what_they_say():
    chosen = options.parse(["--only", "3,05", "--with", "order,cifar100", "--jobs", "2"])
    assert (chosen.only, chosen.extras, chosen.jobs) == (["03", "05"], ["order", "cifar100"], 2)
    usual = options.parse([])
    assert (usual.profile, usual.only, usual.extras, usual.jobs) == (None, [], [], None)
    assert options.parse(["--with", "all"]).extras == list(options.EXTRAS)
    again = options.parse(
        ["--with", "order", "--with", "seeds, cifar100", "--only", "3", "--only", "5"]
    )
    assert (again.only, again.extras) == (["03", "05"], ["order", "seeds", "cifar100"])
    assert options.parse([]).extras == []  # nothing is kept of the call before
    assert options.parse(["--fresh", "--only", "3, 4"]).only == ["03", "04"]


def test_a_data_folder_that_is_not_there_is_named_before_anything_is_installed(bare, tmp_path):
    copy_project(tmp_path / "project")
    ended = run_all(tmp_path / "project", PATH=bare, HMLC_DATA=str(tmp_path / "nowhere"))
    assert ended.returncode == 1 and f"$HMLC_DATA is {tmp_path / 'nowhere'}" in ended.err
    assert not (tmp_path / "project" / ".venv").exists()


# ------------------------------------------------------------ what is run


@pytest.fixture
def executed(monkeypatch):
    """(notebook, parameters) of what would have been run; "modelnet40" is a missing data set,
    "grocery" lacks a package."""
    ran = []
    lacking = {"modelnet40": "FileNotFoundError", "grocery": "ImportError"}

    def execute(notebook, target, parameters):
        ran.append((notebook.name[:2], parameters))
        if parameters.get("dataset") in lacking:
            name = lacking[parameters["dataset"]]
            raise PapermillExecutionError(3, 3, "", name, "put it there", [])

    monkeypatch.setattr(run, "execute", execute)
    return ran


def ended(*words):
    with pytest.raises(SystemExit) as stopped:
        run.main(list(words))
    return stopped.value.code


def test_bare_run_on_a_gpu_trains_the_main_methods_alone(monkeypatch, executed, capsys):
    monkeypatch.setattr(run.torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(work.devices, "best_device", lambda: run.torch.device("cuda"))
    monkeypatch.setattr(run.torch.cuda, "device_count", lambda: 1)
    assert ended() == 0
    assert [number for number, _ in executed] == options.numbers()
    assert all(p["profile"] == "gpu" and p["extras"] == [] for _, p in executed)
    assert "Profile gpu: 6 training runs, 6 of them new" in capsys.readouterr().out


def test_missing_data_set_is_named_the_rest_runs_and_the_exit_status_says_so(executed, capsys):
    assert (
        ended("--profile", "smoke", "--with", "modelnet40,cifar100,order", "--only", "3,4,7") == 1
    )
    order = [(number, p.get("dataset")) for number, p in executed]
    mnist = plan.MNIST
    assert order == [
        ("03", mnist), ("03", "cifar100"), ("03", "modelnet40"), ("04", mnist), ("04", "cifar100"),
        ("07", None),
    ]  # fmt: skip
    assert executed[0][1]["extras"] == ["modelnet40", "cifar100", "order"]
    assert executed[-1][1]["extras"] == ["cifar100", "order"]
    assert "NOT RUN: modelnet40. put it there" in capsys.readouterr().out


def test_without_the_package_for_a_data_set_the_rest_runs(executed, capsys):
    assert ended("--profile", "smoke", "--with", "grocery,cifar100", "--only", "3,7") == 1
    order = [(number, p.get("dataset")) for number, p in executed]
    assert order == [("03", plan.MNIST), ("03", "cifar100"), ("03", "grocery"), ("07", None)]
    assert executed[-1][1]["extras"] == ["cifar100"]
    assert "NOT RUN: grocery. put it there" in capsys.readouterr().out


def test_jobs_reach_every_notebook(executed, monkeypatch, capsys):
    monkeypatch.setenv("HMLC_JOBS", "")
    assert work.jobs_here() == work.jobs_here(0) != 3
    assert ended("--profile", "smoke", "--jobs", "3") == 0
    assert os.environ["HMLC_JOBS"] == "3"  # their kernels have it
    assert work.jobs_here() == 3 and work.jobs_here(2) == 2
    assert "3 at a time" in capsys.readouterr().out


def test_unknown_papermill_parameter_is_refused():
    with pytest.raises(SystemExit, match="has no parameter epochs"):
        run.run_notebook(options.NOTEBOOKS[0], {"profile": "smoke", "epochs": 3}, None)


def test_check_without_a_reference_stops_before_the_run(executed):
    assert "no " in ended("--profile", "smoke", "--check") and not executed


def test_check_decides_the_exit_status(executed, monkeypatch):
    results.reference_path("smoke").parent.mkdir(parents=True)
    results.reference_path("smoke").write_text("")
    asked = []
    for answer in (0, 1):
        monkeypatch.setattr(check, "check", lambda *given, a=answer: asked.append(given) or a)
        assert ended("--profile", "smoke", "--check", "--only", "06") == answer
    assert asked[0] == ("smoke", plan.planned_runs("smoke"))


def test_ctrl_c_is_one_line(executed, monkeypatch, capsys):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "execute", interrupt)
    assert ended("--profile", "smoke") == 130
    assert capsys.readouterr().err == f"\nStopped. {run.GO_ON}\n"


def test_the_rest_is_at_the_pace_of_what_is_done():
    assert run.seconds_left(0, [10, 20, 30], 0) == 60
    assert run.seconds_left(2, [1, 1000], 1) < 1100  # a pace of seconds says little
    assert run.seconds_left(2000, [1000, 300], 1) == pytest.approx(600, rel=0.05)


def test_runs_that_are_there_do_not_enter_the_guess(monkeypatch):
    plans = plan.planned_runs("cpu")
    monkeypatch.setenv("HMLC_JOBS", "2")
    left = work.seconds_to_end(plans)
    two_at_a_time = run.guess("03", plan.MNIST, plans, left)
    monkeypatch.setenv("HMLC_JOBS", "1")
    whole = run.guess("03", plan.MNIST, plans, left)
    assert whole > two_at_a_time > run.guess("03", "cifar100", plans, left)
    third = run.guess("03", plan.MNIST, plans, work.seconds_to_end(plans[: len(plans) // 3]))
    fixed = run.guess("03", plan.MNIST, [], {}) + 0.5 * len(plans)
    assert third - fixed == pytest.approx((whole - fixed) / 3)


def test_a_run_is_guessed_in_the_notebook_that_trains_it_first(monkeypatch):
    monkeypatch.setattr(work, "jobs_here", lambda: 1)
    plans = plan.planned_runs("gpu")
    steps = run.planned_steps([], plans)
    left = work.seconds_to_end(plans)
    of = dict(zip((run.number_of(path) for path, _ in steps), run.guesses_of(steps, plans, left)))
    one = work.seconds_of(plans[0])
    assert of["02"] - run.SECONDS["02"] == pytest.approx(3 * one)  # no weights fit this profile
    assert of["03"] - run.SECONDS["03"] == pytest.approx(3 * one + 6 * run.SECONDS_PER_RUN["03"])
    alone = run.planned_steps(["03"], plans)
    assert run.guesses_of(alone, plans, left)[0] == pytest.approx(of["03"] + 3 * one)
    plans = plan.planned_runs("cpu")  # weights come with it
    left = work.seconds_to_end(plans)
    assert run.guesses_of(steps, plans, left)[1] == run.SECONDS["02"]

    def damaged(path):
        raise ValueError(f"{path} is no whole weight file")

    monkeypatch.setattr(work, "read_card", damaged)  # the notebook says so, not the announcement
    assert run.guesses_of(steps, plans, left)[1] > run.SECONDS["02"]


def test_notebook_02_looks_at_the_methods_that_are_booked_on_it():
    cells = (ROOT / "notebooks" / "02_masks_and_losses.ipynb").read_text()
    assert json.dumps(f"keys = {run.IN_02}")[1:-1].replace("'", '\\"') in cells


def test_a_profile_for_gpus_says_where_there_is_none(capsys, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    for profile, said in (("gpu", True), ("cpu", False)):
        run.announce(SimpleNamespace(profile=profile), 6, 6, 60)
        assert ("WITHOUT A GPU" in capsys.readouterr().out) == said


def test_fresh_deletes_this_job_alone(executed, capsys):
    mnist = load_dataset(plan.MNIST, "smoke", "train").fingerprint

    def make(one, data=mnist):
        folder = files.DATA / "runs" / f"{one.dataset}-{one.method}-seed{one.seed}-{data[:4]}"
        folder.mkdir(parents=True)
        config = {"data set": one.dataset, "method": one.method, "seed": one.seed, "data": data}
        (folder / "config.json").write_text(json.dumps(config | one.settings.of_training()))
        return folder

    ours = [make(one) for one in plan.planned_runs("smoke")]
    others = [
        make(plan.planned_runs("cpu", ["cifar100"])[-1]),
        make(plan.planned_runs("smoke")[0], "x"),
    ]
    rows = [dict(dataset=plan.MNIST, method="split", level="central", metric="m", seed=s, value=0.5)
            for s in (0, 5)]  # fmt: skip
    results.add(rows, results.path("smoke"))
    own = files.DATA / "runs" / "own-split-seed0-0123"
    own.mkdir()
    cache = files.DATA / "cache" / "a.npz"
    cache.write_text("")
    assert ended("--profile", "smoke", "--fresh") == 0
    assert not any(folder.exists() for folder in ours)
    assert all(folder.exists() for folder in others) and own.exists() and cache.exists()
    assert "--fresh: deleted 6 runs, 1 rows" in capsys.readouterr().out
    assert results.read(results.path("smoke")).seed.tolist() == [5]


# ------------------------------------------------------------ installing torch


@pytest.fixture
def install(tmp_path):
    """Calls install_torch with a pip that writes down its words; returns (output, words)."""

    def call(address, kept=""):
        place = tmp_path / "place"
        (place / ".venv" / "bin").mkdir(parents=True)
        (place / ".venv" / "keep.txt").write_text(kept)
        python = place / ".venv" / "bin" / "python"
        note, real = 'echo "$@" >> said', f'exec "{sys.executable}" "$@"'
        python.write_text(f'#!/bin/sh\nif [ "$1" = -m ]; then {note}; else {real}; fi\n')
        python.chmod(0o755)
        shutil.copy(ROOT / "environment.sh", place)
        (place / "nvidia-smi").write_text("#!/bin/sh\nexit 1\n")
        (place / "nvidia-smi").chmod(0o755)
        script = f"source ./environment.sh; CPU_TORCH={address}; install_torch"
        path = f"{place}:{Path(sys.executable).parent}:{os.environ['PATH']}"
        environment = {**os.environ, "PATH": path, "no_proxy": "*"}
        done = subprocess.run(
            ["bash", "-c", script], cwd=place, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        said = place / "said"
        return done.stdout, said.read_text() if said.exists() else ""

    return call


def test_without_a_gpu_the_small_torch_is_installed(install, tmp_path):
    (tmp_path / "served" / "torch").mkdir(parents=True)
    handler = functools.partial(
        http.server.SimpleHTTPRequestHandler, directory=str(tmp_path / "served")
    )
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    out, words = install(address)
    server.shutdown()
    assert f"--index-url {address} torch torchvision" in words and "200 MB" in out


def test_where_its_index_cannot_be_had_that_is_said_within_seconds(install):
    start = time.monotonic()
    out, words = install("http://127.0.0.1:9")
    assert words == "" and "cannot be had" in out and "3 GB" in out
    assert time.monotonic() - start < 10


def test_a_torch_that_is_there_is_kept(install):
    assert install("http://127.0.0.1:9", "torch==2.9.0\n") == ("", "")
