"""The plan of the study: which runs, with which settings, under which names."""

from dataclasses import replace

import pandas as pd
import pytest
from conftest import ROOT

from hmlc_core import METHODS, PRESETS, Settings, preset
from study import options, plan, results

# Runs of a profile with one extra alone; "" without any, "all" with all.
COUNTS = {
    "smoke": {
        "": 6,
        "baselines": 18,
        "early": 42,
        "order": 15,
        "peers": 16,
        "ablation": 38,
        "seeds": 80,
        "cifar100": 16,
        "modelnet10": 26,
        "modelnet40": 26,
        "grocery": 106,
        "scratch": 6,
        "budget": 77,
        "temperature": 42,
        "claims": 54,
        "tuning": 282,
        "variants": 9,
        "ours": 39,
        "all": 1151,
    },
    "cpu": {
        "": 6,
        "baselines": 24,
        "early": 60,
        "order": 21,
        "peers": 21,
        "ablation": 43,
        "seeds": 80,
        "cifar100": 16,
        "modelnet10": 36,
        "modelnet40": 36,
        "grocery": 116,
        "scratch": 23,
        "budget": 147,
        "temperature": 60,
        "claims": 78,
        "tuning": 282,
        "variants": 9,
        "ours": 51,
        "all": 1440,
    },
}
COUNTS["paper"] = COUNTS["cpu"] | {"all": 1350}
COUNTS["gpu"] = COUNTS["cpu"] | {
    "baselines": 12, "early": 24, "order": 9, "peers": 11, "ablation": 33, "modelnet10": 16,
    "modelnet40": 16, "budget": 147, "temperature": 24, "claims": 30, "ours": 27, "all": 1170,
}  # fmt: skip


@pytest.mark.parametrize("profile", plan.SEEDS)
def test_number_of_runs(profile):
    extras = {"": [], "all": options.EXTRAS} | {name: [name] for name in options.EXTRAS}
    planned = {name: len(plan.planned_runs(profile, chosen)) for name, chosen in extras.items()}
    assert planned == COUNTS[profile]


@pytest.mark.parametrize("profile", plan.SEEDS)
def test_runs_are_told_apart_and_every_one_belongs_to_a_notebook(profile):
    plans = plan.planned_runs(profile, options.EXTRAS)
    names = [(one.dataset, one.label, one.seed) for one in plans]
    assert len(set(names)) == len(names)
    parts = [plan.planned_runs(profile, options.EXTRAS, d) for d in plan.BY_NOTEBOOK]
    assert all(parts) and sum(map(len, parts)) == len(plans)
    assert [one.seed for one in plans] == sorted(one.seed for one in plans)


def test_what_is_named_exists():
    plans = plan.planned_runs("cpu", options.EXTRAS)
    assert {one.method for one in plans} <= set(METHODS)
    assert set(options.PROFILES) == set(PRESETS) == set(plan.SEEDS) == set(plan.TSNE_SIZE)
    assert {name for group in plan.GROUPS for name in group.needs} == set(options.EXTRAS)


def test_the_default_run_has_the_main_methods_alone():
    for profile in plan.SEEDS:
        plans = plan.planned_runs(profile)
        assert {one.label for one in plans} == set(plan.MAIN)
        assert {one.dataset for one in plans} == {plan.MNIST}
        own = plan.TEMPERATURES.get(profile, {}).get(plan.MNIST, {})
        for one in plans:
            temperature = own.get(one.method, preset(profile).temperature)
            assert one.settings == replace(preset(profile), temperature=temperature)


def test_the_short_budget_has_one_temperature_and_one_name():
    plans = plan.planned_runs("cpu", ["early"], plan.MNIST)
    short = [one for one in plans if one.label.endswith("@6@fresh=False")]
    assert {"shared", "g_hmlc", "hmce_released"} <= {one.method for one in short}
    assert {one.settings for one in short if "batchnorm" not in one.label} == {Settings()}
    assert plan.usual_settings("cpu", plan.MNIST, "hmce_paper").temperature == 0.2
    plans = plan.planned_runs("cpu", ["early", "cifar100", "temperature"], "cifar100")
    short = {one.label: one.settings for one in plans if one.method == "shared"}
    assert [short[f"shared@6{tag}"].temperature for tag in ("", "@t0.1")] == [0.4, 0.1]
    assert {short[f"shared@6{tag}"].epochs for tag in ("", "@t0.1")} == {6}
    plans = plan.planned_runs("cpu", ["early", "modelnet10", "temperature"], "modelnet10")
    short = {one.label: one.settings for one in plans if one.settings.epochs == 6}
    assert {"g_hmlc@6", "shared@6", "g_hmlc@6@t0.1"} <= set(short)
    assert {one.learning_rate for one in short.values()} == {0.01}
    for profile in ("gpu", "paper"):  # that of each, not the small nets'
        plans = plan.planned_runs(profile, ["early", "modelnet10"], "modelnet10")
        rates = {one.settings.learning_rate for one in plans}
        assert rates == {preset(profile, "modelnet").learning_rate} != {0.01}


def test_trials_of_more_epochs_are_not_taken_for_the_short_budget():
    """Its runs have its temperature without saying so; those of trials have that of trials."""
    for name in plan.TUNING:
        epochs = plan.LONGER[name](plan.usual_settings("cpu", name).epochs)
        assert epochs != plan.SHORT[plan.variant_of(name)]["epochs"]
        tag = f"@{epochs}"
        plans = plan.planned_runs("cpu", ["tuning"], plan.variant_of(name))
        tried = {one.label: one.settings.temperature for one in plans if one.method == "shared"
                 and one.settings.epochs == epochs and "@lr" not in one.label}  # fmt: skip
        assert tried == {f"shared{tag}": 0.1, f"shared{tag}@t0.2": 0.2, f"shared{tag}@t0.4": 0.4}


@pytest.mark.parametrize("name", ["cifar100", "modelnet10"])
def test_every_method_has_the_same_trials_of_learning_rate_at_its_own_temperature(name):
    trials, usual = f"{name}_tuning", plan.usual_settings
    epochs = plan.LONGER[trials](usual("cpu", trials).epochs)
    plans = plan.planned_runs("cpu", ["tuning"], name)
    plans = [one for one in plans if one.dataset == trials and one.settings.epochs == epochs]
    for method in plan.RATED[trials]:
        own = usual("cpu", name, method).temperature if method != "cross_entropy" else 0.1
        rates = [one.settings.learning_rate for one in plans if one.method == method
                 and one.settings.temperature == own]  # fmt: skip
        assert sorted(rates) == [0.003, 0.01, 0.03], method


def test_unknown_extra_is_named():
    with pytest.raises(ValueError, match="unknown extra cifar: choose from baselines"):
        plan.planned_runs("cpu", ["cifar"])
    with pytest.raises(ValueError, match="no run of cifar100 is asked for: put 'cifar100' into"):
        plan.planned_runs("cpu", ["early"], "cifar100")


def test_changes_are_values_or_functions_of_the_usual():
    changes = (
        {},
        *plan.each("epochs", map(plan.times, (1 / 4, 1, 4))),
        *plan.each("learning_rate", [plan.times(0.3)]),
        {"fresh": not preset("cpu").fresh, "batch_size": 32},
    )
    group = plan.Group((), (plan.MNIST,), ("split",), changes, seeds=5)
    made = plan.expand(group, "cpu")
    usual = preset("cpu")
    few, many = round(usual.epochs / 4), 4 * usual.epochs
    labels = [one.label for one in made if one.seed == 4]
    assert labels == [
        "split",
        f"split@{few}",
        f"split@{many}",  # times 1 changes nothing, so it is left out
        f"split@lr{0.3 * usual.learning_rate:g}",
        f"split@b32@fresh={not usual.fresh}",
    ]
    settings = {one.label: one.settings for one in made}
    assert settings[f"split@{many}"] == replace(usual, epochs=many)
    assert {one.seed for one in made} == set(range(5))


def test_groups_that_overlap_give_each_run_once(monkeypatch):
    more = plan.Group((), (plan.MNIST,), ("split", "rince"), seeds=10)
    monkeypatch.setattr(plan, "GROUPS", (*plan.GROUPS, more))
    plans = plan.planned_runs("cpu")
    assert len(plans) == len(set(plans)) == 6 + 9 + 10


def test_a_method_has_its_own_temperature(monkeypatch):
    own = {"hierarchical_mnist": {"g_hmlc": 0.25}, "modelnet": {"g_hmlc": 0.3}}
    own["modelnet40"] = {"g_hmlc": 0.5}
    monkeypatch.setattr(plan, "TEMPERATURES", {"cpu": own})
    plans = plan.planned_runs("cpu", options.EXTRAS)
    used = {(p.dataset, p.method): p.settings.temperature for p in plans if p.label == p.method}
    assert used["hierarchical_mnist", "g_hmlc"] == 0.25
    assert {used[name, "g_hmlc"] for name in (plan.SWAPPED, plan.TREE, *plan.TAILS)} == {0.25}
    assert used["modelnet10", "g_hmlc"] == 0.3  # of this kind
    assert used["modelnet40", "g_hmlc"] == 0.5
    assert plan.usual_settings("cpu", "modelnet40_super", "g_hmlc").temperature == 0.5  # a variant
    assert used["hierarchical_mnist", "a_hmlc"] == preset("cpu").temperature
    assert used["cifar100", "g_hmlc"] == preset("cpu", "cifar100").temperature
    assert plan.usual_settings("gpu", plan.MNIST, "g_hmlc") == preset("gpu")


def test_a_method_has_its_own_learning_rate_beside_its_temperature(monkeypatch):
    monkeypatch.setattr(plan, "TEMPERATURES", {"cpu": {"modelnet10": {"g_hmlc": 0.3}}})
    monkeypatch.setattr(plan, "LEARNING_RATES", {"cpu": {"modelnet10": {"g_hmlc": 0.02}}})
    own = plan.usual_settings("cpu", "modelnet10", "g_hmlc")
    assert own == replace(preset("cpu", "modelnet"), temperature=0.3, learning_rate=0.02)
    assert plan.usual_settings("cpu", "modelnet10", "a_hmlc") == preset("cpu", "modelnet")
    assert plan.usual_settings("cpu", "modelnet10_tuning", "g_hmlc").learning_rate == 0.01


@pytest.mark.parametrize(
    "name, half_or_twice, usual", [("cifar100", "@15", "a_hmlc"), ("modelnet10", "@24", "shared")]
)
def test_what_has_three_times_the_learning_rate_is_also_trained_at_the_usual_one(
    name, half_or_twice, usual
):
    asked = ["ablation", "budget", "claims", name, "seeds"]
    plans = plan.planned_runs("cpu", asked, name)
    rates = {one.label: one.settings.learning_rate for one in plans}
    for method in plan.FASTER[name]:
        assert (rates[method], rates[f"{method}@lr0.01"]) == (0.03, 0.01)
    for method in plan.FASTER_AT_BUDGETS[name]:
        label = method + half_or_twice
        assert (rates[label], rates[f"{label}@lr0.01"]) == (0.03, 0.01)
    assert rates[usual] == 0.01 and f"{usual}@lr0.01" not in rates
    for profile in ("smoke", "gpu", "paper"):  # where all methods have the same
        without, whole = (plan.planned_runs(profile, part, name)
                          for part in (asked[1:], asked))  # fmt: skip
        assert set(whole) == set(without)


def test_trials_are_shorter_and_start_from_one_temperature():
    tried, whole = (plan.usual_settings("cpu", n) for n in ("cifar100_tuning", "cifar100"))
    assert (tried.epochs, tried.temperature, whole.epochs) == (2, 0.1, 30)
    plans = plan.planned_runs("cpu", ["tuning"], "cifar100")
    longer = [one for one in plans if one.label.startswith("g_hmlc@10") and "@lr" not in one.label]
    assert [one.label for one in longer] == ["g_hmlc@10", "g_hmlc@10@t0.2", "g_hmlc@10@t0.4"]
    assert [one.settings.temperature for one in longer] == [0.1, 0.2, 0.4]
    assert {one.settings.epochs for one in longer} == {10}
    digits = plan.usual_settings("cpu", "hierarchical_mnist_tuning", "g_hmlc")
    assert digits == replace(preset("cpu"), epochs=20, temperature=0.1)


@pytest.mark.parametrize("method", ["hmce_paper", "g_hmlc"])
@pytest.mark.parametrize("name", [plan.SWAPPED, plan.THREE, plan.TREE, *plan.TAILS])
def test_variants_of_hierarchical_mnist_have_its_settings(name, method):
    assert plan.usual_settings("cpu") == preset("cpu") == replace(Settings(), fresh=True, epochs=40)
    own = plan.usual_settings("cpu", plan.MNIST, method)
    assert plan.usual_settings("cpu", name, method) == own
    used = {p.settings for p in plan.planned_runs("cpu", options.EXTRAS)
            if (p.dataset, p.label) == (name, method)}  # fmt: skip
    assert used <= {own}


def test_grocery_trials_start_from_one_temperature_and_raw_is_a_row(monkeypatch):
    monkeypatch.setattr(plan, "TEMPERATURES", {"cpu": {"grocery": {"g_hmlc": 0.2}}})
    plans = plan.planned_runs("cpu", ["grocery", "tuning"], "grocery")
    tried = {p.settings.temperature for p in plans if p.dataset == "grocery_tuning"}
    assert tried == {0.05, 0.1, 0.2, 0.4}
    used = {p.label: p.settings for p in plans if p.dataset == "grocery"}
    assert used["g_hmlc"].temperature == 0.2 and len(used) == 11
    assert (used["raw"].encoder, used["raw"].epochs) == ("untouched", 1)
    assert {p.seed for p in plans if p.dataset == "grocery"} == set(range(10))


def test_a_net_from_scratch_is_no_method_of_its_own_but_a_tag():
    plans = plan.planned_runs("cpu", ["scratch"], "grocery")
    scratch = {p.label: p.settings for p in plans if "from_scratch" in p.label}
    own = plan.TEMPERATURES["cpu"]["grocery"]
    for label, settings in scratch.items():
        assert (settings.pretrained, settings.encoder, settings.canvas) == ("", "small_resnet", 64)
        assert settings.epochs == (240 if label.endswith("@240") else 120)
        assert settings.temperature == own.get(label.partition("@")[0], 0.1)
    seeds = [p.seed for p in plans if p.label == "g_hmlc@from_scratch"]
    assert seeds == [0, 1, 2] and "g_hmlc@from_scratch@240" in scratch


@pytest.mark.parametrize("method", plan.BUDGET_MNIST)
def test_the_budget_is_doubled_on_validation_digits_at_each_ones_own_temperature(method):
    tried = plan.planned_runs("cpu", ["tuning"], plan.MNIST)
    tried = [p.settings for p in tried if p.method == method and p.settings.epochs >= 40 and
             p.dataset == plan.DIGITS_TUNING]  # fmt: skip
    used = plan.usual_settings("cpu", plan.MNIST, method)
    assert tried == [used, replace(used, epochs=80)]


def test_a_batch_of_another_size_sees_as_many_pictures():
    plans = plan.planned_runs("cpu", ["ablation"], plan.MNIST)
    tried = {p.label: p.settings for p in plans if "@b" in p.label and p.method == "g_hmlc"}
    assert {s.batch_size for s in tried.values()} == {64, 256}
    assert {s.epochs for s in tried.values()} == {20}


def test_labels_say_what_differs():
    usual = preset("cpu")
    changed = replace(usual, temperature=0.2, head_batch_norm=False, epochs=4, dim=64)
    assert plan.run_label("shared", changed, usual) == "shared_without_batchnorm@4@t0.2@dim=64"
    assert plan.run_label("shared", usual, usual) == "shared"


@pytest.mark.parametrize(
    "name, base",
    [
        ("cifar100_tuning", "cifar100"),
        ("cifar100_swapped", "cifar100"),
        ("hierarchical_mnist_tail50", plan.MNIST),
        ("hierarchical_mnist_three_swapped", plan.MNIST),
        ("modelnet10_super", "modelnet10"),
        ("modelnet_office", "modelnet_office"),
        ("cifar100_mine", "cifar100_mine"),
        ("own", "own"),
    ],
)
def test_variants_are_known_and_other_names_pass_through(name, base):
    assert plan.variant_of(name) == base


def test_a_name_alone_changes_no_setting():
    for name in ("cifar100_mine", "modelnet_office", "hierarchical_mnist_of_mine"):
        assert plan.usual_settings("cpu", name) == preset("cpu")


def test_reference_holds_the_planned_runs_from_committed_code():
    reference, repeats = (
        results.read(ROOT / "data" / "reference" / f"{name}.csv") for name in ("cpu", "cpu_repeats")
    )
    have = set(zip(reference.dataset, reference.method, reference.seed))
    least, most = (
        {(one.dataset, one.label, one.seed) for one in plan.planned_runs("cpu", extras)}
        for extras in ([], options.EXTRAS)
    )
    assert least <= have <= most
    about = ["device", "data_source", "torch", "commit", "config_hash"]
    assert not reference[about].isna().any().any()
    assert set(repeats.dataset) == {plan.MNIST} and set(repeats.method) <= set(reference.method)
    assert not pd.concat([reference, repeats]).commit.str.endswith("+").any()
