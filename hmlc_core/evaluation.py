"""What a frozen encoder is worth: linear evaluation, k-NN, and statistics of the embedding."""
import torch
import torch.nn.functional as F
from sklearn.cluster import KMeans
from sklearn.metrics import normalized_mutual_info_score
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


def linear_logits(train, train_labels, test, classes):
    """Logits [M, classes] of test features [M, F] by a linear classifier fitted on the training features."""
    train, test = standardise(train, test)
    weight, bias = fit_linear(train, train_labels, classes)
    return F.linear(test, weight, bias)


def knn_predictions(train, train_labels, test, classes, neighbours=20):
    """Class of each test vector at each level by cosine k-NN, weighted by similarity (neighbours by scikit-learn).

    Args:
        train: float [N, F]; train_labels: int64 [N, L], -1 = unknown: no neighbour at that level; test: float [M, F].
        classes: number of classes of each level.

    Returns:
        int64 [M, L].
    """
    found, predictions = {}, []
    for labels, count in zip(train_labels.T, classes):
        known = labels >= 0
        key = known.numpy().tobytes()           # the search is the same for levels that know the same samples
        if key not in found:
            finder = NearestNeighbors(n_neighbors=min(neighbours, int(known.sum())), metric="cosine", algorithm="brute").fit(train[known].numpy())
            found[key] = tuple(map(torch.from_numpy, finder.kneighbors(test.numpy())))
        distance, index = found[key]
        votes = torch.zeros(len(test), count, dtype=distance.dtype)
        predictions.append(votes.scatter_add_(1, labels[known][index], 2 - distance).argmax(1))
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


def class_accuracies(predictions, labels):
    """Accuracy of each class that occurs in the labels, -1 left out."""
    return [accuracy(predictions[labels == k], labels[labels == k]) for k in labels[labels >= 0].unique()]


def top_down(logits, paths):
    """Decode from the top: at each level the best class among those that continue the classes chosen above it.

    Args:
        logits: L tensors [M, classes of the level]; paths: int64 [P, L], the label tuples that exist.

    Returns:
        int64 [M, L], each row one of the paths.
    """
    allowed = torch.ones(len(logits[0]), len(paths), dtype=torch.bool)
    for level, scores in enumerate(logits):
        best = scores[:, paths[:, level]].masked_fill(~allowed, -torch.inf).argmax(1)
        allowed &= paths[:, level] == paths[best, level][:, None]
    return paths[allowed.int().argmax(1)]


def path_metrics(independent, decoded, labels, paths):
    """Metrics of whole label tuples; samples with an unknown label left out.

    Args:
        independent: int64 [M, L], the best class of each level by itself; decoded: int64 [M, L] from top_down.
        labels: int64 [M, L]; paths: int64 [P, L], the label tuples that exist.

    Returns:
        dict: fpa (share with all levels right), tice (share of tuples that do not exist), both of independent heads;
        nlca (longest right prefix / L) and mistake_severity (levels below the last right ancestor, mean over the wrong
        samples), both top-down. Empty if no sample has all labels; no mistake_severity if nothing is wrong.
    """
    known = (labels >= 0).all(1)
    independent, decoded, labels = independent[known], decoded[known], labels[known]
    if not len(labels):
        return {}
    prefix = (decoded == labels).int().cumprod(1).sum(1)
    exists = (independent[:, None] == paths).all(2).any(1)
    height = (labels.shape[1] - prefix)[prefix < labels.shape[1]].double()
    metrics = {"fpa": (independent == labels).all(1), "tice": ~exists, "nlca": prefix / labels.shape[1]}
    return {name: float(value.double().mean()) for name, value in metrics.items()} | (
        {"mistake_severity": float(height.mean())} if len(height) else {})


def cluster_agreement(embeddings, labels):
    """Normalised mutual information of k-means clusters (as many as classes; scikit-learn) and labels; -1 left out."""
    known = labels >= 0
    clusters = KMeans(len(labels[known].unique()), n_init=1, random_state=0).fit_predict(embeddings[known].numpy())
    return float(normalized_mutual_info_score(labels[known].numpy(), clusters))


def linear_evaluation(run, split="test"):
    """Accuracy of one linear layer per level on the frozen encoder's features.

    Args:
        run: training.Run.
        split: what to test on, a split's name or a HierarchicalDataset; fitted on the training split, without augmentation.

    Returns:
        Rows for results, metric "linear_accuracy", one per level.
    """
    return _accuracy_rows(run, "linear_accuracy", [x.argmax(1) for x in _level_logits(run, split)], run.data(split))


def _level_logits(run, split):
    train, _, x_train, x_test = _splits(run, split, run.features)
    x_train, x_test, labels = (x.to(run.device) for x in (x_train, x_test, torch.from_numpy(train.labels)))
    return [linear_logits(x_train, labels[:, level], x_test, classes).cpu() for level, classes in enumerate(train.class_counts)]


def _accuracy_rows(run, metric, predictions, test, measure=accuracy):
    labels = torch.from_numpy(test.labels).T
    return [results.row(run, name, metric, measure(p, y)) for name, p, y in zip(test.level_names, predictions, labels) if (y >= 0).any()]


def hierarchical_evaluation(run, split, logits):
    """Rows of what the linear layers' logits (L tensors [M, classes]) say about the hierarchy: worst class per level,
    accuracy per level when decoded from the top, and path_metrics (level "all")."""
    test, labels = run.data(split), torch.from_numpy(run.data(split).labels)
    paths = torch.from_numpy(run.data("train").labels).unique(dim=0)
    paths = paths[(paths >= 0).all(1)]
    independent = torch.stack([x.argmax(1) for x in logits], 1)
    rows = _accuracy_rows(run, "worst_class_accuracy", independent.T, test, lambda p, y: min(class_accuracies(p, y)))
    rows += tail_rows(run, independent[:, -1], test)
    if not len(paths):          # no training sample has all labels, so nothing says which go together
        return rows
    decoded = top_down(logits, paths)
    rows += _accuracy_rows(run, "top_down_accuracy", decoded.T, test)
    return rows + [results.row(run, "all", name, value) for name, value in path_metrics(independent, decoded, labels, paths).items()]


def tail_rows(run, predictions, test):
    """Accuracy over the third of the finest level's classes that is most and least frequent in training ("head_accuracy" and
    "tail_accuracy"); nothing if all are equally frequent within a factor of 2."""
    labels, name = torch.from_numpy(test.labels[:, -1]), test.level_names[-1]
    train = torch.from_numpy(run.data("train").labels[:, -1])
    counts = torch.bincount(train[train >= 0], minlength=test.class_counts[-1])
    order, third = counts.argsort(descending=True, stable=True), max(len(counts) // 3, 1)
    if counts.max() <= 2 * counts.min():
        return []
    return [results.row(run, name, metric, accuracy(predictions[part], labels[part])) for metric, classes in
            (("head_accuracy", order[:third]), ("tail_accuracy", order[-third:])) for part in [torch.isin(labels, classes)] if part.any()]


def evaluate(run, split="test"):
    """All rows of a run: of its linear layers and of its embedding, computed once and kept in the run's folder."""
    def rows():
        logits = _level_logits(run, split)
        accuracies = _accuracy_rows(run, "linear_accuracy", [x.argmax(1) for x in logits], run.data(split))
        return accuracies + hierarchical_evaluation(run, split, logits) + embedding_evaluation(run, split)
    return results.kept(run, f"evaluation-{run.data(split).fingerprint}-{files.code_hash(__file__)}.csv", rows)


def _splits(run, split, represent):
    return run.data("train"), run.data(split), represent("train"), represent(split)


def embedding_evaluation(run, split="test"):
    """k-NN accuracy, silhouette and cluster agreement (NMI) per level, explained variance and effective rank of the embedding z.

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
        known = y_test[y_test[:, level] >= 0, level]
        rows += [results.row(run, name, metric, accuracy(predictions[:, level], y_test[:, level])) for metric, predictions in knn.items() if len(known)]
        if 1 < len(known.unique()) < len(known):        # else there is nothing to separate
            rows.append(results.row(run, name, "silhouette", silhouette(z_test, y_test[:, level])))
            rows.append(results.row(run, name, "nmi", cluster_agreement(z_test, y_test[:, level])))
    return rows
