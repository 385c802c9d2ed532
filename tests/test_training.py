"""Every method trains; runs are kept, resumed bit for bit, and refused when they cannot work; the GPU path without a GPU."""
import dataclasses
import functools
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
import torchvision
from torch._subclasses.fake_tensor import FakeTensorMode

from hmlc_core import augment, files, masks, losses, models, profiles, training
from hmlc_core.training import METHODS, Method, Model, pretrain

TINY = dataclasses.replace(profiles.get("smoke"), dim=16, epochs=3, batch_size=32)


@pytest.fixture
def fit(dataset, tmp_path):
    def call(method="g_hmlc", profile=TINY, seed=0, folder=tmp_path / "runs", data=dataset, **more):
        return pretrain(data, method, profile, seed, folder=folder, device="cpu", progress=False, **more)
    return call


def weights(run):
    return torch.cat([p.detach().flatten() for p in run.model.state_dict().values() if p.is_floating_point()])


@pytest.mark.parametrize("method", METHODS)
def test_every_method_trains(method, fit, dataset):
    run = fit(method)
    assert [h["epoch"] for h in run.history] == [1, 2, 3]
    named = set(run.history[0]) - {"epoch", "seconds", "device", "loss"}
    assert named == ({"subsidiary"} if method == "supcon" else {"central", "subsidiary"})
    assert run.history[0]["loss"] == pytest.approx(sum(run.history[0][name] for name in named), rel=1e-5)
    assert run.features(dataset).shape == (96, models.ENCODERS[TINY.encoder][1])
    assert run.embeddings(dataset).shape[0] == 96 and torch.isfinite(run.embeddings(dataset)).all()
    masked = METHODS[method].masks is not None
    assert (run.level_masks(dataset) is not None) == masked
    if masked:
        assert run.level_masks(dataset).shape == (2, 96, 16)


def test_training_lowers_the_loss(fit):
    history = fit("split", dataclasses.replace(TINY, epochs=12)).history
    assert history[-1]["central"] < history[0]["central"] - 0.2


def test_same_seed_same_bits_other_seed_other_bits(fit, tmp_path):
    first, again, other = fit(), fit(folder=tmp_path / "again"), fit(seed=1)
    assert torch.equal(weights(first), weights(again))
    assert not torch.equal(weights(first), weights(other))
    assert first.config_hash == again.config_hash != other.config_hash


def test_global_random_state_is_not_touched(fit):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    fit()
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("method", ["a_hmlc", "g_hmlc"])
def test_resume_equals_uninterrupted_bit_for_bit(method, fit, tmp_path, monkeypatch):
    whole = fit(method)
    save = training._save

    def save_then_die(path, state, history):
        save(path, state, history)
        if len(history) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(training, "_save", save_then_die)
    with pytest.raises(KeyboardInterrupt):
        fit(method, folder=tmp_path / "broken")
    monkeypatch.setattr(training, "_save", save)
    resumed = fit(method, folder=tmp_path / "broken")
    assert torch.equal(weights(whole), weights(resumed))
    drop = lambda history: [{k: v for k, v in h.items() if k != "seconds"} for h in history]
    assert drop(whole.history) == drop(resumed.history)


def test_killed_process_goes_on_and_ends_with_the_same_numbers(dataset, tmp_path, fit):
    dataset.save(tmp_path / "data.npz")
    script = f"""
import dataclasses, sys, time
from hmlc_core import datasets, profiles, training
save = training._save
def slow(path, state, history):
    save(path, state, history); print(len(history), flush=True); time.sleep(0.5)
training._save = slow
profile = dataclasses.replace(profiles.get("smoke"), dim=16, epochs=3, batch_size=32)
training.pretrain(datasets.HierarchicalDataset.load(r"{tmp_path / 'data.npz'}"), "g_hmlc", profile, folder=r"{tmp_path / 'killed'}",
                  device="cpu", progress=False)
"""
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True,
                               env=os.environ | {"PYTHONPATH": str(files.ROOT)})
    assert process.stdout.readline() == "1\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert list((tmp_path / "killed").rglob("checkpoint.pt"))
    loaded = training.datasets.HierarchicalDataset.load(tmp_path / "data.npz")
    resumed = fit(folder=tmp_path / "killed", data=loaded)
    assert resumed.history[0]["seconds"] and torch.equal(weights(resumed), weights(fit(data=loaded)))


def test_finished_run_is_loaded_not_trained(fit, dataset, monkeypatch):
    first = fit()
    features = first.features(dataset)
    monkeypatch.setattr(training, "_step", None)
    monkeypatch.setattr(training, "encode", None)
    again = fit()
    assert again.history == first.history and torch.equal(again.features(dataset), features)


def test_hash_changes_with_data_settings_method_and_seed_only(dataset):
    of = lambda data=dataset, method="split", profile=TINY, seed=0: training.config_hash(data, method, profile, seed, torch.device("cpu"))
    assert of() == of(profile=dataclasses.replace(TINY, name="other", seeds=(7,), tsne_size=3))
    changed = [of(data=dataset.with_levels([1, 0], "swapped")), of(method="sign"), of(seed=1),
               of(profile=dataclasses.replace(TINY, learning_rate=1.0)), of(profile=dataclasses.replace(TINY, head_batch_norm=False))]
    assert len({of(), *changed}) == 6


def test_code_hash_ignores_comments_and_docstrings(tmp_path):
    def of(text):
        (tmp_path / "m.py").write_text(text)
        return files.code_hash(tmp_path / "m.py")
    base = of('def f(x):\n    """Doc."""\n    return x + 1\n')
    assert of("# new\ndef f(x):\n\n    '''Other.'''\n    return x + 1  # why\n") == base
    assert of('def f(x):\n    """Doc."""\n    return x + 2\n') != base


def test_nan_stops_with_a_clear_error_and_keeps_the_checkpoint(fit, tmp_path, monkeypatch):
    step, calls = training._step, []

    def poisoned(views, *rest, **more):
        calls.append(1)
        return step(views, *rest, **more) * (float("nan") if len(calls) == 5 else 1)

    monkeypatch.setattr(training, "_step", poisoned)
    with pytest.raises(FloatingPointError, match=r"\[nan, nan\] at epoch 2, step 2 of .*lower the learning rate"):
        fit()
    (checkpoint,) = (tmp_path / "runs").rglob("checkpoint.pt")
    assert len(torch.load(checkpoint, weights_only=True)["history"]) == 1


def test_absurd_learning_rate_is_named(fit):
    with pytest.raises((FloatingPointError, ValueError), match="learning rate"):
        fit("shared", dataclasses.replace(TINY, learning_rate=1e30))


def test_half_written_checkpoint_is_named(fit, tmp_path):
    fit()
    (checkpoint,) = (tmp_path / "runs").rglob("checkpoint.pt")
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    with pytest.raises(ValueError, match="checkpoint.pt is unreadable .*delete it"):
        fit()


def test_class_with_one_sample_is_named(fit, dataset):
    labels = dataset.labels.copy()
    labels[labels[:, 1] == 7, 1] = 6
    labels[5, 1] = 7
    with pytest.raises(ValueError, match="class '7' of level 'subsidiary' has one sample"):
        fit(data=dataclasses.replace(dataset, labels=labels))


@pytest.mark.parametrize("call, message", [
    (dict(method="hmce"), "unknown method 'hmce': choose from cross_entropy"),
    (dict(profile="laptop"), "unknown profile 'laptop': choose from smoke, cpu, gpu")])
def test_unknown_names_are_refused(call, message, fit):
    with pytest.raises(ValueError, match=message):
        fit(**call)


def test_three_levels_and_unknown_labels(fit, dataset):
    labels = np.concatenate([dataset.labels, dataset.labels[:, :1] // 2], 1)
    labels[::5, 1] = -1
    three = dataclasses.replace(dataset, labels=labels, level_names=["a", "b", "c"], class_names=[*dataset.class_names, list("vwxyz")])
    for method in METHODS:
        run = fit(method, dataclasses.replace(TINY, epochs=1), data=three)
        assert np.isfinite(run.history[0]["loss"])


def test_a_foreign_data_set_is_not_tested_on_the_built_in_one(fit, dataset):
    run = fit("split")
    with pytest.raises(ValueError, match="not trained on datasets.load.'hierarchical_mnist'"):
        run.data("test")
    assert run.data(dataset) is dataset
    with pytest.raises(ValueError, match="unknown data set 'custom'"):
        fit("split", data=dataclasses.replace(dataset, name="custom")).data("test")


def test_images_that_are_not_square_are_named(fit, dataset):
    with pytest.raises(ValueError, match=r"square, not \[24, 20\]"):
        fit(data=dataclasses.replace(dataset, images=dataset.images[:, :, :20]))


def test_fewer_images_than_a_batch(fit):
    assert np.isfinite(fit(profile=dataclasses.replace(TINY, batch_size=500)).history[-1]["loss"])


def test_method_is_one_entry(fit, monkeypatch):
    def first_masks(z, levels):
        return masks.split_masks(z, levels).flip(0)
    monkeypatch.setitem(METHODS, "mine", Method(first_masks, losses.masked_hierarchical_loss))
    assert fit("mine").level_masks(fit("mine").dataset)[1, 0, 0] == 1


# ------------------------------------------------------------ the GPU path without a GPU

@pytest.mark.parametrize("encoder", ["small_cnn", "resnet18"])
@pytest.mark.parametrize("method", METHODS)
def test_forward_on_cuda_in_fake_tensor_mode(method, encoder):
    """Fails with the name of any tensor that was left on the CPU."""
    profile = dataclasses.replace(profiles.get("gpu"), encoder=encoder, canvas=64)
    with FakeTensorMode(allow_non_fake_inputs=True), torch.device("cuda"):
        model = Model(METHODS[method], profile, 1, [10, 10])
        images = torch.zeros(8, 64, 64, 1, dtype=torch.uint8)
        labels = torch.zeros(8, 2, dtype=torch.long)
        views = augment.two_views(images, profile.augmentation)
        terms = model(views, labels, torch.autocast("cuda", torch.bfloat16, enabled=False))
    assert terms.device.type == "cuda" and terms.dtype == torch.float32


@pytest.mark.parametrize("method", METHODS)
def test_whole_step_on_meta_device(method):
    profile = dataclasses.replace(profiles.get("gpu"), encoder="resnet50_cifar")
    with torch.device("meta"):
        model = Model(METHODS[method], profile, 3, [5, 7, 9])
        views, labels = torch.zeros(6, 2, 3, 64, 64), torch.zeros(6, 3, dtype=torch.long)
    optimizer = torch.optim.AdamW(model.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-3, total_steps=4)
    terms = training._step(model, views, labels, torch.autocast("cpu", enabled=False), optimizer, schedule,
                           torch.amp.GradScaler("cpu", enabled=False))
    assert terms.is_meta and all(p.grad is not None for p in model.encoder.parameters())


def test_encoders_have_the_width_they_state(monkeypatch):
    untrained = torchvision.models.resnet50
    monkeypatch.setattr(torchvision.models, "resnet50", lambda weights: untrained())        # no download
    for name, (build, width) in models.ENCODERS.items():
        assert build(1).eval()(torch.zeros(2, 1, 64, 64)).shape == (2, width), name
    with pytest.raises(ValueError, match="unknown encoder 'vgg': choose from"):
        models.build_encoder("vgg", 3)


def test_depthwise_convolution_is_torchs_in_float32():
    torch.manual_seed(0)
    ours, plain = models.DepthwiseConv2d(8, 8, 3, 2, 1, groups=8, bias=False), torch.nn.Conv2d(8, 8, 3, 2, 1, groups=8, bias=False)
    plain.load_state_dict(ours.state_dict())
    x, y = (torch.rand(4, 8, 9, 9, generator=torch.Generator().manual_seed(0)).bfloat16().requires_grad_() for _ in range(2))
    with torch.autocast("cpu", torch.bfloat16):
        found = ours(x)
    expected = plain(y.float())
    for net, output in ((ours, found), (plain, expected)):
        output.square().sum().backward()
    assert found.dtype == torch.float32 and torch.equal(found, expected)
    assert x.grad.dtype == torch.bfloat16 and torch.equal(x.grad, y.grad) and torch.equal(ours.weight.grad, plain.weight.grad)


def test_small_cnn_keeps_the_maxima_of_both_maps():
    net, x = models.build_encoder("small_cnn", 1)[0].eval(), torch.rand(3, 1, 50, 50)
    fine = net.fine(x)
    assert torch.equal(net(x), torch.cat([fine.amax((2, 3)), net.coarse(fine).amax((2, 3))], 1))


def test_pretrained_resnet_trains_its_last_two_stages_only(monkeypatch):
    untrained = torchvision.models.resnet50
    monkeypatch.setattr(torchvision.models, "resnet50", lambda weights: untrained())
    net = models.PretrainedResNet50()
    assert {name.split(".")[1] for name, p in net.named_parameters() if p.requires_grad} == {"layer3", "layer4"}


def test_sgd_and_other_epochs_are_settings(fit):
    run = fit("split", dataclasses.replace(TINY, optimizer="sgd", learning_rate=0.1))
    assert np.isfinite(run.history[-1]["loss"]) and run.config_hash != fit("split").config_hash
    cpu = dataclasses.replace(profiles.get("cpu", "cifar100"), temperature=profiles.get("cpu", run.dataset.name).temperature)
    labels = [dataclasses.replace(run, profile=dataclasses.replace(cpu, name="cpu", epochs=epochs, head_batch_norm=norm)).label
              for epochs, norm in ((profiles.get("cpu", run.dataset.name).epochs, True), (2, True), (2, False))]
    assert labels == ["split", "split@2", "split_without_batchnorm@2"]


def test_projection_head_is_normalised_by_batchnorm():
    head = models.projection_head(12, 8).train()
    z = head(torch.rand(64, 12))
    assert z.mean(0).abs().max() < 1e-5 and z.var(0, correction=0).allclose(torch.ones(8), atol=1e-3)
    assert not any(isinstance(m, torch.nn.BatchNorm1d) for m in models.projection_head(12, 8, batch_norm=False))


def halves(embeddings, levels):
    return masks.split_masks(embeddings, levels)


def thirds(embeddings, levels):
    return masks.split_masks(embeddings, levels).flip(0)


def test_a_users_own_method_is_cached_by_its_source(dataset, monkeypatch):
    keys = []
    for maker in (halves, thirds, halves):
        monkeypatch.setitem(METHODS, "mine", Method(maker, losses.masked_hierarchical_loss))
        keys.append(training.config_hash(dataset, "mine", TINY, 0, torch.device("cpu")))
    assert keys[0] == keys[2] != keys[1]
    assert training._foreign_source(masks.gmm_masks) == training._foreign_source(None) == ""
    a, b = (training._foreign_source(functools.partial(masks.gmm_masks, iterations=n)) for n in (5, 50))
    assert a != b and "return masks.split_masks" in training._foreign_source(Halves)


class Halves(torch.nn.Module):
    def __init__(self, dim, levels):
        super().__init__()

    def forward(self, embeddings, levels):
        return masks.split_masks(embeddings, levels)


@pytest.mark.parametrize("steps", [1, 2, 3, 10])
def test_runs_of_few_steps_train(steps, fit):
    run = fit("split", dataclasses.replace(TINY, epochs=steps, batch_size=96))
    assert len(run.history) == steps
