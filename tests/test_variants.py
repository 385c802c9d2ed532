"""Masks by separability learn from batches which coordinates tell the classes of a level."""

import pytest
import torch

from hmlc_core import checks, masks
from study import variants


def analysis_of_variance(x, labels):
    """1 - MS within / MS total, one coordinate at a time (Kelley 1935)."""
    classes = [x[labels == k] for k in labels.unique()]
    within = sum(((part - part.mean(0)) ** 2).sum(0) for part in classes) / (len(x) - len(classes))
    return 1 - within / (((x - x.mean(0)) ** 2).sum(0) / (len(x) - 1))


def test_separability_is_that_of_the_analysis_of_variance():
    labels = torch.tensor([0, 0, 0, 1, 1, 2, 2, 2, 2, -1, 5])
    x = torch.randn(
        11, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64
    ) + labels[:, None] * torch.tensor([0, 0.5, 1, 10])
    known = labels >= 0
    assert torch.allclose(
        variants.separability(x, labels), analysis_of_variance(x[known], labels[known])
    )
    assert torch.equal(variants.separability(x, torch.arange(11)), torch.zeros(4))
    assert torch.equal(variants.separability(x, torch.full((11,), -1)), torch.zeros(4))


def test_separability_of_noise_is_zero_on_average():
    x = torch.randn(100, 5000, generator=torch.Generator().manual_seed(0))
    assert abs(variants.separability(x, torch.arange(100) % 30).mean()) < 0.005


def observed(strengths, levels=2, steps=50):
    """Masks that saw coordinates which follow the classes of a level, so strongly, and noise."""
    generator = torch.Generator().manual_seed(0)
    made = variants.SeparabilityMasks(len(strengths), levels, momentum=0.9)
    for _ in range(steps):
        labels = torch.randint(4, (200, levels), generator=generator)
        x = torch.randn(200, len(strengths), generator=generator)
        made.observe(
            x + torch.stack([strength * labels[:, level] for level, strength in strengths], 1),
            labels,
        )
    return made


@pytest.mark.parametrize("levels", [2, 3])
def test_planted_coordinates_go_to_their_level(levels):
    planted = [
        (d * 7 % levels, 1.0) for d in range(24)
    ]  # not in the order in which the masks start
    made = observed(planted, levels)
    assert made.level.tolist() == [level for level, _ in planted]
    z = torch.randn(5, 24)
    assert (
        torch.equal(made(z, levels), masks.partition(made.level, levels, z))
        and (made(z).sum(0) == 1).all()
    )


def test_harder_level_gets_more_coordinates_and_no_level_none():
    made = observed([(0, 5.0)] * 12 + [(1, 0.3)] * 12)
    assert (made.level == 1).sum() > 18 and (made.level == 0).any()
    assert (observed([(0, 100.0)] * 3, levels=3).level.sort().values == torch.arange(3)).all()
    with pytest.raises(ValueError, match="5 levels need"):
        variants.SeparabilityMasks(4, 5)


def test_separability_learns_where_values_are_not_looked_at_but_moves_nothing():
    z, labels = torch.randn(64, 8), torch.randint(3, (64, 2))
    looked, blind = variants.SeparabilityMasks(8, 2), variants.SeparabilityMasks(8, 2)
    looked.observe(z, labels)
    with checks.values(False):
        blind.observe(z, labels)
    assert torch.equal(looked.separability, blind.separability) and blind.separability.any()
    assert blind.level.tolist() == [0] * 4 + [1] * 4
