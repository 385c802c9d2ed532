"""Variants of A-HMLC that were tried; importing this adds them to METHODS."""

from hmlc_core.masks import AttentionMasks
from hmlc_core.methods import METHODS, Method


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


VARIANTS = (
    Method(
        "a_hmlc_sharp", "A-HMLC, not divided by √D", "ours", "a trial", masks=SharpAttentionMasks
    ),
    Method("a_hmlc_sigmoid", "A-HMLC, sigmoid", "ours", "a trial", masks=SigmoidAttentionMasks),
    Method(
        "a_hmlc_rectified",
        "A-HMLC, positive coordinates",
        "ours",
        "a trial",
        masks=RectifiedAttentionMasks,
    ),
)
METHODS.update({method.key: method for method in VARIANTS})
