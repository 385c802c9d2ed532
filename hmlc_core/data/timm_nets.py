"""Nets of timm with the weights of a user's file or of timm's download, checked."""

import os
from contextlib import contextmanager
from difflib import get_close_matches
from functools import lru_cache

import torch

from hmlc_core import files
from hmlc_core.data import data_folders, needs, stamp
from hmlc_core.data.notes import some


def build(name):
    """A frozen timm model that gives pooled features, and the size, mean and std of its input.

    The weights are those of weights/<name>.safetensors in a data folder, else timm's download.

    Raises:
        ImportError: timm is not installed. ValueError: unknown model or unfit weights.
        FileNotFoundError: no weights; says where to put them.
    """
    with needs("pretrained"):
        import timm  # noqa: F401
    _check_name(name)
    file = _file_of(name)
    with torch.random.fork_rng():  # timm draws weights before it reads them
        return _build(name, file, file and stamp([file]))


def _check_name(name):
    import timm

    if not isinstance(name, str):
        raise ValueError(f"pretrained must be a name of timm.list_models(), or '', not {name!r}")
    if name.endswith(".safetensors"):
        raise ValueError(f"pretrained must be a model's name, without .safetensors, not {name!r}")
    if not timm.is_model(name):
        raise ValueError(f"timm has no model {name[:80]!r}; {_close_to(name)}")
    model, _, tag = name.partition(".")
    try:
        timm.models.get_pretrained_cfg(name)
    except RuntimeError as error:
        tags = ", ".join(timm.list_pretrained(f"{model}.*"))
        raise ValueError(
            f"timm has no weights {tag[:80]!r} of {model}; it has: {tags or 'none'}"
        ) from error


def _close_to(name):
    import timm

    names = {known.lower(): known for known in timm.list_models()}
    close = [names[lower] for lower in get_close_matches(name.lower(), names, 5)]
    return f"names close to it: {', '.join(close)}" if close else "see timm.list_models()"


def _file_of(name):
    """The user's file of weights, or None."""
    places = [folder / "weights" / f"{name}.safetensors" for folder in data_folders()]
    file = next(filter(os.path.lexists, places), None)
    if file is None:
        return None
    try:
        file.open("rb").close()
    except OSError as error:
        raise ValueError(
            f"{file} cannot be read ({error.strerror}): make it a readable file with the weights "
            f"of {name}, or remove it"
        ) from error
    return file


@lru_cache(1)
def _build(name, file, stamp):
    import timm

    overlay = {"file": str(file)} if file else None
    with _loads() as loaded:
        try:
            net = timm.create_model(
                name, pretrained=True, pretrained_cfg_overlay=overlay, num_classes=0
            )
        except Exception as error:  # safetensors, torch, the network: each has its own
            raise _no_weights(name, file, error) from error
    if file:
        _require_fit(net, name, file, loaded)
    _require_finite(net, name, file)
    given = timm.data.resolve_model_data_config(net)
    look = {"size": torch.Size(given["input_size"][1:]), "mean": given["mean"], "std": given["std"]}
    net.requires_grad_(False)
    return net.eval().to(memory_format=torch.channels_last), look


@contextmanager
def _loads():
    """Yield a list of what each load_state_dict inside says of missing and unexpected keys.

    Without a classifier timm loads weights of any model, and tells only its log what was missing.
    """
    load, said = torch.nn.Module.load_state_dict, []

    def noting(*given, **more):
        said.append(load(*given, **more))
        return said[-1]

    torch.nn.Module.load_state_dict = noting
    try:
        yield said
    finally:
        torch.nn.Module.load_state_dict = load


def _require_fit(net, name, file, loaded):
    import timm

    missing = [key for said in loaded for key in said.missing_keys]
    if missing:
        raise ValueError(
            f"{file} does not fit {name}: {len(missing)} of {len(net.state_dict())} parameters are "
            f"missing ({some(missing)}). Put the weights of {name} there, or remove it"
        )
    spare = {key for said in loaded for key in said.unexpected_keys}
    if spare:
        spare -= set(timm.create_model(name).state_dict())  # those of the classifier
    if spare:
        raise ValueError(
            f"{file} does not fit {name}: it holds {len(spare)} parameters that {name} has not "
            f"({some(sorted(spare))}). Put the weights of {name} there, or remove it"
        )


def _require_finite(net, name, file):
    values = net.state_dict().items()
    wrong = [key for key, value in values if not value.isfinite().all()]
    if wrong:
        raise ValueError(
            f"{file or f'what timm downloaded for {name}'} holds NaN or infinity in {len(wrong)} "
            f"parameters ({some(wrong)}): get the weights of {name} anew"
        )


def _no_weights(name, file, error):
    lines = str(error).splitlines() or [type(error).__name__]
    reason = " ".join(lines[: 2 if lines[0].endswith(":") else 1]).replace("\t", "")[:200]
    if file:
        return ValueError(
            f"{file} is cut off or does not fit {name} ({reason}): get the file anew or remove it"
        )
    return FileNotFoundError(
        f"no weights of {name}: timm could not download them ({reason}). Run once with a network, "
        f"or put {name}.safetensors into the folder weights of $HMLC_DATA or of {files.DATA}"
    )
