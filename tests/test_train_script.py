"""notebooks/train.py: one process or several train the run that pretrain then finds."""

import os
import subprocess
import sys

import pytest
from conftest import ROOT

from hmlc_core import pretrain
from study import plan

SCRIPT = str(ROOT / "notebooks" / "train.py")
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


@pytest.mark.parametrize("launcher", [[], TORCHRUN], ids=["alone", "two processes"])
def test_the_script_trains_what_pretrain_then_finds(launcher, tmp_path):
    words = [plan.MNIST, "split", "--profile", "smoke", "--seed", "1"]
    environment = {**os.environ, "HMLC_ROOT": str(tmp_path), "OMP_NUM_THREADS": "1"}
    ended = subprocess.run(
        [sys.executable, *launcher, SCRIPT, *words],
        env=environment, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr[-2000:]
    assert ended.stdout.count("split seed 1: loss") == 1
    (checkpoint,) = (tmp_path / "data" / "runs").rglob("checkpoint.pt")
    made = checkpoint.stat().st_mtime_ns
    settings, folder = plan.usual_settings("smoke", plan.MNIST, "split"), tmp_path / "data" / "runs"
    run = pretrain(plan.MNIST, "split", settings, 1, folder=folder, progress=False)
    assert run.folder == checkpoint.parent and checkpoint.stat().st_mtime_ns == made


def test_unknown_method_is_refused():
    ended = subprocess.run([sys.executable, SCRIPT, "d", "magic"], capture_output=True, text=True)
    assert ended.returncode == 2 and "invalid choice: 'magic'" in ended.stderr
