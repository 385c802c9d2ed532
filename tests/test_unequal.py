"""Trees whose branches end at different depths, a class that ends early being its own only class on
the levels below or unknown there: through losses, training, evaluation and figures."""

import math

import matplotlib.pyplot as plt
import pytest
import torch
import torch.nn.functional as F
from test_losses import naive_hmce_paper, naive_hmce_released, naive_supcon
from test_own_folders import fill, quietly
from test_peers import PEERS

from hmlc_core import METHODS, Settings, losses, peers, pretrain
from hmlc_core.data import own
from hmlc_core.methods import Objective
from study import evaluation, figures

TREE = "fruit/apple/gala fruit/apple/fuji fruit/kiwi milk"
ENDS = ("own", "unknown")


@pytest.fixture
def read(tmp_path):
    fill(tmp_path, TREE, count=6)
    return lambda ends: quietly(tmp_path, ends=ends)[:2]


@pytest.fixture
def labels(read):
    """{how branches end: labels [8, 3]}, two pictures of each class."""
    return {ends: torch.from_numpy(read(ends)[0].labels[::3]) for ends in ENDS}


def test_one_child_classes_are_classes_and_unknown_ones_are_not(labels):
    apart = [[0, 0, 0], [0, 0, 1], [0, 1, 2], [1, 2, 3]]
    assert labels["own"][::2].tolist() == apart
    unknown = [[0, 0, 0], [0, 0, 1], [0, 1, -1], [1, -1, -1]]
    assert labels["unknown"][::2].tolist() == unknown


@pytest.mark.parametrize("ends", ENDS)
def test_losses_equal_double_loops(ends, labels):
    y = labels[ends]
    generator = torch.Generator().manual_seed(1)
    z = torch.randn(8, 6, dtype=torch.float64, generator=generator)
    terms = [naive_supcon(z, y[:, level], 0.2) for level in range(3)]
    shared = torch.ones(3, 8, 6, dtype=torch.float64)
    found = losses.masked_hierarchical_loss(z, y, shared, 0.2, reduction="none")
    assert found.tolist() == pytest.approx(terms, rel=1e-9)
    assert losses.finest_supcon_loss(z, y, temperature=0.2).item() == pytest.approx(terms[2])
    heads = peers.PerLevelHeads(6, [2, 3, 4]).double()
    of_heads = [
        naive_supcon(h(z).detach(), y[:, level], 0.2) for level, h in enumerate(heads.heads)
    ]
    assert heads(z, y, 0.2).item() == pytest.approx(sum(of_heads), rel=1e-9)
    prototypes = [torch.randn(k, 6, dtype=torch.float64, generator=generator) for k in (2, 3, 4)]
    for ours, naive in PEERS.values():
        assert ours(z, y, prototypes, 0.2).item() == pytest.approx(naive(z, y, prototypes, 0.2))
    if ends == "own":
        views = torch.stack([z, z.flip(1)], 1)
        with_id = torch.cat([y, torch.arange(8)[:, None]], 1)
        expected = naive_hmce_released(views, with_id, 0.2)
        assert losses.hmce_released_loss(views, y, 0.2).item() == pytest.approx(expected, rel=1e-6)
    assert losses.hmce_loss(z, y, 0.2).item() == pytest.approx(naive_hmce_paper(z, y, 0.2))


@pytest.mark.parametrize("ends", ENDS)
@pytest.mark.parametrize("method", METHODS)
def test_every_method_has_a_finite_loss_and_gradient(method, ends, labels):
    torch.manual_seed(0)
    z = torch.randn(8, 2, 12, requires_grad=True)
    counts = [int(column.max()) + 1 for column in labels[ends].T]
    objective = Objective(METHODS[method], 12, counts, 0.2)
    terms = objective(F.normalize(z, dim=2), labels[ends])
    terms.sum().backward()
    assert torch.isfinite(terms).all() and torch.isfinite(z.grad).all() and terms.sum() > 0


@pytest.mark.parametrize("ends", ENDS)
def test_training_evaluation_and_figures_take_both(ends, read):
    dataset, groups = read(ends)
    train, test = own.divide(dataset, groups)
    settings = Settings(encoder="small_resnet", epochs=1, batch_size=8, dim=8,
                        augmentation="crop_flip_jitter")  # fmt: skip
    run = pretrain(train, "g_hmlc", settings, progress=False)
    rows = {(row["level"], row["metric"]): row["value"] for row in evaluation.evaluate(run, test)}
    assert all(math.isfinite(value) for value in rows.values())
    assert {"tice", "fpa", "nlca", "mistake_severity"} <= {metric for _, metric in rows}
    for level in dataset.level_names:
        assert (level, "coherent_accuracy") in rows and (level, "linear_accuracy") in rows
    families = {metric for _, metric in rows if metric.startswith("accuracy_of_families")}
    both = {"accuracy_of_families_1", "accuracy_of_families_2_to_4"}
    assert families == (both if ends == "own" else set())
    points = {"g_hmlc": run.embeddings(test)[:, :2].numpy()}
    captions = {("g_hmlc", level): "" for level in test.level_names}
    figures.embedding_maps(points, test.labels, test.level_names, test.class_names, captions)
    figures.masks_of_pictures(test, run.level_masks(test).numpy())
    plt.close("all")
