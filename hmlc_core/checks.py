"""Checks of values, with an error that says what was wrong."""
import torch


def has_values(tensor):
    """False on the meta device, in fake-tensor mode and while tracing."""
    return type(tensor) is torch.Tensor and not tensor.is_meta


def require(condition, message):
    """Raise ValueError(message) unless `condition` (a bool or a tensor of one) holds.

    Tensors without values (meta device, fake-tensor mode, tracing) pass: there is nothing to look at.
    """
    if isinstance(condition, torch.Tensor) and not has_values(condition):
        return
    if not condition:
        raise ValueError(message)


def require_embeddings(embeddings, dims=(2,)):
    """Raise unless `embeddings` is a finite floating tensor with one of these numbers of dimensions."""
    require(embeddings.is_floating_point(), f"embeddings must be floating point, not {embeddings.dtype}")
    require(embeddings.ndim in dims and embeddings.numel() > 0,
            f"embeddings must be {' or '.join({2: '[B, D]', 3: '[B, V, D]'}[d] for d in dims)} and not empty, "
            f"not {list(embeddings.shape)}")
    require(torch.isfinite(embeddings.detach().sum(dtype=torch.float64)), "embeddings hold NaN or infinity: look at the learning rate and the input")
