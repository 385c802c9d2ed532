"""CIFAR-100: 100 classes in 20 superclasses (Krizhevsky 2009)."""

import tarfile

import numpy as np

from hmlc_core import files
from hmlc_core.data import data_folders, downloads
from hmlc_core.data.dataset import HierarchicalDataset

ARCHIVE = "cifar-100-python.tar.gz"
URLS = (
    "https://huggingface.co/datasets/nakroy/cifar100-python/resolve/"
    "201a32345d2c6b970e1a36c582930c83e09c96d2/cifar-100-python.tar.gz",
    "https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",
)
SHA256 = "85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7"

SUPERCLASSES = {
    "aquatic_mammals": "beaver dolphin otter seal whale",
    "fish": "aquarium_fish flatfish ray shark trout",
    "flowers": "orchid poppy rose sunflower tulip",
    "food_containers": "bottle bowl can cup plate",
    "fruit_and_vegetables": "apple mushroom orange pear sweet_pepper",
    "household_electrical_devices": "clock keyboard lamp telephone television",
    "household_furniture": "bed chair couch table wardrobe",
    "insects": "bee beetle butterfly caterpillar cockroach",
    "large_carnivores": "bear leopard lion tiger wolf",
    "large_man-made_outdoor_things": "bridge castle house road skyscraper",
    "large_natural_outdoor_scenes": "cloud forest mountain plain sea",
    "large_omnivores_and_herbivores": "camel cattle chimpanzee elephant kangaroo",
    "medium_mammals": "fox porcupine possum raccoon skunk",
    "non-insect_invertebrates": "crab lobster snail spider worm",
    "people": "baby boy girl man woman",
    "reptiles": "crocodile dinosaur lizard snake turtle",
    "small_mammals": "hamster mouse rabbit shrew squirrel",
    "trees": "maple_tree oak_tree palm_tree pine_tree willow_tree",
    "vehicles_1": "bicycle bus motorcycle pickup_truck train",
    "vehicles_2": "lawn_mower rocket streetcar tank tractor",
}


FOLDER = "cifar-100-python"  # the archive unpacked
NAMES = ("cifar100-train.npz", "cifar100-test.npz", ARCHIVE)
NAMES += tuple(f"{FOLDER}/{part}" for part in ("train", "test", "meta"))


def stored_files(settings=None):
    """The files that a user or a download has put there."""
    places = [folder / name for folder in data_folders() for name in NAMES]
    return [path for path in places if path.exists()]


def read(part):
    """Images, labels and class names of a part as `download` gives them, and where they are from.

    In each folder that is searched, cifar100-train.npz or cifar100-test.npz go before the archive.
    """
    for folder in data_folders():
        path = folder / f"cifar100-{part}.npz"
        if path.exists():
            data = HierarchicalDataset.load(path)
            return data.images, data.labels, data.class_names, "cifar100-{train,test}.npz"
        if _has_archive(folder):
            break
    return *download(part), ARCHIVE


def download(part):
    """CIFAR-100 as it is published, downloaded unless it is there.

    Args:
        part: "train" or "test".

    Returns:
        images uint8 [N, 32, 32, 3], labels int64 [N, 2] (superclass, class), the names of both.

    Raises:
        FileNotFoundError: if it cannot be had; says which file to put where.
        ValueError: if what is there is not the CIFAR-100 that was published.
    """
    from torchvision.datasets import CIFAR100

    folder = next(filter(_has_archive, data_folders()), files.DATA)
    if not _has_archive(folder):
        downloads.fetch(ARCHIVE, URLS, SHA256)
    packed = (folder / ARCHIVE).exists()
    try:  # download=True unpacks an archive that lies there, and needs no network for that
        stored = CIFAR100(folder, train=part == "train", download=packed)
    except (RuntimeError, OSError, EOFError, tarfile.TarError) as error:
        raise ValueError(
            f"{folder} holds another {FOLDER} than the published one, or a part of it ({error}): "
            "delete it and its archive, or give your own pictures as cifar100-train.npz and "
            "cifar100-test.npz"
        ) from error
    return stored.data, *hierarchy(np.array(stored.targets), stored.classes)


def _has_archive(folder):
    return (folder / FOLDER).exists() or (folder / ARCHIVE).exists()


def hierarchy(fine, class_names):
    """Labels [N, 2] and class names of both levels, from fine labels [N] and their names."""
    parents = {name: k for k, names in enumerate(SUPERCLASSES.values()) for name in names.split()}
    coarse = np.array([parents[name] for name in class_names])[fine]
    return np.stack([coarse, fine], 1), [list(SUPERCLASSES), list(class_names)]
