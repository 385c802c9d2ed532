"""Predictions for new files, and levels induced for flat labels."""

import dataclasses

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from hmlc_core import Settings, build_hierarchical_mnist, metrics, pretrain, runs
from hmlc_core.data import own
from hmlc_core.data.images import read_image
from study import evaluation, figures, induced, predictions

SETTINGS = Settings(canvas=24, train_size=2000, dim=8, epochs=1, batch_size=256)


@pytest.fixture
def run(digits):
    data = build_hierarchical_mnist(*digits, n=2000, canvas=24, labels="path")
    return pretrain(data, "cross_entropy", SETTINGS, progress=False)


def files_of(data, folder):
    paths = [folder / f"{number}.png" for number in range(12)]
    for path, image in zip(paths, data.images):
        Image.fromarray(image[..., 0]).save(path)
    return paths


def test_predictions_are_coherent_paths_with_their_probabilities(run, tmp_path):
    table = predictions.predict(run, files_of(run.dataset, tmp_path))
    assert list(table.file) == [str(tmp_path / f"{number}.png") for number in range(12)]
    assert (table["central"] == table["pair"].str.split("+").str[0]).all()
    assert (table["central probability"] >= table["pair probability"]).all()
    logits = runs.level_logits(run, "train")
    known = torch.from_numpy(run.dataset.labels).unique(dim=0)
    scores = evaluation.coherent([x.softmax(1) for x in logits], known)
    expected = metrics.top_down(scores, known)[:12]
    names = [run.dataset.class_names[1][k] for k in expected[:, 1]]
    assert list(table["pair"]) == names
    chosen = scores[1][torch.arange(12), expected[:, 1]]
    np.testing.assert_allclose(table["pair probability"], chosen, rtol=1e-4)


def test_coloured_files_are_greyed_by_their_mean_for_a_run_on_grey_ones():
    red = np.array([[[[255, 0, 0], [250, 1, 1]]]], np.uint8)
    assert predictions._grey(red).tolist() == [[[[85], [84]]]]


def test_what_cannot_be_predicted_is_named(run, tmp_path):
    with pytest.raises(ValueError, match="at least one path"):
        predictions.predict(run, [])
    (tmp_path / "no.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match="no.png"):
        predictions.predict(run, [tmp_path / "no.png"])
    with pytest.raises(ValueError, match="give a folder or a file"):
        predictions.pictures_in("")


def test_new_files_are_brought_to_the_size_of_training_and_bad_ones_left_out(run, tmp_path):
    Image.fromarray(run.dataset.images[0, ..., 0]).resize((72, 72), 0).save(tmp_path / "large.png")
    (tmp_path / "cut.jpg").write_bytes(b"no picture")
    (tmp_path / "folder.png").mkdir()
    paths = predictions.pictures_in(tmp_path)
    assert [path.name for path in paths] == ["cut.jpg", "large.png"]
    with pytest.warns(UserWarning, match="1 of 2 files are not predicted: .*cut.jpg"):
        table = predictions.predict(run, iter(paths))
    small = files_of(run.dataset, tmp_path)[0]
    alone = predictions.predict(run, small)
    assert alone.equals(predictions.predict(run, str(small)))
    Image.fromarray(read_image(tmp_path / "large.png", 24)).save(tmp_path / "small.png")
    again = predictions.predict(run, tmp_path / "small.png")
    assert again.drop(columns="file").equals(table.drop(columns="file"))


def test_a_mesh_is_predicted_by_the_mean_over_its_views(run, tmp_path):
    trimesh = pytest.importorskip("trimesh", reason="meshes are an optional extra")
    trimesh.creation.box((1, 2, 3)).export(tmp_path / "box.off")
    views = own.views_of(tmp_path / "box.off", 24)
    for number, view in enumerate(views):
        Image.fromarray(view[..., 0]).save(tmp_path / f"{number:02}.png")
    paths = predictions.pictures_in(tmp_path)
    assert len(paths) == 13 and paths[-1].name == "box.off"
    table = predictions.predict(run, paths)
    logits = runs.level_logits(run, predictions._as_dataset(run.dataset, views))
    mean = [x.softmax(1).mean(0, keepdim=True) for x in logits]
    known = torch.from_numpy(run.dataset.labels).unique(dim=0)
    scores = evaluation.coherent(mean, known)
    chosen = metrics.top_down(scores, known)[0]
    expected = [names[k] for names, k in zip(run.dataset.class_names, chosen)]
    assert table.iloc[-1][["central", "pair"]].tolist() == expected
    wanted = [part[0, k].item() for part, k in zip(scores, chosen)]
    found = table.iloc[-1][["central probability", "pair probability"]].tolist()
    assert found == pytest.approx(wanted, rel=1e-4)


def test_a_class_with_nothing_known_below_it_is_predicted_and_the_rest_left_empty(
    run, tmp_path, monkeypatch
):
    data = run.dataset
    labels = data.labels.copy()
    labels[labels[:, 0] == 3, 1] = -1
    open_ended = dataclasses.replace(run, dataset=dataclasses.replace(data, labels=labels))
    sure = [torch.full((2, len(names)), -9.0) for names in data.class_names]
    sure[0][0, 3] = sure[0][1, 4] = sure[1][:, 40] = 9
    monkeypatch.setattr(runs, "level_logits", lambda *_: sure)
    table = predictions.predict(open_ended, files_of(data, tmp_path)[:2])
    assert table["central"].tolist() == ["3", "4"]
    assert table["pair"].tolist()[0] == "" and table["pair"].tolist()[1].startswith("4+")
    assert np.isnan(table["pair probability"][0]) and table["pair probability"][1] > 0.9


def test_new_files_that_cannot_be_read_here_and_links_are_as_in_training(tmp_path):
    for name in ("a.png", "b.xcf", "c.off"):
        (tmp_path / "new" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "new" / name).write_bytes(b"")
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "there").symlink_to(tmp_path / "new")
    for place in ("new", "links"):
        with pytest.warns(UserWarning) as told:
            found = predictions.pictures_in(tmp_path / place)
        assert [path.name for path in found] == ["a.png", "c.off"]
        said = " ".join(str(one.message) for one in told)
        assert "both are predicted" in said and "b.xcf" in said


def test_a_mesh_for_a_run_on_photographs_is_named(run, tmp_path):
    trimesh = pytest.importorskip("trimesh", reason="meshes are an optional extra")
    trimesh.creation.box((1, 2, 3)).export(tmp_path / "box.off")
    colour = dataclasses.replace(run.dataset, images=run.dataset.images.repeat(3, 3))
    with pytest.raises(ValueError, match="box.off is a mesh, and the run was trained on pictures"):
        predictions.predict(dataclasses.replace(run, dataset=colour), tmp_path / "box.off")


def test_a_run_on_pictures_that_are_not_square_predicts_no_files(run, tmp_path):
    wide = dataclasses.replace(run.dataset, images=run.dataset.images[:, :12])
    with pytest.raises(ValueError, match="pictures of 12 x 24 pixels"):
        predictions.predict(dataclasses.replace(run, dataset=wide), files_of(run.dataset, tmp_path))


def planted(order):
    """Features of 12 classes around 3 centres, and the centre of each class; classes in `order`."""
    generator = torch.Generator().manual_seed(0)
    centre = np.arange(12) % 3
    means = 8 * torch.eye(16)[centre] + torch.randn(12, 16, generator=generator)
    labels = torch.arange(240) % 12
    noise = 0.3 * torch.randn(240, 16, generator=generator)
    features, renamed = means[labels] + noise, torch.from_numpy(np.argsort(order))[labels]
    return features, renamed, centre[order]


@pytest.mark.parametrize("seed", range(3))
def test_planted_groups_are_induced_in_any_order_of_classes(seed):
    order = np.random.default_rng(seed).permutation(12)
    features, labels, centre = planted(order)
    labels[::50] = -1
    group, tree = induced.induce(features, labels, 12, 3)
    assert induced.agreement(group, centre) == 1 and group[0] == 0 and tree.shape == (11, 4)
    assert abs(induced.agreement(np.arange(12) % 4, np.arange(12) // 4)) < 0.35


@pytest.mark.parametrize("groups", [1, 12, 0])
def test_groups_that_make_no_level_are_refused(groups):
    features, labels, _ = planted(np.arange(12))
    with pytest.raises(ValueError, match=f"2 to 11 for 12 classes, not {groups}"):
        induced.induce(features, labels, 12, groups)
    with pytest.raises(ValueError, match=r"classes \[12\] have no sample"):
        induced.induce(features, labels, 13, 3)


def test_classes_join_at_the_mean_cosine_distance_of_their_means():
    features = torch.tensor([[3.0, 0, 0], [1, 1, 0], [0, 0, 5], [0, 0.1, 0.1], [1, 0.1, 0]])
    _, tree = induced.induce(features, torch.tensor([0, 1, 2, 2, 0]), 3, 2)
    unit = F.normalize(features.double())
    means = F.normalize(torch.stack([unit[[0, 4]].mean(0), unit[1], unit[2:4].mean(0)]))
    apart = 1 - means @ means.T
    assert tree[0, :2].tolist() == [0, 1] and tree[0, 2] == pytest.approx(apart[0, 1].item())
    assert tree[1, 2] == pytest.approx(apart[2, :2].mean().item())


def test_an_induced_level_is_named_as_such_and_keeps_unknown_labels(dataset):
    dataset.labels[3, 0] = -1
    group = np.array([0, 0, 1, 1, 0, 1, 0, 0, 1, 1])
    made = induced.with_level(dataset, group)
    assert made.level_names == ["induced level", *dataset.level_names]
    assert made.class_names[0] == ["0 + 1 + 4 + 6 + 7", "2 + 3 + 5 + 8 + 9"]
    assert made.labels[3, 0] == -1 and (made.labels[:, 1:] == dataset.labels).all()
    known = dataset.labels[:, 0] >= 0
    assert (made.labels[known, 0] == group[dataset.labels[known, 0]]).all()


def test_the_dendrogram_names_every_class():
    features, labels, _ = planted(np.arange(12))
    _, tree = induced.induce(features, labels, 12, 3)
    axis = figures.dendrogram(tree, [f"class {k}" for k in range(12)]).axes[0]
    shown = {text.get_text() for text in axis.get_yticklabels()}
    assert shown == {f"class {k}" for k in range(12)}
