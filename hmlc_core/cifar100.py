"""CIFAR-100: 100 classes in 20 superclasses (Krizhevsky 2009)."""
import numpy as np

from hmlc_core import downloads, files

ARCHIVE = "cifar-100-python.tar.gz"
URLS = ("https://huggingface.co/datasets/nakroy/cifar100-python/resolve/201a32345d2c6b970e1a36c582930c83e09c96d2/cifar-100-python.tar.gz",
        "https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz")
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


def download(part):
    """Images uint8 [N, 32, 32, 3], labels int64 [N, 2] (superclass, class) and the names of both; part: "train" or "test"."""
    from torchvision.datasets import CIFAR100
    folder = next((f for f in files.data_folders() if (f / "cifar-100-python").exists() or (f / ARCHIVE).exists()), None)
    if folder is None:
        folder = files.DATA
        downloads.fetch(ARCHIVE, URLS, SHA256)
    stored = CIFAR100(folder, train=part == "train", download=True)      # unpacks the archive that lies there; needs no network
    return stored.data, *hierarchy(np.array(stored.targets), stored.classes)


def hierarchy(fine, class_names):
    """Labels [N, 2] and class names of both levels, from fine labels [N] and their names."""
    parents = {name: k for k, names in enumerate(SUPERCLASSES.values()) for name in names.split()}
    coarse = np.array([parents[name] for name in class_names])[fine]
    return np.stack([coarse, fine], 1), [list(SUPERCLASSES), list(class_names)]
