"""Weight files: safetensors with a card that says what they are; they know no method."""

import json
import warnings
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save

from hmlc_core import files
from hmlc_core.checks import require
from hmlc_core.settings import Settings

# What every card has.
NEEDED = {"dataset", "method", "seed", "settings", "accuracy", "config_hash", "history"}


def path_of(folder, dataset, method):
    """Where the weights of a data set and method, given by name, lie."""
    return Path(folder).expanduser() / f"{dataset}-{method}.safetensors"


def write(folder, run, accuracy, depends):
    """Write the model of a run with its card, whole or not at all; returns the path.

    Args:
        accuracy: {level: number}.
        depends: what the run depends on, see depends_on of views.Pictures and the others.

    Raises:
        ValueError: the run is not at its last epoch, or an accuracy is none.
    """
    card = about(run.dataset, depends) | {
        "dataset": run.dataset.name,
        "method": run.method,
        "seed": run.seed,
        "settings": vars(run.settings),
        "accuracy": {level: float(value) for level, value in accuracy.items()},
        "commit": files.commit(),
        "config_hash": run.config_hash,
        "history": run.history,
    }
    _check(card)
    state = {key: value.contiguous().cpu() for key, value in run.model.state_dict().items()}
    path = path_of(folder, run.dataset.name, run.method)
    with files.writing(path) as beside:  # save_file has errors and rights of its own
        beside.write_bytes(save(state, {"card": json.dumps(card)}))
    return path


def read_card(path):
    """What a weight file says of itself: data, method, settings, seed, accuracy, commit.

    Raises:
        FileNotFoundError: if there is no such file; names those that are there.
        ValueError: if it cannot be read, is truncated, not written by save_weights, or under a name
            that is not what it holds.
    """
    path = Path(path)
    _require_readable(path)
    try:
        with safe_open(path, "pt") as stored:
            card = (stored.metadata() or {}).get("card")
        require(card, "it has no card, so it is of another project")
        card = json.loads(card)
    except (SafetensorError, OSError, ValueError) as error:
        of_git_lfs = path.read_bytes().startswith(b"version https://git-lfs")
        advice = "git lfs pull fetches it" if of_git_lfs else "get it again"
        raise ValueError(f"{path} is no whole weight file ({error}): {advice}") from error
    try:
        _check(card)
    except (AttributeError, TypeError, KeyError, ValueError) as error:
        raise ValueError(
            f"{path} was written by another version, or is no card: {error}. Install that "
            "version, or get the file again"
        ) from error
    named, holds = path.stem, f"{card['dataset']}-{card['method']}"
    require(Path(holds).name == named, f"{path} holds {holds}: rename it")
    return card


def _require_readable(path):
    try:
        path.open("rb").close()
    except FileNotFoundError as error:
        link = " but a link to nothing" if path.is_symlink() else ""
        there = ", ".join(sorted(p.stem for p in path.parent.glob("*.safetensors"))) or "none"
        raise FileNotFoundError(
            f"no weights {path.name} in {path.parent}{link}; there are: {there}"
        ) from error
    except OSError as error:
        raise ValueError(
            f"{path} cannot be read ({error.strerror}): allow reading it, or put the file there"
        ) from error


def _check(card):
    """Raise whatever there is to raise unless a card has all that makes a run, of its types."""
    lacks = NEEDED - set(card) or set(vars(Settings())) - set(card["settings"])
    require(not lacks, f"it lacks {', '.join(sorted(lacks))}")
    for name in ("dataset", "method", "config_hash"):
        require(type(card[name]) is str, f"{name} is {card[name]!r}")
    settings = Settings(**card["settings"])
    seed, accuracy = card["seed"], card["accuracy"]
    require(type(seed) is int and abs(seed) < 2**63, f"seed is {seed!r}")
    shares = all(type(x) in (int, float) and 0 <= x <= 1 for x in accuracy.values())
    require(shares, f"accuracy is {accuracy}, not all from 0 to 1")
    require(len(card["history"]) == settings.epochs, "its history is not of all its epochs")
    for epoch in card["history"]:
        about = epoch["device"], epoch["seconds"]
        require(type(about[0]) is str and about[1] >= 0, f"an epoch was on {about}")


def read_state(path, expected):
    """The tensors of a weight file.

    Args:
        expected: the state dict that they are for.

    Raises:
        ValueError: the file is cut off; a tensor is missing, one too many, of another shape or kind
            (say, integers) than expected, or not finite.
    """
    try:
        state = load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path} is no whole weight file ({error}): get it again") from error
    odd = sorted(state.keys() ^ expected.keys())
    require(not odd, f"{path} does not fit its card: it lacks, or has too many: {', '.join(odd)}")
    for name, tensor in state.items():
        _require_like(tensor, expected[name], f"{name} of {path}")
    return state


def _require_like(tensor, wanted, what):
    sizes = list(tensor.shape), list(wanted.shape)
    require(sizes[0] == sizes[1], f"{what} does not fit its card: {sizes[0]}, not {sizes[1]}")
    floating = tensor.dtype.is_floating_point and wanted.dtype.is_floating_point
    alike = floating or tensor.dtype == wanted.dtype
    require(alike, f"{what} is {tensor.dtype}, not {wanted.dtype}: get the file again")
    finite = torch.isfinite(tensor.to(wanted.dtype)).all()
    require(finite, f"{what} holds NaN or infinity: get the file again")


def about(dataset, depends):
    """What a card says of the training split of a data set.

    Args:
        depends: what a run on it depends on, see depends_on of views.Pictures and the others.
    """
    return {
        "data_source": dataset.source,
        "size": list(dataset.images.shape[1:]),
        "classes": [list(level) for level in zip(dataset.level_names, dataset.class_names)],
        "pretrained weights": depends["weights"] if "features" in depends else None,
    }


class OtherData(ValueError):
    """Weights were trained on other levels, classes or sizes than there are here."""


def require_same_data(card, here, path):
    """Raise OtherData unless a model is of levels, classes and sizes as they are here, and of
    features by the same pretrained weights; warn if its pictures had another source (bits of
    pictures may differ between versions of libraries). Older cards do not say all of that.

    Args:
        here: about(dataset, depends) of the data set that it is to be used on.
    """
    there = here | {name: card[name] for name in here if name in card}
    for name in ("size", "classes", "pretrained weights"):
        if there[name] != here[name]:
            differ = f"{name} differ: {_told(there[name])} there, {_told(here[name])} here"
            advice = "use it with what it was trained on, or train anew"
            raise OtherData(f"{path} was trained on other data; {differ}: {advice}")
    if there["data_source"] != here["data_source"]:
        warnings.warn(
            f"{path.name} was trained on data of another source, which may differ: "
            f"{there['data_source']!r}, here it is {here['data_source']!r}",
            stacklevel=3,
        )


def _told(value):
    """Classes by their number and the first of them; there may be thousands."""
    if not value or not isinstance(value, list) or not isinstance(value[0], list):
        return value
    few = [(level, len(names), ", ".join([*map(str, names[:1]), "..."])) for level, names in value]
    return ", ".join(f"{count} of {level} ({first})" for level, count, first in few)
