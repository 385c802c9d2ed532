"""What a figure shows is what it was given: values, places, colours, names."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import matplotlib.colors as mcolors
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.cbook import is_math_text
from matplotlib.colors import to_rgb
from matplotlib.text import Text
from scipy.cluster import hierarchy

from hmlc_core import METHODS, HierarchicalDataset, files
from study import figures, results
from study.claims import Difference

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def test_the_style_lies_beside_the_code_wherever_the_work_lies(tmp_path):
    """HMLC_ROOT elsewhere: the style is found, and the figure is written there."""
    code = "from study import figures; figures.save(figures.architecture(), 'x', 'smoke')"
    paths = os.pathsep.join([str(ROOT), str(ROOT / "notebooks")])
    environment = os.environ | {"HMLC_ROOT": str(tmp_path), "PYTHONPATH": paths}
    ended = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True)
    assert ended.returncode == 0, ended.stderr
    made = sorted(path.name for path in (tmp_path / "figures" / "smoke").iterdir())
    assert made == ["x.pdf", "x.png"]
    assert plt.rcParams["savefig.dpi"] == 200  # of the style


def test_names_and_order_are_those_of_the_methods():
    keys = list(METHODS)
    assert [figures.method_name(key) for key in keys] == [m.name for m in METHODS.values()]
    assert figures.ordered(keys[::-1]) == keys
    assert figures.ordered(["mine", "a_hmlc", "g_hmlc"]) == ["g_hmlc", "a_hmlc", "mine"]
    assert figures.ordered(["split", "shared_without_batchnorm", "a_hmlc@4"])[0].startswith(
        "shared"
    )


@pytest.mark.parametrize(
    "label, name",
    [
        ("g_hmlc", "G-HMLC"),
        ("g_hmlc@t0.2", "G-HMLC, temperature 0.2"),
        ("g_hmlc@6@fresh=False", "G-HMLC, 6 epochs, same images"),
        ("split@lr1e-05@b32", "control: split, learning rate 1e-05, batch size 32"),
        ("split@dim=64@my", "control: split, dim 64, my"),
        ("shared_without_batchnorm", "shared without BatchNorm"),
        ("a_hmlc_without_batchnorm@4", "A-HMLC without BatchNorm, 4 epochs"),
        ("g_hmlc@from_scratch@240", "G-HMLC, from scratch, 240 epochs"),
        ("my_method", "my_method"),
    ],
)
def test_name_of_a_method_with_another_setting(label, name):
    assert figures.method_name(label) == name


def test_names_of_data_sets_and_their_variants():
    assert figures.dataset_name("cifar100_tuning") == "CIFAR-100 (validation)"
    assert figures.dataset_name("hierarchical_mnist_three") == "three levels"
    assert figures.dataset_name("modelnet40") == "ModelNet40"
    assert figures.dataset_name("pictures") == "pictures"


def test_levels_are_ordered_coarse_to_fine():
    assert figures.ordered_levels(["class", "superclass"]) == ["superclass", "class"]
    three = ["second subsidiary", "subsidiary", "central"]
    assert figures.ordered_levels(three) == three[::-1]
    assert figures.ordered_levels(["breed", "object"]) == ["object", "breed"]


def test_figures_that_are_drawings_name_their_parts():
    pairs, drawing = figures.pairs_at_each_level(), figures.architecture()
    assert [axis.get_title() for axis in pairs.axes] == ["level 1: category", "level 2: class"]
    dogs = [axis.patches[0].get_edgecolor()[:3] for axis in pairs.axes]
    assert dogs == [to_rgb(figures.POSITIVE), to_rgb(figures.NEGATIVE)]
    assert sum("M_" in text.get_text() for text in drawing.axes[0].texts) == 3


def test_long_class_names_stand_in_lines_of_their_own():
    images, labels = np.zeros((2, 4, 4, 1), np.uint8), np.array([[0, 0], [0, -1]])
    long_name = "mammals/a very long name of a class"

    def titles(names):
        data = HierarchicalDataset(images, labels, ["a", "b"], names)
        return [axis.get_title() for axis in figures.image_grid(data, range(2)).axes[:2]]

    assert titles([["4"], ["2"]]) == ["4 / 2", "4 / ?"]
    assert titles([["mammals"], [long_name]]) == ["mammals\na very long na…", "mammals\n?"]


def test_image_grid_shows_the_images_asked_for(dataset):
    axes = figures.image_grid(dataset, [5, 90, 17], columns=2).axes
    assert len(axes) == 4 and not axes[3].images
    for axis, i in zip(axes, [5, 90, 17]):
        assert (axis.images[0].get_array() == dataset.images[i, :, :, 0]).all()
        assert axis.get_title() == " / ".join(str(k) for k in dataset.labels[i])


def test_mean_image(dataset):
    (axis,) = figures.mean_image(dataset).axes
    shown = np.asarray(axis.images[0].get_array())
    mean = dataset.images[..., 0].mean(0)
    assert np.allclose(shown, mean) and axis.images[0].norm.vmax == 2 * np.median(mean)


def test_values_are_counted_at_the_level_of_their_mask():
    z = np.array([[-2.0, -1.0, 1.0, 2.0, 3.0], [5.0, 6.0, 7.0, 8.0, 9.0]])
    masks = np.array([[[0, 0, 1, 1, 1], [1, 0, 0, 0, 0]], [[1, 1, 0, 0, 0], [0, 1, 1, 1, 1]]])
    axes = figures.values_by_level(z, masks).axes
    heights = [[sum(bar.get_height() for bar in bars) for bars in axis.containers] for axis in axes]
    assert heights == [[3, 2], [1, 4]]
    first = axes[0].containers[0]
    assert min(bar.get_x() for bar in first if bar.get_height()) > 0  # level 1: the values above 0


def test_mask_pictures_are_the_masks_by_level_and_method():
    rng = np.random.default_rng(0)
    masks = [rng.integers(0, 2, (2, 6, 5)), rng.random((2, 6, 5))]
    figure = figures.mask_pictures(masks, ["one", "two"])
    axes = np.array(figure.axes).reshape(2, 2)
    for level in range(2):
        for column in range(2):
            assert (axes[level, column].images[0].get_array() == masks[column][level]).all()
    assert [axis.get_title() for axis in axes[0]] == ["one", "two"]


def test_a_method_has_one_style_in_all_learning_curves():
    """Also where a method before it has no loss at a level, as SupCon on the finest alone."""
    histories = {
        "supcon": [{"epoch": 1, "fine": 1.0}],
        "sign": [{"epoch": 1, "coarse": 1.0, "fine": 2.0}],
    }
    coarse, fine = (
        {line.get_label(): line.get_color() for line in axis.lines}
        for axis in figures.learning_curves(histories, ["coarse", "fine"]).axes
    )
    assert len(coarse) == 1 and len(set(fine.values())) == 2
    assert coarse["control: sign"] == fine["control: sign"]


def test_a_method_looks_the_same_everywhere_and_like_no_other():
    looks = {key: tuple(figures.method_look(key).values()) for key in METHODS}
    assert len(set(looks.values())) == len(looks)
    assert figures.method_look("g_hmlc@lr0.003") == figures.method_look("g_hmlc")
    assert figures.method_look("mine") == dict(color="0.5", marker="x")


def test_learning_curves_are_the_losses_of_their_level():
    history = [{"epoch": k, "coarse": 9.0 - k, "fine": 5.0 / k, "loss": 0.0} for k in (1, 2, 3)]
    axes = figures.learning_curves({"g_hmlc": history}, ["coarse", "fine"], alike=5.5).axes
    for axis, level in zip(axes, ["coarse", "fine"]):
        grey, line = axis.lines
        assert list(grey.get_ydata()) == [5.5, 5.5]
        assert line.get_xydata().tolist() == [[h["epoch"], h[level]] for h in history]
        assert line.get_marker() == "o" and line.get_label() == "G-HMLC"


def test_points_colours_and_captions_of_maps_belong_together():
    rng = np.random.default_rng(0)
    maps = {"hmce_paper": rng.normal(size=(50, 2)), "g_hmlc": rng.normal(size=(50, 2))}
    labels = np.stack([rng.integers(-1, 3, 50), rng.integers(0, 12, 50)], 1)
    names = [list("abc"), [f"class {k}" for k in range(12)]]
    captions = {(m, level): f"{m} at {level}" for m in maps for level in ("top", "fine")}
    figure = figures.embedding_maps(maps, labels, ["top", "fine"], names, captions)
    axes = np.array(figure.axes).reshape(2, 2)
    for row, level in zip(axes, ("top", "fine")):
        for axis, method in zip(row, maps):
            assert axis.get_xlabel() == f"{method} at {level}"
            assert (axis.collections[0].get_offsets() == maps[method]).all()
    for level, row in enumerate(axes):
        for axis in row:
            drawn = axis.collections[0].get_facecolors()[:, :3]
            assert np.allclose(drawn, figures.class_colours(len(names[level]))[labels[:, level]])
    unknown = axes[0, 0].collections[0].get_facecolors()[labels[:, 0] < 0, :3]
    assert len(unknown) and np.allclose(unknown, figures.UNKNOWN)
    assert [axis.get_title() for axis in axes[0]] == ["HMCE (paper)", "G-HMLC"]
    legend = axes[0, 1].get_legend()
    shown = {text.get_text(): handle.get_color() for text, handle in
             zip(legend.get_texts(), legend.legend_handles)}  # fmt: skip
    assert list(shown) == list("abc")
    assert np.allclose(list(shown.values()), figures.class_colours(3)[:3])


@pytest.mark.parametrize("count, named", [(10, False), (12, True), (20, True), (21, False)])
def test_maps_name_classes_that_no_legend_names_while_they_are_few(count, named):
    labels = np.arange(count)[:, None]
    names = [[f"class {k}" for k in range(count)]]
    points = np.random.default_rng(0).normal(size=(count, 2))
    (axis,) = figures.embedding_maps({"split": points}, labels, ["all"], names, {}).axes
    assert bool(axis.texts) == named


def test_dollars_in_names_are_no_formula(dataset):
    classes = ["$5-$10", "a_$x^$", "$", *map(str, range(3, 10))]
    levels = ["price in $ or $", "subsidiary"]
    data = replace(dataset, class_names=[classes, classes], level_names=levels)
    points = np.random.default_rng(0).normal(size=(96, 2))
    tree = hierarchy.linkage(np.random.default_rng(0).normal(size=(10, 3)))
    history = [{"epoch": 1, "price in $ or $": 1.0, "subsidiary": 2.0}]
    drawn = [
        figures.image_grid(data, range(8)),
        figures.embedding_maps({"split": points}, data.labels, levels, data.class_names, {}),
        figures.dendrogram(tree, classes),
        figures.picture_map(points, data, 0, "colours of price in $ or $"),
        figures.masks_of_pictures(replace(data, images=data.images[:2], labels=data.labels[:2]),
                                  np.ones((2, 2, 4))),
        figures.learning_curves({"split": history}, levels),
        figures.confused_classes(data, data.labels[:, 1], [(0, 1, 2)]),
    ]  # fmt: skip
    for figure in drawn:
        figure.canvas.draw()
        texts = [text.get_text() for text in figure.findobj(Text)]
        assert any(r"\$" in text for text in texts) and not any(map(is_math_text, texts)), texts


def test_names_stand_at_the_middle_of_their_class():
    centres = np.array([[0.0, 0.0], [10.0, 10.0], [10.0, 10.1]])
    labels = np.repeat([0, 1, 2], [30, 20, 10])
    points = np.random.default_rng(0).normal(size=(60, 2)) * 0.01 + centres[labels]
    _, axis = plt.subplots()
    figures._name_clusters(axis, points, labels, ["one", "two", "three", "absent"])
    shown = {text.get_text(): text.get_position() for text in axis.texts}
    assert list(shown) == ["one", "two"]  # "three" would lie on "two"
    assert np.allclose(shown["one"], centres[0], atol=0.1)


def rows_of(values):
    """Rows of results: {(method, level): values over seeds}."""
    return pd.DataFrame(
        [
            dict(dataset="d", method=m, level=level, metric="linear_accuracy", seed=seed, value=v)
            for (m, level), numbers in values.items()
            for seed, v in enumerate(numbers)
        ]
    )


def test_accuracies_are_those_of_the_rows():
    values = {
        ("g_hmlc", "a"): [0.5, 0.7],
        ("split", "a"): [0.2, 0.3],
        ("g_hmlc", "b"): [0.9, 0.9],
        ("split", "b"): [0.1, 0.5],
    }
    summary = results.summary(rows_of(values))
    figure = figures.accuracy_per_level(summary, ["a", "b"], ["split", "g_hmlc"])
    for axis, level in zip(figure.axes, ["a", "b"]):
        line, _, (bars,) = axis.containers[0]
        means = [np.mean(values[method, level]) for method in ("split", "g_hmlc")]
        assert np.allclose(line.get_xdata().astype(float), 100 * np.array(means))
        assert list(line.get_ydata()) == [0, 1] and axis.get_title() == f"level: {level}"
        ends = np.array([segment[:, 0] for segment in bars.get_segments()])
        half = [results.mean_and_interval(values[m, level])[1] for m in ("split", "g_hmlc")]
        assert np.allclose(np.diff(ends).squeeze(), 200 * np.array(half))
    ticks = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    assert ticks == ["control: split", "G-HMLC"]
    assert figure.axes[0].yaxis_inverted()


def test_a_dendrogram_has_each_class_at_its_leaf():
    tree = hierarchy.linkage([[0.0], [5], [0.1], [5.3]])
    axis = figures.dendrogram(tree, ["a", "b", "c", "d"]).axes[0]
    names = [text.get_text() for text in axis.get_yticklabels()]
    assert names == ["abcd"[k] for k in hierarchy.leaves_list(tree)]
    assert {frozenset(names[:2]), frozenset(names[2:])} == {frozenset("ac"), frozenset("bd")}


def test_differences_have_the_colour_of_their_verdict():
    rows = [("up", 0.1, 0.02), ("down", -0.1, 0.02), ("either", 0.01, 0.02), ("one", 0.3, np.nan)]
    rows = [Difference(*row) for row in rows]
    (axis,) = figures.differences({"panel": rows}).axes
    drawn = [container[0] for container in axis.containers]
    assert [line.get_xdata()[0] for line in drawn] == pytest.approx([10, -10, 1, 30])
    colours = [line.get_color() for line in drawn]
    assert colours == [figures.POSITIVE, figures.NEGATIVE, "0.5", "0.5"]
    assert [text.get_text() for text in axis.get_yticklabels()] == ["up", "down", "either", "one"]
    for line, row in zip(drawn, rows):
        word = row.verdict.split()[0]
        wanted = {"above": figures.POSITIVE, "below": figures.NEGATIVE}.get(word, "0.5")
        assert line.get_color() == wanted


def test_small_differences_beside_a_large_one_are_still_seen():
    near, far = (
        [Difference("a", 0.01, 0.002)],
        [Difference("a", 0.5, 0.3), Difference("b", 0.01, 0)],
    )
    small, large = figures.differences({"near": near, "far": far}).axes
    assert (small.get_xscale(), large.get_xscale()) == ("linear", "symlog")
    assert "logarithmic" in large.get_xlabel() and "logarithmic" not in small.get_xlabel()
    place = large.transData.transform([(0, 0), (1, 0), (50, 0)])[:, 0]
    assert (place[1] - place[0]) / (place[2] - place[0]) > 0.08  # of 1 in 50 points, not 0.02


def test_ticks_beyond_zero_do_not_touch():
    rows = [Difference("large", 0.4, 0.51), Difference("small", 0.01, 0.002)]
    (axis,) = figures.differences({"far": rows}).axes  # from -11 to 91 points
    assert list(axis.get_xticks()) == [-10, 0, 5, 50]


LARGE = [(-0.4, 0.6), (0.78, 0.1), (0.5, float("nan")), (-0.22, 0.01)]


@pytest.mark.parametrize("value, half", LARGE)
def test_large_intervals_are_drawn_whole(value, half):
    rows = [Difference("large", value, half), Difference("small", 0.01, 0.002)]
    (axis,) = figures.differences({"far": rows}).axes
    low, high = axis.get_xlim()
    end = abs(value) + (0 if np.isnan(half) else half)
    assert low < 100 * min(0, value - half if value < 0 else 0) <= 100 * end < max(high, -low)
    assert {-5, 0, 5} <= set(axis.get_xticks()) and max(abs(axis.get_xticks())) > 100 * end / 2.6
    assert all(low < t < high for t in axis.get_xticks())


def test_a_long_heading_leaves_the_cells_their_width():
    cells, widths = [Difference("", 0.02, 0.01)], []
    for heading in ("short", "a heading that is far longer than the cells of two columns are wide"):
        figure = figures.claims_map({("A", "x"): cells, ("A", "y"): cells}, {heading: ["claim"]})
        figure.draw_without_rendering()
        widths.append(figure.axes[0].get_window_extent().width)
    assert widths[0] == pytest.approx(widths[1]) and widths[0] > 100


def test_cells_of_claims_have_the_number_and_the_colour_of_their_verdict():
    cells = [Difference("", 0.02, 0.01), Difference("", -0.3, 0.1), Difference("", 0.004, 0.01)]
    cells += [Difference("", 0.5, float("nan")), Difference("", float("nan"), float("nan"))]
    columns = {("A", "coarse"): cells, ("A", "fine"): cells[::-1], ("B, 3 seeds", "fine"): cells}
    groups = {"theirs": ["claim 0", "claim 1"], "ours": ["claim 2", "claim 3", "claim 4"]}
    axis = figures.claims_map(columns, groups, counted=True).axes[0]
    rows = [1, 2, 4, 5, 6]  # a heading stands above each group
    looks = {}
    for cell in axis.patches:
        looks[cell.get_x() + 0.5, cell.get_y() + 0.5] = mcolors.to_hex(cell.get_facecolor()).upper()
    texts, small = {}, {}
    for text in axis.texts:
        x, y = text.get_position()
        (small if text.get_fontsize() == 6.5 else texts)[x, round(y)] = text.get_text()
    expected = [("+2.0", "± 1.0", "POSITIVE"), ("-30.0", "± 10.0", "NEGATIVE")]
    expected += [("+0.4", "± 1.0", "NEUTRAL"), ("+50.0", "", "white"), ("–", "", "white")]
    for x, order in ((0, 1), (1, -1), (2, 1)):
        for y, (text, interval, name) in zip(rows, expected[::order]):
            colour = mcolors.to_hex(getattr(figures, name, name)).upper()
            assert (texts[x, y], small[x, y], looks[x, y]) == (text, interval, colour)
    assert {"A", "B", "3 seeds", "how often", "theirs", "ours"} <= set(texts.values())
    assert [label.get_text() for label in axis.get_yticklabels()] == sum(groups.values(), [])
    levels = [label.get_text() for label in axis.get_xticklabels()]
    assert levels[:3] == ["coarse", "fine", "fine"]
    above = {text.get_text(): text.get_position()[0] for text in axis.texts}
    assert (above["A"], above["B"]) == (0.5, 2)
    assert list(axis.get_yticks()) == rows
    counted = [[texts[3 + 0.3 * (k - 1), y] for k in range(3)] for y in rows]
    # in the first row +2.0, nothing known, +2.0; in the second -30.0, one seed, -30.0
    assert counted == [list("200"), list("020"), list("003"), list("010"), list("100")]


def test_information_of_parts_marks_each_number_and_the_ceiling():
    one = pd.DataFrame([[1.0, 0.2], [0.3, 2.0]], index=["a", "b"], columns=["a", "b"])
    figure = figures.information_of_parts({"G-HMLC": one, "A-HMLC": one + 1}, {"a": 4})
    left, right = figure.axes
    for axis, level in ((left, "a"), (right, "b")):
        for line, part in zip(axis.lines, ("a", "b")):
            assert list(line.get_xdata()) == [one.loc[part, level], one.loc[part, level] + 1]
            assert line.get_label() == f"part for {part}"
        assert level in axis.get_title()
    assert left.lines[2].get_xdata()[0] == 2 and len(right.lines) == 2
    assert [text.get_text() for text in left.get_yticklabels()] == ["G-HMLC", "A-HMLC"]


def test_every_part_of_many_levels_has_its_mark():
    names = [f"level {n}" for n in range(6)]
    bits = pd.DataFrame(np.eye(6), index=names, columns=names)
    figure = figures.information_of_parts({"G-HMLC": bits, "A-HMLC": bits}, {})
    _, labels = figure.axes[0].get_legend_handles_labels()
    assert labels == [f"part for {name}" for name in names]
    marks = {line.get_marker() for line in figure.axes[0].lines}
    assert len(marks) == 6


def test_information_of_parts_shows_the_ceiling_and_what_is_far_below_zero_at_the_edge():
    one = pd.DataFrame([[1.0, -9.0]], index=["a"], columns=["a", "b"])
    figure = figures.information_of_parts({"G-HMLC": one}, {"a": 16}, "photographs")
    left, right = figure.axes
    assert left.get_xlim()[1] > 4 == left.lines[1].get_xdata()[0]
    assert right.lines[0].get_xdata()[0] == figures.LEAST_BITS > right.get_xlim()[0]
    assert figure.get_suptitle() == "photographs"


def test_many_panels_of_differences_stand_in_several_rows():
    panels = {str(k): [Difference("a", 0.01 * k, 0.002)] for k in range(5)}
    figure = figures.differences(panels)
    assert [axis.get_title() for axis in figure.axes] == list(panels)
    rows = {round(axis.get_position().y0, 2) for axis in figure.axes}
    assert len(rows) == 2 and len(figure.axes) == 5
    shown = [axis.containers[0][0].get_xdata()[0] for axis in figure.axes]
    assert shown == pytest.approx(range(5))


def test_rows_of_differences_stand_once_where_panels_share_them():
    whole = [Difference(text, 0.01, 0.002) for text in "abc"]
    left, right = figures.differences({"few": whole[2:], "all": whole}).axes
    assert left.containers[0][0].get_ydata()[0] == 2  # the row of "c"
    assert [text.get_text() for text in left.get_yticklabels()] == ["a", "b", "c"]
    shown = [axis.yaxis.get_tick_params()["labelleft"] for axis in (left, right)]
    assert shown == [True, False]
    other = [Difference("other", 0.01, 0.002)]
    left, right = figures.differences({"other": other, "all": whole}).axes
    assert [text.get_text() for text in left.get_yticklabels()] == ["other"]
    assert right.yaxis.get_tick_params()["labelleft"]


def test_usage_and_agreement_draw_what_they_were_given():
    lines = {"g_hmlc": [np.array([0.1, 0.6]), np.array([0.2, 0.9])], "split": [np.array([0, 1])]}
    (axis,) = figures.usage(lines).axes
    assert [list(line.get_ydata()) for line in axis.lines] == [[0.1, 0.6], [0.2, 0.9], [0, 1]]
    colours = [line.get_color() for line in axis.lines]
    assert colours[0] == colours[1] != colours[2]
    names = [text.get_text() for text in axis.get_legend().get_texts()]
    assert names == ["G-HMLC", "control: split"]
    curves = pd.DataFrame({0: [0.3, 0.8, 1.0], 1: [0.1, 0.2, 1.0]}, index=[1, 2, 3])
    (axis,) = figures.agreement_over_epochs({"a_hmlc": curves}).axes
    drawn = [line.get_xydata().tolist() for line in axis.lines]
    assert drawn == [[[1, 0.3], [2, 0.8], [3, 1.0]], [[1, 0.1], [2, 0.2], [3, 1.0]]]
    assert [text.get_text() for text in axis.get_legend().get_texts()] == ["A-HMLC"]


def test_a_budget_with_fewer_seeds_is_joined_over_those():
    rows = [("g_hmlc", 12, seed, 0.1 * seed) for seed in range(5)]
    rows += [("g_hmlc", 24, seed, 0.2 * seed) for seed in (0, 1)] + [("g_hmlc", 48, 0, 0.9)]
    points = pd.DataFrame(rows, columns=["method", "epochs", "seed", "value"]).assign(level="a")
    mean, *seeds = figures.accuracy_against_epochs(points, ["a"]).axes[0].lines
    assert np.allclose(mean.get_xydata(), [[12, 5], [24, 10]]) and len(seeds) == 2


def test_posteriors_show_each_probability_at_its_number():
    (axis,) = figures.posteriors({"x": np.array([0.25, 0.75]), "y": np.array([1.0, 0.0])}).axes
    assert [text.get_text() for text in axis.texts] == ["0.25", "0.75", "1.00", "0.00"]
    assert [text.get_text() for text in axis.get_yticklabels()] == ["x", "y"]
    assert [text.get_text() for text in axis.get_xticklabels()] == ["1", "2"]


def test_accuracy_against_epochs_joins_means_only_of_the_same_seeds():
    rows = [("g_hmlc", 2, 0, 0.1), ("g_hmlc", 2, 1, 0.3), ("g_hmlc", 4, 0, 0.5)]
    rows += [("g_hmlc", 4, 1, 0.5), ("g_hmlc", 4, 2, 0.9), ("g_hmlc", 8, 0, 0.8)]
    points = pd.DataFrame(rows, columns=["method", "epochs", "seed", "value"]).assign(level="a")
    other = points.assign(level="b", value=0.2)
    points = pd.concat([points, other, points.assign(method="split"), other.assign(method="split")])
    figure = figures.accuracy_against_epochs(points, ["a", "b"])
    assert [axis.get_title() for axis in figure.axes] == ["control: split", "G-HMLC"]
    for axis in figure.axes:
        grey = [line for line in axis.lines if line.get_color() == "0.85"]  # of the other method
        assert [line.get_ydata().tolist() for line in grey] == [[20, 50], [20, 20]]
        means, first, second, *others = [line for line in axis.lines if line not in grey]
        assert np.allclose(means.get_xydata(), [[2, 20], [4, 50]]) and means.get_label() == "a"
        assert np.allclose(first.get_ydata(), [10, 50, 80])
        assert second.get_ydata()[:2] == pytest.approx([30, 50])
        assert np.isnan(second.get_ydata()[2])
        assert {line.get_color() for line in (means, first, second)} == {"C0"}
        assert {line.get_color() for line in others} == {"C1"} and others[0].get_label() == "b"
        band = axis.collections[0].get_paths()[0].vertices[:, 1]
        assert band.min() == 0 and band.max() == 100 and list(axis.get_xticks()) == [2, 4, 8]
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["a", "b"]


def test_a_saved_png_is_that_of_a_figure_that_nobody_drew_before(tmp_path):
    """Each drawing moves a constrained layout; texts save the PNG alone, notebooks both."""

    def drawn():
        differences = [Difference("x", 0.02, 0.01) for _ in range(3)]
        columns = {("CIFAR-100, temperature 0.4", level): differences for level in "ab"}
        return figures.claims_map(columns, {"claims": ["A-HMLC above a fixed split", "b", "c"]})

    figures.save(drawn(), "map", "smoke")
    drawn().savefig(tmp_path / "alone.png")
    saved = files.FIGURES / "smoke" / "map.png"
    assert saved.read_bytes() == (tmp_path / "alone.png").read_bytes()


def test_saved_figures_lie_in_the_folder_of_their_profile():
    figure = figures.save(figures.architecture(), "drawing", "smoke")
    for kind in ("pdf", "png"):
        assert (files.FIGURES / "smoke" / f"drawing.{kind}").stat().st_size > 1000
    assert figure.axes


def test_every_run_is_a_dot():
    values = {"central": {"split": [0.5, 0.6], "g_hmlc": [0.1, 0.9, 0.4]}, "small": {"split": [1]}}
    figure = figures.every_run(values)
    (split, g), (small,) = (axis.lines for axis in figure.axes)
    assert split.get_xdata().tolist() == [50, 60] and set(split.get_ydata()) == {0}
    assert g.get_xdata().tolist() == [10, 90, 40] and set(g.get_ydata()) == {1}
    assert small.get_xdata().tolist() == [100]
    assert figure.axes[0].get_title() == "level: central"
