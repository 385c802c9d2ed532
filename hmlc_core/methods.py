"""Every method, one entry each: its masks and its loss; and the model that a run trains."""

from copy import deepcopy
from dataclasses import dataclass
from functools import partial

import torch
from torch import nn

from hmlc_core import distributed, losses, masks, models, peers
from hmlc_core.checks import choose, require


@dataclass(frozen=True)
class Method:
    """What a method is: where its masks come from and which loss it takes.

    Attributes:
        key: its name in result files.
        name: its name in figures and tables.
        kind: "paper", "baseline", "control", "peer" or "ours".
        source: the paper that it is from, or why it is here.
        loss: function (embeddings, labels, [masks,] temperature=, reduction="none") -> a term per
            level, or less, coarse to fine [<= L]; or a module class made with (dim, class_counts).
        masks: function (embeddings [B, D], levels) -> [levels, B, D], or a module class made with
            (dim, levels), whose observe(embeddings [B, D], labels [B, L]), if it has one, gets
            every training batch; None: no masks.
        one_mask: whether the masks of all levels are the same.
        projected: whether the loss sees the projection head's embedding (else the features).
        version: raise it when the method's numbers change by code that the hash cannot see.
    """

    key: str
    name: str
    kind: str
    source: str
    loss: object = losses.masked_hierarchical_loss
    masks: object = None
    one_mask: bool = False
    projected: bool = True
    version: int = 1


_OTT, _ZHANG = "Ott et al. 2025, arXiv 2510.00837", "Zhang et al., CVPR 2022"
_MASKED, _BEYOND = losses.masked_hierarchical_loss, "arXiv 2606.21838"
_BY_BATCH = partial(masks.gmm_masks, scope="batch")
# fmt: off
_ALL = (
    Method("cross_entropy", "cross-entropy", "baseline", "a linear layer per level",
           peers.CrossEntropyHeads, projected=False),
    Method("supcon", "SupCon (finest level)", "baseline", "Khosla et al. 2020",
           losses.finest_supcon_loss),
    Method("hmce_paper", "HMCE (paper)", "baseline", _ZHANG, losses.hmce_loss),
    Method("hmce_released", "HMCE (released)", "baseline", _ZHANG, losses.hmce_released_loss),
    Method("shared", "control: shared", "control", "no mask", _MASKED, masks.shared_masks,
           one_mask=True),
    Method("split", "control: split", "control", "a fixed division", _MASKED, masks.split_masks),
    Method("sign", "control: sign", "control", "division by value", _MASKED, masks.sign_masks),
    Method("rectified", "control: rectified", "control", "non-negative, not divided", _MASKED,
           masks.rectified_masks, one_mask=True),
    Method("random", "control: random split", "control", "a fixed random division", _MASKED,
           masks.random_masks),
    Method("g_hmlc", "G-HMLC", "paper", _OTT, _MASKED, masks.gmm_masks),
    Method("g_hmlc_batch", "G-HMLC (batch)", "paper", _OTT, _MASKED, _BY_BATCH),
    Method("a_hmlc", "A-HMLC", "paper", _OTT, _MASKED, masks.AttentionMasks),
    Method("heads", "MLCL (head per level)", "peer", "arXiv 2502.02202", peers.PerLevelHeads,
           projected=False),
    Method("rince", "RINCE", "peer", "Hoffmann et al. 2022, arXiv 2201.11736", peers.rince_loss),
    Method("bhcl", "BHCL", "peer", "arXiv 2512.24074", peers.BHCL),
    Method("level_restricted", "level-restricted", "peer", _BEYOND, peers.LevelRestricted),
    Method("level_restricted_hyperbolic", "level-restricted (hyperbolic)", "peer", _BEYOND,
           peers.LevelRestrictedHyperbolic),
)
# fmt: on
METHODS = {method.key: method for method in _ALL}


def get(method):
    """The method of that key; a Method passes through.

    Raises:
        ValueError: for an unknown key.
    """
    if isinstance(method, Method):
        return method
    return choose("method", method, METHODS, ", or give a methods.Method of your own")


class Objective(nn.Module):
    """A method's masks and loss, with their parameters if they have any."""

    def __init__(self, method, dim, class_counts, temperature):
        super().__init__()
        self.levels, self.temperature = len(class_counts), temperature
        make, loss = method.masks, method.loss
        # copied, so that a module that was given in place of a class is trained by one run alone
        self.masks = make(dim, self.levels) if isinstance(make, type) else deepcopy(make)
        self.loss = loss(dim, class_counts) if isinstance(loss, type) else deepcopy(loss)
        self.one_mask, self._unseen = method.one_mask, None

    def take_unseen(self):
        """How many views were unknown at each level since the last call because their mask left
        fewer than two coordinates, [L]; None if there were no masks or no training."""
        unseen, self._unseen = self._unseen, None
        return unseen

    @torch.no_grad()
    def _count_unseen(self, embeddings, level_masks, labels):
        unseen = ~losses.seen(embeddings * level_masks)  # [L or 1, B, V]
        count = (unseen & (labels.T >= 0)[:, :, None]).sum((1, 2))
        self._unseen = count if self._unseen is None else self._unseen + count

    def level_masks(self, embeddings):
        """Masks [levels, ..., D] of embeddings [..., D]."""
        return losses.masks_of(self.masks, embeddings, self.levels)

    def forward(self, embeddings, labels):
        """Loss terms of embeddings [B, V, D] with labels [B, L], one per level, coarse to fine."""
        if self.training and hasattr(self.masks, "observe"):
            self.masks.observe(embeddings[:, 0], labels)
        given = [embeddings, labels]
        if self.masks is not None:
            level_masks = self.level_masks(embeddings)
            given.append(level_masks[:1] if self.one_mask else level_masks)
            if self.training:
                self._count_unseen(*given[::2], labels)
        terms = self.loss(*given, temperature=self.temperature, reduction="none")
        wanted = f"reduction='none' must give a term per level, 1 to {self.levels}"
        require(terms.ndim == 1 and 1 <= len(terms) <= self.levels, f"{wanted}, not {terms.shape}")
        return terms


class Model(nn.Module):
    """Encoder, projection head and objective of one run."""

    def __init__(self, method, settings, channels, class_counts):
        super().__init__()
        self.encoder, features = models.build_encoder(settings.encoder, channels)
        if method.projected:
            dim = settings.dim
            self.head = models.projection_head(features, dim, settings.head_batch_norm)
        else:
            dim, self.head = features, nn.Identity()
        self.objective = Objective(method, dim, class_counts, settings.temperature)

    def embed(self, inputs, autocast):
        """Features [N, F] and embeddings [N, D], both float32, of encoder inputs [N, ...]."""
        if inputs.ndim == 4:
            inputs = inputs.contiguous(memory_format=torch.channels_last)
        with autocast:
            features = self.encoder(inputs).float()
        return features, self.head(features)

    def forward(self, views, labels, autocast):
        """Loss terms [<= L] of views [B, V, ...] with labels [B, L].

        With several processes, `views` are this one's share of the batch, `labels` all of them.
        """
        _, embeddings = self.embed(views.flatten(0, 1), autocast)
        embeddings = embeddings.unflatten(0, views.shape[:2])
        return self.objective(distributed.gather(embeddings), labels)
