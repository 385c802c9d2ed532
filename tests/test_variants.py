"""Methods of our own: masks by separability learn from batches which coordinates tell the classes
of a level; prototypes on a head per level are what double loops say."""

import math

import pytest
import torch
import torch.nn.functional as F

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
    with pytest.raises(ValueError, match="levels must be .*1 to 4"):
        variants.SeparabilityMasks(4, 5)


def test_separability_learns_where_values_are_not_looked_at_but_moves_nothing():
    z, labels = torch.randn(64, 8), torch.randint(3, (64, 2))
    looked, blind = variants.SeparabilityMasks(8, 2), variants.SeparabilityMasks(8, 2)
    looked.observe(z, labels)
    with checks.values(False):
        blind.observe(z, labels)
    assert torch.equal(looked.separability, blind.separability) and blind.separability.any()
    assert blind.level.tolist() == [0] * 4 + [1] * 4


def test_separability_is_a_running_mean_from_the_first_batch_on():
    generator = torch.Generator().manual_seed(0)
    made = variants.SeparabilityMasks(6, 2)
    seen = []
    for _ in range(3):
        z = torch.randn(50, 6, generator=generator)
        labels = torch.randint(3, (50, 2), generator=generator)
        made.observe(z, labels)
        new = torch.stack([variants.separability(z, column) for column in labels.T])
        seen.append(0.99 * seen[-1] + 0.01 * new if seen else new)
        assert torch.allclose(made.separability, seen[-1], atol=1e-6)


def test_gates_have_mean_one_and_their_shapes():
    logits = torch.randn(5, 8, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(gate(variants.SigmoidAttentionMasks, logits).mean(1), torch.ones(5))
    share = gate(variants.SigmoidAttentionMasks, logits) / logits.sigmoid()
    assert torch.allclose(share, share[:, :1].expand(5, 8))
    sharp = gate(variants.SharpAttentionMasks, logits)
    assert torch.allclose(sharp, 8 * logits.softmax(1))
    z = torch.randn(5, 8, generator=torch.Generator().manual_seed(1))
    rectified = variants.RectifiedAttentionMasks(8, 2)
    assert ((rectified(z) > 0) == (z > 0)).all()


def gate(kind, logits):
    return kind(logits.shape[1], 2).gate(logits)


def two_way(z, y, prototypes, t):
    """A level's cross-entropy of samples over the classes that occur, and of these over samples."""
    known, present = [i for i, k in enumerate(y) if k >= 0], sorted(set(y) - {-1})
    z, prototypes = F.normalize(z, dim=1).tolist(), F.normalize(prototypes, dim=1).tolist()
    e = {
        (i, k): math.exp(sum(a * b for a, b in zip(z[i], prototypes[k])) / t)
        for i in known
        for k in present
    }
    total = 0.0
    for i in known:
        total -= math.log(e[i, y[i]] / sum(e[i, k] for k in present)) / len(known)
    for k in present:
        own = [i for i in known if y[i] == k]
        for i in own:
            share = e[i, k] / sum(e[j, k] for j in known)
            total -= math.log(share) / len(own) / len(present)
    return total


@pytest.fixture
def heads_batch():
    """Prototypes on heads of three levels; two views of 8 samples; labels with unknown ones, and
    without class 0 of the last level."""
    torch.manual_seed(0)
    made = variants.PrototypeHeads(5, [2, 3, 6], projected=4).double()
    fine = torch.tensor([1, 2, 3, 4, 5, 1, 2, 3])
    labels = torch.stack([fine // 3, fine // 2, fine], 1)
    labels[0, 2] = labels[3, 0] = labels[4, 1] = -1
    return made, torch.randn(8, 2, 5, dtype=torch.float64), labels


@pytest.mark.parametrize("t", [0.1, 0.6])
def test_prototypes_on_heads_equal_double_loops(t, heads_batch):
    made, x, labels = heads_batch
    flat, doubled = x.flatten(0, 1), labels.repeat_interleave(2, 0)
    terms = [
        two_way(head(flat).detach(), y.tolist(), nodes.detach(), t) / 3
        for head, y, nodes in zip(made.heads, doubled.T, made.prototypes)
    ]
    assert made(x, labels, t, reduction="none").tolist() == pytest.approx(terms, rel=1e-9)
    assert made(x, labels, t).item() == pytest.approx(sum(terms), rel=1e-9)
    assert made(flat, doubled, t).item() == pytest.approx(sum(terms), rel=1e-9)


def test_prototypes_on_heads_have_right_gradients(heads_batch):
    made, x, labels = heads_batch
    names, values = zip(*made.named_parameters())

    def loss(x, *p):
        return torch.func.functional_call(made, dict(zip(names, p)), (x, labels, 0.3))

    parts = [part.detach().clone().requires_grad_() for part in (x, *values)]
    assert torch.autograd.gradcheck(loss, parts, fast_mode=True)


def test_a_level_moves_its_own_head_and_prototypes_and_unknown_samples_nothing(heads_batch):
    made, x, labels = heads_batch
    x.requires_grad_()
    made.eval()  # BatchNorm of a batch would let all samples matter
    for level, term in enumerate(made(x, labels, reduction="none")):
        made.zero_grad()
        x.grad = None
        term.backward(retain_graph=True)
        for other, parts in enumerate(zip(made.heads, made.prototypes)):
            used = [p.grad.any().item() for p in (*parts[0].parameters(), parts[1])]
            assert used == [other == level] * len(used)
        assert torch.equal(x.grad.any(-1), (labels[:, level] >= 0)[:, None].expand(8, 2))


def test_prototypes_on_heads_say_what_does_not_fit(heads_batch):
    made, x, labels = heads_batch
    with pytest.raises(ValueError, match="prototypes must be of 2 levels, not 3"):
        made(x, labels[:, :2])
    with pytest.raises(ValueError, match="beyond the 3 prototypes of its level"):
        made(x, labels + 2 * (torch.arange(3) == 1))
