"""Each peer against a naive double loop in float64, and its gradients."""

import math

import pytest
import torch
import torch.nn.functional as F

from hmlc_core import losses
from hmlc_core import peers as module


def naive_rince(z, labels, t):
    """Rank by rank, from the finest level: a double loop over anchors and samples not used yet."""
    z, n, levels = F.normalize(z, dim=1), len(z), labels.shape[1]
    total, used = 0.0, {i: {i} for i in range(n)}
    for rank in range(levels):
        column, t_r = labels[:, levels - 1 - rank], t * (1 + 5 * rank / max(levels - 1, 1))
        values = []
        for i in range(n):
            left = [a for a in range(n) if a not in used[i] and column[a] >= 0]
            positive = [a for a in left if column[a] == column[i]]
            used[i] |= set(positive)
            if positive:
                near, all_ = (
                    sum(math.exp(z[i] @ z[a] / t_r) for a in part) for part in (positive, left)
                )
                values.append(-math.log(near / all_))
        total += sum(values) / len(values) if values else 0.0
    return total


def naive_bhcl(z, labels, prototypes, t):
    z, levels = F.normalize(z, dim=1), labels.shape[1]
    weights = [math.exp(1 / (levels - level)) for level in range(levels)]
    total = 0.0
    for level, nodes in enumerate(prototypes):
        nodes, y, values = F.normalize(nodes, dim=1), labels[:, level].tolist(), []
        for i in (i for i in range(len(z)) if y[i] >= 0):
            groups = [
                [z[a] for a in range(len(z)) if a != i and y[a] == k] + [nodes[k]]
                for k in range(len(nodes))
            ]
            denominator = sum(
                sum(math.exp(z[i] @ v / t) for v in group) / len(group) for group in groups
            )
            values.append(
                -sum(math.log(math.exp(z[i] @ v / t) / denominator) for v in groups[y[i]])
                / len(groups[y[i]])
            )
        total += weights[level] / sum(weights) * sum(values) / len(values)
    return total


def cosine(a, b):
    return float(F.normalize(a, dim=0) @ F.normalize(b, dim=0))


def minus_lorentz_distance(a, b):
    """By the textbook: exponential map at the origin, then arcosh of minus the Lorentz product."""
    time, space = [], []
    for v in (a / len(a) ** 0.5, b / len(b) ** 0.5):
        time.append(math.cosh(v.norm()))
        space.append(math.sinh(v.norm()) * v / v.norm())
    return -math.acosh(time[0] * time[1] - float(space[0] @ space[1]))


def naive_level_restricted(z, labels, prototypes, t, closeness):
    total = 0.0
    for level, nodes in enumerate(prototypes):
        y = labels[:, level].tolist()
        known, present = [i for i, k in enumerate(y) if k >= 0], sorted(set(y) - {-1})
        e = {(i, k): math.exp(closeness(z[i], nodes[k]) / t) for i in known for k in present}
        first = -sum(math.log(e[i, y[i]] / sum(e[i, k] for k in present)) for i in known) / len(
            known
        )
        second = 0.0
        for k in present:
            own = [i for i in known if y[i] == k]
            second -= (
                sum(math.log(e[i, k] / sum(e[j, k] for j in known)) for i in own)
                / len(own)
                / len(present)
            )
        total += (first + second) / len(prototypes)
    return total


@pytest.fixture
def peer_batch():
    """12 embeddings, labels at 3 levels with unknown ones and an absent class, prototypes."""
    generator = torch.Generator().manual_seed(3)
    z = torch.randn(12, 6, dtype=torch.float64, generator=generator)
    fine = torch.arange(12) % 5
    labels = torch.stack([fine // 3, fine // 2, fine], 1)
    labels[3, 2] = labels[7, 0] = -1
    prototypes = [torch.randn(k, 6, dtype=torch.float64, generator=generator) for k in (2, 4, 6)]
    return z, labels, prototypes


PEERS = {
    "rince": (
        lambda z, y, c, t: module.rince_loss(z, y, t),
        lambda z, y, c, t: naive_rince(z, y, t),
    ),
    "bhcl": (module.bhcl_loss, naive_bhcl),
    "level_restricted": (
        module.level_restricted_loss,
        lambda *a: naive_level_restricted(*a, cosine),
    ),
    "hyperbolic": (
        lambda *a: module.level_restricted_loss(*a, hyperbolic=True),
        lambda *a: naive_level_restricted(*a, minus_lorentz_distance),
    ),
}


@pytest.mark.parametrize("peer", PEERS)
@pytest.mark.parametrize("t", [0.1, 0.6])
def test_peers_equal_double_loops(peer, t, peer_batch):
    ours, naive = PEERS[peer]
    assert ours(*peer_batch, t).item() == pytest.approx(naive(*peer_batch, t), rel=1e-9)


@pytest.mark.parametrize("peer", PEERS)
def test_peers_take_views_and_forget_the_order_of_samples(peer, peer_batch):
    ours, _ = PEERS[peer]
    z, labels, prototypes = peer_batch
    views = torch.stack([z, z + 0.1 * torch.randn_like(z)], 1)
    doubled = ours(views.flatten(0, 1), labels.repeat_interleave(2, 0), prototypes, 0.2)
    order = torch.randperm(12)
    assert ours(views, labels, prototypes, 0.2).item() == pytest.approx(doubled.item(), rel=1e-12)
    assert ours(views[order], labels[order], prototypes, 0.2).item() == pytest.approx(
        doubled.item(), rel=1e-12
    )


@pytest.mark.parametrize("peer", PEERS)
def test_peers_have_right_gradients(peer, peer_batch):
    ours, _ = PEERS[peer]
    z, labels, prototypes = peer_batch
    parts = [z.requires_grad_(), *(c.requires_grad_() for c in prototypes)]
    used = parts if peer != "rince" else parts[:1]
    assert torch.autograd.gradcheck(lambda *p: ours(p[0], labels, p[1:], 0.3), used)


def test_rince_of_one_level_is_supcon_with_the_sum_inside():
    z = torch.randn(8, 5, dtype=torch.float64)
    labels = torch.tensor(
        [[0], [0], [1], [1], [2], [2], [3], [3]]
    )  # one positive each: inside and outside are the same
    assert module.rince_loss(z, labels, 0.2).item() == pytest.approx(
        losses.supcon_loss(z, labels[:, 0], 0.2).item()
    )


def test_a_sample_unknown_at_the_finest_level_counts_at_the_others():
    z, coarse = torch.randn(12, 6, dtype=torch.float64), torch.arange(12) % 3
    labels = torch.stack([coarse, torch.full_like(coarse, -1)], 1)
    terms = module.rince_loss(z, labels, 0.1, reduction="none")
    assert terms[1] == 0
    assert terms[0] == pytest.approx(float(module.rince_loss(z, coarse[:, None], 0.6)))


@pytest.mark.parametrize("make", [module.CrossEntropyHeads, module.PerLevelHeads])
@pytest.mark.parametrize("counts", [[3], [3, 6, 12]])
def test_heads_of_other_levels_than_the_labels_are_named(make, counts, batch):
    z, labels = batch
    with pytest.raises(ValueError, match=f"{len(counts)}"):
        make(6, counts).double()(z, labels)


MADE = (module.BHCL, module.LevelRestricted, module.LevelRestrictedHyperbolic)
MADE += (module.CrossEntropyHeads, module.PerLevelHeads)


@pytest.mark.parametrize("make", MADE)
def test_embeddings_of_another_dimension_are_named(make):
    loss, labels = make(6, [2, 4]), torch.zeros(8, 2, dtype=torch.long)
    with pytest.raises(ValueError, match="are made for dimension 6, not 5"):
        loss(torch.randn(8, 5), labels)


def test_cross_entropy_of_many_samples_is_not_summed_in_half_precision():
    made = module.CrossEntropyHeads(16, [2, 100])
    z, row = torch.randn(20000, 16), torch.arange(20000)
    labels = torch.stack([row % 2, row % 100], 1)
    expected = made(z, labels, reduction="none")
    for kind in (torch.float16, torch.bfloat16):
        terms = made.to(kind)(z.to(kind), labels, reduction="none")
        assert torch.allclose(terms, expected, rtol=0.002)


@pytest.mark.parametrize("make", [module.CrossEntropyHeads, module.PerLevelHeads])
@pytest.mark.parametrize("kind", [torch.float64, torch.bfloat16])
def test_heads_take_embeddings_of_any_precision(make, kind):
    z, labels = torch.randn(12, 6, dtype=kind), torch.arange(12)[:, None] // torch.tensor([4, 2])
    heads = make(6, [3, 6])
    torch.testing.assert_close(
        heads(z, labels).float(), heads(z.float(), labels), rtol=1e-5, atol=1e-5
    )


def test_classes_beyond_those_of_a_classifier_are_named_and_below_zero_is_unknown(batch):
    z, labels = batch
    heads = module.CrossEntropyHeads(6, [3, 6]).double()
    with pytest.raises(ValueError, match="a label is beyond the 6 classes of its level"):
        heads(z, labels + torch.tensor([0, 1]))
    unknown = labels.clone()
    unknown[:4] = -1
    far = torch.where(unknown == -1, -100, unknown)
    assert torch.equal(heads(z, far), heads(z, unknown))


def test_heads_compute_the_loss_in_single_precision_under_autocast():
    heads, z = module.PerLevelHeads(16, [3, 6]), torch.randn(24, 16)
    labels = torch.stack([torch.arange(24) % 3, torch.arange(24) % 6], 1)
    with torch.autocast("cpu", torch.bfloat16):
        made = [head(z).float() for head in heads.heads]
        loss = heads(z, labels, 0.01)
    assert loss.dtype == torch.float32
    expected = sum(losses.supcon_loss(x, y, 0.01) for x, y in zip(made, labels.T))
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)


def test_heads_are_supcon_on_each_head(peer_batch):
    z, labels, _ = peer_batch
    heads = module.PerLevelHeads(6, [2, 4, 6], projected=8).double()
    by_hand = sum(
        losses.supcon_loss(head(z), labels[:, level], 0.2) for level, head in enumerate(heads.heads)
    )
    assert heads(z, labels, 0.2).item() == pytest.approx(by_hand.item(), rel=1e-9)
    assert len(heads(z, labels, 0.2, reduction="none")) == 3


def test_hyperbolic_loss_is_finite_for_equal_far_and_zero_points():
    z = torch.tensor([[0.0, 0], [0, 0], [1e4, 0], [0, -1e4]], requires_grad=True)
    prototypes = [torch.tensor([[0.0, 0], [1e4, 0]])]
    loss = module.level_restricted_loss(
        z, torch.tensor([[0], [1], [1], [0]]), prototypes, hyperbolic=True
    )
    loss.backward()
    assert torch.isfinite(loss) and torch.isfinite(z.grad).all()


def test_cross_entropy_heads(batch):
    z, labels = batch
    heads = module.CrossEntropyHeads(6, [3, 6]).double()
    expected = sum(F.cross_entropy(head(z), labels[:, h]) for h, head in enumerate(heads.heads))
    assert heads(z, labels).item() == pytest.approx(expected.item())
    assert heads(torch.stack([z, z], 1), labels).item() == pytest.approx(expected.item())
    unknown = torch.stack([torch.full((12,), -1), labels[:, 1]], 1)
    assert heads(z, unknown, reduction="none").tolist() == pytest.approx(
        [0, F.cross_entropy(heads.heads[1](z), labels[:, 1]).item()]
    )


@pytest.mark.parametrize("loss", [module.bhcl_loss, module.level_restricted_loss])
def test_prototypes_that_do_not_fit_are_named(loss, peer_batch):
    z, labels, prototypes = peer_batch
    with pytest.raises(ValueError, match="prototypes must be of 3 levels, not 2"):
        loss(z, labels, prototypes[:2])
    with pytest.raises(ValueError, match="beyond the 4 prototypes of its level"):
        loss(z, labels + 2 * (torch.arange(3) == 1), prototypes)
