"""What HMCE's bound, "a coarse pair may not cost less than a finer one", does to the coarse level.

python benchmarks/bounds.py DATA_SET ...     those of which weights come with the project
"""

import sys

import torch
from common import CPU

from hmlc_core import devices, load_weights, losses
from hmlc_core.views import two_views

BATCHES = 5


def embedded(run, number):
    """Embeddings [B, 2, D] of a batch of training pictures, augmented, and its labels [B, 2]."""
    torch.manual_seed(number)
    chosen = torch.randperm(len(run.dataset))[: run.settings.batch_size]
    pictures = torch.from_numpy(run.dataset.images[chosen.numpy()])
    views = two_views(pictures, run.settings.augmentation)
    with torch.no_grad():
        _, z = run.model.train().embed(views.flatten(0, 1), devices.autocast(CPU))
    labels = torch.from_numpy(run.dataset.labels[chosen.numpy()])
    return z.unflatten(0, views.shape[:2]).requires_grad_(), labels


def of_paper(z, labels, temperature):
    """Share of coarse pairs below the bound; share of the coarse term's squared gradient in two
    views; norm of that gradient over the finer term's."""
    x, y = losses.samples(z, labels, temperature)
    similarity = losses.similarities(losses.unit(x), losses.unit(x), temperature)
    (coarse, positive), (fine, finer) = (losses.pair_losses(similarity, level) for level in y.T)
    below = (coarse[positive] < fine[finer].amax()).float().mean()
    terms = losses.hmce_loss(z, labels, temperature, "paper", reduction="none")
    first, second = (torch.autograd.grad(t, z, retain_graph=True)[0].flatten(0, 1) for t in terms)
    squares = first.square().sum(1)
    return below, squares.topk(2).values.sum() / squares.sum(), first.norm() / second.norm()


def of_released(z, labels, temperature):
    """Whether the coarse level's loss is the finer one's, 0 or 1."""
    coarse, fine = losses.hmce_released_loss(z, labels, temperature, reduction="none")
    return (torch.isclose(coarse * torch.e**0.5, fine, rtol=1e-5).float(),)


def main(datasets):
    for dataset in datasets:
        for method, measure in (("hmce_paper", of_paper), ("hmce_released", of_released)):
            run = load_weights(dataset, method, device="cpu")
            found = [measure(*embedded(run, n), run.settings.temperature) for n in range(BATCHES)]
            means = torch.tensor(found).mean(0).tolist()
            print(dataset, method, *(f"{value:.4g}" for value in means))


if __name__ == "__main__":
    if len(sys.argv) < 2:
        raise SystemExit(__doc__)
    main(sys.argv[1:])
