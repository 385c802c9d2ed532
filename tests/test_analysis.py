"""Masks and mixtures with planted structure; information against closed forms."""
import dataclasses

import numpy as np
import pytest
import torch
from sklearn.metrics import cohen_kappa_score

from hmlc_core import analysis, evaluation, masks, profiles
from hmlc_core.training import pretrain

TINY = dataclasses.replace(profiles.get("smoke"), dim=16, epochs=2, batch_size=32)


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_agreement_is_one_for_the_same_masks_and_none_by_chance():
    a, b = (masks.gmm_masks(noise(200, 64, seed=seed), 3) for seed in (0, 1))
    assert analysis.mask_agreement(a, a) == 1
    assert abs(analysis.mask_agreement(a, b)) < 0.05
    assert analysis.mask_agreement(a, a.roll(1, 0)) < 0      # levels exchanged


def test_agreement_of_soft_masks_is_that_of_their_strongest_level():
    soft = noise(2, 30, 8).exp()
    assert analysis.mask_agreement(soft, masks._partition(soft.argmax(0), 2, soft[0])) == 1


def test_masks_that_depend_on_a_class_agree_within_it():
    labels = torch.stack([torch.arange(400) % 4, torch.arange(400) // 4 % 5], 1)
    z = noise(4, 64)[labels[:, 0]] + 0.1 * noise(400, 64, seed=1)       # level 1 decides the signs
    found = analysis.agreement_of_pairs(masks.sign_masks(z, 2), labels)
    assert set(found) == {"neither", "level 1 only", "level 2 only", "both"}
    assert min(found["level 1 only"], found["both"]) > 0.8 > 0.3 > max(found["neither"], found["level 2 only"])


def test_information_of_features_that_tell_all_and_nothing():
    y = torch.arange(4000) % 8
    known, nothing = torch.eye(8)[y] + 0.01 * noise(4000, 8), noise(4000, 8)
    bits, right = analysis.usable_information(known[:2000], y[:2000], known[2000:], y[2000:], 8)
    assert bits == pytest.approx(3, abs=0.02) and right == 1        # log2(8)
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
    bits, right = analysis.usable_information(x[:10_000], y[:10_000], x[10_000:], y[10_000:], 2)
    assert bits == pytest.approx(1 + 0.11 * np.log2(0.11) + 0.89 * np.log2(0.89), abs=0.03)     # 0.5 bit
    assert right == pytest.approx(0.89, abs=0.01)


def test_unknown_labels_carry_no_information():
    y = torch.arange(4000) % 8
    x = torch.eye(8)[y] + 0.01 * noise(4000, 8)
    hidden = torch.where(torch.arange(4000) % 3 == 0, -1, y)
    assert analysis.usable_information(x, hidden, x, hidden, 8)[0] == pytest.approx(3, abs=0.02)


def test_parts_of_a_run(dataset, tmp_path):
    run = pretrain(dataset, "split", TINY, folder=tmp_path, device="cpu", progress=False)
    run._data = {"train": dataset}
    found = analysis.part_information(run, dataset)
    assert [(row["part"], row["level"]) for row in found] == [(a, b) for a in dataset.level_names for b in dataset.level_names]
    assert all(np.isfinite(row["bits"]) and 0 <= row["accuracy"] <= 1 for row in found)
    shared = pretrain(dataset, "hmce_paper", TINY, folder=tmp_path, device="cpu", progress=False)
    with pytest.raises(ValueError, match="hmce_paper has no masks"):
        analysis.part_information(shared, dataset)


@pytest.mark.parametrize("levels", [1, 2, 3, 4])
def test_planted_number_of_levels_is_found(levels):
    centres = 8.0 * (torch.arange(128) % levels)
    found = analysis.levels_posterior(noise(10, 128) + centres, largest=6)
    assert found.shape == (6,) and found.sum() == pytest.approx(1)
    assert found.argmax() == levels - 1 and found[levels - 1] > 0.8


def test_number_of_levels_does_not_mind_scale_and_shift():
    z = noise(5, 128) + 8.0 * (torch.arange(128) % 2)
    assert np.allclose(analysis.levels_posterior(z), analysis.levels_posterior(100 * z - 7), atol=0.02)


def test_snapshots_are_the_run_as_it_was(dataset, tmp_path):
    run = pretrain(dataset, "a_hmlc", TINY, folder=tmp_path, device="cpu", progress=False, snapshots=True)
    state = lambda r: torch.cat([p.flatten().double() for p in r.model.state_dict().values()])
    assert torch.equal(state(run.at(2)), state(run)) and not torch.equal(state(run.at(1)), state(run))
    assert len(run.at(1).history) == 1
    assert not torch.equal(run.at(1).embeddings(dataset), run.embeddings(dataset))
    assert torch.equal(run.at(2).embeddings(dataset), run.embeddings(dataset))
    with pytest.raises(FileNotFoundError, match="no epoch-3.pt .*snapshots=True"):
        run.at(3)


def test_head_and_tail_accuracy(dataset, tmp_path):
    from hmlc_core import datasets
    tailed = datasets.long_tailed(datasets.build_hierarchical_mnist(*_digits(), n=600, canvas=24), 10)
    run = pretrain(tailed, "split", TINY, folder=tmp_path, device="cpu", progress=False)
    run._data = {"train": tailed}
    counts = np.bincount(tailed.labels[:, 1])
    right = torch.from_numpy(np.where(np.isin(dataset.labels[:, 1], counts.argsort()[-3:]), dataset.labels[:, 1], 99))
    found = {row["metric"]: row["value"] for row in evaluation.tail_rows(run, right, dataset)}
    assert found == {"head_accuracy": 1.0, "tail_accuracy": 0.0}
    run._data = {"train": dataset}
    assert evaluation.tail_rows(run, right, dataset) == []


def _digits():
    labels = np.arange(200) % 10
    images = np.zeros((200, 28, 28), np.uint8)
    images[:, 4:24, 4:24] = (100 + 10 * labels)[:, None, None]
    return images, labels


def test_analysis_is_kept_and_says_what_there_is(dataset, tmp_path, monkeypatch):
    for method, masked in (("g_hmlc", True), ("hmce_paper", False)):
        run = pretrain(dataset, method, TINY, folder=tmp_path, device="cpu", progress=False)
        run._data = {"train": dataset}
        rows = analysis.analyse(run, dataset, samples=3)
        names = {row["metric"] for row in rows}
        assert sum(row["value"] for row in rows if row["metric"].startswith("levels_posterior")) == pytest.approx(1)
        assert ({"mask_agreement_views", "mask_agreement_both", "bits_of_part_central", "bits_of_part_subsidiary"} <= names) == masked
    monkeypatch.setattr(analysis, "levels_posterior", None)      # not computed again
    assert analysis.analyse(run, dataset, samples=3) == rows


def test_views_of_an_image_share_a_mask_that_does_not_look(dataset, tmp_path):
    run = pretrain(dataset, "split", TINY, folder=tmp_path, device="cpu", progress=False)
    assert analysis.view_agreement(run, dataset) == 1
    run = pretrain(dataset, "g_hmlc", TINY, folder=tmp_path, device="cpu", progress=False)
    assert 0 < analysis.view_agreement(run, dataset) <= 1


def test_agreement_is_the_mean_of_scikit_learns_kappas():
    a, b = (masks.sign_masks(noise(20, 40, seed=seed) + 0.5 * noise(20, 1, seed=9), 3) for seed in (0, 1))      # images differ in shares
    theirs = [cohen_kappa_score(x, y) for x, y in zip(a.argmax(0), b.argmax(0))]
    assert analysis.mask_agreement(a, b) == pytest.approx(np.mean(theirs))


def test_unknown_labels_are_no_class():
    z = noise(300, 16)
    labels = torch.stack([torch.arange(300) % 3, torch.arange(300) % 2], 1)
    labels[:150, 0], labels[150:, 1] = -1, -1           # as in ModelNet's test split: no sample has both
    assert analysis.agreement_of_pairs(masks.sign_masks(z, 2), labels) == {}
