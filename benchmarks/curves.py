"""Cost curves: the loss against batch size, levels and dimensions. Prints what a step shared by two
processes costs.

pip install pytorch-metric-learning
"""

import os
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import torch
from common import median_seconds, new_step
from loss import ours, theirs

from hmlc_core import distributed, masks
from hmlc_core.settings import preset
from hmlc_core.views import two_views
from study import figures

SAMPLES = (64, 128, 256, 512, 1024, 2048)
LEVELS = (1, 2, 3, 4)
DIMS = (32, 64, 128, 256, 512)
PROCESSES = (1, 2)
MASKED, NO_MASKS, THEIRS = "hmlc, a mask per level", "hmlc, no masks", "pytorch-metric-learning"
COLOURS = {MASKED: "#0072B2", NO_MASKS: "#56B4E9", THEIRS: "#D55E00"}


def steps(number, count, folder, rounds=7):
    """Median seconds of a step of one batch shared by `count` processes with one thread each; the
    first writes it."""
    os.environ |= dict(RANK=str(number), WORLD_SIZE=str(count), MASTER_ADDR="127.0.0.1")
    os.environ["MASTER_PORT"] = str(29500 + count)
    torch.set_num_threads(1)
    settings = preset("cpu", "cifar100")
    generator = torch.Generator().manual_seed(0)
    shape = (settings.batch_size, 32, 32, 3)
    images = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
    labels = torch.stack([torch.arange(len(images)) % k for k in (20, 100)], 1)
    with distributed.group():
        step, _ = new_step("g_hmlc", settings, [20, 100])

        def way():
            step(two_views(distributed.share(images), settings.augmentation), labels)

        seconds = median_seconds({"": way}, rounds)[""]
    if number == 0:
        torch.save(seconds, Path(folder) / f"{count}.pt")


def shared_steps():
    """{processes: median seconds of a step}."""
    with tempfile.TemporaryDirectory() as folder:
        for count in PROCESSES:
            torch.multiprocessing.spawn(steps, (count, folder), count)
        return {count: torch.load(Path(folder) / f"{count}.pt") for count in PROCESSES}


def panels():
    """(axis label, x of the time that is 1, {line: {x: function}}) of each panel."""
    split, shared = masks.split_masks, masks.shared_masks
    samples = {MASKED: {n: ours(n, 2, split) for n in SAMPLES}}
    samples[THEIRS] = {n: theirs(n, 2) for n in SAMPLES}
    levels = {MASKED: {n: ours(1024, n, split) for n in LEVELS}}
    levels[NO_MASKS] = {n: ours(1024, n, shared) for n in LEVELS}
    yield "samples (two views, two levels)", 1024, samples
    yield "levels (1,024 samples)", 2, levels
    dims = {MASKED: {n: ours(1024, 2, split, n) for n in DIMS}}
    yield "dimensions D (1,024 samples)", 128, dims


def draw_panel(axis, label, unit, lines):
    """Ratios of the median times to that of masked levels at x = unit, on logarithmic axes."""
    ways = {(line, n): way for line, at in lines.items() for n, way in at.items()}
    seconds = median_seconds(ways, rounds=5)
    for line, at in lines.items():
        ratios = [seconds[line, n] / seconds[MASKED, unit] for n in at]
        print(label, line, {n: round(ratio, 2) for n, ratio in zip(at, ratios)}, flush=True)
        axis.plot(list(at), ratios, marker="o", ms=3, label=line, color=COLOURS[line])
    axis.axhline(1, color="0.8", lw=0.8, zorder=0)
    axis.set(xlabel=label, xscale="log", yscale="log")
    axis.set_xticks(list(at), list(at))
    axis.tick_params(axis="x", which="minor", bottom=False, labelbottom=False)
    axis.yaxis.set_major_formatter("{x:g}")


def main():
    figure, axes = plt.subplots(1, 3, figsize=(9.5, 2.8), sharey=True, layout="constrained")
    for axis, panel in zip(axes, panels()):
        draw_panel(axis, *panel)
    axes[0].set_ylabel("time / that of 1,024 samples,\ntwo masked levels, D = 128")
    named = dict(zip(*reversed(axes[0].get_legend_handles_labels())))
    named |= dict(zip(*reversed(axes[1].get_legend_handles_labels())))
    axes[-1].legend(named.values(), named, loc="center left", bbox_to_anchor=(1, 0.5))
    figures.save(figure, "cost_curves", "cpu")
    seconds = shared_steps()
    print("processes, one thread each", {n: seconds[n] / seconds[1] for n in PROCESSES})


if __name__ == "__main__":
    main()
