"""Every data set by name, from the cache if it was made before."""

import hashlib
import json
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from hmlc_core import files
from hmlc_core.data import cifar100, grocery, mnist, needs, stamp
from hmlc_core.data.dataset import HierarchicalDataset
from hmlc_core.settings import preset

CODE = (
    "dataset",
    "mnist",
    "cifar100",
    "modelnet",
    "meshes",
    "formats",
    "load",
    "grocery",
    "images",
)
WITH_FIT = ("train", "fit", "validation", "test")  # fit and validation are parts of train


@dataclass(frozen=True)
class Source:
    """A data set that load_dataset knows.

    Attributes:
        kind: of its settings, a key of settings.PRESETS["cpu"].
        load: function (settings, split) -> HierarchicalDataset.
        splits: their names.
        files: function (settings) -> the files it is made from that are there; replaced ones are
            read anew.
        composer: function (settings) -> mnist.Composer, or None.
    """

    kind: str
    load: Callable
    splits: tuple
    files: Callable
    composer: Callable | None = None


def _cifar100(settings, split):
    """Train (50,000) and test (10,000), or the training images as fit (45,000) and validation."""
    part = "test" if split == "test" else "train"
    images, labels, class_names, source = cifar100.read(part)
    order = np.random.default_rng(0).permutation(len(images))
    tested = split in ("test", "validation")
    limit = settings.test_size if tested else settings.train_size
    tenth = len(images) // 10
    chosen = {"fit": order[tenth:], "validation": order[:tenth]}.get(split, order)[:limit]
    names = ["superclass", "class"]
    return HierarchicalDataset(
        images[chosen], labels[chosen], names, class_names, split, "cifar100", source
    )


def _modelnet(settings, split, name):
    modelnet = _modelnet_module()
    root = modelnet.folder_of(name)
    train, test = (modelnet.rendered(root, part, settings.canvas) for part in ("train", "test"))
    source = f"{len(train[0])} + {len(test[0])} meshes of {name}"
    note = root / "SOURCE.txt"  # a user's word on where the meshes are from
    if note.exists():
        source += f", {note.read_text(errors='replace').strip()}"
    images, labels, class_names = modelnet.split(train, test, split)
    names = ["category", "object"]
    return HierarchicalDataset(images, labels, names, class_names, split, name.lower(), source)


def _modelnet_module():
    with needs("meshes"):  # here, so that nothing else needs a ray caster
        from hmlc_core.data import modelnet
    return modelnet


def _modelnet_files(settings, name):
    modelnet = _modelnet_module()
    root = modelnet.folder_of(name)
    return [*modelnet.mesh_files(root), *root.glob("SOURCE.txt")]


def _mnist_source(kind="hierarchical_mnist", **recipe):
    load, composer = partial(mnist.load, **recipe), partial(mnist.composer, **recipe)
    return Source(kind, load, mnist.SPLITS, mnist.raw_files, composer)


def _modelnet_source(name):
    load, listed = partial(_modelnet, name=name), partial(_modelnet_files, name=name)
    return Source("modelnet", load, WITH_FIT, listed)


DATASETS = {
    "hierarchical_mnist": _mnist_source(),
    "hierarchical_mnist_path": _mnist_source("hierarchical_mnist_path", labels="path"),
    "hierarchical_mnist_three": _mnist_source(subsidiaries=2),
    "hierarchical_mnist_tail10": _mnist_source(ratio=10),
    "hierarchical_mnist_tail50": _mnist_source(ratio=50),
    "cifar100": Source("cifar100", _cifar100, WITH_FIT, cifar100.stored_files),
    "modelnet10": _modelnet_source("ModelNet10"),
    "modelnet40": _modelnet_source("ModelNet40"),
    "grocery": Source("grocery", grocery.load, tuple(grocery.LISTS), grocery.stored_files),
}


def base_of(name):
    """The data set that a name such as "cifar100_swapped" is a variant of, and what is changed:
    ("cifar100", "_swapped"), or ("cifar100", "") for itself. Other names pass through."""
    for suffix in VARIANTS:
        base, change = base_of(name.removesuffix(suffix)) if name.endswith(suffix) else ("", "")
        if base in DATASETS and (suffix != "_super" or DATASETS[base].kind == "modelnet"):
            return base, change + suffix
    return name, ""


def kind_of(name):
    """The kind of settings a data set takes; names that load_dataset does not know take those of
    hierarchical MNIST."""
    base, _ = base_of(name)
    return DATASETS[base].kind if base in DATASETS else "hierarchical_mnist"


def load_dataset(name, settings="cpu", split="train"):
    """Load a data set by name, from the cache if it was made before.

    Args:
        name: one of DATASETS ("_three": a second subsidiary digit; "_tail10": a long tail, the
            smallest class a tenth of the largest); with "_swapped" behind it, the same with its
            levels in reverse order; with "_tuning", its "fit" split as "train" (if it has one) and
            its "validation" split as "test", for choosing settings; with "_super" behind
            modelnet10 or modelnet40, the same with super-categories (ours) as a third level on top.
        settings: the name of a profile, for its preset of this kind of data, or Settings, which
            are taken as they are (preset("cpu") alone is hierarchical MNIST's: 6,000 images).
        split: "train" or "test"; "validation" is for choosing settings: hierarchical MNIST's
            and grocery's are apart from "train", in the others it is a tenth of the training set
            and "fit" is the rest. No digit of hierarchical MNIST occurs in two splits.

    Raises:
        ValueError: for an unknown name or split.
        FileNotFoundError: if the data cannot be had; says which file to put where.
    """
    base, change = base_of(name)
    splits = DATASETS[base].splits if base in DATASETS else WITH_FIT
    if base not in DATASETS or split not in splits:
        raise ValueError(
            f"unknown data set {name!r} or split {split!r}: choose from {', '.join(DATASETS)} "
            f"(with {', '.join(VARIANTS)} behind it) and {', '.join(splits)}, or make a "
            "HierarchicalDataset of your own images and give it in place of the name"
        )
    settings = preset(settings, kind_of(name))
    for suffix, variant in VARIANTS.items():
        if change.endswith(suffix):
            return variant(name.removesuffix(suffix), settings, split, name)
    return _load(base, settings, split)


def _swapped(base, settings, split, name):
    dataset = load_dataset(base, settings, split)
    return dataset.with_levels(list(range(len(dataset.level_names)))[::-1], name)


def _tuning(base, settings, split, name):
    has_fit = "fit" in DATASETS[base_of(base)[0]].splits
    parts = {"train": "fit" if has_fit else "train", "test": "validation"}
    dataset = load_dataset(base, settings, parts.get(split, split))
    return replace(dataset, name=name, split=split)


def _with_super_category(base, settings, split, name):
    dataset = load_dataset(base, settings, split)
    labels, class_names = _modelnet_module().super_category(dataset.labels, dataset.class_names)
    names = ["super-category", *dataset.level_names]
    return replace(dataset, labels=labels, class_names=class_names, name=name, level_names=names)


VARIANTS = {"_swapped": _swapped, "_tuning": _tuning, "_super": _with_super_category}


def _load(name, settings, split):
    """A data set of DATASETS, kept in data/cache."""
    source = DATASETS[name]
    path = files.DATA / "cache" / f"{name}-{split}-{_cache_key(name, settings, split)}.npz"
    cached = path.exists()
    if not cached:
        made = replace(source.load(settings, split), name=name)
        path = path.with_name(f"{name}-{split}-{_cache_key(name, settings, split)}.npz")
        made.save(path)  # the key anew: what was downloaded meanwhile is part of it
    dataset = HierarchicalDataset.load(path)
    for note in dataset.notes if cached else []:  # making it has warned of them
        warnings.warn(note, stacklevel=3)
    if settings.fresh and source.composer and split == "train":
        dataset.composer = source.composer(settings)
    return dataset


def _cache_key(name, settings, split):
    """Of what a data set is made from: settings, code, and the files as they lie now."""
    here = Path(__file__).parent
    code = files.code_hash(*(here / f"{part}.py" for part in CODE))
    data = {key: value for key, value in settings.of_data().items() if key != "fresh"}
    parts = [name, split, data, code, stamp(DATASETS[name].files(settings))]
    return hashlib.blake2b(json.dumps(parts, sort_keys=True).encode(), digest_size=6).hexdigest()
