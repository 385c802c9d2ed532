"""An upper level for flat labels, induced from what a trained encoder finds alike."""

from dataclasses import replace

import numpy as np
import torch.nn.functional as F
from scipy.cluster.hierarchy import fcluster, linkage
from sklearn.metrics import adjusted_rand_score

LEVEL = "induced level"


def induce(features, labels, classes, groups):
    """Groups of classes by clustering their means (scipy: average linkage, cosine distance).

    Args:
        features: float [N, F]; labels: int64 [N], -1 left out.
        classes: number of classes C; each must have a sample.
        groups: number of groups, at least 2 and less than C.

    Returns:
        Group [C] of each class, numbered in the order of the classes, and scipy's linkage matrix.

    Raises:
        ValueError: a class without a sample, or a number of groups that makes no level.
    """
    if not 2 <= groups < classes:
        raise ValueError(f"groups must be 2 to {classes - 1} for {classes} classes, not {groups}")
    empty = [k for k in range(classes) if not (labels == k).any()]
    if empty:
        raise ValueError(f"classes {empty} have no sample, so nothing says what they are like")
    unit = F.normalize(features.double(), dim=1)
    means = np.stack([unit[labels == k].mean(0).numpy() for k in range(classes)])
    tree = linkage(means, "average", metric="cosine")
    _, first, group = np.unique(
        fcluster(tree, groups, "maxclust"), return_index=True, return_inverse=True
    )
    return first.argsort().argsort()[group], tree


def with_level(dataset, group):
    """The data set with an induced level on top of its first; named so that nobody takes it for
    labels that somebody gave. Group: [C] of each class of the first level."""
    first, names = dataset.labels[:, 0], dataset.class_names[0]
    top = np.where(first >= 0, np.asarray(group)[first], -1)
    members = [[n for n, g in zip(names, group) if g == k] for k in range(max(group) + 1)]
    return replace(
        dataset,
        labels=np.column_stack([top, dataset.labels]),
        level_names=[LEVEL, *dataset.level_names],
        class_names=[[" + ".join(part) for part in members], *dataset.class_names],
    )


def agreement(group, parents):
    """Adjusted Rand index of induced groups [C] and given parents [C]: 1 = the same, 0 = chance."""
    return float(adjusted_rand_score(parents, group))
