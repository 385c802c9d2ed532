"""Maps of runs: row i is sample i, made once, with the numbers of that run and level below."""

from dataclasses import replace

import numpy as np
import openTSNE
import pytest
import torch
from sklearn.neighbors import KNeighborsClassifier
from threadpoolctl import threadpool_info, threadpool_limits

from hmlc_core import Settings, pretrain
from study import maps

TINY = Settings(canvas=24, dim=16, epochs=1, batch_size=32)


def clusters():
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(90) % 3
    return torch.eye(8)[labels] + 0.05 * torch.randn(90, 8, generator=generator), labels.numpy()


def test_neighbours_stay_neighbours():
    vectors, labels = clusters()
    points = maps.tsne(vectors)
    assert points.shape == (90, 2)
    assert KNeighborsClassifier(5).fit(points, labels).score(points, labels) == 1


def test_a_map_that_starts_from_another_keeps_its_places():
    vectors, _ = clusters()
    first = maps.tsne(vectors)
    turned = first @ [[0, 1], [-1, 0]]
    again = maps.tsne(vectors, turned)
    assert [abs(np.corrcoef(again[:, k], turned[:, k])[0, 1]) > 0.9 for k in (0, 1)] == [True, True]


def test_length_of_vectors_does_not_matter():
    vectors, _ = clusters()
    assert (maps.tsne(vectors) == maps.tsne(4 * vectors)).all()


def test_a_map_is_made_with_one_thread_whatever_there_are(monkeypatch):
    """Sums of several threads round otherwise, and a map follows rounding."""
    seen = []

    class Watched(openTSNE.TSNE):
        def fit(self, vectors):
            seen.extend(pool["num_threads"] for pool in threadpool_info())
            return super().fit(vectors)

    monkeypatch.setattr(openTSNE, "TSNE", Watched)
    with threadpool_limits(2):
        maps.tsne(clusters()[0])
    assert seen and set(seen) == {1}


def test_too_few_samples_are_refused():
    with pytest.raises(ValueError, match="a map needs at least 10 samples, not 9"):
        maps.tsne(torch.randn(9, 4))
    assert maps.tsne(torch.randn(10, 4)).shape == (10, 2)


def test_map_is_of_the_runs_embeddings_and_made_once(dataset, tmp_path, monkeypatch):
    run = pretrain(dataset, "split", TINY, folder=tmp_path, device="cpu", progress=False)
    asked = []

    def tsne(vectors):
        asked.append(vectors)
        return vectors[:, :2].numpy()

    monkeypatch.setattr(maps, "tsne", tsne)
    some = maps.shown(dataset, 40)
    for data in (dataset, some, dataset, some):
        points = maps.map_of(run, data)
        assert (points == run.embeddings(data)[:, :2].numpy()).all()
    assert [len(vectors) for vectors in asked] == [96, 40]


def test_other_code_or_another_openTSNE_makes_the_map_anew(dataset, tmp_path, monkeypatch):
    run = pretrain(dataset, "split", TINY, folder=tmp_path, device="cpu", progress=False)
    made = []
    monkeypatch.setattr(maps, "tsne", lambda vectors: made.append(1) or vectors[:, :2].numpy())
    for change in (
        None,
        None,
        ("files.code_hash", lambda *_: "new"),
        ("openTSNE.__version__", "0"),
    ):
        if change:
            monkeypatch.setattr(f"study.maps.{change[0]}", change[1])
        maps.map_of(run, dataset)
    assert len(made) == 3


def test_shown_are_samples_of_the_data_set_with_their_own_labels(dataset):
    some = maps.shown(dataset, 30)
    assert len(some) == 30 and some.class_names == dataset.class_names
    for image, labels in zip(some.images, some.labels):
        same = (dataset.images == image).all((1, 2, 3))
        assert same.any() and (dataset.labels[same] == labels).all()
    assert len(maps.shown(dataset, 1000)) == 96
    assert (maps.shown(dataset, 30).images == some.images).all()  # drawn once for all


def test_shown_takes_others_where_too_few_have_all_labels(dataset):
    labels = dataset.labels.copy()
    labels[maps.LEAST - 1 :, 1] = -1
    assert len(maps.shown(replace(dataset, labels=labels), 50)) == 50
    labels[: maps.LEAST] = dataset.labels[: maps.LEAST]
    assert len(maps.shown(replace(dataset, labels=labels), 50)) == maps.LEAST


def test_shown_prefers_samples_with_all_labels(dataset):
    labels = dataset.labels.copy()
    labels[:80, 1] = -1
    partly = replace(dataset, labels=labels)
    assert len(maps.shown(partly, 50)) == 16 and (maps.shown(partly, 50).labels >= 0).all()
    labels[:, 1] = -1
    assert len(maps.shown(replace(dataset, labels=labels), 50)) == 50


def test_captions_are_of_that_method_and_level(dataset, tmp_path):
    run = pretrain(
        dataset, "split", TINY, folder=tmp_path, device="cpu", progress=False, label="split@9"
    )
    rows = [
        dict(method=method, level=level, metric=metric, value=value)
        for method, level, metric, value in [
            ("split@9", "central", "embedding_knn_accuracy", 0.123),
            ("split@9", "central", "knn_accuracy", 0.99),
            ("split@9", "central", "silhouette", -0.2),
            ("split", "central", "silhouette", 0.7),
            ("split@9", "subsidiary", "silhouette", 0.456),
        ]
    ]
    assert maps.captions(run, rows) == {
        ("split@9", "central"): "k-NN 12 %, silhouette -0.20",
        ("split@9", "subsidiary"): "silhouette 0.46",
    }
