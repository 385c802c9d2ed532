"""The tables of the study: each a function of the results that returns a data frame of texts."""

import re
from dataclasses import dataclass, field, replace
from functools import partial
from typing import NamedTuple

import numpy as np
import pandas as pd

from hmlc_core.data.load import base_of
from study import evaluation, figures, plan, results
from study.plan import MNIST
from study.variants import METHODS

MAIN = (*plan.BY_NOTEBOOK[1:], MNIST)
TREES = (plan.TREE, *plan.BY_NOTEBOOK[1:])
RECORDED = " *(recorded)*"  # behind a method whose numbers are the reference's
TAIL_PARTS = {"head": "most frequent", "tail": "least frequent"}  # classes of a long tail


@dataclass
class Numbers:
    """All results of a profile: this machine's, and the reference's for what was not run here.

    Attributes:
        rows: data frame of results, with a column `recorded`: whether it is the reference's.
    """

    profile: str
    rows: pd.DataFrame
    _summaries: dict = field(default_factory=dict, repr=False)

    @property
    def plain(self):
        """The rows of methods at the usual settings, without "@"."""
        return self.rows[~self.rows.method.str.contains("@")]

    @property
    def recorded(self):
        """(data set, method) of what is the reference's."""
        part = self.rows[self.rows.recorded]
        return set(zip(part.dataset, part.method))

    def summary(self, baseline="hmce_paper"):
        """Means, intervals and paired differences to a baseline, of methods without "@"."""
        if baseline not in self._summaries:
            table = results.summary_with_reference(self.profile, baseline)
            self._summaries[baseline] = table[~table.method.str.contains("@")]
        return self._summaries[baseline]

    def datasets(self, names=MAIN):
        """Those of these data sets that have results, in this order."""
        have = set(self.plain.dataset)
        return [name for name in names if name in have]

    def levels(self, dataset):
        """Names of the levels of a data set, coarse to fine."""
        part = self.rows[(self.rows.dataset == dataset) & (self.rows.level != "all")]
        return figures.ordered_levels(part.level)

    def methods(self, dataset):
        """The methods run on a data set, in the order of METHODS."""
        return figures.ordered(self.plain[self.plain.dataset == dataset].method)

    def at_one_rate(self, dataset):
        """The numbers of one data set, all methods at the same learning rate; see at_one_rate. For
        values and claims.pairs: of a machine's own numbers the summary is that of the files."""
        return type(self)(self.profile, at_one_rate(self.rows, self.profile, dataset))

    def values(self, dataset, level, metric):
        """Values of one metric, a row for each (recorded, seed) and a column for each method."""
        rows = self.rows
        part = rows[(rows.dataset == dataset) & (rows.level == level) & (rows.metric == metric)]
        return part.pivot_table(index=["recorded", "seed"], columns="method", values="value")


class Column(NamedTuple):
    """A column of a table: means of a metric, or paired differences to a baseline."""

    heading: str
    level: str
    metric: str
    baseline: str | None = None


def read(profile):
    """All results of a profile.

    Raises:
        RuntimeError: if there are none.
    """
    rows = results.read_with_reference(profile)
    if rows.empty:
        raise RuntimeError(
            f"no results of profile {profile} yet: run notebook 04 first, or bash run_all.sh "
            f"--profile {profile}"
        )
    return Numbers(profile, rows)


MOST_ROWS = 40  # of a table that is shown unfolded


def publish(numbers, table, name, caption, rows=None):
    """Write a table to figures/<profile>/, with what `about` says of the rows that it is of.

    Returns:
        IPython.display.Markdown, to show it.
    """
    from IPython.display import Markdown

    text = caption if rows is None else f"{caption} {about(numbers.profile, rows)}"
    if rows is not None and rows.recorded.all():
        table = table.replace(re.escape(RECORDED), "", regex=True)  # the caption says it of all
    written = results.publish(table, name, text, numbers.profile)
    if len(table) > MOST_ROWS:
        written = f"<details><summary>{len(table)} rows</summary>\n\n{written}\n</details>"
    return Markdown(written)


def about(profile, rows):
    """Data, seeds and hardware of rows of results; of recorded ones also commits and dates."""
    seeds, devices, sources = (listed(rows[column]) for column in ("seed", "device", "data_source"))
    names = listed(rows.dataset.map(figures.dataset_name))
    text = f"{names}, profile {profile}, seeds {seeds}, {devices}; data: {sources}."
    commits = sorted(set(rows[rows.recorded].commit))
    if not commits:
        return text
    dated = ", ".join(f"{commit} ({results.commit_date(commit)})" for commit in commits)
    return f"{text} {'All recorded' if rows.recorded.all() else 'Recorded'}: commit {dated}."


def rows_of(numbers, datasets, metric="linear_accuracy", methods=None):
    """The rows of one metric of data sets, of methods at the usual settings: of all or of these."""
    rows = numbers.plain[numbers.plain.dataset.isin(datasets) & (numbers.plain.metric == metric)]
    return rows if methods is None else rows[rows.method.isin(methods)]


def listed(column):
    """Different values of a column as text, sorted."""
    return ", ".join(str(value) for value in sorted(set(column)))


def shown_name(numbers, dataset, method):
    """A method's name in a table, marked where its numbers are the reference's."""
    recorded = (dataset, method) in numbers.recorded
    return figures.method_name(method) + (RECORDED if recorded else "")


def cells(numbers, dataset, columns, among=None):
    """A row for each method of a data set, its texts in these columns.

    Args:
        columns: list of Column; among: methods to show, None: all there are.

    Returns:
        Data frame; a column "seeds" where methods have different numbers of them.
    """
    methods = [m for m in numbers.methods(dataset) if among is None or m in among]
    table = pd.DataFrame({"method": [shown_name(numbers, dataset, m) for m in methods]})
    summary = numbers.summary()
    seeds = summary[summary.dataset == dataset].groupby("method").seeds.max().reindex(methods)
    if seeds.nunique() > 1:
        table["seeds"] = seeds.to_list()
    for column in columns:
        table[column.heading] = _texts(numbers, dataset, column, methods)
    return table


def _texts(numbers, dataset, column, methods):
    """The texts of one column, one for each method."""
    _, level, metric, baseline = column
    summary = numbers.summary(baseline) if baseline else numbers.summary()
    chosen = (summary.dataset == dataset) & (summary.level == level) & (summary.metric == metric)
    part = summary[chosen].set_index("method").reindex(methods)
    if baseline:
        pairs = zip(part.difference, part.difference_half_width)
    else:
        pairs = zip(part["mean"], part.half_width)
    return [results.percent(value, width, signed=baseline is not None) for value, width in pairs]


def _columns(levels, headings):
    """Columns heading by heading, in each level by level; headings: (text, metric, baseline)."""
    return [
        Column(text.format(level), level, metric, baseline)
        for text, metric, baseline in headings
        for level in levels
    ]


def linear(numbers, dataset):
    """Table 1: linear accuracy, and its difference to HMCE (released) and to the plain sum."""
    headings = [
        ("linear, {}", "linear_accuracy", None),
        ("− HMCE (released), {}", "linear_accuracy", "hmce_released"),
        ("− shared, {}", "linear_accuracy", "shared"),
    ]
    return cells(numbers, dataset, _columns(numbers.levels(dataset), headings))


def neighbours(numbers, dataset):
    """The rest of Table 1: k-NN accuracy, and linear accuracy against HMCE as in its paper."""
    headings = [
        ("k-NN, {}", "knn_accuracy", None),
        ("linear − HMCE (paper), {}", "linear_accuracy", "hmce_paper"),
    ]
    if "hmce_paper" not in numbers.methods(dataset):
        headings.pop()
    return cells(numbers, dataset, _columns(numbers.levels(dataset), headings))


def against_split(numbers, dataset):
    """Linear accuracy at each level, and its difference to a fixed division."""
    headings = [("{}", "linear_accuracy", None), ("{} − split", "linear_accuracy", "split")]
    return cells(numbers, dataset, _columns(numbers.levels(dataset), headings))


def tails(numbers, dataset):
    """Accuracy of the most and the least frequent digits of level 2, and of all."""
    columns = [
        Column(f"{shown}{against}", "subsidiary", f"{part}_accuracy", baseline)
        for against, baseline in (("", None), (" − split", "split"))
        for part, shown in (TAIL_PARTS | {"linear": "all"}).items()
    ]
    return cells(numbers, dataset, columns)


def consistency(numbers, dataset):
    """Whether predictions respect the tree: TICE and FPA, and their difference to the plain sum."""
    columns = [
        Column(f"{metric.upper()}{against}", "all", metric, baseline)
        for metric in ("tice", "fpa")
        for against, baseline in (("", None), (" − shared", "shared"))
    ]
    return cells(numbers, dataset, columns)


def trees(numbers):
    """The data sets that are trees and have results that say so."""
    have = set(numbers.rows[numbers.rows.metric == "tice"].dataset)
    return [name for name in TREES if name in have]


def decoded(numbers):
    """The trees whose classes were also decoded from coherent scores."""
    have = set(numbers.plain[numbers.plain.metric == "coherent_accuracy"].dataset)
    return [name for name in trees(numbers) if name in have]


def decodings(numbers, dataset):
    """Linear accuracy where each level decides alone, from the top, and by coherent scores; the
    calibration error of the second; accuracy by how many classes share a parent, where they do."""
    headings = [
        ("{}: alone", "linear_accuracy", None),
        ("{}: top down", "top_down_accuracy", None),
        ("{}: coherent", "coherent_accuracy", None),
        ("{}: calibration error", "top_down_calibration_error", None),
    ]
    columns, finest = _columns(numbers.levels(dataset), headings), numbers.levels(dataset)[-1]
    for family in evaluation.FAMILIES:
        title = f"{finest}, {family.replace('_', ' ')} of a parent"
        columns.append(Column(title, finest, f"accuracy_of_families_{family}"))
    table = cells(numbers, dataset, columns)
    return table.loc[:, (table != "–").any()]


def with_ours(numbers):
    """The validation sets on which our own masks were tried."""
    return figures.ordered(numbers.plain[numbers.plain.method == "separability"].dataset)


def ours(numbers, dataset):
    """Linear accuracy on a validation split, and its difference to our own masks."""
    headings = [("{}", "linear_accuracy", None), ("{} − ours", "linear_accuracy", "separability")]
    among = set(rows_of_ours(numbers, dataset).method)
    return cells(numbers, dataset, _columns(numbers.levels(dataset), headings), among)


def rows_of_ours(numbers, dataset):
    """The rows of linear accuracy of `ours`: of methods with as many seeds as our own masks have,
    so without single trials."""
    rows = rows_of(numbers, [dataset])
    seeds = rows.groupby("method").seed.nunique()
    return rows[rows.method.isin(seeds[seeds == seeds.get("separability")].index)]


def variance(numbers):
    """Table 2: two readings of "variance" on hierarchical MNIST."""
    columns = [
        Column("variance in 2 components, %", "all", "explained_variance"),
        Column("difference to HMCE (paper), points", "all", "explained_variance", "hmce_paper"),
    ]
    table = cells(numbers, MNIST, columns)
    summary = numbers.summary()
    rank = summary[(summary.dataset == MNIST) & (summary.metric == "effective_rank")]
    rank = rank.set_index("method").reindex(numbers.methods(MNIST))
    table["effective rank"] = [
        plus_minus(mean, width) for mean, width in zip(rank["mean"], rank.half_width)
    ]
    return table


def plus_minus(mean, half_width, digits=1):
    """ "12.3 ± 0.4"; without the interval where there is none, "–" where there is no mean."""
    if np.isnan(mean):
        return "–"
    text = f"{mean:.{digits}f}"
    return text if np.isnan(half_width) else f"{text} ± {half_width:.{digits}f}"


def order_methods(numbers):
    """The methods that were also trained with the levels swapped."""
    return numbers.methods(plan.SWAPPED)


def tag_of_short(profile, dataset=MNIST):
    """What stands behind a method's name where it was trained with plan.SHORT, say
    "@6@fresh=False"; "" where a data set has no such budget, as in any profile but "cpu"."""
    if profile != "cpu" or dataset not in plan.SHORT:
        return ""
    usual = plan.usual_settings(profile, dataset)
    short = replace(usual, **plan.SHORT[dataset])
    return plan.run_label("", short, plan.label_base(short, usual, dataset, usual))


def tag_of_longer(profile, dataset):
    """What stands behind a method's name in the trials of temperature that are longer than those of
    the learning rate, say "@10"."""
    usual = plan.usual_settings(profile, dataset).epochs
    return tag_of_epochs(profile, dataset, plan.LONGER[dataset](usual))


def tag_of_epochs(profile, dataset, epochs):
    """What stands behind a method's name where it was trained for so many epochs, say "@80"; ""
    for the usual number."""
    usual = plan.usual_settings(profile, dataset)
    return plan.run_label("", replace(usual, epochs=epochs), usual)


def epochs_of(numbers, dataset=MNIST):
    """For how many epochs a data set's methods are usually trained."""
    return plan.usual_settings(numbers.profile, dataset).epochs


def order(numbers):
    """Table 3: linear accuracy with the levels as given and swapped, over the seeds that have
    both."""
    table = []
    for method in order_methods(numbers):
        row = {"method": shown_name(numbers, plan.SWAPPED, method)}
        for level in numbers.levels(plan.SWAPPED):
            both = given_and_swapped(numbers, method, level)
            row |= {f"{level}, {title}": mean_text(both, title) for title in both}
        table.append(row)
    return pd.DataFrame(table)


def rows_of_order(numbers):
    """The rows of linear accuracy of `order`."""
    rows = rows_of(numbers, [MNIST, plan.SWAPPED], methods=order_methods(numbers))
    both = rows.groupby(["method", "seed", "recorded"]).dataset.transform("nunique")
    return rows[both == 2]


def given_and_swapped(numbers, method, level):
    """Linear accuracy with the levels as given and swapped: a data frame with these two columns and
    a row for each seed that has both."""
    given = numbers.values(MNIST, level, "linear_accuracy")
    swapped = numbers.values(plan.SWAPPED, level, "linear_accuracy")
    columns = {"as given": given.get(method), "swapped": swapped.get(method)}
    return pd.DataFrame(columns, dtype=float).dropna()


def mean_text(values, label):
    """Mean and interval of a column of Numbers.values as text; "–" if it is not there."""
    if label not in values:
        return "–"
    return results.percent(*results.mean_and_interval(values[label].dropna()))


def separation(numbers, methods):
    """How well the embedding z itself separates each level of hierarchical MNIST."""
    rows = []
    for method in methods:
        row = {"method": shown_name(numbers, MNIST, method)}
        for level in numbers.levels(MNIST):
            values = numbers.values(MNIST, level, "silhouette")
            known = values[method].dropna() if method in values else []
            mean = results.mean_and_interval(known)
            row[f"{level}, silhouette of z"] = plus_minus(*mean, digits=2)
            values = numbers.values(MNIST, level, "embedding_knn_accuracy")
            row[f"{level}, k-NN on z, %"] = mean_text(values, method)
        rows.append(row)
    return pd.DataFrame(rows)


def heads(numbers):
    """What BatchNorm in the projection head changes on hierarchical MNIST: k-NN on z, and rank; at
    the budget of the data set's variants where only that has both heads."""
    ablated = "shared" + figures.NO_BATCHNORM
    tag = "" if ablated in numbers.methods(MNIST) else tag_of_short(numbers.profile)
    ranks, rows = numbers.values(MNIST, "all", "effective_rank"), []
    for label in ("shared" + tag, ablated + tag):
        if label not in ranks:
            continue
        row = {"projection head": shown_name(numbers, MNIST, label)}
        for level in numbers.levels(MNIST):
            values = numbers.values(MNIST, level, "embedding_knn_accuracy")
            row[f"k-NN on z, {level}, %"] = mean_text(values, label)
        known = ranks[label].dropna()
        rows.append(row | {"effective rank": f"{known.mean():.1f}", "seeds": len(known)})
    return pd.DataFrame(rows)


def finding(numbers, datasets):
    """What G-HMLC and A-HMLC add to HMCE (released) and to a fixed division, for a figure.

    Returns:
        {title: list of (text, difference, half width)}; see figures.differences.
    """
    panels = {}
    for baseline in ("hmce_released", "split"):
        summary = numbers.summary(baseline)
        part = summary[(summary.metric == "linear_accuracy") & summary.difference.notna()]
        part = part.set_index(["dataset", "method", "level"])
        rows = []
        for dataset, level in where(numbers, datasets):
            for method in ("g_hmlc", "a_hmlc"):
                if (dataset, method, level) in part.index:
                    row = part.loc[(dataset, method, level)]
                    text = (
                        f"{figures.method_name(method)}, {figures.dataset_name(dataset)}, {level}"
                    )
                    rows.append((text, row.difference, row.difference_half_width))
        panels[f"minus {figures.method_name(baseline)}"] = rows
    return panels


def where(numbers, datasets):
    """(data set, level) of all results there are of these data sets."""
    return [(name, level) for name in numbers.datasets(datasets) for level in numbers.levels(name)]


def changed_setting(labels, mark):
    """Method and value of a setting, of names such as "g_hmlc@t0.1" (mark "t") or "g_hmlc@4" ("").

    Returns:
        Data frame with columns key and value_of, texts; value_of is NaN where nothing is changed,
        both are where something else is.
    """
    parts = labels.str.extract(rf"^(\w+?)(?:@{mark}([\d.]+))?$")
    return parts.set_axis(["key", "value_of"], axis=1)


def with_tag(rows, tag):
    """The rows of methods with this tag behind their name and no other, without it."""
    keys = rows.method.str.removesuffix(tag)
    return rows.assign(method=keys)[rows.method.str.endswith(tag) & ~keys.str.contains("@")]


def without_tag(rows, tag):
    """The rows of methods whose name has this tag, without it; other tags stay. "": all rows."""
    names = rows.method + "@"
    found = names.str.contains(tag + "@", regex=False)
    names = names.str.replace(tag + "@", "@", n=1, regex=False).str.removesuffix("@")
    return rows.assign(method=names)[found]


def at_one_rate(rows, profile, dataset):
    """The rows of a data set's methods at the learning rate of all, under the labels of those that
    have no other of their own; the short budget's, whose labels name no rate, are not for it."""
    rate = plan.usual_settings(profile, dataset).learning_rate
    tag, own = plan.TAGS["learning_rate"](rate), plan.own_rates(profile, dataset)
    elsewhere = rows.method.str.split("@").str[0].isin(own) & ~rows.method.str.endswith(tag)
    rows = rows[(rows.dataset == dataset) & ~elsewhere]
    return rows.assign(method=rows.method.str.removesuffix(tag))


def budget_points(numbers, dataset="cifar100"):
    """Linear accuracy at each number of epochs a method was trained for, all from one machine;
    without those of the short budget, whose temperature may be another.

    Returns:
        Data frame with columns method, epochs, level, seed, value; empty if nothing but the usual
        number was run.
    """
    rows = numbers.rows[(numbers.rows.dataset == dataset)]
    rows = rows[rows.metric == "linear_accuracy"]
    rows = rows.join(changed_setting(rows.method, ""))
    rows = rows[rows.key.notna()]
    rows = rows[rows.method != rows.key + (tag_of_short(numbers.profile, dataset) or "@")]
    here = rows[~rows.recorded]
    rows = here if here.value_of.notna().any() else rows[rows.recorded]
    usual = epochs_of(numbers, dataset)
    points = rows.assign(
        method=rows.key, epochs=rows.value_of.astype(float).fillna(usual).astype(int)
    )
    tried = points[points.epochs != usual].method
    return points[points.method.isin(tried)][["method", "epochs", "level", "seed", "value"]]


def runs(numbers, dataset):
    """{level: {method: linear accuracies of its runs}}, methods at the usual settings."""
    values = {}
    for level in numbers.levels(dataset):
        table = numbers.values(dataset, level, "linear_accuracy")
        values[level] = {key: table[key].dropna().to_numpy() for key in numbers.methods(dataset)}
    return values


def temperatures(numbers, dataset):
    """Linear accuracy at the temperature trials start from and at another that all methods had,
    and differences within each; empty if only one was run."""
    mark, rows = f"@t{plan.START_TEMPERATURE:g}", rows_of_temperatures(numbers, dataset)
    keys = figures.ordered(m.removesuffix(mark) for m in set(rows.method) if m.endswith(mark))
    other, table = common_temperature(numbers.profile, dataset), []
    for behind in (mark, ""):
        here = rows[rows.method.isin([key + behind for key in keys])]
        for key in keys:
            if key + behind in set(here.method):
                row = {"data set": figures.dataset_name(dataset)}
                row["temperature"] = f"{plan.START_TEMPERATURE if behind else other:g}"
                row["method"] = figures.method_name(key)
                table.append(row | _against(here, key, behind, numbers.levels(dataset)))
    return pd.DataFrame(table)


def rows_of_temperatures(numbers, dataset):
    """The rows of linear accuracy of `temperatures`: of methods that were trained at both."""
    rows = numbers.rows[numbers.rows.dataset == dataset]
    rows = rows[rows.metric == "linear_accuracy"]
    rows = without_tag(rows, tag_of_short(numbers.profile, dataset))
    keys = rows.method.str.removesuffix(f"@t{plan.START_TEMPERATURE:g}")
    return rows[keys.isin(keys[keys != rows.method])]


def common_temperature(profile, dataset):
    """The temperature of all methods where they have the same."""
    if tag_of_short(profile, dataset):
        return plan.SHORT[dataset]["temperature"]
    return plan.usual_settings(profile, dataset).temperature


def _against(rows, key, behind, levels):
    """Mean of a method, and its differences to two baselines, all with `behind` their key."""
    texts, paired = {}, ["difference", "difference_half_width"]
    for title, baseline, columns in (
        ("linear", "shared", ["mean", "half_width"]),
        ("− HMCE (released)", "hmce_released", paired),
        ("− shared", "shared", paired),
    ):
        summary = results.summary(rows, baseline + behind).set_index(["method", "level"])
        for level in levels:
            pair = summary.loc[(key + behind, level), columns]
            texts[f"{title}, {level}"] = results.percent(*pair, signed=columns == paired)
    return texts


def repeats(profile):
    """Linear accuracy of the main methods, trained by several states of the code that differ in
    rounding alone; empty if the reference holds no repeats."""
    earlier = results.read(results.reference_path(f"{profile}_repeats"))
    last = with_tag(results.read(results.reference_path(profile)), tag_of_short(profile))
    same = last.method.isin(earlier.method) & last.seed.isin(earlier.seed)
    rows = pd.concat([earlier, last[(last.dataset == MNIST) & same]])
    rows = rows[rows.metric == "linear_accuracy"]
    texts = rows.groupby(["method", "level", "commit"], sort=False).value.agg(
        lambda values: results.percent(*results.mean_and_interval(values))
    )
    table = []
    for method in figures.ordered(earlier.method):
        row = {"method": figures.method_name(method)}
        for level in figures.ordered_levels(rows.level):
            for commit in rows.commit.unique():
                row[f"{level}, {commit}"] = texts.get((method, level, commit), "–")
        table.append(row)
    return pd.DataFrame(table)


TRIED = {"learning rate": ("lr", "learning_rate"), "temperature": ("t", "temperature")}


def trials(numbers):
    """Linear accuracy of the trials of settings: validation sets, the first seed alone."""
    rows = numbers.rows
    trial = rows.dataset.str.endswith("_tuning") & (rows.metric == "linear_accuracy")
    return rows[trial & (rows.seed == 0)]


def tried_values(numbers, dataset, name, tag=""):
    """The rows of the trials of a setting, with columns key (the method) and tried (the value).

    Args:
        name: a key of TRIED.
        tag: of trials with other settings than the usual ones of this data set, say "@10".
    """
    mark, setting = TRIED[name]
    rows = trials(numbers)
    rows = rows[rows.dataset == dataset]
    rows = without_tag(rows, tag)
    rows = rows.join(changed_setting(rows.method, mark))
    usual = getattr(plan.usual_settings(numbers.profile, dataset), setting)
    rows = rows.assign(tried=rows.value_of.astype(float).fillna(usual))
    return _of_several_values(rows)


def rates_tried(numbers, dataset):
    """The same of trials of the learning rate, every method at its own temperature; dataset: a key
    of plan.RATED."""
    groups = [plan.rated(dataset, method) for method in plan.RATED[dataset]]
    planned = [one for group in groups for one in plan.expand(group, numbers.profile)]
    rates = {one.label: one.settings.learning_rate for one in planned}
    rows = trials(numbers)
    rows = rows[(rows.dataset == dataset) & rows.method.isin(rates)]
    rows = rows.assign(key=rows.method.str.split("@").str[0], tried=rows.method.map(rates))
    return _of_several_values(rows)


def _of_several_values(rows):
    """The rows of methods of which more than one value was tried."""
    several = rows.groupby("key").tried.nunique()
    return rows[rows.key.isin(several[several > 1].index)]


def table_of_trials(rows):
    """A row for each method, a column for each level and value of a setting; rows: of tried_values
    or rates_tried."""
    numbers_of, table = _by_value(rows), []
    for key in figures.ordered(rows.key):
        row = {"data set": figures.dataset_name(base_of(rows.dataset.iloc[0])[0])}
        row["method"] = figures.method_name(key)
        for level in figures.ordered_levels(rows.level):
            for value in numbers_of.columns:
                accuracy = numbers_of[value].get((key, level), np.nan)
                row[f"{level}, {value:g}"] = results.percent(accuracy)
        table.append(row)
    return pd.DataFrame(table)


def means_tried(rows):
    """The mean over methods and levels of what was tried, "59.5 at 0.003, 61.6 at 0.01"."""
    means = _by_value(rows).dropna().mean().items()
    return ", ".join(f"{results.percent(mean)} at {value:g}" for value, mean in means)


def _by_value(rows):
    """Accuracies of trials: index = (method, level), a column for each value tried."""
    return rows.pivot_table(index=["key", "level"], columns="tried", values="value")


def variants(numbers):
    """Linear accuracy of other gates of A-HMLC's attention; empty if they were not run."""
    rows = rows_of_variants(numbers)
    if rows.empty:
        return pd.DataFrame()
    values = rows.pivot_table(index="method", columns="level", values="value")
    table = {"data set": figures.dataset_name("cifar100")}
    table["method"] = [figures.method_name(m) for m in figures.ordered(rows.method)]
    for level in figures.ordered_levels(rows.level):
        table[level] = [results.percent(values[level][m]) for m in figures.ordered(rows.method)]
    return pd.DataFrame(table)


def rows_of_variants(numbers):
    """The rows of linear accuracy of `variants`: none if they were not run."""
    rows = trials(numbers)
    rows = rows[rows.dataset == "cifar100_tuning"]
    gates = rows.method.str.fullmatch("a_hmlc_[a-z]+")
    beside = rows.method.isin(["shared", "g_hmlc", "a_hmlc"]) & gates.any()
    return rows[gates | beside]


def verdicts(numbers, baselines=("hmce_paper", "hmce_released", "shared", "split")):
    """What the interval of each paired difference of linear accuracy says, by baseline."""
    rows = []
    for dataset, level in where(numbers, MAIN):
        for method in numbers.methods(dataset):
            if method.startswith("hmce"):
                continue
            row = {"data set": figures.dataset_name(dataset), "level": level}
            row["method"] = shown_name(numbers, dataset, method)
            for baseline in baselines:
                pair = _difference(numbers, dataset, level, method, baseline)
                text = "–" if np.isnan(pair[0]) else results.verdict(*pair)
                row[f"against {figures.method_name(baseline)}"] = text
            rows.append(row)
    return pd.DataFrame(rows)


def _difference(numbers, dataset, level, method, baseline):
    summary = numbers.summary(baseline)
    chosen = (summary.dataset == dataset) & (summary.level == level) & (summary.method == method)
    part = summary[chosen & (summary.metric == "linear_accuracy")]
    if not len(part):
        return np.nan, np.nan
    return part.difference.iloc[0], part.difference_half_width.iloc[0]


GLANCE = ("cross_entropy", "hmce_released", "shared", "split", "level_restricted", "raw")
GLANCE += ("g_hmlc", "a_hmlc")


def span(numbers, said=str):
    """The least and the most of some numbers: "3 to 10"; "5" where they are the same.

    Args:
        said: function of a number -> its text.
    """
    ends = min(numbers, default=0), max(numbers, default=0)
    return " to ".join(dict.fromkeys(map(said, ends)))


def at_a_glance(numbers):
    """Mean linear accuracy at the two finest levels, "coarse / fine", of the methods that README
    shows on each data set."""
    means = numbers.plain[numbers.plain.metric == "linear_accuracy"]
    groups = means.groupby(["dataset", "method", "level"]).value
    means = groups.agg(lambda values: results.mean_and_interval(values)[0])  # as other tables
    table = {"method": [figures.method_name(method) for method in GLANCE]}
    for dataset in numbers.datasets():
        levels = numbers.levels(dataset)[-2:]
        rows = numbers.plain[(numbers.plain.dataset == dataset) & numbers.plain.method.isin(GLANCE)]
        each = rows.groupby("method").seed.nunique()
        seeds = span(each)
        heading = f"{figures.dataset_name(dataset)}: {', '.join(levels)} ({seeds} seeds)"
        pairs = [[means.get((dataset, key, level), np.nan) for level in levels] for key in GLANCE]
        table[heading] = [" / ".join(map(results.percent, pair)) for pair in pairs]
    return pd.DataFrame(table)


def times(numbers):
    """Seconds of training a run on hierarchical MNIST, a row for each method and device."""
    rows = rows_of(numbers, [MNIST]).drop_duplicates(["method", "seed"])
    return pd.DataFrame(
        {
            "method": shown_name(numbers, MNIST, method),
            "device": device,
            "runs": len(seconds),
            "median training time, s": f"{seconds.median():.0f}",
        }
        for method in figures.ordered(rows.method)
        for device, seconds in rows[rows.method == method].groupby("device").seconds
    )


CLASSES = {  # how many a level has
    plan.MNIST: {"central": 10, "subsidiary": 10, "second subsidiary": 10, "pair": 100},
    "cifar100": {"superclass": 20, "class": 100},
}


def bits(numbers, dataset):
    """What the parts of each method know of each level's labels, in bits, mean over seeds.

    Returns:
        {name of the method: data frame, index = parts, columns = levels}; empty if not analysed.
    """
    rows = numbers.plain[(numbers.plain.dataset == dataset)]
    rows = rows[rows.metric.str.startswith("bits_of_part_")]
    rows = rows.assign(part=rows.metric.str.removeprefix("bits_of_part_"))
    levels = numbers.levels(dataset)
    tables = {}
    for method in figures.ordered(rows.method):
        part = rows[rows.method == method]
        table = part.pivot_table(index="part", columns="level", values="value")
        tables[figures.method_name(method)] = table.reindex(index=levels, columns=levels)
    return tables


def mask_agreement(numbers):
    """Agreement of the masks of two views or two images, by what the images share."""
    rows = numbers.plain[numbers.plain.metric.str.startswith("mask_agreement_")]
    rows = rows.assign(
        kind=rows.metric.str.removeprefix("mask_agreement_"),
        name=[shown_name(numbers, *one) for one in zip(rows.dataset, rows.method)],
        where=[figures.dataset_name(dataset) for dataset in rows.dataset],
    )
    table = rows.pivot_table(index=["where", "name"], columns="kind", values="value").round(2)
    table = table.rename_axis(index=["data set", "method"], columns="the two share")
    table = table.rename(columns={"views": "the image", "both": "both levels"})
    return table.dropna()  # where levels are a tree, no two images share level 2 alone


def _halved_and_doubled(numbers):
    """Half the usual number of epochs, all of them and twice as many."""
    return [plan.times(many)(epochs_of(numbers)) for many in (0.5, 1, 2)]


def rows_of_budget_trials(numbers):
    """The rows of the trials on validation digits after half the usual number of epochs, all of
    them and twice as many, each method at its own temperature, with columns key and tried (epochs).
    """
    trial, tried = plan.usual_settings(numbers.profile, plan.DIGITS_TUNING), {}
    for method in plan.BUDGET_MNIST:
        used = plan.usual_settings(numbers.profile, MNIST, method)
        for epochs in _halved_and_doubled(numbers):
            tried[plan.run_label(method, replace(used, epochs=epochs), trial)] = epochs
    rows = trials(numbers)
    rows = rows[(rows.dataset == plan.DIGITS_TUNING) & rows.method.isin(tried)]
    return rows.assign(key=rows.method.str.split("@").str[0], tried=rows.method.map(tried))


def budget_trials(numbers):
    """Their linear accuracy: a data frame with index (method, level) and a column for each number
    of epochs, of methods that were tried to the last."""
    rows = rows_of_budget_trials(numbers)
    table = rows.pivot_table(index=["key", "level"], columns="tried", values="value", sort=False)
    epochs = _halved_and_doubled(numbers)
    table = table.reindex(columns=epochs)
    return table[table[epochs[-1]].notna()].rename_axis(["method", "level"])


def settling(numbers):
    """How the masks of hierarchical MNIST after each epoch agree with the last's: {method: data
    frame, index = epochs, columns = seeds}."""
    rows = numbers.plain[numbers.plain.dataset == MNIST]
    epochs = rows.metric.str.extract(r"^masks_of_epoch_(\d+)$")[0]
    rows = rows[epochs.notna()].assign(epoch=epochs.dropna().astype(int))
    return {
        method: rows[rows.method == method].pivot(index="epoch", columns="seed", values="value")
        for method in figures.ordered(rows.method)
    }


WITH_LEVELS_COUNTED = ("shared", "g_hmlc", "a_hmlc")


def level_posteriors(numbers):
    """Probability of 1, 2, ... levels in the embeddings of runs, mean over seeds:
    {(data set, method): array}."""
    rows = numbers.plain[numbers.plain.metric.str.startswith("levels_posterior_")]
    posteriors = {}
    for (dataset, method), part in rows.groupby(["dataset", "method"]):
        if method in WITH_LEVELS_COUNTED:
            posteriors[dataset, method] = part.groupby("metric").value.mean().to_numpy()
    return posteriors


def methods(keys):
    """What the methods are: kind, source, where masks come from, which loss."""
    rows = []
    for method in (METHODS[key] for key in keys):
        rows.append(
            {
                "method": method.name,
                "kind": method.kind,
                "source": method.source,
                "masks": _described(method.masks),
                "loss": _described(method.loss),
            }
        )
    return pd.DataFrame(rows)


def _described(part):
    """The name of a function or class, with what a partial fixes of it."""
    if part is None:
        return "–"
    if isinstance(part, partial):
        fixed = ", ".join(f"{key}={value!r}" for key, value in part.keywords.items())
        return f"{_described(part.func)}({fixed})"
    return getattr(part, "__name__", type(part).__name__)


def accuracies(summary, levels):
    """Linear accuracy in %, a row for each method and a column for each level, with intervals.

    Args:
        summary: results.summary of one data set.
    """
    linear = summary[summary.metric == "linear_accuracy"]
    table = {}
    for level in levels:
        part = linear[linear.level == level].set_index("method")
        pairs = zip(part.index, part["mean"], part.half_width)
        table[level] = {method: results.percent(mean, width) for method, mean, width in pairs}
    frame = pd.DataFrame(table, columns=levels).reindex(figures.ordered(linear.method)).fillna("–")
    return frame.rename(index=figures.method_name)


def left_out(trained):
    """Share of the views seen in training that a level's mask let too little through of.

    Args:
        trained: list of runs.Run.

    Returns:
        Data frame of texts, a row for each run in which there was such a view.
    """
    rows = []
    for run in trained:
        levels = run.dataset.level_names
        counts = [sum(epoch.get(f"unseen {level}", 0) for epoch in run.history) for level in levels]
        if any(counts):
            row = {"data set": run.dataset.name, "method": figures.method_name(run.label)}
            shares = [f"{100 * count / _views_seen(run):.2f} %" for count in counts]
            rows.append(row | {"seed": run.seed} | dict(zip(levels, shares)))
    return pd.DataFrame(rows)


def _views_seen(run):
    """Number of views of a run's training: two of each sample of whole batches, or of the only."""
    size, batch = len(run.dataset), run.settings.batch_size
    return 2 * len(run.history) * (size // batch * batch or size)
