"""Weight files: what was trained comes back, and what is no weight file is refused."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from hmlc_core import Settings, linear_evaluation, load_weights, pretrain, save_weights

SETTINGS = Settings(canvas=24, train_size=64, test_size=64, dim=8, epochs=1, batch_size=32)


@pytest.fixture
def stored(tmp_path):
    """A run of A-HMLC, and the folder that has its weights."""
    run = pretrain("hierarchical_mnist", "a_hmlc", SETTINGS, progress=False)
    accuracy = {row["level"]: row["value"] for row in linear_evaluation(run)}
    save_weights(run, accuracy, tmp_path / "weights")
    return run, accuracy, tmp_path / "weights"


def test_loaded_run_gives_what_the_trained_one_gave(stored):
    run, accuracy, folder = stored
    loaded = load_weights("hierarchical_mnist", "a_hmlc", folder)
    for split in ("train", "test"):
        assert torch.equal(loaded.embeddings(split), run.embeddings(split))
        assert torch.equal(loaded.level_masks(split), run.level_masks(split))
    assert {row["level"]: row["value"] for row in linear_evaluation(loaded)} == accuracy
    assert (loaded.settings, loaded.seed, loaded.seconds) == (SETTINGS, 0, run.seconds)


def test_missing_weights_are_named_with_those_that_are_there(stored):
    with pytest.raises(FileNotFoundError, match="g_hmlc.*there are: hierarchical_mnist-a_hmlc"):
        load_weights("hierarchical_mnist", "g_hmlc", stored[2])


@pytest.mark.parametrize("damage", ["truncated", "foreign", "empty", "no card", "another pickle"])
def test_damaged_files_are_refused_by_name(stored, damage):
    path = stored[2] / "hierarchical_mnist-a_hmlc.safetensors"
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
        load_weights("hierarchical_mnist", "a_hmlc", stored[2])


def test_weights_that_do_not_fit_their_card_are_refused(stored):
    path = stored[2] / "hierarchical_mnist-a_hmlc.safetensors"
    card = {"dataset": "hierarchical_mnist", "method": "a_hmlc", "seed": 0, "history": []}
    card |= {"settings": vars(replace(SETTINGS, dim=16)), "config_hash": "0"}
    save_file(load_file(path), path, {"card": json.dumps(card)})
    with pytest.raises(ValueError, match="does not fit its card"):
        load_weights("hierarchical_mnist", "a_hmlc", stored[2])
