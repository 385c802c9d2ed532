"""Trained models as files: safetensors with a card that says what they are."""

from hashlib import blake2b

import torch

from hmlc_core import devices, files, methods, runs
from hmlc_core.data import weight_files
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
    depends = runs.source_of(run.settings).depends_on(run.dataset, run.settings, run.device)
    return weight_files.write(folder, run, accuracy, depends)


def load_weights(dataset, method, folder=FOLDER, device=None):
    """A run as it was trained for the reference, without training.

    Args:
        dataset: name of the data set, as for load_dataset, or the HierarchicalDataset.
        method: a key of methods.METHODS, or a methods.Method of your own (the one that was trained:
            a card knows it by its key alone).
        folder: where the weight files are; default: those that come with the project.

    Returns:
        runs.Run; its data set is loaded, so that features(split) and level_masks(split) work.

    Raises:
        FileNotFoundError: no such file; ValueError: it is unreadable, does not fit its card, or
            is of another data set, method or pretrained net.
    """
    method = methods.get(method)
    name = dataset if isinstance(dataset, str) else dataset.name
    path = weight_files.path_of(folder, name, method.key)
    card = weight_files.read_card(path)
    device = torch.device(device) if device else devices.best_device()
    settings, seed = Settings(**card["settings"]), card["seed"]
    data = load_dataset(dataset, settings, "train") if isinstance(dataset, str) else dataset
    config = runs.configuration(data, method, settings, seed, device)
    weight_files.require_same_data(card, weight_files.about(data, config), path)
    model = runs.new_model(data, method, settings, seed, device)
    model.load_state_dict(weight_files.read_state(path, model.state_dict()))
    config["file"] = blake2b(path.read_bytes()).hexdigest()
    place = files.DATA / "runs" / f"weights-{path.stem}-{runs.hash_of(config)}"
    parts = (data, method.key, settings, seed, model.eval(), card["history"], place)
    return runs.Run(*parts, card["config_hash"], device, method.key)
