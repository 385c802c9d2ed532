"""Grocery Store photographs (Klasson, Zhang, Kjellström, WACV 2019): 3 departments, 43 items, 81
kinds; 31 of the items have no finer kinds and are their own only kind."""

import csv
import hashlib
import os
import shutil
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from hmlc_core import files
from hmlc_core.data import data_folders, downloads, each
from hmlc_core.data.dataset import HierarchicalDataset, encode
from hmlc_core.data.images import read_image
from hmlc_core.data.notes import Notes, some

NAME = "GroceryStoreDataset"
COMMIT = "fc80ba90f803d79d0383df52c5a4ac5de99ff6fc"
URL = f"https://github.com/marcusklasson/{NAME}/archive/{COMMIT}.zip"
DIGEST = "a66e059b421c71c31178e891bb8f23f4382cd2215e9881644470c0d2265ac8fd"  # of the commit's jpgs
LISTS = {"train": "train.txt", "validation": "val.txt", "test": "test.txt"}
PARTS = ("train", "val", "test")  # folders of pictures
SMALL = 8  # side of pictures that are only looked at for damage
MOST_NAMED = 20  # pictures or kinds in one warning
LEVELS = ["department", "item", "kind"]


def stored_files(settings=None):
    """The files that a user or a download has put there."""
    root = _found()
    return [] if root is None else [p for p in root.rglob("*") if p.is_file()]


def load(settings, split):
    """A split of the official division ("train", "validation" or "test"), at canvas x canvas.

    A picture that is missing or cannot be read is left out. Notes and warnings name those of all
    splits, and `source`, the same for all splits, counts them.

    Raises:
        ValueError: a list or classes.csv is unreadable, the lists do not fit together, two splits
            share a picture, or no picture of the split can be read.
        FileNotFoundError: neither there nor to be downloaded.
    """
    root = _found() or _downloaded()
    lists = {name: _rows(root, file) for name, file in LISTS.items()}
    hashes = _hashes(root)
    _require_apart(hashes, lists)
    original = _digest(hashes) == DIGEST
    images, broken = _all_pictures(root, lists, split, settings.canvas, original)
    readable = {k: [row for row in rows if row[0] not in broken] for k, rows in lists.items()}
    notes = Notes()
    source = _source(root, lists, original) + _tell_of_broken(lists, broken, notes)
    source += _tell_of_untrained(readable, notes)
    class_names, labels = _encoded(lists, readable[split])
    given = images, labels, LEVELS, class_names, split, "grocery", source
    return HierarchicalDataset(*given, notes=notes)


def _found():
    """The folder with train.txt, val.txt, test.txt and classes.csv, or None."""
    places = [folder / NAME / "dataset" for folder in data_folders()]
    return next((place for place in places if place.is_dir()), None)


def _downloaded():
    """The folder of the fixed commit, downloaded, unpacked and checked."""
    folder, unpacked = files.DATA / NAME, files.DATA / f"{NAME}-{COMMIT}"
    half = [place / NAME for place in data_folders() if os.path.lexists(place / NAME)]
    if half:
        raise FileNotFoundError(
            f"{half[0]} has no folder dataset, so it is not whole: delete it and run again"
        )
    if not unpacked.exists():
        _download(unpacked)
    elif not _is_original(unpacked):  # left by a process that ended in between, or by a user
        raise ValueError(
            f"{unpacked} does not hold the pictures of commit {COMMIT[:7]}: delete it and run again"
        )
    return unpacked.rename(folder) / "dataset"


def _download(unpacked):
    print(f"{NAME} is in none of {list(map(str, data_folders()))}: 130 MB from {URL}")
    archive = downloads.fetch(f"{NAME}.zip", [URL], None)
    try:
        downloads.unpack(archive, unpacked)
    except ValueError as error:
        raise ValueError(f"{error}. Needed is commit {COMMIT[:7]}: {URL}") from error
    if not _is_original(unpacked):
        shutil.rmtree(unpacked)
        raise ValueError(
            f"{archive} does not hold the pictures of commit {COMMIT[:7]}: delete it and run again"
        )


def _is_original(unpacked):
    return _digest(_hashes(unpacked / "dataset")) == DIGEST


# ---------------------------------------------------------------- lists


def _rows(root, name):
    """(path, (department, item, kind)) of each line of a list; the ids count, not the folders,
    because one kind of mushroom lies in a folder of its own. The same line twice counts once."""
    kinds, rows = _kinds(root / "classes.csv"), {}
    for number, fields in _lines(root / name):
        with _at_line(root / name, number, fields, "path, kind id, item id of classes.csv"):
            path, row = _labelled(fields, kinds)
            if rows.setdefault(path, row) != row:
                raise ValueError(f"{path} is also of kind {rows[path][-1]}: remove one line")
    if not rows:
        raise ValueError(f"{root / name} lists no picture: unpack the data set anew")
    return list(rows.items())


def _labelled(fields, kinds):
    """A path and its (department, item, kind)."""
    path, kind, item = fields
    parts = Path(path).parts
    if len(parts) < 3 or parts[0] not in PARTS:
        raise ValueError(f"a path is {' or '.join(PARTS)}/department/.../file")
    if int(kind) not in kinds:
        raise ValueError(f"classes.csv has no kind {kind}")
    kind_name, item_name, its_item = kinds[int(kind)]
    if int(item) != its_item:
        raise ValueError(f"kind {kind} is of item {its_item}, not {item}")
    return path, (parts[1], item_name, kind_name)


def _kinds(path):
    """{kind id: (kind, item, item id)} of classes.csv."""
    kinds, ids = {}, {}
    for number, fields in _lines(path)[1:]:
        with _at_line(path, number, fields, "kind, kind id, item, item id"):
            kind, its_id, item, its_item = fields[:4]
            if not kind or not item:
                raise ValueError("a name is blank")
            if kind in ids:
                raise ValueError(f"{kind} has the id {ids[kind]}, too")
            if int(its_id) in kinds:
                raise ValueError(f"{kinds[int(its_id)][0]} has the id {its_id}, too")
            kinds[int(its_id)], ids[kind] = (kind, item, int(its_item)), int(its_id)
    return kinds


@contextmanager
def _at_line(path, number, fields, what):
    """Inside, an error says in which line of which file it is."""
    try:
        yield
    except ValueError as error:
        raise ValueError(
            f"{path}, line {number}: {fields} is no {what} ({error}). Get the file anew"
        ) from error


def _lines(path):
    """(line number, fields without blanks around them) of each line that is not blank."""
    reader = csv.reader(_text(path).split("\n"))
    try:
        rows = [(reader.line_num, [field.strip() for field in fields]) for fields in reader]
    except csv.Error as error:
        raise ValueError(
            f"{path}, line {reader.line_num}: no csv ({error}). Get the file anew"
        ) from error
    return [(number, fields) for number, fields in rows if any(fields)]


def _text(path):
    try:
        raw = path.read_bytes()
        text = raw.decode("utf-8-sig")
    except FileNotFoundError as error:
        raise FileNotFoundError(f"no {path}: clone {NAME} whole, or remove the folder") from error
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise ValueError(
            f"{path}, line {line}: not in UTF-8 ({error.reason}). Save it as UTF-8"
        ) from error
    except OSError as error:
        raise ValueError(
            f"{path} cannot be read ({error.strerror}): make it a readable file"
        ) from error
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise ValueError(f"{path}, line {line}: holds NUL, so it is no text. Get the file anew")
    return text.replace("\r\n", "\n").replace("\r", "\n")


# ---------------------------------------------------------------- pictures


def _source(root, lists, original):
    """Where the pictures are from, in words."""
    if original:
        return f"{NAME} at {COMMIT[:7]}"
    sides = [_short_side(root / path) for path, _ in lists["train"][:9]]
    side = next(filter(None, sides), "unknown")
    return f"{NAME}, pictures of short side {side}, not the original files"


def _short_side(path):
    try:
        with Image.open(path) as picture:
            return min(picture.size)
    except (OSError, Image.DecompressionBombError):  # left out, with a warning
        return 0


def _require_apart(hashes, lists):
    """Raise where two splits, or two kinds, have the same picture."""
    seen = {}
    for split, rows in lists.items():
        for path, row in rows:
            other, first, its_row = seen.setdefault(hashes.get(path, path), (split, path, row))
            if other != split:
                raise ValueError(
                    f"{path} of the {split} split is {first} of the {other} split: splits must "
                    "share no picture. Remove one of the two lines"
                )
            if its_row != row:
                raise ValueError(
                    f"{path} of kind {row[-1]} is the same picture as {first} of kind "
                    f"{its_row[-1]}: remove the wrong one of the two lines"
                )


def _hashes(root):
    """{path: sha256} of all pictures that hold something and can be read."""
    paths = [p for part in PARTS for p in (root / part).rglob("*.jpg")]
    hashes = {path.relative_to(root).as_posix(): _hash(path) for path in paths}
    return {path: value for path, value in hashes.items() if value}


def _hash(path):
    try:
        raw = path.read_bytes()
    except OSError:  # left out, with a warning
        return None
    return hashlib.sha256(raw).hexdigest() if raw else None


def _digest(hashes):
    """Of: find train val test -name '*.jpg' | LC_ALL=C sort | xargs -d '\\n' sha256sum."""
    lines = sorted((name.encode(), value) for name, value in hashes.items())
    return hashlib.sha256(b"".join(b"%s  %s\n" % (v.encode(), n) for n, v in lines)).hexdigest()


def _all_pictures(root, lists, split, size, original):
    """Pictures of a split that can be read, and {path: why} of those of all splits that cannot."""
    images, broken = _pictures(root, lists[split], size)
    if not len(images):
        raise ValueError(
            f"none of the {len(lists[split])} pictures of {root / LISTS[split]} could be read "
            f"({next(iter(broken.values()))}): unpack the data set anew"
        )
    others = [] if original else [name for name in lists if name != split]
    for name in others:
        broken |= _pictures(root, lists[name], SMALL)[1]
    return images, broken


def _encoded(lists, rows):
    """Class names of all lists, and labels int64 [n, 3] of rows of one."""
    class_names, _ = encode(row for listed in lists.values() for _, row in listed)
    numbers = [{name: k for k, name in enumerate(names)} for names in class_names]
    labels = [[n[name] for n, name in zip(numbers, row)] for _, row in rows]
    return class_names, np.array(labels, np.int64)


def _pictures(root, rows, size):
    """Pictures uint8 [n, size, size, 3] of the readable files, and {path: why} of the others."""
    paths = [path for path, _ in rows]
    read = partial(_read, size=size)
    found = each(read, [root / path for path in paths], f"read {NAME}", threads=True)
    images, count, broken = np.empty((len(paths), size, size, 3), np.uint8), 0, {}
    for path, picture in zip(paths, found):
        if isinstance(picture, str):
            broken[path] = picture
        else:
            images[count] = picture
            count += 1
    return images[:count], broken


def _tell_of_broken(lists, broken, notes):
    """Note the pictures that are left out, and return words on how many there are."""
    words = ""
    for name, rows in lists.items():
        paths = [path for path, _ in rows if path in broken]
        if paths:
            count = f"{len(rows)} pictures of {LISTS[name]}"
            names = f"{some(paths, MOST_NAMED)}. The first: {broken[paths[0]]}"
            notes.warn(f"{len(paths)} of {count} are left out: {names}")
            words += f", {len(rows) - len(paths)} of {count}"
    return words


def _tell_of_untrained(lists, notes):
    """Note the kinds without a training picture, and return words on how many there are."""
    trained = {row for _, row in lists["train"]}
    missing = {row for rows in lists.values() for _, row in rows} - trained
    if not missing:
        return ""
    names = some(sorted("/".join(row) for row in missing), MOST_NAMED)
    notes.warn(f"{len(missing)} kinds have no training picture: {names}")
    return f", {len(missing)} kinds without a training picture"


def _read(path, size):
    try:
        return read_image(path, size)
    except ValueError as error:
        return str(error)
