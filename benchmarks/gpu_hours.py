"""GPU hours of profile `gpu`, an estimate: floating-point operations of forward and backward, counted on the meta device, over what
ResNets sustain in mixed precision: 60 TFLOP/s on an A100, 10 on a T4 (2,500 and 400 images/s of ResNet-50's training on ImageNet)."""
from collections import Counter
from unittest import mock

import torch
import torchvision
from common import training
from torch.utils.flop_counter import FlopCounterMode

from hmlc_core import profiles

SUSTAINED = {"A100": 60e12, "T4": 10e12}
SAMPLES = {"hierarchical_mnist": 54_000, "cifar100": 50_000, "modelnet10": 9 * 3_991, "modelnet40": 9 * 9_843}     # training images


def step_flops(dataset):
    """Operations of a training step of one image, both views."""
    profile, views = profiles.get("gpu", dataset), 8
    channels = 1 if dataset == "hierarchical_mnist" else 3      # a pretrained net's mean and deviation make three of one
    real = torchvision.models.resnet50
    with torch.device("meta"), mock.patch("torchvision.models.resnet50", lambda weights: real(weights=None)):
        model = training.Model(training.METHODS["split"], profile, channels, [10, 10])
        pictures = torch.rand(views, channels, profile.canvas, profile.canvas)
    with FlopCounterMode(display=False) as counter:
        model.encoder(pictures).sum().backward()
    return 2 * counter.get_total_flops() / views


def main():
    plans = profiles.planned_runs("gpu", list(profiles.EXTRAS))
    cost = {name: step_flops(name) * samples for name, samples in SAMPLES.items()}       # of an epoch
    hours, runs = Counter(), Counter()
    for plan in plans:
        name = profiles.variant_of(plan.dataset)
        hours[name] += cost[name] * plan.profile.epochs / 3600
        runs[name] += 1
    print("| data set | one run, A100 | one run, T4 | all runs | A100, all | T4, all |\n| --- | --- | --- | --- | --- | --- |")
    for name in SAMPLES:
        one = cost[name] * profiles.get("gpu", name).epochs / 3600
        print(f"| {name} | " + " | ".join(f"{one / speed:.1f} h" for speed in SUSTAINED.values()) + f" | {runs[name]} | "
              + " | ".join(f"{hours[name] / speed:,.0f} h" for speed in SUSTAINED.values()) + " |")


if __name__ == "__main__":
    main()
