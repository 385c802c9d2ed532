"""G-HMLC's masks: batched EM beside scikit-learn's GaussianMixture in a loop, started alike; and as a share of a training step."""
import warnings

import numpy as np
import torch
from common import median_seconds, report
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture

from hmlc_core import masks

warnings.simplefilter("ignore", ConvergenceWarning)


def scikit_learn(z, iterations=20):
    """Level of each coordinate, by one GaussianMixture a sample, started as gmm_masks (two equal halves). scikit-learn starts with
    parameters, so behind the first M step."""
    found = []
    for values in z.double().numpy():
        halves = np.sort(values)[:len(values) // 2], np.sort(values)[len(values) // 2:]
        mixture = GaussianMixture(2, covariance_type="diag", max_iter=iterations - 1, tol=0, reg_covar=1e-6 * values.var(), weights_init=[0.5, 0.5],
                                  means_init=[[h.mean()] for h in halves], precisions_init=[[1 / (h.var() + 1e-6 * values.var())] for h in halves])
        labels = mixture.fit_predict(values[:, None])
        found.append(labels != mixture.means_[:, 0].argmax())
    return torch.from_numpy(np.stack(found))


for name, z in (("normal", torch.randn(256, 128, generator=torch.Generator().manual_seed(0))),
                ("two separate groups", torch.randn(256, 128, generator=torch.Generator().manual_seed(0)) + 3.0 * (torch.arange(128) % 2))):
    same = (masks.gmm_masks(z, 2)[1].bool() == scikit_learn(z)).double().mean()
    print(f"coordinates in the same level as scikit-learn's, {name}: {100 * same:.2f} %")
report("256 embeddings x 128, two components", median_seconds({
    "gmm_masks": lambda: masks.gmm_masks(z, 2), "scikit-learn in a loop": lambda: scikit_learn(z)}, rounds=5), "gmm_masks")
