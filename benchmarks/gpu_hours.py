"""GPU hours of profile `gpu`, an estimate: operations counted on the meta device, over what ResNets
sustain in mixed precision: 60 TFLOP/s on an A100, 10 on a T4 (2,500 and 400 images/s of ResNet-50's
training on ImageNet)."""

from collections import Counter
from unittest import mock

import torch
import torchvision
from common import methods
from torch.utils.flop_counter import FlopCounterMode

from hmlc_core.data.load import kind_of
from hmlc_core.settings import preset
from study import plan

SUSTAINED = {"A100": 60e12, "T4": 10e12}
SAMPLES = {  # training images
    "hierarchical_mnist": 54_000,
    "cifar100": 50_000,
    "modelnet10": 9 * 3_991,
    "modelnet40": 9 * 9_843,
}
VIEWS = 8


def sample_flops(name):
    """Operations of a training step for one image, both views."""
    settings = preset("gpu", kind_of(name))
    channels = 1 if name == "hierarchical_mnist" else 3  # a pretrained net makes three of one
    real = torchvision.models.resnet50
    untrained = mock.patch("torchvision.models.resnet50", lambda weights: real(weights=None))
    with torch.device("meta"), untrained:
        model = methods.Model(methods.get("split"), settings, channels, [10, 10])
        pictures = torch.rand(VIEWS, channels, settings.canvas, settings.canvas)
    with FlopCounterMode(display=False) as counter:
        model.encoder(pictures).sum().backward()
    return 2 * counter.get_total_flops() / VIEWS


def main():
    cost = {name: sample_flops(name) * samples for name, samples in SAMPLES.items()}  # an epoch
    work, runs = Counter(), Counter()
    for planned in plan.planned_runs("gpu", list(plan.EXTRAS)):
        name = plan.variant_of(planned.dataset)
        work[name] += cost[name] * planned.settings.epochs
        runs[name] += 1
    columns = [f"one run, {card}" for card in SUSTAINED] + ["runs"]
    columns += [f"all, {card}" for card in SUSTAINED]
    print("| data set | " + " | ".join(columns) + " |\n|" + " --- |" * (1 + len(columns)))
    for name in SAMPLES:
        one = cost[name] * preset("gpu", kind_of(name)).epochs
        cells = [f"{one / 3600 / speed:.1f} h" for speed in SUSTAINED.values()] + [str(runs[name])]
        cells += [f"{work[name] / 3600 / speed:,.0f} h" for speed in SUSTAINED.values()]
        print(f"| {name} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
