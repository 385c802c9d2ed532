"""Twenty groups induced from CIFAR-100's classes beside its superclasses: SupCon, trained on the
100 classes alone for six epochs at one temperature, seeds 0 to 2."""

from dataclasses import replace

import common  # noqa: F401, puts the project on the path
import torch

from hmlc_core import load_dataset, pretrain
from study import induced, plan

settings = replace(plan.usual_settings("cpu", "cifar100"), **plan.SHORT["cifar100"])
train = load_dataset("cifar100", settings, "train")
labels = torch.from_numpy(train.labels[:, 1])
parents = dict(train.labels[:, ::-1].tolist())
given = [parents[k] for k in range(100)]
for seed in range(3):
    run = pretrain(train, "supcon", settings, seed, progress=False)
    group, _ = induced.induce(run.features("train"), labels, 100, 20)
    value, tried = induced.agreement(group, given), torch.randperm(100).tolist()
    chance = induced.agreement([group[k] for k in tried], given)
    print(f"seed {seed}: adjusted Rand index {value:.2f}, of shuffled classes {chance:.2f}")
