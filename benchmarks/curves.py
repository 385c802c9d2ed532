"""Cost curves: the loss, forward and backward, against batch size, levels and dimensions; a training step against processes. One figure.

pip install pytorch-metric-learning
"""
import os
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import torch
from common import median_seconds, new_step
from loss import ours, theirs

from hmlc_core import augment, distributed, figures, masks, profiles

SAMPLES = (64, 128, 256, 512, 1024, 2048)
LEVELS = (1, 2, 3, 4)
DIMS = (32, 64, 128, 256, 512)
PROCESSES = (1, 2)


def steps(number, count, folder, rounds=7):
    """Median seconds of a training step of one batch shared by `count` processes with one thread each; the first writes it."""
    os.environ.update(RANK=str(number), WORLD_SIZE=str(count), MASTER_ADDR="127.0.0.1", MASTER_PORT=str(29500 + count))
    torch.set_num_threads(1)
    profile = profiles.get("cpu", "cifar100")
    with distributed.group():
        step, _ = new_step("g_hmlc", profile, [20, 100])
        images = torch.randint(0, 256, (profile.batch_size, 32, 32, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
        labels = torch.stack([torch.arange(len(images)) % k for k in (20, 100)], 1)
        seconds = median_seconds({"": lambda: step(augment.two_views(distributed.share(images), profile.augmentation), labels)}, rounds)[""]
    if number == 0:
        torch.save(seconds, Path(folder) / f"{count}.pt")


def shared_steps():
    with tempfile.TemporaryDirectory() as folder:
        for count in PROCESSES:
            torch.multiprocessing.spawn(steps, (count, folder), count)
        return {count: torch.load(Path(folder) / f"{count}.pt") for count in PROCESSES}


def main():
    split, shared = masks.split_masks, masks.shared_masks
    panels = {
        "samples (two views, two levels)": {
            "hmlc": {n: ours(n, 2, split) for n in SAMPLES}, "pytorch-metric-learning": {n: theirs(n, 2) for n in SAMPLES}},
        "levels (1,024 samples)": {"a mask per level": {n: ours(1024, n, split) for n in LEVELS},
                                   "embedding shared": {n: ours(1024, n, shared) for n in LEVELS}},
        "dimensions D (1,024 samples)": {"hmlc": {n: ours(1024, 2, split, n) for n in DIMS}}}
    reference = median_seconds({"": ours(1024, 2, split)})[""]
    figure, axes = plt.subplots(1, len(panels) + 1, figsize=(13, 2.8), layout="constrained")
    for axis, (what, lines) in zip(axes, panels.items()):
        seconds = median_seconds({(line, n): way for line, ways in lines.items() for n, way in ways.items()}, rounds=5)
        for line, ways in lines.items():
            ratios = [seconds[line, n] / reference for n in ways]
            print(what, line, {n: round(ratio, 2) for n, ratio in zip(ways, ratios)}, flush=True)
            axis.plot(list(ways), ratios, marker="o", ms=3, label=line)
        axis.set(xlabel=what, ylim=(0, None)) if what.startswith("levels") else axis.set(xlabel=what, xscale="log", yscale="log")
        axis.set_xticks(list(ways), list(ways))
        axis.tick_params(axis="x", which="minor", bottom=False, labelbottom=False)
        axis.legend()
    found = shared_steps()
    print("processes, one thread each", {n: round(found[n] / found[1], 2) for n in found})
    axes[-1].plot(list(found), [found[n] / found[1] for n in found], marker="o", ms=3)
    axes[-1].set(xlabel="processes (one thread each)", ylabel="time of a training step /\nthat of one process", xticks=PROCESSES, ylim=(0, 1.2 * max(found.values()) / found[1]))
    axes[0].set_ylabel("time of the loss / that of hmlc\nwith 1,024 samples, two levels, D = 128")
    figures.save(figure, "cost_curves", "cpu")


if __name__ == "__main__":
    main()
