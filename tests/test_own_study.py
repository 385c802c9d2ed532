"""A study of one's own data: which way it goes, how many seeds, what failed, and its report."""

import base64
import io
import os
import re
from dataclasses import replace
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.colors import to_rgb
from PIL import Image
from test_pretrained import LOOK, TINY, Net, pictures

from hmlc_core import METHODS, PRESETS, Settings, pretrain
from hmlc_core.data import pretrained
from study import figures, induced, own_data, predictions, report_page

NAME = "tf_efficientnet_lite0"


# ---------------------------------------------------------------- which way


@pytest.fixture
def build(monkeypatch):
    """Make pretrained.build raise this, or succeed for None; nothing is asked of a network."""
    monkeypatch.setattr(own_data, "_stay_offline_without_a_network", lambda: None)

    def build(error):
        def fake(name):
            if error:
                raise error

        monkeypatch.setattr(pretrained, "build", fake)

    return build


@pytest.mark.parametrize(
    "error, said",
    [
        (
            ImportError("timm is not installed; pip install '.[pretrained]'"),
            "timm is not installed",
        ),
        (FileNotFoundError("no weights"), f"no {NAME}.safetensors in "),
    ],
)
def test_without_package_or_weights_it_goes_from_scratch_and_says_why(build, error, said):
    build(error)
    name, sentence = own_data.choose_way(NAME)
    assert name == "" and sentence.startswith("From scratch, because") and said in sentence


def test_with_weights_it_goes_the_pretrained_way_unless_asked_not_to(build):
    build(None)
    name, sentence = own_data.choose_way(NAME)
    assert name == NAME and sentence.startswith("The pretrained way, because")
    build(AssertionError("not to be asked for"))
    name, sentence = own_data.choose_way("")
    assert name == "" and "as you asked" in sentence
    build(ValueError("timm has no model"))
    with pytest.raises(ValueError, match="timm has no model"):
        own_data.choose_way("no_such_model")


def test_only_an_unreachable_server_makes_timm_look_into_its_cache_alone(monkeypatch):
    def unreachable(*_):
        raise OSError("no network")

    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr(own_data.socket, "create_connection", unreachable)
    monkeypatch.setattr(own_data.urllib.request, "getproxies", lambda: {"https": "proxy"})
    own_data._stay_offline_without_a_network()
    assert "HF_HUB_OFFLINE" not in os.environ  # a proxy may reach it
    monkeypatch.setattr(own_data.urllib.request, "getproxies", dict)
    own_data._stay_offline_without_a_network()
    assert os.environ.pop("HF_HUB_OFFLINE") == "1"


def test_settings_of_the_pretrained_way_are_those_of_photographs():
    made = own_data.own_settings(240, 224, "cpu", NAME, augmentation=None)
    known = PRESETS["cpu"]["grocery"]
    for field in ("encoder", "augmentation", "stored_views", "pretrained", "temperature", "epochs"):
        assert getattr(made, field) == getattr(known, field), field
    assert made.batch_size == 64 and made.learning_rate < known.learning_rate
    assert own_data.own_settings(5000, 224, "cpu", NAME).batch_size == 256
    with pytest.raises(ValueError, match="Settings has no 'epoch': did you mean epochs?"):
        own_data.own_settings(240, 224, epoch=3)
    for name, value in (("canvas", 32), ("train_size", 9), ("pretrained", "x"), ("fresh", True)):
        with pytest.raises(ValueError, match=f"changes cannot set '{name}': your data, `size`"):
            own_data.own_settings(240, 224, "cpu", NAME, **{name: value})
    with pytest.raises(ValueError, match="there is no image to train on"):
        own_data.own_settings(0, 224)
    changed = own_data.own_settings(240, 224, "cpu", NAME, augmentation="keep_whole")
    assert changed.augmentation == "keep_whole"


@pytest.mark.parametrize("name", [NAME, ""])
def test_the_learning_rate_falls_with_the_root_of_the_batch(name):
    for samples, parts in ((240, 2 if name else 4), (60, 2 if name else 4), (5000, 1)):
        made = own_data.own_settings(samples, 64, "cpu", name)
        share = min(made.batch_size / 128, 1)
        assert made.learning_rate == pytest.approx(0.01 * share**0.5)
        if parts > 1:
            assert made.batch_size <= samples / parts < 2 * made.batch_size


# ---------------------------------------------------------------- seeds, failures


def fake(method="split", seconds=1.0, losses=(9.0, 5.0), label=None):
    history = [{"loss": loss, "seconds": seconds / len(losses)} for loss in losses]
    settings = Settings(learning_rate=0.006)
    return SimpleNamespace(
        method=method, label=label or method, seconds=seconds, history=history, settings=settings
    )


@pytest.mark.parametrize("seconds, seeds", [(40, [0, 1, 2]), (60, [0])])
def test_three_seeds_are_trained_if_the_first_took_little(seconds, seeds, capsys):
    runs, seen = {}, []
    for seed in own_data.seeds_to_train(None, runs):
        seen.append(seed)
        runs |= {("split", seed): fake(seconds=seconds), ("shared", seed): fake(seconds=seconds)}
    assert seen == seeds
    said = capsys.readouterr().out
    assert ("no intervals" in said) == (seeds == [0]) and own_data.work.clock(6 * seconds) in said
    assert list(own_data.seeds_to_train([5, 7], runs)) == [5, 7]


def test_a_run_far_above_its_peers_is_named_with_what_to_try():
    runs = {("split", 0): fake(), ("g_hmlc", 0): fake("g_hmlc", losses=(8, 5.6))}
    runs["shared", 1] = fake("shared", losses=(9, 8.2))
    runs["cross_entropy", 0] = fake("cross_entropy", losses=(40, 30))  # its losses are others
    runs["sign", 0] = fake("sign", losses=(9, 8.5))  # high, but it is right as often as others
    failed = own_data.failed_runs(
        runs, rows_of(split=[0.9], g_hmlc=[0.3], shared=[0.8, 0.4], sign=[0.7])
    )
    assert list(failed) == [("shared", 1)]
    said = failed["shared", 1]
    assert "control: shared seed 1 failed" in said and "8.20" in said and "5.00" in said
    assert '"learning_rate": 0.002' in said


def test_nothing_is_said_to_fail_where_nothing_can_be_told():
    one_epoch = {("split", 0): fake(losses=(9,)), ("shared", 0): fake("shared", losses=(20,))}
    alone = {("split", 0): fake(losses=(9, 8.9))}
    nobody_learns = {("split", 0): fake(losses=(9, 8.9)), ("split", 1): fake(losses=(9, 8.99))}
    for runs in (one_epoch, alone, nobody_learns):
        assert own_data.failed_runs(runs, rows_of(split=[0.9, 0.1], shared=[0.1])) == {}


@pytest.fixture
def stored(monkeypatch):
    """Pretrained features of a small net in the place of timm's."""
    monkeypatch.setattr(pretrained, "version", lambda name: "0")
    monkeypatch.setattr(pretrained, "build", lambda name: (Net(), LOOK))


def test_the_pretrained_way_has_a_row_of_the_untouched_features(stored):
    train, test = pictures(), pictures(split="test", seed=1)
    settings = replace(TINY, epochs=2)
    runs, rows, failed = own_data.train_all(train, test, ["split"], settings, [0, 1])
    assert list(runs) == [("split", 0), ("split", 1), ("raw", 0)] and failed == {}
    assert runs["raw", 0].settings.encoder == "untouched"
    stored = next(pretrained.StoredViews.clean(train, settings, torch.device("cpu")))
    expected = (stored - stored.mean(0)) / stored.std(0, correction=0)
    torch.testing.assert_close(runs["raw", 0].features(train), expected, rtol=1e-3, atol=1e-3)
    table = own_data.accuracy_table(rows, train, test)
    assert list(table.index) == ["raw features", "control: split", "largest class"]
    assert "±" not in table.loc["raw features", "low"] and "±" in table.loc["control: split", "low"]


def test_runs_are_tested_on_the_test_part(dataset, monkeypatch):
    seen, evaluate = [], own_data.evaluation.evaluate
    monkeypatch.setattr(
        own_data.evaluation, "evaluate", lambda run, on: seen.append(on) or evaluate(run, on)
    )
    test = replace(dataset, images=dataset.images[::2].copy(), labels=dataset.labels[::2])
    test.split, settings = "test", Settings(canvas=24, dim=8, epochs=1, batch_size=32)
    own_data.train_all(dataset, test, ["split", "shared"], settings, [0])
    assert len(seen) == 2 and all(one is test for one in seen)


def test_a_run_whose_loss_explodes_is_named_and_the_others_go_on(dataset, monkeypatch, capsys):
    def pretrain_or_not(data, method, *given, **more):
        if method == "shared":
            raise FloatingPointError("the loss is [nan] in epoch 1")
        return pretrain(data, method, *given, progress=False, **more)

    monkeypatch.setattr(own_data, "pretrain", pretrain_or_not)
    settings = Settings(canvas=24, dim=8, epochs=1, batch_size=32)
    runs, rows, failed = own_data.train_all(dataset, dataset, ["shared", "split"], settings, [0])
    assert list(runs) == [("split", 0)] and {row["method"] for row in rows} == {"split"}
    assert failed == {("shared", 0): "control: shared seed 0: the loss is [nan] in epoch 1"}
    with pytest.raises(ValueError, match=r"no run came to its end: .*nan"):
        own_data.train_all(dataset, dataset, ["shared"], settings, [0])
    with pytest.raises(ValueError, match="methods is empty"):
        own_data.train_all(dataset, dataset, [], settings, [0])
    for methods, seeds, message in (
        ("split", [0], r"methods must be a list such as \['split'\], not 'split'"),
        (["split"], 3, r"seeds must be a list such as \[0, 1\], not 3"),
        (["shared", "splt"], [0], "unknown method 'splt'"),
        ([METHODS["split"]], [0], "unknown method Method.*put one of your own into METHODS"),
    ):
        with pytest.raises(ValueError, match=message):
            own_data.train_all(dataset, dataset, methods, settings, seeds)


# ---------------------------------------------------------------- in words


def rows_of(**values):
    """Rows of linear accuracy at the level "pair" and, all 0.1, at "central"."""
    found = []
    for method, seeds in values.items():
        for seed, value in enumerate(seeds):
            row = {"dataset": "own", "metric": "linear_accuracy", "method": method, "seed": seed}
            found += [row | {"level": "pair", "value": value}]
            found += [row | {"level": "central", "value": 0.1}]
    return found


def test_verdicts_name_the_best_and_what_it_is_worth(dataset):
    data = replace(dataset, level_names=["central", "pair"])
    data.labels[:60, 0] = 3  # guessing gives more than 10 %
    rows = rows_of(raw=[0.6], split=[0.8, 0.82, 0.81], shared=[0.7, 0.86, 0.78])
    short, central, pair = own_data.verdicts(rows, data, data)
    assert (
        short
        == "In short, best at pair: control: split, right for 81 % of the test pictures; \
over the seeds not decidedly better than control: shared."
    )
    assert "nothing has been learned" in central and "nothing has been learned" not in pair
    assert "control: split is best with 81.0 ± 2.5 %" in pair
    assert "raw) have 60.0 %; against them it is above (+21.0 ± 2.5)" in pair
    assert "Against the next, control: shared, it is undecided (+3.0 ±" in pair
    better = own_data.verdicts(rows_of(raw=[0.9], split=[0.8]), data, data)
    assert better[0].startswith("In short, best at pair: raw features, right for 90 %")
    far = rows_of(raw=[0.6], split=[0.8, 0.82, 0.81], shared=[0.5, 0.51, 0.52])
    assert own_data.verdicts(far, data, data)[0].endswith("81 % of the test pictures.")
    alike = own_data.verdicts(rows_of(raw=[0.9], split=[0.8], shared=[0.9]), data, data)
    assert alike[0].startswith("In short, best at pair: raw features, control: shared, right")
    assert "of what was trained, control: split is best" in better[2]
    assert "more than these" not in pair  # 21 points above raw are more than other pictures make
    same = own_data.verdicts(rows_of(raw=[0.79], split=[0.8], shared=[0.8]), data, data)[2]
    assert "control: split and control: shared are best with 80.0 %" in same
    one_picture = rows_of(raw=[0.8], split=[0.82, 0.82], shared=[0.8, 0.81])
    short, _, pair = own_data.verdicts(one_picture, data, data)
    assert "against them it is +2.0 in every seed." in pair and "than raw features and" in short
    tied = rows_of(raw=[0.8], split=[0.82, 0.82], shared=[0.8, 0.84], sign=[0.7, 0.82])
    short, _, pair = own_data.verdicts(tied, data, data)
    assert "them control: shared is undecided (+2.0 ± 25.4) and control: split is +2.0" in pair
    assert "next, control: sign, control: shared is undecided" in pair
    assert short.endswith("better than raw features and control: sign.")
    even = own_data.verdicts(rows_of(raw=[0.8], split=[0.8] * 2, shared=[0.8] * 2), data, data)[2]
    assert "against them they are the same in every seed." in even
    equal = own_data.verdicts(rows_of(raw=[0.8], split=[0.8, 0.8]), data, data)[2]
    assert "against them it is the same in every seed." in equal
    assert "the next" not in same and "points, more than these differences; the" in same


def test_guessing_takes_the_class_most_frequent_in_training(dataset):
    images = dataset.images[:6]
    train, test = (replace(dataset, images=images, labels=dataset.labels[:6]) for _ in "ab")
    train.labels[:, 0], test.labels[:, 0] = [0, 0, 1, 0, -1, -1], [1, 1, 1, 0, -1, -1]
    train.labels[:, 1], test.labels[:, 1] = [-1] * 6, [0, 1, 2, 3, 4, 5]
    central, subsidiary = own_data.guesses(train, test)
    assert central == 0.25 and np.isnan(subsidiary)


def test_finest_classes_are_those_of_the_last_level(monkeypatch):
    logits = [torch.tensor([[0.0, 1.0]] * 3), torch.tensor([[2.0, 0, 1], [0, 1, 0], [0, 1, 2]])]
    monkeypatch.setattr(own_data, "level_logits", lambda run, test: [run, test] and logits)
    assert own_data.finest_classes("run", "test").tolist() == [0, 1, 2]


def test_best_method_is_that_of_the_finest_level_which_was_tested():
    rows = rows_of(shared=[0.9, 0.1], split=[0.5, 0.7], raw=[0.4])
    assert own_data.best_method(rows, ["central", "pair"]) == "split"
    assert own_data.best_method(rows, ["pair", "never tested"], ["shared", "raw"]) == "shared"
    assert own_data.best_method(rows, ["never tested"]) is None
    assert own_data.verdicts([], *[pictures()] * 2) == []


def test_confusions_count_both_directions_and_leave_unknown_labels_out():
    labels = np.array([0, 0, 1, 1, 2, 2, -1, 3])
    predicted = np.array([1, 1, 0, 1, 0, 2, 3, 3])
    assert own_data.confusions(labels, predicted) == [(0, 1, 3), (0, 2, 1)]
    assert own_data.confusions(labels, predicted, most=1) == [(0, 1, 3)]
    assert own_data.confusions(labels, labels) == []
    said = report_page.confused_in_words([(0, 1, 3)], ["oat milk", "soy milk"])
    assert "Most often" in said and "oat milk and soy milk (3)" in said
    said = report_page.confused_in_words([(0, 1, 1), (0, 2, 1)], ["a", "b", "c"])
    assert said == "Taken for each other, one test picture each: a and b, a and c."
    assert "No test picture" in report_page.confused_in_words([], ["a"])


# ---------------------------------------------------------------- an induced level


def groups_of(data, count):
    """Groups of the finest classes by the untouched features of the training set."""
    features = own_data.untouched(data, TINY).features(data)
    return induced.induce(features, torch.from_numpy(data.labels[:, -1]), 6, count)[0]


def test_flat_labels_get_a_level_above_and_a_hierarchy_does_not(stored):
    flat = pictures().with_levels([1], "flat")
    train, test = own_data.with_induced_level(flat, flat, TINY, 3)
    assert train.level_names == ["induced level", "low"] and train.class_counts == [3, 6]
    assert (train.labels[:, 0] == groups_of(flat, 3)[flat.labels[:, 0]]).all()
    assert (test.labels == train.labels).all()
    with pytest.raises(ValueError, match="hierarchy already"):
        own_data.with_induced_level(train, test, TINY, 3)


def test_a_class_without_pictures_in_train_is_named_before_groups_are_made():
    flat = pictures().with_levels([1], "flat")
    fewer = replace(flat, labels=np.where(flat.labels == 3, -1, flat.labels))
    with pytest.raises(ValueError, match="train has no two pictures of x, .*or set groups = 0"):
        own_data.with_induced_level(fewer, flat, TINY, 3)


def test_each_folder_has_a_place_of_its_own(tmp_path):
    places = [own_data.place_for(tmp_path / where / "data", "data") for where in "aba"]
    assert places == ["own-data", "own-data-2", "own-data"]
    assert own_data.place_for(str(tmp_path / "c" / ".." / "b" / "data"), "data") == "own-data-2"
    odd = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9")
    assert [own_data.place_for(odd, "café") for _ in range(2)] == ["own-café"] * 2


def test_alike_says_how_well_groups_fit_the_level_above(stored):
    data = pictures()
    tree, group, said = own_data.alike(own_data.untouched(data, TINY))
    assert tree.shape == (5, 4) and (group == groups_of(data, 3)).all()
    names = [[name for name, g in zip("uvwxyz", group) if g == k] for k in range(3)]
    value = induced.agreement(group, np.arange(6) // 2)
    assert said.startswith("Cut into 3 groups") and f"'top': {value:.2f} (1 same" in said
    shown = [line for line in said.splitlines() if line.startswith("* ")]
    assert shown == [f"* {', '.join(one)}" for one in names if len(one) > 1]
    flat = own_data.untouched(data.with_levels([1], "flat"), TINY)
    assert "Cut into 2 groups" in own_data.alike(flat)[2]
    assert "Agreement" not in own_data.alike(flat)[2]
    made = replace(data, level_names=[induced.LEVEL, "low"])
    assert "Agreement" not in own_data.alike(own_data.untouched(made, TINY))[2]
    assert own_data._short(["a/x", "b/x", "a/y", "z"]) == ["a/x", "b/x", "y", "z"]
    tree, group, said = own_data.alike(flat, most=5)
    assert tree is None and "no dendrogram" in said


# ---------------------------------------------------------------- pictures


def test_a_map_of_pictures_has_each_at_its_place_framed_by_its_class():
    data = pictures(n=12)
    points = np.random.default_rng(0).normal(size=(12, 2))
    axis = figures.picture_map(points, data, 1).axes[0]
    middles = np.array(
        [[np.mean(i.get_extent()[:2]), np.mean(i.get_extent()[2:])] for i in axis.images]
    )
    for k in range(2):
        assert np.corrcoef(middles[:, k], points[:, k])[0, 1] > 0.999
    assert all((i.get_array() == image).all() for i, image in zip(axis.images, data.images))
    colours = [to_rgb(frame.get_edgecolor()) for frame in axis.patches]
    assert np.allclose(colours, figures.class_colours(6)[data.labels[:, 1]])
    assert {text.get_text() for text in axis.texts} <= set("uvwxyz") and axis.texts
    plt.close("all")


def test_confused_pictures_come_first_and_are_framed():
    data = pictures(n=24)
    predicted = data.labels[:, 1].copy()
    predicted[18] = 1  # a "u" taken for a "v"
    axes = figures.confused_classes(data, predicted, [(0, 1, 1)]).axes
    assert [axis.get_title(loc="left") for axis in axes] == ["u", "", "", "v", "", ""]
    assert (axes[0].images[0].get_array() == data.images[18]).all()
    edges = [to_rgb(axis.spines["left"].get_edgecolor()) for axis in axes]
    assert [edge == to_rgb(figures.NEGATIVE) for edge in edges] == [True] + 5 * [False]
    plt.close("all")


def test_masks_stand_beside_their_pictures():
    data = pictures(n=3)
    masks = np.random.default_rng(0).integers(0, 2, (2, 3, 5))
    axes = figures.masks_of_pictures(data, masks).axes
    for i in range(3):
        assert (axes[2 * i].images[0].get_array() == data.images[i]).all()
        assert (axes[2 * i + 1].images[0].get_array() == masks[:, i]).all()
        assert [t.get_text() for t in axes[2 * i + 1].get_yticklabels()] == ["top", "low"]
    plt.close("all")


def test_some_samples_keep_what_belongs_to_them():
    data = pictures(n=20)
    few, values = own_data.some_of(data, np.arange(20), 5)
    assert len(few) == 5 and values[0] == 0 and values[-1] == 19
    assert (few.images == data.images[values]).all() and (few.labels == data.labels[values]).all()


# ---------------------------------------------------------------- the report


@pytest.fixture
def facts():
    train, test = pictures(n=48), pictures(split="test", seed=1, n=12)
    names = [train.class_names[0], ["<script>alert(1)</script>", *train.class_names[1][1:]]]
    train, test = (replace(d, class_names=names, name="fruit & co") for d in (train, test))
    test.notes = ["2 pictures are identical to another one"]
    table = pd.DataFrame({"top": ["81.2 ± 1.3"], "low": ["60.0"]}, index=["G-HMLC"])
    points = np.random.default_rng(0).normal(size=(12, 2))
    drawn = {
        f"map of {n}": figures.picture_map(points, test, k) for k, n in enumerate(("top", "low"))
    }
    drawn["confused"] = figures.confused_classes(test, 0 * test.labels[:, 1], [(0, 1, 2)])
    drawn["masks"] = figures.masks_of_pictures(*own_data.some_of(test, np.ones((12, 2, 4)), 2))
    failed = {("shared", 0): "control: shared seed 0 failed: try another seed"}
    yield report_page.Facts(
        train, test, "From scratch, as you asked", ["In short: G-HMLC"], table, failed, drawn,
        [(0, 1, 2)],
    )  # fmt: skip
    plt.close("all")


def test_the_report_holds_all_and_needs_nothing_else(facts, tmp_path):
    run = SimpleNamespace(dataset=facts.train, method="g_hmlc", seed=2, settings=Settings(dim=8))
    path = report_page.write(report_page.report(facts, run, "own/train.npz"), tmp_path / "own")
    page = path.read_text()
    assert path.name == "report.html" and path.stat().st_size < 5e6
    assert not re.findall(
        r"(?:src|href)=\"(?!data:image/jpeg;base64,)|https?://|@import|url\(", page
    )
    assert page.count("<img ") == 4 and page.count('alt="') == 4
    assert "prefers-color-scheme: dark" in page and "width=device-width" in page
    for part in (
        "fruit &amp; co",
        "81.2 ± 1.3",
        "In short: G-HMLC",
        "identical to another",
        "failed",
    ):
        assert part in page, part
    assert "<script>" not in page and "&lt;script&gt;" in page and "$" not in page
    assert page.index("81.2 ± 1.3") < page.index("<img ")  # the result comes first


def test_the_report_counts_pictures_of_each_class_and_level(facts):
    facts.train.labels[:3, 1] = -1
    top, low = report_page.counts(facts.train, facts.test)
    assert '<th scope="row">a</th><td>16</td><td>4</td>' in top
    assert '<th scope="row">x</th><td>8</td><td>2</td>' in low
    assert "low: 6 classes, 3 pictures without a label" in low and "without" not in top


def test_a_report_leaves_out_what_was_not_drawn(facts):
    bare = replace(facts, drawn={}, failed={}, pairs=[])
    run = SimpleNamespace(dataset=facts.train, method="shared", seed=0, settings=Settings())
    page = report_page.report(bare, run, "train.npz")
    assert "<img" not in page and "What the masks pick" not in page and "Failed" not in page
    assert "No test picture was taken" in page
    assert "81.2 ± 1.3" in report_page.summary(bare)


def test_the_picture_of_the_summary_has_fewer_dots_than_that_of_the_page(facts):
    first, last = report_page.maps(facts)[-1], report_page.summary(facts)
    packed = [re.search('base64,([^"]*)', text)[1] for text in (first, last)]
    large, small = (Image.open(io.BytesIO(base64.b64decode(one))).width for one in packed)
    assert abs(small / large - report_page.FEW_DOTS / report_page.DOTS) < 0.01


def test_the_lines_of_the_report_predict_new_files(dataset, tmp_path, monkeypatch):
    settings = Settings(canvas=24, dim=8, epochs=1, batch_size=32, temperature=0.2)
    train = replace(dataset, composer=None)
    train.save(tmp_path / "train.npz")
    run = pretrain(train, "split", settings, 1, progress=False)
    (tmp_path / "new").mkdir()
    Image.fromarray(train.images[0, ..., 0]).save(tmp_path / "new" / "a.png")
    lines = report_page.recipe(run, tmp_path / "train.npz", str(tmp_path / "out.csv"))
    monkeypatch.setattr(torch.optim.AdamW, "step", None)  # nothing is trained again
    assert "variants" in lines  # without it, methods of our own are unknown
    exec(lines.replace("your new pictures", str(tmp_path / "new")), {})
    made = pd.read_csv(tmp_path / "out.csv", dtype=dict.fromkeys(train.level_names, str))
    expected = predictions.predict(run, [tmp_path / "new" / "a.png"])
    pd.testing.assert_frame_equal(made, expected, check_dtype=False, rtol=1e-5)


def test_pictures_of_a_folder_are_found_and_others_are_not(tmp_path):
    for place in ("b.jpg", "deep/a.png", ".hidden.png", "@eaDir/c.png", "notes.txt"):
        (tmp_path / place).parent.mkdir(exist_ok=True)
        (tmp_path / place).write_bytes(b"")
    found = predictions.pictures_in(tmp_path)
    assert found == [tmp_path / "b.jpg", tmp_path / "deep" / "a.png"]
    assert predictions.pictures_in(tmp_path / "b.jpg") == [tmp_path / "b.jpg"]
    with pytest.raises(ValueError, match="no picture or mesh that can be read"):
        predictions.pictures_in(tmp_path / "notes.txt")
    with pytest.raises(ValueError, match="no file or folder .*nowhere"):
        predictions.pictures_in(tmp_path / "nowhere")
