"""One function per figure, one style. Each returns the matplotlib figure; `save` writes it as pdf and png."""
import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from hmlc_core import files

NAMES = {"cross_entropy": "cross-entropy", "supcon": "SupCon (finest level)", "hmce_paper": "HMCE (paper)",
         "hmce_released": "HMCE (released)", "shared": "control: shared", "split": "control: split",
         "sign": "control: sign", "rectified": "control: rectified", "random": "control: random split", "g_hmlc": "G-HMLC", "g_hmlc_batch": "G-HMLC (batch)",
         "a_hmlc": "A-HMLC", "a_hmlc_sharp": "A-HMLC, not divided by √D", "a_hmlc_sigmoid": "A-HMLC, sigmoid",
         "a_hmlc_rectified": "A-HMLC, positive coordinates", "separability": "ours: separability", "heads": "MLCL (head per level)", "rince": "RINCE", "bhcl": "BHCL",
         "level_restricted": "level-restricted", "level_restricted_hyperbolic": "level-restricted (hyperbolic)", "shared_without_batchnorm": "shared, no BatchNorm"}
DATASETS = {"cifar100": "CIFAR-100", "modelnet10": "ModelNet10", "modelnet40": "ModelNet40", "hierarchical_mnist": "Hierarchical MNIST"}
VARIANTS = {"hierarchical_mnist_tuning": "Hierarchical MNIST (validation)", "modelnet10_tuning": "ModelNet10 (validation)", "cifar100_tuning": "CIFAR-100 (validation)",
            "hierarchical_mnist_three": "three levels", "hierarchical_mnist_path": "a tree (10 + 100 classes)",
            "hierarchical_mnist_tail10": "long tail 1:10", "hierarchical_mnist_tail50": "long tail 1:50"}
LEVELS = ["super-category", "superclass", "category", "central", "class", "object", "subsidiary", "pair", "second subsidiary"]  # coarse before fine
POSITIVE, NEGATIVE, NEUTRAL = "#0072B2", "#D55E00", "#E8E8E8"

plt.style.use(files.ROOT / "figures" / "paper.mplstyle")


def label(method):
    """A method's name as figures and tables show it."""
    return NAMES.get(method, method)


def shortened(name, most=18):
    """A class name for the inside of a panel; of a path its end."""
    name = name.rsplit("/", 1)[-1]
    return name if len(name) <= most else name[:most - 1] + "…"


def ordered(methods):
    """Methods in the order of NAMES, others behind."""
    return sorted(set(methods), key=lambda m: (list(NAMES).index(m) if m in NAMES else len(NAMES), m))


def save(figure, name, profile):
    """Write figures/<profile>/<name>.pdf and .png; returns the figure."""
    for kind in ("pdf", "png"):
        with files.writing(files.FIGURES / profile / f"{name}.{kind}") as beside:
            figure.savefig(beside)
    return figure


def pairs_at_each_level():
    """Figure 1: which pairs attract and repel at each level, for two dogs, a cat and an elephant."""
    figure, axes = plt.subplots(1, 2, figsize=(7, 2.5))
    at = {"husky\n(dog)": (0.2, 0.75), "poodle\n(dog)": (0.8, 0.75), "cat": (0.2, 0.2), "elephant": (0.8, 0.2)}
    for axis, title, together in zip(axes, ("level 1: category", "level 2: class"), (POSITIVE, NEGATIVE)):
        axis.set(xlim=(0, 1), ylim=(0, 1), title=title)
        axis.axis("off")
        husky, poodle, cat, elephant = at.values()
        for a, b, colour in ((husky, poodle, together), (husky, cat, NEGATIVE), (husky, elephant, NEGATIVE)):
            _arrow(axis, a, b, colour, "<->" if colour == NEGATIVE else "-", shrink=24)
        for name, (x, y) in at.items():
            axis.text(x, y, name, ha="center", va="center", bbox=dict(boxstyle="round,pad=0.4", fc=NEUTRAL, ec="0.3"))
    figure.text(0.5, -0.02, "anchor: the husky.  blue line: pulled together (positive)   orange arrow: pushed apart (negative)",
                ha="center", fontsize=8)
    return figure


def architecture():
    """Figure 2: encoder and head give z, one mask per level multiplies it, one contrastive loss per level sees the product."""
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
    axis.text(2.7, 0.55, "masks $M_1, M_2$ are made from $z$\nG-HMLC: Gaussian mixture, hard (0 or 1)\n"
              "A-HMLC: one attention head per level, soft", ha="center", va="center", fontsize=8)
    return figure


def _arrow(axis, tail, head, colour, style, shrink=0):
    axis.add_patch(FancyArrowPatch(tail, head, arrowstyle=style, color=colour, mutation_scale=12, linewidth=1.6,
                                   shrinkA=shrink, shrinkB=shrink))


def _box(axis, x, y, width, text, edge="0.3"):
    axis.add_patch(FancyBboxPatch((x, y), width, 1, boxstyle="round,pad=0.05", fc=NEUTRAL, ec=edge, lw=1.4))
    axis.text(x + width / 2, y + 0.5, text, ha="center", va="center")


def image_grid(dataset, indices, columns=8):
    """Images of a data set with their class at each level above (Figure 3 for hierarchical MNIST)."""
    rows = -(-len(indices) // columns)
    titles = [[shortened(names[k], 15) if k >= 0 else "?" for names, k in zip(dataset.class_names, dataset.labels[i])] for i in indices]
    between = " / " if max(len(" / ".join(title)) for title in titles) <= 15 else "\n"
    height, size = (1.25, 8) if between == " / " else (1.1 + 0.15 * len(titles[0]), 6.5)
    figure, axes = plt.subplots(rows, columns, figsize=(columns, height * rows), squeeze=False, layout="constrained")
    for axis, i, title in zip(axes.flat, indices, titles):
        axis.imshow(dataset.images[i].squeeze(), vmin=0, vmax=255)
        axis.set_title(between.join(title), fontsize=size)
    for axis in axes.flat:
        axis.axis("off")
    return figure


def mask_pictures(masks, titles):
    """Which coordinates (columns) of which samples (rows) each level sees; masks: list of [L, B, D], one per title."""
    levels = masks[0].shape[0]
    figure, axes = plt.subplots(levels, len(masks), figsize=(1.9 * len(masks), 1.6 * levels), squeeze=False,
                                sharex=True, sharey=True, layout="constrained")
    for column, (mask, title) in enumerate(zip(masks, titles)):
        for level, axis in enumerate(axes[:, column]):
            axis.imshow(mask[level], aspect="auto", cmap="Blues", vmin=0, vmax=max(1.0, float(np.quantile(mask, 0.98))))
            axis.set_title(title if level == 0 else "")
            axis.set_ylabel(f"level {level + 1}\nsample" if column == 0 else "")
    figure.supxlabel("coordinate of z", fontsize=9)
    return figure


def learning_curves(histories, level_names):
    """Loss of each level against epochs; histories: {method: list of epoch records}."""
    figure, axes = plt.subplots(1, len(level_names), figsize=(3.5 * len(level_names), 2.6), squeeze=False, layout="constrained")
    for axis, level in zip(axes[0], level_names):
        for style, (method, history) in zip(plt.rcParams["axes.prop_cycle"](), histories.items()):       # also where another method lacks the level
            if level in history[0]:
                axis.plot([h["epoch"] for h in history], [h[level] for h in history], label=label(method), **style)
        axis.set(title=f"level: {level}", xlabel="epoch", ylabel="loss")
    axes[0, -1].legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def embedding_maps(maps, labels, level_names, class_names, captions):
    """Figure 4: one column per method, one row per level by which the points are coloured.

    Args:
        maps: {method: float [N, 2]}; labels: int [N, L], -1 (unknown) is grey; captions: {(method, level index): text under the panel}.
    """
    rows, columns = len(level_names), len(maps)
    figure, axes = plt.subplots(rows, columns, figsize=(2.5 * columns + 0.6, 2.6 * rows), squeeze=False, layout="constrained")
    for level in range(rows):
        palette = sns.color_palette("tab10" if len(class_names[level]) <= 10 else "husl", len(class_names[level]))
        colours = np.array([*palette, (0.8, 0.8, 0.8)])         # the last for unknown labels (-1)
        for axis, (method, points) in zip(axes[level], maps.items()):
            axis.scatter(*points.T, s=np.clip(4000 / len(points), 2, 25), c=colours[labels[:, level]], linewidths=0, rasterized=True)
            axis.set(xticks=[], yticks=[], xlabel=captions[method, level])
            axis.set_title(label(method) if level == 0 else "")
            if len(class_names[level]) > 10:
                _name_clusters(axis, points, labels[:, level], class_names[level])
        axes[level, 0].set_ylabel(f"level {level + 1}: {level_names[level]}")
        if len(class_names[level]) <= 10:
            handles = [plt.Line2D([], [], marker="o", ls="", ms=4, color=c, label=n) for c, n in zip(colours, class_names[level])]
            axes[level, -1].legend(handles=handles, loc="center left", bbox_to_anchor=(1, 0.5), handletextpad=0)
    return figure


def _name_clusters(axis, points, labels, names, least=0.05):
    """Write class names at the medians of their points, largest classes first; a name that would come within `least` (of the map's
    height) of one already there is left out."""
    low, high = points.min(0), points.max(0)
    taken = []
    for k in np.bincount(labels[labels >= 0], minlength=len(names)).argsort()[::-1]:
        if not (labels == k).any():
            continue
        place = np.median(points[labels == k], 0)
        across, up = (place - low) / (high - low)
        if all(abs(across - x) > least * (len(names[k]) + length) / 4 or abs(up - y) > least for x, y, length in taken):
            taken.append((across, up, len(names[k])))
            side = "left" if across < 0.2 else "right" if across > 0.8 else "center"        # so that it stays in the panel
            axis.text(*place, shortened(names[k]), fontsize=5, ha=side, va="center", bbox=dict(boxstyle="round,pad=0.1", fc="white", ec="none", alpha=0.6))


def accuracy_per_level(summary, level_names, methods):
    """Mean and 95 % interval of linear accuracy per method, one panel per level; summary: results.summary of one data set."""
    figure, axes = plt.subplots(1, len(level_names), figsize=(3.4 * len(level_names), 0.3 * len(methods) + 1), sharey=True,
                                squeeze=False, layout="constrained")
    for axis, level in zip(axes[0], level_names):
        rows = summary[(summary.level == level) & (summary.metric == "linear_accuracy")].set_index("method").reindex(methods)
        axis.errorbar(100 * rows["mean"], range(len(methods)), xerr=100 * rows["half_width"].fillna(0), fmt="o", capsize=3)
        axis.set(title=f"level: {level}", xlabel="linear accuracy, %")
        axis.grid(axis="x", color="0.9")
    axes[0, 0].set_yticks(range(len(methods)), [label(method) for method in methods])
    axes[0, 0].invert_yaxis()
    return figure


def differences(panels, xlabel="difference, points"):
    """Mean differences with their intervals, one row each, grey where the interval holds zero.

    Args:
        panels: {title: list of (text, difference, half width)}, as shares; shown in points.
    """
    longest = max(map(len, panels.values()))
    alike = len({tuple(text for text, *_ in rows) for rows in panels.values()}) == 1
    figure, axes = plt.subplots(1, len(panels), figsize=(1.5 + 2.5 * len(panels), 0.24 * longest + 0.8), squeeze=False, sharey=alike, layout="constrained")
    for axis, (title, rows) in zip(axes[0], panels.items()):
        for place, (_, value, half) in enumerate(rows):
            colour = "0.5" if not abs(value) > half else POSITIVE if value > 0 else NEGATIVE
            axis.errorbar(100 * value, place, xerr=100 * half, fmt="o", ms=4, capsize=3, color=colour)
        axis.axvline(0, color="0.2", lw=0.8)
        axis.set(xlabel=xlabel, title=title, ylim=(longest - 0.5, -0.5), yticks=range(len(rows)), yticklabels=[text for text, *_ in rows])
    return figure


def information_of_parts(tables, titles):
    """Heat maps, one per method: what each masked part (row) tells about each level's labels (column), in bits.

    Args:
        tables: list of data frames, index = parts, columns = levels.
    """
    figure, axes = plt.subplots(1, len(tables), figsize=(1.9 * len(tables) + 0.8, 0.4 * len(tables[0]) + 1.6), squeeze=False, sharey=True, layout="constrained")
    top = max(0.1, *(float(table.to_numpy().max()) for table in tables))
    for axis, table, title in zip(axes[0], tables, titles):
        sns.heatmap(table, annot=True, fmt=".1f", vmin=0, vmax=top, cmap="Blues", cbar=axis is axes[0, -1], ax=axis, cbar_kws={"label": "bits"})
        axis.set(title=title, xlabel="labels of level", ylabel="part for level" if axis is axes[0, 0] else "")
        axis.tick_params(axis="y", rotation=0)
        axis.set_xticklabels(axis.get_xticklabels(), rotation=30, ha="right")
    return figure


def usage(lines):
    """Share of images for which each coordinate (sorted) belongs to level 1; lines: {method: list of arrays [D], one per seed}."""
    figure, axis = plt.subplots(figsize=(3.6, 2.6), layout="constrained")
    for (method, seeds), colour in zip(lines.items(), plt.rcParams["axes.prop_cycle"].by_key()["color"]):
        for number, values in enumerate(seeds):
            axis.plot(values, color=colour, ls="-", lw=1, label=method if number == 0 else None)
    axis.set(xlabel="coordinate of z, sorted", ylabel="share of images with\nthis coordinate in level 1", ylim=(-0.03, 1.03))
    axis.legend()
    return figure


def agreement_over_epochs(curves):
    """Agreement of masks with those of the last epoch; curves: {method: values, one per epoch}."""
    figure, axis = plt.subplots(figsize=(3.6, 2.6), layout="constrained")
    for method, values in curves.items():
        axis.plot(range(1, len(values) + 1), values, marker="o", ms=4, label=method)
    axis.set(xlabel="epoch", ylabel="agreement with the\nlast epoch's masks (kappa)", ylim=(-0.03, 1.03))
    axis.legend()
    return figure


def posteriors(found):
    """Posterior probability (colour and text) of each number of levels (column); found: {text: float [largest]}."""
    values = np.stack(list(found.values()))
    figure, axis = plt.subplots(figsize=(4, 0.28 * len(values) + 0.8), layout="constrained")
    sns.heatmap(values, annot=True, fmt=".2f", vmin=0, vmax=1, cmap="Blues", ax=axis, cbar=False, annot_kws={"size": 7},
                xticklabels=range(1, values.shape[1] + 1), yticklabels=list(found))
    axis.set(xlabel="number of levels")
    axis.tick_params(axis="y", rotation=0)
    return figure


def accuracy_against_epochs(frame, level_names, usual):
    """Linear accuracy of each method against the number of epochs it was trained for; mean over seeds, each seed a dot.

    Args:
        frame: rows of one data set; "method@2" was trained for 2 epochs, "method" for `usual`.
    """
    frame = frame[(frame.metric == "linear_accuracy") & frame.method.str.fullmatch(r"\w+(@\d+)?")].assign(
        name=lambda f: f.method.str.split("@").str[0], epochs=lambda f: f.method.str.extract(r"@(\d+)")[0].fillna(usual).astype(int))
    figure, axes = plt.subplots(1, len(level_names), figsize=(3.5 * len(level_names), 2.8), squeeze=False, layout="constrained")
    for axis, level in zip(axes[0], level_names):
        for method in ordered(frame[frame.epochs != usual].name):
            part = frame[(frame.level == level) & (frame.name == method)]
            line, = axis.plot(100 * part.groupby("epochs").value.mean(), marker="o", ms=4, label=label(method))
            axis.plot(part.epochs, 100 * part.value, ".", ms=2, color=line.get_color())
        axis.set(title=f"level: {level}", xlabel="epochs (each a run of its own)", ylabel="linear accuracy, %",
                 xticks=sorted(set(frame.epochs)))
    axes[0, -1].legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return figure
