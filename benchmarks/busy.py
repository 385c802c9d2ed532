"""Two runs with one thread each, as run_all.sh trains on two cores, alone and while two busy loops
take the cores: seconds of an epoch."""

import statistics
import subprocess
import sys
import tempfile
from dataclasses import replace

import torch
from common import ROOT  # finds hmlc_core

from hmlc_core import load_dataset, preset, pretrain

LOOP = [sys.executable, "-c", "while True: pass"]


def epoch_seconds(seed):
    """Of G-HMLC on hierarchical MNIST, without the first epoch, which warms up."""
    torch.set_num_threads(1)
    settings = replace(preset("cpu"), epochs=3)
    data = load_dataset("hierarchical_mnist", settings, "train")
    with tempfile.TemporaryDirectory() as folder:
        run = pretrain(data, "g_hmlc", settings, seed, folder=folder, progress=False)
    return statistics.mean(epoch["seconds"] for epoch in run.history[1:])


def two_runs():
    words = [sys.executable, f"{ROOT}/benchmarks/busy.py"]
    runs = [subprocess.Popen([*words, seed], stdout=subprocess.PIPE, text=True) for seed in "01"]
    return statistics.mean(float(run.communicate()[0]) for run in runs)


def main():
    alone = two_runs()
    loops = [subprocess.Popen(LOOP) for _ in range(2)]
    try:
        beside = two_runs()
    finally:
        for loop in loops:
            loop.kill()
    print(f"{alone:.2f} s alone, {beside:.2f} s beside two busy loops: {beside / alone:.2f} times")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(epoch_seconds(int(sys.argv[1])))
    else:
        main()
