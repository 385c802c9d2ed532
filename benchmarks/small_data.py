"""Does a method fail on small data? 150 generated pictures (two shapes, three colours each), the
settings of your_own_data from scratch, 20 seeds of A-HMLC and of the plain sum; test: 60 others."""

import common  # noqa: F401, puts the project on the path
import numpy as np

from hmlc_core import HierarchicalDataset, linear_evaluation, pretrain
from study.own_data import own_settings

SIDE, SEEDS = 48, range(20)
COLOURS = np.array([[200, 60, 60], [60, 160, 60], [70, 90, 210]])
NAMES = [["disc", "square"], [f"{a} {b}" for a in ("disc", "square") for b in ("r", "g", "b")]]


def generated(number, split, random):
    """Shapes at random places and sizes on noise."""
    fine = np.arange(number) % 6
    images = random.integers(0, 90, (number, SIDE, SIDE, 3))
    rows, columns = np.mgrid[:SIDE, :SIDE]
    for image, (shape, colour) in zip(images, zip(fine // 3, fine % 3)):
        (y, x), radius = random.integers(14, SIDE - 14, 2), random.integers(7, 13)
        away = np.abs([rows - y, columns - x])
        inside = (np.hypot(*away) if shape == 0 else away.max(0)) <= radius
        image[inside] = COLOURS[colour] + random.integers(-40, 40, (inside.sum(), 3))
    images = images.clip(0, 255).astype(np.uint8)
    labels = np.stack([fine // 3, fine], 1).astype(np.int64)
    return HierarchicalDataset(images, labels, ["shape", "kind"], NAMES, split, "generated")


random = np.random.default_rng(0)
train, test = (generated(n, split, random) for n, split in ((150, "train"), (60, "test")))
settings = own_settings(len(train), SIDE)
for method in ("a_hmlc", "shared"):
    accuracies = []
    for seed in SEEDS:
        run = pretrain(train, method, settings, seed, progress=False)
        rows = linear_evaluation(run, test)
        accuracies.append([row["value"] for row in rows])
    worst, middle = np.min(accuracies, 0), np.median(accuracies, 0)
    print(f"{method}: shape and kind, worst of {len(accuracies)} seeds {worst}, median {middle}")
