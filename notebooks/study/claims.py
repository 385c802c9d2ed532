"""Claims put to the test: paired differences of two methods, what their intervals say, in words."""

from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

import numpy as np
import pandas as pd

from study import figures, plan, results, tables
from study.plan import MNIST

OVERVIEW = (  # (text, method, baseline): first what the paper claims
    ("G-HMLC above HMCE", "g_hmlc", "hmce_released"),
    ("A-HMLC above HMCE", "a_hmlc", "hmce_released"),
    ("A-HMLC above G-HMLC", "a_hmlc", "g_hmlc"),
    ("G-HMLC above shared (no masks)", "g_hmlc", "shared"),
    ("A-HMLC above shared (no masks)", "a_hmlc", "shared"),
    ("G-HMLC above split (fixed)", "g_hmlc", "split"),
    ("A-HMLC above split (fixed)", "a_hmlc", "split"),
)
HEADINGS = {"What the paper claims": 3, "What must hold too, if it is the masks that help": 4}
TESTED = tuple(figures.DATASETS)  # on their test splits
WORDS = ("above", "below", "undecided")


class Difference(NamedTuple):
    """A mean paired difference with the half width of its 95 % interval, and where it is from."""

    where: str
    value: float
    half_width: float

    @property
    def direction(self):
        """ "above", "below" or "undecided"."""
        return results.direction(self.value, self.half_width)

    @property
    def verdict(self):
        """The direction, with the numbers in points."""
        return results.verdict(self.value, self.half_width)


@dataclass(frozen=True)
class Claim:
    """A claim, e.g. "A-HMLC above G-HMLC", the title of its panel, and its differences."""

    text: str
    title: str
    differences: list

    def verdict(self):
        """One sentence: in how many comparisons it is above, below, undecided."""
        if not self.differences:
            return f"{self.text}: not run, or one side was run here and the other is recorded."
        words = [difference.direction for difference in self.differences]
        counts = [f"{word} in {words.count(word)}" for word in WORDS if word in words]
        return f"{self.text}: {', '.join(counts)} of {len(words)} comparisons."


def pairs(numbers, a, b, dataset, level, metric="linear_accuracy"):
    """a - b for each seed that both have, of one machine: both run here, or both recorded."""
    values = numbers.values(dataset, level, metric)
    if a not in values or b not in values:
        return pd.Series(dtype=float)
    return (values[a] - values[b]).dropna()


def paired(numbers, a, b, dataset, level, metric="linear_accuracy"):
    """Mean and half width of `pairs`, NaN if there are none."""
    found = pairs(numbers, a, b, dataset, level, metric)
    return results.mean_and_interval(found) if len(found) else (np.nan, np.nan)


def compare(numbers, a, b, places, metric="linear_accuracy", text=None, title=None, scale=1):
    """The claim that method a is above method b.

    Args:
        numbers: tables.Numbers.
        places: list of (data set, level); those without results of both are left out.
        text, title: None: made from the methods' names.
        scale: factor of the differences, for metrics that are no shares.
    """
    differences = []
    for dataset, level in places:
        value, half_width = paired(numbers, a, b, dataset, level, metric)
        if not np.isnan(value):
            name = place_name(numbers, a, dataset, level)
            differences.append(Difference(name, scale * value, scale * half_width))
    names = figures.method_name(a), figures.method_name(b)
    return Claim(text or " above ".join(names), title or " − ".join(names), differences)


def place_name(numbers, method, dataset, level):
    """Data set and level as text, a star behind what is recorded; level "all" is not named."""
    star = " *" if (dataset, method) in numbers.recorded else ""
    return figures.dataset_name(dataset) + ("" if level == "all" else f", {level}") + star


def tested(numbers, datasets=TESTED):
    """(data set, level) of all results there are, on test splits."""
    return tables.where(numbers, datasets)


def whole(numbers, datasets=tables.MAIN):
    """(data set, "all") for metrics that belong to no level."""
    return [(dataset, "all") for dataset in numbers.datasets(datasets)]


def swapped_order(numbers):
    """The claim that accuracy with the levels swapped is above that with them as given."""
    differences = []
    for (method, level), change in changes_by_order(numbers).items():
        star = " *" if (plan.SWAPPED, method) in numbers.recorded else ""
        name = f"{figures.method_name(method)}, {level}{star}"
        differences.append(Difference(name, *results.mean_and_interval(change)))
    text = "accuracy with the levels swapped above as given"
    return Claim(text, "swapped − as given", differences)


def changes_by_order(numbers):
    """{(method, level): accuracy with the levels swapped minus as given, by seed}."""
    changes = {}
    for method in tables.order_methods(numbers):
        for level in numbers.levels(plan.SWAPPED):
            both = tables.given_and_swapped(numbers, method, level)
            if len(both):
                changes[method, level] = both["swapped"] - both["as given"]
    return changes


def imbalance(numbers, method):
    """The claim that a method is above *split* on the most and the least frequent classes."""
    differences, baseline = [], "split"
    for dataset in numbers.datasets(plan.TAILS):
        for part, shown in tables.TAIL_PARTS.items():
            pair = paired(numbers, method, baseline, dataset, "subsidiary", f"{part}_accuracy")
            if not np.isnan(pair[0]):
                name = place_name(numbers, method, dataset, shown)
                differences.append(Difference(name, *pair))
    names = figures.method_name(method), baseline
    return Claim("imbalance: " + " above ".join(names), " − ".join(names), differences)


def variance(numbers, metric, title):
    """The claims that G-HMLC and A-HMLC hold more variance than HMCE, by one of two readings.

    Args:
        metric: "explained_variance", a share, or "effective_rank", shown as a share of D.
    """
    dim = plan.usual_settings(numbers.profile).dim
    scale = 1 / dim if metric == "effective_rank" else 1
    made = []
    for method in ("g_hmlc", "a_hmlc"):
        for baseline in ("hmce_paper", "hmce_released"):
            names = figures.method_name(method), figures.method_name(baseline)
            text, panel = f"{title}: {' above '.join(names)}", f"{title}\n{' − '.join(names)}"
            places = whole(numbers)
            made.append(compare(numbers, method, baseline, places, metric, text, panel, scale))
    return made


def ours(numbers, other):
    """The claim that masks by separability are above another method, on the validation splits that
    they were tried on: of hierarchical MNIST after six epochs, of ModelNet10 after two."""
    differences, key = [], "separability"
    tags = {plan.DIGITS_TUNING: tables.tag_of_short(numbers.profile), "modelnet10_tuning": ""}
    for dataset, tag in tags.items():
        places = [(dataset, level) for level in numbers.levels(dataset)]
        differences += compare(numbers, key + tag, other + tag, places).differences
    names = figures.method_name(key), figures.method_name(other)
    return Claim(" above ".join(names), " − ".join(names), differences)


def overview(numbers):
    """Each claim of OVERVIEW on each data set and level, as figures.claims_map draws them.

    Returns:
        {(data set, level): [Difference of each claim, NaN where not run]}
    """
    return claims_at(numbers, [(*place, "", "") for place in tested(numbers, tables.MAIN)])


def by_temperature(numbers):
    """The same for CIFAR-100 at a temperature that all methods share, and at the one trials start
    from."""
    dataset = "cifar100"
    start, common = plan.START_TEMPERATURE, tables.common_temperature(numbers.profile, dataset)
    short = tables.tag_of_short(numbers.profile, dataset)
    tags = {short: common, f"{short}@t{start:g}": start}
    places = [
        (dataset, level, tag, f", temperature {value:g}")
        for tag, value in tags.items()
        for level in numbers.levels(dataset)
    ]
    return claims_at(numbers, places)


def by_budget(numbers, dataset=MNIST):
    """The same on one data set, level by level, after each number of epochs."""
    columns = {}
    budgets = sorted(set(tables.budget_points(numbers, dataset).epochs))
    for level in numbers.levels(dataset):
        for epochs in budgets:
            tag = tables.tag_of_epochs(numbers.profile, dataset, epochs)
            found = _pairs_at(numbers, dataset, level, tag)
            if any(map(len, found)):
                name = f"{epochs} ({_seeds_of(found)})"
                columns[f"{level}, epochs (seeds)", name] = _differences(name, found)
    return columns


def around_doubling(numbers, dataset, share=1):
    """The differences of OVERVIEW, level by level, after a share of the usual number of epochs and
    after twice that, over the seeds that have both.

    Returns:
        list of (Difference, Difference); empty where not both were run.
    """
    few = round(share * tables.epochs_of(numbers, dataset))
    if not few:  # of one epoch there is no half
        return []
    tags = [tables.tag_of_epochs(numbers.profile, dataset, n) for n in (few, 2 * few)]
    found = []
    for level in numbers.levels(dataset):
        known = (_pairs_at(numbers, dataset, level, tag) for tag in tags)
        found += _over_common_seeds(level, *known)
    return found


def of_budgets(numbers, dataset):
    """The numbers, or, where no claim has two budgets of methods at their own learning rates, those
    at the rate of all."""
    own = around_doubling(numbers, dataset) or around_doubling(numbers, dataset, 0.5)
    return numbers if own else numbers.at_one_rate(dataset)


def around_rate(numbers, dataset):
    """The differences of OVERVIEW, level by level, between methods one of which has a learning rate
    of its own, at their own and at the one of all, over the seeds that have both.

    Returns:
        list of (Difference, Difference); empty where not both were run.
    """
    views = numbers, numbers.at_one_rate(dataset)
    own = set(plan.own_rates(numbers.profile, dataset))
    moved, found = [(a, b) for _, a, b in OVERVIEW if {a, b} & own], []
    for level in numbers.levels(dataset):
        at_own, at_one = ([pairs(view, a, b, dataset, level) for a, b in moved] for view in views)
        found += _over_common_seeds(level, at_own, at_one)
    return found


def _over_common_seeds(level, ones, others):
    """Pairs of Differences, of those of which both have seeds in common."""
    found = []
    for one, other in zip(ones, others):
        seeds = one.index.intersection(other.index)
        if len(seeds):
            found.append(tuple(_differences(level, [one[seeds], other[seeds]])))
    return found


def claims_at(numbers, places):
    """OVERVIEW at places (data set, level, what stands behind a method's key in result files, what
    stands behind the data set's name); places without any result are left out."""
    columns = {}
    for dataset, level, behind, more in places:
        found = _pairs_at(numbers, dataset, level, behind)
        if any(map(len, found)):
            seeds = _seeds_of(found)
            said = "one seed" if seeds == "1" else f"{seeds} seeds"
            name = f"{figures.dataset_name(dataset)}{more}, {said}"
            columns[name, level] = _differences(f"{name}, {level}", found)
    return columns


def _pairs_at(numbers, dataset, level, behind):
    """The paired differences of each claim of OVERVIEW; `behind`: as for claims_at."""
    return [pairs(numbers, a + behind, b + behind, dataset, level) for _, a, b in OVERVIEW]


def _seeds_of(found):
    """How many seeds differences are of, where there are any: "5", "5 to 8"."""
    return tables.span([len(one) for one in found if len(one)])


def _differences(name, found):
    ends = [results.mean_and_interval(one) if len(one) else (np.nan,) * 2 for one in found]
    return [Difference(name, *end) for end in ends]


def headed():
    """The texts of OVERVIEW under their headings: a dict of lists."""
    texts = iter([text for text, _, _ in OVERVIEW])
    return {heading: list(islice(texts, number)) for heading, number in HEADINGS.items()}


def show(claims, name, profile):
    """Print the verdict of each claim and save one figure with a panel for each.

    Returns:
        The figure, or None if none of them has a difference.
    """
    for claim in claims:
        print(claim.verdict())
    panels = {claim.title: claim.differences for claim in claims if claim.differences}
    return figures.save(figures.differences(panels), name, profile) if panels else None


def table(claims):
    """Every claim, where it was tested and the verdict; a data frame of texts."""
    return pd.DataFrame(
        [
            (claim.text, difference.where, difference.verdict)
            for claim in claims
            for difference in claim.differences
        ],
        columns=["claim", "where", "verdict"],
    )


def caption(numbers):
    """What stands under the table of claims."""
    rows = numbers.plain
    text = (
        "In points, but for silhouette and effective rank, where the claim says what; * recorded. "
        "Behind ±, of what is undecided: the smallest difference that would have been seen."
    )
    text += f" Profile {numbers.profile}, seeds {tables.listed(rows.seed)}; "
    return f"{text}{tables.listed(rows.device)}."
