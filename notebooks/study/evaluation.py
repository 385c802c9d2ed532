"""Rows of results about a run: its linear layers, k-NN and embedding, kept in its folder."""

import json
import math
from hashlib import blake2b
from importlib.metadata import version

import torch
import torch.nn.functional as F

from hmlc_core import files, metrics, runs
from hmlc_core.runs import level_rows
from study import measures, results

FAMILIES = {"1": (1, 1), "2_to_4": (2, 4), "5_or_more": (5, math.inf)}  # classes of one parent
PACKAGES = ("torch", "scikit-learn", "scipy", "numpy")


def evaluate(run, split="test"):
    """All rows of a run, computed once and kept in the run's folder.

    Args:
        run: hmlc_core.Run.
        split: what to test on, a split's name or a HierarchicalDataset; linear layers and k-NN
            learn from the training split, without augmentation.
    """
    data = [run.data("train").fingerprint, run.data(split).fingerprint]
    name = f"evaluation-{state_of((__file__, metrics, measures, runs), data)}.csv"
    return results.cached_rows(run, name, lambda: _rows(run, split))


def state_of(sources, data):
    """A hash of what rows of a run depend on: code (paths or modules), packages, fingerprints of
    data."""
    state = [files.code_hash(*sources), data, {name: version(name) for name in PACKAGES}]
    return blake2b(json.dumps(state).encode(), digest_size=6).hexdigest()


def _rows(run, split):
    logits = runs.level_logits(run, split)
    rows = level_rows(run, "linear_accuracy", [x.argmax(1) for x in logits], run.data(split))
    return rows + hierarchical_evaluation(run, split, logits) + embedding_evaluation(run, split)


def hierarchical_evaluation(run, split, logits):
    """Rows of what the linear layers say about the hierarchy.

    The worst class of each level, the head and the tail of the finest and its families; decoded
    from the top, the accuracy of each level and its calibration; the accuracy of coherent scores;
    and metrics.path_metrics (level "all").

    Args:
        logits: L tensors [N, classes], see runs.level_logits.
    """
    test = run.data(split)
    predictions = torch.stack([x.argmax(1) for x in logits], 1)
    rows = level_rows(run, "worst_class_accuracy", predictions.T, test, _worst_class)
    rows += tail_rows(run, predictions[:, -1], test)
    paths = known_paths(run.data("train"))
    if not len(paths):  # no training sample has all labels, so nothing says which go together
        return rows
    rows += family_rows(run, predictions[:, -1], test, paths)
    followed = paths_to_follow(run.data("train"))
    decoded = metrics.top_down(logits, followed)
    rows += level_rows(run, "top_down_accuracy", decoded.T, test)
    rows += decoding_rows(run, decoded, [x.softmax(1) for x in logits], followed, test)
    labels = torch.from_numpy(test.labels)
    of_paths = metrics.path_metrics(predictions, decoded, labels, paths)
    return rows + [runs.row(run, "all", name, value) for name, value in of_paths.items()]


def _worst_class(predictions, labels):
    return min(class_accuracies(predictions, labels))


def class_accuracies(predictions, labels):
    """Accuracy of each class that occurs in labels [N], in order, -1 left out."""
    classes = labels[labels >= 0].unique()
    return [metrics.accuracy(predictions[labels == k], labels[labels == k]) for k in classes]


def known_paths(train):
    """The label tuples [P, L] of training samples that have all labels."""
    paths = torch.from_numpy(train.labels).unique(dim=0)
    return paths[(paths >= 0).all(1)]


def paths_to_follow(train):
    """known_paths, and those that end at a class below which nothing is known, with -1 there."""
    paths = torch.from_numpy(train.labels).unique(dim=0)
    depth = (paths >= 0).int().cumprod(1).sum(1)
    paths, depth = (part[(depth > 0) & (depth == (paths >= 0).sum(1))] for part in (paths, depth))
    ends = (depth < paths.shape[1]).nonzero()[:, 0]
    beyond = torch.arange(paths.shape[1]) >= depth[ends, None, None]  # what an end does not say
    goes_on = ((paths[ends, None] == paths) | beyond).all(2) & (depth > depth[ends, None])
    lost = torch.zeros(len(paths), dtype=torch.bool)
    lost[ends] = goes_on.any(1)
    return paths[~lost]


def tail_rows(run, predictions, test):
    """Accuracy over the third of the finest level's classes that is most frequent in training
    ("head_accuracy") and least ("tail_accuracy"); no row if all are equally frequent within a
    factor of 2."""
    train = torch.from_numpy(run.data("train").labels[:, -1])
    counts = torch.bincount(train[train >= 0], minlength=test.class_counts[-1])
    if counts.max() <= 2 * counts.min():
        return []
    labels = torch.from_numpy(test.labels[:, -1])
    order = counts.argsort(descending=True, stable=True)
    third = max(len(order) // 3, 1)
    rows = []
    for metric, classes in {"head": order[:third], "tail": order[-third:]}.items():
        chosen = torch.isin(labels, classes)
        if not chosen.any():
            continue
        value = metrics.accuracy(predictions[chosen], labels[chosen])
        rows.append(runs.row(run, test.level_names[-1], f"{metric}_accuracy", value))
    return rows


def family_rows(run, predictions, test, paths):
    """Accuracy at the finest level by how many classes there share the class's parent
    ("accuracy_of_families_1" and so on, FAMILIES); no row if all families fall into one of these.

    Args:
        paths: label tuples [P, L], see known_paths.
    """
    if paths.shape[1] < 2:
        return []
    edges = paths[:, -2:].unique(dim=0)
    size = torch.zeros(test.class_counts[-1], dtype=torch.long)
    size[edges[:, 1]] = torch.bincount(edges[:, 0])[edges[:, 0]]
    labels = torch.from_numpy(test.labels[:, -1])
    family = torch.where(labels >= 0, size[labels], 0)
    chosen = {k: (family >= low) & (family <= high) for k, (low, high) in FAMILIES.items()}
    chosen = {k: those for k, those in chosen.items() if those.any()}
    values = {k: metrics.accuracy(predictions[those], labels[those]) for k, those in chosen.items()}
    name = test.level_names[-1]
    rows = [runs.row(run, name, f"accuracy_of_families_{k}", v) for k, v in values.items()]
    return rows if len(rows) > 1 else []


def decoding_rows(run, decoded, probabilities, paths, test):
    """Rows of how right the probabilities of classes decoded from the top are, and of the accuracy
    of classes decoded from coherent scores.

    Args:
        decoded: int64 [N, L], see metrics.top_down; paths: see paths_to_follow.
        probabilities: L tensors [N, classes].
    """
    sure = [probability_of(c, p) for p, c in zip(probabilities, decoded.T)]
    chosen = zip(decoded.T, sure)
    rows = level_rows(run, "top_down_calibration_error", chosen, test, calibration_error)
    coherently = metrics.top_down(coherent(probabilities, paths), paths)
    return rows + level_rows(run, "coherent_accuracy", coherently.T, test)


def probability_of(classes, probabilities, of_none=0.0):
    """The probability [N] of each class [N] among [N, C]; of -1 `of_none`."""
    given = probabilities.gather(1, classes.clamp(min=0)[:, None])[:, 0]
    return torch.where(classes < 0, of_none, given)


def calibration_error(chosen, labels, bins=15):
    """Expected calibration error (Guo et al., ICML 2017): the mean over samples with a label of
    |accuracy - probability| of their bin; bins divide 0..1 evenly.

    Args:
        chosen: classes [N] and their probabilities [N].
    """
    predicted, probability = (part[labels >= 0] for part in chosen)
    excess = probability.double() - (predicted == labels[labels >= 0]).double()
    place = (probability * bins).long().clamp(max=bins - 1)
    return float(excess.new_zeros(bins).index_add_(0, place, excess).abs().sum() / len(excess))


def coherent(probabilities, paths):
    """Scores by which a parent is at least as likely as each of its children: L tensors [M, C].

    The max constraint of C-HMCNN (Giunchiglia and Lukasiewicz, NeurIPS 2020): a class scores the
    most of its own and its descendants' probabilities. metrics.top_down makes paths of them.
    probabilities: L tensors [M, C], C classes; paths: int64 [P, L], the label tuples that exist, -1
    where one ends above.
    """
    scores = list(probabilities)
    for level in reversed(range(len(scores) - 1)):
        edges = paths[:, level : level + 2].unique(dim=0)
        parents, children = edges[(edges >= 0).all(1)].T
        below = scores[level + 1][:, children]
        scores[level] = scores[level].scatter_reduce(1, parents.expand_as(below), below, "amax")
    return scores


def embedding_evaluation(run, split="test"):
    """Rows of k-NN, silhouette and NMI per level, and of explained variance and effective rank.

    "knn_accuracy" is of the encoder's features; all others are of the embedding z behind the head,
    L2-normalised ("embedding_knn_accuracy" too). Level "all" where a number belongs to no level.
    """
    train, test = run.data("train"), run.data(split)
    z_train, z_test = (F.normalize(run.embeddings(part), dim=1) for part in ("train", split))
    rows = [runs.row(run, "all", "explained_variance", measures.explained_variance(z_test))]
    rows.append(runs.row(run, "all", "effective_rank", measures.effective_rank(z_test)))
    features = run.features("train"), run.features(split)
    rows += _knn_rows(run, "knn_accuracy", *features, train, test)
    rows += _knn_rows(run, "embedding_knn_accuracy", z_train, z_test, train, test)
    return rows + _cluster_rows(run, z_test, test)


def _knn_rows(run, metric, known, asked, train, test):
    labels = torch.from_numpy(train.labels)
    predictions = metrics.knn_predictions(known, labels, asked, train.class_counts)
    return level_rows(run, metric, predictions.T, test)


def _cluster_rows(run, embeddings, test):
    rows = []
    for level, column in zip(test.level_names, test.labels.T):
        labels = torch.from_numpy(column)
        known = labels[labels >= 0]
        if not 1 < len(known.unique()) < len(known):  # there is nothing to separate
            continue
        rows.append(runs.row(run, level, "silhouette", metrics.silhouette(embeddings, labels)))
        rows.append(runs.row(run, level, "nmi", measures.cluster_agreement(embeddings, labels)))
    return rows
