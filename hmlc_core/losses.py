"""Losses on embeddings with labels at every level of a hierarchy.

Shapes, everywhere: embeddings [B, D], or [B, V, D] for V views of each sample; labels [B] for one level, [B, L] for
all, coarse to fine, int64, -1 = unknown (left out at that level). Embeddings are L2-normalised inside.
"""
import math

import torch
import torch.nn.functional as F
from torch import nn

from hmlc_core.checks import require, require_embeddings


def supcon_loss(embeddings, labels, temperature=0.1, reduction="mean"):
    """Supervised contrastive loss, "out" form (Khosla et al. 2020, equation 2).

    L_i = -1/|P(i)| sum_{p in P(i)} log( exp(z_i.z_p / t) / sum_{a != i} exp(z_i.z_a / t) ), averaged over the anchors i
    that have a positive; the others count only as contrast.

    Args:
        embeddings: [B, D] or [B, V, D]; labels: int [B].
        reduction: "mean", or "none" for the loss of each anchor, [B] or [B, V], 0 where it has no positive.

    Raises:
        ValueError: temperature <= 0, shapes that do not fit, NaN, or no positive pair in the whole batch.
    """
    log_probability, positive = _pairs(embeddings, labels, temperature)
    require(positive.any(), "no two samples of the batch share a label: there is no positive pair. "
                            "Use larger batches, or two views of each sample ([B, 2, D])")
    per_anchor = _anchor_means(-log_probability, positive)
    if reduction == "none":
        return per_anchor.view(embeddings.shape[:-1])
    return per_anchor.sum() / positive.any(1).sum()


def _pairs(embeddings, labels, temperature):
    """log softmax over the contrast of each anchor [N, N] and which pairs are positive [N, N]; N = B or B * V."""
    require(temperature > 0, f"temperature must be positive, not {temperature}")
    require_embeddings(embeddings, dims=(2, 3))
    require(labels.shape == embeddings.shape[:1] and not labels.is_floating_point(),
            f"labels must be integers [{len(embeddings)}] for embeddings {list(embeddings.shape)}, "
            f"not {labels.dtype} {list(labels.shape)}")
    views = embeddings.shape[1] if embeddings.ndim == 3 else 1
    z, y = embeddings.flatten(0, -2), labels.repeat_interleave(views)
    z = F.normalize(z if z.dtype == torch.float64 else z.float(), dim=1)
    other = ~torch.eye(len(y), dtype=torch.bool, device=y.device)
    contrast = other & (y >= 0)
    similarity = z @ z.T / temperature
    nothing = torch.finfo(similarity.dtype).min / 2       # not -inf, whose gradient would be NaN
    log_probability = similarity - similarity.masked_fill(~contrast, nothing).logsumexp(1, keepdim=True)
    return log_probability, contrast & (y[:, None] == y)


def _anchor_means(pair_losses, positive):
    """Mean over the positives of each anchor, [N]; 0 for anchors without."""
    return torch.where(positive, pair_losses, 0).sum(1) / positive.sum(1).clamp(min=1)


def _require_levels(embeddings, labels):
    require(labels.ndim == 2 and len(labels) == len(embeddings) and labels.shape[1] > 0,
            f"labels must be [{len(embeddings)}, L], one column per level, not {list(labels.shape)}")


def masked_hierarchical_loss(embeddings, labels, masks, temperature=0.1, level_weights=None, reduction="sum"):
    """The loss of G-HMLC and A-HMLC: sum_h w_h * SupCon(normalize(z * M_h), y_h). Our reading of the paper.

    Args:
        embeddings: [B, D] or [B, V, D]; labels: int [B, L].
        masks: [L, B, D], or [L, B, V, D] for V views, from hmlc_core.masks.
        level_weights: L numbers w_h; None: 1 for every level.
        reduction: "sum", or "none" for the L weighted terms.

    A level without a positive pair in the batch adds 0. Raises ValueError as supcon_loss, and if no level has one.
    """
    _require_levels(embeddings, labels)
    levels = labels.shape[1]
    require(masks.shape == (levels, *embeddings.shape), f"masks must be {[levels, *embeddings.shape]}, not {list(masks.shape)}")
    weights = _level_weights(level_weights, embeddings, levels)
    pairs = [_pairs(embeddings * mask, labels[:, h], temperature) for h, mask in enumerate(masks)]
    return _reduce(weights * torch.stack([_level_mean(-log_p, positive) for log_p, positive in pairs]), pairs, reduction)


def _level_weights(weights, embeddings, levels):
    weights = torch.as_tensor([1.0] * levels if weights is None else weights, dtype=torch.float32, device=embeddings.device)
    require(weights.shape == (levels,), f"level_weights must be {levels} numbers, not {list(weights.shape)}")
    return weights


def _level_mean(pair_losses, positive):
    """Mean over the anchors that have a positive; 0 if none has."""
    return _anchor_means(pair_losses, positive).sum() / positive.any(1).sum().clamp(min=1)


def _reduce(level_losses, pairs, reduction):
    require(torch.stack([positive.any() for _, positive in pairs]).any(),
            "no two samples of the batch share a label at any level: there is no positive pair")
    return level_losses if reduction == "none" else level_losses.sum()


def hmce_loss(embeddings, labels, temperature=0.1, variant="paper", reduction="sum"):
    """HMCE (Zhang et al., CVPR 2022, "Use All The Labels"). Its paper and its released code differ, so there are two.

    "paper": sum_l 1/L mean_i lambda_l/|P_l(i)| sum_p max( loss(i, p), largest pair loss of the next finer level ), with
        lambda_l = exp(1 / (1 + distance from the finest level)).
    "released": the last column of the labels is taken for an image id. For l = 1 .. L-1 the last l columns are dropped;
        positives share what remains; the level's SupCon, times t / 0.07, is a scalar, raised to the largest of the finer
        levels and weighted by exp(1/l); the batch then shrinks to the first sample of each distinct tuple; the sum is
        divided by L. So [coarse, fine] without an id trains on coarse alone.

    Args:
        embeddings: [B, D] or [B, V, D]; labels: int [B, L].
        reduction: "sum", or "none" for the weighted terms, coarse to fine (L; "released" has none for the id, L - 1).

    Raises ValueError as masked_hierarchical_loss.
    """
    _require_levels(embeddings, labels)
    require(variant in ("paper", "released"), f"variant must be 'paper' or 'released', not {variant!r}")
    if variant == "released":
        return _hmce_released(embeddings, labels, temperature, reduction)
    levels = labels.shape[1]
    pairs = [_pairs(embeddings, column, temperature) for column in labels.T]
    terms, bound = [], torch.zeros((), device=embeddings.device)
    for distance, (log_p, positive) in enumerate(reversed(pairs)):
        weight = math.exp(1 / (1 + distance)) / levels
        terms.append(weight * _level_mean(torch.maximum(-log_p, bound), positive))
        bound = torch.where(positive, -log_p, 0).amax()
    return _reduce(torch.stack(terms[::-1]), pairs, reduction)


def _hmce_released(embeddings, labels, temperature, reduction):
    levels = labels.shape[1]
    require(levels > 1, "variant='released' needs an image id as last column of labels, so at least two columns")
    index = torch.arange(len(labels), device=labels.device)
    active = torch.ones_like(index, dtype=torch.bool)      # the batch as it shrinks; the others are left out as unknown
    terms, pairs, bound = [], [], torch.zeros((), device=embeddings.device)
    for dropped in range(1, levels):
        kept = labels[:, :levels - dropped]
        first = (kept[:, None] == kept).all(2).int().argmax(1)      # first sample with the same tuple
        group = torch.where(active & (kept >= 0).all(1), first, -1)
        pairs.append(_pairs(embeddings, group, temperature))
        bound = torch.maximum(bound, _level_mean(-pairs[-1][0], pairs[-1][1]) * temperature / 0.07)
        terms.append(math.exp(1 / dropped) / levels * bound)
        active = active & (first == index)
    return _reduce(torch.stack(terms[::-1]), pairs, reduction)


def finest_supcon_loss(embeddings, labels, temperature=0.1, reduction="sum"):
    """SupCon on the finest level alone; reduction="none" gives its single term as [1]."""
    _require_levels(embeddings, labels)
    loss = supcon_loss(embeddings, labels[:, -1], temperature)
    return loss[None] if reduction == "none" else loss


def hmce_released_loss(embeddings, labels, temperature=0.1, reduction="sum"):
    """hmce_loss(variant="released") as its authors call it: with an image id behind the finest level."""
    _require_levels(embeddings, labels)
    ids = torch.arange(len(labels), device=labels.device)
    return hmce_loss(embeddings, torch.cat([labels, ids[:, None]], 1), temperature, "released", reduction)


class CrossEntropyHeads(nn.Module):
    """The baseline nobody may leave out: one linear classifier per level on the encoder's features."""

    def __init__(self, dim, class_counts):
        super().__init__()
        self.heads = nn.ModuleList(nn.Linear(dim, count) for count in class_counts)

    def forward(self, embeddings, labels, temperature=None, reduction="sum"):
        """embeddings [B, D] or [B, V, D], labels int [B, L] -> sum over levels, or its L terms ("none")."""
        _require_levels(embeddings, labels)
        views = embeddings.shape[1] if embeddings.ndim == 3 else 1
        x, y = embeddings.flatten(0, -2), labels.repeat_interleave(views, 0)
        terms = torch.stack([F.cross_entropy(head(x), y[:, level], ignore_index=-1, reduction="sum") /
                             (y[:, level] >= 0).sum().clamp(min=1) for level, head in enumerate(self.heads)])
        return terms if reduction == "none" else terms.sum()
