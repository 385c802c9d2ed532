"""Tidy results: added whole, replaced by key, summarised with intervals, published."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from hmlc_core import files
from study import results


def rows(method, values, level="a", metric="linear_accuracy", dataset="d", **more):
    return [
        dict.fromkeys(results.COLUMNS, "x")
        | dict(
            dataset=dataset,
            method=method,
            level=level,
            metric=metric,
            seed=seed,
            value=value,
            seconds=1.0,
        )
        | more
        for seed, value in enumerate(values)
    ]


def test_rows_are_replaced_by_key(tmp_path):
    where = tmp_path / "deep" / "r.csv"
    results.add(rows("m", [0.1, 0.2]), where)
    results.add(rows("m", [0.5]) + rows("n", [0.3]), where)
    frame = results.read(where)
    assert list(frame.columns) == results.COLUMNS
    assert frame.set_index(["method", "seed"]).value.to_dict() == {
        ("m", 0): 0.5,
        ("m", 1): 0.2,
        ("n", 0): 0.3,
    }


def test_foreign_csv_is_named(tmp_path):
    (tmp_path / "r.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match="r.csv has columns"):
        results.read(tmp_path / "r.csv")


GOOD = "d,m,l,linear_accuracy,0,0.5,1.0,cpu,s,2,c,h\n"


@pytest.mark.parametrize(
    "damaged",
    [
        "d,m,l,linear_acc",  # a copy that was cut off
        GOOD.replace(",0,0.5", ",1,0.5")[:-3],
        GOOD.replace("0.5", "0.21107").rpartition("107")[0],
        GOOD.rstrip("\n").replace(",0,0.5", ",1,0.5"),  # whole, or a half hash: nobody knows
        GOOD.replace("0.5", "abc"),
        GOOD.replace(",0,0.5", ",,0.5"),
        GOOD.replace("h\n", "h,more\n"),
        "<<<<<<< HEAD\n",
        'd,m,l,linear_accuracy,1,0.5,1.0,cpu,"{train, te\n' + GOOD,  # cut in a quoted field
    ],
)
def test_a_damaged_line_is_named_and_nothing_is_read_or_replaced(tmp_path, damaged):
    where = tmp_path / "r.csv"
    text = ",".join(results.COLUMNS) + "\n" + GOOD + damaged
    where.write_text(text)
    for use in (results.read, lambda path: results.add([], path)):
        with pytest.raises(ValueError, match=r"r.csv, line 3: .* Delete this line alone and run"):
            use(where)
    assert where.read_text() == text
    where.write_text(text.removesuffix(damaged) + "\n")
    assert results.read(where).value.tolist() == [0.5]


def test_what_is_no_text_is_named(tmp_path):
    (tmp_path / "r.csv").write_bytes(b"\xff\xfe\x00")
    for where in (tmp_path, tmp_path / "r.csv"):
        with pytest.raises(ValueError, match=rf"{where} cannot be read .* move it away"):
            results.read(where)
    (tmp_path / "r.csv").write_text("")
    with pytest.raises(ValueError, match=r"r.csv has columns \[\], not .* delete it and run again"):
        results.read(tmp_path / "r.csv")


def test_interval_is_student_t():
    mean, half = results.mean_and_interval([1.0, 2.0, 3.0])
    assert (mean, half) == pytest.approx((2.0, 4.302653 / np.sqrt(3)), rel=1e-5)
    assert np.isnan(results.mean_and_interval([1.0])[1])


def test_differences_are_paired_by_seed():
    frame = pd.DataFrame(
        rows("hmce_paper", [0.1, 0.5, 0.9]) + rows("g_hmlc", [0.2, 0.6, 1.0]) + rows("late", [0.2])
    )
    table = results.summary(frame).set_index("method")
    assert table.difference["g_hmlc"] == pytest.approx(0.1)
    assert table.difference_half_width["g_hmlc"] == pytest.approx(0, abs=1e-12)
    assert table.half_width["g_hmlc"] > 0.5
    assert table.seeds.to_dict() == {"hmce_paper": 3, "g_hmlc": 3, "late": 1}
    assert np.isnan(table.difference["hmce_paper"]) and table.difference["late"] == pytest.approx(
        0.1
    )


def test_missing_methods_come_from_the_reference_and_say_so():
    results.add(rows("g_hmlc", [0.1]), results.path("cpu"))
    results.add(rows("g_hmlc", [0.7]) + rows("sign", [0.2]), results.reference_path("cpu"))
    frame = results.read_with_reference("cpu").set_index("method")
    assert frame.value.to_dict() == {"g_hmlc": 0.1, "sign": 0.2}
    assert frame.recorded.to_dict() == {"g_hmlc": False, "sign": True}


def test_methods_that_only_this_machine_has_stay_where_the_reference_is_fuller():
    own = pd.DataFrame(rows("g_hmlc", [0.1]) + rows("mine", [0.3]))
    frame = results.fill(own, pd.DataFrame(rows("g_hmlc", [0.7, 0.8, 0.9])))
    assert frame.groupby("method").value.agg(list).to_dict() == {
        "g_hmlc": [0.7, 0.8, 0.9], "mine": [0.3],
    }  # fmt: skip
    assert frame.recorded.tolist() == (frame.method == "g_hmlc").tolist()
    own = pd.DataFrame(rows("g_hmlc", [0.1]) + rows("sign", [0.3, 0.4]))  # more of one
    frame = results.fill(own, pd.DataFrame(rows("g_hmlc", [0.7, 0.8]) + rows("sign", [0.5])))
    assert not frame.recorded.any()


def test_rows_of_other_settings_are_dropped(tmp_path):
    where = tmp_path / "r.csv"
    results.add(
        rows("m", [0.1, 0.2, 0.3], config_hash="old") + rows("n", [0.1], config_hash="kept"), where
    )
    results.add(
        rows("m", [0.5], config_hash="new"),
        where,
        current={"d": {("m", "new"), ("n", "kept"), ("m@lr0.01", "old")}, "other": set()},
    )  # what was "m" is planned under another name now
    assert results.read(where).set_index("method").value.to_dict() == {"m": 0.5, "n": 0.1}


def test_recorded_methods_are_paired_with_the_recorded_baseline():
    results.add(rows("hmce_paper", [0.1, 0.1]) + rows("g_hmlc", [0.2, 0.2]), results.path("cpu"))
    results.add(
        rows("hmce_paper", [0.5, 0.5]) + rows("sign", [0.9, 0.9]), results.reference_path("cpu")
    )
    table = results.summary_with_reference("cpu").set_index("method")
    assert table.difference["sign"] == pytest.approx(0.4) and table.recorded["sign"]
    assert table.difference["g_hmlc"] == pytest.approx(0.1) and not table.recorded["g_hmlc"]


def test_rows_kept_with_a_run_have_its_present_label(tmp_path):
    run = SimpleNamespace(folder=tmp_path, label="m")
    assert results.cached_rows(run, "a.csv", lambda: rows("m", [0.5]))[0]["method"] == "m"
    run.label = "m@t0.1"
    assert results.cached_rows(run, "a.csv", None)[0]["method"] == "m@t0.1"


@pytest.mark.parametrize("name", ["NA", "None", "null", "nan", "N/A"])
def test_words_for_nothing_are_names(name):
    made = [row | {"dataset": name, "level": name} for row in rows("m", [0.5, np.nan])]
    results.add(made, results.path("cpu"))
    read = results.read(results.path("cpu"))
    assert set(read.dataset) == set(read.level) == {name}
    assert read.value.isna().tolist() == [False, True] and read.value.dtype == float


def test_the_reference_lies_with_the_code_wherever_the_work_lies(monkeypatch, tmp_path):
    monkeypatch.setattr(files, "WORK", tmp_path)
    monkeypatch.setattr(files, "DATA", tmp_path / "data")
    assert results.reference_path("cpu") == files.CODE / "data" / "reference" / "cpu.csv"
    assert results.path("cpu") == tmp_path / "data" / "results" / "cpu.csv"


def test_only_results_of_committed_code_become_a_reference():
    results.add(rows("m", [0.1, 0.2], commit="abc123"), results.path("smoke"))
    results.adopt("smoke", [0])
    assert results.read(results.reference_path("smoke")).value.tolist() == [0.1]
    for commit in ("abc123+", "unknown"):
        results.add(rows("m", [0.1], commit=commit), results.path("smoke"))
        with pytest.raises(ValueError, match="commit it"):
            results.adopt("smoke", [0])


def test_numbers_of_files_stay_texts(tmp_path):
    results.add(rows("m", [0.1], commit="0123456789", config_hash="12e4"), tmp_path / "r.csv")
    frame = results.read(tmp_path / "r.csv")
    assert (frame.commit[0], frame.config_hash[0]) == ("0123456789", "12e4")


@pytest.mark.parametrize("values, half_width", [([], np.nan), ([0.3], np.nan)])
def test_interval_of_few_values(values, half_width):
    mean, half = results.mean_and_interval(values)
    assert np.isnan(half) and (np.isnan(mean) if not values else mean == 0.3)


def test_verdicts_are_a_word_and_its_numbers():
    assert results.verdict(0.04, 0.012) == "above (+4.0 ± 1.2)"
    assert results.verdict(-0.04, 0.012) == "below (-4.0 ± 1.2)"
    assert results.verdict(0.004, 0.012) == "undecided (+0.4 ± 1.2)"
    assert results.verdict(0.04, np.nan) == "undecided (+4.0; one seed, which decides nothing)"
    assert results.direction(0.012, 0.012) == "undecided"


def test_published_tables_are_csv_and_markdown():
    table = pd.DataFrame({"a": ["1.10"], "b": ["x ± y"]})
    text = results.publish(table, "t", "About.", "cpu")
    assert text == "|a|b|\n|:--|:--|\n|1.10|x ± y|\n\nAbout.\n"
    folder = files.FIGURES / "cpu"
    assert (folder / "t.md").read_text() == text and (folder / "t.csv").read_text().startswith(
        "a,b"
    )


def test_provenance_names_versions_commit_and_device(capsys):
    results.provenance()
    said = capsys.readouterr().out
    assert f"commit {files.commit()}" in said and "torch 2." in said and "wall time" in said


def test_texts():
    assert results.percent(0.8123, 0.0134) == "81.2 ± 1.3"
    assert results.percent(0.04, np.nan, True) == "+4.0"
    assert results.percent(-0.0004, signed=True) == "0.0" and results.percent(-0.0004) == "0.0"
    assert results.percent(np.nan) == "–"
