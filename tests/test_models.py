"""Encoders, and a training step of every method: where it waits for values, and without any."""

import dataclasses
import urllib.error
from collections import Counter

import pytest
import torch
import torchvision
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from hmlc_core import checks, masks, models
from hmlc_core.methods import METHODS, Method, Model, Objective
from hmlc_core.settings import preset

TINY = dataclasses.replace(preset("smoke"), dim=16)
NO_AUTOCAST = torch.autocast("cpu", enabled=False)


@pytest.fixture
def pretrained(monkeypatch):
    build = torchvision.models.resnet50
    monkeypatch.setattr(torchvision.models, "resnet50", lambda weights: build(weights=None))
    return models.PretrainedResNet50()


def test_frozen_stages_keep_their_statistics_in_training(pretrained):
    pretrained.train().train().eval()
    pretrained.train()
    before = {name: value.clone() for name, value in pretrained.state_dict().items()}
    pretrained(torch.rand(2, 3, 64, 64)).sum().backward()
    changed = {k for k, v in pretrained.state_dict().items() if not torch.equal(v, before[k])}
    assert changed and all(name.startswith(("net.layer3", "net.layer4")) for name in changed)
    trained = {name for name, p in pretrained.named_parameters() if p.grad is not None}
    assert trained and all(name.startswith(("net.layer3", "net.layer4")) for name in trained)
    wrapped = torch.nn.Sequential(pretrained).train()  # as part of another module
    assert not wrapped[0].net.bn1.training and wrapped[0].net.layer4.training


def test_weights_that_cannot_be_had_are_named_with_their_place(monkeypatch, tmp_path):
    def offline(weights):
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr(torchvision.models, "resnet50", offline)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    where = f"no route to host.*: put https://.*/resnet50-11ad3fa6.pth into {tmp_path}/checkpoints"
    with pytest.raises(FileNotFoundError, match=where):
        models.build_encoder("resnet50_imagenet", 3)


def test_a_stem_that_there_is_not_is_named():
    with pytest.raises(ValueError, match="stem must be imagenet or cifar, not 'cifar10'"):
        models.resnet(3, 18, stem="cifar10")


@pytest.mark.parametrize("batch_norm", [True, False])
def test_projection_head(batch_norm):
    head = models.projection_head(6, 4, batch_norm)
    z = head(torch.randn(50, 6))
    assert z.shape == (50, 4) and sum(p.ndim == 2 for p in head.parameters()) == 2
    if batch_norm:
        assert torch.allclose(z.mean(0), torch.zeros(4), atol=1e-5)
        assert torch.allclose(z.std(0, correction=0), torch.ones(4), atol=1e-2)
    norms = [m for m in head if isinstance(m, torch.nn.BatchNorm1d)]
    assert len(norms) == 2 * batch_norm


WAITS = ("_local_scalar_dense", "nonzero", "unique", "equal.default", "masked_select")


class Waits(TorchDispatchMode):
    """Counts operations for whose result a GPU would have to wait."""

    def __init__(self):
        super().__init__()
        self.seen = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = str(func)
        by_mask = name.startswith("aten.index") and any(
            isinstance(index, torch.Tensor) and index.dtype == torch.bool
            for index in (args[1] if isinstance(args[1], (list, tuple)) else ())
        )
        if by_mask or any(word in name for word in WAITS):
            self.seen[name] += 1
        return func(*args, **(kwargs or {}))


def training_step(method, samples=12):
    model = Model(METHODS[method], TINY, 1, (3, 6)).train()
    labels = torch.stack([torch.arange(samples) % 3, torch.arange(samples) % 6], 1)
    terms = model(torch.rand(samples, 2, 1, 24, 24), labels, NO_AUTOCAST)
    terms.sum().backward()
    return terms


@pytest.mark.parametrize("samples", [12, 130])
@pytest.mark.parametrize("method", METHODS)
def test_a_step_waits_for_no_value(method, samples):
    with checks.values(False), Waits() as waits:
        training_step(method, samples)
    assert not waits.seen
    with FakeTensorMode():
        assert training_step(method, samples).ndim == 1


def test_waits_are_seen():
    with Waits() as waits:
        x = torch.arange(3)
        bool(x.any()), x[x > 1], x.unique()
    assert len(waits.seen) >= 3
    with Waits() as waits:
        training_step("g_hmlc")
    assert waits.seen  # values are looked at by default


def few(embeddings, levels):
    """Level 1 sees one coordinate of the first sample, all of the others; level 2 sees none."""
    made = torch.ones(levels, *embeddings.shape)
    made[0, 0, 1:] = made[1] = 0
    return made


def test_objective_counts_what_masks_leave_unknown():
    objective = Objective(Method("few", "few", "ours", "", masks=few), 4, (2, 2), 0.1)
    z = torch.randn(6, 2, 4)
    labels = torch.tensor([[0, 0], [0, 0], [1, -1], [1, 1], [0, 1], [1, 1]])
    assert objective.take_unseen() is None
    objective.train()(z, labels)
    objective(z, labels)
    assert "_unseen" not in objective.state_dict()
    assert objective.take_unseen().tolist() == [2, 20] and objective.take_unseen() is None
    objective.eval()(z, labels)
    assert objective.take_unseen() is None


def test_objective_gives_one_mask_where_all_are_the_same(monkeypatch):
    z, labels = torch.randn(6, 2, 4), torch.randint(2, (6, 3))
    shapes = []
    for method in ("shared", "rectified", "split"):
        objective = Objective(METHODS[method], 4, (2, 2, 2), 0.1)
        real = objective.loss
        objective.loss = lambda z, y, m, real=real, **k: shapes.append(len(m)) or real(z, y, m, **k)
        terms = objective(z, labels)
        expected = real(z, labels, objective.level_masks(z), 0.1, reduction="none")
        assert torch.allclose(terms, expected)
        assert len(objective.take_unseen()) == 3
    assert shapes == [1, 1, 3]


def test_masks_see_each_view():
    objective = Objective(METHODS["sign"], 4, (2, 2), 0.1)
    z = torch.randn(6, 2, 4)
    assert torch.equal(objective.level_masks(z)[0], masks.sign_masks(z, 2)[0])
