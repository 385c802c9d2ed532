"""One function per figure, one style. Each returns the matplotlib figure; `save` writes it."""

import re
from itertools import cycle

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Rectangle
from matplotlib.ticker import MaxNLocator
from scipy.cluster import hierarchy

from hmlc_core import files
from hmlc_core.data.load import base_of
from study import results
from study.variants import METHODS  # with our own

plt.style.use(files.CODE / "figures" / "paper.mplstyle")

DATASETS = {
    "cifar100": "CIFAR-100",
    "modelnet10": "ModelNet10",
    "modelnet40": "ModelNet40",
    "grocery": "Grocery Store",
    "hierarchical_mnist": "Hierarchical MNIST",
    "hierarchical_mnist_three": "three levels",
    "hierarchical_mnist_path": "a tree (10 + 100 classes)",
    "hierarchical_mnist_tail10": "long tail 10:1",
    "hierarchical_mnist_tail50": "long tail 50:1",
}
VARIANTS = {"": "", "_tuning": " (validation)", "_swapped": " (swapped)", "_super": " (super)"}
LEVELS = [  # every coarse level before the finer ones of its data set
    *("super-category", "superclass", "category", "central", "class", "object"),
    *("subsidiary", "pair", "second subsidiary", "department", "item", "kind"),
]
OTHERS = {"raw": "raw features"}
SETTINGS = {  # by the mark before their value; see plan.TAGS
    "": "{} epochs", "lr": "learning rate {}", "t": "temperature {}", "b": "batch size {}",
}  # fmt: skip
NO_BATCHNORM = "_without_batchnorm"  # behind the key of a method in result files

POSITIVE, NEGATIVE, NEUTRAL = "#0072B2", "#D55E00", "#E8E8E8"
UNKNOWN = (0.8, 0.8, 0.8)
HUES = {  # of kinds of methods
    "paper": "Blues", "baseline": "Oranges", "control": "Greens", "peer": "Purples", "ours": "RdPu",
}  # fmt: skip


def method_name(label):
    """A method's name as figures and tables show it, of its name in result files.

    A name of which METHODS knows nothing is shown as it is.
    """
    key, _, changed = label.partition("@")
    plain = key.removesuffix(NO_BATCHNORM)
    name = METHODS[plain].name if plain in METHODS else OTHERS.get(plain, plain)
    if key != plain:
        name = name.removeprefix("control: ") + " without BatchNorm"
    return ", ".join([name, *map(_in_words, changed.split("@"))]) if changed else name


def _in_words(change):
    """What stands behind a method's name in result files, say "lr0.003", as a reader says it."""
    matched = re.fullmatch(r"([a-z]*)([\d.e-]+)", change)
    if matched and matched[1] in SETTINGS:
        return SETTINGS[matched[1]].format(matched[2])
    known = {"fresh=False": "same images", "from_scratch": "from scratch"}
    return known.get(change, change.replace("=", " "))


def method_look(label):
    """Colour and marker of a method in every figure: a hue for its kind, black for cross-entropy,
    grey for a name of which METHODS knows nothing."""
    key = label.partition("@")[0].removesuffix(NO_BATCHNORM)
    if key == "cross_entropy" or key not in METHODS:
        return dict(color="black" if key in METHODS else "0.5", marker="x")
    alike = [one for one, method in METHODS.items() if method.kind == METHODS[key].kind]
    place = alike.index(key)
    shades = plt.colormaps[HUES.get(METHODS[key].kind, "Greys")]
    colour = shades(0.9 - 0.5 * place / max(len(alike) - 1, 1))
    return dict(color=colour, marker="osD^vP"[place % 6])


def dataset_name(key):
    """A data set's name as figures and tables show it."""
    base, variant = base_of(key)
    return DATASETS.get(base, base) + VARIANTS[variant]


def ordered(labels):
    """Different method names of result files in the order of METHODS, others behind."""
    keys = list(METHODS)

    def position(label):
        plain = label.partition("@")[0].removesuffix(NO_BATCHNORM)
        return keys.index(plain) if plain in keys else len(keys), label

    return sorted(set(labels), key=position)


def ordered_levels(names):
    """Different level names, coarse to fine; those that LEVELS lacks behind, by name."""
    return sorted(set(names), key=lambda n: (LEVELS.index(n) if n in LEVELS else len(LEVELS), n))


def shortened(name, most=18):
    """A class name for the inside of a panel; of a path its end."""
    name = name.rsplit("/", 1)[-1]
    return literal(name if len(name) <= most else name[: most - 1] + "…")


def literal(text):
    """Text of a user, drawn as it is: between two dollars matplotlib would read a formula."""
    return text.replace("$", r"\$")


def save(figure, name, profile):
    """Write figures/<profile>/<name>.png and .pdf; returns the figure."""
    for kind in ("png", "pdf"):  # each drawing moves a constrained layout a little
        with files.writing(files.FIGURES / profile / f"{name}.{kind}") as beside:
            figure.savefig(beside)
    return figure


def pairs_at_each_level():
    """Figure 1: which pairs attract and repel at each level: two dogs, a cat and an elephant."""
    figure, axes = plt.subplots(1, 2, figsize=(7, 2.5))
    animals = {
        "husky\n(dog)": (0.2, 0.75),
        "poodle\n(dog)": (0.8, 0.75),
        "cat": (0.2, 0.2),
        "elephant": (0.8, 0.2),
    }
    _draw_pairs(axes[0], animals, "level 1: category", dogs=POSITIVE)
    _draw_pairs(axes[1], animals, "level 2: class", dogs=NEGATIVE)
    text = "anchor: the husky.  blue line: pulled together (positive)   "
    figure.text(0.5, -0.02, text + "orange arrow: pushed apart (negative)", ha="center", fontsize=8)
    return figure


def _draw_pairs(axis, animals, title, dogs):
    axis.set(xlim=(0, 1), ylim=(0, 1), title=title)
    axis.axis("off")
    husky, poodle, cat, elephant = animals.values()
    for other, colour in ((poodle, dogs), (cat, NEGATIVE), (elephant, NEGATIVE)):
        style = "<->" if colour == NEGATIVE else "-"
        _arrow(axis, husky, other, colour, style, shrink=24)
    box = dict(boxstyle="round,pad=0.4", fc=NEUTRAL, ec="0.3")
    for name, (x, y) in animals.items():
        axis.text(x, y, name, ha="center", va="center", bbox=box)


def architecture():
    """Figure 2: one encoder gives z; each level's loss sees z through the level's mask."""
    figure, axis = plt.subplots(figsize=(7, 2.8))
    axis.set(xlim=(0, 10), ylim=(0, 4))
    axis.axis("off")
    _box(axis, 0.1, 1.5, 1.0, "image\n$x$")
    _box(axis, 1.7, 1.5, 2.0, "encoder + head\n$E_\\theta$")
    _box(axis, 4.3, 1.5, 1.0, "$z$")
    for tail, head in ((1.15, 1.65), (3.75, 4.25)):
        _arrow(axis, (tail, 2), (head, 2), "0.2", "->")
    for level, y, colour in ((1, 2.8, POSITIVE), (2, 0.2, NEGATIVE)):
        _box(axis, 6.0, y, 1.5, f"$z \\odot M_{level}$", colour)
        _box(axis, 8.3, y, 1.6, f"contrastive\nloss, level {level}", colour)
        _arrow(axis, (5.35, 2), (5.95, y + 0.5), "0.2", "->")
        _arrow(axis, (7.55, y + 0.5), (8.25, y + 0.5), "0.2", "->")
    text = "masks $M_1, M_2$ are made from $z$\nG-HMLC: Gaussian mixture, hard (0 or 1)\n"
    text += "A-HMLC: one attention head per level, soft"
    axis.text(2.7, 0.55, text, ha="center", va="center", fontsize=8)
    return figure


def _arrow(axis, tail, head, colour, style, shrink=0):
    look = dict(arrowstyle=style, color=colour, mutation_scale=12, linewidth=1.6)
    axis.add_patch(FancyArrowPatch(tail, head, shrinkA=shrink, shrinkB=shrink, **look))


def _box(axis, x, y, width, text, edge="0.3"):
    look = dict(boxstyle="round,pad=0.05", fc=NEUTRAL, ec=edge, lw=1.4)
    axis.add_patch(FancyBboxPatch((x, y), width, 1, **look))
    axis.text(x + width / 2, y + 0.5, text, ha="center", va="center")


def image_grid(dataset, indices, columns=8):
    """Images of a data set, their class at each level above (Figure 3 for hierarchical MNIST)."""
    titles = [_class_names_of(dataset, i) for i in indices]
    one_line = max(len(" / ".join(title)) for title in titles) <= 15
    height, size = (1.25, 8) if one_line else (1.1 + 0.15 * len(dataset.level_names), 6.5)
    rows = -(-len(titles) // columns)
    figure, axes = _panels(rows, columns, 1, height)
    for axis, i, title in zip(axes.flat, indices, titles):
        axis.imshow(dataset.images[i].squeeze(), vmin=0, vmax=255)
        axis.set_title((" / " if one_line else "\n").join(title), fontsize=size)
    for axis in axes.flat:
        axis.axis("off")
    return figure


def _class_names_of(dataset, i):
    """Short names of the classes of sample i, coarse to fine; "?" where unknown."""
    names = zip(dataset.class_names, dataset.labels[i])
    return [shortened(classes[label], 15) if label >= 0 else "?" for classes, label in names]


def _panels(rows, columns, width, height, **more):
    """A figure of rows x columns panels of this size in inches, and its axes [rows, columns]."""
    size = (width * columns, height * rows)
    return plt.subplots(rows, columns, figsize=size, squeeze=False, layout="constrained", **more)


def _abreast(number, most, width, height, **more):
    """A figure of so many panels, at most so many in a row, and a list of their axes."""
    columns = min(number, most)
    figure, axes = _panels(-(-number // columns), columns, width, height, **more)
    for axis in axes.flat[number:]:
        axis.remove()
    return figure, list(axes.flat[:number])


def mean_image(dataset):
    """The mean of all images, bright parts cut off, so that faint ones show."""
    figure, axis = plt.subplots(figsize=(2.6, 2.6))
    mean = dataset.images.mean(0).squeeze()
    axis.imshow(mean, vmax=2 * np.median(mean))
    axis.set_title("mean image, cut off at twice its median")
    axis.axis("off")
    return figure


def values_by_level(embeddings, masks):
    """Histograms of the coordinates of single embeddings, coloured by the level they belong to.

    Args:
        embeddings: [n, D]; masks: 0/1 [L, n, D].
    """
    figure, axes = _panels(1, len(embeddings), 2.3, 2, sharey=True)
    names = [f"level {level + 1}" for level in range(len(masks))]
    for i, axis in enumerate(axes[0]):
        values = embeddings[i]
        bins = np.linspace(values.min(), values.max(), 24)
        parts = [values[mask > 0] for mask in masks[:, i]]
        axis.hist(parts, bins, stacked=True, label=names)
        axis.set(title=f"sample {i}", xlabel="value of a coordinate")
    axes[0, 0].set_ylabel("coordinates")
    axes[0, -1].legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def mask_pictures(masks, titles):
    """Which coordinates (columns) of which samples (rows) each level sees.

    Args:
        masks: list of [L, B, D], one for each title.
    """
    levels = len(masks[0])
    figure, axes = _panels(levels, len(masks), 1.9, 1.6, sharex=True, sharey=True)
    for column, (mask, title) in enumerate(zip(masks, titles)):
        darkest = max(1.0, float(np.quantile(mask, 0.98)))
        for level, axis in enumerate(axes[:, column]):
            axis.imshow(mask[level], aspect="auto", cmap="Blues", vmin=0, vmax=darkest)
            axis.set_title(title if level == 0 else "")
            axis.set_ylabel(f"level {level + 1}\nsample" if column == 0 else "")
    figure.supxlabel("coordinate of z", fontsize=9)
    return figure


def learning_curves(histories, level_names, alike=None):
    """Loss of each level against epochs.

    Args:
        histories: {method: list of epoch records}.
        alike: a loss to mark by a grey line, that of embeddings which are all alike; None: no line.
    """
    figure, axes = _panels(1, len(level_names), 3.5, 2.6)
    for axis, level in zip(axes[0], level_names):
        if alike is not None:
            axis.axhline(alike, color="0.6", ls="-", lw=3, alpha=0.4)
        for method in ordered(histories):
            history = histories[method]
            if level in history[0]:
                epochs, losses = zip(*((record["epoch"], record[level]) for record in history))
                look = method_look(method)
                axis.plot(epochs, losses, ms=3, label=method_name(method), **look)
        axis.set(title=f"level: {literal(level)}", xlabel="epoch", ylabel="loss")
        axis.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes[0, -1].legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def claims_map(columns, groups, counted=False):
    """Claims by data sets and levels: the difference in points, coloured by what its interval says.

    Args:
        columns: {(data set, level): [difference of each claim, with value, half_width and
            direction]}, NaN where it was not run.
        groups: {heading: texts of its claims}, in the order of the differences.
        counted: whether the right end of a row says how often its claim holds.
    """
    lines = [line for heading, texts in groups.items() for line in (heading, *texts)]
    rows = [y for y, line in enumerate(lines) if line not in groups]
    width = 2.3 + 0.78 * (len(columns) + counted)
    figure, axis = plt.subplots(figsize=(width, 1.3 + 0.36 * len(lines)), layout="constrained")
    for x, differences in enumerate(columns.values()):
        for y, difference in zip(rows, differences):
            _verdict_cell(axis, x, y, difference)
    axis.set(xlim=(-0.5, len(columns) + counted - 0.5), ylim=(len(lines) - 0.5, -0.5))
    axis.set_yticks(rows, [lines[y] for y in rows])
    axis.set_xticks(range(len(columns)), [level for _, level in columns])
    axis.tick_params(length=0, top=True, bottom=False, labeltop=True, labelbottom=False)
    axis.spines[:].set_visible(False)
    for y, line in enumerate(lines):
        if line in groups:
            heading = axis.text(-0.5, y + 0.1, line, va="center", weight="bold")
            heading.set_in_layout(False)  # a long one would squeeze few columns
    _name_groups(axis, [name for name, _ in columns])
    if counted:
        _count_verdicts(axis, columns, rows)
    text = "First method's linear accuracy minus the second's, in points, with its 95 % interval.\n"
    text += "Blue: the first is above; orange: it is below; grey: undecided, which is not equal;\n"
    text += "white: one seed or none. Colours by unrounded numbers, not corrected for their number."
    figure.supxlabel(text, fontsize=8)
    return figure


def _verdict_cell(axis, x, y, difference):
    """A cell with a difference in the colour of its verdict, and its interval."""
    value, half_width = difference.value, difference.half_width
    open_cell = "white" if np.isnan(half_width) else NEUTRAL
    colour = verdict_colour(value, half_width, undecided=open_cell)
    axis.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, fc=colour, ec="white", lw=2))
    look = dict(color="white" if colour in (POSITIVE, NEGATIVE) else "0.15", ha="center")
    interval = "" if np.isnan(half_width) else f"± {results.percent(half_width)}"
    text = results.percent(value, signed=True)
    axis.text(x, y - 0.14 * bool(interval), text, va="center", **look)
    axis.text(x, y + 0.25, interval, va="center", fontsize=6.5, **look)


def _name_groups(axis, names):
    """Each name over its columns, a white line between groups."""
    for name in dict.fromkeys(names):
        places = [x for x, other in enumerate(names) if other == name]
        middle, (first, *more) = (places[0] + places[-1]) / 2, name.split(", ")
        axis.text(middle, -1.05, "\n".join(more), ha="center", va="bottom")
        over = -1.1 - 0.42 * len(more)
        axis.text(middle, over, first, ha="center", va="bottom", weight="bold")
        axis.axvline(places[-1] + 0.5, color="white", lw=8)


def _count_verdicts(axis, columns, rows):
    """How often each row's claim holds, its opposite does, and neither: three coloured numbers."""
    colours = {"above": POSITIVE, "below": NEGATIVE, "undecided": "0.45"}
    look = dict(weight="bold", ha="center", va="center")
    for y, differences in zip(rows, zip(*columns.values())):
        known = [one.direction for one in differences if not np.isnan(one.half_width)]
        for place, (word, colour) in enumerate(colours.items()):
            x = len(columns) + 0.3 * (place - 1)
            axis.text(x, y, known.count(word), color=colour, **look)
    axis.text(len(columns), -0.7, "how often", ha="center", va="bottom")


def embedding_maps(maps, labels, level_names, class_names, captions):
    """Figure 4: a column for each method, a row for each level by which the points are coloured.

    Args:
        maps: {method: float [N, 2]}; labels: int [N, L], -1 (unknown) is grey.
        captions: {(method, level name): text under the panel}; no text where it lacks one.
    """
    figure, axes = _panels(len(level_names), len(maps), 2.6, 2.6)
    for level, (row, level_name) in enumerate(zip(axes, level_names)):
        for axis, (method, points) in zip(row, maps.items()):
            _draw_map(axis, points, labels[:, level], class_names[level])
            axis.set_xlabel(captions.get((method, level_name), ""))
            axis.set_title(method_name(method) if level == 0 else "")
        row[0].set_ylabel(f"level {level + 1}: {literal(level_name)}")
        if len(class_names[level]) <= 10 and class_names[level] not in class_names[:level]:
            _legend_of_classes(row[-1], class_names[level])
    return figure


def class_colours(count):
    """One RGB colour for each class, [count + 1, 3]; the last is that of unknown labels (-1)."""
    return np.array([*sns.color_palette("tab10" if count <= 10 else "husl", count), UNKNOWN])


MOST_NAMED = 20  # classes of a map; more names would hide the points


def _draw_map(axis, points, labels, class_names):
    colours = class_colours(len(class_names))[labels]
    size = np.clip(4000 / len(points), 2, 25)
    axis.scatter(*points.T, s=size, c=colours, linewidths=0, rasterized=True)
    axis.set(xticks=[], yticks=[])
    for side in axis.spines.values():
        side.set(visible=True, color="0.85")
    if 10 < len(class_names) <= MOST_NAMED:
        _name_clusters(axis, points, labels, class_names)


def _legend_of_classes(axis, class_names):
    dots = [
        plt.Line2D([], [], marker="o", ls="", ms=4, color=colour, label=literal(name))
        for name, colour in zip(class_names, class_colours(len(class_names)))
    ]
    axis.legend(handles=dots, loc="center left", bbox_to_anchor=(1, 0.5), handletextpad=0)


def _name_clusters(axis, points, labels, names, least=0.05, size=5):
    """Write class names at the medians of their points, largest classes first.

    A name is left out where it would come within `least` of the map's height of one that is there.
    """
    low, high = points.min(0), points.max(0)
    written = []
    counts = np.bincount(labels[labels >= 0], minlength=len(names))
    for k in counts.argsort()[::-1][: (counts > 0).sum()]:
        middle = np.median(points[labels == k], 0)
        x, y = (middle - low) / (high - low)
        text = shortened(names[k])
        if any(
            abs(x - a) <= least * (len(text) + n) / 4 and abs(y - b) <= least for a, b, n in written
        ):
            continue
        written.append((x, y, len(text)))
        side = "left" if x < 0.2 else "right" if x > 0.8 else "center"  # so that it stays inside
        box = dict(boxstyle="round,pad=0.1", fc="white", ec="none", alpha=0.6)
        axis.text(*middle, text, fontsize=size, ha=side, va="center", bbox=box, zorder=4)


def accuracy_per_level(summary, level_names, methods):
    """Mean and 95 % interval of linear accuracy per method, one panel per level.

    Args:
        summary: results.summary of one data set.
    """
    figure, axes = _panels(1, len(level_names), 3.4, 0.3 * len(methods) + 1, sharey=True)
    linear = summary[summary.metric == "linear_accuracy"]
    for axis, level in zip(axes[0], level_names):
        rows = linear[linear.level == level].set_index("method").reindex(methods)
        widths = 100 * rows["half_width"].fillna(0)
        axis.errorbar(100 * rows["mean"], range(len(methods)), xerr=widths, fmt="o", capsize=3)
        axis.set(title=f"level: {literal(level)}", xlabel="linear accuracy, %")
        axis.grid(axis="x", color="0.9")
    axes[0, 0].set_yticks(range(len(methods)), [method_name(method) for method in methods])
    axes[0, 0].invert_yaxis()
    return figure


FAR_TICKS = (5, 10, 20, 50)  # of which an axis has the outermost at each end
NEAR, FAR = 5, 0.2  # points shown in proportion; a share beyond which others would not be seen


DIFFERENCES_ABREAST = 3  # so many panels stand beside each other


def differences(panels):
    """Mean differences with their intervals, one row each, grey where the interval holds zero; the
    rows stand at the left alone where no panel has one that the longest lacks.

    Args:
        panels: {title: list of (text, difference, half width)}, as shares; shown in points.
    """
    names = {title: [text for text, *_ in rows] for title, rows in panels.items()}
    longest = max(names.values(), key=len)
    shared = all(set(some) <= set(longest) for some in names.values())
    height = 0.24 * len(longest) + 0.8
    width = 2.5 + 1.5 / min(len(panels), DIFFERENCES_ABREAST)
    figure, axes = _abreast(len(panels), DIFFERENCES_ABREAST, width, height, sharey=shared)
    for axis, (title, rows) in zip(axes, panels.items()):
        shown = longest if shared else names[title]
        for text, value, half_width in rows:
            look = dict(fmt="o", ms=4, capsize=3, color=verdict_colour(value, half_width))
            axis.errorbar(100 * value, shown.index(text), xerr=100 * half_width, **look)
        axis.axvline(0, color="0.2", lw=0.8)
        far = max(abs(value) for _, value, _ in rows) > FAR
        if far:
            _logarithmic(axis, rows)
        title = title.replace(" − ", "\n− ") if len(panels) > 2 else title
        xlabel = "difference, points" + (f"\n(logarithmic beyond {NEAR})" if far else "")
        axis.set(xlabel=xlabel, title=title, ylim=(len(longest) - 0.5, -0.5))
        axis.set_yticks(range(len(shown)), shown)
    return figure


def _logarithmic(axis, rows):
    """An axis of differences, logarithmic beyond NEAR points, that holds all intervals whole."""
    ends = [
        100 * (value + sign * np.nan_to_num(half)) for _, value, half in rows for sign in (-1, 1)
    ]
    low, high = (1.3 * end for end in (min(*ends, -NEAR), max(*ends, NEAR)))
    shown = {0}
    for sign, end in ((-1, -low), (1, high)):
        far = max(tick for tick in FAR_TICKS if tick < end)
        shown |= {sign * far, sign * (NEAR if far > 2 * NEAR else far)}  # 5 and 10 would touch
    shown = sorted(shown)
    axis.set_xscale("symlog", linthresh=NEAR)
    axis.set_xticks(shown, [f"{tick:g}" for tick in shown])
    axis.set_xlim(low, high)


def verdict_colour(difference, half_width, undecided="0.5"):
    """Blue above zero, orange below, grey where the interval holds zero or is not known."""
    word = results.direction(difference, half_width)
    return {"above": POSITIVE, "below": NEGATIVE, "undecided": undecided}[word]


LEAST_BITS = -0.5  # what is below is drawn there


def information_of_parts(tables, class_counts, title=None):
    """What each masked part of the embedding knows of each level's classes, in bits: a panel for
    each level, a row for each method, a mark for each part; dashed: all there is to know.

    Args:
        tables: {title: data frame}, index = parts, columns = levels of the labels.
        class_counts: {level: number of its classes}, as far as known.
    """
    levels, rows = list(next(iter(tables.values()))), np.arange(len(tables))
    figure, axes = _panels(1, len(levels), 3.2, 0.28 * len(tables) + 1, sharey=True)
    for axis, level in zip(axes[0], levels):
        bits = pd.DataFrame({name: table[level] for name, table in tables.items()})
        bits = bits.clip(lower=LEAST_BITS)
        most = max(0.1, bits.max(axis=None))
        axis.hlines(rows, bits.min(), bits.max(), color="0.8", zorder=0)
        for marker, (part, known) in zip(cycle("os^DvP*X"), bits.iterrows()):
            axis.plot(known, rows, marker, mfc="none", mew=1.5, label=f"part for {part}")
        if level in class_counts:
            most = max(most, np.log2(class_counts[level]))
            axis.axvline(np.log2(class_counts[level]), ls="--", color="0.6", lw=1)
        axis.set(title=f"known of {level}", xlabel="bits")
        least = min(0, bits.min(axis=None))
        axis.set_xlim(least - 0.05 * (most - least), most + 0.05 * (most - least))
    axes[0, 0].set_yticks(rows, list(tables))
    axes[0, 0].invert_yaxis()
    axes[0, -1].legend(loc="center left", bbox_to_anchor=(1, 0.5))
    figure.suptitle(title)
    return figure


def _heat_map(axis, table, digits, most, **more):
    sns.heatmap(table, annot=True, fmt=digits, vmin=0, vmax=most, cmap="Blues", ax=axis, **more)
    axis.tick_params(axis="y", rotation=0)


def usage(lines):
    """Share of images for which each coordinate (sorted) belongs to level 1.

    Args:
        lines: {method: list of arrays [D], one for each seed}.
    """
    figure, axis = plt.subplots(figsize=(3.6, 2.6), layout="constrained")
    for method, seeds in lines.items():
        for number, values in enumerate(seeds):
            name = method_name(method) if number == 0 else None
            axis.plot(values, color=method_look(method)["color"], ls="-", lw=1, label=name)
    text = "share of images with\nthis coordinate in level 1"
    axis.set(xlabel="coordinate of z, sorted", ylabel=text, ylim=(-0.03, 1.03))
    axis.legend()
    return figure


def agreement_over_epochs(curves):
    """Agreement of masks with those of the last epoch, a line for each run.

    Args:
        curves: {method: data frame, index = epochs, columns = seeds}.
    """
    figure, axis = plt.subplots(figsize=(3.6, 2.6), layout="constrained")
    for method, seeds in curves.items():
        lines = axis.plot(seeds, ms=2, lw=0.8, **method_look(method))
        lines[0].set_label(method_name(method))
    text = "agreement with the\nlast epoch's masks (kappa)"
    axis.set(xlabel="epoch", ylabel=text, ylim=(-0.03, 1.03))
    axis.legend()
    return figure


def posteriors(rows):
    """Posterior probability (colour and text) of each number of levels (column).

    Args:
        rows: {text: float [largest number]}.
    """
    values = np.stack(list(rows.values()))
    figure, axis = plt.subplots(figsize=(4, 0.28 * len(values) + 0.8), layout="constrained")
    ticks = dict(xticklabels=range(1, values.shape[1] + 1), yticklabels=list(rows))
    _heat_map(axis, values, ".2f", 1, cbar=False, annot_kws={"size": 7}, **ticks)
    axis.set(xlabel="number of levels")
    return figure


METHODS_ABREAST = 4


def accuracy_against_epochs(points, level_names):
    """Linear accuracy against the number of epochs, on logarithmic steps, a panel for each method.

    A colour for each level; means with 95 % bands over the seeds that all budgets of several seeds
    have; dots and thin lines for single seeds. Grey: the means of the other methods.

    Args:
        points: data frame with columns method, epochs, level, seed, value; one data set.
    """
    budgets, methods = sorted(set(points.epochs)), ordered(points.method)
    seeds = {
        (key, level): _by_budget(points, key, level) for key in methods for level in level_names
    }
    figure, axes = _abreast(len(methods), METHODS_ABREAST, 2.1, 1.9, sharex=True, sharey=True)
    for axis, method in zip(axes, methods):
        for (other, _), values in seeds.items():
            if other != method:
                axis.plot(values.dropna().mean(axis=1), "-", color="0.85", lw=0.8, zorder=0)
        for number, level in enumerate(level_names):
            _draw_budgets(axis, seeds[method, level], f"C{number}", level)
        axis.set(title=method_name(method), xscale="log")
        axis.set_xticks(budgets, budgets)
        axis.set_xticks([], minor=True)
        axis.tick_params(labelbottom=True)
    figure.supylabel("linear accuracy, %")
    figure.supxlabel("epochs (each a run of its own)")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right lower")
    return figure


def _by_budget(points, method, level):
    """Linear accuracy in %, index = epochs, columns = the seeds that all budgets of several seeds
    have."""
    part = points[(points.level == level) & (points.method == method)]
    seeds = 100 * part.pivot_table(index="epochs", columns="seed", values="value")
    counts = seeds.notna().sum(axis=1)
    fewest = counts.where(counts > 1, counts.max()).idxmin()
    return seeds.loc[:, seeds.loc[fewest].notna()]


def _draw_budgets(axis, seeds, colour, label):
    """A line of means with its band, and the seeds; index = epochs, columns = seeds."""
    whole = seeds.dropna()
    middle, half = np.transpose([results.mean_and_interval(row) for row in whole.to_numpy()])
    axis.plot(whole.index, middle, "-", color=colour, label=label)
    band = [np.clip(edge, 0, 100) for edge in (middle - half, middle + half)]
    axis.fill_between(whole.index, *band, color=colour, alpha=0.15, lw=0)
    axis.plot(seeds, "o-", ms=2.5, lw=0.5, alpha=0.6, color=colour)


def every_run(values):
    """Linear accuracy of each run: a dot for each seed, a row for each method, a panel a level.

    Args:
        values: {level: {method: accuracies of its runs}}.
    """
    height = 0.7 + 0.2 * max(map(len, values.values()))
    figure, axes = _panels(1, len(values), 3.6, height, sharey=True)
    for axis, (level, runs) in zip(axes[0], values.items()):
        for row, (method, accuracies) in enumerate(runs.items()):
            look = dict(ls="none", alpha=0.6, **method_look(method))
            axis.plot(100 * np.asarray(accuracies), np.full(len(accuracies), row), **look)
        axis.set_yticks(range(len(runs)), [method_name(method) for method in runs])
        axis.set(title=f"level: {level}", xlabel="linear accuracy, %", xlim=(0, 102))
        axis.grid(axis="x", alpha=0.3)
    axes[0, 0].invert_yaxis()
    return figure


def dendrogram(tree, names):
    """How alike classes are: scipy's linkage `tree` of the classes with these names."""
    figure, axis = plt.subplots(figsize=(5, 0.17 * len(names) + 0.8), layout="constrained")
    hierarchy.dendrogram(
        tree, orientation="left", labels=list(map(literal, names)), ax=axis, color_threshold=0,
        leaf_font_size=7, above_threshold_color="0.3",
    )  # fmt: skip
    axis.set(title="how alike classes are", xlabel="cosine distance of class means")
    return figure


def picture_map(points, dataset, level, title=""):
    """A map of thumbnails, framed in the colour of their class at a level; names at the medians.

    Args:
        points: float [N, 2]; dataset: HierarchicalDataset of the N samples.
    """
    figure, axis = plt.subplots(figsize=(5.2, 5.2), layout="constrained")
    names, labels = dataset.class_names[level], dataset.labels[:, level]
    side = float(np.clip(0.55 / np.sqrt(len(points)), 0.04, 0.07))  # of the map's width
    places = 0.04 + 0.92 * (points - points.min(0)) / np.maximum(np.ptp(points, 0), 1e-9)
    for image, (x, y), colour in zip(dataset.images, places, class_colours(len(names))[labels]):
        where = (x - side / 2, x + side / 2, y - side / 2, y + side / 2)
        axis.imshow(image.squeeze(), extent=where, vmin=0, vmax=255, zorder=2)
        frame = dict(fill=False, ec=colour, lw=1.8, zorder=3)
        axis.add_patch(plt.Rectangle(where[::2], side, side, **frame))
    axis.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), title=literal(title))
    axis.axis("off")
    _name_clusters(axis, places, labels, names, size=9)
    return figure


def masks_of_pictures(dataset, masks):
    """Pictures, and beside each what each level's mask lets through: a row per level, a column per
    coordinate, blue = seen.

    Args:
        masks: [L, N, D] of the N samples.
    """
    figure, axes = plt.subplots(
        len(dataset), 2, figsize=(5.2, 1.2 * len(dataset)), squeeze=False, layout="constrained",
        width_ratios=[1, 4],
    )  # fmt: skip
    most = max(1.0, float(np.quantile(masks, 0.98)))
    for i, (left, right) in enumerate(axes):
        left.imshow(dataset.images[i].squeeze(), vmin=0, vmax=255)
        left.set_title(" / ".join(_class_names_of(dataset, i)), fontsize=8)
        left.axis("off")
        right.imshow(masks[:, i], aspect="auto", cmap="Blues", vmin=0, vmax=most)
        names = list(map(literal, dataset.level_names))
        right.set_yticks(range(len(names)), names)
        right.set_xticks([])
    axes[-1, 1].set_xlabel("coordinate of the embedding")
    return figure


def confused_classes(dataset, predicted, pairs, each=3):
    """Pairs of classes of the finest level side by side, wrongly predicted pictures first, those
    framed.

    Args:
        predicted: int [N], classes of the finest level; pairs: [(a, b, times)], at least one.
        each: pictures of a class.
    """
    figure, axes = _panels(len(pairs), 2 * each, 0.87, 1.2)
    for row, (a, b, _) in zip(axes, pairs):
        _draw_class(row[:each], dataset, predicted, a, b)
        _draw_class(row[each:], dataset, predicted, b, a)
    return figure


def _draw_class(axes, dataset, predicted, own, other):
    """Pictures of a class, those taken for the other one first and framed."""
    labels, names = dataset.labels[:, -1], dataset.class_names[-1]
    mistaken = (labels == own) & (predicted == other)
    chosen = np.flatnonzero(labels == own)
    chosen = chosen[np.argsort(~mistaken[chosen], kind="stable")]
    axes[0].set_title(shortened(names[own]), loc="left", fontsize=9)
    for axis in axes:
        axis.axis("off")
    for axis, i in zip(axes, chosen):
        axis.imshow(dataset.images[i].squeeze(), vmin=0, vmax=255)
        axis.axis("on")
        axis.set(xticks=[], yticks=[])
        colour, width = (NEGATIVE, 3) if mistaken[i] else ("0.8", 1)
        for side in axis.spines.values():
            side.set(visible=True, color=colour, linewidth=width)
