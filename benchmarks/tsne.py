"""openTSNE beside scikit-learn's TSNE: 2,000 clustered points x 64, as many as notebook 05 draws, PCA initialisation, perplexity 30."""
import openTSNE
import torch
from common import median_seconds, report
from sklearn.manifold import TSNE

generator = torch.Generator().manual_seed(0)
points = (3 * torch.randn(10, 64, generator=generator)[torch.arange(2000) % 10] + torch.randn(2000, 64, generator=generator)).numpy()
report("t-SNE of 2,000 x 64", median_seconds({
    "openTSNE": lambda: openTSNE.TSNE(perplexity=30, initialization="pca", random_state=0, n_jobs=-1).fit(points),
    "scikit-learn": lambda: TSNE(perplexity=30, init="pca", random_state=0).fit_transform(points)}, rounds=5), "openTSNE")
