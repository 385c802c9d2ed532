"""Grocery Store photographs (Klasson, Zhang, Kjellström, WACV 2019): 3 departments, 43 items, 81
kinds; 31 of the items have no finer kinds and are their own only kind."""

import csv
import hashlib
import shutil
import warnings
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from hmlc_core import files
from hmlc_core.data import data_folders, downloads, each
from hmlc_core.data.dataset import HierarchicalDataset, encode
from hmlc_core.data.images import read_image

NAME = "GroceryStoreDataset"
COMMIT = "fc80ba90f803d79d0383df52c5a4ac5de99ff6fc"
URL = f"https://github.com/marcusklasson/{NAME}/archive/{COMMIT}.zip"
DIGEST = "a66e059b421c71c31178e891bb8f23f4382cd2215e9881644470c0d2265ac8fd"  # of the commit's jpgs
LISTS = {"train": "train.txt", "validation": "val.txt", "test": "test.txt"}
LEVELS = ["department", "item", "kind"]


def stored_files(settings=None):
    """The files that a user or a download has put there."""
    root = _found()
    return [] if root is None else [p for p in root.rglob("*") if p.is_file()]


def load(settings, split):
    """A split of the official division ("train", "validation" or "test"), at canvas x canvas.

    A picture that is missing or cannot be read is left out, with a warning that names it.

    Raises:
        ValueError: lists and classes.csv do not fit together, or two splits share a picture.
        FileNotFoundError: neither there nor to be downloaded.
    """
    root = _found() or _downloaded()
    lists = {name: _rows(root, file) for name, file in LISTS.items()}
    source = _source(root, lists)
    class_names, _ = encode(row for rows in lists.values() for _, row in rows)
    _warn_of_untrained(lists)
    numbers = [{name: k for k, name in enumerate(names)} for names in class_names]
    images, kept = _pictures([root / path for path, _ in lists[split]], settings.canvas)
    rows = [lists[split][i][1] for i in kept]
    labels = np.array([[n[name] for n, name in zip(numbers, row)] for row in rows], np.int64)
    return HierarchicalDataset(images, labels, LEVELS, class_names, split, "grocery", source)


def _found():
    """The folder with train.txt, val.txt, test.txt and classes.csv, or None."""
    places = [folder / NAME / "dataset" for folder in data_folders()]
    return next((place for place in places if place.is_dir()), None)


def _downloaded():
    """The folder of the fixed commit, downloaded, unpacked and checked."""
    folder = files.DATA / NAME
    print(f"{NAME} is in none of {list(map(str, data_folders()))}: 130 MB from {URL}")
    archive = downloads.fetch(f"{NAME}.zip", [URL], None)
    unpacked = downloads.unpack(archive, folder.with_name(f"{NAME}-{COMMIT}"))
    if _digest(_hashes(unpacked / "dataset")) != DIGEST:
        shutil.rmtree(unpacked)
        raise ValueError(
            f"{archive} does not hold the pictures of commit {COMMIT[:7]}: delete it and run again"
        )
    return unpacked.rename(folder) / "dataset"


def _rows(root, name):
    """(path, (department, item, kind)) of each line of a list; the ids count, not the folders,
    because one kind of mushroom lies in a folder of its own."""
    names = _class_names(root / "classes.csv")
    rows = []
    for number, line in enumerate(_lines(root / name), 1):
        try:
            path, kind, item = (part.strip() for part in line)
            kind_name, item_name, its_item = names[int(kind)]
            if int(item) != its_item:
                raise ValueError(f"kind {kind} is of item {its_item}, not {item}")
            rows.append((path, (Path(path).parts[1], item_name, kind_name)))
        except (ValueError, KeyError, IndexError) as error:
            raise ValueError(
                f"{root / name}, line {number}: {line} is no path, kind id, item id of classes.csv "
                f"({error}). Get the file anew"
            ) from error
    return rows


def _class_names(path):
    """{kind id: (kind, item, item id)}."""
    return {int(row[1]): (row[0], row[2], int(row[3])) for row in _lines(path)[1:]}


def _lines(path):
    try:
        with open(path, newline="", encoding="utf-8-sig") as stream:
            return [line for line in csv.reader(stream) if line]
    except FileNotFoundError as error:
        raise FileNotFoundError(f"no {path}: clone {NAME} whole, or remove the folder") from error


def _source(root, lists):
    """Where the pictures are from, in words; raises where two splits share one."""
    hashes = _hashes(root)
    _require_apart(hashes, lists)
    if _digest(hashes) == DIGEST:
        return f"{NAME} at {COMMIT[:7]}"
    sides = [_short_side(root / path) for path, _ in lists["train"][:9]]
    side = next(filter(None, sides), "unknown")
    return f"{NAME}, pictures of short side {side}, not the original files"


def _short_side(path):
    try:
        with Image.open(path) as picture:
            return min(picture.size)
    except OSError:  # left out later, with a warning
        return 0


def _require_apart(hashes, lists):
    seen = {}
    for split, rows in lists.items():
        for path, _ in rows:
            other, first = seen.setdefault(hashes.get(path, path), (split, path))
            if other != split:
                raise ValueError(
                    f"{path} of the {split} split is {first} of the {other} split: splits must "
                    "share no picture. Remove one of the two lines"
                )


def _hashes(root):
    """{path: sha256} of all pictures."""
    paths = [p for part in ("train", "val", "test") for p in (root / part).rglob("*.jpg")]
    return {
        p.relative_to(root).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in paths
    }


def _digest(hashes):
    """Of: find train val test -name '*.jpg' | LC_ALL=C sort | xargs -d '\\n' sha256sum."""
    lines = sorted((name.encode(), value) for name, value in hashes.items())
    return hashlib.sha256(b"".join(b"%s  %s\n" % (v.encode(), n) for n, v in lines)).hexdigest()


def _warn_of_untrained(lists):
    trained = {row for _, row in lists["train"]}
    missing = {row for rows in lists.values() for _, row in rows} - trained
    if missing:
        names = ", ".join(sorted("/".join(row) for row in missing))
        warnings.warn(f"{len(missing)} kinds have no training picture: {names}", stacklevel=3)


def _pictures(paths, size):
    """Pictures uint8 [n, size, size, 3] of the readable files, and which of the paths they are."""
    found = each(partial(_read, size=size), paths, f"read {NAME}", threads=True)
    images, kept, broken = np.empty((len(paths), size, size, 3), np.uint8), [], []
    for i, picture in enumerate(found):
        if isinstance(picture, str):
            broken.append(picture)
        else:
            images[len(kept)] = picture
            kept.append(i)
    if broken:
        text = "\n".join(broken)
        warnings.warn(f"{len(broken)} of {len(paths)} pictures left out:\n{text}", stacklevel=3)
    return images[: len(kept)], kept


def _read(path, size):
    try:
        return read_image(path, size)
    except ValueError as error:
        return str(error)
