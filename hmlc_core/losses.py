"""Losses on embeddings with labels at every level of a hierarchy.

Shapes, everywhere: embeddings [B, D], or [B, V, D] for V views of each sample; labels [B] for one level, [B, L] for
all, coarse to fine, int64, -1 = unknown (left out at that level). Embeddings are L2-normalised inside.
"""
import math
from functools import partial

import torch
import torch.nn.functional as F
from torch import nn

from hmlc_core.checks import has_values, require, require_embeddings
from hmlc_core.models import projection_head

BLOCK = 512         # similarities are made in blocks of BLOCK x BLOCK, which fit a CPU's cache,
KEPT = 4096         # and kept for the gradient up to so many embeddings


def supcon_loss(embeddings, labels, temperature=0.1, reduction="mean"):
    """Supervised contrastive loss, "out" form (Khosla et al. 2020, equation 2).

    L_i = -1/|P(i)| sum_{p in P(i)} log( exp(z_i.z_p / t) / sum_{a != i} exp(z_i.z_a / t) ), averaged over the anchors i
    that have a positive; the others count only as contrast.

    Args:
        embeddings: [B, D] or [B, V, D]; labels: int [B].
        reduction: "mean", or "none" for the loss of each anchor, [B] or [B, V], 0 where it has no positive.

    Raises:
        ValueError: temperature < 0.003, shapes that do not fit, NaN, or no positive pair in the whole batch.
    """
    losses, has_positive = _anchor_losses(embeddings, labels, temperature)
    require(has_positive.any(), "no two samples of the batch share a label: there is no positive pair. "
                                "Use larger batches, or two views of each sample ([B, 2, D])")
    return losses.view(embeddings.shape[:-1]) if reduction == "none" else _mean(losses, has_positive)


def _anchor_losses(embeddings, labels, temperature, contrast=None):
    """SupCon's loss of each anchor [N] and whether it has a positive [N]; N = B or B * V.

    The positives enter through the sum of each class's embeddings, so no N x N matrix says which pairs are positive.
    `contrast`: _contrast of these embeddings, if it is known.
    """
    require_embeddings(embeddings, dims=(2, 3))
    require(labels.shape == embeddings.shape[:1] and not labels.is_floating_point(),
            f"labels must be integers [{len(embeddings)}] for embeddings {list(embeddings.shape)}, "
            f"not {labels.dtype} {list(labels.shape)}")
    z, y = _flat(embeddings, labels, temperature)
    known, group = y >= 0, _groups(y)
    ones_and_z = torch.cat([torch.ones_like(z[:, :1]), z], 1)
    sums = torch.zeros_like(ones_and_z).index_add(0, group, ones_and_z).index_select(0, group) - ones_and_z          # of the anchor's positives
    positives = torch.where(known, sums[:, 0], 0)
    contrast = _contrast(z, known, temperature) if contrast is None else contrast
    losses = contrast - (z * sums[:, 1:]).sum(1) / temperature / positives.clamp(min=1)
    return torch.where(positives > 0, losses, 0), positives > 0


def _groups(y):
    """A number 0, 1, ... for each sample [N], the same for samples with the same label."""
    ordered, index = y.sort()
    group = F.pad((ordered[1:] != ordered[:-1]).long().cumsum(0), (1, 0))
    return torch.empty_like(index).scatter_(0, index, group)


def _contrast(z, known, temperature):
    """log of the sum of exp(z_i.z_a / t) over all other known samples a, [N]."""
    wide = z.double() if temperature < 0.05 else z          # exp(-2 / t) becomes too small for float32
    with torch.autocast("cpu" if z.is_meta else z.device.type, enabled=False):
        return _LogSumExp.apply(wide, known.to(wide.dtype), temperature).to(z.dtype)


class _LogSumExp(torch.autograd.Function):
    """log sum_a k_a exp(z_i.z_a / t) over a != i, for unit vectors z [N, D] and weights k [N] of 0 or 1.

    Similarities are symmetric, so blocks on and above the diagonal are enough, and the gradient of z_i,
    sum_a E_ia (c_i k_a + k_i c_a) z_a with c = gradient / sum / t, is one product a block where autograd has two. Blocks of
    small batches are kept for it, those of large ones made again, so memory is O(N * D + block^2).
    """

    @staticmethod
    def forward(ctx, z, k, temperature):
        sums, kept = torch.zeros_like(k), []
        for rows, columns in _places(z):
            e = _block(z, rows, columns, temperature)
            sums[rows].addmv_(e, k[columns])
            if rows != columns:
                sums[columns].addmv_(e.T, k[rows])
            if len(z) <= KEPT:
                kept.append(e)
        sums.clamp_(min=torch.finfo(z.dtype).tiny)          # of a sample alone
        ctx.temperature = temperature
        ctx.save_for_backward(z, k, sums, *kept)
        return sums.log() + 1 / temperature

    @staticmethod
    def backward(ctx, gradient):
        if torch.is_grad_enabled():
            raise NotImplementedError("the contrastive losses have no second derivative (create_graph=True)")
        z, k, sums, *kept = ctx.saved_tensors
        c = gradient / sums / ctx.temperature
        found = torch.zeros_like(z)
        for number, (rows, columns) in enumerate(_places(z)):
            e = kept[number] if kept else _block(z, rows, columns, ctx.temperature)
            weights = torch.outer(c[rows], k[columns]).addr_(k[rows], c[columns]).mul_(e)
            found[rows].addmm_(weights, z[columns])
            if rows != columns:
                found[columns].addmm_(weights.T, z[rows])
        return found, None, None


def _places(z):
    """(rows, columns) of the blocks on and above the diagonal, as slices; few large ones on a GPU, which waits for each launch."""
    size = KEPT if z.is_cuda else BLOCK
    cuts = [slice(start, min(start + size, len(z))) for start in range(0, len(z), size)]
    return [(rows, columns) for i, rows in enumerate(cuts) for columns in cuts[i:]]


def _block(z, rows, columns, temperature):
    """exp((z_i.z_a - 1) / t), and 0 for i = a."""
    e = torch.addmm(z.new_tensor(-1 / temperature), z[rows], z[columns].T, alpha=1 / temperature).exp_()
    return e.fill_diagonal_(0) if rows == columns else e


def _mean(losses, has_positive):
    """Mean over the anchors that have a positive; 0 if none has."""
    return losses.sum() / has_positive.sum().clamp(min=1)


def _flat(embeddings, labels, temperature):
    """Each view as a sample of its own: normalised embeddings [N, D], float32 at least, and labels [N, ...]."""
    require(temperature >= 0.003, f"temperature must be at least 0.003, not {temperature}")
    views = embeddings.shape[1] if embeddings.ndim == 3 else 1
    z = embeddings.flatten(0, -2)
    return F.normalize(z if z.dtype == torch.float64 else z.float(), dim=1), labels.repeat_interleave(views, 0)


def _others(y):
    return ~torch.eye(len(y), dtype=torch.bool, device=y.device)


def _logsumexp(values, where):
    """log of the sum of exp(values) over the columns in `where`, [N, 1]; very small, not -inf (its gradient is NaN), if none."""
    return values.masked_fill(~where, torch.finfo(values.dtype).min / 2).logsumexp(1, keepdim=True)


def _anchor_means(pair_losses, positive):
    """Mean over the positives of each anchor, [N]; 0 for anchors without."""
    return torch.where(positive, pair_losses, 0).sum(1) / positive.sum(1).clamp(min=1)


def _require_levels(embeddings, labels):
    require_embeddings(embeddings, dims=(2, 3))
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
    contrast = None
    if levels > 1 and masks.stride(0) == 0 and has_values(labels) and (labels >= 0).all():      # one mask, expanded: the similarities are the same
        z, y = _flat(embeddings * masks[0], labels[:, 0], temperature)
        contrast = _contrast(z, y >= 0, temperature)
    found = [_anchor_losses(embeddings * mask, labels[:, h], temperature, contrast) for h, mask in enumerate(masks)]
    return _reduce(weights * torch.stack([_mean(*level) for level in found]), found, reduction)


def _level_weights(weights, embeddings, levels):
    weights = torch.as_tensor([1.0] * levels if weights is None else weights, dtype=torch.float32, device=embeddings.device)
    require(weights.shape == (levels,), f"level_weights must be {levels} numbers, not {list(weights.shape)}")
    return weights


def _reduce(terms, found, reduction):
    """Sum of the levels' terms; found: (..., has_positive) of each level."""
    require(torch.stack([has_positive.any() for _, has_positive in found]).any(),
            "no two samples of the batch share a label at any level: there is no positive pair")
    return terms if reduction == "none" else terms.sum()


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
    z, y = _flat(embeddings, labels, temperature)
    similarity = z @ z.T / temperature
    terms, found, bound = [], [], torch.zeros((), device=z.device)
    for distance, label in enumerate(reversed(y.T)):
        pairs, positive = pair_losses(similarity, label)
        weight = math.exp(1 / (1 + distance)) / levels
        found.append((None, positive.any(1)))
        terms.append(weight * _mean(_anchor_means(torch.maximum(pairs, bound), positive), found[-1][1]))
        bound = torch.where(positive, pairs, 0).amax()
    return _reduce(torch.stack(terms[::-1]), found, reduction)


def pair_losses(similarity, labels):
    """-log of softmax(similarity) over each anchor's contrast, the other samples with known label.

    Args:
        similarity: [N, N], already divided by the temperature; labels: int [N].

    Returns:
        Loss of each pair [N, N], and which pairs are positive, bool [N, N].
    """
    contrast = _others(labels) & (labels >= 0)
    return _logsumexp(similarity, contrast) - similarity, contrast & (labels[:, None] == labels)


def _hmce_released(embeddings, labels, temperature, reduction):
    levels = labels.shape[1]
    require(levels > 1, "variant='released' needs an image id as last column of labels, so at least two columns")
    index = torch.arange(len(labels), device=labels.device)
    active = torch.ones_like(index, dtype=torch.bool)      # the batch as it shrinks; the others are left out as unknown
    terms, found, bound = [], [], torch.zeros((), device=embeddings.device)
    for dropped in range(1, levels):
        kept = labels[:, :levels - dropped]
        first = (kept[:, None] == kept).all(2).int().argmax(1)      # first sample with the same tuple
        group = torch.where(active & (kept >= 0).all(1), first, -1)
        found.append(_anchor_losses(embeddings, group, temperature))
        bound = torch.maximum(bound, _mean(*found[-1]) * temperature / 0.07)
        terms.append(math.exp(1 / dropped) / levels * bound)
        active = active & (first == index)
    return _reduce(torch.stack(terms[::-1]), found, reduction)


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


def rince_loss(embeddings, labels, temperature=0.1, reduction="sum"):
    """RINCE (Hoffmann et al. 2022, "Ranking Info Noise Contrastive Estimation"), sum inside the logarithm.

    Rank 1 are the samples of the same finest class, rank 2 those that share the next coarser class only, and so on.
    sum_r mean_i -log( S_r / (S_r + N_r) ), S_r = sum of exp(z_i.z_a / t_r) over rank r, N_r over all ranks behind r;
    ranks before r are left out. t_r grows linearly from `temperature` at rank 1 to six times that (0.1 to 0.6).

    Args and errors as masked_hierarchical_loss; reduction="none" gives the terms of the levels, coarse to fine.
    """
    _require_levels(embeddings, labels)
    z, y = _flat(embeddings, labels, temperature)
    levels = labels.shape[1]
    terms, found, left = [], [], _others(y)
    for rank in range(levels):
        label = y[:, levels - 1 - rank]
        left = left & (label >= 0)
        positive = left & (label[:, None] == label)
        similarity = z @ z.T / (temperature * (1 + 5 * rank / max(levels - 1, 1)))
        losses = (_logsumexp(similarity, left) - _logsumexp(similarity, positive))[:, 0]
        found.append((None, positive.any(1)))
        terms.append(_mean(torch.where(found[-1][1], losses, 0), found[-1][1]))
        left = left & ~positive
    return _reduce(torch.stack(terms[::-1]), found, reduction)


def bhcl_loss(embeddings, labels, prototypes, temperature=0.1, reduction="sum"):
    """BHCL (arXiv 2512.24074): SupCon per level with a prototype per class and a balanced denominator.

    At each level an anchor's positives are the samples and the prototype of its class; in the denominator each class
    counts with the mean of its members (samples but the anchor, and prototype), so that large classes weigh no more than
    small ones. Levels l = 0 .. L-1, coarse to fine, weigh exp(1 / (L - l)), normalised to sum 1.

    Args:
        prototypes: L tensors [classes of the level, D]; others and errors as masked_hierarchical_loss.
    """
    _require_levels(embeddings, labels)
    z, y = _flat(embeddings, labels, temperature)
    weights = torch.tensor([1 / (len(prototypes) - level) for level in range(len(prototypes))], dtype=z.dtype, device=z.device).softmax(0)
    return _reduce_terms([w * _balanced_supcon(z, y[:, level], F.normalize(c.to(z.dtype), dim=1), temperature)
                          for level, (w, c) in enumerate(zip(weights, prototypes))], reduction)


def _balanced_supcon(z, y, prototypes, temperature):
    owner = torch.cat([y, torch.arange(len(prototypes), device=y.device)])               # class of each contrast
    similarity = z @ torch.cat([z, prototypes]).T / temperature                          # [N, N + classes]
    other = torch.ones_like(similarity, dtype=torch.bool).fill_diagonal_(False) & (owner >= 0)
    positive = other & (y[:, None] == owner)
    members = (1 + _members(y, len(prototypes)).sum(0))[owner.clamp(min=0)] - (y[:, None] == owner).to(z.dtype)   # but the anchor
    denominator = _logsumexp(similarity - members.clamp(min=1).log(), other)
    return _anchor_means(denominator - similarity, positive).sum() / (y >= 0).sum().clamp(min=1)


def _members(y, classes):
    """1 where sample n is of class c, else 0, [N, classes]; unknown labels are of none."""
    return F.one_hot(y.clamp(min=0), classes) * (y >= 0)[:, None]


def level_restricted_loss(embeddings, labels, prototypes, temperature=0.1, reduction="sum", hyperbolic=False):
    """Level-restricted contrastive learning (arXiv 2606.21838) with a learnable prototype per class in the text's place (ours).

    Per level, over the classes K that occur in the batch: cross-entropy of each sample over the prototypes of K, plus, for
    each class of K, the mean over its samples of cross-entropy over the batch; mean over levels. Contrast never crosses levels.

    Args:
        prototypes: L tensors [classes of the level, D]; others and errors as masked_hierarchical_loss.
        hyperbolic: logits are -distance / t in the Lorentz model (curvature 1, exponential map at the origin of
            embedding / sqrt(D)) instead of cosine / t.
    """
    _require_levels(embeddings, labels)
    _, y = _flat(embeddings, labels, temperature)
    z = embeddings.flatten(0, -2)
    z = z if z.dtype == torch.float64 else z.float()
    closeness = _lorentz_closeness if hyperbolic else (lambda a, b: F.normalize(a, dim=1) @ F.normalize(b, dim=1).T)
    terms = []
    for level, nodes in enumerate(prototypes):
        member = _members(y[:, level], len(nodes))
        count, known = member.sum(0), member.sum(1) > 0
        logits = closeness(z, nodes.to(z.dtype)) / temperature                           # [samples, classes]
        to_nodes = (_logsumexp(logits, (count > 0)[None]) - logits) * member
        to_images = (_logsumexp(logits.T, known[None]).T - logits) * member / count.clamp(min=1)
        terms.append((to_nodes.sum() / known.sum().clamp(min=1) + to_images.sum() / (count > 0).sum().clamp(min=1)) / len(prototypes))
    return _reduce_terms(terms, reduction)


def _lorentz_closeness(a, b):
    """Minus the distance of points [N, D] and [M, D], given in the tangent space at the origin, in the Lorentz model."""
    points = []
    for tangent in (a, b):
        tangent = tangent / tangent.shape[1] ** 0.5
        norm = tangent.norm(dim=1, keepdim=True).clamp(1e-6, 10)
        points.append((norm.cosh(), norm.sinh() * F.normalize(tangent, dim=1)))
    (time_a, space_a), (time_b, space_b) = points
    return -torch.acosh((time_a @ time_b.T - space_a @ space_b.T).clamp(min=1 + 1e-6))


def _reduce_terms(terms, reduction):
    return torch.stack(terms) if reduction == "none" else torch.stack(terms).sum()


class PrototypeLoss(nn.Module):
    """A loss with a learnable prototype per class of each level; called as the losses above."""

    def __init__(self, dim, class_counts):
        super().__init__()
        self.prototypes = nn.ParameterList(torch.randn(count, dim) for count in class_counts)

    def forward(self, embeddings, labels, temperature=0.1, reduction="sum"):
        return self.loss(embeddings, labels, list(self.prototypes), temperature, reduction)


class BHCL(PrototypeLoss):
    """bhcl_loss with its prototypes."""
    loss = staticmethod(bhcl_loss)


class LevelRestricted(PrototypeLoss):
    """level_restricted_loss with its prototypes."""
    loss = staticmethod(level_restricted_loss)


class LevelRestrictedHyperbolic(PrototypeLoss):
    """level_restricted_loss(hyperbolic=True) with its prototypes."""
    loss = staticmethod(partial(level_restricted_loss, hyperbolic=True))


class PerLevelHeads(nn.Module):
    """MLCL (arXiv 2502.02202): a projection head per level on the encoder's features, SupCon on each. The control that masks
    have to beat. One temperature for all levels, as for every method here."""

    def __init__(self, dim, class_counts, projected=128):
        super().__init__()
        self.heads = nn.ModuleList(projection_head(dim, projected) for _ in class_counts)

    def forward(self, embeddings, labels, temperature=0.1, reduction="sum"):
        """embeddings: the encoder's features [B, F] or [B, V, F]; labels int [B, L] -> sum over levels, or its L terms."""
        _require_levels(embeddings, labels)
        flat = embeddings.flatten(0, -2)
        found = [_anchor_losses(head(flat).unflatten(0, embeddings.shape[:-1]), labels[:, level], temperature)
                 for level, head in enumerate(self.heads)]
        return _reduce(torch.stack([_mean(*level) for level in found]), found, reduction)


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
