"""One mask per level of the hierarchy: which coordinates of an embedding the loss of that level sees.

Every mask maker takes embeddings [B, D] and the number of levels, and returns masks [levels, B, D].
The paper's two are `gmm_masks` (G-HMLC, hard) and `AttentionMasks` (A-HMLC, soft); `SeparabilityMasks` is ours, the others are controls.
"""
import torch
from scipy.optimize import linear_sum_assignment
from torch import nn

from hmlc_core.checks import has_values, require, require_embeddings


@torch.no_grad()
def gmm_masks(embeddings, levels, scope="sample", iterations=20):
    """G-HMLC: fit a Gaussian mixture with one component per level; each coordinate goes to its likeliest component.

    The paper fits the mixture "on this embedding vector"; the rest of the recipe is ours: components are matched to
    levels by descending mean, EM starts from the sorted coordinates cut into equal parts, no gradient flows.

    Args:
        embeddings: [B, D].
        levels: number of components, at most D.
        scope: "sample": one mixture per sample, over the D values of its embedding;
            "batch": one mixture over the D coordinates, each described by its mean, standard deviation and skewness
            over the batch; all samples share the masks.
        iterations: EM steps.

    Returns:
        0/1 masks [levels, B, D] of the embeddings' dtype, each coordinate in exactly one level.

    Raises:
        ValueError: more levels than coordinates, NaN, or an embedding that is constant over its coordinates.
    """
    require_embeddings(embeddings)
    require(1 <= levels <= embeddings.shape[1], f"{levels} levels need at least as many coordinates, not {embeddings.shape[1]}")
    require(scope in ("sample", "batch"), f"scope must be 'sample' or 'batch', not {scope!r}")
    x = embeddings if embeddings.dtype == torch.float64 else embeddings.float()
    items = x[:, :, None] if scope == "sample" else _batch_statistics(x)[None]
    spread = items.amax(1) - items.amin(1)
    require(levels == 1 or (spread > 0).any(1).all(), "an embedding is constant over its coordinates: a mixture cannot divide it")
    level = _mixture_labels(items, levels, iterations)
    return (level == torch.arange(levels, device=level.device)[:, None, None]).to(embeddings.dtype).expand(-1, *embeddings.shape)


def _batch_statistics(x):
    """[D, 3] mean, standard deviation and skewness of each coordinate over the batch, each scaled to unit variance
    over the coordinates unless it is the same for all (as mean and deviation are behind BatchNorm)."""
    centred = x - x.mean(0)
    deviation = centred.square().mean(0).sqrt()
    skewness = (centred ** 3).mean(0) / deviation.clamp(min=1e-6) ** 3
    statistics = torch.stack([x.mean(0), deviation, skewness], 1)
    statistics = statistics - statistics.mean(0)
    scale = statistics.std(0, correction=0)
    return torch.where(scale > 1e-3, statistics / scale.clamp(min=1e-3), 0.0)


def _mixture_labels(items, components, iterations):
    """Component [G, D] of each of D items [G, D, F] in G diagonal Gaussian mixtures, by batched EM; component 0 has
    the highest mean (summed over the F features)."""
    order = items.sum(2).argsort(1)
    part = torch.arange(items.shape[1], device=items.device) * components // items.shape[1]
    start = torch.empty_like(order).scatter_(1, order, part.expand_as(order))
    responsibility = (start == torch.arange(components, device=items.device)[:, None, None]).to(items.dtype)     # [K, G, D]
    powers = torch.cat([items.movedim(2, 0), items.movedim(2, 0).square()])                                     # [2F, G, D]
    floor = 1e-6 * items.var(1, correction=0).amax(1).clamp(min=1e-12)
    for _ in range(iterations):
        mean, slopes, density = _maximise(responsibility, powers, floor)
        for power, slope in zip(powers, slopes):
            density = torch.addcmul(density, slope, power)
        responsibility = density.softmax(0)
    order = mean.sum(0).argsort(0, descending=True)                                                             # [K, G]
    return density.gather(0, order[:, :, None].expand_as(density)).max(0).indices       # argmax is far slower here


def _maximise(responsibility, powers, floor):
    """M step, from responsibilities [K, G, D] and the items' x and x^2 [2F, G, D]: means [F, K, G], and the factors [2F, K, G, 1] of x
    and x^2 and the rest [K, G, 1] of log(weight * density) up to a constant."""
    total = responsibility.sum(2).clamp(min=1e-10)
    mean, square = torch.stack([(responsibility * power).sum(2) / total for power in powers]).chunk(2)
    variance = (square - mean.square()).clamp(min=0) + floor
    rest = total.log() - 0.5 * (variance.log() + mean.square() / variance).sum(0)
    return mean, torch.cat([mean / variance, -0.5 / variance])[..., None], rest[..., None]


class AttentionMasks(nn.Module):
    """A-HMLC: one attention head per level; a small MLP of z, divided by sqrt(D), softmax over the coordinates, times D.

    That there is a head per level and that masks are soft is the paper's; the MLP and the softmax are ours. The division,
    usual for attention, keeps the softmax from collapsing onto a few coordinates at high learning rates.
    """

    def __init__(self, dim, levels):
        super().__init__()
        self.heads = nn.ModuleList(nn.Sequential(nn.Linear(dim, dim // 2 + 1), nn.ReLU(), nn.Linear(dim // 2 + 1, dim))
                                   for _ in range(levels))

    def forward(self, embeddings, levels=None):
        """embeddings [B, D] -> masks [levels, B, D], positive, mean 1 over the coordinates. Differentiable."""
        require(levels in (None, len(self.heads)), f"made for {len(self.heads)} levels, called for {levels}")
        return torch.stack([self.gate(head(embeddings)) for head in self.heads])

    def gate(self, logits):
        """Logits [B, D] of a head -> its mask, positive, mean 1 over the coordinates."""
        dim = logits.shape[-1]
        return (logits / dim ** 0.5).softmax(-1) * dim


class SharpAttentionMasks(AttentionMasks):
    """A variant that was tried: without the division by sqrt(D)."""

    def gate(self, logits):
        return logits.softmax(-1) * logits.shape[-1]


class SigmoidAttentionMasks(AttentionMasks):
    """A variant that was tried: sigmoid instead of softmax, scaled to mean 1."""

    def gate(self, logits):
        return logits.sigmoid() / logits.sigmoid().mean(-1, keepdim=True)


class RectifiedAttentionMasks(AttentionMasks):
    """A variant that was tried: attention to each sample's positive coordinates alone."""

    def forward(self, embeddings, levels=None):
        return super().forward(embeddings, levels) * (embeddings > 0)


class SeparabilityMasks(nn.Module):
    """Ours, not the paper's: a coordinate belongs to the level whose classes it separates best, compared with the other coordinates.

    Separability of a coordinate for a level is the share of its variance between the level's classes (see `separability`), as a running
    mean over training batches. A level gets the more coordinates the less its own separate its classes. Starts as split_masks; the
    same for all samples.
    """

    def __init__(self, dim, levels, momentum=0.99):
        super().__init__()
        require(1 <= levels <= dim, f"{levels} levels need at least as many coordinates, not {dim}")
        self.momentum = momentum
        self.register_buffer("separability", torch.zeros(levels, dim))
        self.register_buffer("level", torch.arange(dim) * levels // dim)

    @torch.no_grad()
    def observe(self, embeddings, labels):
        """Learn from a training batch, embeddings [N, D] and labels [N, L]; one view a sample, since two are not independent."""
        if not has_values(labels):
            return
        found = torch.stack([separability(embeddings.float(), column) for column in labels.T])
        self.separability.lerp_(found, 1 - self.momentum if self.separability.any() else 1.0)
        self.level.copy_(self._assignment())

    def _assignment(self):
        """Level [D] of each coordinate: the one of all divisions into parts of the wanted sizes in which the relative separabilities of the
        coordinates for their levels sum to most (scipy's linear_sum_assignment)."""
        levels, dim = self.separability.shape
        own = torch.nn.functional.one_hot(self.level, levels).T
        missing = 1 - (self.separability * own).sum(1) / own.sum(1).clamp(min=1)            # what its coordinates leave unexplained
        ends = (missing.cumsum(0) / missing.sum() * (dim - levels)).round().long() + torch.arange(1, levels + 1, device=missing.device)
        level_of_place = (torch.arange(dim, device=ends.device)[:, None] >= ends).sum(1)    # each level has one place at least
        positive = self.separability.clamp(min=0)
        relative = positive / positive.mean(1, keepdim=True).clamp(min=1e-2)        # a level not yet learned decides little
        _, coordinate = linear_sum_assignment(relative[level_of_place].cpu().numpy(), maximize=True)
        return torch.empty_like(self.level).scatter_(0, torch.from_numpy(coordinate).to(ends.device), level_of_place)

    def forward(self, embeddings, levels=None):
        """embeddings [B, D] -> 0/1 masks [levels, B, D], the same for all samples."""
        require(levels in (None, len(self.separability)), f"made for {len(self.separability)} levels, called for {levels}")
        return _partition(self.level, len(self.separability), embeddings)


def separability(embeddings, labels):
    """Share of each coordinate's variance that lies between classes, [D]: the correlation ratio, corrected for chance (epsilon squared, Kelley
    1935), so 0 on average where classes do not matter, 1 where a class has one value.

    Args:
        embeddings: [N, D]; labels: int [N], -1 left out. 0 if every known sample has a class of its own, or none is known.
    """
    x, (classes, group) = embeddings[labels >= 0], labels[labels >= 0].unique(return_inverse=True)
    if len(x) <= len(classes):
        return torch.zeros_like(embeddings[0])
    centred = x - x.mean(0)
    count = torch.bincount(group)[:, None]
    between = (torch.zeros_like(centred[:len(classes)]).index_add(0, group, centred).square() / count).sum(0)
    total = centred.square().sum(0).clamp(min=1e-12)
    return 1 - (total - between) / total * (len(x) - 1) / (len(x) - len(classes))


def shared_masks(embeddings, levels):
    """Control: no mask. Every level sees the whole embedding, as in HMCE."""
    return torch.ones_like(embeddings).expand(levels, *embeddings.shape)


def split_masks(embeddings, levels):
    """Control: a fixed split of the coordinates into contiguous parts of (nearly) equal size, the same for all samples."""
    dim = embeddings.shape[-1]
    require(1 <= levels <= dim, f"{levels} levels need at least as many coordinates, not {dim}")
    return _partition(torch.arange(dim, device=embeddings.device) * levels // dim, levels, embeddings)


def random_masks(embeddings, levels):
    """Control: as split_masks, but a fixed random choice of coordinates instead of contiguous ones."""
    dim = embeddings.shape[-1]
    order = torch.randperm(dim, generator=torch.Generator("cpu").manual_seed(0), device="cpu").to(embeddings.device)
    return split_masks(embeddings, levels)[:, :, order]


def sign_masks(embeddings, levels):
    """Control without parameters: divide each sample's coordinates by their value, highest to level 1.

    Two levels: level 1 sees the positive coordinates, level 2 the others. More levels: the limits are those that cut a
    zero-mean normal distribution with the sample's root mean square into equal parts.
    """
    cuts = torch.special.ndtri(torch.arange(1, levels, device=embeddings.device) / levels).to(embeddings.dtype)
    rms = embeddings.square().mean(-1, keepdim=True).sqrt()
    above = embeddings[..., None] > cuts * rms[..., None]
    return _partition(levels - 1 - above.sum(-1), levels, embeddings)


def rectified_masks(embeddings, levels):
    """Control: every level sees the same coordinates, each sample's positive ones. As `sign` it makes what the loss sees
    non-negative, but divides nothing between the levels; so what both gain, no identified feature has gained."""
    return (embeddings > 0).to(embeddings.dtype).expand(levels, *embeddings.shape)


def _partition(level, levels, embeddings):
    """level index [D] or [B, D] of each coordinate -> 0/1 masks [levels, B, D]."""
    masks = torch.nn.functional.one_hot(level, levels).movedim(-1, 0).to(embeddings.dtype)
    return masks.expand(levels, *embeddings.shape) if masks.ndim == embeddings.ndim + 1 else \
        masks[:, None].expand(levels, *embeddings.shape)
