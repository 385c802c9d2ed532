"""Your own images or meshes, as a folder or as a csv of labels: read, checked, divided into train and test."""
import csv
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from PIL import Image

from hmlc_core import meshes
from hmlc_core.datasets import HierarchicalDataset, class_paths, encode, read_image
from hmlc_core.progress import progress_bar

MESHES = (".off", ".obj", ".stl", ".ply")
MAX_BYTES = 8 * 2**30       # of all pictures together, once resized


def read(path, size=64):
    """Read a nested folder of images or of meshes, or a csv that names image files and their labels.

    Folders: each level is a level of the hierarchy, e.g. category/class/1.jpg, all files equally deep; a class is known by its whole path.
    csv: a header; the first column is a file, relative to the csv; the others are levels, coarse to fine; an empty field = unknown.
    Images of any size, mode and orientation become RGB, size x size (short side, then centre crop). Meshes become 12 grey views; if there
    is one folder level only, the object becomes the second level.

    Returns:
        dataset (HierarchicalDataset), groups int64 [N] (views of one object share a number), broken {file: why it is left out}.

    Raises:
        ValueError: nothing to read, files at different depths, a csv without levels, or too many pictures for this size.
    """
    path = Path(path).expanduser()
    if path.is_file():
        files, table, levels = _rows_of_csv(path)
    elif path.is_dir():
        files, table, levels = _rows_of_folder(path)
    else:
        raise ValueError(f"{path.absolute()} is neither a folder nor a csv file")
    found = _read_all(files, size)
    kept = [i for i, pictures in enumerate(found) if not isinstance(pictures, str)]
    broken = {str(path): pictures for path, pictures in zip(files, found) if isinstance(pictures, str)}
    if not kept:
        raise ValueError(f"none of the {len(files)} files of {path} can be read, e.g. {next(iter(broken.items()))}")
    repeats = [len(found[i]) for i in kept]
    table, levels = [table[i] for i in kept], list(levels)
    if len(levels) == 1 and files[kept[0]].suffix.lower() in MESHES:
        base = path if path.is_dir() else path.parent
        table, levels = [(*row, files[i].relative_to(base).with_suffix("").as_posix()) for row, i in zip(table, kept)], [*levels, "object"]
    names, labels = encode(table)
    if not all(names):
        raise ValueError(f"{path}: level '{levels[[bool(n) for n in names].index(False)]}' has no label at all: remove that column")
    images = np.concatenate([found[i] for i in kept])
    dataset = HierarchicalDataset(images, labels.repeat(repeats, 0), levels, names, "train", path.stem, f"own data: {path.name}")
    return dataset, np.arange(len(kept)).repeat(repeats), broken


def _rows_of_folder(root):
    kinds = set(Image.registered_extensions()) | set(MESHES)
    files = sorted(p for p in root.rglob("*") if p.suffix.lower() in kinds and p.is_file())
    folders = [p.relative_to(root).parent.parts for p in files]
    depths = Counter(map(len, folders))
    if not files or 0 in depths or len(depths) > 1:
        raise ValueError(f"{root} must hold images or meshes in nested folders of one depth, e.g. category/class/1.jpg; "
                         f"found files at depths {dict(depths)}")
    if len({p.suffix.lower() in MESHES for p in files}) > 1:
        raise ValueError(f"{root} holds images and meshes: give one or the other")
    return files, list(map(class_paths, folders)), [f"level {k + 1}" for k in range(len(folders[0]))]


def _rows_of_csv(path):
    try:
        with open(path, newline="", encoding="utf-8-sig") as stream:
            header, *rows = [row for row in csv.reader(stream, strict=True) if row]
    except (ValueError, csv.Error) as error:      # no line at all, another encoding, broken quotes
        raise ValueError(f"{path} is no readable csv in UTF-8 with a header ({error})") from error
    if len(header) < 2 or not rows or any(len(row) != len(header) for row in rows):
        odd = next((number for number, row in enumerate(rows, 2) if len(row) != len(header)), None)
        raise ValueError(f"{path} must have a column of files, at least one level and a row a file; found columns {header}, {len(rows)} rows"
                         + (f", and row {odd} with another number of fields" if odd else ""))
    return [path.parent / row[0] for row in rows], [tuple(name.strip() for name in row[1:]) for row in rows], [name.strip() for name in header[1:]]


def _read_all(files, size):
    """Pictures uint8 [1 or 12, size, size, 3 or 1] of each file, or why it cannot be read."""
    views = 12 if files[0].suffix.lower() in MESHES else 1
    if len(files) * views * size * size * 3 > MAX_BYTES:
        raise ValueError(f"{len(files)} files at {size} x {size} take more than the limit of {MAX_BYTES // 2**30} GiB: choose a smaller size")
    jobs = (delayed(_read_one)(path, size) for path in files)
    workers = Parallel(n_jobs=-1, return_as="generator", prefer="processes" if views > 1 else "threads")
    return list(progress_bar(workers(jobs), "read", len(files)))


def _read_one(path, size):
    try:
        if path.suffix.lower() in MESHES:
            return meshes.render_views(meshes.read_mesh(path), size)
        return read_image(path, size)[None]
    except (ValueError, OSError) as error:
        return str(error)


def check(dataset):
    """What a level holds: classes, samples without a label, smallest and largest class, imbalance (largest / smallest); a data frame."""
    rows = []
    for level, names, column in zip(dataset.level_names, dataset.class_names, dataset.labels.T):
        counts = np.bincount(column[column >= 0], minlength=len(names))
        small, large = counts.argmin(), counts.argmax()
        rows.append({"level": level, "classes": len(names), "unknown": int((column < 0).sum()), "smallest class": f"{names[small]} ({counts[small]})",
                     "largest class": f"{names[large]} ({counts[large]})", "imbalance": round(counts[large] / max(counts[small], 1), 1)})
    return pd.DataFrame(rows)


def divide(dataset, groups, share=0.2, seed=0):
    """Divide into train and test: of each class of the finest level that can spare it, this share of its groups goes to test.

    A class keeps two samples in train; one that has a single sample there becomes unknown (-1) at its level, because nothing else is like it.
    Where each class of the finest level is one group (views of one object), coarser levels are tested on objects that are not trained on, the
    finest on held-out views of the others; labels that do not count are -1 there.

    Returns:
        train, test (HierarchicalDataset).

    Raises:
        ValueError: if no class can spare a sample.
    """
    rng = np.random.default_rng(seed)
    finest, labels = dataset.labels[:, -1], dataset.labels.copy()
    known = finest >= 0
    objects = labels.shape[1] > 1 and len(set(groups)) < len(groups) and len(set(zip(finest[known], groups[known]))) == len(set(finest[known]))
    test = _spared(labels[:, -2] if objects else finest, groups, share, rng)
    if objects:
        views = ~test & _spared(finest, np.arange(len(groups)), share, rng)
        labels[test, -1], labels[views, :-1] = -1, -1
        test |= views
    if not test.any():
        raise ValueError(f"no class of level '{dataset.level_names[-1]}' has more than two samples, so none can be tested: add samples or merge classes")
    train = labels[~test]
    for column, names in zip(train.T, dataset.class_names):
        counts = np.bincount(column[column >= 0], minlength=len(names))
        column[np.isin(column, np.flatnonzero(counts == 1))] = -1
    return (replace(dataset, images=dataset.images[~test], labels=train),
            replace(dataset, images=dataset.images[test], labels=labels[test], split="test"))


def _spared(classes, units, share, rng):
    """Which samples go to test: of each class this share of its units, so that two samples of it stay."""
    test = np.zeros(len(classes), bool)
    for label in np.unique(classes):
        mine = classes == label
        members = rng.permutation(np.unique(units[mine]))
        keep = 1 if mine.sum() >= 2 * len(members) else 2       # units that leave two samples or more in train
        spared = min(max(round(share * len(members)), 1), len(members) - keep)
        test |= mine & np.isin(units, members[:max(spared, 0)])
    return test
