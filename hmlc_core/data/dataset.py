"""Images with labels at every level of a hierarchy: one class, one file format."""

import hashlib
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from hmlc_core import files

WHOLE = ("C_CONTIGUOUS", "WRITEABLE", "ENSUREARRAY")  # what torch.from_numpy takes
# words of histories, result files and tables of predictions
RESERVED = {"", "all", "epoch", "seconds", "device", "loss", "file"}
PARTS = {"train", "test", "validation"}


@dataclass(eq=False)
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
        composer: mnist.Composer, from which training draws other images in every epoch; or None.
        parts: of each image "train", "test" or "validation", where the data came with a division
            (own.divide goes by it); or None.
        notes: sentences: what was decided when the data were read.

    Raises:
        ValueError, TypeError: if the parts do not fit together; the message names the part and its
            value.
    """

    images: np.ndarray
    labels: np.ndarray
    level_names: list
    class_names: list
    split: str = "train"
    name: str = "custom"
    source: str = "unknown"
    composer: object = None
    parts: np.ndarray | None = None
    notes: list = field(default_factory=list)

    def __post_init__(self):
        self.images = np.require(self.images, requirements=WHOLE)
        self._check_lists()
        self.level_names = [str(name) for name in self.level_names]
        self.class_names = [[str(name) for name in names] for names in self.class_names]
        self._check_images()
        self._check_names()
        self.labels = self._checked_labels(np.asarray(self.labels))
        if self.parts is not None:
            self.parts = self._checked_parts(np.asarray(self.parts))

    def __repr__(self):
        levels = (f"{len(known)} of {n}" for n, known in zip(self.level_names, self.class_names))
        size = f"{len(self.images)} images {[*self.images.shape[1:]]}, {', '.join(levels)}"
        return f"<{self.name}, {self.split}: {size}>"

    def _check_lists(self):
        for names in (self.level_names, self.class_names, *self.class_names):
            if isinstance(names, str):
                raise ValueError(
                    "level_names, and each of class_names, must be a list of names, not the text "
                    f"{names!r}"
                )

    def _check_images(self):
        if self.images.dtype != np.uint8:
            raise TypeError(f"images must be uint8 (0..255), not {self.images.dtype}")
        if self.images.ndim != 4 or self.images.shape[3] not in (1, 3):
            raise ValueError(f"images must be [N, H, W, 1 or 3], not {list(self.images.shape)}")

    def _check_names(self):
        names = self.level_names
        if not names or len(set(names)) < len(names) or RESERVED & set(names):
            raise ValueError(
                "there must be a level; level names must differ, and none may be empty, all, "
                f"epoch, seconds, device, loss or file: {names}"
            )
        if len(self.class_names) != len(names):
            raise ValueError(
                f"{len(self.class_names)} lists of class names for {len(names)} levels"
            )

    def _checked_labels(self, labels):
        """The labels as int64 [N, L] of their own memory, whatever their byte order and strides."""
        if not np.issubdtype(labels.dtype, np.integer):
            raise TypeError(
                f"labels must be integers, not {labels.dtype}: -1 is unknown, and whole numbers "
                "become integers by .astype(int)"
            )
        shape = len(self.images), len(self.level_names)
        if labels.shape != shape:
            raise ValueError(
                f"labels must be {list(shape)} for {shape[0]} images and levels "
                f"{self.level_names}, not {list(labels.shape)}"
            )
        for level, names, column in zip(self.level_names, self.class_names, labels.T):
            if len(column) and not -1 <= int(column.min()) <= int(column.max()) < len(names):
                raise ValueError(
                    f"labels of level '{level}' must lie in -1..{len(names) - 1} ({len(names)} "
                    f"class names), found {column.min()}..{column.max()}"
                )
        return np.array(labels, np.int64, order="C")

    def _checked_parts(self, parts):
        odd = sorted(set(parts.ravel().tolist()) - PARTS)
        if parts.shape != (len(self.images),) or odd:
            raise ValueError(
                f"parts must be [{len(self.images)}] of {sorted(PARTS)}, or None, not "
                f"{list(parts.shape)} of {odd or sorted(PARTS)}"
            )
        return parts.astype(str)

    def __len__(self):
        return len(self.images)

    @property
    def class_counts(self):
        """Number of classes of each level."""
        return [len(names) for names in self.class_names]

    @cached_property
    def _hash_of_images(self):
        about = repr((self.images.shape, self.level_names, self.class_names))
        digest = hashlib.blake2b(about.encode(), digest_size=8)
        digest.update(self.images)
        return digest

    def __getstate__(self):
        return {k: v for k, v in vars(self).items() if k != "_hash_of_images"}  # cannot be pickled

    @property
    def fingerprint(self):
        """A hash of pixels and labels: caches made from this data set are keyed by it. Labels may
        be changed in place; for other images or names make another (dataclasses.replace)."""
        digest = self._hash_of_images.copy()
        digest.update(np.ascontiguousarray(self.labels))
        if self.composer is not None:
            digest.update(self.composer.fingerprint.encode())
        return digest.hexdigest()

    def with_levels(self, order, name):
        """The same images with levels picked or reordered, e.g. order=[1, 0], under another name.

        Raises:
            ValueError: for a level that there is not.
        """
        order, count = list(order), len(self.level_names)
        if not order or not set(order) <= set(range(count)):
            raise ValueError(f"levels must be picked from {list(range(count))}, not {order}")
        return replace(
            self,
            labels=self.labels[:, order],
            level_names=[self.level_names[i] for i in order],
            class_names=[self.class_names[i] for i in order],
            name=name,
            composer=self.composer and self.composer.with_levels(order),
        )

    def save(self, path):
        """Write the data set to one .npz, whole or not at all."""
        names = {f"class_names_{i}": np.array(names) for i, names in enumerate(self.class_names)}
        parts = {} if self.parts is None else {"parts": self.parts}
        with files.writing(path) as beside, open(beside, "wb") as stream:
            np.savez(
                stream,
                images=self.images,
                labels=self.labels,
                level_names=np.array(self.level_names),
                split=self.split,
                name=self.name,
                source=self.source,
                notes=np.array(self.notes, dtype=str),
                **names,
                **parts,
            )

    @classmethod
    def load(cls, path):
        """Read a data set from an .npz written by `save`, or made elsewhere with the same keys.

        Keys: images, labels, level_names, class_names_0 .. class_names_{L-1}, split; optional name,
        source, parts and notes.

        Raises:
            FileNotFoundError: if there is no such file.
            ValueError: if it is truncated, no .npz, lacks a key, or holds no data set.
        """
        path = Path(path)
        if not path.exists():
            raise FileNotFoundError(f"no data set file {path}")
        try:
            with np.load(path, allow_pickle=False) as stored:
                parts = {key: stored[key] for key in stored.files}
            levels = parts["level_names"].tolist()
            class_names = [parts[f"class_names_{i}"].tolist() for i in range(len(levels))]
            return cls(
                parts["images"],
                parts["labels"],
                levels,
                class_names,
                str(parts["split"]),
                str(parts.get("name", path.stem)),
                str(parts.get("source", path.name)),
                parts=parts.get("parts"),
                notes=list(map(str, parts.get("notes", ()))),
            )
        except Exception as error:  # numpy, zipfile and zlib each have their own
            raise ValueError(
                f"{path} is not a readable data set file ({type(error).__name__}: "
                f"{str(error).split('. ')[0]}): delete it and make it again"
            ) from error


def encode(table):
    """Class names of each level, sorted, and labels int64 [N, L] of rows of names; "" is -1."""
    table = list(table)
    names = [sorted(set(column) - {""}, key=lambda name: name.split("/")) for column in zip(*table)]
    numbers = [{name: k for k, name in enumerate(column)} | {"": -1} for column in names]
    labels = [[number[name] for number, name in zip(numbers, row)] for row in table]
    return names, np.array(labels, dtype=np.int64)


def sample(count, size):
    """Indices of `size` of `count` samples, drawn once for all, in order; all if fewer."""
    return np.sort(np.random.default_rng(0).permutation(count)[:size])


def tail_sizes(largest, ratio, classes):
    """Class sizes [classes] that fall exponentially, to largest / ratio (Cui et al. 2019)."""
    return largest * ratio ** (-np.arange(classes) / max(classes - 1, 1))


def tail_order(classes):
    """The classes, largest first: drawn once for all, so that the largest is not the easiest."""
    return np.random.default_rng(0).permutation(classes)


def long_tailed(dataset, ratio):
    """Keep fewer and fewer samples of the finest level's classes, exponentially.

    The largest class has `ratio` times the samples of the smallest; see tail_order. Samples with
    unknown finest label are dropped, and so is a composer: the images are fixed.

    Raises:
        ValueError: for a ratio below 1, or one that leaves a class with fewer than two samples.
    """
    if not ratio >= 1:
        raise ValueError(f"ratio must be at least 1, not {ratio}")
    labels, classes = dataset.labels[:, -1], dataset.class_counts[-1]
    largest = np.bincount(labels[labels >= 0], minlength=classes).min()
    sizes = tail_sizes(largest, ratio, classes).round().astype(int)
    if sizes.min() < 2:
        raise ValueError(
            f"ratio must leave two samples of each class, not {ratio}: the smallest class would "
            f"have {sizes.min()}"
        )
    rng = np.random.default_rng(0)
    order = rng.permutation(classes)  # tail_order; what follows goes on in the same stream
    members = [rng.permutation(np.flatnonzero(labels == k))[:n] for k, n in zip(order, sizes)]
    chosen = np.sort(np.concatenate(members))
    return replace(
        dataset,
        images=dataset.images[chosen],
        labels=dataset.labels[chosen],
        composer=None,
        parts=None if dataset.parts is None else dataset.parts[chosen],
    )
