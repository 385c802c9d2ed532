"""Cost curves: the loss against batch size, levels and dimensions; a step against processes.

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
    """{axis label: {line: {x: function}}}."""
    split, shared = masks.split_masks, masks.shared_masks
    return {
        "samples (two views, two levels)": {
            "hmlc": {n: ours(n, 2, split) for n in SAMPLES},
            "pytorch-metric-learning": {n: theirs(n, 2) for n in SAMPLES},
        },
        "levels (1,024 samples)": {
            "a mask per level": {n: ours(1024, n, split) for n in LEVELS},
            "embedding shared": {n: ours(1024, n, shared) for n in LEVELS},
        },
        "dimensions D (1,024 samples)": {"hmlc": {n: ours(1024, 2, split, n) for n in DIMS}},
    }


def draw_panel(axis, label, lines, reference):
    """Ratios of the median times to `reference` seconds, on logarithmic axes."""
    ways = {(line, n): way for line, at in lines.items() for n, way in at.items()}
    seconds = median_seconds(ways, rounds=5)
    for line, at in lines.items():
        ratios = [seconds[line, n] / reference for n in at]
        print(label, line, {n: round(ratio, 2) for n, ratio in zip(at, ratios)}, flush=True)
        axis.plot(list(at), ratios, marker="o", ms=3, label=line)
    axis.set(xlabel=label, xscale="log", yscale="log")
    axis.set_xticks(list(at), list(at))
    axis.tick_params(axis="x", which="minor", bottom=False, labelbottom=False)
    axis.legend()


def main():
    reference = median_seconds({"": ours(1024, 2, masks.split_masks)})[""]
    figure, axes = plt.subplots(1, 4, figsize=(13, 2.8), layout="constrained")
    for axis, (label, lines) in zip(axes, panels().items()):
        draw_panel(axis, label, lines, reference)
    seconds = shared_steps()
    ratios = [seconds[count] / seconds[1] for count in PROCESSES]
    print("processes, one thread each", dict(zip(PROCESSES, ratios)))
    axes[-1].plot(PROCESSES, ratios, marker="o", ms=3)
    axes[-1].set(xlabel="processes (one thread each)", xticks=PROCESSES, ylim=(0, None))
    axes[-1].set_ylabel("time of a training step /\nthat of one process")
    axes[0].set_ylabel("time of the loss / that of hmlc\nwith 1,024 samples, two levels, D = 128")
    figures.save(figure, "cost_curves", "cpu")


if __name__ == "__main__":
    main()
