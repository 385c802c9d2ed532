"""What a frozen encoder is worth: linear evaluation, k-NN, and statistics of the embedding."""
import torch
import torch.nn.functional as F
from sklearn.neighbors import NearestNeighbors

from hmlc_core import files, results
from hmlc_core.checks import require, require_embeddings


def fit_linear(features, labels, classes, weight_decay=1e-4, max_steps=500):
    """Multinomial logistic regression by L-BFGS to convergence. Convex, from zero: no seed, no step size.

    Args:
        features: float [N, F]; labels: int64 [N], -1 left out.
        weight_decay: minimises mean cross-entropy + weight_decay / 2 * |W|^2 (bias free).

    Returns:
        weight [classes, F], bias [classes].
    """
    known = labels >= 0
    x, y = features[known], labels[known]
    weight = torch.zeros(classes, x.shape[1], device=x.device, requires_grad=True)
    bias = torch.zeros(classes, device=x.device, requires_grad=True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=max_steps, tolerance_grad=1e-5, tolerance_change=1e-9,
                                  line_search_fn="strong_wolfe")

    def objective():
        optimizer.zero_grad()
        loss = F.cross_entropy(F.linear(x, weight, bias), y) + weight_decay / 2 * weight.square().sum()
        loss.backward()
        return loss

    optimizer.step(objective)
    return weight.detach(), bias.detach()


def standardise(train, *others):
    """Scale features to zero mean and unit variance over the training set."""
    mean, scale = train.mean(0), train.std(0).clamp(min=1e-6)
    return [(x - mean) / scale for x in (train, *others)]


def linear_predictions(train, train_labels, test, classes):
    """Class [N] of each test feature by a linear classifier fitted on the training features."""
    train, test = standardise(train, test)
    weight, bias = fit_linear(train, train_labels, classes)
    return F.linear(test, weight, bias).argmax(1)


def knn_predictions(train, train_labels, test, classes, neighbours=20):
    """Class of each test vector at each level by cosine k-NN, weighted by similarity (neighbours by scikit-learn).

    Args:
        train: float [N, F]; train_labels: int64 [N, L], -1 = unknown: does not vote; test: float [M, F].
        classes: number of classes of each level.

    Returns:
        int64 [M, L].
    """
    finder = NearestNeighbors(n_neighbors=min(neighbours, len(train)), metric="cosine", algorithm="brute").fit(train.numpy())
    distance, index = map(torch.from_numpy, finder.kneighbors(test.numpy()))
    predictions = []
    for labels, count in zip(train_labels.T, classes):
        votes = torch.zeros(len(test), count + 1, dtype=distance.dtype)
        votes.scatter_add_(1, labels[index] % (count + 1), 2 - distance)        # -1 votes for the last column, which is dropped
        predictions.append(votes[:, :-1].argmax(1))
    return torch.stack(predictions, 1)


def silhouette(embeddings, labels):
    """Mean silhouette (cosine) of the classes in the embedding; -1..1, higher = better separated (Rousseeuw 1987).

    With cosine distances the mean distance to a class needs its mean vector only, so this is exact without an N x N matrix.
    Labels of -1 are left out; a class of one sample counts 0.
    """
    _require_variance(embeddings)
    known = labels >= 0
    z, (classes, own) = F.normalize(embeddings[known].double(), dim=1), labels[known].unique(return_inverse=True)
    require(1 < len(classes) < len(z), f"silhouette needs 2 to {len(z) - 1} classes for {len(z)} samples, not {len(classes)}")
    members = F.one_hot(own).double()
    count, row = members.sum(0), torch.arange(len(z))
    similarity = z @ (members.T @ z).T                                          # to the sum of each class [N, classes]
    within = 1 - (similarity[row, own] - 1) / (count[own] - 1).clamp(min=1)
    to_others = 1 - similarity / count
    to_others[row, own] = torch.inf
    nearest = to_others.amin(1)
    return float(torch.where(count[own] > 1, (nearest - within) / torch.maximum(nearest, within).clamp(min=1e-12), 0).mean())


def covariance_spectrum(embeddings):
    """Eigenvalues [D] of the embedding's covariance, largest first, in float64."""
    _require_variance(embeddings)
    centred = (embeddings - embeddings.mean(0)).double()
    return torch.linalg.svdvals(centred).square() / len(embeddings)


def explained_variance(embeddings, components=2):
    """Share of the variance in the first principal components, 0..1. One of our two readings of the paper's "variance"."""
    spectrum = covariance_spectrum(embeddings)
    return float(spectrum[:components].sum() / spectrum.sum())


def effective_rank(embeddings):
    """Participation ratio (sum of eigenvalues)^2 / sum of squares, 1..D. Our other reading of the paper's "variance"."""
    spectrum = covariance_spectrum(embeddings)
    return float(spectrum.sum() ** 2 / spectrum.square().sum())


def _require_variance(embeddings):
    require_embeddings(embeddings)
    require((embeddings != embeddings[:1]).any(), f"all {len(embeddings)} embeddings are the same: they have no variance")


def accuracy(predictions, labels):
    """Share of known labels (not -1) that are predicted right."""
    known = labels >= 0
    return float((predictions[known] == labels[known]).double().mean())


def linear_evaluation(run, split="test"):
    """Accuracy of one linear layer per level on the frozen encoder's features.

    Args:
        run: training.Run.
        split: what to test on, a split's name or a HierarchicalDataset; fitted on the training split, without augmentation.

    Returns:
        Rows for results, metric "linear_accuracy", one per level.
    """
    train, test, x_train, x_test = _splits(run, split, run.features)
    x_train, x_test = (x.to(run.device) for x in (x_train, x_test))
    rows = []
    for level, classes in enumerate(train.class_counts):
        y = torch.from_numpy(train.labels[:, level]).to(run.device)
        predictions = linear_predictions(x_train, y, x_test, classes).cpu()
        rows.append(results.row(run, train.level_names[level], "linear_accuracy",
                                accuracy(predictions, torch.from_numpy(test.labels[:, level]))))
    return rows


def evaluate(run, split="test"):
    """All rows of a run: linear_evaluation and embedding_evaluation, computed once and kept in the run's folder."""
    path = run.folder / f"evaluation-{run.data(split).fingerprint}-{files.code_hash(__file__)}.csv"
    if not path.exists():
        results.add(linear_evaluation(run, split) + embedding_evaluation(run, split), path)
    return results.read(path).to_dict("records")


def _splits(run, split, represent):
    return run.data("train"), run.data(split), represent("train"), represent(split)


def embedding_evaluation(run, split="test"):
    """k-NN accuracy and silhouette per level, explained variance and effective rank of the embedding z.

    k-NN also on the encoder's features ("knn_accuracy"); the others, and "embedding_knn_accuracy", on the L2-normalised z.
    Rows for results; level "all" where a number belongs to no level.
    """
    train, test, z_train, z_test = _splits(run, split, lambda s: F.normalize(run.embeddings(s), dim=1))
    rows = [results.row(run, "all", name, measure(z_test))
            for name, measure in (("explained_variance", explained_variance), ("effective_rank", effective_rank))]
    y_train, y_test = torch.from_numpy(train.labels), torch.from_numpy(test.labels)
    knn = {"knn_accuracy": knn_predictions(run.features("train"), y_train, run.features(split), train.class_counts),
           "embedding_knn_accuracy": knn_predictions(z_train, y_train, z_test, train.class_counts)}
    for level, name in enumerate(train.level_names):
        rows += [results.row(run, name, metric, accuracy(predictions[:, level], y_test[:, level])) for metric, predictions in knn.items()]
        rows.append(results.row(run, name, "silhouette", silhouette(z_test, y_test[:, level])))
    return rows
