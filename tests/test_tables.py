"""Tables and claims say what is in the rows: planted values, paired within one machine, by name."""

import numpy as np
import pandas as pd
import pytest

from hmlc_core import METHODS, Settings, files, pretrain
from study import claims, figures, pictures, plan, results, sentences, tables
from study.plan import MNIST

SEEDS = range(3)
OTHERS = dict(seconds=10.0, device="cpu (1 threads)", data_source="somewhere", torch="2.9")
OTHERS |= dict(commit="abc", config_hash="0")
rng = np.random.default_rng(0)


def rows(dataset, method, level, metric, values):
    """Rows over seeds 0, 1, ... of these values."""
    of = dict(dataset=dataset, method=method, level=level, metric=metric) | OTHERS
    return [of | {"seed": seed, "value": value} for seed, value in enumerate(values)]


def accuracies(dataset, methods, levels, metric="linear_accuracy", seeds=SEEDS):
    """Rows of random accuracies of each method and level."""
    made = []
    for method in methods:
        for level in levels:
            made += rows(dataset, method, level, metric, rng.random(len(seeds)))
    return made


def numbers_of(own, reference=()):
    results.add(own, results.path("cpu"))
    results.add(list(reference), results.reference_path("cpu"))
    return tables.read("cpu")


def values(frame, dataset, method, level, metric="linear_accuracy"):
    chosen = (frame.dataset == dataset) & (frame.method == method) & (frame.level == level)
    return frame[chosen & (frame.metric == metric)].set_index("seed").value.sort_index()


def mean_text(part):
    return results.percent(*results.mean_and_interval(part))


def difference_text(a, b):
    return results.percent(*results.mean_and_interval((a - b).dropna()), signed=True)


LEVELS = {"cifar100": ("superclass", "class"), MNIST: ("central", "subsidiary")}
CHOSEN = ("hmce_paper", "hmce_released", "shared", "split", "g_hmlc", "a_hmlc")


@pytest.fixture
def numbers():
    made = []
    for dataset, levels in LEVELS.items():
        for metric in ("linear_accuracy", "knn_accuracy", "embedding_knn_accuracy", "silhouette"):
            made += accuracies(dataset, CHOSEN, levels, metric)
        for metric in ("explained_variance", "effective_rank", "tice", "fpa"):
            made += accuracies(dataset, CHOSEN, ["all"], metric)
    return numbers_of(made)


def test_no_results_are_said_to_be_missing():
    with pytest.raises(RuntimeError, match="no results of profile cpu yet: run notebook 04"):
        tables.read("cpu")


def test_linear_table_has_means_and_paired_differences(numbers):
    table = tables.linear(numbers, "cifar100").set_index("method")
    assert list(table.index) == [METHODS[key].name for key in CHOSEN]
    for key in CHOSEN:
        for level in LEVELS["cifar100"]:
            own, released, shared = (
                values(numbers.rows, "cifar100", k, level) for k in (key, "hmce_released", "shared")
            )
            row = table.loc[METHODS[key].name]
            assert row[f"linear, {level}"] == mean_text(own)
            wanted = "–" if key == "shared" else difference_text(own, shared)
            assert row[f"− shared, {level}"] == wanted
            wanted = "–" if key == "hmce_released" else difference_text(own, released)
            assert row[f"− HMCE (released), {level}"] == wanted


@pytest.mark.parametrize(
    "make, heading, metric, baseline",
    [
        (tables.neighbours, "k-NN, class", "knn_accuracy", None),
        (tables.neighbours, "linear − HMCE (paper), class", "linear_accuracy", "hmce_paper"),
        (tables.against_split, "class", "linear_accuracy", None),
        (tables.against_split, "class − split", "linear_accuracy", "split"),
        (tables.consistency, "TICE", "tice", None),
        (tables.consistency, "FPA − shared", "fpa", "shared"),
    ],
)
def test_other_tables_have_their_metric_and_baseline(numbers, make, heading, metric, baseline):
    level = "all" if metric in ("tice", "fpa") else "class"
    table = make(numbers, "cifar100").set_index("method")
    own = values(numbers.rows, "cifar100", "g_hmlc", level, metric)
    text = mean_text(own)
    if baseline:
        text = difference_text(own, values(numbers.rows, "cifar100", baseline, level, metric))
    assert table.loc["G-HMLC", heading] == text


def test_different_numbers_of_seeds_are_shown():
    made = accuracies("cifar100", ["split"], ["class"], seeds=range(5))
    made += accuracies("cifar100", ["g_hmlc"], ["class"])
    table = tables.linear(numbers_of(made), "cifar100")
    assert table.seeds.to_list() == [5, 3]


def test_what_was_not_run_here_is_recorded_and_never_paired_across():
    own = rows("cifar100", "g_hmlc", "class", "linear_accuracy", [0.5, 0.6])
    reference = rows("cifar100", "g_hmlc", "class", "linear_accuracy", [0.9, 0.9])
    reference += rows("cifar100", "shared", "class", "linear_accuracy", [0.1, 0.2])
    numbers = numbers_of(own, reference)
    assert numbers.recorded == {("cifar100", "shared")}
    table = tables.linear(numbers, "cifar100").set_index("method")
    assert list(table.index) == ["control: shared *(recorded)*", "G-HMLC"]
    assert table.loc["G-HMLC", "linear, class"].startswith("55.0")
    assert table.loc["G-HMLC", "− shared, class"] == "–"
    assert np.isnan(claims.paired(numbers, "g_hmlc", "shared", "cifar100", "class")[0])
    assert "Recorded: commit abc" in tables.about("cpu", tables.rows_of(numbers, ["cifar100"]))


def test_about_says_data_seeds_and_hardware(numbers):
    text = tables.about("cpu", tables.rows_of(numbers, ["cifar100"]))
    assert text == ("CIFAR-100, profile cpu, seeds 0, 1, 2, cpu (1 threads); data: somewhere.")


def labelled(frame):
    """(data set, method, seed) of rows."""
    return set(zip(frame.dataset, frame.method, frame.seed))


def test_rows_of_a_table_are_those_that_it_shows_and_no_others():
    made = accuracies("cifar100", ["g_hmlc", "shared"], ["class"], seeds=[0])
    made += rows("cifar100", "g_hmlc", "all", "masks_of_epoch_1", [0.5, 0.6])
    for label in ("g_hmlc@6", "g_hmlc@6@t0.1", "split@6", "g_hmlc@15"):
        made += rows("cifar100", label, "class", "linear_accuracy", [0.5, 0.6])
    for label in ("split", "split@lr0.1", "split@t0.2", "shared", "shared@t0.2", "a_hmlc_wide"):
        made += rows("cifar100_tuning", label, "class", "linear_accuracy", [0.5, 0.6])
    made += rows("cifar100_tuning", "separability", "class", "linear_accuracy", [0.5])
    made += rows("cifar100_tuning", "sign", "class", "linear_accuracy", [0.5])
    numbers, tuning = numbers_of(made), "cifar100_tuning"
    assert labelled(tables.rows_of(numbers, ["cifar100"])) == {
        ("cifar100", "g_hmlc", 0), ("cifar100", "shared", 0)
    }  # fmt: skip
    cool = {("cifar100", label, seed) for label in ("g_hmlc", "g_hmlc@t0.1") for seed in (0, 1)}
    assert labelled(tables.rows_of_temperatures(numbers, "cifar100")) == cool
    tried = tables.tried_values(numbers, tuning, "learning rate")
    assert labelled(tried) == {(tuning, "split", 0), (tuning, "split@lr0.1", 0)}
    gates = {(tuning, "shared", 0), (tuning, "a_hmlc_wide", 0)}
    assert labelled(tables.rows_of_variants(numbers)) == gates
    ours = {(tuning, "separability", 0), (tuning, "sign", 0)}
    assert labelled(tables.rows_of_ours(numbers, tuning)) == ours


def test_rows_of_the_order_are_of_seeds_with_both_orders():
    made = rows(MNIST, "g_hmlc", "central", "linear_accuracy", [0.5, 0.6, 0.7])
    made += rows(MNIST, "shared", "central", "linear_accuracy", [0.5])
    made += rows(plan.SWAPPED, "g_hmlc", "central", "linear_accuracy", [0.4, 0.5])
    found = labelled(tables.rows_of_order(numbers_of(made)))
    assert found == {(name, "g_hmlc", seed) for name in (MNIST, plan.SWAPPED) for seed in (0, 1)}


def test_about_names_the_commits_and_devices_of_its_rows_alone():
    recorded = rows("cifar100", "g_hmlc", "class", "linear_accuracy", [0.5, 0.6])
    recorded += [row | {"commit": "fff", "device": "other", "metric": "masks_of_epoch_1"}
                 for row in rows("cifar100", "g_hmlc", "class", "", [1.0])]  # fmt: skip
    text = tables.about("cpu", tables.rows_of(numbers_of([], recorded), ["cifar100"]))
    assert "commit abc" in text and "fff" not in text and "other" not in text


def test_published_tables_are_written_with_their_caption(numbers):
    from hmlc_core import files

    table = tables.linear(numbers, "cifar100")
    used = tables.rows_of(numbers, ["cifar100"])
    shown = tables.publish(numbers, table, "t", "Accuracy.", used)
    text = (files.FIGURES / "cpu" / "t.md").read_text()
    assert shown.data == text and text.strip().endswith("data: somewhere.")
    assert "Accuracy. CIFAR-100, profile cpu" in text and "G-HMLC" in text
    assert len(pd.read_csv(files.FIGURES / "cpu" / "t.csv")) == len(table)


def test_what_is_all_recorded_is_said_once_in_a_table():
    from hmlc_core import files

    def text_of(numbers):
        table, used = tables.linear(numbers, "cifar100"), tables.rows_of(numbers, ["cifar100"])
        tables.publish(numbers, table, "t", "Accuracy.", used)
        return (files.FIGURES / "cpu" / "t.md").read_text()

    own = rows("cifar100", "split", "class", "linear_accuracy", [0.5, 0.6])
    other = rows("cifar100", "g_hmlc", "class", "linear_accuracy", [0.5, 0.6])
    text = text_of(numbers_of([], own + other))
    assert "(recorded)" not in text and "All recorded: commit abc" in text
    text = text_of(numbers_of(own, other))
    assert "|G-HMLC *(recorded)*|" in text and "|control: split|" in text
    assert " Recorded: commit abc" in text


def test_variance_table(numbers):
    table = tables.variance(numbers).set_index("method")
    rank = values(numbers.rows, MNIST, "a_hmlc", "all", "effective_rank")
    mean, half = results.mean_and_interval(rank)
    assert table.loc["A-HMLC", "effective rank"] == f"{mean:.1f} ± {half:.1f}"
    share = values(numbers.rows, MNIST, "a_hmlc", "all", "explained_variance")
    assert table.loc["A-HMLC", "variance in 2 components, %"] == mean_text(share)
    less = np.array(share) - values(numbers.rows, MNIST, "hmce_paper", "all", "explained_variance")
    difference = table.loc["A-HMLC", "difference to HMCE (paper), points"]
    assert difference.startswith(results.percent(*results.mean_and_interval(less), signed=True))


def test_order_table_and_claim_take_swapped_minus_given_at_the_same_budget():
    short = "g_hmlc" + tables.tag_of_short("cpu")
    given = rows(MNIST, "g_hmlc", "central", "linear_accuracy", [0.5, 0.6, 0.7, 0.9])
    given += rows(MNIST, short, "central", "linear_accuracy", [0.9, 0.9, 0.9])
    swapped = rows(plan.SWAPPED, "g_hmlc", "central", "linear_accuracy", [0.4, 0.5, 0.6])
    given += rows(MNIST, "split", "central", "linear_accuracy", [0.1, 0.1, 0.1])
    numbers = numbers_of(given + swapped)
    (row,) = tables.order(numbers).to_dict("records")
    assert row["method"] == "G-HMLC"
    assert row["central, as given"].startswith("60.0") and row["central, swapped"][:4] == "50.0"
    (difference,) = claims.swapped_order(numbers).differences
    assert difference.where == "G-HMLC, central" and difference.value == pytest.approx(-0.1)
    assert difference.verdict.startswith("below")


def test_separation_is_of_the_rows_there_are_where_others_are_of_another_machine():
    own = rows(MNIST, "shared", "central", "silhouette", [0.25, 0.35])
    reference = rows(MNIST, "split", "central", "silhouette", [0.1, 0.2, 0.3])
    numbers = numbers_of(own, reference)
    table = tables.separation(numbers, ["shared", "split"])
    texts = [text[:4] for text in table["central, silhouette of z"]]
    assert texts == ["0.30", "0.20"]
    assert table.method.tolist() == ["control: shared", "control: split *(recorded)*"]


def test_separation_and_heads_are_of_the_embedding():
    made = rows(MNIST, "shared", "central", "embedding_knn_accuracy", [0.5, 0.7])
    made += rows(MNIST, "shared", "central", "knn_accuracy", [0.9, 0.9])
    made += rows(MNIST, "shared", "central", "silhouette", [0.25, 0.25])
    made += rows(MNIST, "shared", "all", "effective_rank", [20.0, 30.0])
    made += rows(MNIST, "shared_without_batchnorm", "all", "effective_rank", [2.0, 4.0])
    numbers = numbers_of(made)
    (row,) = tables.separation(numbers, ["shared"]).to_dict("records")
    assert row["central, silhouette of z"] == "0.25 ± 0.00"
    assert row["central, k-NN on z, %"].startswith("60.0 ±")
    first, second = tables.heads(numbers).to_dict("records")
    assert first["k-NN on z, central, %"].startswith("60.0")
    assert (first["effective rank"], second["effective rank"]) == ("25.0", "3.0")
    assert second["projection head"] == "shared without BatchNorm" and second["seeds"] == 2


def test_tails_are_accuracies_of_head_and_tail():
    name, made = f"{MNIST}_tail10", []
    for method, shift in (("split", 0.0), ("g_hmlc", 0.1)):
        for part, value in (("head", 0.8), ("tail", 0.3), ("linear", 0.5)):
            metric, numbers = f"{part}_accuracy", [value + shift, value + shift + 0.01]
            made += rows(name, method, "subsidiary", metric, numbers)
    numbers = numbers_of(made)
    table = tables.tails(numbers, name).set_index("method")
    assert table.loc["G-HMLC", "least frequent"].startswith("40.5")
    assert table.loc["G-HMLC", "least frequent − split"].startswith("+10.0")
    claim = claims.imbalance(numbers, "g_hmlc")
    found = [d.where.removeprefix("long tail 10:1, ") for d in claim.differences]
    assert found == ["most frequent", "least frequent"]
    assert [d.value for d in claim.differences] == pytest.approx([0.1, 0.1])


def test_trees_are_those_with_consistency(numbers):
    assert tables.trees(numbers) == ["cifar100"]


def test_ours_is_compared_with_methods_of_as_many_seeds():
    name = "modelnet10_tuning"
    made = accuracies(name, ["split", "separability"], ["category", "object"])
    made += accuracies(name, ["shared"], ["category"], seeds=range(1))
    numbers = numbers_of(made)
    assert tables.with_ours(numbers) == [name]
    table = tables.ours(numbers, name).set_index("method")
    assert list(table.index) == ["control: split", "ours: separability"]
    split, ours = (values(numbers.rows, name, m, "object") for m in ("split", "separability"))
    assert table.loc["control: split", "object − ours"] == difference_text(split, ours)


def test_claims_of_ours_are_of_both_validation_splits():
    made = accuracies(plan.DIGITS_TUNING, ["split@6@fresh=False", "separability@6@fresh=False"],
                      ["central", "subsidiary"])  # fmt: skip
    made += accuracies("modelnet10_tuning", ["split", "separability"], ["category", "object"])
    numbers = numbers_of(made)
    claim = claims.ours(numbers, "split")
    assert claim.text == "ours: separability above control: split"
    for difference, (dataset, level, tag) in zip(claim.differences, [
        (plan.DIGITS_TUNING, "central", "@6@fresh=False"),
        (plan.DIGITS_TUNING, "subsidiary", "@6@fresh=False"),
        ("modelnet10_tuning", "category", ""), ("modelnet10_tuning", "object", ""),
    ], strict=True):  # fmt: skip
        ours = values(numbers.rows, dataset, f"separability{tag}", level)
        change = ours - values(numbers.rows, dataset, f"split{tag}", level)
        assert difference.value == pytest.approx(change.mean())
        assert difference.where == f"{figures.dataset_name(dataset)}, {level}"
    assert claims.ours(numbers, "sign").differences == []


def test_finding_is_what_masks_add(numbers):
    panels = tables.finding(numbers, ["cifar100"])
    assert list(panels) == ["minus HMCE (released)", "minus control: split"]
    for title, baseline in zip(panels, ("hmce_released", "split")):
        texts = [text for text, *_ in panels[title]]
        assert texts == [
            f"{name}, CIFAR-100, {level}"
            for level in ("superclass", "class")
            for name in ("G-HMLC", "A-HMLC")
        ]
        own = values(numbers.rows, "cifar100", "a_hmlc", "class")
        change = own - values(numbers.rows, "cifar100", baseline, "class")
        assert panels[title][-1][1:] == pytest.approx(results.mean_and_interval(change))


def test_decodings_stand_side_by_side_where_they_were_made():
    name, made = f"{MNIST}_path", rows(f"{MNIST}_path", "split", "all", "tice", [0.1])
    assert tables.decoded(numbers_of(made)) == []
    metrics = ("linear_accuracy", "top_down_accuracy", "coherent_accuracy")
    for value, metric in enumerate((*metrics, "top_down_calibration_error"), 1):
        made += rows(name, "split", "central", metric, [value / 10])
    numbers = numbers_of(made)
    assert tables.decoded(numbers) == [name]
    (row,) = tables.decodings(numbers, name).to_dict("records")
    shown = [row[f"central: {kind}"] for kind in ("alone", "top down", "coherent")]
    assert shown == ["10.0", "20.0", "30.0"] and row["central: calibration error"] == "40.0"


def test_budget_points_are_the_epochs_of_the_names():
    usual = plan.usual_settings("cpu", "cifar100").epochs
    made = rows("cifar100", "g_hmlc", "class", "linear_accuracy", [0.5, 0.6])
    made += rows("cifar100", "g_hmlc@2", "class", "linear_accuracy", [0.2, 0.3])
    made += rows("cifar100", "g_hmlc@lr0.1", "class", "linear_accuracy", [0.9])
    short = "g_hmlc" + tables.tag_of_short("cpu", "cifar100")  # of another temperature
    made += rows("cifar100", short, "class", "linear_accuracy", [0.8])
    made += rows("cifar100", "split", "class", "linear_accuracy", [0.7])
    points = tables.budget_points(numbers_of(made))
    assert sorted(zip(points.method, points.epochs, points.value)) == [
        ("g_hmlc", 2, 0.2),
        ("g_hmlc", 2, 0.3),
        ("g_hmlc", usual, 0.5),
        ("g_hmlc", usual, 0.6),
    ]


def test_tag_of_the_short_budget_is_none_where_it_is_the_usual():
    assert tables.tag_of_short("smoke") == "" and tables.tag_of_short("cpu").startswith("@6")
    assert tables.tag_of_short("cpu", "cifar100") == "@6"


@pytest.mark.parametrize("profile", plan.SEEDS)
def test_levels_as_given_have_the_settings_of_swapped_ones(profile):
    plans = plan.planned_runs(profile, ["order"], MNIST)
    settings = {(one.dataset, one.label): one.settings for one in plans}
    for method in plan.ORDER_METHODS:
        assert settings[MNIST, method] == settings[plan.SWAPPED, method]


def test_rows_without_a_tag_keep_their_others():
    names = ["g_hmlc", "g_hmlc@6", "split@6@t0.1", "sign@60", "rince@lr0.1@6"]
    made = [
        row for name in names for row in rows("cifar100", name, "class", "linear_accuracy", [1])
    ]
    kept = tables.without_tag(pd.DataFrame(made), "@6")
    assert list(kept.method) == ["g_hmlc", "split@t0.1", "rince@lr0.1"]


def test_at_one_rate_are_those_with_its_tag_and_those_that_have_no_other(monkeypatch):
    monkeypatch.setattr(plan, "LEARNING_RATES", {"cpu": {"cifar100": {"g_hmlc": 0.03}}})
    made = {"g_hmlc": 0.1, "g_hmlc@lr0.01": 0.2, "g_hmlc@15": 0.3, "g_hmlc@15@lr0.01": 0.4}
    made |= {"g_hmlc_batch": 0.5, "a_hmlc": 0.6, "a_hmlc@15": 0.7, "a_hmlc@lr0.003": 0.8}
    made = [rows("cifar100", key, "class", "linear_accuracy", [v]) for key, v in made.items()]
    made.append(rows("modelnet10", "a_hmlc", "object", "linear_accuracy", [0.9]))
    numbers = numbers_of(sum(made, [])).at_one_rate("cifar100")
    assert sorted(zip(numbers.rows.value, numbers.rows.method)) == [
        (0.2, "g_hmlc"), (0.4, "g_hmlc@15"), (0.5, "g_hmlc_batch"),
        (0.6, "a_hmlc"), (0.7, "a_hmlc@15"), (0.8, "a_hmlc@lr0.003")]  # fmt: skip
    assert set(numbers.rows.dataset) == {"cifar100"} and isinstance(numbers, tables.Numbers)


@pytest.mark.parametrize("name", ["accuracy_against_epochs_cifar100", "budget_turns_cifar100"])
def test_pictures_of_budgets_are_of_one_rate_where_no_other_has_both(monkeypatch, name):
    assert "g_hmlc" in plan.own_rates("cpu", "cifar100")
    made = []
    for key in ("g_hmlc", "shared"):
        for tag, value in (("", 0.1), ("@lr0.01", 0.3), ("@15@lr0.01", 0.2)):
            made += rows("cifar100", key + tag, "class", "linear_accuracy", [value, value])
    shown = []
    monkeypatch.setattr(figures, "accuracy_against_epochs", lambda points, _: shown.append(points))
    monkeypatch.setattr(figures, "claims_map", lambda columns, _: shown.append(columns))
    pictures.draw(numbers_of(made), name)
    (found,) = shown
    if "turns" in name:
        assert [column for _, column in found] == ["15 (2)", "30 (2)"]
    else:
        means = found[found.method == "g_hmlc"].groupby("epochs").value.mean()
        assert means.to_dict() == pytest.approx({15: 0.2, 30: 0.3})


def test_budget_points_leave_out_runs_on_the_same_composites():
    usual = plan.usual_settings("cpu").epochs
    made = rows(MNIST, "g_hmlc", "central", "linear_accuracy", [0.9])
    made += rows(MNIST, "g_hmlc@10", "central", "linear_accuracy", [0.3])
    made += rows(MNIST, "g_hmlc@6@fresh=False", "central", "linear_accuracy", [0.2])
    points = tables.budget_points(numbers_of(made), MNIST)
    assert sorted(zip(points.epochs, points.value)) == [(10, 0.3), (usual, 0.9)]


def test_rows_with_a_tag_have_it_and_no_other():
    made = [row for name in ("g_hmlc", "split@t0.1", "split@6@t0.1", "sign@t0.2")
            for row in rows("cifar100", name, "class", "linear_accuracy", [0.5])]  # fmt: skip
    frame = pd.DataFrame(made)
    assert list(tables.with_tag(frame, "@t0.1").method) == ["split"]
    assert list(tables.with_tag(frame, "").method) == ["g_hmlc"]


def test_budget_points_are_all_from_one_machine():
    own = rows("cifar100", "g_hmlc", "class", "linear_accuracy", [0.5])
    reference = rows("cifar100", "g_hmlc@2", "class", "linear_accuracy", [0.2])
    reference += rows("cifar100", "split@2", "class", "linear_accuracy", [0.3])
    points = tables.budget_points(numbers_of(own, reference))
    assert sorted(points.value) == [0.2, 0.3]


def test_no_budget_but_the_usual_gives_no_points(numbers):
    assert not len(tables.budget_points(numbers))


@pytest.mark.parametrize("dataset, tag", [("cifar100", "@6"), ("modelnet10", "@6")])
def test_temperatures_are_compared_within_each(dataset, tag):
    made = []
    for behind, shift in (("@t0.1", 0.0), ("", 0.2)):
        for method, value in (("hmce_released", 0.3), ("shared", 0.4), ("g_hmlc", 0.45)):
            numbers = [value + shift, value + shift]
            made += rows(dataset, method + tag + behind, "class", "linear_accuracy", numbers)
            made += rows("cifar100", method, "class", "linear_accuracy", [0.9])  # its own
    table = tables.temperatures(numbers_of(made), dataset)
    usual = tables.common_temperature("cpu", dataset)
    assert set(table.temperature) == {"0.1", f"{usual:g}"} and len(table) == 6
    ours = table[table.method == "G-HMLC"].set_index("temperature")
    assert ours.loc["0.1", "linear, class"].startswith("45.0")
    assert ours.loc[f"{usual:g}", "linear, class"].startswith("65.0")
    for temperature in ours.index:
        assert ours.loc[temperature, "− HMCE (released), class"].startswith("+15.0")
        assert ours.loc[temperature, "− shared, class"].startswith("+5.0")


def test_one_temperature_gives_no_table(numbers):
    assert not len(tables.temperatures(numbers, "cifar100"))


def test_repeats_have_a_column_for_each_state_of_the_code():
    assert not len(tables.repeats("cpu"))
    earlier = [row | {"commit": "old"} for row in
               rows(MNIST, "g_hmlc", "central", "linear_accuracy", [0.1, 0.2])]  # fmt: skip
    label = "g_hmlc" + tables.tag_of_short("cpu")
    last = rows(MNIST, label, "central", "linear_accuracy", [0.3, 0.4, 0.9])
    last += rows(MNIST, "g_hmlc", "central", "linear_accuracy", [0.95, 0.95])
    results.add(earlier, results.reference_path("cpu_repeats"))
    results.add(last, results.reference_path("cpu"))
    (row,) = tables.repeats("cpu").to_dict("records")
    assert row["central, old"].startswith("15.0") and row["central, abc"].startswith("35.0")


def test_trials_are_of_the_values_tried():
    name, made = "cifar100_tuning", []
    for label, value in (("g_hmlc", 0.2), ("g_hmlc@lr0.003", 0.1), ("g_hmlc@t0.4", 0.7)):
        made += rows(name, label, "class", "linear_accuracy", [value, 0.99])
    made += rows(name, "split", "class", "linear_accuracy", [0.5])
    numbers = numbers_of(made)
    rate = plan.usual_settings("cpu", name).learning_rate
    by_rate = tables.table_of_trials(tables.tried_values(numbers, name, "learning rate"))
    (row,) = by_rate.to_dict("records")
    assert (row["data set"], row["method"]) == ("CIFAR-100", "G-HMLC")
    assert row["class, 0.003"] == "10.0"
    assert row[f"class, {rate:g}"] == "20.0"
    by_temperature = tables.tried_values(numbers, name, "temperature")
    table = tables.table_of_trials(by_temperature)
    assert table.loc[0, "class, 0.4"] == "70.0"
    assert table.loc[0, f"class, {plan.START_TEMPERATURE:g}"] == "20.0"
    assert tables.means_tried(by_temperature) == "20.0 at 0.1, 70.0 at 0.4"


def test_nothing_tried_gives_no_table(numbers):
    for setting in tables.TRIED:
        found = tables.tried_values(numbers, "cifar100_tuning", setting)
        assert not len(tables.table_of_trials(found))
        assert tables.means_tried(found) == ""
    assert tables.rates_tried(numbers, "cifar100_tuning").empty
    assert not len(tables.variants(numbers))


def test_rates_are_those_tried_at_each_methods_own_temperature():
    """A trial of another temperature, of a short budget, or alone is none of them."""
    name = "modelnet10_tuning"
    own = plan.usual_settings("cpu", "modelnet10", "g_hmlc").temperature
    assert own != plan.START_TEMPERATURE
    values = {f"g_hmlc@8@t{own:g}": 0.3, f"g_hmlc@8@lr0.003@t{own:g}": 0.4, "g_hmlc@lr0.03": 0.9}
    values |= {"g_hmlc@8": 0.8, "cross_entropy@8": 0.5, "cross_entropy@8@lr0.03": 0.6}
    values |= {"split@8@lr0.03@t0.2": 0.7}
    made = [rows(name, label, "object", "linear_accuracy", [v]) for label, v in values.items()]
    numbers = numbers_of(sum(made, []))
    found = tables.rates_tried(numbers, name)
    pairs = {(key, rate): v for key, rate, v in zip(found.key, found.tried, found.value)}
    assert pairs == {("g_hmlc", 0.01): 0.3, ("g_hmlc", 0.003): 0.4} | {
        ("cross_entropy", 0.01): 0.5, ("cross_entropy", 0.03): 0.6}  # fmt: skip
    assert sentences.best_rates(numbers, name) == "0.003 for G-HMLC; 0.03 for cross-entropy"
    assert sentences.best_rates(numbers, "cifar100_tuning") == ""


def test_what_predictions_make_of_a_tree_has_the_columns_that_there_are():
    made = rows("grocery", "g_hmlc", "kind", "linear_accuracy", [0.5])
    made += rows("grocery", "g_hmlc", "kind", "accuracy_of_families_2_to_4", [0.75])
    (row,) = tables.decodings(numbers_of(made), "grocery").to_dict("records")
    texts = {"kind: alone": "50.0", "kind, 2 to 4 of a parent": "75.0"}
    assert row == {"method": "G-HMLC"} | texts
    made += rows("grocery", "g_hmlc", "kind", "top_down_calibration_error", [0.125])
    (row,) = tables.decodings(numbers_of(made), "grocery").to_dict("records")
    assert row["kind: calibration error"] == "12.5" and len(row) == 4


def test_variants_are_beside_what_they_vary():
    made = rows("cifar100_tuning", "a_hmlc_sharp", "class", "linear_accuracy", [0.1])
    made += rows("cifar100_tuning", "a_hmlc", "class", "linear_accuracy", [0.3])
    made += rows("cifar100_tuning", "split", "class", "linear_accuracy", [0.9])
    table = tables.variants(numbers_of(made))
    shown = dict(zip(table.method, table["class"]))
    assert shown == {"A-HMLC": "30.0", figures.method_name("a_hmlc_sharp"): "10.0"}


def test_verdicts_are_of_the_differences_shown(numbers):
    table = tables.verdicts(numbers).set_index(["data set", "level", "method"])
    assert not any("HMCE" in method for _, _, method in table.index)
    own = values(numbers.rows, "cifar100", "g_hmlc", "class")
    for key in ("hmce_paper", "hmce_released", "shared", "split"):
        change = own - values(numbers.rows, "cifar100", key, "class")
        text = results.verdict(*results.mean_and_interval(change))
        assert table.loc[("CIFAR-100", "class", "G-HMLC"), f"against {METHODS[key].name}"] == text
    assert table.loc[("CIFAR-100", "class", "control: split"), "against control: split"] == "–"


def test_times_are_medians_on_each_device():
    made = rows(MNIST, "g_hmlc", "central", "linear_accuracy", [0.1, 0.2, 0.3, 0.4])
    made = [row | {"seconds": seconds} for row, seconds in zip(made, (10.0, 20.0, 90.0, 500.0))]
    made[3] |= {"device": "slow"}
    table = tables.times(numbers_of(made)).set_index("device")
    times = table["median training time, s"].to_dict()
    assert times == {"cpu (1 threads)": "20", "slow": "500"} and table.runs.tolist() == [3, 1]


def test_bits_are_means_by_part_and_labels():
    made = []
    for part, level, value in (("central", "central", 3.0), ("central", "subsidiary", 0.5),
                               ("subsidiary", "subsidiary", 2.0)):  # fmt: skip
        made += rows(MNIST, "g_hmlc", level, f"bits_of_part_{part}", [value, value + 0.2])
    parts = tables.bits(numbers_of(made), MNIST)
    assert list(parts) == ["G-HMLC"]
    table = parts["G-HMLC"]
    assert list(table.index) == list(table.columns) == ["central", "subsidiary"]
    assert table.loc["central", "subsidiary"] == pytest.approx(0.6)
    assert np.isnan(table.loc["subsidiary", "central"])
    assert tables.bits(numbers_of([]), "cifar100") == {}


def test_agreement_and_posteriors_are_means_over_seeds():
    made = rows(MNIST, "a_hmlc", "all", "mask_agreement_both", [0.4, 0.6])
    for k, value in enumerate((0.1, 0.9), 1):
        made += rows(MNIST, "a_hmlc", "all", f"levels_posterior_{k}", [value, value])
        made += rows(MNIST, "split", "all", f"levels_posterior_{k}", [value, value])
    numbers = numbers_of(made)
    table = tables.mask_agreement(numbers)
    assert table.loc[("Hierarchical MNIST", "A-HMLC"), "both levels"] == 0.5
    posteriors = tables.level_posteriors(numbers)
    assert list(posteriors) == [(MNIST, "a_hmlc")]
    assert posteriors[MNIST, "a_hmlc"] == pytest.approx([0.1, 0.9])


def test_table_of_methods_says_where_masks_come_from():
    table = tables.methods(list(METHODS)).set_index("method")
    assert list(table.index) == [method.name for method in METHODS.values()]
    assert table.loc["G-HMLC", "masks"] == "gmm_masks"
    assert table.loc["G-HMLC (batch)", "masks"] == "gmm_masks(scope='batch')"
    assert table.loc["A-HMLC", "masks"] == "AttentionMasks"
    assert table.loc["SupCon (finest level)", "masks"] == "–"
    assert (table.kind == [method.kind for method in METHODS.values()]).all()
    assert (table.source == [method.source for method in METHODS.values()]).all()


def test_accuracies_are_texts_by_method_and_level(numbers):
    summary = numbers.summary()
    table = tables.accuracies(summary[summary.dataset == MNIST], ["central", "subsidiary"])
    assert list(table.index) == [METHODS[key].name for key in CHOSEN]
    own = values(numbers.rows, MNIST, "split", "subsidiary")
    assert table.loc["control: split", "subsidiary"] == mean_text(own)


def test_views_left_out_are_shares_of_all_seen(dataset, tmp_path):
    settings = Settings(canvas=24, dim=16, epochs=2, batch_size=32)
    run = pretrain(dataset, "split", settings, folder=tmp_path, device="cpu", progress=False)
    run.history = [record | {"unseen central": 0, "unseen subsidiary": 0} for record in run.history]
    assert not len(tables.left_out([run]))
    run.history[1]["unseen subsidiary"] = 48  # of 2 epochs x 3 batches x 32 samples x 2 views
    (row,) = tables.left_out([run]).to_dict("records")
    assert row["method"] == "control: split" and row["seed"] == 0
    assert (row["central"], row["subsidiary"]) == ("0.00 %", "12.50 %")


def test_claim_is_the_paired_difference_at_each_place(numbers):
    claim = claims.compare(numbers, "g_hmlc", "split", claims.tested(numbers))
    assert (claim.text, claim.title) == ("G-HMLC above control: split", "G-HMLC − control: split")
    assert [d.where for d in claim.differences] == [
        "CIFAR-100, superclass",
        "CIFAR-100, class",
        "Hierarchical MNIST, central",
        "Hierarchical MNIST, subsidiary",
    ]
    ours, theirs = (values(numbers.rows, "cifar100", m, "class") for m in ("g_hmlc", "split"))
    assert claim.differences[1][1:] == pytest.approx(results.mean_and_interval(ours - theirs))


def test_pairs_are_of_the_same_seed():
    made = rows("cifar100", "g_hmlc", "class", "linear_accuracy", [0.5, 0.1, 0.9])
    made += rows("cifar100", "split", "class", "linear_accuracy", [0.4, 0.0])
    value, half = claims.paired(numbers_of(made), "g_hmlc", "split", "cifar100", "class")
    assert value == pytest.approx(0.1) and half == pytest.approx(0, abs=1e-9)


def test_verdict_counts_places():
    below, above = claims.Difference("a", -0.1, 0.02), claims.Difference("b", 0.1, 0.02)
    unclear = claims.Difference("c", 0.01, 0.02)
    claim = claims.Claim("x above y", "x − y", [below, above, above, unclear])
    assert claim.verdict() == "x above y: above in 2, below in 1, undecided in 1 of 4 comparisons."
    empty = claims.Claim("x above y", "x − y", [])
    assert empty.verdict().startswith("x above y: not run")


def test_recorded_places_have_a_star():
    reference = accuracies("cifar100", ["g_hmlc", "split"], ["class"])
    numbers = numbers_of([], reference)
    (difference,) = claims.compare(numbers, "g_hmlc", "split", claims.tested(numbers)).differences
    assert difference.where == "CIFAR-100, class *"


def test_variance_claims_by_both_readings(numbers):
    dim = plan.usual_settings("cpu").dim
    for metric, scale in (("explained_variance", 1), ("effective_rank", 1 / dim)):
        made = claims.variance(numbers, metric, "variance")
        assert [claim.text for claim in made] == [
            f"variance: {a} above {b}"
            for a in ("G-HMLC", "A-HMLC")
            for b in ("HMCE (paper)", "HMCE (released)")
        ]
        ours, theirs = (
            values(numbers.rows, MNIST, m, "all", metric) for m in ("a_hmlc", "hmce_released")
        )
        mean, half = results.mean_and_interval(ours - theirs)
        last = made[-1].differences[-1]
        assert last.where == "Hierarchical MNIST"
        assert (last.value, last.half_width) == pytest.approx((scale * mean, scale * half))


def test_shown_claims_are_drawn_told_and_tabled(numbers, capsys):
    from hmlc_core import files

    places = claims.tested(numbers, ["cifar100"])
    told = [claims.compare(numbers, "g_hmlc", b, places) for b in ("split", "shared", "rince")]
    figure = claims.show(told, "claim_x", "cpu")
    assert (files.FIGURES / "cpu" / "claim_x.png").exists()
    assert capsys.readouterr().out.splitlines() == [claim.verdict() for claim in told]
    assert [axis.get_title() for axis in figure.axes] == [claim.title for claim in told[:2]]
    for axis, claim in zip(figure.axes, told):
        drawn = [container[0].get_xdata()[0] for container in axis.containers]
        assert drawn == pytest.approx([100 * d.value for d in claim.differences])
    table = claims.table(told)
    assert table.to_numpy().tolist() == [
        [claim.text, d.where, d.verdict] for claim in told for d in claim.differences
    ]
    assert claims.show(told[2:], "claim_y", "cpu") is None


def test_the_overview_has_the_difference_of_each_claim_over_the_seeds_of_both():
    made = accuracies(MNIST, CHOSEN, LEVELS[MNIST])
    made += accuracies("cifar100", CHOSEN, ["class"], seeds=[0])
    more = rows(MNIST, "g_hmlc", "central", "linear_accuracy", [0.5])
    columns = claims.overview(numbers_of(made + [row | {"seed": 99} for row in more]))
    seeds = len({row["seed"] for row in made})
    mnist, cifar = f"Hierarchical MNIST, {seeds} seeds", "CIFAR-100, one seed"
    assert list(columns) == [(cifar, "class"), *((mnist, level) for level in LEVELS[MNIST])]
    frame = pd.DataFrame(made)
    for (name, level), differences in columns.items():
        dataset = MNIST if name == mnist else "cifar100"
        for difference, (_text, a, b) in zip(differences, claims.OVERVIEW, strict=True):
            pair = (values(frame, dataset, key, level) for key in (a, b))
            expected = results.mean_and_interval(np.subtract(*pair))
            ends = difference.value, difference.half_width
            assert ends == pytest.approx(expected, nan_ok=True)


def test_the_number_of_seeds_of_a_place_is_told_as_a_range_where_claims_differ():
    made = accuracies(MNIST, CHOSEN, ["central"])
    seeds = sorted({row["seed"] for row in made})
    made = [row for row in made if row["method"] != "split" or row["seed"] == seeds[0]]
    ((name, _),) = claims.overview(numbers_of(made))
    assert name == f"Hierarchical MNIST, 1 to {len(seeds)} seeds"


def test_long_tables_are_folded(numbers):
    short = pd.DataFrame({"a": range(tables.MOST_ROWS)})
    assert "<details>" not in tables.publish(numbers, short, "short", "of it").data
    long = pd.DataFrame({"a": range(tables.MOST_ROWS + 1)})
    shown = tables.publish(numbers, long, "long", "of it").data
    assert shown.startswith(f"<details><summary>{len(long)} rows</summary>\n\n|")
    assert "<details>" not in (files.FIGURES / numbers.profile / "long.md").read_text()


def test_a_difference_to_what_was_not_run_is_no_column():
    made = accuracies("cifar100", CHOSEN, ["class"])
    without = [row for row in made if row["method"] != "hmce_paper"]
    found = tables.neighbours(numbers_of(without), "cifar100")
    assert len(found) and not any("HMCE (paper)" in column for column in found)
    assert any("HMCE (paper)" in c for c in tables.neighbours(numbers_of(made), "cifar100"))


def test_every_claim_stands_under_a_heading():
    texts = claims.headed()
    assert sum(texts.values(), []) == [text for text, _, _ in claims.OVERVIEW]
    assert texts["What the paper claims"][-1] == "A-HMLC above G-HMLC"


def test_claims_by_temperature_are_within_each():
    keys = [key + t for t in ("@6", "@6@t0.1", "") for key in CHOSEN]
    made = accuracies("cifar100", keys, ["class"])
    columns = claims.by_temperature(numbers_of(made))
    assert list(columns) == [
        (f"CIFAR-100, temperature {value}, {len({row['seed'] for row in made})} seeds", "class")
        for value in (0.4, 0.1)
    ]
    frame = pd.DataFrame(made)
    for tag, differences in zip(("@6", "@6@t0.1"), columns.values()):
        pair = (values(frame, "cifar100", key + tag, "class") for key in ("a_hmlc", "g_hmlc"))
        assert differences[2].value == pytest.approx(np.subtract(*pair).mean())


def test_a_fuller_reference_stands_for_a_whole_data_set_so_that_pairs_hold():
    own = accuracies("cifar100", CHOSEN, ["class"], seeds=[0])
    reference = accuracies("cifar100", CHOSEN, ["class"], seeds=[0])
    reference += rows("cifar100", "g_hmlc", "class", "linear_accuracy", [0.1, 0.2])
    reference += accuracies(MNIST, ["split"], ["central"])
    numbers = numbers_of(own + accuracies(MNIST, ["split", "shared"], ["central"]), reference)
    part = numbers.rows[numbers.rows.dataset == "cifar100"]
    assert part.recorded.all() and part[part.method == "g_hmlc"].value.tolist() == [0.1, 0.2]
    value, _ = claims.paired(numbers, "g_hmlc", "hmce_released", "cifar100", "class")
    theirs = values(pd.DataFrame(reference), "cifar100", "hmce_released", "class")
    assert value == pytest.approx(0.1 - theirs[0])
    assert not numbers.rows[numbers.rows.dataset == MNIST].recorded.any()  # equally many: our own


@pytest.mark.parametrize("numbers, text", [([5, 5], "5"), ([8, 3, 10], "3 to 10"), ([], "0")])
def test_a_span_is_of_the_least_and_the_most(numbers, text):
    assert tables.span(numbers) == tables.span(pd.Series(numbers, dtype=int)) == text
    assert tables.span([3, 10], sentences.count) == "three to ten"
