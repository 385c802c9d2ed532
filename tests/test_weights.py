"""Weight files: what was trained comes back, and what is no weight file is refused."""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from hmlc_core import (
    METHODS,
    HierarchicalDataset,
    Settings,
    files,
    linear_evaluation,
    load_weights,
    pretrain,
    runs,
    save_weights,
)
from hmlc_core.data import pretrained, weight_files
from hmlc_core.data.weight_files import read_card
from study import plan, results

SETTINGS = Settings(canvas=24, train_size=64, test_size=64, dim=8, epochs=1, batch_size=32)
NAME = "hierarchical_mnist-a_hmlc.safetensors"
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of A-HMLC, its accuracies, and the folder that has its weights."""
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "DATA", folder / "data")
        run = pretrain("hierarchical_mnist", "a_hmlc", SETTINGS, device="cpu", progress=False)
        accuracy = {row["level"]: row["value"] for row in linear_evaluation(run)}
    save_weights(run, accuracy, folder / "weights")
    return run, accuracy, folder / "weights"


@pytest.fixture
def stored(trained, tmp_path):
    """The same with a folder that a test may change."""
    shutil.copytree(trained[2], tmp_path / "weights")
    return *trained[:2], tmp_path / "weights"


def load(folder, method="a_hmlc", dataset="hierarchical_mnist"):
    return load_weights(dataset, method, folder, "cpu")


def change(path, card=(), tensors=None, without=()):
    """Write a weight file anew, with other entries of its card and tensors made otherwise."""
    changed = {k: v for k, v in (read_card(path) | dict(card)).items() if k not in without}
    state = load_file(path)
    state = {k: tensors(v) if tensors else v for k, v in state.items()}
    save_file(state, path, {"card": json.dumps(changed)})


def test_loaded_run_gives_what_the_trained_one_gave(stored):
    run, accuracy, folder = stored
    loaded = load(folder)
    for split in ("train", "test"):
        assert torch.equal(loaded.embeddings(split), run.embeddings(split))
        assert torch.equal(loaded.level_masks(split), run.level_masks(split))
    assert {row["level"]: row["value"] for row in linear_evaluation(loaded)} == accuracy
    assert (loaded.settings, loaded.seed, loaded.seconds) == (SETTINGS, 0, run.seconds)
    assert not load(folder).model.training  # BatchNorms have their statistics before any use


def test_the_weights_that_come_with_the_project_have_cards_without_what_is_new():
    for path in (files.CODE / "data" / "weights").glob("*.safetensors"):
        assert {"data_source", "settings"} < set(read_card(path)) and path.stat().st_size > 1000


def test_the_weights_that_come_with_the_project_are_those_of_its_plan_and_reference():
    reference = results.read(files.CODE / "data" / "reference" / "cpu.csv")
    reference = reference[reference.metric == "linear_accuracy"]
    reference = reference.set_index(["dataset", "method", "seed", "level"]).value
    paths = list((files.CODE / "data" / "weights").glob("*.safetensors"))
    assert len(paths) >= 16 and sum(path.stat().st_size for path in paths) < 20e6
    for path in paths:
        card = read_card(path)
        dataset, method, seed = (card[name] for name in ("dataset", "method", "seed"))
        assert Settings(**card["settings"]) == plan.usual_settings("cpu", dataset, method)
        assert {"size", "classes", "pretrained weights"} < set(card), path
        for level, value in card["accuracy"].items():
            assert reference[dataset, method, seed, level] == value


def test_missing_weights_are_named_with_those_that_are_there(stored):
    with pytest.raises(FileNotFoundError, match="g_hmlc.*there are: hierarchical_mnist-a_hmlc"):
        load(stored[2], "g_hmlc")


@pytest.mark.parametrize("damage", ["truncated", "foreign", "empty", "no card", "another pickle"])
def test_damaged_files_are_refused_by_name(stored, damage):
    path = stored[2] / NAME
    whole = path.read_bytes()
    if damage == "no card":
        save_file(load_file(path), path)
    elif damage == "another pickle":
        torch.save({"card": {}}, path)
    else:
        path.write_bytes(
            {"truncated": whole[:-100], "foreign": b"PK\x03\x04" * 9, "empty": b""}[damage]
        )
    with pytest.raises(ValueError, match="hierarchical_mnist-a_hmlc.safetensors is no whole"):
        load(stored[2])


def test_what_is_not_ours_or_not_fetched_is_said(stored):
    path = stored[2] / NAME
    save_file(load_file(path), path, {"format": "pt"})
    with pytest.raises(ValueError, match=r"has no card, so it is of another project\): get it"):
        load(stored[2])
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n")
    with pytest.raises(ValueError, match=r"no whole weight file .*: git lfs pull fetches it$"):
        load(stored[2])


def test_a_run_that_is_not_at_its_end_is_not_saved_as_if_it_were(stored):
    run, accuracy, folder = stored
    before = (folder / NAME).read_bytes()
    early = replace(run, settings=replace(SETTINGS, epochs=SETTINGS.epochs + 1))
    with pytest.raises(ValueError, match="its history is not of all its epochs"):
        save_weights(early, accuracy, folder)
    with pytest.raises(ValueError, match="accuracy is .* not all from 0 to 1"):
        save_weights(run, {"central": 97.2}, folder)
    assert (folder / NAME).read_bytes() == before


def test_weights_that_do_not_fit_their_card_are_refused(stored):
    change(stored[2] / NAME, {"settings": vars(replace(SETTINGS, dim=16))})
    with pytest.raises(ValueError, match="does not fit its card"):
        load(stored[2])


# ------------------------------------------------------------ weights of something else


@pytest.mark.parametrize("name", ["hierarchical_mnist-split", "hierarchical_mnist_swapped-a_hmlc"])
def test_a_file_under_another_name_is_refused(stored, name):
    (stored[2] / NAME).rename(stored[2] / f"{name}.safetensors")
    with pytest.raises(ValueError, match=f"{name}.safetensors holds .*mnist-a_hmlc: rename it"):
        load(stored[2], *reversed(name.split("-")))


@pytest.mark.parametrize(
    "card",
    [
        {"size": [36, 36, 1]},
        {"size": []},
        {"classes": [["central", ["0", "1"]]]},
        {"classes": []},
        {"classes": [["central", []]]},
        {"classes": 3},
    ],
    ids=str,
)
def test_weights_of_other_classes_or_sizes_are_refused(stored, card):
    change(stored[2] / NAME, card)
    with pytest.raises(ValueError, match=f"trained on other data; {[*card][0]} differ: "):
        load(stored[2])


def test_other_classes_are_told_by_their_number_however_many_there_are(stored):
    objects = ["object", [f"chair_{n}" for n in range(1000)]]
    change(stored[2] / NAME, {"classes": [["central", list("0123456789")], objects]})
    with pytest.raises(weight_files.OtherData, match="1000 of object") as caught:
        load(stored[2])
    assert "10 of subsidiary" in str(caught.value) and len(str(caught.value)) < 500


def test_another_canvas_in_the_card_is_refused(stored):
    change(stored[2] / NAME, {"settings": vars(replace(SETTINGS, canvas=36))})
    with pytest.raises(ValueError, match=r"size differ: \[24, 24, 1\] there, \[36, 36, 1\] here"):
        load(stored[2])


def test_weights_of_other_pictures_are_said(stored):
    change(stored[2] / NAME, {"data_source": "elsewhere"})
    with pytest.warns(UserWarning, match="a_hmlc.safetensors was trained on data of another sou"):
        load(stored[2])


def test_older_cards_that_say_less_of_the_data_load(stored, recwarn):
    change(stored[2] / NAME, without=("size", "classes", "pretrained weights"))
    assert load(stored[2]).method == "a_hmlc" and not recwarn.list


def test_an_adapter_needs_the_pretrained_weights_it_was_trained_on(stored, monkeypatch):
    depends = {"features": "f", "weights": "first"}
    monkeypatch.setattr(runs.views.Pictures, "depends_on", lambda *_: depends)
    path = save_weights(stored[0], {}, stored[2])
    assert read_card(path)["pretrained weights"] == "first" and load(stored[2])
    depends["weights"] = "second"
    with pytest.raises(ValueError, match="pretrained weights differ: first there, second here"):
        load(stored[2])
    change(path, without=("pretrained weights",))
    assert load(stored[2]).method == "a_hmlc"


def test_what_stored_features_depend_on_has_what_the_card_looks_for(dataset, monkeypatch):
    monkeypatch.setattr(pretrained, "build", lambda name: (torch.nn.Linear(2, 2), {}))
    monkeypatch.setattr(pretrained, "version", lambda name: "0")
    settings = replace(SETTINGS, pretrained="tiny", encoder="adapter", augmentation="photograph")
    depends = pretrained.StoredViews.depends_on(dataset, settings, CPU)
    assert weight_files.about(dataset, depends)["pretrained weights"] == depends["weights"]
    unfrozen = pretrained.UnfrozenPictures.depends_on(dataset, settings, CPU)  # has all weights
    assert weight_files.about(dataset, unfrozen)["pretrained weights"] is None


# ------------------------------------------------------------ replaced and odd weights


def test_replaced_weights_have_outputs_of_their_own(stored):
    first = load(stored[2])
    before = first.features("test")
    change(stored[2] / NAME, tensors=lambda x: x * 2 if x.is_floating_point() else x)
    second = load(stored[2])
    assert second.folder != first.folder and not torch.equal(second.features("test"), before)


def floats(make):
    return lambda x: make(x) if x.is_floating_point() else x


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda x: x * float("nan"), "holds NaN or infinity"),
        (lambda x: x.double() + 1e300, "holds NaN or infinity"),
        (lambda x: (x * 100).to(torch.int8), "is torch.int8, not torch.float32"),
        (lambda x: x.to(torch.complex64), "is torch.complex64, not torch.float32"),
        (lambda x: x.flatten()[:0], r"does not fit its card: \[0\], not \["),
    ],
)
def test_odd_tensors_are_refused(stored, make, message):
    try:
        change(stored[2] / NAME, tensors=floats(make))
    except KeyError as kind:
        pytest.skip(f"this safetensors writes no {kind}")
    with pytest.raises(ValueError, match=f"{NAME} {message}"):
        load(stored[2])


def test_half_precision_loads(stored):
    change(stored[2] / NAME, tensors=floats(torch.Tensor.half))
    assert next(load(stored[2]).model.parameters()).dtype == torch.float32


# ------------------------------------------------------------ cards


CARDS = {
    "a newer setting": lambda card: card | {"settings": card["settings"] | {"new": 1}},
    "settings a text": lambda card: card | {"settings": "x"},
    "a setting a text": lambda card: card | {"settings": card["settings"] | {"dim": "8"}},
    "an unknown digit set": lambda card: card | {"settings": card["settings"] | {"digits": "x"}},
    "a seed a text": lambda card: card | {"seed": "a"},
    "a seed of 70 bits": lambda card: card | {"seed": 2**69},
    "a setting too few": lambda card: card | {"settings": {"epochs": 1}},
    "too few epochs": lambda card: card | {"history": card["history"][1:]},
    "accuracy in percent": lambda card: card | {"accuracy": {"central": 97.0}},
    "accuracy NaN": lambda card: card | {"accuracy": {"central": float("nan")}},
    "an accuracy a text": lambda card: card | {"accuracy": {"central": "high"}},
    "accuracy a number": lambda card: card | {"accuracy": 0.5},
    "no history": lambda card: card | {"history": []},
    "history a text": lambda card: card | {"history": "foo"},
    "a hash that is no text": lambda card: card | {"config_hash": 3},
    "a list": lambda card: [],
    "null": lambda card: None,
    "a number": lambda card: 3,
} | {
    f"no {name}": lambda card, name=name: {k: v for k, v in card.items() if k != name}
    for name in ("settings", "seed", "history", "config_hash", "method", "dataset", "accuracy")
}


@pytest.mark.parametrize("kind", CARDS)
def test_cards_of_newer_versions_and_no_cards_are_one_error(stored, kind):
    path = stored[2] / NAME
    card = CARDS[kind](read_card(path))
    save_file(load_file(path), path, {"card": json.dumps(card)})
    with pytest.raises(ValueError, match="written by another version, or is no card: "):
        load(stored[2])


def test_a_card_cannot_lead_out_of_the_runs(stored):
    change(stored[2] / NAME, {"config_hash": "../../../x"})
    assert load(stored[2]).folder.parent == files.DATA / "runs"


# ------------------------------------------------------------ the disk


def test_a_full_disk_is_one_message_and_the_old_file_stays(stored, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    before = (stored[2] / NAME).read_bytes()
    with pytest.raises(OSError, match=f"cannot write .*{NAME}: .*No space left.*Free some space"):
        save_weights(stored[0], {}, stored[2])
    assert [p.name for p in stored[2].iterdir()] == [NAME]
    assert (stored[2] / NAME).read_bytes() == before


def test_weight_files_may_be_read_by_whom_any_other_file_may(stored):
    (stored[2] / "plain").touch()
    assert (stored[2] / NAME).stat().st_mode == (stored[2] / "plain").stat().st_mode


def test_what_cannot_be_read_is_said(stored, monkeypatch):
    path = stored[2] / NAME
    path.unlink()
    path.symlink_to(stored[2] / "nothing")
    with pytest.raises(FileNotFoundError, match="but a link to nothing; there are"):
        load(stored[2])
    path.unlink()
    path.mkdir()
    with pytest.raises(ValueError, match=r"cannot be read \(Is a directory\)"):
        load(stored[2])

    def forbidden(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", forbidden)
    with pytest.raises(ValueError, match=r"a_hmlc.safetensors cannot be read \(Permission denied"):
        load(stored[2])


def test_folders_and_files_are_given_as_text_too_and_accuracies_as_any_number(stored):
    path = save_weights(stored[0], {"central": np.float32(0.5)}, os.fspath(stored[2]))
    assert read_card(str(path))["accuracy"] == {"central": 0.5}
    assert load(os.fspath(stored[2])).method == "a_hmlc"


# ------------------------------------------------------------ what is one's own


def test_weights_of_ones_own_method_and_data_load(tmp_path):
    labels = np.stack([np.arange(32) % 2, np.arange(32) % 4], 1)
    images = np.random.default_rng(0).integers(0, 255, (32, 24, 24, 3), dtype=np.uint8)
    names = [["x", "y"], ["p", "q", "r", "s"]]
    data = HierarchicalDataset(images, labels, ["a", "b"], names, name="my/pictures.v2")
    method = replace(METHODS["split"], key="mine")
    run = pretrain(data, method, SETTINGS, device="cpu", progress=False)
    save_weights(run, {}, tmp_path)
    loaded = load(tmp_path, method, data)
    assert torch.equal(loaded.embeddings("train"), run.embeddings("train"))
    with pytest.raises(ValueError, match="unknown method 'mine'.* or give a methods.Method"):
        load(tmp_path, "mine", data)
    save_weights(replace(run, method="split"), {}, tmp_path)
    with pytest.raises(ValueError, match="unknown data set.* or make a HierarchicalDataset"):
        load(tmp_path, "split", data.name)


def test_the_card_is_in_the_file(stored):
    with safe_open(stored[2] / NAME, "pt") as file:
        card = json.loads(file.metadata()["card"])
    assert card["accuracy"] == stored[1] and card["config_hash"] == stored[0].config_hash
    assert card["classes"][0][0] == "central"
    assert card["data_source"] == stored[0].dataset.source
