"""What this study's claims measure of embeddings beside hmlc_core.metrics: variance, clusters."""

import torch
from sklearn.cluster import KMeans
from sklearn.metrics import normalized_mutual_info_score

from hmlc_core.metrics import known_samples, require_variance


def cluster_agreement(embeddings, labels):
    """NMI of labels [N] and k-means clusters of [N, D], as many as classes; -1 left out."""
    z, labels = known_samples(embeddings, labels)
    clusters = KMeans(len(labels.unique()), n_init=1, random_state=0).fit_predict(z.cpu().numpy())
    return float(normalized_mutual_info_score(labels.cpu().numpy(), clusters))


def covariance_spectrum(embeddings):
    """Eigenvalues of the covariance of embeddings [N, D], largest first, in float64: the first
    min(N, D), others are 0."""
    require_variance(embeddings)
    centred = (embeddings - embeddings.mean(0)).double()
    return torch.linalg.svdvals(centred).square() / len(embeddings)


def explained_variance(embeddings, components=2):
    """Share of variance in the first components, 0..1: one reading of the paper's "variance"."""
    spectrum = covariance_spectrum(embeddings)
    return float(spectrum[:components].sum() / spectrum.sum())


def effective_rank(embeddings):
    """Participation ratio (sum of eigenvalues)^2 / sum of squares, 1..D: our other reading."""
    spectrum = covariance_spectrum(embeddings)
    return float(spectrum.sum() ** 2 / spectrum.square().sum())
