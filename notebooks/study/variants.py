"""Methods of our own: variants of A-HMLC that were tried, masks by separability, and prototypes on
a projection head per level; importing this adds them to METHODS."""

import torch
from scipy.optimize import linear_sum_assignment
from torch import nn

from hmlc_core.checks import has_values
from hmlc_core.contrast import class_numbers
from hmlc_core.losses import samples
from hmlc_core.masks import AttentionMasks, partition, require_room
from hmlc_core.methods import METHODS, Method
from hmlc_core.models import projection_head
from hmlc_core.peers import LevelRestricted


class SharpAttentionMasks(AttentionMasks):
    """Without the division by sqrt(D)."""

    def gate(self, logits):
        return logits.softmax(-1) * logits.shape[-1]


class SigmoidAttentionMasks(AttentionMasks):
    """Sigmoid instead of softmax, scaled to mean 1."""

    def gate(self, logits):
        return logits.sigmoid() / logits.sigmoid().mean(-1, keepdim=True)


class RectifiedAttentionMasks(AttentionMasks):
    """Attention to each sample's positive coordinates alone."""

    def forward(self, embeddings, levels=None):
        return super().forward(embeddings, levels) * (embeddings > 0)


class SeparabilityMasks(nn.Module):
    """Ours, not the paper's: a coordinate belongs to the level whose classes it separates best,
    compared with the other coordinates.

    Separability is a running mean over training batches. A level gets the more coordinates the less
    its own separate its classes. Starts as split_masks; the same for all samples.
    """

    def __init__(self, dim, levels, momentum=0.99):
        super().__init__()
        require_room(levels, dim)
        self.momentum = momentum
        self.register_buffer("separability", torch.zeros(levels, dim))
        self.register_buffer("level", torch.arange(dim) * levels // dim)

    @torch.no_grad()
    def observe(self, embeddings, labels):
        """Learn from a training batch, embeddings [N, D] and labels [N, L]; one view a sample,
        since two are not independent. Inside checks.values(False) no coordinate changes level."""
        new = torch.stack([separability(embeddings.float(), column) for column in labels.T])
        share = torch.where(self.separability.any(), 1 - self.momentum, 1.0)
        self.separability.lerp_(new, share)
        if has_values(labels):  # on a GPU the CPU, which assigns, has to wait for it
            self.level.copy_(self._assigned(self._part_sizes()))

    def _part_sizes(self):
        """How many coordinates each level gets, [L], at least one."""
        levels, dim = self.separability.shape
        own = partition(self.level, levels, self.separability[:1])[:, 0]
        explained = (self.separability * own).sum(1) / own.sum(1).clamp(min=1)
        missing = (1 - explained).cumsum(0)
        ends = (missing / missing[-1] * (dim - levels)).round().long()
        return 1 + ends.diff(prepend=ends.new_zeros(1))

    def _assigned(self, sizes):
        """Level [D] of each coordinate: the division into parts of these sizes in which relative
        separabilities of the coordinates for their levels sum to most."""
        place = torch.arange(len(sizes), device=sizes.device).repeat_interleave(sizes)
        positive = self.separability.clamp(min=0)
        relative = positive / positive.mean(1, keepdim=True).clamp(min=1e-2)  # if not yet learned
        _, coordinate = linear_sum_assignment(relative[place].cpu().numpy(), maximize=True)
        coordinate = torch.from_numpy(coordinate).to(sizes.device)
        return torch.empty_like(self.level).scatter_(0, coordinate, place)

    def forward(self, embeddings, levels=None):
        """embeddings [B, D] -> 0/1 masks [levels, B, D], the same for all samples."""
        return partition(self.level, len(self.separability), embeddings)


def separability(embeddings, labels):
    """Share of each coordinate's variance that lies between classes, [D]: the correlation ratio,
    corrected for chance (epsilon squared, Kelley 1935), so 0 on average where classes do not
    matter, 1 where a class has one value; 0 if every known sample has a class of its own.

    Args:
        embeddings: [N, D]; labels: int [N], -1 left out.
    """
    known = (labels >= 0)[:, None].to(embeddings.dtype)
    n, (number, _) = known.sum(), class_numbers(labels)
    centred = (embeddings - (embeddings * known).sum(0) / n.clamp(min=1)) * known
    sizes = torch.zeros_like(known).index_add(0, number, known)
    sums = torch.zeros_like(centred).index_add(0, number, centred)
    between, total = (sums.square() / sizes.clamp(min=1)).sum(0), centred.square().sum(0)
    within, free = total - between, n - (sizes > 0).sum()
    share = 1 - within / total.clamp(min=1e-12) * (n - 1) / free.clamp(min=1)
    return torch.where(free > 0, share, 0)


class PrototypeHeads(LevelRestricted):
    """Ours: MLCL's projection head per level on the features, and on each head level-restricted
    contrast with that level's prototypes; mean over levels."""

    def __init__(self, dim, class_counts, projected=128):
        super().__init__(projected, class_counts)
        self.heads = nn.ModuleList(projection_head(dim, projected) for _ in class_counts)

    def forward(self, embeddings, labels, *more, **named):
        """Features [B, F] or [B, V, F], labels int [B, L]; the rest, and errors, as its parent."""
        x, y = samples(embeddings, labels)
        z = torch.cat([head(x) for head in self.heads])  # [L * N, projected]
        own = torch.eye(len(self.heads), y.shape[1], dtype=torch.bool, device=y.device)
        own = own.repeat_interleave(len(x), 0)  # what a head gives is known at its level alone
        y = torch.where(own, y.repeat(len(self.heads), 1), -1)
        return super().forward(z, y, *more, **named)


def _ours(key, name, masks, source="a trial"):
    return Method(key, name, "ours", source, masks=masks)


VARIANTS = (
    _ours("a_hmlc_sharp", "A-HMLC, not divided by √D", SharpAttentionMasks),
    _ours("a_hmlc_sigmoid", "A-HMLC, sigmoid", SigmoidAttentionMasks),
    _ours("a_hmlc_rectified", "A-HMLC, positive coordinates", RectifiedAttentionMasks),
)
SEPARABILITY = _ours("separability", "ours: separability", SeparabilityMasks, "this project")
PROTOTYPE_HEADS = Method(
    "prototype_heads", "ours: prototype heads", "ours", "this project",
    PrototypeHeads, projected=False,
)  # fmt: skip
METHODS.update({method.key: method for method in (SEPARABILITY, PROTOTYPE_HEADS, *VARIANTS)})
