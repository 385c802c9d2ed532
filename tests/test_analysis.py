"""Masks and mixtures with planted structure; information against closed forms; wiring of a run."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import cohen_kappa_score

from hmlc_core import Settings, masks, pretrain
from hmlc_core.data import pretrained
from study import analysis, plan, results, tables

TINY = Settings(canvas=24, dim=16, epochs=1, batch_size=32)


@pytest.fixture
def trained(dataset, tmp_path):
    """A function that trains a method on the tiny data set; it is its own test split."""

    def train(method, settings=TINY, **more):
        options = dict(folder=tmp_path, device="cpu", progress=False) | more
        run = pretrain(dataset, method, settings, **options)
        run._data = {"train": dataset, "test": dataset}
        return run

    return train


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def partition(level, levels):
    """0/1 masks [levels, B, D] of the level [B, D] of each coordinate."""
    return F.one_hot(level, levels).movedim(-1, 0).float()


def test_agreement_is_one_for_the_same_masks_and_none_by_chance():
    a, b = (masks.gmm_masks(noise(200, 64, seed=seed), 3) for seed in (0, 1))
    assert analysis.mask_agreement(a, a) == 1
    assert abs(analysis.mask_agreement(a, b)) < 0.05
    assert analysis.mask_agreement(a, a.roll(1, 0)) < 0  # levels exchanged


def test_agreement_is_the_mean_of_scikit_learns_kappas():
    shifted = [noise(20, 40, seed=seed) + 0.5 * noise(20, 1, seed=9) for seed in (0, 1)]
    a, b = (masks.sign_masks(z, 3) for z in shifted)  # images differ in shares
    theirs = [cohen_kappa_score(x, y) for x, y in zip(a.argmax(0), b.argmax(0))]
    assert analysis.mask_agreement(a, b) == pytest.approx(np.mean(theirs))


def test_pairs_with_all_coordinates_in_one_level_agree_or_do_not():
    first, second = (partition(torch.full((3, 8), level), 2) for level in (0, 1))
    assert analysis.mask_agreement(first, first) == 1
    assert analysis.mask_agreement(first, second) == 0


def test_agreement_of_soft_masks_is_that_of_their_strongest_level():
    soft = noise(2, 30, 8).exp()
    assert analysis.mask_agreement(soft, partition(soft.argmax(0), 2)) == 1


def test_masks_that_depend_on_a_class_agree_within_it():
    labels = torch.stack([torch.arange(400) % 4, torch.arange(400) // 4 % 5], 1)
    z = noise(4, 64)[labels[:, 0]] + 0.1 * noise(400, 64, seed=1)  # level 1 decides the signs
    agreement = analysis.agreement_of_pairs(masks.sign_masks(z, 2), labels)
    assert tuple(agreement) == analysis.KINDS_OF_PAIRS
    within = min(agreement["level 1 only"], agreement["both"])
    assert within > 0.8 > 0.3 > max(agreement["neither"], agreement["level 2 only"])


def test_unknown_labels_are_no_class():
    labels = torch.stack([torch.arange(300) % 3, torch.arange(300) % 2], 1)
    labels[:150, 0], labels[150:, 1] = -1, -1  # as in ModelNet's test split: no sample has both
    assert analysis.agreement_of_pairs(masks.sign_masks(noise(300, 16), 2), labels) == {}


def test_information_of_features_that_tell_all_and_nothing():
    y = torch.arange(4000) % 8
    known, nothing = torch.eye(8)[y] + 0.01 * noise(4000, 8), noise(4000, 8)
    bits, right = analysis.usable_information(known[:2000], y[:2000], known[2000:], y[2000:], 8)
    assert bits == pytest.approx(3, abs=0.02) and right == 1  # log2(8)
    bits, right = analysis.usable_information(nothing[:2000], y[:2000], nothing[2000:], y[2000:], 8)
    assert abs(bits) < 0.1 and right < 0.2


def test_many_small_classes_that_nothing_is_known_of_give_no_bits():
    y = torch.arange(900) % 100
    x = noise(900 + 300, 60)
    assert abs(analysis.usable_information(x[:900], y, x[900:], y[:300], 100)[0]) < 0.1


def test_information_of_a_binary_symmetric_channel():
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(20_000) % 2
    flipped = torch.rand(20_000, generator=generator) < 0.11
    x = (y ^ flipped).float()[:, None]
    half = slice(0, 10_000), slice(10_000, None)
    bits, right = analysis.usable_information(x[half[0]], y[half[0]], x[half[1]], y[half[1]], 2)
    assert bits == pytest.approx(1 + 0.11 * np.log2(0.11) + 0.89 * np.log2(0.89), abs=0.03)
    assert right == pytest.approx(0.89, abs=0.01)


@pytest.mark.parametrize("known", [12, 30, 300])
def test_information_is_found_by_few_labels_too(known):
    y = torch.arange(300) % 4
    x, test = (torch.eye(4)[y] + 0.01 * noise(300, 4) for _ in range(2))
    for seed in range(20):
        some = torch.randperm(300, generator=torch.Generator().manual_seed(seed))[:known]
        hidden = torch.full_like(y, -1)
        hidden[some] = y[some]
        bits, right = analysis.usable_information(x, hidden, test, y, 4)
        assert right < 0.9 or bits > 0.5


def test_without_a_label_to_spare_logits_are_not_scaled():
    y = torch.arange(300) % 2
    few = torch.where(torch.arange(300) < 4, y, -1)
    bits, right = analysis.usable_information(torch.eye(2)[y], few, torch.eye(2)[y], y, 2)
    assert right == 1 and bits > 0.9


def test_unknown_labels_carry_no_information():
    y = torch.arange(4000) % 8
    x = torch.eye(8)[y] + 0.01 * noise(4000, 8)
    hidden = torch.where(torch.arange(4000) % 3 == 0, -1, y)
    assert analysis.usable_information(x, hidden, x, hidden, 8)[0] == pytest.approx(3, abs=0.02)


def test_parts_of_a_run_are_named_by_mask_and_labels(dataset, trained):
    rows = analysis.part_information(trained("split"))
    names = [(a, b) for a in dataset.level_names for b in dataset.level_names]
    assert [(row["part"], row["level"]) for row in rows] == names
    table = analysis.bits_table(trained("split"))
    for row in rows:
        assert table.loc[row["part"], row["level"]] == row["bits"]
    with pytest.raises(ValueError, match="hmce_paper has no masks"):
        analysis.part_information(trained("hmce_paper"))


def test_a_part_is_what_its_level_sees(dataset, trained):
    """Accuracies of parts are those of scikit-learn on the masked coordinates alone."""
    run = trained("split")
    z = run.embeddings("test")
    held_out = torch.zeros(len(z), dtype=torch.bool)
    held_out[analysis.sample(len(z), len(z) // 10)] = True
    for row in analysis.part_information(run):
        part = dataset.level_names.index(row["part"])
        y = dataset.labels[:, dataset.level_names.index(row["level"])]
        x = F.normalize(z[:, part * 8 : part * 8 + 8], dim=1).double().numpy()
        fit = x[~held_out]
        fitted = LogisticRegression(C=1 / (1e-4 * len(fit)), max_iter=5000, tol=1e-8)
        fitted.fit((fit - fit.mean(0)) / fit.std(0, ddof=1), y[~held_out])
        right = fitted.score((x - fit.mean(0)) / fit.std(0, ddof=1), y)
        assert row["accuracy"] == pytest.approx(right, abs=0.03)


@pytest.mark.parametrize("levels", [1, 2, 3, 4])
def test_planted_number_of_levels_is_counted(levels):
    centres = 8.0 * (torch.arange(128) % levels)
    posterior = analysis.levels_posterior(noise(10, 128) + centres, largest=6)
    assert posterior.shape == (6,) and posterior.sum() == pytest.approx(1)
    assert posterior.argmax() == levels - 1 and posterior[levels - 1] > 0.8


def test_planted_posteriors_say_what_was_planted():
    posteriors = analysis.planted_posteriors(samples=3)
    assert list(posteriors) == [f"planted: {k}" for k in (1, 2, 3, 4)]
    assert [values.argmax() + 1 for values in posteriors.values()] == [1, 2, 3, 4]


def test_number_of_levels_does_not_mind_scale_and_shift():
    z = noise(5, 128) + 8.0 * (torch.arange(128) % 2)
    posterior = analysis.levels_posterior(z)
    assert np.allclose(posterior, analysis.levels_posterior(100 * z - 7), atol=0.02)


def test_drawn_weights_are_shares():
    mixture = analysis._dirichlet_mixture(np.random.default_rng(0).normal(size=50), 5, seed=0)
    weights = analysis._drawn_weights(mixture, 40, np.random.default_rng(0))
    assert weights.shape == (40, 5) and (weights >= 0).all()
    assert np.allclose(weights.sum(1), 1)


def test_analysis_is_read_again_and_says_what_there_is(trained, monkeypatch):
    of_masks = {"mask_agreement_views", "mask_agreement_both", "bits_of_part_central"}
    for method, masked in (("g_hmlc", True), ("hmce_paper", False)):
        run = trained(method)
        rows = analysis.analyse(run, samples=3)
        names = {row["metric"] for row in rows}
        posterior = [row["value"] for row in rows if row["metric"].startswith("levels_posterior")]
        assert sum(posterior) == pytest.approx(1)
        assert (of_masks <= names) == masked
        assert {row["method"] for row in rows} == {method}
    assert len(analysis.analyse(run, samples=4)) == len(rows)  # a cache of its own
    monkeypatch.setattr(analysis, "levels_posterior", None)  # not computed again
    assert analysis.analyse(run, samples=3) == rows


def test_analysis_rows_are_the_numbers_of_the_run(dataset, trained):
    run = trained("g_hmlc")
    values = {(row["level"], row["metric"]): row["value"] for row in analysis.analyse(run)}
    seen, labels = run.level_masks("test"), torch.from_numpy(dataset.labels)
    for kind, value in analysis.agreement_of_pairs(seen, labels).items():
        assert values["all", f"mask_agreement_{kind}"] == pytest.approx(value)
    assert values["all", "mask_agreement_views"] == pytest.approx(analysis.view_agreement(run))
    some = run.embeddings("test")[analysis.sample(96, 20)]
    for k, value in enumerate(analysis.levels_posterior(some), 1):
        assert values["all", f"levels_posterior_{k}"] == pytest.approx(value)
    for row in analysis.part_information(run):
        key = row["level"], f"bits_of_part_{row['part']}"
        assert values[key] == pytest.approx(row["bits"])


def test_analysis_is_of_the_split_and_kept_by_it(dataset, trained):
    run = trained("g_hmlc")
    whole = analysis.analyse(run)
    half = replace(dataset, images=dataset.images[::2].copy(), labels=dataset.labels[::2].copy())
    run._data["test"] = half
    values = {(row["level"], row["metric"]): row["value"] for row in analysis.analyse(run)}
    assert values != {(row["level"], row["metric"]): row["value"] for row in whole}
    pairs = analysis.agreement_of_pairs(run.level_masks(half), torch.from_numpy(half.labels))
    assert values["all", "mask_agreement_neither"] == pytest.approx(pairs["neither"])
    assert values["all", "mask_agreement_views"] == pytest.approx(
        analysis.view_agreement(run, half)
    )
    some = run.embeddings(half)[analysis.sample(48, 20)]
    assert values["all", "levels_posterior_1"] == pytest.approx(analysis.levels_posterior(some)[0])
    fit, tested = (F.normalize(run.embeddings(d) * run.level_masks(d)[0]) for d in (dataset, half))
    labels = (torch.from_numpy(data.labels[:, 0]) for data in (dataset, half))
    bits, _ = analysis.usable_information(fit, next(labels), tested, next(labels), 10)
    assert values["central", "bits_of_part_central"] == pytest.approx(bits)


def test_what_is_kept_is_kept_by_the_code_that_makes_it(trained, monkeypatch):
    asked = []
    monkeypatch.setattr(analysis.evaluation, "state_of", lambda *of: asked.append(of) or "state")
    run = trained("split")
    analysis.analyse(run)
    tiny = replace(TINY, canvas=32, train_size=64, test_size=32)
    monkeypatch.setattr(analysis.plan, "usual_settings", lambda *asked: tiny)
    analysis.settling("a_hmlc", 1, "smoke")
    (sources, data), (of_settling, tested) = asked
    code = {analysis.__file__, analysis.metrics, analysis.views}
    assert set(sources) == code == set(of_settling)
    assert data == [run.data("train").fingerprint, run.data("test").fingerprint, 20]
    test = analysis.load_dataset("hierarchical_mnist", tiny, "test")
    assert tested == [test.fingerprint]


def test_views_of_an_image_share_a_mask_that_does_not_look(trained):
    assert analysis.view_agreement(trained("split")) == 1
    assert 0 < analysis.view_agreement(trained("g_hmlc")) <= 1


def test_usage_is_the_share_of_level_1(trained):
    run = trained("split")
    assert analysis.level_1_usage(run).tolist() == [0.0] * 8 + [1.0] * 8
    run = trained("g_hmlc")
    shares = np.sort(run.level_masks("test")[0].mean(0).numpy())
    assert np.allclose(analysis.level_1_usage(run), shares)


def test_agreement_with_last_ends_in_one_and_begins_with_the_first_epoch(trained):
    run = trained("a_hmlc", replace(TINY, epochs=2), snapshots=True)
    agreement = analysis.agreement_with_last(run)
    assert len(agreement) == 2 and agreement[-1] == 1
    first, last = run.at(1).level_masks("test"), run.level_masks("test")
    assert agreement[0] == analysis.mask_agreement(first, last)


def test_settling_is_of_a_run_at_the_usual_settings_with_snapshots(monkeypatch):
    tiny = replace(TINY, canvas=32, epochs=2, train_size=64, test_size=32)
    monkeypatch.setattr(analysis.plan, "usual_settings", lambda *asked: tiny)
    rows = analysis.settling("a_hmlc", 1, "smoke")
    assert [row["metric"] for row in rows] == ["masks_of_epoch_1", "masks_of_epoch_2"]
    assert rows[0]["value"] < rows[1]["value"] == 1
    assert {(row["method"], row["seed"]) for row in rows} == {("a_hmlc", 1)}
    frame = pd.DataFrame(rows, columns=results.COLUMNS).assign(recorded=False)
    (found,) = tables.settling(tables.Numbers("smoke", frame)).values()
    assert found[1].to_list() == [row["value"] for row in rows]
    assert analysis.settling("a_hmlc", 1, "smoke") == rows  # kept


def test_masks_of_five_seeds_are_followed_where_seeds_are_asked_for(monkeypatch):
    monkeypatch.setattr(analysis, "settling", lambda *asked: [asked])
    three = [(method, seed, "cpu") for method in ("g_hmlc", "a_hmlc") for seed in range(3)]
    assert analysis.all_settling("cpu", ["claims"]) == three
    assert len(analysis.all_settling("cpu", ["claims", "seeds"])) == 10


def test_pull_of_samples():
    z = torch.arange(12.0).view(4, 3).requires_grad_()
    norm, share = analysis.pull_of_samples((z[1] * 3).sum() + (z[3] * 4).sum(), z)
    assert norm == pytest.approx(5 * 3**0.5) and share == pytest.approx(1)
    norm, share = analysis.pull_of_samples(z.sum(), z)
    assert norm == pytest.approx(12**0.5) and share == pytest.approx(0.5**0.5)


def test_what_is_looked_at_is_planned_and_unchanged():
    plans = analysis.looked_at("cpu", ["cifar100", "budget", "temperature", "baselines"])
    assert {one.dataset for one in plans} == {plan.MNIST, "cifar100"}
    assert all(one.label == one.method for one in plans)
    assert {"sign", "rectified", "g_hmlc"} <= {one.method for one in plans}
    assert {one.dataset for one in analysis.looked_at("cpu", [])} == {plan.MNIST}


def test_plans_without_data_are_named_and_left_out(monkeypatch, capsys):
    def load(name, settings, split):
        if name == "cifar100":
            raise FileNotFoundError("put it there")

    def build(name):
        raise ImportError("install it")

    monkeypatch.setattr(analysis, "load_dataset", load)
    monkeypatch.setattr(pretrained, "build", build)
    plans = analysis.looked_at("cpu", ["cifar100", "grocery"])
    assert {one.dataset for one in plans} == {plan.MNIST, "cifar100", "grocery"}
    assert {one.dataset for one in analysis.with_data(plans)} == {plan.MNIST}
    said = capsys.readouterr().out
    assert said == "cifar100 left out: put it there\ngrocery left out: install it\n"
