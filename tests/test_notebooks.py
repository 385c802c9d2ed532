"""The notebooks as a reader meets them: clean, short cells, prose around pictures, and they run."""

import ast
import errno
import importlib
import os
import re
import shutil
import subprocess
import sys

import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pandas as pd
import papermill
import pytest
import torch
from conftest import ROOT
from IPython.display import DisplayHandle
from PIL import Image
from test_grocery import clone
from test_pretrained import LOOK, Net

from hmlc_core import PRESETS, Settings, files
from hmlc_core.data import pretrained
from study import own_data, plan, published, results, work

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
PER_DATASET = ("03", "04")
LONGEST = 12  # lines of a code cell outside function definitions and calls that span lines
each = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def cells_of(path, kind="code"):
    return [cell for cell in nbformat.read(path, 4).cells if cell.cell_type == kind]


def colab_cell(path):
    tagged = [cell for cell in cells_of(path) if "colab" in cell.metadata.get("tags", [])]
    return tagged[0].source


def own_code(path):
    """Sources of the code cells but the one for Colab."""
    return [cell.source for cell in cells_of(path) if "colab" not in cell.metadata.get("tags", [])]


@each
def test_notebooks_are_clean(path):
    code = cells_of(path)
    assert code[-1].source == "results.provenance()"
    first = nbformat.read(path, 4).cells[0]
    assert first.cell_type == "markdown" and first.source.startswith("# ")


@each
def test_outputs_are_of_the_sources_and_hold_nothing_of_a_machine(path):
    notebook = nbformat.read(path, 4)
    assert not published.faults(notebook)
    assert path.stat().st_size < published.MOST_BYTES


@each
def test_numbered_notebooks_have_the_parameters_of_run_all(path):
    names = set(papermill.inspect_notebook(str(path)))
    if not path.stem[0].isdigit():
        assert "profile" in names
        return
    more = {"dataset", "jobs"} if path.name[:2] in PER_DATASET else set()
    assert names == {"profile", "extras"} | more


@each
def test_cells_are_short(path):
    """Statements, not lines: a call may span several."""
    for source in own_code(path):
        tree = ast.parse(source)
        statements = sum(isinstance(node, ast.stmt) for node in ast.walk(tree))
        inside = sum(
            sum(isinstance(node, ast.stmt) for node in ast.walk(function)) - 1
            for function in tree.body
            if isinstance(function, ast.FunctionDef)
        )
        imports = sum(isinstance(node, ast.Import | ast.ImportFrom) for node in tree.body)
        assert statements - inside - imports <= LONGEST, source


@each
def test_there_is_prose_before_and_after_each_picture(path):
    cells = nbformat.read(path, 4).cells
    for before, cell, after in zip(cells, cells[1:], cells[2:]):
        draws = re.search(r"figures\.(save|image_grid|mean_image|values_by_level)\(", cell.source)
        if cell.cell_type == "code" and draws and "def draw" not in cell.source:
            assert before.cell_type == after.cell_type == "markdown", cell.source
            assert not after.source.startswith("#"), after.source  # a sentence on what was seen


@each
def test_everything_imported_is_there(path):
    for source in own_code(path):
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.ImportFrom):
                module = importlib.import_module(node.module)
                for alias in node.names:
                    if not hasattr(module, alias.name):
                        importlib.import_module(f"{node.module}.{alias.name}")


@each
def test_everything_called_of_a_module_is_there(path):
    """figures.x, tables.y and so on, also in branches that a run may not reach."""
    modules = {}
    for source in own_code(path):
        tree = ast.parse(source)
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module in ("study", "hmlc_core"):
                for alias in node.names:
                    thing = getattr(importlib.import_module(node.module), alias.name, None)
                    if thing is None:
                        thing = importlib.import_module(f"{node.module}.{alias.name}")
                    if type(thing) is type(ast):
                        modules[alias.name] = thing
            elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                module = modules.get(node.value.id)
                assert module is None or hasattr(module, node.attr), f"{node.value.id}.{node.attr}"


def test_notebook_02_displays_the_mathematics_of_the_methods():
    path = ROOT / "notebooks" / "02_masks_and_losses.ipynb"
    text = "\n".join(cell.source for cell in cells_of(path, "markdown"))
    displayed = re.findall(r"\$\$(.+?)\$\$", text, re.S)
    for symbol in (r"\mathcal{N}", r"\pi_h", r"\sigma_h^2", "M_{hd}", r"\mathrm{softmax}", "b_l"):
        assert any(symbol in formula for formula in displayed), symbol


def test_notebook_03_shows_the_step_in_six_lines():
    sources = own_code(ROOT / "notebooks" / "03_pretrain.ipynb")
    (loop,) = [source for source in sources if "backward" in source]
    body = next(node for node in ast.parse(loop).body if isinstance(node, ast.For)).body
    assert len(body) == 8  # zero_grad, the six, print
    order = ["source.views(", "net(", "gmm_masks", "masked_hierarchical_loss", "backward", "step()"]
    places = [loop.index(word) for word in order]
    assert places == sorted(places)


def run_cells(name, monkeypatch, **parameters):
    """Run a notebook's code in this process with these parameters; returns its variables."""
    path = ROOT / "notebooks" / f"{name}.ipynb"
    assert set(parameters) <= set(papermill.inspect_notebook(str(path)))
    monkeypatch.chdir(path.parent)
    monkeypatch.setenv("TQDM_DISABLE", "1")
    variables = {}
    for cell in cells_of(path):
        tree = ast.parse(cell.source.rstrip().removesuffix(";"))
        exec(compile(tree, name, "exec"), variables)
        if "parameters" in cell.metadata.get("tags", []):
            variables |= parameters
    plt.close("all")
    return variables


@pytest.fixture
def pictures(tmp_path):
    """A folder of 2 x 3 classes with eight pictures each."""
    rng = np.random.default_rng(0)
    for number in range(6):
        folder = tmp_path / "pictures" / f"kind{number % 2}" / f"class{number}"
        folder.mkdir(parents=True)
        for k in range(8):
            pixels = rng.integers(0, 60, (24, 24, 3)) + 30 * number
            Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{k}.png")
    return tmp_path / "pictures"


def run_own_data(folder, monkeypatch, **choice):
    """Run the notebook on a folder with little training, from scratch unless chosen otherwise."""
    changes = {"epochs": 1, "dim": 8, "batch_size": 16}
    usual = {"pretrained": "", "size": 24, "methods": ["cross_entropy", "g_hmlc"]}
    choice = usual | {"path": str(folder), "changes": changes} | choice
    return run_cells("your_own_data", monkeypatch, **choice)


def test_your_own_data_runs_from_a_folder_to_a_report(pictures, monkeypatch, capsys):
    shown = []
    monkeypatch.setattr(DisplayHandle, "update", lambda self, said: shown.append(said.data))
    monkeypatch.setattr(DisplayHandle, "display", lambda *given: shown.append(given[1].data))
    methods = ["cross_entropy", "split", "g_hmlc"]
    made = run_own_data(pictures, monkeypatch, methods=methods, new_files=str(pictures))
    assert made["settings"].epochs == 1 and made["settings"].canvas == 24
    assert {seed for _, seed in made["runs"]} == {0, 1, 2}  # they take little
    names = ["cross-entropy", "control: split", "G-HMLC", "largest class"]
    assert list(made["table"].index) == names
    assert list(made["table"].columns) == made["dataset"].level_names
    for method in methods:
        assert made["points"][method].shape == (len(made["many"]), 2)
        level = made["test"].level_names[0]
        text = made["captions"][method, level]
        assert text == f"{made['table'].loc[made['figures'].method_name(method), level]} % linear"
    assert (files.DATA / "results" / "own-pictures.csv").exists()
    said, folder = capsys.readouterr().out, files.FIGURES / "own-pictures"
    assert "wall time" in said and "From scratch, as you asked" in said and "A rough guess" in said
    for name in ("report.html", "explorer.html", "predictions.csv", "map_1.png", "masks.png"):
        assert (folder / name).exists() and (name[-3:] == "png" or str(folder / name) in said)
    assert len(pd.read_csv(folder / "predictions.csv")) == 48
    assert "Nothing yet" in shown[0] and made["verdicts"][0] in shown[1]  # the result, on top
    assert made["verdicts"][0] in (folder / "report.html").read_text()


def as_systems_leave_it(root):
    """Copies, and what phones, Macs, Windows and zips leave beside pictures."""
    for path in sorted(root.rglob("*.png")):
        path.with_stem(f"{path.stem} (1)").write_bytes(path.read_bytes())
        path.with_name(f"._{path.name}").write_bytes(b"\0\5\x16\7")
    for name in ("Thumbs.db", "desktop.ini", "IMG_1.HEIC", "IMG_1.MOV"):
        (path.parent / name).write_bytes(b"x")
    (root / "__MACOSX" / "kind0").mkdir(parents=True)
    (root / "__MACOSX" / "kind0" / "0.png").write_bytes(path.read_bytes())


def as_excel_writes_it(root):
    """A table with semicolons, a BOM, an empty row, blanks, backslashes and a summary column."""
    lines = ["sep=;", "Bild;Art ;Klasse;Anmerkung"]
    for path in sorted(root.glob("kind*/*/[!.]*.png")):
        kind, name = path.parent.relative_to(root).parts
        lines.append(f"{kind}\\{name}\\{path.name}; {kind};{name} ;")
    table = root / "Mappe1.csv"
    table.write_text("\r\n".join([*lines, ";;;"]), encoding="utf-8-sig")
    return table


@pytest.mark.parametrize("table", [False, True], ids=["folder", "table"])
def test_your_own_data_goes_through_as_systems_and_excel_leave_it(pictures, table, monkeypatch):
    as_systems_leave_it(pictures)
    made = run_own_data(as_excel_writes_it(pictures) if table else pictures, monkeypatch, seeds=[0])
    train, test = made["train"], made["test"]
    assert train.class_counts == [2, 6] and len(train) + len(test) == 96
    seen = {image.tobytes() for image in train.images}
    assert len(test) >= 12 and not any(image.tobytes() in seen for image in test.images)
    assert (files.FIGURES / made["folder"] / "report.html").exists()


@pytest.fixture
def tiny_net(monkeypatch):
    """A net in the place of timm's."""
    monkeypatch.setattr(pretrained, "version", lambda name: "0")
    monkeypatch.setattr(pretrained, "build", lambda name: (Net(), LOOK))


@pytest.mark.parametrize("name", ["03_pretrain", "04_linear_evaluation", "07_claims"])
def test_notebooks_go_through_on_a_pretrained_encoder(name, tiny_net, tmp_path, monkeypatch):
    monkeypatch.setenv("HMLC_DATA", str(tmp_path))
    clone(tmp_path)
    planned = [one for one in plan.planned_runs("cpu", ["grocery"], "grocery")
               if one.seed == 0 and one.label in ("raw", "shared", "g_hmlc", "a_hmlc")]  # fmt: skip
    assert {one.settings.encoder for one in planned} == {"adapter", "untouched"}
    monkeypatch.setattr(plan, "planned_runs", lambda *asked: planned)
    asked = {} if name == "07_claims" else {"dataset": "grocery", "jobs": 1}
    monkeypatch.setattr(work, "jobs_here", lambda jobs=None: 1)
    made = run_cells(name, monkeypatch, profile="cpu", extras=["grocery"], **asked)
    if name == "03_pretrain":
        assert made["views"].shape == (15, 2, 12) and made["features"] == 512
    else:
        rows = results.read(results.path("cpu"))
        assert set(rows.dataset) == {"grocery"} and {"shared", "g_hmlc"} <= set(rows.method)


def test_your_own_data_goes_the_pretrained_way_where_it_can(
    pictures, tiny_net, monkeypatch, capsys
):
    monkeypatch.setattr(own_data, "_stay_offline_without_a_network", lambda: None)
    made = run_own_data(pictures, monkeypatch, pretrained="tiny", methods=["split"], size=None)
    assert made["settings"].pretrained == "tiny" and made["settings"].encoder == "adapter"
    assert made["dataset"].images.shape[1] == 224
    assert list(made["table"].index) == ["raw features", "control: split", "largest class"]
    assert "The pretrained way, because" in capsys.readouterr().out


def test_your_own_data_induces_a_level_above_flat_labels(pictures, monkeypatch):
    flat = pictures.with_name("flat")
    flat.mkdir()
    for place in sorted(pictures.glob("*/*")):
        place.rename(flat / place.name)
    made = run_own_data(flat, monkeypatch, groups=2, methods=["split"], seeds=[0])
    assert made["test"].level_names == ["induced level", "level 1"]
    assert "±" not in made["table"].to_string() and (files.FIGURES / "own-flat").is_dir()


def test_your_own_data_hands_on_how_to_read(pictures, monkeypatch):
    with pytest.raises(TypeError, match="unexpected keyword argument 'hue'"):
        run_own_data(pictures, monkeypatch, reading={"hue": 1})


def test_your_own_data_asks_for_a_path(monkeypatch):
    with pytest.raises(ValueError, match="set `path` in the cell above"):
        run_cells("your_own_data", monkeypatch)


def test_explorer_writes_its_page(monkeypatch, capsys):
    choice = {"profile": "smoke", "methods": ["split", "hmce_paper"], "samples": 60}
    monkeypatch.setattr(files, "WORK", files.DATA.parent)
    made = run_cells("explorer", monkeypatch, **choice)
    assert set(made["points"]) == {"split", "hmce_paper"} and set(made["masks"]) == {"split"}
    assert len(made["test"]) == 60
    page = files.FIGURES / "smoke" / "explorer_hierarchical_mnist.html"
    assert page.read_text() == made["page"]
    assert "figures/smoke/explorer_hierarchical_mnist.html" in capsys.readouterr().out


def test_settings_for_own_data_follow_the_number_of_samples():
    small, large = (own_data.own_settings(n, 32) for n in (60, 60_000))
    assert isinstance(small, Settings)
    assert small.batch_size == 8 and large.batch_size == PRESETS["cpu"]["modelnet"].batch_size
    assert small.epochs == 60 and large.epochs == 3 and own_data.own_settings(6000, 32).epochs == 10
    assert small.canvas == 32 and small.train_size == 60
    assert own_data.own_settings(60, 32, epochs=2, batch_size=16).epochs == 2
    assert own_data.own_settings(60, 32, "gpu").encoder == "resnet18"
    assert own_data.own_settings(60, 32, "gpu").optimizer == "adamw"
    with pytest.raises(ValueError, match="unknown profile 'huge'"):
        own_data.own_settings(60, 32, "huge")
    with pytest.raises(ValueError, match="Settings has no 'epoch': did you mean epochs?"):
        own_data.own_settings(60, 32, epoch=2)


def test_guesses_are_the_shares_of_the_largest_training_class(dataset):
    labels = np.stack([np.repeat([0, 1, 2], [50, 30, 16]), np.full(96, -1)], 1)
    dataset.labels = labels
    share, unknown = own_data.guesses(dataset, dataset)
    assert share == pytest.approx(50 / 96) and np.isnan(unknown)


def test_every_notebook_has_the_same_colab_cell_which_does_nothing_elsewhere():
    assert len({colab_cell(path) for path in NOTEBOOKS}) == 1
    for path in NOTEBOOKS:
        (cell,) = [c for c in cells_of(path) if "colab" in c.metadata.get("tags", [])]
        assert cell.metadata["cellView"] == "form"  # folds away
        assert cells_of(path)[0] is not cell and cells_of(path)[0].source == cell.source
    before = dict(os.environ), os.getcwd(), list(sys.path)
    exec(colab_cell(NOTEBOOKS[0]), {})
    assert (dict(os.environ), os.getcwd(), list(sys.path)) == before


COLAB = """
import importlib.util
import os, subprocess, sys, types

names = ("google", "google.colab", "google.colab.drive")
google, colab, drive = (types.ModuleType(name) for name in names)
google.colab, colab.drive = colab, drive
drive.mount = lambda path: os.makedirs(path, exist_ok=True)
sys.modules |= dict(zip(names, (google, colab, drive)))
commands, run, find = [], subprocess.run, importlib.util.find_spec


def recorded(words, **more):
    commands.append(words)
    return run(words, **more) if words[0] == "git" else None


subprocess.run = recorded
importlib.util.find_spec = lambda name, *more: None if name == "embreex" else find(name, *more)
exec(open("cell.py").read())
print(commands[-1], os.getcwd())
"""


def test_colab_cell_fetches_installs_what_is_missing_and_keeps_runs_on_drive(tmp_path):
    content = tmp_path / "content"
    content.mkdir()
    cell = colab_cell(NOTEBOOKS[0]).replace("/content", str(content))
    cell = cell.replace("keep_on_drive = False", "keep_on_drive = True")
    kept = content / "drive" / "MyDrive" / "hmlc" / "runs" / "a"
    kept.mkdir(parents=True)
    torch.save("trained", kept / "checkpoint.pt")
    (tmp_path / "simulated.py").write_text(COLAB)
    for source in ("", str(ROOT)):
        filled = cell.replace('repository = ""', f'repository = "{source}"')
        (tmp_path / "cell.py").write_text(filled)
        command = [sys.executable, "simulated.py"]
        ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        if not source:
            assert "give the address of the git repository" in ended.stderr
    assert ended.returncode == 0, ended.stderr
    assert "installing embreex\n" in ended.stdout and "--constraint" in ended.stdout
    wanted = ended.stdout.split("--constraint")[1].split("]")[0].replace(str(tmp_path), "")
    assert "torch" not in wanted
    assert torch.load(content / "hmlc" / "data" / "runs" / "a" / "checkpoint.pt") == "trained"


@pytest.fixture
def on_colab(tmp_path, monkeypatch):
    """The module, a machine's folder with a run and results, and a Drive."""
    colab = importlib.import_module("colab")
    monkeypatch.setattr(colab, "ROOT", tmp_path / "here")
    run = tmp_path / "here" / "data" / "runs" / "a"
    run.mkdir(parents=True)
    for name in ("checkpoint.pt", "outputs-1.pt", ".half.pt"):
        torch.save("first", run / name)
    (run / "config.json").write_text("{}")
    (run.parent / "snapshots" / "a").mkdir(parents=True)
    (tmp_path / "drive").mkdir()
    results.add([row_of_results("here")], tmp_path / "here" / "data" / "results" / "gpu.csv")
    return colab, tmp_path / "here" / "data", tmp_path / "drive"


def row_of_results(method):
    row = dict.fromkeys(results.COLUMNS, "x") | {"method": method, "seed": 0}
    return row | {"value": 0.5, "seconds": 1.0}


def methods_in(folder):
    return set(results.read(folder / "results" / "gpu.csv").method)


def test_what_is_new_goes_to_drive_and_comes_back_in_the_next_session(on_colab):
    colab, here, drive = on_colab
    results.add([row_of_results("before")], drive / "hmlc" / "results" / "gpu.csv")
    colab.copy_to(drive)
    kept = drive / "hmlc" / "runs" / "a"
    assert sorted(path.name for path in kept.iterdir()) == ["checkpoint.pt", "config.json"]
    assert methods_in(drive / "hmlc") == {"here", "before"}

    torch.save("second", here / "runs" / "a" / "checkpoint.pt")
    os.utime(here / "runs" / "a" / "checkpoint.pt", (2e9, 2e9))
    colab.copy_to(drive)
    assert torch.load(kept / "checkpoint.pt") == "second"
    written = {path: path.stat().st_ino for path in drive.rglob("*")}
    os.utime(kept / "checkpoint.pt", (2e9, 2e9 - 0.5))  # Drive's times are coarser
    colab.copy_to(drive)  # nothing is new: Drive's bin gets nothing
    assert {path: path.stat().st_ino for path in drive.rglob("*")} == written

    shutil.rmtree(here)
    results.add([row_of_results("new machine")], here / "results" / "gpu.csv")
    colab.bring_from(drive)
    assert torch.load(here / "runs" / "a" / "checkpoint.pt") == "second"
    assert methods_in(here) == {"here", "before", "new machine"}


def test_a_full_drive_is_said_and_tried_again(on_colab, monkeypatch, capsys):
    colab, here, drive = on_colab
    real, waits = shutil.copy2, []

    def full(source, target):
        if not waits:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(source, target)

    def wait(seconds):
        waits.append(seconds)
        if len(waits) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(colab.shutil, "copy2", full)
    monkeypatch.setattr(colab.time, "sleep", wait)
    with pytest.raises(KeyboardInterrupt):
        colab._keep_copying(drive)
    said = capsys.readouterr().out
    assert said.count("not all is on Drive") == 1 and "No space left" in said
    assert "in 10 minutes" in said and waits == [600, 600]
    kept = drive / "hmlc" / "runs" / "a" / "checkpoint.pt"
    assert torch.load(kept) == "first"

    kept.write_bytes(kept.read_bytes()[:-100])  # sent in part
    os.utime(kept, (2e9, 2e9))
    for name, half in (("config.json", '{"seed": '), ("evaluation-1.csv", "dataset,meth")):
        (kept.parent / name).write_text(half)
        os.utime(kept.parent / name, (2e9, 2e9))
    colab.bring_from(drive)
    assert torch.load(here / "runs" / "a" / "checkpoint.pt") == "first"
    assert (here / "runs" / "a" / "config.json").read_text() == "{}"
    assert capsys.readouterr().out.count("is not whole, and left out") == 3


def test_one_file_that_cannot_be_copied_does_not_keep_the_others(on_colab, monkeypatch):
    colab, here, drive = on_colab
    torch.save("b", here / "runs" / "a" / "b.pt")
    real = shutil.copy2

    def refuse(source, target):
        if source.name == "checkpoint.pt":
            raise OSError(errno.EIO, "Input/output error")
        return real(source, target)

    monkeypatch.setattr(colab.shutil, "copy2", refuse)
    with pytest.raises(OSError, match="Input/output error"):
        colab.copy_to(drive)
    there = {path.name for path in (drive / "hmlc" / "runs" / "a").iterdir()}
    assert there == {"b.pt", "config.json"}


def test_half_a_file_of_results_on_drive_is_named_and_stays(on_colab):
    colab, here, drive = on_colab
    results.add([row_of_results("before")], drive / "hmlc" / "results" / "gpu.csv")
    with open(drive / "hmlc" / "results" / "gpu.csv", "a") as file:
        file.write("x,cut,x,x,0,0.")
    before = (drive / "hmlc" / "results" / "gpu.csv").read_bytes()
    for copy in (colab.copy_to, colab.bring_from, colab.keep_on):
        with pytest.raises(ValueError, match=r"hmlc/results/gpu.csv, line 3: .* Delete this line"):
            copy(drive)
    assert (drive / "hmlc" / "results" / "gpu.csv").read_bytes() == before
    assert (drive / "hmlc" / "runs" / "a" / "checkpoint.pt").exists()  # the rest is copied


def test_where_drive_is_not_mounted_any_more_nothing_is_written(on_colab, monkeypatch, capsys):
    colab, here, drive = on_colab
    drive.rmdir()

    def wait(seconds):
        raise KeyboardInterrupt

    monkeypatch.setattr(colab.time, "sleep", wait)
    with pytest.raises(KeyboardInterrupt):
        colab._keep_copying(drive)
    assert not drive.exists()
    assert "is not there, so nothing is copied" in capsys.readouterr().out


def test_what_colab_has_keeps_its_version(monkeypatch):
    colab = importlib.import_module("colab")
    versions = {"torch": "2.11.0", "numpy": "2.1.0"}

    def version(name):
        if name not in versions:
            raise colab.PackageNotFoundError(name)
        return versions[name]

    monkeypatch.setattr(colab, "version", version)
    assert colab.pins() == ["torch==2.11.0", "numpy==2.1.0"]
    assert set(colab.missing()) <= set(colab.NEEDED)
