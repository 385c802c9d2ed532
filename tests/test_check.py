"""run_all.sh --check: seed by seed, with a cap, and what is missing counts."""

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import ROOT

from hmlc_core.settings import preset
from study import check, plan, results


def rows(method, values, level="central", metric="linear_accuracy", dataset="d", **more):
    """A row for each value, seeds 0, 1, ...; None leaves a seed out."""
    usual = dict.fromkeys(results.COLUMNS, "x") | {"seconds": 1.0}
    usual |= {"dataset": dataset, "method": method, "level": level, "metric": metric}
    return [usual | {"seed": s, "value": v} | more for s, v in enumerate(values) if v is not None]


def frame(*parts):
    return pd.DataFrame([row for part in parts for row in part], columns=results.COLUMNS)


def planned(method, seeds, dataset="d"):
    return [plan.Plan(dataset, method, preset("cpu"), seed, method) for seed in seeds]


def statuses(own, reference, plans=()):
    return list(check.compare(own, reference, plans).status)


def agrees(own, reference, plans=()):
    return check.report(check.compare(own, reference, plans), own, "r.csv")[1]


def test_the_same_numbers_agree():
    reference = frame(rows("m", [0.8, 0.9, 0.7]), rows("m", [12.0], "all", "effective_rank"))
    assert agrees(reference, reference)


@pytest.mark.parametrize("there", [[0.8, None, None], [None, 0.8, 0.8], [None] * 3])
def test_a_run_that_was_planned_and_is_not_there_is_a_difference(there):
    reference, own = frame(rows("m", [0.8] * 3)), frame(rows("m", there))
    assert not agrees(own, reference, planned("m", range(3)))
    count = sum(value is None for value in there)
    assert statuses(own, reference, planned("m", range(3))).count("missing") == count


def test_numbers_of_runs_that_only_an_extra_trains_are_compared_where_it_did():
    apart = rows("m", [0.9], "all", "masks_of_epoch_1"), rows("m", [1.0], "all", "masks_of_epoch_2")
    usual = rows("m", [0.8])
    assert statuses(frame(usual), frame(usual, *apart)) == ["agrees"]
    both = statuses(frame(usual, apart[0]), frame(usual, *apart))
    assert both == ["agrees", "agrees", "missing"]


def test_a_number_that_a_run_lacks_is_a_difference_though_no_plan_names_it():
    reference = frame(rows("m", [0.8]), rows("m", [0.8], "subsidiary"), rows("n", [0.5]))
    own = frame(rows("m", [0.8]))
    assert statuses(own, reference) == ["agrees", "missing"]  # and n was not asked for
    assert not agrees(own, reference)


def test_a_data_set_that_is_missing_is_a_difference():
    reference = frame(rows("m", [0.8]), rows("m", [0.8], dataset="other"))
    own = frame(rows("m", [0.8]))
    assert not agrees(own, reference, planned("m", [0]) + planned("m", [0], "other"))


def test_data_from_another_source_is_a_difference():
    reference, own = frame(rows("m", [0.8])), frame(rows("m", [0.8], data_source="elsewhere"))
    assert statuses(own, reference) == ["other data"] and not agrees(own, reference)


def test_seeds_are_compared_one_by_one_not_their_mean():
    reference, own = frame(rows("m", [0.60, 0.61, 0.62])), frame(rows("m", [0.65, 0.61, 0.57]))
    assert statuses(own, reference) == ["differs", "agrees", "differs"]


def test_small_differences_agree_and_larger_ones_do_not():
    reference = frame(rows("m", [0.8] * 3), rows("m", [50.0] * 3, "all", "effective_rank"))
    near = frame(rows("m", [0.829] * 3), rows("m", [54.9] * 3, "all", "effective_rank"))
    far = frame(rows("m", [0.831] * 3), rows("m", [55.1] * 3, "all", "effective_rank"))
    assert set(statuses(near, reference)) == {"agrees"}
    assert set(statuses(far, reference)) == {"differs"}


@pytest.mark.parametrize("values", [[0.9, 0.3, 0.6], [0.5, 0.3, 0.9], [0.17, 0.30, 0.24]])
def test_a_method_at_chance_does_not_pass_however_wide_the_interval(values):
    reference = frame(rows("m", values, "subsidiary"))
    assert check.allowed(reference).max() <= check.CAP
    for chance in (0.1, 0.11, 0.09):
        found = statuses(frame(rows("m", [chance] * 3, "subsidiary")), reference)
        assert set(found) == {"differs"}


def test_a_wide_spread_allows_more_up_to_the_cap():
    spread = np.array([0.80, 0.82, 0.84])
    some, much = frame(rows("m", spread)), frame(rows("m", 0.7 + 5 * (spread - 0.82)))
    assert check.allowed(some).tolist() == pytest.approx([0.04] * 3)
    assert check.allowed(much).tolist() == pytest.approx([check.CAP] * 3)
    ranks = frame(rows("m", [5.0, 50.0, 30.0], "all", "effective_rank"))
    assert (check.allowed(ranks) <= check.RELATIVE[1] * ranks.value + 1e-9).all()


def test_a_number_that_is_zero_agrees_with_itself():
    reference = frame(rows("m", [0.0, 0.0], "all", "mistake_severity"))
    assert statuses(reference, reference) == ["agrees", "agrees"]
    far = frame(rows("m", [0.5, 0.0], "all", "mistake_severity"))
    assert statuses(far, reference) == ["differs", "agrees"]


def test_runs_that_the_reference_lacks_are_named_and_no_failure():
    reference = frame(rows("m", [0.8]))
    own = frame(rows("m", [0.8, 0.1]), rows("new", [0.1], dataset="e"))
    text, agreed = check.report(check.compare(own, reference), own, "r.csv")
    assert agreed and "Not in the reference, so not compared: d m seed 1, e new seed 0" in text


def test_nothing_compared_is_no_agreement():
    assert not agrees(frame(), frame(rows("m", [0.8])))
    assert not agrees(frame(rows("m", [0.8])), frame())


def test_nan_is_no_agreement():
    assert not agrees(frame(rows("m", [np.nan])), frame(rows("m", [0.8])))


def test_report_counts_and_names(capsys):
    reference = rows("m", [0.8, 0.8, 0.8]) + rows("n", [0.5])
    results.add(reference, results.reference_path("cpu"))
    results.add(rows("m", [0.8, 0.2]) + rows("n", [0.5]), results.path("cpu"))
    assert check.check("cpu", planned("m", range(3))) == 1
    said = capsys.readouterr().out
    assert "4 numbers of 4 runs in cpu.csv, seed by seed: 2 agree, 1 differ, 1 missing" in said
    assert "d  m seed 1: 1 differs" in said and "d  m seed 2: 1 missing" in said
    results.add(reference, results.path("cpu"))
    assert check.check("cpu", planned("m", range(3))) == 0


def test_the_committed_reference_agrees_with_itself_and_with_no_other_seeds():
    reference = results.read(ROOT / "data" / "reference" / "cpu.csv")
    assert agrees(reference, reference, plan.planned_runs("cpu"))
    part = reference[reference.metric == "linear_accuracy"]
    assert check.allowed(part).max() <= check.CAP
    chance = 1 / part.level.map(check.CLASSES)
    learned = part.value > chance + 0.1
    assert (check.allowed(part)[learned] < (part.value - chance)[learned]).all()


@pytest.mark.parametrize("precision, status", [(torch.float32, 1), (torch.bfloat16, 0)])
def test_smoke_in_another_precision_is_allowed_the_cap(monkeypatch, precision, status):
    reference = rows("m", [0.8]) + rows("m", [5.0], "all", "effective_rank")
    results.add(reference, results.reference_path("smoke"))
    own = rows("m", [0.71]) + rows("m", [6.4], "all", "effective_rank")
    results.add(own, results.path("smoke"))
    monkeypatch.setattr(check.devices, "precision", lambda device: precision)
    assert check.check("smoke", planned("m", [0])) == status
    results.add(rows("m", [0.69]), results.path("smoke"))
    assert check.check("smoke", planned("m", [0])) == 1  # there is a cap


def test_other_profiles_are_compared_with_their_own_spread(monkeypatch):
    results.add(rows("m", [0.8]), results.reference_path("cpu"))
    results.add(rows("m", [0.76]), results.path("cpu"))
    monkeypatch.setattr(check.devices, "precision", lambda device: torch.bfloat16)
    assert check.check("cpu", planned("m", [0])) == 1
