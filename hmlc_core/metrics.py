"""What features and embeddings are worth: pure functions."""

import torch
import torch.nn.functional as F
from sklearn.neighbors import NearestNeighbors

from hmlc_core.checks import in_single, require, require_embeddings


def fit_linear(features, labels, classes, weight_decay=1e-4, max_steps=500):
    """Weight [classes, F] and bias [classes] of a logistic regression on float [N, F], int64 [N].

    L-BFGS from zero minimises mean cross-entropy + weight_decay / 2 * |W|^2 (bias free), which is
    convex: no seed, no step size. Labels of -1 are left out.
    """
    x, y = known_samples(features, labels)
    weight = x.new_zeros(classes, x.shape[1], requires_grad=True)
    bias = x.new_zeros(classes, requires_grad=True)
    ends = dict(max_iter=max_steps, tolerance_grad=1e-5, tolerance_change=1e-9)
    optimizer = torch.optim.LBFGS([weight, bias], line_search_fn="strong_wolfe", **ends)

    def objective():
        optimizer.zero_grad()
        penalty = weight_decay / 2 * weight.square().sum()
        loss = F.cross_entropy(F.linear(x, weight, bias), y) + penalty
        loss.backward()
        return loss

    optimizer.step(objective)
    return weight.detach(), bias.detach()


def known_samples(values, labels):
    """Values [K, ...] and labels [K] of the samples whose label is known."""
    require_embeddings(values)
    require(not labels.is_floating_point(), f"labels must be integers, not {labels.dtype}")
    known = labels >= 0
    require(known.any(), f"none of {len(labels)} samples has a label: leave this level out")
    return in_single(values.detach())[known], labels[known].long()


def linear_logits(train, train_labels, test, classes):
    """Logits [M, classes] of test features [M, F] by fit_linear on the training features [N, F];
    both are scaled to zero mean and unit variance over the training set, where that varies."""
    require_embeddings(test, what="test features")
    _require_alike(train[:0], test[:0])
    train, test = in_single(train), test.to(in_single(train).dtype)
    mean, scale = train.mean(0), train.std(0).clamp(min=1e-6)
    scale = torch.where(scale > 1e-5 * mean.abs(), scale, 1)
    weight, bias = fit_linear((train - mean) / scale, train_labels, classes)
    return F.linear((test - mean) / scale, weight, bias)


def knn_predictions(train, train_labels, test, classes, neighbours=20, temperature=0.07):
    """Classes int64 [M, L] of test vectors [M, F] by cosine k-NN among train vectors [N, F].

    A neighbour votes with exp(cosine / temperature) (Wu et al., CVPR 2018). train_labels: int64
    [N, L]; -1 = unknown, no neighbour at that level. classes: L numbers of classes.
    """
    require_embeddings(test)
    searches, predictions = {}, []
    for labels, count in zip(train_labels.T, classes, strict=True):
        vectors, own = known_samples(train, labels)
        key = (labels >= 0).numpy().tobytes()  # levels that know the same samples share a search
        if key not in searches:
            finder = NearestNeighbors(n_neighbors=min(neighbours, len(own)), metric="cosine")
            found = finder.fit(vectors.numpy()).kneighbors(in_single(test.detach()).numpy())
            searches[key] = [torch.from_numpy(part) for part in found]
        distance, index = searches[key]
        votes = torch.zeros(len(test), count, dtype=distance.dtype)
        weights = torch.exp((distance[:, :1] - distance) / temperature)  # of the nearest: 1
        predictions.append(votes.scatter_add_(1, own[index], weights).argmax(1))
    return torch.stack(predictions, 1)


def silhouette(embeddings, labels):
    """Mean silhouette (cosine) of classes [N] in embeddings [N, D], -1..1 (Rousseeuw 1987).

    Exact without an N x N matrix: with cosine distances the mean distance to a class needs its mean
    vector only. Labels of -1 are left out; a class of one sample counts 0.
    """
    require_variance(embeddings)
    z, labels = known_samples(embeddings, labels)
    classes, own = labels.unique(return_inverse=True)
    wanted = f"silhouette needs 2 to {len(z) - 1} classes for {len(z)} samples"
    require(1 < len(classes) < len(z), f"{wanted}, not {len(classes)}")
    z, members = F.normalize(z.double(), dim=1), F.one_hot(own).double()
    count, row = members.sum(0), torch.arange(len(z), device=z.device)
    similarity = z @ (members.T @ z).T  # to the sum of each class [N, classes]
    within = 1 - (similarity[row, own] - z.square().sum(1)) / (count[own] - 1).clamp(min=1)
    to_others = 1 - similarity / count
    to_others[row, own] = torch.inf
    nearest = to_others.amin(1)
    values = (nearest - within) / torch.maximum(nearest, within).clamp(min=1e-12)
    return float(torch.where(count[own] > 1, values, 0).mean())


def require_variance(embeddings):
    """Raise unless embeddings [N, D] are sound and differ."""
    require_embeddings(embeddings)
    require((embeddings != embeddings[:1]).any(), f"all {len(embeddings)} embeddings are the same")


def accuracy(predictions, labels):
    """Share of the known labels [N] (not -1) that are predicted right; NaN if none is known."""
    _require_alike(predictions, labels)
    known = labels >= 0
    return float((predictions[known] == labels[known]).double().mean())


def _require_alike(*tensors):
    require(len({x.shape for x in tensors}) == 1, f"shapes differ: {[[*x.shape] for x in tensors]}")


def top_down(logits, paths):
    """Paths [M, L]: at each level the best class among those that continue the path so far.

    logits: L tensors [M, C], C classes; paths: int64 [P, L], the label tuples that exist, -1 where
    one ends above.
    """
    require(len(paths) > 0, "there is no path to choose: no sample has labels from the top on")
    require(len(logits) == paths.shape[1], f"{len(logits)} logits for {paths.shape[1]} levels")
    allowed = torch.ones(len(logits[0]), len(paths), dtype=torch.bool)
    for level, scores in enumerate(logits):
        best = scores[:, paths[:, level].clamp(min=0)].masked_fill(~allowed, -torch.inf).argmax(1)
        allowed &= paths[:, level] == paths[best, level][:, None]
    return paths[allowed.int().argmax(1)]


def path_metrics(independent, decoded, labels, paths):
    """Metrics of label tuples, a dict; {} if no sample has all labels, which others are left out.

    independent: int64 [M, L], the best class of each level by itself, gives fpa (share with all
    levels right) and tice (share of tuples that are none of the paths [P, L]). decoded: [M, L],
    from top_down, gives nlca (longest right prefix / L) and mistake_severity (levels below the last
    right ancestor, mean over the wrong samples; left out if there are none). labels: int64 [M, L].
    """
    _require_alike(independent, decoded, labels)
    _require_alike(labels[:0], paths[:0])
    known = (labels >= 0).all(1)
    independent, decoded, labels = independent[known], decoded[known], labels[known]
    if not len(labels):
        return {}
    levels, prefix = labels.shape[1], (decoded == labels).int().cumprod(1).sum(1)
    exists = (independent[:, None] == paths).all(2).any(1)
    metrics = {"fpa": (independent == labels).all(1), "tice": ~exists, "nlca": prefix / levels}
    if (prefix < levels).any():
        metrics["mistake_severity"] = (levels - prefix)[prefix < levels]
    return {name: float(value.double().mean()) for name, value in metrics.items()}
