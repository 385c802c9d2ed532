"""The blocks for large batches against the plain form of losses.py, values and gradients."""

import pytest
import torch
import torch.nn.functional as F

from hmlc_core import contrast, losses, masks


def value_and_gradient(loss, z):
    x = z.clone().requires_grad_()
    value = loss(x)
    value.sum().backward()
    return value.detach(), x.grad


def masks_of(z, count):
    made = masks.sign_masks(z.flatten(0, 1), 3)[:count]
    return made.unflatten(1, z.shape[:2])


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("keep", [0, 4096])
@pytest.mark.parametrize("block", [1, 5, 23, 24, 512])
def test_blocks_are_the_plain_form(block, keep, count, batch, monkeypatch):
    """One mask for all levels or one each, with unknown labels and a level without pairs."""
    z, labels = batch
    views = torch.stack([z, z.flip(1)], 1)
    labels = torch.cat([labels, torch.arange(12)[:, None]], 1)
    labels[4, 1] = labels[[2, 5], 2] = labels[5, 0] = -1
    monkeypatch.setattr(contrast, "BLOCK", block)
    monkeypatch.setattr(contrast, "KEEP_BLOCKS_UP_TO", keep)
    made, found = masks_of(views, count), []

    def loss(x):
        return losses.masked_hierarchical_loss(x, labels, made, 0.2, reduction="none")

    for large in (10**6, 0):
        monkeypatch.setattr(contrast, "LARGE", large)
        found.append(value_and_gradient(loss, views))
    (value, gradient), (by_blocks, its_gradient) = found
    assert torch.allclose(by_blocks, value, rtol=1e-12)
    assert torch.allclose(its_gradient, gradient, atol=1e-12)


def test_the_size_decides_which_form_is_taken(monkeypatch):
    calls = []
    real = contrast.anchor_losses
    monkeypatch.setattr(contrast, "anchor_losses", lambda *a: calls.append(1) or real(*a))
    z = torch.randn(contrast.LARGE, 4)
    losses.supcon_loss(z[1:], torch.zeros(len(z) - 1, dtype=torch.long))
    assert not calls
    losses.supcon_loss(z, torch.zeros(len(z), dtype=torch.long))
    assert calls


def plain(z, weights, t):
    """What log_sum_exp computes, by autograd and with the whole matrix."""
    similarity = (z @ z.T / t).masked_fill(torch.eye(len(z), dtype=torch.bool), -1e30)
    return torch.stack([similarity.masked_fill(w == 0, -1e30).logsumexp(1) for w in weights])


SIZES = [(2, 0.1), (13, 0.7), (61, 0.1), (64, 0.05), (61, 0.01), (61, 0.003)]


@pytest.mark.parametrize("n, t", SIZES)
@pytest.mark.parametrize("keep", [0, 4096])
def test_log_sum_exp_for_any_gradient_from_above(n, t, keep, monkeypatch):
    monkeypatch.setattr(contrast, "BLOCK", 16)
    monkeypatch.setattr(contrast, "KEEP_BLOCKS_UP_TO", keep)
    generator = torch.Generator().manual_seed(n)
    z = F.normalize(torch.randn(n, 3, generator=generator, dtype=torch.float64), dim=1)
    weights = torch.stack([torch.arange(n) % 5 != 4, torch.ones(n, dtype=torch.bool)])
    above = torch.randn(2, n, generator=generator, dtype=torch.float64)

    def result(function, dtype):
        return value_and_gradient(
            lambda x: function(x, weights, t) * above.to(dtype), z.to(dtype, copy=True)
        )

    value, gradient = result(plain, torch.float64)
    for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, 2e-5)):
        ours, its_gradient = result(contrast.log_sum_exp, dtype)
        assert torch.allclose(ours.double(), value, rtol=tolerance, atol=3 * tolerance / t)
        error = (its_gradient.double() - gradient).abs().max()
        assert error <= tolerance * gradient.abs().max()


@pytest.mark.parametrize("t", [0.003, 0.01, 0.03, 1.0])
def test_opposite_points_do_not_underflow(t):
    z = torch.tensor([[1.0, 0], [-1, 0]])
    known = torch.ones(1, 2, dtype=torch.bool)
    value, gradient = value_and_gradient(lambda x: contrast.log_sum_exp(x, known, t), z)
    assert torch.allclose(value, torch.tensor(-1 / t))
    assert torch.allclose(gradient, 2 / t * torch.tensor([[-1.0, 0], [1, 0]]))


def test_class_numbers():
    y = torch.tensor([7, -1, 7, 3, -1, 7])
    number, size = contrast.class_numbers(y)
    assert torch.equal(number[:, None] == number, y[:, None] == y)
    assert number.max() < len(y) and size.tolist() == [3, 2, 3, 1, 2, 3]


def test_no_second_derivative_rather_than_a_wrong_one(batch, monkeypatch):
    z, labels = batch[0].requires_grad_(), batch[1][:, 0]
    monkeypatch.setattr(contrast, "LARGE", 0)
    with pytest.raises(NotImplementedError, match="no second derivative"):
        torch.autograd.grad(losses.supcon_loss(z, labels), z, create_graph=True)


def test_autocast_does_not_make_large_batches_coarser(batch, monkeypatch):
    monkeypatch.setattr(contrast, "LARGE", 0)
    z, labels = batch[0].float(), batch[1][:, 0]
    expected = losses.supcon_loss(z.double(), labels, 0.05).item()
    with torch.autocast("cpu", torch.bfloat16):
        assert losses.supcon_loss(z, labels, 0.05).item() == pytest.approx(expected, rel=1e-5)
