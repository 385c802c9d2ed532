"""Checks of values, with an error that says what was wrong."""

from contextlib import contextmanager

import torch

_state = {"look": True}
PLAIN = (torch.Tensor, torch.nn.Parameter)  # tensors with values; fake ones are of other types


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
    return _state["look"] and type(tensor) in PLAIN and not tensor.is_meta


def require(condition, message):
    """Raise ValueError(message) unless `condition` (a bool or a tensor of one) holds.

    Tensors that are not looked at (see has_values) pass.
    """
    if isinstance(condition, torch.Tensor) and not has_values(condition):
        return
    if not condition:
        raise ValueError(message)


def choose(what, name, among, more=""):
    """among[name], or ValueError that says what there is; `more` is said behind it."""
    require(name in [*among], f"unknown {what} {name!r}: choose from {', '.join(among)}{more}")
    return among[name]


def require_dim(x, dim, what):
    """Raise unless embeddings x [..., D] have the D that `what` was made for."""
    require(x.shape[-1] == dim, f"{what} are made for dimension {dim}, not {x.shape[-1]}")


def in_single(x):
    """x in float32, or as it is if it is finer."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def require_embeddings(embeddings, dims=(2,), what="embeddings"):
    """Raise unless `embeddings` is a finite floating tensor with as many dimensions as `dims`."""
    shapes = " or ".join({2: "[B, D]", 3: "[B, V, D]"}[d] for d in dims)
    kind = embeddings.dtype if isinstance(embeddings, torch.Tensor) else type(embeddings).__name__
    floating = getattr(kind, "is_floating_point", False)
    require(floating, f"{what} must be a floating point tensor, not {kind}")
    fits = embeddings.ndim in dims and embeddings.numel() > 0
    require(fits, f"{what} must be {shapes} and not empty, not {list(embeddings.shape)}")
    if has_values(embeddings):
        ok = torch.isfinite(in_single(embeddings.detach()).norm())
        require(ok, f"{what} or their squares hold NaN or infinity: check learning rate, input")
