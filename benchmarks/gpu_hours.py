"""GPU hours of profiles `gpu` and `paper`, an estimate: operations counted on the meta device, over
what ResNets sustain in mixed precision: 60 TFLOP/s on an A100, 10 on a T4 (2,500 and 400 images/s
of ResNet-50's training on ImageNet)."""

from collections import Counter
from unittest import mock

import torch
import torchvision
from common import methods
from torch.utils.flop_counter import FlopCounterMode

from hmlc_core.data.load import kind_of
from hmlc_core.settings import preset
from study import plan, work

SUSTAINED = {"A100": 60e12, "T4": 10e12}
DATASETS = (plan.MNIST, *plan.TABLE1)
VIEWS = 8


def sample_flops(name, settings):
    """Operations of a training step for one image, both views."""
    channels = 1 if name == "hierarchical_mnist" else 3  # a pretrained net makes three of one
    real = torchvision.models.resnet50
    untrained = mock.patch("torchvision.models.resnet50", lambda weights: real(weights=None))
    with torch.device("meta"), untrained:
        model = methods.Model(methods.get("split"), settings, channels, [10, 10])
        pictures = torch.rand(VIEWS, channels, settings.canvas, settings.canvas)
    with FlopCounterMode(display=False) as counter:
        model.encoder(pictures).sum().backward()
    return 2 * counter.get_total_flops() / VIEWS


def run_flops(name, profile):
    """Operations of a whole run."""
    settings = preset(profile, kind_of(name))
    images = work.IMAGES.get(name, settings.train_size)
    return sample_flops(name, settings) * images * settings.epochs


def hours(flops):
    """What so many operations take on each card, as texts."""
    return [work.clock(flops / speed) for speed in SUSTAINED.values()]


def table(profile, extras):
    """Print what the runs of a profile cost by data set: one of them, and all."""
    cost = {name: run_flops(name, profile) for name in DATASETS}
    operations, runs = Counter(), Counter()
    for planned in plan.planned_runs(profile, extras):
        name = plan.variant_of(planned.dataset)
        if name in cost:
            share = planned.settings.epochs / preset(profile, kind_of(name)).epochs
            operations[name] += cost[name] * share
            runs[name] += 1
    columns = [f"one run, {card}" for card in SUSTAINED] + ["runs"]
    columns += [f"all, {card}" for card in SUSTAINED]
    print(f"\nprofile {profile}, --with {','.join(extras)}\n")
    print("| data set | " + " | ".join(columns) + " |\n|" + " --- |" * (1 + len(columns)))
    for name in runs:
        cells = [*hours(cost[name]), str(runs[name]), *hours(operations[name])]
        print(f"| {name} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    table("gpu", ["cifar100"])
    table("paper", list(plan.EXTRAS))
