"""Nets of timm: their weights are read from the user's folder, and what does not fit is refused."""

import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from test_pretrained import TINY, clean, pictures

from hmlc_core import views
from hmlc_core.data import pretrained, timm_nets
from hmlc_core.data.dataset import HierarchicalDataset

NAME = "test_efficientnet"  # timm's smallest


def test_without_timm_the_error_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    timm_nets._build.cache_clear()
    with pytest.raises(ImportError, match=r"timm.*pretrained"):
        clean(pictures(), replace(TINY, pretrained="tf_efficientnet_lite0"))


def test_an_unknown_model_is_named_with_close_ones(timm):
    with pytest.raises(ValueError, match="'tf_efficientnet_lit0'.*tf_efficientnet_lite0"):
        timm_nets.build("tf_efficientnet_lit0")


def test_without_weights_there_is_an_error_never_a_random_net(timm, monkeypatch):
    def no_network(name, pretrained, **_):
        assert pretrained
        raise OSError("no route to host\nlong text")

    monkeypatch.setattr(timm, "create_model", no_network)
    with pytest.raises(FileNotFoundError, match=r"no route to host\).*resnet10t.safetensors"):
        timm_nets.build("resnet10t")


def test_weights_are_read_from_the_users_folder_and_checked(timm, monkeypatch, tmp_path):
    name, path = "test_efficientnet", tmp_path / "weights" / "test_efficientnet.safetensors"
    path.parent.mkdir()
    monkeypatch.setenv("HMLC_DATA", str(tmp_path))
    torch.manual_seed(5)
    state = timm.create_model(name, pretrained=False).state_dict()
    save_file(state, path)
    before = torch.get_rng_state()
    net, look = timm_nets.build(name)
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(net.conv_stem.weight, state["conv_stem.weight"])
    assert not net.training and not any(p.requires_grad for p in net.parameters())
    assert timm_nets.build(name)[0] is net
    images = np.random.default_rng(0).integers(0, 256, (5, 40, 40, 3), np.uint8)
    with torch.no_grad():
        expected = net(pretrained._inputs(views.to_float(torch.from_numpy(images)), **look))
    data = HierarchicalDataset(images, np.zeros((5, 1), int), ["class"], [["a"]])
    found = clean(data, replace(TINY, pretrained=name))
    torch.testing.assert_close(found, expected, rtol=2e-2, atol=2e-2)

    digest = pretrained._digest_of(net)
    save_file(state | {"conv_stem.weight": state["conv_stem.weight"] + 1}, path)
    assert pretrained._digest_of(timm_nets.build(name)[0]) != digest
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ValueError, match="cut off or does not fit test_efficientnet"):
        timm_nets.build(name)
    save_file({"conv_stem.weight": torch.zeros(3, 3)}, path)
    with pytest.raises(ValueError, match=r"does not fit test_efficientnet \(.*(conv_stem|bn1)"):
        timm_nets.build(name)


@pytest.fixture
def path(timm, monkeypatch, tmp_path):
    """Where the user's weights of timm's smallest net lie."""
    path = tmp_path / "weights" / f"{NAME}.safetensors"
    path.parent.mkdir()
    monkeypatch.setenv("HMLC_DATA", str(tmp_path))
    return path


def weights(timm, name=NAME, **more):
    torch.manual_seed(5)
    return timm.create_model(name, pretrained=False, **more).state_dict()


@pytest.mark.parametrize("of", ["another model", "prefixed keys", "some missing"])
def test_weights_that_leave_parameters_random_are_refused(timm, path, of):
    state = weights(timm, "test_vit" if of == "another model" else NAME)
    if of == "prefixed keys":
        state = {f"model.{key}": value for key, value in state.items()}
    if of == "some missing":
        state = {key: value for key, value in state.items() if key != "bn2.weight"}
    save_file(state, path)
    missing = r"1 of \d+" if of == "some missing" else r"(\d+) of (\1|\d+)"
    match = rf"does not fit {NAME}: {missing} parameters are missing \(.*weight"
    with pytest.raises(ValueError, match=match):
        timm_nets.build(NAME)


def test_weights_of_a_larger_net_are_refused(timm, path):
    save_file(weights(timm) | {"blocks.9.conv.weight": torch.zeros(1)}, path)
    with pytest.raises(ValueError, match=r"holds 1 parameters that .* has not \(blocks.9.conv.w"):
        timm_nets.build(NAME)


@pytest.mark.parametrize("classes", [0, 10])
def test_another_classifier_or_none_does_no_harm(timm, path, classes):
    state = weights(timm, num_classes=classes)
    save_file(state, path)
    net, _ = timm_nets.build(NAME)
    assert torch.equal(net.conv_stem.weight, state["conv_stem.weight"])


def test_keys_that_timm_renames_fit(timm, path):
    save_file({f"module.{key}": value for key, value in weights(timm).items()}, path)
    net, _ = timm_nets.build(NAME)
    assert torch.equal(net.conv_stem.weight, weights(timm)["conv_stem.weight"])


def test_weights_that_are_not_finite_are_refused_by_the_name_of_the_file(timm, path):
    state = weights(timm)
    save_file(state | {"bn1.weight": state["bn1.weight"] * float("nan")}, path)
    with pytest.raises(ValueError, match=rf"{path} holds NaN .* in 1 parameters \(bn1.weight\)"):
        timm_nets.build(NAME)


@pytest.mark.parametrize("kind, said", [("folder", "Is a directory"), ("link", "No such file")])
def test_what_is_no_file_is_not_called_cut_off(path, kind, said):
    path.mkdir() if kind == "folder" else path.symlink_to(path.parent / "nowhere")
    with pytest.raises(ValueError, match=rf"{path} cannot be read \({said}.*readable file"):
        timm_nets.build(NAME)


def test_a_file_that_may_not_be_read_is_not_called_cut_off(timm, path, monkeypatch):
    save_file(weights(timm), path)

    def denied(*_):  # the permissions of a file do not bind root
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(type(path), "open", denied)
    with pytest.raises(ValueError, match=rf"{path} cannot be read \(Permission denied\)"):
        timm_nets.build(NAME)


@pytest.mark.parametrize(
    "name, said",
    [
        ("test_efficientnet.foo", "no weights 'foo' of test_efficientnet; it has: .*r160_in1k"),
        ("test_efficientnet.safetensors", "without .safetensors"),
        ("TEST_EFFICIENTNET", "names close to it: test_efficientnet,"),
        ("qqqq", r"'qqqq'; see timm.list_models\(\)"),
        ("x" * 300, r"'x{80}'; see timm.list_models\(\)"),
        ("a/b\0", "timm has no model"),
        (5, "must be a name of timm.list_models.*, not 5"),
        (True, "not True"),
        (["test_efficientnet"], "not .'test_efficientnet'."),
    ],
)
def test_a_name_that_is_none_is_an_error_that_helps(timm, name, said):
    with pytest.raises(ValueError, match=said):
        timm_nets.build(name)
