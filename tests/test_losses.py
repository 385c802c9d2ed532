"""Each loss against a naive double loop in float64, closed forms, invariances, and bad input."""
import math

import pytest
import torch
import torch.nn.functional as F

from hmlc_core import losses, masks


def pair_losses(z, labels, t):
    """{(i, p): -log softmax} over all positive pairs, by a double loop. Unknown labels (-1) are no contrast."""
    z = F.normalize(z, dim=1)
    found = {}
    for i in range(len(z)):
        contrast = [a for a in range(len(z)) if a != i and labels[a] >= 0]
        for p in contrast:
            if labels[p] == labels[i]:
                found[i, p] = -math.log(math.exp(z[i] @ z[p] / t) / sum(math.exp(z[i] @ z[a] / t) for a in contrast))
    return found


def naive_mean(pairs, n):
    """Mean over anchors of the mean over their positives."""
    means = [sum(row) / len(row) for i in range(n) if (row := [v for (a, _), v in pairs.items() if a == i])]
    return sum(means) / len(means) if means else 0.0


def naive_supcon(z, labels, t):
    return naive_mean(pair_losses(z, labels.tolist(), t), len(z))


def naive_hmce_paper(z, labels, t):
    bound, total, levels = 0.0, 0.0, labels.shape[1]
    for distance, level in enumerate(reversed(range(levels))):
        pairs = pair_losses(z, labels[:, level].tolist(), t)
        total += math.exp(1 / (1 + distance)) / levels * naive_mean({k: max(v, bound) for k, v in pairs.items()}, len(z))
        bound = max(pairs.values())
    return total


def naive_hmce_released(z, labels, t):
    """z [B, V, D]: the released algorithm, shrinking the batch level by level."""
    total, bound, columns = 0.0, 0.0, labels.shape[1]
    for dropped in range(1, columns):
        tuples = [tuple(row[:columns - dropped]) for row in labels.tolist()]
        group = torch.tensor([tuples.index(t_) for t_ in tuples])
        loss = naive_supcon(z.flatten(0, 1), group.repeat_interleave(z.shape[1]), t) * t / 0.07
        bound = max(bound, loss)
        total += math.exp(1 / dropped) * bound
        keep = [tuples.index(t_) for t_ in dict.fromkeys(tuples)]
        z, labels = z[keep], labels[keep]
    return total / columns


def test_supcon_equals_double_loop(batch):
    z, labels = batch
    for t in (0.1, 0.7):
        assert losses.supcon_loss(z, labels[:, 1], t).item() == pytest.approx(naive_supcon(z, labels[:, 1], t), rel=1e-10)


def test_views_are_more_samples_of_the_same_label(batch):
    z, labels = batch
    views = torch.stack([z, z.flip(1), z + 1], 1)
    expected = naive_supcon(views.flatten(0, 1), labels[:, 0].repeat_interleave(3), 0.2)
    assert losses.supcon_loss(views, labels[:, 0], 0.2).item() == pytest.approx(expected, rel=1e-10)
    assert losses.supcon_loss(views, labels[:, 0], reduction="none").shape == (12, 3)


def test_supcon_closed_forms():
    labels = torch.tensor([0] * 5 + [1] * 5)
    assert losses.supcon_loss(torch.ones(10, 3), labels).item() == pytest.approx(math.log(9), rel=1e-5)
    tight = torch.eye(2, dtype=torch.float64)[labels] * 2 - 1
    expected = -math.log(math.exp(1 / 0.5) / (4 * math.exp(1 / 0.5) + 5 * math.exp(-1 / 0.5)))
    assert losses.supcon_loss(tight, labels, 0.5).item() == pytest.approx(expected, rel=1e-10)


def test_anchor_without_positive_is_left_out_of_the_mean_but_stays_contrast(batch):
    z = batch[0][:5]
    labels = torch.tensor([0, 0, 1, 1, 2])
    per_anchor = losses.supcon_loss(z, labels, reduction="none")
    assert per_anchor[4] == 0
    assert losses.supcon_loss(z, labels).item() == pytest.approx(per_anchor[:4].mean().item())
    assert losses.supcon_loss(z, labels).item() == pytest.approx(naive_supcon(z, labels, 0.1), rel=1e-10)
    assert losses.supcon_loss(z, labels).item() != pytest.approx(losses.supcon_loss(z[:4], labels[:4]).item())


def test_unknown_label_is_left_out_altogether(batch):
    z, labels = batch
    labels = labels.clone()
    labels[[2, 7], 0] = -1
    known = labels[:, 0] >= 0
    assert losses.supcon_loss(z, labels[:, 0]).item() == pytest.approx(
        losses.supcon_loss(z[known], labels[known, 0]).item(), rel=1e-10)


@pytest.mark.parametrize("loss", [
    losses.hmce_loss, losses.hmce_released_loss, losses.finest_supcon_loss,
    lambda z, y: losses.masked_hierarchical_loss(z, y, masks.sign_masks(z, 2))])
def test_order_of_samples_and_names_of_classes_do_not_matter(loss, batch):
    z, labels = batch
    order = torch.randperm(len(z), generator=torch.Generator().manual_seed(1))
    # the released HMCE keeps the first sample of each class, so there only the names may change
    shuffled = (z, labels) if loss is losses.hmce_released_loss else (z[order], labels[order])
    renamed = torch.tensor([5, 3, 4, 1, 0, 2])[shuffled[1]]
    assert loss(shuffled[0], renamed).item() == pytest.approx(loss(z, labels).item(), rel=1e-10)


def test_masked_loss_is_supcon_on_each_masked_embedding(batch):
    z, labels = batch
    m = masks.gmm_masks(z, 2)
    terms = [naive_supcon(z * m[h], labels[:, h], 0.1) for h in range(2)]
    assert losses.masked_hierarchical_loss(z, labels, m).item() == pytest.approx(sum(terms), rel=1e-10)
    weighted = losses.masked_hierarchical_loss(z, labels, m, level_weights=[2, 0.5])
    assert weighted.item() == pytest.approx(2 * terms[0] + 0.5 * terms[1], rel=1e-6)
    assert losses.masked_hierarchical_loss(z, labels, m, reduction="none").tolist() == pytest.approx(terms, rel=1e-10)


def test_masked_loss_with_views_takes_a_mask_per_view(batch):
    z, labels = batch
    views = torch.stack([z, z.flip(0)], 1)
    m = masks.sign_masks(views.flatten(0, 1), 2)
    flat = losses.masked_hierarchical_loss(views.flatten(0, 1), labels.repeat_interleave(2, 0), m)
    assert losses.masked_hierarchical_loss(views, labels, m.unflatten(1, (12, 2))).item() == pytest.approx(flat.item(), rel=1e-10)


def test_shared_masks_are_no_masks_and_swap_with_the_levels(batch):
    z, labels = batch
    m = masks.shared_masks(z, 2)
    terms = losses.masked_hierarchical_loss(z, labels, m, reduction="none")
    assert terms.tolist() == pytest.approx([naive_supcon(z, labels[:, h], 0.1) for h in range(2)])
    assert losses.masked_hierarchical_loss(z, labels.flip(1), m, reduction="none").tolist() == pytest.approx(terms.flip(0).tolist())


def test_hmce_paper_equals_double_loop(batch):
    z, labels = batch
    three = torch.cat([labels, torch.tensor([0, 1, 0, 0, 1, 1, 2, 2, 2, 3, 3, 3])[:, None]], 1)
    for y in (labels, three):
        assert losses.hmce_loss(z, y, 0.3).item() == pytest.approx(naive_hmce_paper(z, y, 0.3), rel=1e-10)


def test_hmce_released_equals_its_algorithm(batch):
    z, labels = batch
    views = torch.stack([z, z + 0.3], 1)
    with_id = torch.cat([labels, torch.arange(12)[:, None]], 1)
    expected = naive_hmce_released(views, with_id, 0.1)
    assert losses.hmce_loss(views, with_id, variant="released").item() == pytest.approx(expected, rel=1e-6)
    assert losses.hmce_released_loss(views, labels).item() == pytest.approx(expected, rel=1e-6)


def test_hmce_released_without_id_trains_on_coarse_alone(batch):
    z, labels = batch
    loss = losses.hmce_loss(z, labels, variant="released")
    assert loss.item() == pytest.approx(math.e / 2 * naive_supcon(z, labels[:, 0], 0.1) * 0.1 / 0.07, rel=1e-6)


@pytest.mark.parametrize("loss", [
    lambda z, y: losses.supcon_loss(z, y[:, 0]), losses.hmce_loss, losses.hmce_released_loss,
    lambda z, y: losses.masked_hierarchical_loss(z, y, masks.split_masks(z, 2))])
def test_gradients(loss, batch):
    z, labels = batch
    assert torch.autograd.gradcheck(lambda x: loss(x, labels), z.requires_grad_())


def test_gradients_are_finite_with_unknown_and_lonely_labels(batch):
    z = batch[0].requires_grad_()
    labels = torch.tensor([0, 0, 1, 2, 3, -1, -1, 4, 5, 6, 7, 8])
    losses.supcon_loss(z, labels).backward()
    assert torch.isfinite(z.grad).all() and z.grad.abs().sum() > 0


def test_half_precision_is_computed_in_float32(batch):
    z, labels = batch
    expected = losses.supcon_loss(z.to(torch.bfloat16).float(), labels[:, 0])
    assert losses.supcon_loss(z.to(torch.bfloat16), labels[:, 0]).item() == pytest.approx(expected.item(), rel=1e-6)


def test_a_level_without_pairs_adds_nothing_but_none_at_all_is_an_error(batch):
    z, labels = batch
    alone = torch.stack([labels[:, 0], torch.arange(12)], 1)
    m = masks.split_masks(z, 2)
    terms = losses.masked_hierarchical_loss(z, alone, m, reduction="none")
    assert terms[0] > 0 and terms[1] == 0
    for call in (lambda: losses.supcon_loss(z, alone[:, 1]), lambda: losses.hmce_loss(z, alone[:, 1:]),
                 lambda: losses.masked_hierarchical_loss(z, alone[:, [1, 1]], m)):
        with pytest.raises(ValueError, match="no positive pair"):
            call()


def test_cross_entropy_heads(batch):
    z, labels = batch
    heads = losses.CrossEntropyHeads(6, [3, 6]).double()
    expected = sum(F.cross_entropy(head(z), labels[:, h]) for h, head in enumerate(heads.heads))
    assert heads(z, labels).item() == pytest.approx(expected.item())
    assert heads(torch.stack([z, z], 1), labels).item() == pytest.approx(expected.item())
    unknown = torch.stack([torch.full((12,), -1), labels[:, 1]], 1)
    assert heads(z, unknown, reduction="none").tolist() == pytest.approx([0, F.cross_entropy(heads.heads[1](z), labels[:, 1]).item()])


@pytest.mark.parametrize("change, message", [
    (dict(temperature=0), "temperature must be at least 0.003, not 0"),
    (dict(temperature=-1.0), "temperature"),
    (dict(labels=torch.zeros(11, dtype=torch.long)), r"labels must be integers \[12\]"),
    (dict(labels=torch.zeros(12)), "labels must be integers"),
    (dict(labels=torch.zeros(12, 2, dtype=torch.long)), "labels must be integers"),
    (dict(embeddings=torch.full((12, 6), math.nan)), "NaN"),
    (dict(embeddings=torch.zeros(12)), r"\[B, D\]"),
    (dict(embeddings=torch.zeros(12, 6, dtype=torch.long)), "floating"),
    (dict(embeddings=torch.zeros(0, 6)), "not empty")])
def test_bad_input_is_named(change, message, batch):
    call = dict(embeddings=batch[0], labels=batch[1][:, 0], **{}) | change
    with pytest.raises(ValueError, match=message):
        losses.supcon_loss(**call)


def test_bad_hierarchical_input_is_named(batch):
    z, labels = batch
    for call, message in [
            (lambda: losses.masked_hierarchical_loss(z, labels, masks.shared_masks(z, 3)), "masks must be"),
            (lambda: losses.masked_hierarchical_loss(z, labels[:, 0], masks.shared_masks(z, 2)), "one column per level"),
            (lambda: losses.masked_hierarchical_loss(z, labels, masks.shared_masks(z, 2), level_weights=[1, 2, 3]), "level_weights"),
            (lambda: losses.hmce_loss(z, labels, variant="best"), "'best'"),
            (lambda: losses.hmce_loss(z, labels[:, :1], variant="released"), "image id")]:
        with pytest.raises(ValueError, match=message):
            call()


# ---------------------------------------------------------------- peers

def naive_rince(z, labels, t):
    """Rank by rank, from the finest level: a double loop over anchors and the samples not used yet."""
    z, n, levels = F.normalize(z, dim=1), len(z), labels.shape[1]
    total, used = 0.0, {i: {i} for i in range(n)}
    for rank in range(levels):
        column, t_r = labels[:, levels - 1 - rank], t * (1 + 5 * rank / max(levels - 1, 1))
        values = []
        for i in range(n):
            left = [a for a in range(n) if a not in used[i] and column[a] >= 0]
            positive = [a for a in left if column[a] == column[i]]
            used[i] |= set(positive) | {a for a in range(n) if column[a] < 0}
            if positive:
                near, all_ = (sum(math.exp(z[i] @ z[a] / t_r) for a in part) for part in (positive, left))
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
            groups = [[z[a] for a in range(len(z)) if a != i and y[a] == k] + [nodes[k]] for k in range(len(nodes))]
            denominator = sum(sum(math.exp(z[i] @ v / t) for v in group) / len(group) for group in groups)
            values.append(-sum(math.log(math.exp(z[i] @ v / t) / denominator) for v in groups[y[i]]) / len(groups[y[i]]))
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
        first = -sum(math.log(e[i, y[i]] / sum(e[i, k] for k in present)) for i in known) / len(known)
        second = 0.0
        for k in present:
            own = [i for i in known if y[i] == k]
            second -= sum(math.log(e[i, k] / sum(e[j, k] for j in known)) for i in own) / len(own) / len(present)
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
    "rince": (lambda z, y, c, t: losses.rince_loss(z, y, t), lambda z, y, c, t: naive_rince(z, y, t)),
    "bhcl": (losses.bhcl_loss, naive_bhcl),
    "level_restricted": (losses.level_restricted_loss, lambda *a: naive_level_restricted(*a, cosine)),
    "hyperbolic": (lambda *a: losses.level_restricted_loss(*a, hyperbolic=True),
                   lambda *a: naive_level_restricted(*a, minus_lorentz_distance)),
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
    assert ours(views[order], labels[order], prototypes, 0.2).item() == pytest.approx(doubled.item(), rel=1e-12)


@pytest.mark.parametrize("peer", PEERS)
def test_peers_have_right_gradients(peer, peer_batch):
    ours, _ = PEERS[peer]
    z, labels, prototypes = peer_batch
    parts = [z.requires_grad_(), *(c.requires_grad_() for c in prototypes)]
    used = parts if peer != "rince" else parts[:1]
    assert torch.autograd.gradcheck(lambda *p: ours(p[0], labels, p[1:], 0.3), used)


def test_rince_of_one_level_is_supcon_with_the_sum_inside():
    z = torch.randn(8, 5, dtype=torch.float64)
    labels = torch.tensor([[0], [0], [1], [1], [2], [2], [3], [3]])       # one positive each: inside and outside are the same
    assert losses.rince_loss(z, labels, 0.2).item() == pytest.approx(losses.supcon_loss(z, labels[:, 0], 0.2).item())


def test_heads_are_supcon_on_each_head(peer_batch):
    z, labels, _ = peer_batch
    module = losses.PerLevelHeads(6, [2, 4, 6], projected=8).double()
    by_hand = sum(losses.supcon_loss(head(z), labels[:, level], 0.2) for level, head in enumerate(module.heads))
    assert module(z, labels, 0.2).item() == pytest.approx(by_hand.item(), rel=1e-9)
    assert len(module(z, labels, 0.2, reduction="none")) == 3


def test_hyperbolic_loss_is_finite_for_equal_far_and_zero_points():
    z = torch.tensor([[0.0, 0], [0, 0], [1e4, 0], [0, -1e4]], requires_grad=True)
    prototypes = [torch.tensor([[0.0, 0], [1e4, 0]])]
    loss = losses.level_restricted_loss(z, torch.tensor([[0], [1], [1], [0]]), prototypes, hyperbolic=True)
    loss.backward()
    assert torch.isfinite(loss) and torch.isfinite(z.grad).all()


# ---------------------------------------------------------------- large batches

@pytest.mark.parametrize("kept", [0, 4096])
@pytest.mark.parametrize("block", [1, 5, 12, 23, 24])
def test_blocks_change_neither_loss_nor_gradient(block, kept, batch, monkeypatch):
    z, labels = batch
    views = torch.stack([z, z.flip(1)], 1)
    labels = labels.clone()
    labels[4, 1] = -1
    found = []
    for size, limit in ((4096, 4096), (block, kept)):
        monkeypatch.setattr(losses, "BLOCK", size)
        monkeypatch.setattr(losses, "KEPT", limit)
        x = views.clone().requires_grad_()
        loss = losses.masked_hierarchical_loss(x, labels, masks.sign_masks(x.flatten(0, 1), 2).unflatten(1, x.shape[:2]), 0.2)
        loss.backward()
        found.append((loss.item(), x.grad))
    assert found[1][0] == pytest.approx(found[0][0], rel=1e-12) and torch.allclose(found[1][1], found[0][1], atol=1e-12)


def plain_contrast(z, known, t):
    """What _contrast computes, by autograd and with the whole matrix."""
    similarity = (z @ z.T / t).masked_fill(torch.eye(len(z), dtype=torch.bool) | ~known, -1e30)
    return similarity.logsumexp(1)


@pytest.mark.parametrize("n, t", [(2, 0.1), (13, 0.7), (61, 0.1), (64, 0.05), (61, 0.01), (61, 0.003)])
@pytest.mark.parametrize("kept", [0, 4096])
def test_contrast_equals_plain_form_for_any_gradient_from_above(n, t, kept, monkeypatch):
    monkeypatch.setattr(losses, "BLOCK", 16)
    monkeypatch.setattr(losses, "KEPT", kept)
    generator = torch.Generator().manual_seed(n)
    z = F.normalize(torch.randn(n, 3, generator=generator, dtype=torch.float64), dim=1)
    known, above = torch.arange(n) % 5 != 4, torch.randn(n, generator=generator, dtype=torch.float64)
    found = []
    for contrast, dtype in ((plain_contrast, torch.float64), (losses._contrast, torch.float64), (losses._contrast, torch.float32)):
        x = z.to(dtype, copy=True).requires_grad_()
        value = contrast(x, known, t)
        (value * above.to(dtype)).sum().backward()
        found.append((value.detach().double(), x.grad.double()))
    (value, gradient), *ours = found
    for (v, g), tolerance in zip(ours, (1e-12, 2e-5)):
        assert torch.allclose(v, value, rtol=tolerance, atol=tolerance / t) and torch.allclose(g, gradient, rtol=0, atol=tolerance * gradient.abs().max())


@pytest.mark.parametrize("t", [0.003, 0.01, 0.03, 1.0])
def test_contrast_of_opposite_points_does_not_underflow(t):
    z = torch.tensor([[1.0, 0], [-1, 0]], requires_grad=True)
    value = losses._contrast(z, torch.tensor([True, True]), t)
    value.sum().backward()
    assert torch.allclose(value, torch.tensor(-1 / t)) and torch.allclose(z.grad, 2 / t * torch.tensor([[-1.0, 0], [1, 0]]))


def test_autocast_does_not_make_the_loss_coarser(batch):
    z, labels = batch[0].float(), batch[1]
    with torch.autocast("cpu", torch.bfloat16):
        assert losses.supcon_loss(z, labels[:, 0], 0.05).item() == pytest.approx(losses.supcon_loss(z.double(), labels[:, 0], 0.05).item(), rel=1e-5)


def test_no_second_derivative_rather_than_a_wrong_one(batch):
    z = batch[0].requires_grad_()
    with pytest.raises(NotImplementedError, match="no second derivative"):
        torch.autograd.grad(losses.supcon_loss(z, batch[1][:, 0]), z, create_graph=True)


def test_a_sample_alone_has_neither_loss_nor_gradient():
    z = torch.randn(3, 4, requires_grad=True)
    losses.masked_hierarchical_loss(z, torch.tensor([[0, -1], [0, -1], [0, 1]]), torch.ones(2, 3, 4)).backward()
    alone = z.grad.clone()
    z.grad = None
    losses.supcon_loss(z, torch.zeros(3, dtype=torch.long)).backward()
    assert torch.isfinite(alone).all() and torch.allclose(alone, z.grad)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_low_precision_embeddings_are_compared_in_float32(dtype, batch):
    z, labels = batch[0].to(dtype), batch[1]
    for loss in (lambda x: losses.supcon_loss(x, labels[:, 0], 0.05), lambda x: losses.hmce_loss(x, labels, 0.05),
                 lambda x: losses.rince_loss(x, labels, 0.05)):
        assert loss(z).dtype == torch.float32 and loss(z).item() == pytest.approx(loss(z.float()).item())


@pytest.mark.parametrize("n", [2, 3, 7, 31])
def test_small_and_prime_batches(n):
    z = torch.randn(n, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(n))
    labels = torch.arange(n) % 2 if n > 2 else torch.zeros(2, dtype=torch.long)
    assert losses.supcon_loss(z, labels, 0.3).item() == pytest.approx(naive_supcon(z, labels, 0.3), rel=1e-10)


def test_one_sample_with_two_views():
    views = torch.randn(1, 2, 5)
    assert losses.supcon_loss(views, torch.tensor([3])).item() == pytest.approx(0, abs=1e-6)      # nothing to tell it from


@pytest.mark.parametrize("unknown", [False, True])
def test_levels_that_share_one_mask_share_their_similarities(batch, unknown, monkeypatch):
    z, labels = batch
    labels = labels.clone()
    if unknown:
        labels[::5, 1] = -1
    found = []
    for make in (lambda m: m, lambda m: m.clone(memory_format=torch.contiguous_format)):
        x = z.clone().requires_grad_()
        calls = []
        monkeypatch.setattr(losses, "_contrast", lambda *arguments, real=CONTRAST: calls.append(1) or real(*arguments))
        value = losses.masked_hierarchical_loss(x, labels, make(masks.rectified_masks(x.detach(), 2)))
        value.backward()
        found.append((value.detach(), x.grad, len(calls)))
    assert torch.allclose(found[0][0], found[1][0]) and torch.allclose(found[0][1], found[1][1])
    assert [count for *_, count in found] == ([2, 2] if unknown else [1, 2])


CONTRAST = losses._contrast
