"""Checks of values, with an error that says what was wrong."""

from contextlib import contextmanager

import torch

_state = {"look": True}


@contextmanager
def values(look):
    """Inside, look at the values of tensors, for which a GPU has to wait, or only at shapes."""
    before, _state["look"] = _state["look"], look
    try:
        yield
    finally:
        _state["look"] = before


def has_values(tensor):
    """Whether to look at a tensor: False on the meta device, in fake-tensor mode, while tracing,
    and inside values(False)."""
    return _state["look"] and type(tensor) is torch.Tensor and not tensor.is_meta


def require(condition, message):
    """Raise ValueError(message) unless `condition` (a bool or a tensor of one) holds.

    Tensors that are not looked at (see has_values) pass.
    """
    if isinstance(condition, torch.Tensor) and not has_values(condition):
        return
    if not condition:
        raise ValueError(message)


def require_embeddings(embeddings, dims=(2,)):
    """Raise unless `embeddings` is a finite floating tensor with as many dimensions as `dims`."""
    shapes = " or ".join({2: "[B, D]", 3: "[B, V, D]"}[d] for d in dims)
    require(
        embeddings.is_floating_point(), f"embeddings must be floating point, not {embeddings.dtype}"
    )
    require(
        embeddings.ndim in dims and embeddings.numel() > 0,
        f"embeddings must be {shapes} and not empty, not {list(embeddings.shape)}",
    )
    if has_values(embeddings):
        require(
            torch.isfinite(embeddings.detach().sum(dtype=torch.float64)),
            "embeddings hold NaN or infinity: look at the learning rate and the input",
        )
