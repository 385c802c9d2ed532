"""Each loss against a naive double loop in float64, closed forms, invariances, and bad input."""

import copy
import math
import warnings

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from hmlc_core import checks, contrast, losses, masks, peers
from study import variants


def pair_losses(z, labels, t):
    """{(i, p): -log softmax} over all positive pairs, by a double loop; -1 is no contrast."""
    z = F.normalize(z, dim=1)
    found = {}
    for i in range(len(z)):
        contrast = [a for a in range(len(z)) if a != i and labels[a] >= 0]
        for p in contrast:
            if labels[p] == labels[i]:
                found[i, p] = -math.log(
                    math.exp(z[i] @ z[p] / t) / sum(math.exp(z[i] @ z[a] / t) for a in contrast)
                )
    return found


def naive_mean(pairs, n):
    """Mean over anchors of the mean over their positives."""
    means = [
        sum(row) / len(row)
        for i in range(n)
        if (row := [v for (a, _), v in pairs.items() if a == i])
    ]
    return sum(means) / len(means) if means else 0.0


def naive_supcon(z, labels, t):
    return naive_mean(pair_losses(z, labels.tolist(), t), len(z))


def naive_hmce_paper(z, labels, t):
    bound, total, levels = 0.0, 0.0, labels.shape[1]
    for distance, level in enumerate(reversed(range(levels))):
        pairs = pair_losses(z, labels[:, level].tolist(), t)
        total += (
            math.exp(1 / (1 + distance))
            / levels
            * naive_mean({k: max(v, bound) for k, v in pairs.items()}, len(z))
        )
        bound = max(pairs.values())
    return total


def naive_hmce_released(z, labels, t):
    """z [B, V, D]: the released algorithm, shrinking the batch level by level."""
    total, bound, columns = 0.0, 0.0, labels.shape[1]
    for dropped in range(1, columns):
        tuples = [tuple(row[: columns - dropped]) for row in labels.tolist()]
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
        assert losses.supcon_loss(z, labels[:, 1], t).item() == pytest.approx(
            naive_supcon(z, labels[:, 1], t), rel=1e-10
        )


def test_views_are_more_samples_of_the_same_label(batch):
    z, labels = batch
    views = torch.stack([z, z.flip(1), z + 1], 1)
    expected = naive_supcon(views.flatten(0, 1), labels[:, 0].repeat_interleave(3), 0.2)
    assert losses.supcon_loss(views, labels[:, 0], 0.2).item() == pytest.approx(expected, rel=1e-10)
    assert losses.supcon_loss(views, labels[:, 0], reduction="none").shape == (12, 3)


def test_supcon_closed_forms():
    labels = torch.tensor([0] * 5 + [1] * 5)
    assert losses.supcon_loss(torch.ones(10, 3), labels).item() == pytest.approx(
        math.log(9), rel=1e-5
    )
    tight = torch.eye(2, dtype=torch.float64)[labels] * 2 - 1
    expected = -math.log(math.exp(1 / 0.5) / (4 * math.exp(1 / 0.5) + 5 * math.exp(-1 / 0.5)))
    assert losses.supcon_loss(tight, labels, 0.5).item() == pytest.approx(expected, rel=1e-10)


def test_anchor_without_positive_is_left_out_of_the_mean_but_stays_contrast(batch):
    z = batch[0][:5]
    labels = torch.tensor([0, 0, 1, 1, 2])
    per_anchor = losses.supcon_loss(z, labels, reduction="none")
    assert per_anchor[4] == 0
    assert losses.supcon_loss(z, labels).item() == pytest.approx(per_anchor[:4].mean().item())
    assert losses.supcon_loss(z, labels).item() == pytest.approx(
        naive_supcon(z, labels, 0.1), rel=1e-10
    )
    assert losses.supcon_loss(z, labels).item() != pytest.approx(
        losses.supcon_loss(z[:4], labels[:4]).item()
    )


def test_unknown_label_is_left_out_altogether(batch):
    z, labels = batch
    labels = labels.clone()
    labels[[2, 7], 0] = -1
    known = labels[:, 0] >= 0
    assert losses.supcon_loss(z, labels[:, 0]).item() == pytest.approx(
        losses.supcon_loss(z[known], labels[known, 0]).item(), rel=1e-10
    )


@pytest.mark.parametrize(
    "loss",
    [
        losses.hmce_loss,
        losses.hmce_released_loss,
        losses.finest_supcon_loss,
        lambda z, y: losses.masked_hierarchical_loss(z, y, masks.sign_masks(z, 2)),
    ],
)
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
    y = torch.where(m.sum(2).T > 1, labels, -1)  # where one coordinate is left, unknown
    terms = [naive_supcon(z * m[h], y[:, h], 0.1) for h in range(2)]
    assert losses.masked_hierarchical_loss(z, labels, m).item() == pytest.approx(
        sum(terms), rel=1e-10
    )
    weighted = losses.masked_hierarchical_loss(z, labels, m, level_weights=[2, 0.5])
    assert weighted.item() == pytest.approx(2 * terms[0] + 0.5 * terms[1], rel=1e-6)
    assert losses.masked_hierarchical_loss(
        z, labels, m, reduction="none"
    ).tolist() == pytest.approx(terms, rel=1e-10)


def test_masked_loss_with_views_takes_a_mask_per_view(batch):
    z, labels = batch
    views = torch.stack([z, z.flip(0)], 1)
    m = masks.sign_masks(views.flatten(0, 1), 2)
    flat = losses.masked_hierarchical_loss(views.flatten(0, 1), labels.repeat_interleave(2, 0), m)
    assert losses.masked_hierarchical_loss(
        views, labels, m.unflatten(1, (12, 2))
    ).item() == pytest.approx(flat.item(), rel=1e-10)


def test_shared_masks_are_no_masks_and_swap_with_the_levels(batch):
    z, labels = batch
    m = masks.shared_masks(z, 2)
    terms = losses.masked_hierarchical_loss(z, labels, m, reduction="none")
    assert terms.tolist() == pytest.approx([naive_supcon(z, labels[:, h], 0.1) for h in range(2)])
    assert losses.masked_hierarchical_loss(
        z, labels.flip(1), m, reduction="none"
    ).tolist() == pytest.approx(terms.flip(0).tolist())


def test_hmce_paper_equals_double_loop(batch):
    z, labels = batch
    three = torch.cat([labels, torch.tensor([0, 1, 0, 0, 1, 1, 2, 2, 2, 3, 3, 3])[:, None]], 1)
    for y in (labels, three):
        assert losses.hmce_loss(z, y, 0.3).item() == pytest.approx(
            naive_hmce_paper(z, y, 0.3), rel=1e-10
        )


def test_hmce_released_equals_its_algorithm(batch):
    z, labels = batch
    views = torch.stack([z, z + 0.3], 1)
    with_id = torch.cat([labels, torch.arange(12)[:, None]], 1)
    expected = naive_hmce_released(views, with_id, 0.1)
    assert losses.hmce_loss(views, with_id, variant="released").item() == pytest.approx(
        expected, rel=1e-6
    )
    assert losses.hmce_released_loss(views, labels).item() == pytest.approx(expected, rel=1e-6)


def test_hmce_released_without_id_trains_on_coarse_alone(batch):
    z, labels = batch
    loss = losses.hmce_loss(z, labels, variant="released")
    assert loss.item() == pytest.approx(
        math.e / 2 * naive_supcon(z, labels[:, 0], 0.1) * 0.1 / 0.07, rel=1e-6
    )


@pytest.mark.parametrize(
    "loss",
    [
        lambda z, y: losses.supcon_loss(z, y[:, 0]),
        losses.hmce_loss,
        losses.hmce_released_loss,
        lambda z, y: losses.masked_hierarchical_loss(z, y, masks.split_masks(z, 2)),
    ],
)
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
    assert losses.supcon_loss(z.to(torch.bfloat16), labels[:, 0]).item() == pytest.approx(
        expected.item(), rel=1e-6
    )


@pytest.mark.parametrize("loss", ["supcon", "masked", "hmce", "hmce, released", "heads"])
def test_a_temperature_that_learns_has_a_gradient_at_any_size(loss, monkeypatch):
    """In blocks it would have a part of it alone."""
    monkeypatch.setattr(contrast, "LARGE", 16)
    z = torch.randn(24, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    labels = torch.stack([torch.arange(24) % 3, torch.arange(24) % 12], 1)
    temperature = torch.tensor(0.1, dtype=torch.float64, requires_grad=True)
    EVERY[loss](z, labels, temperature=temperature).backward()
    ends = [EVERY[loss](z, labels, temperature=0.1 + step).item() for step in (-1e-6, 1e-6)]
    assert temperature.grad.item() == pytest.approx((ends[1] - ends[0]) / 2e-6, rel=1e-5)


def test_options_may_be_given_when_a_criterion_is_called(batch):
    z, labels = batch
    criterion = losses.MaskedHierarchicalLoss(masks.split_masks)
    terms = criterion(z, labels, reduction="none", temperature=0.2)
    expected = losses.masked_hierarchical_loss(z, labels, masks.split_masks(z, 2), 0.2)
    assert terms.shape == (2,) and terms.sum() == pytest.approx(expected.item())


def test_a_level_without_pairs_adds_nothing(batch):
    z, labels = batch
    alone = torch.stack([labels[:, 0], torch.arange(12)], 1)
    terms = losses.masked_hierarchical_loss(z, alone, masks.split_masks(z, 2), reduction="none")
    assert terms[0] > 0 and terms[1] == 0


EVERY = {
    "supcon": lambda z, y, **k: losses.supcon_loss(z, y[:, 0], **k),
    "supcon, each anchor": lambda z, y, **k: losses.supcon_loss(z, y[:, 0], reduction="none", **k),
    "masked": lambda z, y, **k: losses.masked_hierarchical_loss(z, y, masks.split_masks(z, 2), **k),
    "hmce": losses.hmce_loss,
    "hmce, released": losses.hmce_released_loss,
    "finest": losses.finest_supcon_loss,
    "rince": peers.rince_loss,
    "heads": peers.PerLevelHeads(6, [12, 12]).double(),
}
WITH_CLASSES = {
    "bhcl": peers.BHCL(6, [12, 12]).double(),
    "level-restricted": peers.LevelRestricted(6, [12, 12]).double(),
    "level-restricted, hyperbolic": peers.LevelRestrictedHyperbolic(6, [12, 12]).double(),
    "cross-entropy": peers.CrossEntropyHeads(6, [12, 12]).double(),
    "ours": variants.PrototypeHeads(6, [12, 12], projected=4).double(),
}
ALONE = torch.arange(12)[:, None].expand(12, 2)
UNKNOWN = torch.full((12, 2), -1)
CASES = [(name, labels) for name in EVERY for labels in (ALONE, UNKNOWN)]
CASES += [(name, UNKNOWN) for name in WITH_CLASSES]


@pytest.mark.parametrize("large", [0, 10**6])
@pytest.mark.parametrize("name, labels", CASES)
def test_without_a_positive_pair(name, labels, large, batch, monkeypatch):
    """0, a gradient of zeros and one warning, not one a batch; or an error where asked for."""
    monkeypatch.setattr(contrast, "LARGE", large)
    loss, z = (EVERY | WITH_CLASSES)[name], batch[0].requires_grad_()
    with warnings.catch_warnings(record=True) as given:
        warnings.simplefilter("always")
        for _ in range(3):
            value = loss(z, labels)
            value.sum().backward()
            assert (value == 0).all() and (z.grad == 0).all()
    assert len(given) == 1 and "no positive pair" in str(given[0].message)
    with pytest.raises(ValueError, match="no positive pair"):
        loss(z, labels, strict=True)
    with checks.values(False), warnings.catch_warnings():
        warnings.simplefilter("error")
        loss(z, labels, strict=True)


@pytest.mark.parametrize("name", WITH_CLASSES)
def test_a_sample_and_its_class_are_a_positive_pair(name, batch):
    assert WITH_CLASSES[name](batch[0], ALONE, strict=True) > 0


# ---------------------------------------------------------------- other people's loops


KINDS = {
    "list": lambda y: y.tolist(),
    "list of tensors": lambda y: list(y) if y.ndim == 1 else [list(row) for row in y],
    "tuple": lambda y: tuple(map(tuple, y.tolist())) if y.ndim > 1 else tuple(y.tolist()),
    "numpy": lambda y: y.numpy(),
    "numpy int8": lambda y: y.numpy().astype(np.int8),
    "numpy uint16": lambda y: y.numpy().astype(np.uint16),
    "numpy big endian": lambda y: y.numpy().astype(">i4"),
    "numpy, reversed twice": lambda y: y.numpy()[::-1].copy()[::-1],
    "int32": lambda y: y.int(),
    "uint8": lambda y: y.byte(),
    "int16, not contiguous": lambda y: torch.stack([y, y], -1).short()[..., 0],
}


@pytest.mark.parametrize("kind", KINDS)
def test_labels_of_any_kind(kind, batch):
    z, labels = batch
    m = masks.split_masks(z, 2)
    some, all_ = KINDS[kind](labels[:, 0]), KINDS[kind](labels)
    assert losses.supcon_loss(z, some) == losses.supcon_loss(z, labels[:, 0])
    assert losses.masked_hierarchical_loss(z, all_, m) == losses.masked_hierarchical_loss(
        z, labels, m
    )
    for loss in (losses.hmce_loss, losses.hmce_released_loss, peers.rince_loss):
        assert loss(z, all_) == loss(z, labels)
    heads = peers.CrossEntropyHeads(6, [3, 6]).double()
    assert heads(z, all_) == heads(z, labels)


@pytest.mark.parametrize("labels", [[0.0] * 12, np.zeros(12), ["a"] * 12, [None] * 12])
def test_labels_that_are_no_integers_are_refused(labels, batch):
    with pytest.raises(ValueError, match="labels must be integers"):
        losses.supcon_loss(batch[0], labels)


def test_a_row_of_zeros_has_a_bounded_gradient(batch):
    z, labels = batch[0].float(), batch[1]
    for rows in ([3], [0, 5, 7], list(range(12))):
        for tiny in (0.0, 1e-30, 1e-14):
            x = z.clone()
            x[rows] = tiny
            for loss in EVERY.values():
                loss = loss.float() if isinstance(loss, torch.nn.Module) else loss
                w = x.clone().requires_grad_()
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    loss(w, labels).sum().backward()
                assert torch.isfinite(w.grad).all() and w.grad.abs().max() < 1e3
    EVERY["heads"].double()


def test_positives_equal_to_classes_are_the_plain_form(batch):
    z, labels = batch
    labels = labels.clone()
    labels[5, 0] = labels[2, 1] = -1
    views = torch.stack([z, z.flip(0)], 1)
    same = labels.T[:, :, None] == labels.T[:, None, :]
    for x in (z, views):
        assert losses.supcon_loss(x, labels[:, 0], positives=same[0]) == losses.supcon_loss(
            x, labels[:, 0]
        )
        m = masks.split_masks(x.flatten(0, -2), 2).unflatten(1, x.shape[:-1])
        call = dict(labels=labels, masks=m, temperature=0.2, reduction="none")
        assert torch.equal(
            losses.masked_hierarchical_loss(x, positives=same, **call),
            losses.masked_hierarchical_loss(x, **call),
        )


def naive_positives(z, positives, t):
    z, means = F.normalize(z, dim=1), []
    for i in range(len(z)):
        total = sum(math.exp(z[i] @ z[a] / t) for a in range(len(z)) if a != i)
        own = [p for p in range(len(z)) if p != i and positives[i, p]]
        values = [-math.log(math.exp(z[i] @ z[p] / t) / total) for p in own]
        means += [sum(values) / len(values)] if values else []
    return sum(means) / len(means)


@pytest.mark.parametrize("large", [0, 10**6])
def test_positives_that_are_no_classes(large, batch, monkeypatch):
    """Several labels a sample, not transitive and not even symmetric, against a double loop."""
    monkeypatch.setattr(contrast, "LARGE", large)
    z = batch[0]
    positives = torch.rand(2, 12, 12, generator=torch.Generator().manual_seed(0)) < 0.3
    expected = [naive_positives(z, level, 0.2) for level in positives]
    assert losses.supcon_loss(z, None, 0.2, positives=positives[0]).item() == pytest.approx(
        expected[0], rel=1e-10
    )
    terms = losses.masked_hierarchical_loss(
        z, None, torch.ones(1, 12, 6), 0.2, reduction="none", positives=positives
    )
    assert terms.tolist() == pytest.approx(expected, rel=1e-10)
    views = torch.stack([z, z + 0.1], 1)
    twice = (positives[0] | torch.eye(12, dtype=torch.bool)).repeat_interleave(2, 0)
    expected = naive_positives(views.flatten(0, 1), twice.repeat_interleave(2, 1), 0.2)
    ours = losses.supcon_loss(views, None, 0.2, positives=positives[0])
    assert ours.item() == pytest.approx(expected, rel=1e-10)
    labels = torch.where(torch.arange(12) % 5 == 4, -1, 0)  # then they say who is unknown
    known = labels >= 0
    ours = losses.supcon_loss(z, labels, 0.2, positives=positives[0])
    expected = naive_positives(z[known], positives[0][known][:, known], 0.2)
    assert ours.item() == pytest.approx(expected, rel=1e-10)
    for wrong in (positives, positives[0].float(), positives[0].tolist(), positives[0].numpy()):
        given = rf"{type(wrong).__name__}.*{getattr(wrong, 'dtype', '')} "
        with pytest.raises(ValueError, match=f"positives must be a bool tensor .* not .*{given}"):
            losses.supcon_loss(z, batch[1][:, 0], positives=wrong)


def test_modules_are_the_functions_with_their_options(batch):
    z, labels = batch
    views = torch.stack([z, z.flip(0)], 1)
    made = masks.gmm_masks(views.flatten(0, 1), 2).unflatten(1, (12, 2))
    for module, expected in [
        (losses.SupConLoss(0.3), losses.supcon_loss(views, labels[:, 0], 0.3)),
        (losses.HMCELoss(temperature=0.3), losses.hmce_loss(views, labels, 0.3)),
        (
            losses.HMCELoss(variant="released", temperature=0.3),
            losses.hmce_loss(views, labels, 0.3, "released"),
        ),
        (
            losses.MaskedHierarchicalLoss(masks.gmm_masks, 0.3, level_weights=[1, 2]),
            losses.masked_hierarchical_loss(views, labels, made, 0.3, [1, 2]),
        ),
    ]:
        y = labels[:, 0] if type(module) is losses.SupConLoss else labels
        assert isinstance(module, torch.nn.Module) and module(views, y) == expected
        assert module(views, y.tolist()) == expected


def test_a_module_trains_the_masks_it_is_given(batch):
    z, labels = batch
    loss = losses.MaskedHierarchicalLoss(masks.AttentionMasks(6, 2).double())
    assert len(list(loss.parameters())) == 8
    before = loss(z, labels).item()
    optimizer = torch.optim.SGD(loss.parameters(), 0.1)
    for _ in range(20):
        optimizer.zero_grad()
        loss(z, labels).backward()
        optimizer.step()
    assert loss(z, labels).item() < before


# ---------------------------------------------------------------- what a mask leaves


def test_a_sample_with_less_than_two_coordinates_is_unknown_at_that_level(batch):
    z, labels = batch
    m = masks.split_masks(z, 2).clone()
    m[0, 3] = 0
    m[1, 7] = torch.tensor([0, 0, 0, 0, 1.0, 0])
    z = z.clone()
    z[5, 0] = z[5, 1] = 0  # one of the three of level 1 is left
    without = labels.clone()
    without[[3, 5], 0] = without[7, 1] = -1
    loss = losses.masked_hierarchical_loss
    assert loss(z, labels, m) == pytest.approx(loss(z, without, m).item())
    assert loss(z, labels, m) == loss(z, without, masks.split_masks(z, 2))
    x = z.clone().requires_grad_()
    loss(x, labels, m).backward()
    assert (x.grad[3, :3] == 0).all() and (x.grad[7, 3:] == 0).all() and x.grad[3, 3:].any()


def test_a_dead_or_constant_embedding_ends_no_training():
    z = torch.randn(8, 12, generator=torch.Generator().manual_seed(0))
    z[0], z[1] = 0, 3.0
    m = masks.gmm_masks(z, 3)
    assert (m[:, :2].sum(2) == torch.tensor([12.0, 0, 0])[:, None]).all()
    labels = torch.arange(8)[:, None] % 2 + torch.zeros(3, dtype=torch.long)
    x = z.clone().requires_grad_()
    loss = losses.masked_hierarchical_loss(x, labels, m)
    loss.backward()
    without = labels.clone()
    without[0], without[1, 1:] = -1, -1
    assert loss == losses.masked_hierarchical_loss(z, without, m)
    assert (x.grad[0] == 0).all() and torch.isfinite(x.grad).all() and x.grad[2:].any(1).all()


@pytest.mark.parametrize("name", [name for name in EVERY | WITH_CLASSES if "each" not in name])
def test_an_unknown_reduction_is_an_error(name, batch):
    known = ("mean", "none") if name == "supcon" else ("sum", "none")
    for reduction in ("mean", "sum", "none", None, "max"):
        if reduction in known:
            (EVERY | WITH_CLASSES)[name](*batch, reduction=reduction)
            continue
        with pytest.raises(ValueError, match=f"{known[0]} or none, not {reduction!r}"):
            (EVERY | WITH_CLASSES)[name](*batch, reduction=reduction)


@pytest.mark.parametrize("levels", [3, 4, 5])
def test_gmm_masks_leave_no_row_with_a_constant_loss(levels):
    """Rows of one coordinate had the loss of a constant, far above log(N - 1), and no gradient."""
    z = torch.randn(2000, 24, generator=torch.Generator().manual_seed(0))
    m = masks.gmm_masks(z, levels)
    few = (m != 0).sum(2) < 2
    assert few.any()
    labels = torch.zeros(2000, levels, dtype=torch.long)
    x = z.clone().requires_grad_()
    losses.masked_hierarchical_loss(x, labels, m).backward()
    assert (losses.seen(z * m) == ~few).all()
    for level in range(levels):
        gradient = (x.grad * m[level]).norm(dim=1)
        assert (gradient[few[level]] == 0).all() and (gradient[~few[level]] > 0).all()


@pytest.mark.parametrize(
    "change, message",
    [
        (dict(temperature=0), "temperature must be one finite number, at least 0.003, not 0"),
        (dict(temperature=-1.0), "temperature"),
        (dict(temperature=math.inf), "temperature .* not inf"),
        (dict(temperature=torch.tensor([0.1, 0.2])), "temperature must be one"),
        (dict(temperature=np.array([0.1, 0.2])), "temperature must be one"),
        (dict(temperature="0.1"), "temperature must be one finite number"),
        (dict(temperature=None), "temperature .* not None"),
        (dict(labels=torch.ones(12, dtype=torch.bool)), "integers .* not torch.bool"),
        (dict(labels=[True] * 12), "integers, not bool"),
        (dict(labels=torch.ones(12, dtype=torch.complex64)), "integers .* not torch.complex64"),
        (dict(labels=torch.zeros(11, dtype=torch.long)), r"labels must be integers \[12\]"),
        (dict(labels=torch.zeros(12)), "labels must be integers"),
        (dict(labels=torch.zeros(12, 2, dtype=torch.long)), "labels must be integers"),
        (dict(embeddings=torch.full((12, 6), math.nan)), "NaN"),
        (dict(embeddings=torch.zeros(12)), r"\[B, D\]"),
        (dict(embeddings=torch.zeros(12, 6, dtype=torch.long)), "floating"),
        (dict(embeddings=[[0.0] * 6] * 12), "floating point tensor, not list"),
        (dict(embeddings=torch.full((12, 6), 1e30)), "their squares"),
        (dict(embeddings=torch.zeros(0, 6)), "not empty"),
    ],
)
def test_bad_input_is_named(change, message, batch):
    call = dict(embeddings=batch[0], labels=batch[1][:, 0], **{}) | change
    with pytest.raises(ValueError, match=message):
        losses.supcon_loss(**call)


@pytest.mark.parametrize("weights", [torch.ones(2, 2), {0: 1, 1: 2}, 1.0, "ab", [1.0]])
def test_level_weights_are_a_number_for_each_level(weights, batch):
    with pytest.raises(ValueError, match="give 2 level_weights, not"):
        losses.masked_hierarchical_loss(*batch, masks.shared_masks(batch[0], 2), 0.1, weights)


LEARNS = [torch.nn.Parameter(torch.tensor(1.0)) for _ in range(2)]


@pytest.mark.parametrize(
    "weights",
    [[1, 2], (1.0, 2.0), np.ones(2), torch.ones(2), LEARNS, torch.nn.ParameterList(LEARNS)],
)
def test_level_weights_may_be_of_any_kind(weights, batch):
    made = masks.shared_masks(batch[0], 2)
    losses.masked_hierarchical_loss(*batch, made, 0.1, weights).item()


def test_level_weights_that_learn_are_parameters_of_the_module(batch):
    weights = torch.nn.Parameter(torch.tensor([1.0, 2.0]))
    loss = losses.MaskedHierarchicalLoss(masks.shared_masks, level_weights=weights)
    copied = copy.deepcopy(loss)
    for module in (loss, copied):
        (learns,) = module.parameters()
        module(*batch).backward()
        assert (learns.grad > 0).all() and set(module.state_dict()) == {"level_weights"}
    with torch.no_grad():
        weights.zero_()
    assert loss(*batch).item() == 0 < copied(*batch).item()
    copied.level_weights = None
    one, half = (copied(*batch, **given).item() for given in ({}, {"level_weights": [0.5, 0.5]}))
    assert half == pytest.approx(one / 2)
    listed = losses.MaskedHierarchicalLoss(
        masks.shared_masks, level_weights=torch.nn.ParameterList([torch.tensor(1.0)] * 2)
    )
    assert listed(*batch).item() == pytest.approx(one) and len(listed.state_dict()) == 2


def test_embeddings_that_masks_hide_are_named_beside_labels():
    z, labels = torch.randn(8, 2), torch.zeros(8, 2, dtype=torch.long)
    with pytest.raises(ValueError, match="no two samples share a label, or masks hide them"):
        losses.MaskedHierarchicalLoss(masks.split_masks, strict=True)(z, labels)


def test_bad_hierarchical_input_is_named(batch):
    z, labels = batch
    for call, message in [
        (
            lambda: losses.masked_hierarchical_loss(z, labels, masks.shared_masks(z, 3)),
            r"masks must be a tensor .* not \[3, 12, 6\]",
        ),
        (lambda: losses.masked_hierarchical_loss(z, labels, masks.gmm_masks), "not function"),
        (
            lambda: losses.masked_hierarchical_loss(z, labels, math.nan * masks.split_masks(z, 2)),
            "masked embeddings or their squares hold NaN",
        ),
        (
            lambda: losses.MaskedHierarchicalLoss(lambda z, n: torch.ones_like(z))(z, labels),
            r"masks must be a tensor \[2, 12, 6\], not \[12, 6\]",
        ),
        (lambda: losses.supcon_loss(z, np.full(12, 2**63 + 5)), "integers, not uint64"),
        (lambda: losses.MaskedHierarchicalLoss(masks.AttentionMasks), "made before, not <class"),
        (lambda: losses.MaskedHierarchicalLoss("gmm"), "a function.* not 'gmm'"),
        (
            lambda: losses.masked_hierarchical_loss(z, labels[:, 0], masks.shared_masks(z, 2)),
            r"integers \[.*, L\], torch.stack",
        ),
        (
            lambda: losses.masked_hierarchical_loss(
                z, labels, masks.shared_masks(z, 2), level_weights=[1, 2, 3]
            ),
            r"give 2 level_weights, not \[1, 2, 3\]",
        ),
        (lambda: losses.hmce_loss(z, labels, variant="best"), "'best'"),
        (lambda: losses.hmce_loss(z, labels[:, :1], variant="released"), "image id"),
    ]:
        with pytest.raises(ValueError, match=message):
            call()


@pytest.mark.parametrize("criterion", [losses.SupConLoss, losses.HMCELoss])
def test_a_temperature_that_learns_is_a_parameter_of_the_criterion(criterion, batch):
    temperature = torch.nn.Parameter(torch.tensor(0.2))
    of_masks = losses.MaskedHierarchicalLoss(masks.split_masks, temperature=temperature)
    z, labels = batch
    for made, y in ((criterion(temperature), labels), (of_masks, labels)):
        y = y[:, 0] if type(made) is losses.SupConLoss else y
        assert [*made.parameters()] == [temperature] and "temperature" in made.state_dict()
        temperature.grad = None
        made(z, y).backward()
        assert temperature.grad != 0
        torch.testing.assert_close(
            made(z, y, temperature=0.7),
            type(made)(*((masks.split_masks,) if made is of_masks else ()), temperature=0.7)(z, y),
        )


@pytest.mark.parametrize("n", [8, 300])
def test_a_temperature_of_one_number_may_be_a_tensor_of_any_shape(n):
    z, y = torch.randn(n, 8), torch.arange(n) % 3
    given = losses.supcon_loss(z, y, torch.tensor([0.2])).squeeze()
    torch.testing.assert_close(given, losses.supcon_loss(z, y, 0.2))


def test_autocast_does_not_make_the_loss_coarser(batch):
    z, labels = batch[0].float(), batch[1]
    with torch.autocast("cpu", torch.bfloat16):
        for loss in (
            lambda x: losses.supcon_loss(x, labels[:, 0], 0.05),
            lambda x: losses.hmce_loss(x, labels, 0.05),
            lambda x: peers.rince_loss(x, labels, 0.05),
            lambda x: losses.masked_hierarchical_loss(x, labels, masks.split_masks(x, 2), 0.05),
        ):
            with torch.autocast("cpu", enabled=False):
                expected = loss(z.double()).item()
            assert loss(z).item() == pytest.approx(expected, rel=1e-5)


def test_a_sample_alone_has_neither_loss_nor_gradient():
    z = torch.randn(3, 4, requires_grad=True)
    losses.masked_hierarchical_loss(
        z, torch.tensor([[0, -1], [0, -1], [0, 1]]), torch.ones(2, 3, 4)
    ).backward()
    alone = z.grad.clone()
    z.grad = None
    losses.supcon_loss(z, torch.zeros(3, dtype=torch.long)).backward()
    assert torch.isfinite(alone).all() and torch.allclose(alone, z.grad)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_low_precision_embeddings_are_compared_in_float32(dtype, batch):
    z, labels = batch[0].to(dtype), batch[1]
    for loss in (
        lambda x: losses.supcon_loss(x, labels[:, 0], 0.05),
        lambda x: losses.hmce_loss(x, labels, 0.05),
        lambda x: peers.rince_loss(x, labels, 0.05),
    ):
        assert loss(z).dtype == torch.float32 and loss(z).item() == pytest.approx(
            loss(z.float()).item()
        )


@pytest.mark.parametrize("n", [2, 3, 7, 31])
def test_small_and_prime_batches(n):
    z = torch.randn(n, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(n))
    labels = torch.arange(n) % 2 if n > 2 else torch.zeros(2, dtype=torch.long)
    assert losses.supcon_loss(z, labels, 0.3).item() == pytest.approx(
        naive_supcon(z, labels, 0.3), rel=1e-10
    )


def test_one_sample_with_two_views():
    views = torch.randn(1, 2, 5)
    assert losses.supcon_loss(views, torch.tensor([3])).item() == pytest.approx(
        0, abs=1e-6
    )  # nothing to tell it from


@pytest.mark.parametrize("large", [0, 10**6])
@pytest.mark.parametrize("unknown", [False, True])
def test_one_mask_for_all_levels_is_that_mask_at_each(batch, unknown, large, monkeypatch):
    monkeypatch.setattr(contrast, "LARGE", large)
    z, labels = batch[0], batch[1].clone()
    if unknown:
        labels[::5, 1] = -1
    found, calls = [], []
    for count in (1, 2):
        x = z.clone().requires_grad_()
        real = contrast.log_sum_exp
        with monkeypatch.context() as patch:
            patch.setattr(contrast, "log_sum_exp", lambda *a, r=real: calls.append(1) or r(*a))
            m = masks.rectified_masks(x.detach(), 2)[:count]
            terms = losses.masked_hierarchical_loss(x, labels, m, reduction="none")
        terms.sum().backward()
        found.append((terms.detach(), x.grad, len(calls)))
    assert torch.allclose(found[0][0], found[1][0]) and torch.allclose(found[0][1], found[1][1])
    assert [count for *_, count in found] == ([1, 3] if large == 0 else [0, 0])


@pytest.mark.parametrize("weights", [None, [1.0, 2.0], torch.ones(2), LEARNS])
@pytest.mark.parametrize("temperature", [0.1, torch.tensor(0.1)])
def test_a_loss_that_looks_at_shapes_alone_is_compiled_whole(weights, temperature):
    z, labels = torch.randn(16, 8), torch.arange(32).view(16, 2) % 4

    def loss(z):
        with checks.values(False):
            made = masks.shared_masks(z, 2)
            return losses.masked_hierarchical_loss(z, labels, made, temperature, weights)

    torch.compiler.reset()
    compiled = torch.compile(loss, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(z), loss(z))


@pytest.mark.parametrize("name", ["gmm_masks", "split_masks"])
def test_a_compiled_criterion_takes_batches_of_any_size(name):
    criterion = losses.MaskedHierarchicalLoss(getattr(masks, name))
    compiled = torch.compile(criterion, backend="eager", dynamic=True)
    for n in (16, 20):
        z, labels = torch.randn(n, 8), torch.arange(2 * n).view(n, 2) % 4
        torch.testing.assert_close(compiled(z, labels), criterion(z, labels))
