"""The loss, forward and backward: beside pytorch-metric-learning's SupConLoss, and its levels.

pip install pytorch-metric-learning
"""

import torch
import torch.nn.functional as F
from common import median_seconds, report

from hmlc_core import losses, masks

DIM, CLASSES = 128, (20, 100, 500, 1000)


def batch(samples, levels, dim=DIM):
    """Embeddings [samples, 2, dim] and labels [samples, levels]."""
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(samples, 2, dim, generator=generator).requires_grad_()
    labels = [torch.randint(k, (samples,), generator=generator) for k in CLASSES[:levels]]
    return z, torch.stack(labels, 1)


def ours(samples, levels, make, dim=DIM):
    """A step of the masked loss; one mask for all levels if make gives the same for each."""
    z, labels = batch(samples, levels, dim)
    fixed = make(z.detach().flatten(0, 1), levels).unflatten(1, (samples, 2))
    if make is masks.shared_masks:
        fixed = fixed[:1]

    def step():
        z.grad = None
        losses.masked_hierarchical_loss(z, labels, fixed).backward()

    return step


def theirs(samples, levels):
    """One call a level on the masked, normalised embeddings, as its users would write it."""
    from pytorch_metric_learning.losses import SupConLoss

    z, labels = batch(samples, levels)
    fixed = masks.split_masks(z.detach().flatten(0, 1), levels)
    supcon = SupConLoss(temperature=0.1)

    def step():
        z.grad = None
        flat = z.flatten(0, 1)
        terms = [
            supcon(F.normalize(flat * mask, dim=1), y.repeat_interleave(2))
            for mask, y in zip(fixed, labels.T)
        ]
        sum(terms).backward()

    return step


def main():
    split, shared = masks.split_masks, masks.shared_masks
    for samples in (256, 1024):
        ways = {
            "hmlc, a mask per level": ours(samples, 2, split),
            "hmlc, embedding shared": ours(samples, 2, shared),
            "pytorch-metric-learning's SupConLoss, once a level": theirs(samples, 2),
        }
        title = f"{samples} samples, two views, two levels, D = {DIM}"
        report(title, median_seconds(ways), "hmlc, a mask per level")
    for title, make in (("embedding shared", shared), ("a mask per level", split)):
        ways = {f"levels: {levels}": ours(1024, levels, make) for levels in (1, 2, 3, 4)}
        report(f"1,024 samples, two views, {title}", median_seconds(ways), "levels: 1")


if __name__ == "__main__":
    main()
