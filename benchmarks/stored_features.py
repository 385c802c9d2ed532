"""Seconds and memory of training an adapter on stored features of 100,000 pictures, by method.

python benchmarks/stored_features.py [pictures] [method ...]

The features are random numbers (EfficientNet-Lite0's 1,280 a view, two views), in files as a real
pass writes them; an epoch is timed.
"""

import resource
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from hmlc_core import HierarchicalDataset, preset, pretrain
from hmlc_core.data import pretrained

WIDTH, CLASSES = 1280, (10, 100, 1000)
METHODS = ("cross_entropy", "supcon", "hmce_paper", "hmce_released", "shared", "split", "heads")
METHODS += ("level_restricted", "g_hmlc", "a_hmlc")


def main(pictures=100_000, methods=METHODS):
    settings = replace(preset("cpu", "grocery"), epochs=1, stored_views=2)
    dataset = labelled(pictures)
    with tempfile.TemporaryDirectory() as folder:
        views = stored(Path(folder), pictures)
        pretrained.features = lambda dataset, settings, device, numbers: [views[k] for k in numbers]
        pretrained.folder_of = lambda *about: Path(folder)
        pretrained.depends_on = lambda *about: {}
        for method in methods:
            start = time.process_time()
            run = pretrain(dataset, method, settings, folder=folder, progress=False)
            spent = time.process_time() - start  # of all threads; others may keep cores busy
            print(
                f"{method}: {run.seconds:.0f} s an epoch by the clock, {spent:.0f} s of a core, "
                f"{peak():.1f} GiB at most so far",
                flush=True,
            )


def labelled(pictures):
    """Pictures of one pixel, which nobody looks at, with labels at three levels."""
    labels = np.arange(pictures)[:, None] % np.array(CLASSES)
    names = [[str(k) for k in range(count)] for count in CLASSES]
    images = np.zeros((pictures, 1, 1, 3), np.uint8)
    return HierarchicalDataset(images, labels, ["a", "b", "c"], names, "train")


def stored(folder, pictures):
    """The clean view and two augmented ones, float16 [pictures, WIDTH], mapped from files."""
    rng = np.random.default_rng(0)
    for number in range(3):
        part = np.lib.format.open_memmap(
            folder / f"view-{number}.npy", "w+", np.float16, (pictures, WIDTH)
        )
        for start in range(0, pictures, 4096):
            part[start : start + 4096] = rng.standard_normal(part[start : start + 4096].shape)
    return [np.load(folder / f"view-{number}.npy", mmap_mode="c") for number in range(3)]


def peak():
    """Largest memory of this process so far, in GiB, mapped pages among them."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


if __name__ == "__main__":
    words = sys.argv[1:]
    main(int(words[0]) if words else 100_000, words[1:] or METHODS)
