"""The paper's losses, from top to bottom: SupCon, the masked hierarchical loss, HMCE twice.

Everywhere: embeddings [B, D], or [B, V, D] for V views of each sample, made unit vectors inside, in
float32 at least. Labels [B] for one level, [B, L] for all, coarse to fine: integers in a tensor, an
array or a list; -1 = unknown, neither anchor nor contrast at that level. A class is a number within
its whole level, not within its parent: two breeds of two species are two numbers. (HMCE (released)
reads tuples instead, see there.) A batch without a positive pair gives 0, with a gradient of zeros,
and one warning; with strict=True it is a ValueError. The temperature may be a tensor that learns.

Small helpers stand behind the losses: samples (checks; each view becomes a sample of its own, x
[N, D]), unit (vectors of length 1), similarities, not_itself, only, total (of the levels' terms).
"""

import math
import warnings
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from hmlc_core import contrast
from hmlc_core.checks import choose, has_values, in_single, require, require_embeddings


class Anchors(NamedTuple):
    """Loss of each anchor [..., N], 0 where it has no positive, and whether it has one."""

    loss: torch.Tensor
    has_positive: torch.Tensor

    def mean(self):
        """Mean over the anchors that have a positive, [...]; 0 if none has."""
        return self.loss.sum(-1) / self.has_positive.sum(-1).clamp(min=1)


def supcon_loss(
    embeddings, labels, temperature=0.1, reduction="mean", positives=None, strict=False
):
    """Supervised contrastive loss, "out" form (Khosla et al. 2020, equation 2).

    L_i = -1/|P(i)| sum_{p in P(i)} log( exp(z_i.z_p / t) / sum_{a != i} exp(z_i.z_a / t) ), mean
    of the anchors i that have a positive; the others count only as contrast.

    Args:
        reduction: "mean", or "none" for the loss of each anchor, [B] or [B, V].
        positives: bool [B, B], who is a positive of which anchor, where classes cannot say it
            (several labels a sample); labels, or None, then only say who is unknown. Views of one
            sample always are positives.

    Raises:
        ValueError: temperature < 0.003, another reduction, shapes that do not fit, NaN.
    """
    require(reduction in ("mean", "none"), f"reduction must be mean or none, not {reduction!r}")
    x, y = samples(embeddings, labels, temperature, positives, levels=False)
    anchors = anchor_losses(unit(x), y, temperature, _of_views(positives, len(x)))
    _require_positive(anchors.has_positive, strict)
    return anchors.loss.view(embeddings.shape[:-1]) if reduction == "none" else anchors.mean()


def anchor_losses(z, labels, temperature, positives=None):
    """SupCon's Anchors [..., N] of unit vectors z [..., N, D] and labels [..., N]."""
    n, dim = z.shape[-2:]
    # of blocks a temperature that learns gets no gradient
    if n >= contrast.LARGE and positives is None and not getattr(temperature, "requires_grad", 0):
        loss, found = contrast.anchor_losses(z.view(-1, n, dim), labels.view(-1, n), temperature)
        return Anchors(loss.view(labels.shape), found.view(labels.shape))
    return anchor_means(*pair_losses(similarities(z, z, temperature), labels, positives))


def pair_losses(similarity, labels, positives=None):
    """-log of softmax(similarity) over each anchor's contrast, the other samples with known label.

    Args:
        similarity: [..., N, N], already divided by the temperature; labels: int [..., N].
        positives: bool [..., N, N] instead of equal labels.

    Returns:
        Loss of each pair [..., N, N], and which pairs are positive, bool [..., N, N].
    """
    known, same = labels >= 0, labels[..., :, None] == labels[..., None, :]
    others = known[..., None, :] & not_itself(labels)
    positive = others & known[..., :, None] & (same if positives is None else positives)
    return -only(similarity, others).log_softmax(-1), positive


def anchor_means(pairs, positive):
    """Anchors [..., N]: the mean over the positives of each, from losses of pairs [..., N, N]."""
    count = positive.sum(-1)
    return Anchors(torch.where(positive, pairs, 0).sum(-1) / count.clamp(min=1), count > 0)


def masked_hierarchical_loss(
    embeddings, labels, masks, temperature=0.1, level_weights=None, reduction="sum",
    positives=None, strict=False,
):  # fmt: skip
    """The loss of G-HMLC and A-HMLC: sum_h w_h SupCon(normalize(z * M_h), y_h). Our reading.

    A sample of which a mask leaves fewer than two coordinates that are not 0 is unknown at that
    level: one coordinate makes a "unit vector" of 1 or -1, which nothing can move.

    Args:
        masks: [L, B, D], or [L, B, V, D] for V views, from hmlc_core.masks; [1, ...]: one mask for
            all levels.
        level_weights: L numbers w_h; None: 1 for every level.
        reduction: "sum", or "none" for the L weighted terms; 0 without a positive pair.
        positives: bool [L, B, B]; otherwise, and for errors, as supcon_loss.
    """
    x, y = samples(embeddings, labels, temperature, positives)
    _require_masks(masks, [y.shape[1], *embeddings.shape])
    masked = (x * masks.flatten(1, -2)).contiguous()  # [L, N, D]
    require_embeddings(masked, (3,), "masked embeddings")
    y = torch.where(seen(masked), y.T, -1)  # [L, N]
    anchors = anchor_losses(unit(masked), y, temperature, _of_views(positives, len(x)))
    return total(anchors.mean(), anchors.has_positive, reduction, strict, level_weights)


def seen(masked):
    """Whether a mask leaves two coordinates that are not 0, bool [...], of z * M [..., D]."""
    return (masked != 0).sum(-1) > 1


def hmce_loss(embeddings, labels, temperature=0.1, variant="paper", reduction="sum", strict=False):
    """HMCE (Zhang et al., CVPR 2022, "Use All The Labels"): paper and released code differ.

    "paper": sum_l 1/L mean_i lambda_l/|P_l(i)| sum_p max( loss(i, p), largest pair loss of the next
        finer level ), with lambda_l = exp(1 / (1 + distance from the finest level)).
    "released": the last column of the labels is taken for an image id. For l = 1 .. L-1 the last l
        columns are dropped; positives share what remains; the level's SupCon, times t / 0.07, is a
        scalar, raised to the largest of the finer levels and weighted by exp(1/l); the batch then
        shrinks to the first sample of each distinct tuple; the sum is divided by L. So
        [coarse, fine] without an id trains on coarse alone.

    reduction="none" gives the weighted terms, coarse to fine (L; "released" has none for the id).
    """
    terms_of = choose("variant", variant, {"paper": _hmce_paper, "released": _hmce_released})
    x, y = samples(embeddings, labels, temperature)
    terms, has_positive = terms_of(unit(x), y, temperature, len(x) // len(embeddings))
    return total(torch.stack(terms[::-1]), torch.cat(has_positive), reduction, strict)


def _hmce_paper(z, y, temperature, views):
    """Terms and has_positive [N] of each level, fine to coarse; unit vectors z [N, D], y [N, L]."""
    similarity, levels = similarities(z, z, temperature), y.shape[1]
    terms, has_positive, bound = [], [], z.new_zeros(())
    for distance, label in enumerate(reversed(y.T)):
        pairs, positive = pair_losses(similarity, label)
        anchors = anchor_means(torch.maximum(pairs, bound), positive)
        terms.append(math.exp(1 / (1 + distance)) / levels * anchors.mean())
        has_positive.append(anchors.has_positive)
        bound = torch.where(positive, pairs, 0).amax()
    return terms, has_positive


def _hmce_released(z, y, temperature, views):
    """Terms and has_positive [N] of each level but the id's, fine to coarse; z [N, D], y [N, L]."""
    labels, levels = y[::views], y.shape[1]
    require(levels > 1, "variant='released' needs an image id as last column of labels, so two")
    index = torch.arange(len(labels), device=y.device)
    in_batch = torch.ones_like(index, dtype=torch.bool)  # those that left it are unknown
    terms, has_positive, bound = [], [], z.new_zeros(())
    for dropped in range(1, levels):
        rest = labels[:, : levels - dropped]
        first = (rest[:, None] == rest).all(2).int().argmax(1)  # sample with the same tuple
        group = torch.where(in_batch & (rest >= 0).all(1), first, -1)
        anchors = anchor_losses(z, group.repeat_interleave(views), temperature)
        bound = torch.maximum(bound, anchors.mean() * temperature / 0.07)
        terms.append(math.exp(1 / dropped) / levels * bound)
        has_positive.append(anchors.has_positive)
        in_batch = in_batch & (first == index)
    return terms, has_positive


def hmce_released_loss(embeddings, labels, temperature=0.1, reduction="sum", strict=False):
    """hmce_loss(variant="released") as its authors call it: an image id behind the finest level."""
    labels = as_labels(labels, embeddings)
    labels = torch.cat([labels, torch.arange(len(labels), device=labels.device)[:, None]], 1)
    return hmce_loss(embeddings, labels, temperature, "released", reduction, strict)


def finest_supcon_loss(embeddings, labels, temperature=0.1, reduction="sum", strict=False):
    """SupCon on the finest level alone; reduction="none" gives its single term as [1]."""
    x, y = samples(embeddings, labels, temperature)
    anchors = anchor_losses(unit(x), y[:, -1], temperature)
    return total(anchors.mean()[None], anchors.has_positive, reduction, strict)


class SupConLoss(nn.Module):
    """supcon_loss as a module, options in the constructor: SupConLoss(0.1)(embeddings, labels)."""

    function = staticmethod(supcon_loss)

    def __init__(self, temperature=0.1, **options):
        super().__init__()
        self.temperature, self.loss = temperature, partial(self.function, **options)

    def forward(self, embeddings, labels, **given):
        return self.loss(embeddings, labels, **{"temperature": self.temperature} | given)


class HMCELoss(SupConLoss):
    """hmce_loss as a module: HMCELoss(variant="paper")(embeddings, labels)."""

    function = staticmethod(hmce_loss)


class MaskedHierarchicalLoss(SupConLoss):
    """masked_hierarchical_loss as a module: MaskedHierarchicalLoss(gmm_masks)(embeddings, labels).

    `masks`: function (embeddings [N, D], levels) -> masks [L, N, D], or a module called alike, such
    as AttentionMasks(dim, levels), whose parameters then are this one's; so are level weights that
    learn (an nn.Parameter or an nn.ParameterList).
    """

    function = staticmethod(masked_hierarchical_loss)

    def __init__(self, masks, temperature=0.1, level_weights=None, **options):
        super().__init__(temperature, **options)
        made = callable(masks) and not isinstance(masks, type)
        require(made, f"masks must be a function, or a module made before, not {masks!r}")
        self.masks, self.level_weights = masks, level_weights

    def forward(self, embeddings, labels, **given):
        labels = as_labels(labels, embeddings, given.get("positives"))
        masks = masks_of(self.masks, embeddings, labels.shape[1])
        given = {"level_weights": self.level_weights} | given
        return super().forward(embeddings, labels, masks=masks, **given)


def masks_of(make, embeddings, levels):
    """Masks [levels or 1, ..., D] of embeddings [..., D] by a mask maker; checks its result."""
    flat = embeddings.flatten(0, -2)
    made = make(flat, levels)
    _require_masks(made, [levels, *flat.shape])
    return made.unflatten(1, embeddings.shape[:-1])


def _require_masks(masks, shape):
    given = list(masks.shape) if isinstance(masks, torch.Tensor) else type(masks).__name__
    require(given in (shape, [1, *shape[1:]]), f"masks must be a tensor {shape}, not {given}")


# What every loss uses


def samples(embeddings, labels, temperature=1, positives=None, levels=True):
    """Each view as a sample of its own, x [N, D] and labels [N, L] or [N]; checks all of them."""
    one = isinstance(temperature, int | float) or math.prod(getattr(temperature, "shape", [0])) == 1
    fits = one and (temperature >= 0.003) & (temperature < math.inf)
    require(fits, f"temperature must be one finite number, at least 0.003, not {temperature}")
    labels = as_labels(labels, embeddings, positives, levels)
    x = in_single(embeddings.flatten(0, -2))
    return x, labels.repeat_interleave(len(x) // len(labels), 0)


def as_labels(labels, embeddings, positives=None, levels=True):
    """Integers of any kind as int64 [B, L] (levels) or [B], beside the embeddings; checks both."""
    require_embeddings(embeddings, dims=(2, 3))
    n = len(embeddings)
    if labels is None and positives is not None:
        labels = torch.zeros((n, len(positives)) if levels else n, dtype=torch.long)
    if not isinstance(labels, torch.Tensor):
        array = np.array(labels)
        whole = np.can_cast(array.dtype, np.int64) and array.dtype != bool
        require(whole, f"labels must be integers, not {array.dtype}")
        labels = torch.from_numpy(array.astype(np.int64))
    whole = not (labels.is_floating_point() or labels.is_complex()) and labels.dtype != torch.bool
    fits = whole and labels.ndim == 1 + levels and len(labels) == n
    wanted = f"integers [{n}, L], torch.stack(columns, 1)," if levels else f"integers [{n}]"
    given = f"for embeddings {list(embeddings.shape)}, not {labels.dtype} {list(labels.shape)}"
    require(fits, f"labels must be {wanted} {given}")
    shape = [*labels.shape[1:], n, n]
    kind, size = getattr(positives, "dtype", ""), [*getattr(positives, "shape", "")]
    fits, given = kind is torch.bool and size == shape, f"{type(positives)} {kind} {size}"
    require(positives is None or fits, f"positives must be a bool tensor {shape}, not {given}")
    return labels.to(embeddings.device, torch.long)


def _of_views(positives, n):
    """positives [..., B, B] between samples -> [..., N, N] between their views."""
    if positives is None:
        return None
    views = n // positives.shape[-1]
    positives = positives | ~not_itself(positives)
    return positives.repeat_interleave(views, -1).repeat_interleave(views, -2)


def unit(vectors):
    """vectors [..., D] / their length; a vector of zeros stays, with a gradient that is bounded."""
    length = vectors.norm(dim=-1, keepdim=True)
    return vectors / torch.where(length > 1e-12, length, 1)


def similarities(a, b, temperature):
    """a [..., N, D] times b [..., M, D] transposed, / t, never in half precision."""
    with torch.autocast("cpu" if a.is_meta else a.device.type, enabled=False):
        return a @ b.mT / temperature


def not_itself(x):
    """bool [N, N], False on the diagonal, for x [..., N]."""
    return ~torch.eye(x.shape[-1], dtype=torch.bool, device=x.device)


def only(values, where):
    """Very small numbers in place of others; -inf would give a gradient of NaN if none is left."""
    return values.masked_fill(~where, torch.finfo(values.dtype).min / 2)


def total(terms, has_positive, reduction, strict, weights=None):
    """Weighted sum of the terms [L], or they themselves (reduction="none")."""
    require(reduction in ("sum", "none"), f"reduction must be sum or none, not {reduction!r}")
    _require_positive(has_positive, strict)
    if weights is not None:
        count, in_list = len(terms), isinstance(weights, list | tuple | nn.ParameterList)
        flat = in_list or getattr(weights, "ndim", 0) == 1
        require(flat and len(weights) == count, f"give {count} level_weights, not {weights}")
        terms = torch.stack([term * weight for term, weight in zip(terms, weights)])
    return terms if reduction == "none" else terms.sum()


_warned_under = None


def _require_positive(has_positive, strict):
    """Warn once, or with `strict` raise, if no anchor has a positive."""
    global _warned_under
    if not has_values(has_positive) or has_positive.any():
        return
    message = "there is no positive pair: no two samples share a label, or masks hide them"
    require(not strict, f"{message}. Use larger batches, or two views of each sample ([B, 2, D])")
    if _warned_under is not warnings.filters:  # once; catch_warnings() has filters of its own
        _warned_under = warnings.filters
        warnings.warn(f"{message}. The loss of such a batch is 0", stacklevel=4)
