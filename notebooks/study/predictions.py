"""Classes of new pictures at each level, by a trained run."""

from pathlib import Path

import numpy as np
import pandas as pd

from hmlc_core import HierarchicalDataset, metrics, runs
from hmlc_core.data import folders, kinds
from hmlc_core.data.images import read_image
from study.evaluation import coherent, known_paths


def predict(run, paths, size):
    """The class of each picture at each level, with its probability, such that the classes of a
    picture are a path of the hierarchy.

    A linear layer per level on the run's frozen features gives probabilities; they are made
    coherent and decoded from the top (metrics.top_down).

    Args:
        run: runs.Run, trained on pictures of this size.
        paths: image files.
        size: side in pixels to which pictures are brought, as for training.

    Returns:
        Data frame: file; for each level its class, by name, and "<level> probability".

    Raises:
        ValueError: no path, a picture that cannot be read, or no training sample with all labels.
    """
    logits = runs.level_logits(run, _as_dataset(run.dataset, paths, size))
    known = known_paths(run.data("train"))
    scores = coherent([x.softmax(1) for x in logits], known)
    chosen = metrics.top_down(scores, known)
    table = {"file": [str(path) for path in paths]}
    for level, name in enumerate(run.dataset.level_names):
        classes = chosen[:, level]
        table[name] = [run.dataset.class_names[level][k] for k in classes.tolist()]
        table[f"{name} probability"] = scores[level].gather(1, classes[:, None])[:, 0].tolist()
    return pd.DataFrame(table)


def pictures_in(place):
    """The pictures of a folder and those below it, sorted, hidden ones left out; or the one file.

    Raises:
        ValueError: no such place, or no picture in it.
    """
    place = Path(place).expanduser()
    if not place.exists():
        raise ValueError(f"there is no file or folder {place}")
    found = sorted(place.rglob("*")) if place.is_dir() else [place]
    hidden = [any(map(folders.left_behind, p.relative_to(place).parts)) for p in found]
    found = [p for p, hide in zip(found, hidden) if not hide and kinds.kind(p) == "picture"]
    if not found:
        raise ValueError(f"{place} has no picture that can be read here: save some as JPEG or PNG")
    return found


def _as_dataset(like, paths, size):
    """Pictures without labels, in the colours of a data set."""
    if not paths:
        raise ValueError("no picture to predict: give at least one path")
    images = np.stack([read_image(path, size) for path in paths])
    if like.images.shape[3] == 1:
        images = images.mean(3, keepdims=True).round().astype(np.uint8)
    unknown = np.full((len(images), len(like.level_names)), -1)
    names = like.level_names, like.class_names
    return HierarchicalDataset(images, unknown, *names, "test", like.name, like.source)
