"""The loss, forward and backward: beside pytorch-metric-learning's SupConLoss, and what a further level costs.

pip install pytorch-metric-learning
"""
import torch
import torch.nn.functional as F
from common import median_seconds, report
from pytorch_metric_learning.losses import SupConLoss

from hmlc_core import losses, masks

DIM, CLASSES = 128, (20, 100, 500, 1000)


def batch(samples, levels, dim=DIM):
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(samples, 2, dim, generator=generator).requires_grad_()
    return z, torch.stack([torch.randint(count, (samples,), generator=generator) for count in CLASSES[:levels]], 1)


def ours(samples, levels, make, dim=DIM):
    z, labels = batch(samples, levels, dim)
    fixed = make(z.detach().flatten(0, 1), levels).unflatten(1, (samples, 2))

    def step():
        z.grad = None
        losses.masked_hierarchical_loss(z, labels, fixed).backward()
    return step


def theirs(samples, levels):
    """One call a level on the masked, normalised embeddings, as its users would write it."""
    z, labels = batch(samples, levels)
    fixed, supcon = masks.split_masks(z.detach().flatten(0, 1), levels), SupConLoss(temperature=0.1)

    def step():
        z.grad = None
        flat = z.flatten(0, 1)
        sum(supcon(F.normalize(flat * mask, dim=1), y.repeat_interleave(2)) for mask, y in zip(fixed, labels.T)).backward()
    return step


def main():
    for samples in (256, 1024):
        name = "hmlc, a mask per level"
        report(f"{samples} samples, two views, two levels, D = {DIM}", median_seconds({
            name: ours(samples, 2, masks.split_masks), "hmlc, embedding shared": ours(samples, 2, masks.shared_masks),
            "pytorch-metric-learning's SupConLoss, once a level": theirs(samples, 2)}), name)
    for title, make in (("embedding shared", masks.shared_masks), ("a mask per level", masks.split_masks)):
        ways = {f"{levels} level{'s' * (levels > 1)}": ours(1024, levels, make) for levels in (1, 2, 3, 4)}
        report(f"1,024 samples, two views: cost of further levels, {title}", median_seconds(ways), "1 level")


if __name__ == "__main__":
    main()
