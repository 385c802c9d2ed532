"""The peers: RINCE, BHCL, level-restricted contrastive learning, MLCL and cross-entropy.

Arguments, and what happens without a positive pair, are as in losses.py. A sample and its class's
prototype or classifier are a positive pair, so where there are such, only a batch without any known
label has none.
"""

from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from hmlc_core import losses
from hmlc_core.checks import in_single, require, require_dim
from hmlc_core.losses import not_itself, only, samples, similarities, total, unit
from hmlc_core.models import projection_head


def rince_loss(embeddings, labels, temperature=0.1, reduction="sum", strict=False):
    """RINCE (Hoffmann et al. 2022, "Ranking Info Noise Contrastive Estimation"), sum in the log.

    Rank 1 are the samples of the same finest class, rank 2 those that share the next coarser class
    only, and so on. sum_r mean_i -log( S_r / (S_r + N_r) ), S_r = sum of exp(z_i.z_a / t_r) over
    rank r, N_r over all ranks behind r; ranks before r are left out. t_r grows linearly from
    `temperature` at rank 1 to six times that (0.1 to 0.6). reduction="none": coarse to fine.
    """
    x, y = samples(embeddings, labels, temperature)
    similarity, step = similarities(unit(x), unit(x), temperature), 5 / max(y.shape[1] - 1, 1)
    ranks, left = [], not_itself(y.T)
    for rank, label in enumerate(reversed(y.T)):
        known = left & (label >= 0)
        positive = known & (label[:, None] == label)
        softer, has_positive = similarity / (1 + step * rank), positive.any(1)
        loss = only(softer, known).logsumexp(1) - only(softer, positive).logsumexp(1)
        ranks.append(losses.Anchors(torch.where(has_positive, loss, 0), has_positive))
        left = left & ~positive
    terms = torch.stack([anchors.mean() for anchors in reversed(ranks)])
    return total(terms, torch.stack([a.has_positive for a in ranks]), reduction, strict)


def bhcl_loss(embeddings, labels, prototypes, temperature=0.1, reduction="sum", strict=False):
    """BHCL (arXiv 2512.24074): SupCon per level with a prototype per class, and balanced.

    At each level an anchor's positives are the samples and the prototype of its class; in the
    denominator each class counts with the mean of its members (samples but the anchor, and
    prototype), so that large classes weigh no more than small ones. Levels l = 0 .. L-1, coarse to
    fine, weigh exp(1 / (L - l)), normalised to sum 1. `prototypes`: L tensors [classes, D].
    """
    x, y = samples(embeddings, labels, temperature)
    _require_classes(x, y, prototypes)
    z, levels = unit(x), len(prototypes)
    terms = [_balanced_supcon(z, *level, temperature) for level in zip(y.T, prototypes)]
    weights = np.exp([1 / (levels - level) for level in range(levels)])
    return total(torch.stack(terms), y >= 0, reduction, strict, weights / weights.sum())


def _balanced_supcon(z, y, prototypes, temperature):
    classes = torch.arange(len(prototypes), device=y.device)
    owner = torch.cat([y, classes])  # class of each contrast
    contrast = torch.cat([z, unit(prototypes.to(z.dtype))])  # [N + classes, D]
    similarity, same = similarities(z, contrast, temperature), y[:, None] == owner
    others = F.pad(not_itself(y), (0, len(classes)), value=True) & (owner >= 0)
    sizes = 1 + (y[:, None] == classes).sum(0)  # and the prototype
    sizes = (sizes[owner.clamp(min=0)] - same.to(z.dtype)).clamp(min=1)  # without the anchor
    denominator = only(similarity - sizes.log(), others).logsumexp(1, keepdim=True)
    positive = others & same & (y >= 0)[:, None]
    return losses.anchor_means(denominator - similarity, positive).mean()


def level_restricted_loss(
    embeddings, labels, prototypes, temperature=0.1, reduction="sum", hyperbolic=False, strict=False
):
    """Level-restricted contrastive learning (arXiv 2606.21838), a learnable prototype per class in
    the text's place (ours).

    Per level, over the classes K that occur in the batch: cross-entropy of each sample over the
    prototypes of K, plus, for each class of K, the mean over its samples of cross-entropy over the
    batch; mean over levels. Contrast never crosses levels. `prototypes`: L tensors [classes, D].
    `hyperbolic`: logits are -distance / t in the Lorentz model (curvature 1, exponential map at the
    origin of embedding / sqrt(D)) instead of cosine / t.
    """
    x, y = samples(embeddings, labels, temperature)
    _require_classes(x, y, prototypes)
    closeness = _lorentz_closeness if hyperbolic else _cosine
    logits = [closeness(x, nodes.to(x.dtype)) / temperature for nodes in prototypes]
    terms = [_two_way_cross_entropy(*level) for level in zip(logits, y.T)]
    return total(torch.stack(terms) / len(terms), y >= 0, reduction, strict)


def _two_way_cross_entropy(logits, y):
    """Samples over the classes that occur, and each of these over the samples; logits [N, K]."""
    member = y[:, None] == torch.arange(logits.shape[1], device=y.device)
    size, known = member.sum(0), y >= 0
    to_nodes = -only(logits, size > 0).log_softmax(1)
    to_images = -only(logits, known[:, None]).log_softmax(0) / size.clamp(min=1)
    to_nodes, to_images = (torch.where(member, part, 0).sum() for part in (to_nodes, to_images))
    return to_nodes / known.sum().clamp(min=1) + to_images / (size > 0).sum().clamp(min=1)


def _cosine(a, b):
    return similarities(unit(a), unit(b), 1)


def _lorentz_closeness(a, b):
    """Minus the distance of points [N, D] and [M, D], given in the tangent space at the origin."""
    (time_a, space_a), (time_b, space_b) = _lorentz_point(a), _lorentz_point(b)
    product = similarities(time_a, time_b, 1) - similarities(space_a, space_b, 1)
    return -torch.acosh(product.clamp(min=1 + 1e-6))


def _lorentz_point(tangent):
    tangent = tangent / tangent.shape[1] ** 0.5
    length = tangent.norm(dim=1, keepdim=True).clamp(1e-6, 10)
    return length.cosh(), length.sinh() * unit(tangent)


def _require_classes(x, y, made, what="prototypes"):
    levels = y.shape[1]
    require(len(made) == levels, f"{what} must be of {levels} levels, not {len(made)}")
    for label, part in zip(y.T, made):
        require_dim(x, part.shape[1], what)
        require((label < len(part)).all(), f"a label is beyond the {len(part)} {what} of its level")


class PrototypeLoss(nn.Module):
    """A loss with a learnable prototype per class of each level; called as the losses above."""

    def __init__(self, dim, class_counts):
        super().__init__()
        self.prototypes = nn.ParameterList(torch.randn(count, dim) for count in class_counts)

    def forward(self, embeddings, labels, temperature=0.1, reduction="sum", strict=False):
        return self.loss(embeddings, labels, self.prototypes, temperature, reduction, strict=strict)


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
    """MLCL (arXiv 2502.02202): a projection head per level on the features, SupCon on each.

    The control that masks have to beat. One temperature for all levels, as for every method here.
    """

    def __init__(self, dim, class_counts, projected=128):
        super().__init__()
        self.heads = nn.ModuleList(projection_head(dim, projected) for _ in class_counts)

    def forward(self, embeddings, labels, temperature=0.1, reduction="sum", strict=False):
        """Features [B, F] or [B, V, F], labels int [B, L] -> sum over levels, or its L terms."""
        x, y = samples(embeddings, labels, temperature)
        require(len(self.heads) == y.shape[1], f"{len(self.heads)} heads for {y.shape[1]} levels")
        require_dim(x, self.heads[0][0].in_features, "heads")
        z = torch.stack([unit(head(x.to(head[0].weight.dtype)).to(x.dtype)) for head in self.heads])
        anchors = losses.anchor_losses(z, y.T, temperature)
        return total(anchors.mean(), anchors.has_positive, reduction, strict)


class CrossEntropyHeads(nn.Module):
    """The baseline nobody may leave out: a linear classifier per level on the features."""

    def __init__(self, dim, class_counts):
        super().__init__()
        self.heads = nn.ModuleList(nn.Linear(dim, count) for count in class_counts)

    def forward(self, embeddings, labels, temperature=None, reduction="sum", strict=False):
        """Features [B, F] or [B, V, F], labels int [B, L] -> sum over levels, or its L terms."""
        x, y = samples(embeddings, labels)
        _require_classes(x, y, [head.weight for head in self.heads], "classes")
        x = x.to(next(self.parameters()).dtype)
        cross_entropy = partial(F.cross_entropy, ignore_index=-1, reduction="sum")
        logits = [in_single(head(x)) for head in self.heads]
        sums = [cross_entropy(part, label.clamp(min=-1)) for part, label in zip(logits, y.T)]
        terms = torch.stack(sums) / (y >= 0).sum(0).clamp(min=1)
        return total(terms, y >= 0, reduction, strict)
