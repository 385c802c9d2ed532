"""gmm_masks against scikit-learn and planted mixtures; attention; the controls."""

import numpy as np
import pytest
import torch
from sklearn.mixture import GaussianMixture

from hmlc_core import masks

MAKERS = [
    masks.gmm_masks,
    lambda z, levels: masks.gmm_masks(z, levels, scope="batch"),
    masks.split_masks,
    masks.random_masks,
    masks.sign_masks,
]


def embeddings(batch=32, dim=60, seed=0):
    return torch.randn(
        batch, dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )


def sklearn_labels(row, levels):
    """scikit-learn's EM on one embedding, started like ours: sorted values in equal parts."""
    start = np.empty(len(row), int)
    start[np.argsort(row, kind="stable")] = np.arange(len(row)) * levels // len(row)
    parts = [row[start == k] for k in range(levels)]
    mixture = GaussianMixture(
        levels,
        covariance_type="diag",
        max_iter=19,
        tol=0,
        reg_covar=1e-6 * row.var(),
        weights_init=[len(p) / len(row) for p in parts],
        means_init=[[p.mean()] for p in parts],
        precisions_init=[[1 / (p.var() + 1e-6 * row.var())] for p in parts],
    )
    with pytest.warns(Warning):  # tol=0: "did not converge"
        found = mixture.fit(row[:, None]).predict(row[:, None])
    return np.argsort(np.argsort(-mixture.means_[:, 0]))[found]


@pytest.mark.parametrize("levels", [2, 3])
def test_gmm_equals_scikit_learn(levels):
    z = embeddings()
    ours = masks.gmm_masks(z, levels).argmax(0).numpy()
    theirs = np.stack([sklearn_labels(row, levels) for row in z.numpy()])
    assert (ours == theirs).mean() >= 0.999


@pytest.mark.parametrize("levels", [2, 3])
def test_gmm_finds_planted_components(levels):
    generator = torch.Generator().manual_seed(0)
    planted = torch.randint(levels, (40, 90), generator=generator)
    z = -10.0 * planted + torch.randn(40, 90, generator=generator)
    assert torch.equal(masks.gmm_masks(z, levels).argmax(0), planted)


def test_gmm_of_the_batch_finds_coordinates_that_behave_alike():
    planted = torch.tensor([0, 1] * 10)
    z = embeddings(batch=200, dim=20) * torch.where(planted == 0, 5.0, 0.5) + torch.where(
        planted == 0, 3.0, -3.0
    )
    assert torch.equal(masks.gmm_masks(z, 2, scope="batch")[1], planted.expand(200, -1).double())


@pytest.mark.parametrize("scale, shift", [(1e-3, 0), (1e3, 0), (1, 5.0)])
def test_gmm_masks_do_not_depend_on_scale_or_shift(scale, shift):
    z = embeddings()
    assert (masks.gmm_masks(z, 2) == masks.gmm_masks(scale * z + shift, 2)).double().mean() > 0.999


def test_each_sample_is_masked_by_itself():
    z = embeddings()
    assert torch.equal(masks.gmm_masks(z, 2)[:, 3:5], masks.gmm_masks(z[3:5], 2))
    order = torch.randperm(60, generator=torch.Generator().manual_seed(1))
    assert torch.equal(masks.gmm_masks(z[:, order], 2), masks.gmm_masks(z, 2)[:, :, order])


@pytest.mark.parametrize("maker", MAKERS)
@pytest.mark.parametrize("levels", [1, 2, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_hard_masks_partition_the_coordinates(maker, levels, dtype):
    z = embeddings().to(dtype)
    found = maker(z, levels)
    assert found.shape == (levels, 32, 60) and found.dtype == dtype
    assert ((found == 0) | (found == 1)).all()
    assert (found.sum(0) == 1).all()
    assert not found.requires_grad


def test_controls():
    z = embeddings(4, 10)
    assert torch.equal(masks.shared_masks(z, 2), torch.ones(2, 4, 10, dtype=z.dtype))
    assert masks.split_masks(z, 3).sum(2)[:, 0].tolist() == [4, 3, 3]
    assert (masks.split_masks(z, 2)[0, 0] == torch.tensor([1] * 5 + [0] * 5)).all()
    random = masks.random_masks(z, 2)
    assert torch.equal(random, masks.random_masks(2 * z, 2)) and random.sum(2)[0, 0] == 5
    assert not torch.equal(random, masks.split_masks(z, 2))
    assert torch.equal(masks.sign_masks(z, 2)[0], (z > 0).double())
    assert torch.equal(masks.rectified_masks(z, 3), (z > 0).double().expand(3, 4, 10))
    share = masks.sign_masks(embeddings(100, 600), 3).mean((1, 2))
    assert share.tolist() == pytest.approx([1 / 3] * 3, abs=0.02)


def test_controls_take_views():
    z = torch.randn(5, 3, 8)
    for maker in (masks.split_masks, masks.random_masks, masks.sign_masks, masks.rectified_masks):
        made = maker(z, 2)
        flat = maker(z.flatten(0, 1), 2)
        assert made.shape == (2, 5, 3, 8) and torch.equal(made.flatten(1, 2), flat)


def test_parameters_that_are_no_numbers_are_named():
    with pytest.raises(ValueError, match="NaN or infinity"):
        masks.gmm_masks(torch.nn.Parameter(torch.full((4, 8), torch.nan)), 2)


def test_attention_masks():
    torch.manual_seed(0)
    attention = masks.AttentionMasks(60, 3).double()
    z = embeddings().requires_grad_()
    found = attention(z)
    assert found.shape == (3, 32, 60) and (found > 0).all()
    assert found.mean(2).allclose(torch.ones(3, 32, dtype=z.dtype))
    assert found[0].allclose(torch.softmax(attention.heads[0](z) / 60**0.5, 1) * 60)
    assert not found[0].allclose(found[1])
    found.square().sum().backward()
    assert z.grad.abs().sum() > 0 and all(p.grad is not None for p in attention.parameters())
    with pytest.raises(ValueError, match="attention heads are made for dimension 6, not 5"):
        masks.AttentionMasks(6, 2)(torch.randn(4, 5))
    with pytest.raises(ValueError, match="3 heads for 2 levels"):
        attention(z, 2)


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16])
def test_masks_in_half_precision_are_those_in_single(kind):
    z = (200 * torch.randn(8, 16)).to(kind)
    for make in (masks.gmm_masks, masks.sign_masks, masks.AttentionMasks(16, 2)):
        torch.testing.assert_close(make(z, 2).float(), make(z.float(), 2))


@pytest.mark.parametrize("away, level", [(1e-10, 0), (-1e-10, 1)])
def test_double_precision_stays(away, level):
    """The last coordinate is the cut of three levels, times the root mean square, and a little."""
    cut = float(torch.special.ndtri(torch.tensor(2 / 3))) * (1 + away)
    last = (14 * cut**2 / (4 - cut**2)) ** 0.5  # = cut times the root mean square of all four
    z = torch.tensor([[1.0, 2.0, 3.0, last]], dtype=torch.float64)
    assert masks.sign_masks(z, 3)[:, 0, 3].argmax() == level
    assert masks.gmm_masks(1e30 * z, 2).sum() == 4


@pytest.mark.parametrize(
    "z, levels, message",
    [
        (torch.full((4, 8), float("nan")), 2, "NaN"),
        (torch.randn(4, 3), 4, "levels must be a whole number, 1 to 3, coordinates, not 4"),
        (torch.randn(4, 3), 0, "not 0"),
        (torch.randn(4, 3), 2.0, "not 2.0"),
        (torch.randn(4, 3), "2", "not '2'"),
        (torch.randn(4), 2, r"\[B, D\]"),
        (torch.randn(4, 8).numpy(), 2, "floating point tensor, not ndarray"),
        (torch.full((4, 8), 1e30), 2, "their squares"),
    ],
)
def test_bad_input_is_named(z, levels, message):
    with pytest.raises(ValueError, match=message):
        masks.gmm_masks(z, levels)
    if z.ndim == 2 and isinstance(z, torch.Tensor) and z.shape[1] == 3:
        for make in (masks.split_masks, masks.random_masks):
            with pytest.raises(ValueError, match=message):
                make(z, levels)
    for option, value in {"scope": "image", "iterations": 0}.items():
        with pytest.raises(ValueError, match=f"{option} must be .* not {value!r}"):
            masks.gmm_masks(torch.randn(4, 8), 2, **{option: value})


@pytest.mark.parametrize("levels", [2, 3])
@pytest.mark.parametrize("shift", [-300, 1e3, 1e4])
def test_gmm_masks_of_shifted_float32_embeddings(levels, shift):
    z = embeddings(300, 128).float()
    right = (masks.gmm_masks(z, levels) == masks.gmm_masks(z + shift, levels)).float().mean()
    assert right > 0.999  # z + 1e4 itself is rounded to 1 / 1024


@pytest.mark.parametrize("scale", [1e-15, 1e15])
def test_gmm_masks_of_tiny_and_huge_embeddings(scale):
    z = embeddings().float()
    assert (masks.gmm_masks(z, 2) == masks.gmm_masks(scale * z, 2)).float().mean() > 0.999


def test_gmm_masks_of_a_narrow_component_far_from_the_others():
    """Its variance must not drown in the rounding of a large mean's square."""
    generator = torch.Generator().manual_seed(0)
    planted = torch.arange(120) % 3 // 2
    noise = torch.randn(20, 120, generator=generator)
    z = torch.where(planted == 0, 1000 + 1e-2 * noise, noise)
    assert torch.equal(masks.gmm_masks(z, 2).argmax(0), planted.expand(20, -1))


def test_gmm_of_the_batch_sees_skewness():
    """Coordinates with the same mean and deviation, half of them skewed to the right."""
    noise = torch.rand(2000, 16, generator=torch.Generator().manual_seed(0))
    skewed = noise[:, :8] < 0.1
    z = torch.cat([skewed.float(), noise[:, 8:]], 1)
    z = (z - z.mean(0)) / z.std(0, correction=0)
    level = masks.gmm_masks(z, 2, scope="batch").argmax(0)[0]
    assert level.tolist() == [0] * 8 + [1] * 8
