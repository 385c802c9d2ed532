"""What only a GPU can show: the same numbers as on the CPU, and runs that resume."""

import dataclasses
import functools
import itertools

import pytest
import torch

from hmlc_core import METHODS, Settings, devices, linear_evaluation, masks, pretrain, train, views
from hmlc_core.data import mnist
from hmlc_core.methods import Model

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
TINY = Settings(canvas=24, train_size=96, test_size=60, dim=32, epochs=2, batch_size=32)
pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA here")


@pytest.fixture(autouse=True)
def whole_float32():
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        yield


def terms_and_gradient(method, device):
    """Loss terms and the gradient of the encoder's first layer, of one batch in float32."""
    torch.manual_seed(0)
    settings = dataclasses.replace(TINY, encoder="small_resnet")
    model = Model(METHODS[method], settings, 3, [4, 8])
    pair, labels = torch.rand(32, 2, 3, 32, 32), torch.arange(32) % 8
    labels = torch.stack([labels // 2, labels], 1)
    model, pair, labels = (part.to(device) for part in (model, pair, labels))
    terms = model(pair, labels, torch.autocast(device.type, torch.bfloat16, enabled=False))
    terms.sum().backward()
    return terms.detach().cpu(), next(model.encoder.parameters()).grad.cpu()


@pytest.mark.parametrize("method", METHODS)
def test_loss_and_gradient_are_those_of_the_cpu(method):
    (terms, gradient), (there, gradient_there) = (
        terms_and_gradient(method, device) for device in (CPU, CUDA)
    )
    torch.testing.assert_close(there, terms, rtol=0.01, atol=1e-3)
    alike = torch.cosine_similarity(gradient_there.flatten(), gradient.flatten(), 0)
    assert alike > 0.99


@pytest.mark.parametrize("scope", ["sample", "batch"])
def test_masks_are_those_of_the_cpu(scope):
    z = torch.randn(64, 128, dtype=torch.float64)
    here, there = (masks.gmm_masks(z.to(device), 3, scope) for device in (CPU, CUDA))
    assert (here != there.cpu()).double().mean() < 1e-3


@pytest.mark.parametrize("kind, channels", [("keep_whole", 1), ("crop_flip_jitter", 3)])
def test_views_are_those_of_the_cpu(kind, channels):
    augment, numbers = views.AUGMENTATIONS[kind]
    x, draws = torch.rand(8, channels, 32, 32), torch.rand(numbers, 8)
    here, there = (augment(x.to(device, copy=True), draws.to(device)) for device in (CPU, CUDA))
    torch.testing.assert_close(there.cpu(), here, rtol=0, atol=2e-3)


def test_composites_are_those_of_the_cpu(digits):
    recipe = mnist.Composer(*digits, canvas=48)
    drawn, index = recipe.draw(32, 0), torch.arange(32)
    here, there = (recipe.compose(drawn.to(device), index.to(device)) for device in (CPU, CUDA))
    assert (here.int() - there.cpu().int()).abs().max() <= 1


@pytest.mark.parametrize("method", ["g_hmlc", "a_hmlc", "hmce_released", "cross_entropy"])
def test_a_run_trains_on_the_gpu_and_resumes(method, dataset, tmp_path, monkeypatch):
    fit = functools.partial(pretrain, dataset, method, TINY, progress=False)
    whole = fit(folder=tmp_path / "whole")
    real, steps, count = train.step, len(dataset) // TINY.batch_size, itertools.count()

    def interrupted(*args, **more):
        if next(count) == steps + 1:  # within the second epoch
            raise KeyboardInterrupt
        return real(*args, **more)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(train, "step", interrupted)
        fit(folder=tmp_path / "cut")
    resumed = fit(folder=tmp_path / "cut")
    assert resumed.device == CUDA and resumed.trained_on == devices.device_name(CUDA)
    losses = [[epoch["loss"] for epoch in run.history] for run in (whole, resumed)]
    assert losses[1] == pytest.approx(losses[0], rel=0.05)  # a GPU's sums differ in their order
    for row in linear_evaluation(resumed, dataset):
        assert row["device"] == devices.device_name(CUDA) and 0 <= row["value"] <= 1
