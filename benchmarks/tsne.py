"""openTSNE beside scikit-learn's TSNE: 2,000 clustered points x 64, PCA start, perplexity 30."""

import openTSNE
import torch
from common import median_seconds, report
from sklearn.manifold import TSNE

generator = torch.Generator().manual_seed(0)
centres = 3 * torch.randn(10, 64, generator=generator)
points = (centres[torch.arange(2000) % 10] + torch.randn(2000, 64, generator=generator)).numpy()
SAME = dict(perplexity=30, random_state=0)
ways = {
    "openTSNE": lambda: openTSNE.TSNE(initialization="pca", n_jobs=-1, **SAME).fit(points),
    "scikit-learn": lambda: TSNE(init="pca", **SAME).fit_transform(points),
}
report("t-SNE of 2,000 x 64", median_seconds(ways, rounds=5), "openTSNE")
