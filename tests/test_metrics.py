"""Pure functions of features and labels, against scikit-learn and closed forms."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import silhouette_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler

from hmlc_core import metrics
from study import evaluation, measures


def clusters(n=300, classes=3, dim=5, noise=1.0, seed=0):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % classes
    centres = torch.randn(classes, dim, generator=torch.Generator().manual_seed(9))
    return 2 * centres[labels] + noise * torch.randn(n, dim, generator=generator), labels


def test_linear_layer_is_the_optimum_scikit_learn_finds():
    x, y = clusters()
    weight, bias = metrics.fit_linear(x, y, 3, weight_decay=1e-2)
    theirs = LogisticRegression(C=1 / (1e-2 * len(x)), tol=1e-8, max_iter=10000).fit(
        x.numpy(), y.numpy()
    )
    assert np.abs(weight.numpy() - theirs.coef_).max() < 2e-3
    assert torch.equal(metrics.fit_linear(x, y, 3, weight_decay=1e-2)[0], weight)


def test_linear_predictions_equal_scikit_learn():
    (x, y), (x_test, _) = clusters(noise=3.0), clusters(noise=3.0, seed=1)
    scaler = StandardScaler().fit(x)
    theirs = (
        LogisticRegression(C=1 / (1e-4 * len(x)), max_iter=10000)
        .fit(scaler.transform(x), y)
        .predict(scaler.transform(x_test))
    )
    assert (metrics.linear_logits(x, y, x_test, 3).argmax(1).numpy() == theirs).mean() > 0.99


def test_unknown_labels_and_constant_features_do_no_harm():
    (x, y), (x_test, y_test) = clusters(noise=0.1), clusters(noise=0.1, seed=1)
    y = y.clone()
    y[::4] = -1
    x, x_test = (torch.cat([part, torch.ones(len(part), 1)], 1) for part in (x, x_test))
    for predict in (
        lambda: metrics.linear_logits(x, y, x_test, 3).argmax(1),
        lambda: metrics.knn_predictions(x, y[:, None], x_test, [3])[:, 0],
    ):
        assert metrics.accuracy(predict(), y_test) == 1.0


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float64])
def test_features_of_any_precision_that_train_and_short_labels_are_taken(kind):
    (x, y), (x_test, _) = clusters(noise=0.1), clusters(noise=0.1, seed=1)
    x, x_test, y = x.to(kind).requires_grad_(), x_test.to(kind).requires_grad_(), y.int()
    assert (metrics.knn_predictions(x, y[:, None], x_test, [3])[:, 0] >= 0).all()
    assert measures.cluster_agreement(x, y) > 0.9
    weight, _ = metrics.fit_linear(x, y, 3)
    assert weight.dtype == torch.promote_types(kind, torch.float32) and not weight.requires_grad


@pytest.mark.parametrize("value", [0.0, 0.3, 1.7, 7.3])
def test_a_feature_that_is_constant_in_training_alone_is_not_blown_up(value):
    (x, y), (x_test, y_test) = clusters(noise=0.1), clusters(noise=0.1, seed=1)
    x = torch.cat([x, torch.full((len(x), 1), value)], 1)
    x_test = torch.cat([x_test, torch.full((len(x_test), 1), 1.1 * value + 0.1)], 1)
    logits = metrics.linear_logits(x, y, x_test, 3)
    assert metrics.accuracy(logits.argmax(1), y_test) == 1.0


def test_accuracy_counts_known_labels_only():
    assert metrics.accuracy(
        torch.tensor([0, 1, 2, 2]), torch.tensor([0, 1, 1, -1])
    ) == pytest.approx(2 / 3)


def test_knn_with_fewer_samples_than_neighbours():
    x, y = clusters(n=6)
    assert metrics.knn_predictions(x, torch.stack([y, y], 1), x, [3, 3]).shape == (6, 2)


def test_knn_equals_scikit_learn_at_every_level():
    (x, y), (x_test, _) = clusters(noise=3.0), clusters(noise=3.0, seed=1)
    labels = torch.stack([y % 2, y], 1)
    theirs = KNeighborsClassifier(
        20, metric="cosine", algorithm="brute", weights=lambda d: np.exp((1 - d) / 0.07)
    )
    ours = metrics.knn_predictions(x, labels, x_test, [2, 3])
    for level in (0, 1):
        assert np.array_equal(ours[:, level], theirs.fit(x, labels[:, level]).predict(x_test))


def test_knn_weights_matter():
    """One neighbour in the same direction outweighs three at 60 degrees, but not at 5."""
    asked, labels = torch.tensor([[1.0, 0.0]]), torch.tensor([[0], [1], [1], [1]])
    for degrees, winner in ((60, 0), (5, 1)):
        angle = torch.deg2rad(torch.tensor(float(degrees)))
        other = torch.stack([angle.cos(), angle.sin()])
        known = torch.stack([asked[0], other, other, other])
        assert metrics.knn_predictions(known, labels, asked, [2]).item() == winner


def test_levels_without_a_known_label_are_named():
    x, unknown = torch.randn(6, 3), torch.full((6,), -1)
    with pytest.raises(ValueError, match="none of 6 samples has a label: leave this level out"):
        metrics.knn_predictions(x, torch.stack([torch.arange(6) % 2, unknown], 1), x, [2, 2])
    for measure in (
        lambda: metrics.fit_linear(x, unknown, 2),
        lambda: metrics.linear_logits(x, unknown, x, 2),
        lambda: measures.cluster_agreement(x, unknown),
        lambda: metrics.silhouette(x, unknown),
    ):
        with pytest.raises(ValueError, match="none of 6 samples"):
            measure()
    with pytest.raises(ValueError, match="no path to choose"):
        metrics.top_down([torch.randn(3, 2)], torch.zeros(0, 1, dtype=torch.long))


@pytest.mark.parametrize("where", [0, 1])
def test_embeddings_that_are_no_numbers_are_named(where):
    x, labels = torch.randn(8, 3), torch.arange(8)[:, None] % 2
    pair = [x, x.clone()]
    pair[where][3, 1] = torch.nan
    with pytest.raises(ValueError, match="NaN"):
        metrics.knn_predictions(pair[0], labels, pair[1], [2])
    with pytest.raises(ValueError, match="NaN"):
        measures.cluster_agreement(pair[where], labels[:, 0])


def test_shapes_and_kinds_that_do_not_fit_are_named():
    x, y = torch.randn(12, 4), torch.arange(12) % 3
    paths = torch.tensor([[0, 0], [0, 1], [1, 2]])
    for wrong, message in (
        (lambda: metrics.accuracy(y[:, None], y), r"shapes differ: \[\[12, 1\], \[12\]\]"),
        (lambda: metrics.path_metrics(paths[:, :1], paths, paths, paths), "shapes differ"),
        (lambda: metrics.path_metrics(paths, paths, paths, paths[:, :1]), "shapes differ"),
        (lambda: metrics.linear_logits(x, y, torch.randn(5, 1), 3), "shapes differ"),
        (lambda: metrics.linear_logits(x, y, torch.full((5, 4), torch.nan), 3), "test features"),
        (lambda: metrics.fit_linear(x, y + 0.9, 3), "labels must be integers, not torch.float32"),
        (lambda: metrics.knn_predictions(x, y[:, None].repeat(1, 2), x, [3]), "shorter"),
        (lambda: metrics.top_down([torch.randn(3, 2)], paths), "1 logits for 2 levels"),
    ):
        with pytest.raises(ValueError, match=message):
            wrong()


def test_no_samples_and_no_paths_have_the_metrics_that_they_have():
    paths, none = torch.tensor([[0, 0], [1, 1]]), torch.zeros(0, 2, dtype=torch.long)
    assert metrics.path_metrics(none, none, none, paths) == {}
    assert metrics.path_metrics(paths, paths, paths, none)["tice"] == 1


@pytest.mark.parametrize("kinds", [(torch.half, torch.half), (torch.float, torch.double)])
def test_linear_logits_take_any_precision(kinds):
    x, y = clusters(n=60)
    (train, test), exact = (x.to(kind) for kind in kinds), metrics.linear_logits(x, y, x, 3)
    assert torch.allclose(metrics.linear_logits(train, y, test, 3).float(), exact, atol=0.3)


def test_knn_looks_for_neighbours_among_known_samples():
    (x, y), (x_test, y_test) = clusters(n=600, noise=0.1), clusters(noise=0.1, seed=1)
    labels = torch.stack(
        [torch.where(torch.arange(600) % 20 < 3, y, -1), y], 1
    )  # level 1 knows 3 of 20
    for predicted in metrics.knn_predictions(x, labels, x_test, [3, 3]).T:
        assert metrics.accuracy(predicted, y_test) == 1.0


# A tree by hand: animals (cat, dog), things (cup); leaves numbered 0, 1, 2.
PATHS = torch.tensor([[0, 0], [0, 1], [1, 2]])


def ancestors(paths, level, k):
    """Classes (level, number) on the paths through class k of a level, above it."""
    rows = [row for row in paths.tolist() if row[level] == k]
    return {(above, row[above]) for row in rows for above in range(level)}


def test_coherent_scores_are_the_largest_below():
    """Of every class the most of its own and its descendants' scores, by brute force."""
    paths = torch.tensor([[0, 0, 0], [0, 0, 1], [0, 1, 2], [1, 2, 3], [1, 2, 4], [1, 3, 5]])
    generator = torch.Generator().manual_seed(0)
    scores = [torch.rand(7, count, generator=generator).double() for count in (2, 4, 6)]
    ours = evaluation.coherent(scores, paths)
    for level, count in enumerate((2, 4, 6)):
        for k in range(count):
            below = [
                scores[deeper][:, j]
                for deeper in range(level + 1, 3)
                for j in range(scores[deeper].shape[1])
                if (level, k) in ancestors(paths, deeper, j)
            ]
            assert torch.equal(
                ours[level][:, k], torch.stack([scores[level][:, k], *below]).amax(0)
            )
    for upper, lower, (parents, children) in (
        (ours[0], ours[1], paths[:, :2].T),
        (ours[1], ours[2], paths[:, 1:].T),
    ):
        assert (upper[:, parents] >= lower[:, children]).all()
    again = evaluation.coherent(ours, paths)
    assert all(torch.equal(a, b) for a, b in zip(again, ours))
    decoded = metrics.top_down(ours, paths)
    assert all(row in paths.tolist() for row in decoded.tolist())


def test_coherent_leaves_the_given_scores_and_a_single_level_alone():
    given = [torch.tensor([[0.1, 0.2]]), torch.tensor([[0.9, 0.3, 0.4]])]
    kept = [part.clone() for part in given]
    assert evaluation.coherent(given, PATHS)[0][0].tolist() == pytest.approx([0.9, 0.4])
    assert all(torch.equal(a, b) for a, b in zip(given, kept))
    assert torch.equal(evaluation.coherent(given[1:], PATHS[:, 1:])[0], given[1])


def test_paths_may_end_above_the_finest_level():
    labels = np.array([[0, 0], [0, 1], [0, -1], [1, -1], [2, -1], [2, 2], [-1, 1], [1, -1]])
    train = SimpleNamespace(labels=labels)
    paths = evaluation.paths_to_follow(train)
    assert paths.tolist() == [[0, 0], [0, 1], [1, -1], [2, 2]]
    top = torch.tensor([[0.0, 9.0, 0.0], [9.0, 0.0, 0.0]])
    leaf = torch.tensor([[9.0, 0.0, 0.0], [0.0, 1.0, 9.0]])
    assert metrics.top_down([top, leaf], paths).tolist() == [[1, -1], [0, 1]]
    scores = evaluation.coherent([top.softmax(1), leaf.softmax(1)], paths)
    assert torch.equal(scores[0][:, 1], top.softmax(1)[:, 1])  # nothing is below
    sure = evaluation.probability_of(torch.tensor([-1, 1]), leaf)
    assert sure.tolist() == [0, 1]
    deep = SimpleNamespace(labels=np.array([[0, -1, -1], [0, 0, -1], [1, 1, 1]]))
    assert evaluation.paths_to_follow(deep).tolist() == [[0, 0, -1], [1, 1, 1]]


def test_top_down_decoding_follows_the_first_level():
    top = torch.tensor([[2.0, 1.0], [2.0, 1.0], [0.0, 1.0]])
    leaf = torch.tensor([[0.0, 1.0, 9.0], [3.0, 1.0, 0.0], [9.0, 9.0, 0.0]])
    assert metrics.top_down([top, leaf], PATHS).tolist() == [[0, 1], [0, 0], [1, 2]]
    assert torch.stack([top.argmax(1), leaf.argmax(1)], 1).tolist() == [
        [0, 2],
        [0, 0],
        [1, 0],
    ]  # without the tree


def test_path_metrics_by_hand():
    labels = torch.tensor([[0, 0], [0, 1], [1, 2], [0, 0], [-1, 1]])
    independent = torch.tensor(
        [[0, 0], [0, 2], [1, 2], [1, 2], [0, 1]]
    )  # right, no such path, right, all wrong, left out
    decoded = torch.tensor([[0, 0], [0, 0], [1, 2], [1, 2], [0, 1]])
    found = metrics.path_metrics(independent, decoded, labels, PATHS)
    assert found == pytest.approx(
        {"fpa": 2 / 4, "tice": 1 / 4, "nlca": (2 + 1 + 2 + 0) / 8, "mistake_severity": (1 + 2) / 2}
    )
    assert metrics.path_metrics(independent[:1], decoded[:1], labels[:1], PATHS) == {
        "fpa": 1,
        "tice": 0,
        "nlca": 1,
    }
    assert metrics.path_metrics(independent, decoded, torch.full_like(labels, -1), PATHS) == {}


def test_full_path_accuracy_is_bounded_by_the_leaf():
    generator = torch.Generator().manual_seed(0)
    labels = PATHS[torch.randint(3, (200,), generator=generator)]
    logits = [
        torch.randn(200, k, generator=generator) + 2 * torch.nn.functional.one_hot(y, k)
        for k, y in zip((2, 3), labels.T)
    ]
    independent = torch.stack([x.argmax(1) for x in logits], 1)
    found = metrics.path_metrics(independent, metrics.top_down(logits, PATHS), labels, PATHS)
    assert (
        found["fpa"] <= metrics.accuracy(independent[:, 1], labels[:, 1]) and 0 < found["tice"] < 1
    )


def test_class_accuracies_by_hand():
    found = evaluation.class_accuracies(
        torch.tensor([0, 1, 1, 1, 5]), torch.tensor([0, 0, 1, 1, -1])
    )
    assert found == [0.5, 1.0]


def test_clusters_that_are_classes_agree_with_them():
    tight, y = clusters(noise=0.05)
    assert measures.cluster_agreement(tight, y) == pytest.approx(1)
    assert measures.cluster_agreement(tight, y[torch.randperm(300)]) < 0.1


def test_spectrum_statistics_in_closed_form():
    axes = torch.cat(
        [
            torch.diag(torch.tensor([2.0, 1.0, 1.0, 0.0])),
            -torch.diag(torch.tensor([2.0, 1.0, 1.0, 0.0])),
        ]
    )
    assert measures.covariance_spectrum(axes).tolist() == pytest.approx(
        [1.0, 0.25, 0.25, 0.0], abs=1e-9
    )
    assert measures.explained_variance(axes) == pytest.approx(1.25 / 1.5)
    assert measures.effective_rank(axes) == pytest.approx(1.5**2 / (1 + 2 * 0.25**2))
    isotropic = torch.cat([torch.eye(6), -torch.eye(6)])
    assert measures.effective_rank(isotropic + 7) == pytest.approx(6)


@pytest.mark.parametrize("noise", [0.5, 3.0])
def test_silhouette_equals_scikit_learn(noise):
    z, y = clusters(n=101, noise=noise)
    y = torch.cat(
        [torch.where(y[:-1] == 2, 7, y[:-1]), torch.tensor([2])]
    )  # a class of one, and gaps between class ids
    assert metrics.silhouette(z, y) == pytest.approx(
        silhouette_score(z.double().numpy(), y.numpy(), metric="cosine"), abs=1e-6
    )
    unknown = torch.arange(101) % 5 == 0
    known = silhouette_score(z[~unknown].double().numpy(), y[~unknown].numpy(), metric="cosine")
    assert metrics.silhouette(z, torch.where(unknown, -1, y)) == pytest.approx(known, abs=1e-6)


def test_silhouette_of_a_vector_of_zeros_equals_scikit_learn():
    x, y = torch.randn(6, 4, generator=torch.Generator().manual_seed(0)), torch.arange(6) // 2
    x[0] = 0
    theirs = silhouette_score(x.numpy(), y.numpy(), metric="cosine")
    assert metrics.silhouette(x, y) == pytest.approx(theirs, abs=1e-6)


def test_metrics_take_features_with_a_gradient():
    x, y = torch.randn(12, 4, requires_grad=True), torch.arange(12) % 3
    assert measures.cluster_agreement(x, y) <= 1
    weight, _ = metrics.fit_linear(x, y, 3)
    assert not weight.requires_grad and x.grad is None


def test_silhouette_of_one_class_is_an_error():
    with pytest.raises(ValueError, match="2 to 9 classes for 10 samples, not 1"):
        metrics.silhouette(torch.randn(10, 4), torch.zeros(10, dtype=torch.long))


def test_silhouette_sees_separation():
    tight, y = clusters(noise=0.05)
    assert (
        metrics.silhouette(tight, y) > 0.9 > 0.2 > metrics.silhouette(tight, y[torch.randperm(300)])
    )


@pytest.mark.parametrize(
    "measure",
    [
        measures.explained_variance,
        measures.effective_rank,
        lambda z: metrics.silhouette(z, torch.arange(10) % 2),
    ],
)
def test_embeddings_without_variance_are_named(measure):
    with pytest.raises(ValueError, match="all 10 embeddings are the same"):
        measure(torch.ones(10, 4))
    with pytest.raises(ValueError, match="NaN"):
        measure(torch.full((10, 4), float("nan")))
