"""Trained models as files: safetensors with a card that says what they are."""

import json

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from hmlc_core import devices, files, methods, runs
from hmlc_core.data.load import load_dataset
from hmlc_core.settings import Settings

FOLDER = files.CODE / "data" / "weights"


def save_weights(run, accuracy, folder=FOLDER):
    """Write the model of a run (encoder, head, masks and loss) to <data set>-<method>.safetensors.

    Args:
        run: runs.Run.
        accuracy: {level: linear accuracy on the test split}, for the card.

    Returns:
        Path of the file.
    """
    card = {
        "dataset": run.dataset.name,
        "data_source": run.dataset.source,
        "method": run.method,
        "seed": run.seed,
        "settings": vars(run.settings),
        "accuracy": accuracy,
        "commit": files.commit(),
        "config_hash": run.config_hash,
        "history": run.history,
    }
    path = _path(folder, run.dataset.name, run.method)
    state = {key: value.contiguous().cpu() for key, value in run.model.state_dict().items()}
    with files.writing(path) as beside:
        save_file(state, beside, {"card": json.dumps(card)})
    return path


def _path(folder, dataset, method):
    return folder / f"{dataset}-{method}.safetensors"


def read_card(path):
    """What a weight file says of itself: data, method, settings, seed, accuracy, commit.

    Raises:
        FileNotFoundError: if there is no such file; names those that are there.
        ValueError: if it is truncated, or not written by save_weights.
    """
    if not path.exists():
        there = ", ".join(sorted(p.stem for p in path.parent.glob("*.safetensors"))) or "none"
        raise FileNotFoundError(f"no weights {path.name} in {path.parent}; there are: {there}")
    try:
        with safe_open(path, "pt") as stored:
            return json.loads((stored.metadata() or {})["card"])
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise ValueError(f"{path} is no whole weight file ({reason}): get it again") from error


def load_weights(dataset, method, folder=FOLDER, device=None):
    """A run as it was trained for the reference, without training.

    Args:
        dataset: name of the data set, as for load_dataset.
        method: a key of methods.METHODS.
        folder: where the weight files are; default: those that come with the project.

    Returns:
        runs.Run; its data set is loaded, so that features(split) and level_masks(split) work.

    Raises:
        FileNotFoundError: no such file; ValueError: it is unreadable or does not fit its card.
    """
    path = _path(folder, dataset, method)
    card = read_card(path)
    device = torch.device(device) if device else devices.best_device()
    settings, seed = Settings(**card["settings"]), card["seed"]
    data = load_dataset(dataset, settings, "train")
    model = runs.new_model(data, methods.get(method), settings, seed, device)
    try:
        model.load_state_dict(load_file(path))
    except (SafetensorError, RuntimeError) as error:
        raise ValueError(f"{path} does not fit its card: {error}") from error
    place = files.DATA / "runs" / f"weights-{path.stem}-{card['config_hash']}"
    parts = (data, method, settings, seed, model.eval(), card["history"], place)
    return runs.Run(*parts, card["config_hash"], device, method)
