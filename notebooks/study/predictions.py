"""Classes of new pictures or meshes at each level, by a trained run."""

import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from hmlc_core import HierarchicalDataset, metrics, runs
from hmlc_core.checks import require
from hmlc_core.data import folders, kinds
from hmlc_core.data.notes import Notes, legible, some
from hmlc_core.data.own import views_of
from study.evaluation import coherent, paths_to_follow, probability_of


def predict(run, paths):
    """The class of each picture or mesh at each level, with its probability, such that the classes
    of one file are a path of the hierarchy.

    A linear layer per level on the run's frozen features gives probabilities, of a mesh their mean
    over its views; they are made coherent and decoded from the top (metrics.top_down). Below a
    class that has nothing known below it in training, the names are empty.

    Args:
        run: runs.Run, trained on pictures or meshes; new ones are brought to their size.
        paths: files, or one; those that cannot be read are warned of and left out.

    Returns:
        Data frame: file; for each level its class, by name, and "<level> probability".

    Raises:
        ValueError: no file that can be read, or no training sample with a label on top.
    """
    paths, views = _readable(paths, run.dataset)
    logits = runs.level_logits(run, _as_dataset(run.dataset, np.concatenate(views)))
    known, counts = paths_to_follow(run.data("train")), list(map(len, views))
    each = [[part.mean(0) for part in x.softmax(1).split(counts)] for x in logits]
    scores = coherent(list(map(torch.stack, each)), known)
    chosen = metrics.top_down(scores, known)
    table = {"file": [legible(str(path)) for path in paths]}
    for level, name in enumerate(run.dataset.level_names):
        classes, names = chosen[:, level], [*run.dataset.class_names[level], ""]  # [-1] is ""
        table[name] = [names[k] for k in classes.tolist()]
        table[f"{name} probability"] = probability_of(classes, scores[level], np.nan).tolist()
    return pd.DataFrame(table)


def pictures_in(place):
    """The pictures and meshes of a folder and those below it, sorted, hidden ones left out; or the
    one file. Warns of what cannot be read here, and of both kinds at once.

    Raises:
        ValueError: no such place, or none in it.
    """
    require(str(place), "no place of new pictures: give a folder or a file")
    place = Path(place).expanduser()
    if not place.exists():
        raise ValueError(f"there is no file or folder {place}")
    with warnings.catch_warnings(action="ignore"):  # of what is worth a word in training alone
        there = folders.find(place, (), Notes()) if place.is_dir() else folders.Found([place])
    found = [p for p in there.files if kinds.kind(p) in ("picture", "mesh")]
    if there.unread:
        warnings.warn(f"not predicted: {some(there.unread.items())}", stacklevel=2)
    if len(set(map(kinds.kind, found))) > 1:
        warnings.warn(f"{place} has pictures and meshes: both are predicted", stacklevel=2)
    if not found:
        raise ValueError(
            f"{place} has no picture or mesh that can be read here: save some as JPEG, PNG or OFF"
        )
    return found


def _side(dataset):
    """The side in pixels of a data set's square pictures."""
    height, width = dataset.images.shape[1:3]
    require(
        height == width,
        f"the run was trained on pictures of {height} x {width} pixels: new files can only be "
        "brought to a square, so give a HierarchicalDataset of them to runs.level_logits",
    )
    return height


def _readable(paths, dataset):
    """Those of files that can be read, and of each its pictures uint8 [1 or 12, side, side, C]."""
    paths = [paths] if isinstance(paths, str | Path) else list(paths)
    require(paths, "no picture to predict: give at least one path")
    read, views, faults, side = [], [], [], _side(dataset)
    for path in paths:
        try:
            made = views_of(path, side)
            mesh = made.shape[3] < dataset.images.shape[3]
            require(not mesh, f"{path} is a mesh, and the run was trained on pictures in colour")
        except (ValueError, OSError) as error:
            faults.append(str(error))
        else:
            views.append(made if dataset.images.shape[3] == 3 else _grey(made))
            read.append(path)
    if faults:
        about = f"{len(faults)} of {len(paths)} files are not predicted: {'; '.join(faults[:3])}"
        require(read, about)
        warnings.warn(about, stacklevel=3)
    return read, views


def _grey(images):
    return images.mean(3, keepdims=True).round().astype(np.uint8)


def _as_dataset(like, images):
    """Pictures without labels, like those of a data set."""
    unknown = np.full((len(images), len(like.level_names)), -1)
    names = like.level_names, like.class_names
    return HierarchicalDataset(images, unknown, *names, "test", like.name, like.source)
