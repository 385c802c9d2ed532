"""Rows of a run: all there, computed once, anew when something they depend on changes."""

from dataclasses import replace

import pytest
import torch

from hmlc_core import metrics, preset, pretrain, runs
from study import evaluation, results

SMALL = replace(preset("smoke"), train_size=256, test_size=128, batch_size=64)
LEVELS = ("central", "subsidiary")


@pytest.fixture(scope="module")
def small_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    return pretrain("hierarchical_mnist", "split", SMALL, folder=folder, progress=False)


@pytest.fixture
def run(small_run):
    """With data that was loaded before a test moved the data folder."""
    for split in ("train", "test"):
        small_run.data(split)
    return small_run


def test_rows_of_a_run(run):
    rows = evaluation.evaluate(run)
    assert all(list(row) == results.COLUMNS for row in rows)
    per_level = ("linear_accuracy", "knn_accuracy", "embedding_knn_accuracy", "silhouette", "nmi")
    per_level += ("worst_class_accuracy", "top_down_accuracy", "coherent_accuracy")
    per_level += ("top_down_calibration_error",)
    whole = ("explained_variance", "effective_rank", "fpa", "tice", "nlca", "mistake_severity")
    expected = {(level, metric) for level in LEVELS for metric in per_level}
    expected |= {("all", metric) for metric in whole}
    assert {(row["level"], row["metric"]) for row in rows} == expected and len(rows) == len(
        expected
    )
    for row in rows:
        assert row["config_hash"] == run.config_hash and row["method"] == "split"
        assert row["seed"] == 0 and row["data_source"] == run.dataset.source


def test_linear_rows_are_those_of_linear_evaluation(run):
    rows = [row for row in evaluation.evaluate(run) if row["metric"] == "linear_accuracy"]
    alone = runs.linear_evaluation(run)
    assert sorted((r["level"], r["value"]) for r in rows) == [
        (r["level"], r["value"]) for r in alone
    ]


def test_levels_labelled_on_different_samples_still_have_worst_classes(run):
    labels = run.dataset.labels.copy()
    labels[::2, 0], labels[1::2, 1] = -1, -1  # no sample has both, so no path is known
    partly = replace(run, dataset=replace(run.dataset, labels=labels), _data={})
    test = run.data("test")
    logits = [torch.nn.functional.one_hot(y, 10).float() for y in torch.from_numpy(test.labels).T]
    rows = evaluation.hierarchical_evaluation(partly, test, logits)
    found = {(row["level"], row["metric"], row["value"]) for row in rows}
    assert found == {(level, "worst_class_accuracy", 1.0) for level in LEVELS}


def test_head_and_tail_are_thirds_by_frequency_in_training(run):
    labels = run.dataset.labels.copy()
    labels[:, 1] = 9  # class 9 is the most frequent, then 8 and 7; the others have one each
    labels[:50, 1], labels[50:80, 1], labels[80:87, 1] = 8, 7, range(7)
    uneven = replace(run, dataset=replace(run.dataset, labels=labels), _data={})
    test = run.data("test")
    right = torch.from_numpy(test.labels[:, 1]).clone()
    right[right < 7] = 9
    rows = {row["metric"]: row["value"] for row in evaluation.tail_rows(uneven, right, test)}
    assert rows == {"head_accuracy": 1.0, "tail_accuracy": 0.0}
    assert evaluation.tail_rows(run, right, test) == []


def test_accuracy_by_the_size_of_a_class_s_family(run):
    test = run.data("test")
    paths = torch.tensor([[0, 0], [1, 1], [1, 2], [2, 3], [2, 4], [2, 5], [2, 6], [2, 7], [3, 8]])
    labels = test.labels.copy()
    labels[:, 1] = -1
    labels[:8, 1] = [0, 8, 1, 2, 1, 3, 7, 4]
    test = replace(test, labels=labels)
    said = torch.tensor([0, 0, 1, 2, 2, 0, 7, 4] + [5] * (len(test) - 8))
    rows = {r["metric"]: r["value"] for r in evaluation.family_rows(run, said, test, paths)}
    name = "accuracy_of_families"
    expected = {f"{name}_1": 1 / 2, f"{name}_2_to_4": 2 / 3, f"{name}_5_or_more": 2 / 3}
    assert rows == pytest.approx(expected)
    even = torch.tensor([[0, 0], [0, 1], [1, 2], [1, 3]])
    labels[:, 1] %= 4
    assert evaluation.family_rows(run, said, replace(test, labels=labels), even) == []


def test_a_level_without_a_known_label_has_no_row(run):
    test = run.data("test")
    labels = test.labels.copy()
    labels[:, 1] = -1
    test = replace(test, labels=labels)
    predictions = torch.zeros(2, len(test), dtype=torch.long)
    rows = evaluation.level_rows(run, "linear_accuracy", predictions, test)
    assert [row["level"] for row in rows] == ["central"]


def test_rows_are_computed_once_and_carry_the_present_label(run, monkeypatch):
    rows = evaluation.evaluate(run)
    monkeypatch.setattr(evaluation, "_rows", None)
    assert evaluation.evaluate(run) == rows
    again = evaluation.evaluate(replace(run, label="split@t0.1"))
    assert {row["method"] for row in again} == {"split@t0.1"}


@pytest.mark.parametrize("package", ["torch", "scikit-learn", "scipy"])
def test_another_version_of_a_package_makes_them_anew(run, package, monkeypatch):
    before = evaluation.state_of((metrics,), ["a"])
    real = evaluation.version
    monkeypatch.setattr(
        evaluation, "version", lambda name: "0.1" if name == package else real(name)
    )
    assert evaluation.state_of((metrics,), ["a"]) != before
    monkeypatch.setattr(evaluation, "_rows", lambda *_: [runs.row(run, "all", "new", 1.0)])
    assert [row["metric"] for row in evaluation.evaluate(run)] == ["new"]


def test_other_code_or_data_makes_them_anew(tmp_path, run, monkeypatch):
    code = tmp_path / "code.py"
    code.write_text("a = 1\n")
    before = evaluation.state_of((code,), ["a"])
    assert evaluation.state_of((code,), ["b"]) != before
    code.write_text("a = 2\n")
    assert evaluation.state_of((code,), ["a"]) != before
    test = run.data("test")
    half = replace(test, images=test.images[::2].copy(), labels=test.labels[::2].copy())
    whole, part = (
        {
            row["metric"]: row["value"]
            for row in evaluation.evaluate(run, split)
            if row["level"] == "all"
        }
        for split in (test, half)
    )
    assert whole != part


def test_rows_are_kept_by_the_code_that_makes_them(run, monkeypatch):
    asked = []
    monkeypatch.setattr(evaluation, "state_of", lambda *of: asked.append(of) or "state")
    evaluation.evaluate(run)
    ((sources, data),) = asked
    assert {evaluation.__file__, metrics, evaluation.measures, runs} == set(sources)
    assert data == [run.data("train").fingerprint, run.data("test").fingerprint]


def test_calibration_error_of_certain_and_of_careful_classes():
    labels = torch.tensor([0, 0, 1, -1])
    sure = torch.tensor([1.0, 1.0, 1.0, 1.0]), torch.tensor([0.5, 0.5, 0.5, 0.1])
    classes = torch.zeros(4, dtype=torch.long)  # two of three are right
    errors = [evaluation.calibration_error((classes, part), labels) for part in sure]
    assert errors == pytest.approx([1 / 3, 2 / 3 - 1 / 2])
