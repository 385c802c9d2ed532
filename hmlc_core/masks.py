"""One mask per level of the hierarchy: which coordinates of an embedding that level's loss sees.

Every mask maker takes embeddings [B, D] and the number of levels, and returns masks [levels, B, D].
The paper's two are `gmm_masks` (G-HMLC, hard) and `AttentionMasks` (A-HMLC, soft); the others are
controls. Hard masks are made by `partition`, at the end, of the level of each coordinate.
"""

import torch
from torch import nn

from hmlc_core.checks import in_single, require, require_dim, require_embeddings


@torch.no_grad()
def gmm_masks(embeddings, levels, scope="sample", iterations=20):
    """G-HMLC: a Gaussian mixture with a component per level; each coordinate goes to its likeliest.

    The paper fits the mixture "on this embedding vector". The rest is ours: components are matched
    to levels by descending mean, EM starts from the sorted coordinates cut into equal parts, no
    gradient flows. A level may get one coordinate of a sample or none: the loss then takes the
    sample for unknown at that level. An embedding that is constant is all of level 1.

    Args:
        embeddings: [B, D].
        levels: number of components, at most D.
        scope: "sample": one mixture per sample, over the D values of its embedding; "batch": one
            mixture over the D coordinates, each described by its mean, standard deviation and
            skewness over the batch; all samples share the masks.
        iterations: EM steps, 1 or more. What G-HMLC trained has converged after 20; of Gaussian
            noise a fifth of the coordinates would still change level (benchmarks/masks.py).

    Returns:
        0/1 masks [levels, B, D] of the embeddings' dtype, each coordinate in exactly one level.

    Raises:
        ValueError: more levels than coordinates, no iterations, another scope, or NaN.
    """
    require_embeddings(embeddings)
    require_room(levels, embeddings.shape[1])
    require(scope in ("sample", "batch"), f"scope must be 'sample' or 'batch', not {scope!r}")
    require(iterations >= 1, f"iterations must be 1 or more, not {iterations}")
    x = in_single(embeddings)
    items = x[None] if scope == "sample" else _batch_statistics(x)[:, None]
    return partition(_mixture_labels(items, levels, iterations), levels, embeddings)


def _batch_statistics(x):
    """[3, D] mean, standard deviation and skewness of each coordinate over the batch, each scaled
    to unit variance over the coordinates unless it is the same for all (as behind BatchNorm)."""
    centred = x - x.mean(0)
    deviation = centred.square().mean(0).sqrt()
    skewness = (centred**3).mean(0) / deviation.clamp(min=1e-6) ** 3
    statistics = torch.stack([x.mean(0), deviation, skewness])
    statistics = statistics - statistics.mean(1, keepdim=True)
    scale = statistics.std(1, correction=0, keepdim=True)
    return torch.where(scale > 1e-3, statistics / scale.clamp(min=1e-3), 0.0)


def _mixture_labels(items, components, iterations):
    """Component [G, D] of each of D items [F, G, D] in G diagonal Gaussian mixtures, by batched EM;
    component 0 has the highest mean (summed over the F features)."""
    items = items - items.mean(2, keepdim=True)  # centred and scaled, for float32
    items = items / items.abs().amax((0, 2), keepdim=True).clamp(min=torch.finfo(items.dtype).tiny)
    floor = 1e-6 * items.var(2, correction=0, keepdim=True).amax(0).clamp(min=1e-12)
    responsibility = _equal_parts(items.sum(0), components)  # [K, G, D]
    for _ in range(iterations):
        share, size = responsibility[:, None], responsibility.sum(2, keepdim=True).clamp(min=1e-10)
        means = (share * items).sum(3, keepdim=True) / size[:, None]  # [K, F, G, 1]
        squares = (items - means).square()  # [K, F, G, D]
        variances = (share * squares).sum(3, keepdim=True) / size[:, None] + floor
        height = size.log() - 0.5 * variances.log().sum(1)  # of the weighted density's logarithm
        log_prob = height - (squares / (2 * variances)).sum(1)  # [K, G, D]
        responsibility = log_prob.softmax(0)
    order = means.sum((1, 3)).argsort(0, descending=True)[:, :, None]  # [K, G, 1]
    return log_prob.gather(0, order.expand_as(log_prob)).max(0).indices  # argmax is far slower


def _equal_parts(values, parts):
    """1 where a value [G, D] is in this part of its sorted row, else 0, [parts, G, D]."""
    part = torch.arange(values.shape[1], device=values.device) * parts // values.shape[1]
    part = part.expand_as(values)
    return partition(part.scatter(1, values.argsort(1), part), parts, values)


class AttentionMasks(nn.Module):
    """A-HMLC: one attention head per level, a small MLP of z, divided by sqrt(D), softmax over the
    coordinates, times D.

    That there is a head per level and that masks are soft is the paper's; the MLP and the softmax
    are ours. The division, usual for attention, keeps the softmax from collapsing onto a few
    coordinates at high learning rates.
    """

    def __init__(self, dim, levels):
        super().__init__()
        hidden = dim // 2 + 1
        heads = [[nn.Linear(dim, hidden), nn.ReLU(), nn.Linear(hidden, dim)] for _ in range(levels)]
        self.heads = nn.ModuleList(nn.Sequential(*layers) for layers in heads)

    def forward(self, embeddings, levels=None):
        """embeddings [B, D] -> masks [levels, B, D], positive, mean 1 over the coordinates; in the
        precision of the heads, whatever autocast has made of the embeddings."""
        require(levels in (None, len(self.heads)), f"{len(self.heads)} heads for {levels} levels")
        require_dim(embeddings, self.heads[0][0].in_features, "attention heads")
        x = embeddings.to(self.heads[0][0].weight.dtype)
        return torch.stack([self.gate(head(x)) for head in self.heads])

    def gate(self, logits):
        """Logits [B, D] of a head -> its mask, positive, mean 1 over the coordinates."""
        return (logits / logits.shape[-1] ** 0.5).softmax(-1) * logits.shape[-1]


def shared_masks(embeddings, levels):
    """Control: no mask. Every level sees the whole embedding, as in HMCE."""
    return torch.ones_like(embeddings).expand(levels, *embeddings.shape)


def split_masks(embeddings, levels):
    """Control: a fixed split of the coordinates into contiguous parts of (nearly) equal size."""
    dim = embeddings.shape[-1]
    require_room(levels, dim)
    level = torch.arange(dim, device=embeddings.device) * levels // dim
    return partition(level, levels, embeddings)


def random_masks(embeddings, levels):
    """Control: as split_masks, but a fixed random choice of coordinates, not contiguous ones."""
    generator = torch.Generator("cpu").manual_seed(0)
    order = torch.randperm(embeddings.shape[-1], generator=generator, device="cpu")
    return split_masks(embeddings, levels)[..., order.to(embeddings.device, non_blocking=True)]


def sign_masks(embeddings, levels):
    """Control without parameters: divide a sample's coordinates by value, highest to level 1.

    Two levels: level 1 sees the positive coordinates, level 2 the others. More levels: the limits
    cut a zero-mean normal distribution with the sample's root mean square into equal parts.
    """
    cuts = torch.special.ndtri(torch.arange(1, levels, device=embeddings.device) / levels)
    rms = in_single(embeddings).square().mean(-1, keepdim=True).sqrt()  # half would overflow
    above = embeddings[..., None] > cuts.to(rms.dtype) * rms[..., None]
    return partition(levels - 1 - above.sum(-1), levels, embeddings)


def rectified_masks(embeddings, levels):
    """Control: every level sees the same coordinates, each sample's positive ones. As `sign` it
    makes what the loss sees non-negative, but divides nothing between the levels; so what both
    gain, no identified feature has gained."""
    return (embeddings > 0).to(embeddings.dtype).expand(levels, *embeddings.shape)


def partition(level, levels, embeddings):
    """Level [D] or [..., D] of each coordinate -> 0/1 masks [levels, ..., D]."""
    number = torch.arange(levels, device=level.device).view(-1, *[1] * embeddings.ndim)
    return (level == number).to(embeddings.dtype).expand(levels, *embeddings.shape)


def require_room(levels, dim):
    """Raise unless there is a coordinate for each level."""
    fits = hasattr(levels, "__index__") and 1 <= levels <= dim
    require(fits, f"levels must be a whole number, 1 to {dim}, coordinates, not {levels!r}")
