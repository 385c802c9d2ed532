"""HMCE as released, and a mask per level, beside the code of HMCE's authors: values and times.

git clone https://github.com/salesforce/hierarchicalContrastiveLearning FOLDER
python benchmarks/hmce.py FOLDER
"""

import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from common import median_seconds, report
from loss import batch, ours

from hmlc_core import losses, masks

TEMPERATURE, LEVELS = 0.1, 2


def loss_of_theirs(folder):
    """The authors' losses, a module; SystemExit if the folder is not their repository."""
    if not (Path(folder) / "losses" / "losses.py").exists():
        raise SystemExit(f"{folder} has no losses/losses.py: give a clone of their repository")
    sys.path.insert(0, str(folder))
    from losses import losses as module  # their package has this name

    return module


def released(loss, samples):
    """A step of HMCE, with a number for each image behind its labels, and its value."""
    z, labels = batch(samples, LEVELS)
    labels = torch.cat([labels, torch.arange(samples)[:, None]], 1)

    def step():
        z.grad = None
        value = loss(F.normalize(z, dim=2), labels)
        value.backward()
        return value.detach()

    return step


def masked(supcon, samples):
    """A step of the authors' SupCon once a level on the masked, normalised embeddings."""
    z, labels = batch(samples, LEVELS)
    fixed = masks.split_masks(z.detach().flatten(0, 1), LEVELS).unflatten(1, (samples, 2))

    def step():
        z.grad = None
        pairs = zip(fixed, labels.T)
        sum(supcon(F.normalize(z * mask, dim=2), y) for mask, y in pairs).backward()

    return step


def main(folder):
    module = loss_of_theirs(folder)
    theirs = module.HMLC(temperature=TEMPERATURE, layer_penalty=torch.exp)  # as they train
    supcon = module.SupConLoss(temperature=TEMPERATURE, base_temperature=TEMPERATURE)
    for samples in (256, 1024):
        ways = {
            "hmlc, HMCE as released": released(
                lambda z, y: losses.hmce_loss(z, y, TEMPERATURE, "released"), samples
            ),
            "its authors' HMCE": released(theirs, samples),
            "hmlc, a mask per level": ours(samples, LEVELS, masks.split_masks),
            "their SupCon, once a level": masked(supcon, samples),
        }
        values = [ways[name]().item() for name in list(ways)[:2]]
        print(f"\n{samples} samples: HMCE is {values[0]:.6f}, its authors' {values[1]:.6f}")
        seconds = median_seconds(ways)
        for mine, other in (list(ways)[:2], list(ways)[2:]):
            report(f"{samples} samples", {k: seconds[k] for k in (mine, other)}, mine)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    main(sys.argv[1])
