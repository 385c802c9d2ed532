"""G-HMLC's masks: batched EM beside scikit-learn's GaussianMixture in a loop, started alike; and
how far from convergence its 20 steps are, on noise and on embeddings of the committed weights."""

import warnings

import numpy as np
import torch
from common import median_seconds, report
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture

from hmlc_core import load_weights, masks
from hmlc_core.data.dataset import sample

MNIST, BOTH = "hierarchical_mnist", ("g_hmlc", "a_hmlc")
warnings.simplefilter("ignore", ConvergenceWarning)


def scikit_learn(z, iterations=20):
    """Level of each coordinate, by one GaussianMixture a sample."""
    return torch.from_numpy(np.stack([_levels(row, iterations) for row in z.double().numpy()]))


def _levels(values, iterations):
    """Started as gmm_masks, with two equal halves; scikit-learn starts behind the first M step."""
    halves = np.array_split(np.sort(values), 2)
    floor = 1e-6 * values.var()
    mixture = GaussianMixture(
        2,
        covariance_type="diag",
        max_iter=iterations - 1,
        tol=0,
        reg_covar=floor,
        weights_init=[0.5, 0.5],
        means_init=[[half.mean()] for half in halves],
        precisions_init=[[1 / (half.var() + floor)] for half in halves],
    )
    labels = mixture.fit_predict(values[:, None])
    return labels != mixture.means_[:, 0].argmax()


normal = torch.randn(256, 128, generator=torch.Generator().manual_seed(0))
groups = normal + 3.0 * (torch.arange(128) % 2)
for name, z in (("normal", normal), ("two separate groups", groups)):
    same = (masks.gmm_masks(z, 2)[1].bool() == scikit_learn(z)).double().mean()
    print(f"coordinates in the same level as scikit-learn's, {name}: {100 * same:.2f} %")
test = sample(2000, 500)
trained = {method: load_weights(MNIST, method).embeddings("test")[test] for method in BOTH}
for name, z in ({"normal": normal} | trained).items():
    moved = (masks.gmm_masks(z, 2)[1] != masks.gmm_masks(z, 2, iterations=400)[1]).double().mean()
    print(f"coordinates that 400 steps put into another level than 20, {name}: {100 * moved:.1f} %")
ways = {
    "gmm_masks": lambda: masks.gmm_masks(normal, 2),
    "scikit-learn in a loop": lambda: scikit_learn(normal),
}
report("256 embeddings x 128, two components", median_seconds(ways, rounds=5), "gmm_masks")
