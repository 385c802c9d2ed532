"""Sentences of RESULTS.md: each is chosen by what the interval of a difference says.

Every function here takes the numbers of a profile's reference and returns text, a word, or a truth
value that decides whether a section of the template is there.
"""

from functools import cached_property
from itertools import combinations

import numpy as np
import pandas as pd

from hmlc_core.data.load import base_of
from study import claims, figures, plan, results, tables
from study.plan import MNIST

# Controls whose masks, if they have any, identify nothing.
CONTROLS = ("shared", "split", "random", "sign", "rectified")
PAPER = ("g_hmlc", "a_hmlc")
EXPLAINED = ("supcon", "heads")  # methods whose names say in brackets what they are
COUNTS = ("none", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
COUNTS += ("eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen")
COUNTS += ("eighteen", "nineteen", "twenty")


class Reference(tables.Numbers):
    """The committed numbers alone: nothing in them is this machine's, nothing marked recorded."""

    @cached_property
    def plain(self):
        return tables.with_tag(self.rows, "")

    def values(self, dataset, level, metric):
        key = dataset, level, metric
        if key not in self._summaries:
            self._summaries[key] = super().values(*key)
        return self._summaries[key]

    def summary(self, baseline="hmce_paper"):
        if baseline not in self._summaries:
            self._summaries[baseline] = results.summary(self.plain, baseline)
        return self._summaries[baseline]

    def tagged(self, tag):
        """The methods with this tag behind their name, without it; see tables.with_tag."""
        return Reference(self.profile, tables.with_tag(self.rows, tag))


def read(profile="cpu"):
    """The numbers of a profile's committed reference."""
    rows = results.read(results.reference_path(profile))
    return Reference(profile, rows.assign(recorded=False))


def has(numbers, dataset, *methods):
    """Whether there are numbers of a data set, and of these methods on it."""
    return set(methods) <= set(numbers.methods(dataset)) and dataset in set(numbers.plain.dataset)


def name(method):
    """A method's name in running text: controls and ours in italics, without saying what."""
    kind, colon, plain = figures.method_name(method).rpartition(": ")
    if method in EXPLAINED:
        plain = plain.partition(" (")[0]
    return f"*{plain}*" if colon else plain


def listed(texts):
    """ "a", "a and b", "a, b and c"."""
    *first, last = list(texts)
    return f"{', '.join(first)} and {last}" if first else last


def count(number):
    """A number in words up to twenty."""
    return COUNTS[number] if number < len(COUNTS) else f"{number:,}"


def seeds(numbers, dataset, *methods):
    """How many seeds methods of a data set (none given: all) have: "one seed", "three to ten
    seeds"."""
    rows = numbers.plain[numbers.plain.dataset == dataset]
    rows = rows[rows.method.isin(methods or numbers.methods(dataset))]
    each = rows.groupby("method").seed.nunique()
    return f"{tables.span(each, count)} seed{'s' if each.max() > 1 else ''}"


def amount(value, scale=100, digits=1):
    """A signed number, in points unless scaled otherwise: "+1.7"; what rounds to zero has no
    sign."""
    return results.with_sign(scale * value, digits)


def evidence(pairs, scale=100, digits=1):
    """The numbers of differences with the same verdict: with intervals where they are decided,
    else with the smallest differences that this design would have seen.

    Args:
        pairs: list of (difference, half width).
    """
    texts = [amount(value, scale, digits) for value, _ in pairs]
    widths = [f"{scale * width:.{digits}f}" for _, width in pairs]
    if results.direction(*pairs[0]) != "undecided":
        return listed([f"{text} ± {width}" for text, width in zip(texts, widths)])
    if any(np.isnan(width) for _, width in pairs):
        return f"{listed(texts)}; one seed, which decides nothing"
    return f"{listed(texts)}; {listed(widths)} would show"


def change(numbers, label, other, dataset, level):
    """What one setting of a method changes of its accuracy against another, paired over seeds."""
    pair = claims.paired(numbers, label, other, dataset, level)
    undecided = results.direction(*pair) == "undecided"
    return f"{'undecided: ' if undecided else ''}{evidence([pair])}"


def where(levels, total):
    """ "at both levels", "at superclass level"; nothing for level "all"."""
    if levels == ["all"]:
        return ""
    if len(levels) == total > 1:
        return " at both levels" if total == 2 else f" at all {count(total)} levels"
    return f" at {listed(levels)} level{'s' if len(levels) > 1 else ''}"


def told(subject, other, pairs, scale=100, digits=1):
    """A sentence without its full stop on differences `subject` minus `other`.

    Args:
        pairs: {level: (difference, half width)}, without those that are not known.
        scale: of the differences.
    """
    if not pairs:
        return f"{subject} against {other}: not run"
    groups = {}
    for level, pair in pairs.items():
        kind = results.direction(*pair), bool(np.isnan(pair[1]))
        groups.setdefault(kind, []).append(level)
    parts = []
    for (word, _), levels in groups.items():
        place, numbers = where(levels, len(pairs)), [pairs[level] for level in levels]
        text = _opening(subject, other, word) + place if not parts else word + place
        parts.append(f"{text} ({evidence(numbers, scale, digits)})")
    return ", ".join(parts)


def _opening(subject, other, word):
    """The first words of a sentence, bold up to the verdict."""
    if word == "undecided":
        return f"**{subject} against {other}: undecided**"
    return f"**{subject} is {word} {other}**"


def says(numbers, a, b, dataset, metric="linear_accuracy", scale=100):
    """What the paired differences of two methods on a data set say, level by level.

    Raises:
        ValueError: if one of them is no method that anything is known of.
    """
    unknown = [key for key in (a, b) if figures.method_name(key) == key and key not in
               set(numbers.rows.method)]  # fmt: skip
    if unknown:
        raise ValueError(f"no method {', '.join(unknown)}")
    rows = numbers.plain[(numbers.plain.dataset == dataset) & (numbers.plain.metric == metric)]
    pairs = {}
    for level in figures.ordered_levels(rows.level):
        pair = claims.paired(numbers, a, b, dataset, level, metric)
        if not np.isnan(pair[0]):
            pairs[level] = pair
    return told(name(a), name(b), pairs, scale)


def swapped(numbers):
    """What swapping the levels of hierarchical MNIST changes, a sentence for each method, and
    whether it is robust: intervals that hold zero, and less than two points to each side of it."""
    methods = {}
    for (method, level), change in claims.changes_by_order(numbers).items():
        methods.setdefault(method, {})[level] = results.mean_and_interval(change)
    texts = []
    for method, pairs in methods.items():
        robust = all(
            abs(value) <= width and abs(value) + width < SETTLED for value, width in pairs.values()
        )
        told_of = told(f"{name(method)}: swapped", "as given", pairs)
        texts.append(f"* {told_of}: {'robust' if robust else 'not shown to be robust'}.\n")
    return "".join(texts)


def tail(numbers, dataset, baseline="split"):
    """Which methods are above and below a baseline on the least frequent digits of level 2, and of
    which that is undecided: a clause."""
    groups = {}
    for key in numbers.methods(dataset):
        pair = claims.paired(numbers, key, baseline, dataset, "subsidiary", "tail_accuracy")
        if key != baseline and not np.isnan(pair[0]):
            text = f"{name(key)} ({evidence([pair])})"
            groups.setdefault(results.direction(*pair), []).append(text)
    words = [word for word in claims.WORDS if word in groups]
    return "; ".join(f"{word} {name(baseline)}: {listed(groups[word])}" for word in words)


def several(numbers, dataset, methods=PAPER):
    """Whether methods were run with two seeds or more, without which nothing is decided."""
    rows = numbers.plain[numbers.plain.dataset == dataset]
    each = rows[rows.method.isin(methods)].groupby("method").seed.nunique()
    return len(each) == len(methods) and each.min() > 1


def against(numbers, a, b):
    """Differences a - b on every level of the data sets where both have several seeds."""
    datasets = [one for one in plan.BY_NOTEBOOK if several(numbers, one, (a, b))]
    return claims.compare(numbers, a, b, claims.tested(numbers, datasets)).differences


def counted(differences):
    """How many differences are above, how many below: two numbers."""
    found = [difference.direction for difference in differences]
    return found.count("above"), found.count("below")


def tally(numbers, a, b):
    """In how many comparisons of linear accuracy a is above b and below it: a clause."""
    differences = against(numbers, a, b)
    if not differences:
        single = claims.compare(numbers, a, b, claims.tested(numbers, plan.BY_NOTEBOOK)).differences
        why = "has one seed, which decides nothing" if single else "was not run"
        return f"{name(a)} against {name(b)} {why}"
    above, below = counted(differences)
    of = f"{above} of {len(differences)} comparisons"
    return f"{name(a)} is above {name(b)} in {of}, below in {below}"


def score(numbers, a, b):
    """The same as "1 / 2 of 9": above, below, comparisons."""
    differences = against(numbers, a, b)
    above, below = counted(differences)
    return f"{above} / {below} of {len(differences)}"


MOST_PLACES = 2  # that a sentence lists


def unmasked(numbers):
    """How the paper's methods compare with training without masks, both together: a clause."""
    found = {key: against(numbers, key, "shared") for key in PAPER}
    run, differences = [key for key in PAPER if found[key]], sum(found.values(), [])
    without = "*shared*, the same losses without masks"
    if not run:
        return f"Nothing was compared with {without} over several seeds"
    above, below = counted(differences)
    won = [f"{name(key)} on {difference.where}" for key in run for difference in found[key]
           if difference.direction == "above"]  # fmt: skip
    where_won = f" ({listed(won)})" if 0 < above <= MOST_PLACES else ""
    who = f"{listed(map(name, run))} {'are' if len(run) > 1 else 'is'} above {without},"
    text = f"{who} in {above} of {len(differences)} comparisons{where_won}, below in {below}"
    return text if above else f"That the paper's masks help is not shown: {text}"


def identified(numbers):
    """Where a method of the paper is above every control that identifies nothing: a sentence."""
    places = claims.tested(numbers, [one for one in plan.BY_NOTEBOOK if several(numbers, one)])
    won = [
        f"{name(method)} on {figures.dataset_name(dataset)}, {level}"
        for dataset, level in places
        for method in PAPER
        if _above_all(numbers, method, dataset, level)
    ]
    if not places:
        return (
            "Whether *identifying* features helps is not known: it was not run with several seeds"
        )
    tested = dict.fromkeys(dataset for dataset, _ in places)
    of = f"{count(len(places))} levels of {count(len(tested))} data sets"
    if not won:
        return f"That *identifying* features helps is not shown: on none of {of} is a method of " \
               "the paper above every control run there"  # fmt: skip
    return f"Above every control that was run there, on {of}: {listed(won)}"


def _above_all(numbers, method, dataset, level):
    """Whether a method is above every control that was run on a data set."""
    controls = [key for key in CONTROLS if key in numbers.methods(dataset)]
    pairs = [claims.paired(numbers, method, key, dataset, level) for key in controls]
    return bool(pairs) and all(results.direction(*pair) == "above" for pair in pairs)


def settings(numbers, dataset):
    """The budget and batch of a data set; learning rate and temperature where all share them."""
    used = plan.usual_settings(numbers.profile, dataset)
    tables_of = {"learning rate": plan.LEARNING_RATES, "temperature": plan.TEMPERATURES}
    own = [name for name, table in tables_of.items() if dataset in table.get(numbers.profile, {})]
    shared = {"learning rate": used.learning_rate, "temperature": used.temperature}
    texts = [f"{used.epochs} epochs, batch {used.batch_size}"]
    texts += [f"{name} {value:g}" for name, value in shared.items() if name not in own]
    if own:
        link = f"[its own {' and '.join(own)}](#how-settings-were-chosen)"
        texts.append(f"each method at {link}")
    return ", ".join(texts)


def view_with_bits(numbers):
    """Hierarchical MNIST's rows at the longest budget of which parts of embeddings were analysed,
    and that budget in words."""
    short = numbers.tagged(tables.tag_of_short(numbers.profile))
    if tables.bits(numbers, MNIST) or not tables.bits(short, MNIST):
        return numbers, f"{tables.epochs_of(numbers)} epochs"
    return short, f"{plan.SHORT[MNIST]['epochs']} epochs"


def budget_of_bits(numbers):
    """After how many epochs the parts of embeddings below were looked at."""
    return view_with_bits(numbers)[1]


def parts(numbers, method):
    """Whether each of a method's two parts tells more of its own level's labels than the other."""
    rows, pairs = view_with_bits(numbers)[0], {}
    for level, other in (("central", "subsidiary"), ("subsidiary", "central")):
        own, foreign = (rows.values(MNIST, level, f"bits_of_part_{p}") for p in (level, other))
        if method in own and method in foreign:
            change = (own[method] - foreign[method]).dropna()
            pairs[level] = results.mean_and_interval(change)
    subject = f"{name(method)}: what a level's own part tells of it"
    return told(subject, "what the other part tells", pairs, scale=1)


def code(numbers, method):
    """Whether masks of two images agree more if the images share a class: by level."""
    rows, pairs = view_with_bits(numbers)[0], {}
    neither = rows.values(MNIST, "all", "mask_agreement_neither")
    for number, level in enumerate(("central", "subsidiary"), 1):
        shared = rows.values(MNIST, "all", f"mask_agreement_level {number} only")
        if method in shared and method in neither:
            change = (shared[method] - neither[method]).dropna()
            pairs[level] = results.mean_and_interval(change)
    subject = f"{name(method)}: agreement of masks of images that share the class"
    return told(subject, "that of images that share none", pairs, scale=1, digits=3)


def settled(numbers):
    """How the masks after a quarter, half and three quarters of the epochs agree with the last's,
    mean over seeds: a clause; "" if they were not followed."""
    texts, followed = [], tables.settling(numbers)
    for method, table in followed.items():
        quarters = [len(table) * part // 4 for part in (1, 2, 3)]
        means = [f"{value:.2f}" for value in table.mean(axis=1).loc[quarters]]
        texts.append(f"{name(method)} {listed(means)}")
    if not texts:
        return ""
    about = f"{tables.span([table.shape[1] for table in followed.values()], count)} seeds"
    when = f"after {listed(map(str, quarters))} of the {len(table)} epochs"
    return f"{when} (kappa, {about}): {'; '.join(texts)}"


def rounding(numbers):
    """What G-HMLC's same seeds gave by codes that differ in rounding alone: texts in a row."""
    table = tables.repeats(numbers.profile)
    row = table[table.method == figures.method_name("g_hmlc")] if len(table) else table
    columns = [column for column in row if column.startswith("subsidiary, ")]
    texts = [row[column].iloc[0] for column in columns if len(row)]
    return listed([text for text in texts if text != "–"] or ["not repeated"])


SETTLED = 0.02  # change of accuracy that twice the budget may make
SMALL = "subsidiary"  # the level of hierarchical MNIST that not every method learns
MOST_NAMES = 5  # of methods that a sentence lists
LEARNED = 0.5  # accuracy above which a run has learned a level of ten classes


def learned(numbers, methods=None):
    """Which methods, all or these, learned the small digit in all of their runs, in some, in none:
    a clause."""
    values = numbers.values(MNIST, SMALL, "linear_accuracy")
    always, never, some = [], [], []
    asked = [key for key in numbers.methods(MNIST) if methods is None or key in methods]
    for key in asked:
        runs = values[key].dropna()
        got = int((runs > LEARNED).sum())
        if got in (0, len(runs)):
            (always if got else never).append(name(key))
        else:
            some.append(f"in {count(got)} of {count(len(runs))} runs by {name(key)}")
    many = f"{count(len(always))} of {count(len(asked))} methods"
    parts = [f"by {many if len(always) > MOST_NAMES else listed(always)}"] if always else []
    return "; ".join([*parts, *some, *([f"not by {listed(never)}"] if never else [])])


def first_run(numbers, method):
    """Whether a method's run with seed 0, the one that maps show, learned a level: a sentence
    without its full stop."""
    table = numbers.values(MNIST, SMALL, "linear_accuracy")
    if method not in table:
        return f"{name(method)} was not run"
    accuracy = table[method].xs(0, level="seed").iloc[0]
    word = "learned" if accuracy > LEARNED else "did not learn"
    share = f"linear accuracy {results.percent(accuracy)} %"
    return f"{name(method)}'s run {word} the {SMALL} level ({share})"


def reversed_by_doubling(numbers, a, b):
    """How many verdicts of Table 1 and hierarchical MNIST twice the epochs reverse: a clause; "" if
    none."""
    reversed_ones = []
    for dataset, level in claims.tested(numbers, tables.MAIN):
        epochs = 2 * tables.epochs_of(numbers, dataset)
        twice = tables.tag_of_epochs(numbers.profile, dataset, epochs)
        found = [claims.paired(numbers, a + tag, b + tag, dataset, level) for tag in ("", twice)]
        if {results.direction(*pair) for pair in found} == {"above", "below"}:
            reversed_ones.append((dataset, level))
    return f" ({count(len(reversed_ones))} reversed by twice the epochs)" * bool(reversed_ones)


def ends(numbers, method, dataset=MNIST, level=SMALL):
    """The linear accuracies in which a method's runs end, in %, ascending: a list."""
    table = numbers.values(dataset, level, "linear_accuracy")
    values = sorted(table[method].dropna()) if method in table else []
    return listed([results.percent(value) for value in values] or ["–"])


def average(numbers, method, seeds=None, dataset=MNIST, level=SMALL):
    """The mean linear accuracy of a method's runs, or of its first seeds, in %."""
    values = numbers.values(dataset, level, "linear_accuracy").get(method)
    if values is None:
        return "–"
    first = values[values.index.get_level_values("seed") < (seeds or np.inf)]
    return results.percent(first.mean())


def turned(numbers):
    """How many verdicts another temperature reverses or makes undecided or decided: a clause; "" if
    only one was run."""
    columns = list(claims.by_temperature(numbers).values())
    half = len(numbers.levels("cifar100"))
    if len(columns) != 2 * half:
        return ""
    pairs = [pair for a, b in zip(columns[:half], columns[half:]) for pair in zip(a, b)]
    known = [pair for pair in pairs if not np.isnan(sum(end.value for end in pair))]
    return _turns(known) if known else ""


def turned_by_doubling(numbers, *datasets, share=1):
    """How many verdicts twice the usual number of epochs, or a share of it, reverses or makes
    undecided or decided, over the seeds that have both: a clause; "" where it was not run."""
    pairs = sum((claims.around_doubling(numbers, one, share) for one in datasets), [])
    return _turns(pairs) if pairs else ""


def turned_by_rate(numbers, dataset):
    """The same of one learning rate for all in place of each method's own."""
    pairs = claims.around_rate(numbers, dataset)
    return _turns(pairs) if pairs else ""


def last_doubling(numbers, *datasets):
    """The same of the last doubling that was run: of the usual number of epochs, else to it; see
    claims.of_budgets."""
    around, views = claims.around_doubling, {x: claims.of_budgets(numbers, x) for x in datasets}
    pairs = [around(view, x) or around(view, x, 0.5) for x, view in views.items()]
    return _turns(sum(pairs, []))


def _turns(pairs):
    known = [(one.direction, other.direction) for one, other in pairs]
    reversed_ones = sum(set(pair) == {"above", "below"} for pair in known)
    other = sum(a != b for a, b in known) - reversed_ones
    both = sum("undecided" not in pair for pair in known)
    changed = "all" if reversed_ones == both > 1 else count(reversed_ones)
    told = f"of {count(len(known))} verdicts, {count(both)} decided both times ({changed} reversed)"
    return f"{told}, {count(other)} changed to or from undecided"


def highest(numbers, method):
    """The highest linear accuracy, in %, of a method's runs of a data set, at any setting."""
    rows = numbers.rows[(numbers.rows.dataset == MNIST) & (numbers.rows.level == SMALL)]
    rows = rows[(rows.metric == "linear_accuracy") & (rows.method.str.split("@").str[0] == method)]
    return results.percent(rows.value.max())


def temperatures(numbers, dataset):
    """Which method has which temperature on a data set, of those that had trials: a clause."""
    trials = f"{dataset}_tuning"
    rows = numbers.rows[numbers.rows.dataset == trials].method
    if trials in plan.LONGER:
        rows = rows[rows.str.contains(tables.tag_of_longer(numbers.profile, trials))]
    tried = set(rows[rows.str.contains("@t")].str.split("@").str[0])
    own = {}
    for key in figures.ordered(tried):
        settings = plan.usual_settings(numbers.profile, dataset, key)
        own.setdefault(settings.temperature, []).append(key)
    return _who_has(own)


def _who_has(values):
    """Which value is which methods', of {value: keys}: a clause; the most, if they are many, are
    the others."""
    most = max(values, key=lambda value: len(values[value]), default=None)
    rest = most if len(values.get(most, ())) > MOST_NAMES else None
    texts = [f"{value:g} for {listed(map(name, keys))}"
             for value, keys in sorted(values.items()) if value != rest]  # fmt: skip
    return "; ".join(texts + ([f"{rest:g} for the others"] if rest is not None else []))


def doubled(numbers, dataset=MNIST):
    """What twice the usual number of epochs changes, paired over seeds: a clause with what is
    decided, then who moves by more than two points undecided; "" where it was not run."""
    decided, moved, changes = {}, {}, _doublings(numbers, dataset, 1)
    for (method, level), change in changes.items():
        pair = results.mean_and_interval(change)
        if results.direction(*pair) != "undecided":
            decided.setdefault(level, []).append(f"{name(method)} {evidence([pair])}")
        elif abs(pair[0]) > SETTLED:
            told = amount(pair[0]) if np.isnan(pair[1]) else evidence([pair])
            moved.setdefault(level, []).append(f"{name(method)} ({told})")
    parts = [f"{listed(texts)} at {level} level" for level, texts in decided.items()]
    large = [f"{listed(texts)} at {level} level" for level, texts in moved.items()]
    parts += [f"by more than two points, but undecided: {', '.join(large)}"] if moved else []
    parts = parts or ["nothing by more than two points"]
    seeds_of = [len(change) for change in changes.values()]
    return f"{'; '.join(parts)} (seeds: {tables.span(seeds_of, count)})" if changes else ""


def _doublings(numbers, dataset, share):
    """{(method, level): changes of accuracy by twice a share of the usual epochs, by seed}, of
    those that have any."""
    points = tables.budget_points(numbers, dataset)
    usual = round(share * tables.epochs_of(numbers, dataset))
    table = points.pivot_table(index=["method", "level", "seed"], columns="epochs", values="value")
    if not {usual, 2 * usual} <= set(table):
        return {}
    change = (table[2 * usual] - table[usual]).dropna()
    groups = {key: part.droplevel([0, 1]) for key, part in change.groupby(["method", "level"])}
    methods = figures.ordered({method for method, _ in groups})
    places = [(method, level) for method in methods for level in numbers.levels(dataset)]
    return {place: groups[place] for place in places if place in groups}


def budget_rule(numbers):
    """What the trials of the budget say of the rule by which it is chosen: a clause; "" before
    they are."""
    table = tables.budget_trials(numbers)
    if table.empty:
        return ""
    _, usual, twice = table.columns
    most = (table[twice] - table[usual]).abs().groupby(level="method", sort=False).max()
    moved = [name(key) for key in most.index[most > SETTLED]]
    return f"missed at {usual} by {listed(moved) if moved else 'none'}"


def best_tried(numbers, dataset, setting):
    """Which value of a setting was best for which method in trials on a validation set, by the mean
    over levels: a clause. setting: a key of tables.TRIED."""
    return _best(tables.tried_values(numbers, dataset, setting))


def best_rates(numbers, dataset):
    """The same of the learning rates tried at each method's own temperature, of which it takes the
    best; "" before they are tried."""
    return _best(tables.rates_tried(numbers, dataset))


def _means(rows):
    """The mean over levels of each method at each value that was tried."""
    return rows.groupby(["key", "tried"]).value.mean().unstack()


def _best(rows):
    if rows.empty:
        return ""
    best = _means(rows).idxmax(axis=1)
    return _who_has({value: figures.ordered(best[best == value].index) for value in best.unique()})


def from_scratch(numbers, method):
    """What a method with a net of its own is below the same on pretrained features: a sentence
    without its full stop."""
    pairs = {}
    for level in numbers.levels("grocery"):
        table = numbers.values("grocery", level, "linear_accuracy")
        if {method, method + plan.FROM_SCRATCH} <= set(table):
            change = (table[method + plan.FROM_SCRATCH] - table[method]).dropna()
            pairs[level] = results.mean_and_interval(change)
    return told(f"{name(method)} from scratch", "itself on pretrained features", pairs)


def scratch_doubled(numbers):
    """What twice the epochs change from scratch at the finest level, seed by seed: a clause."""
    twice, texts = f"{plan.FROM_SCRATCH}@{2 * plan.SCRATCH['epochs']}", []
    table = numbers.values("grocery", numbers.levels("grocery")[-1], "linear_accuracy")
    for label in figures.ordered(label for label in table if label.endswith(twice)):
        method = label.removesuffix(twice)
        change = (table[label] - table[method + plan.FROM_SCRATCH]).mean()
        texts.append(f"{name(method)} {amount(change)}")
    return listed(texts)


def crossings(numbers):
    """Pairs of methods of which one budget's interval says above and another's below: a clause."""
    points = tables.budget_points(numbers, MNIST)
    texts = []
    for level in numbers.levels(MNIST):
        part = points[points.level == level]
        table = part.pivot_table(index=["epochs", "seed"], columns="method", values="value")
        for a, b in combinations(figures.ordered(table.columns), 2):
            words = _verdicts_by_budget((table[a] - table[b]).dropna())
            if {"above", "below"} <= set(words.values()):
                texts.append(_crossing(a, b, level, words))
    runs = points.groupby("epochs").seed.nunique()
    compared = runs.index[runs >= min(2, runs.max())]  # one seed beside several decides nothing
    between = f"from {compared.min()} to {compared.max()} epochs"
    return listed(texts or [f"{between} no two methods change places beyond their intervals"])


def _verdicts_by_budget(change):
    """{epochs: direction} of differences with index (epochs, seed)."""
    groups = change.groupby("epochs")
    return {n: results.direction(*results.mean_and_interval(values)) for n, values in groups}


def _crossing(a, b, level, words):
    over, under = (
        listed([str(n) for n, word in words.items() if word == kind]) for kind in ("above", "below")
    )
    return (
        f"{name(a)} is above {name(b)} at {level} level after {over} epochs, below it after {under}"
    )


def family(dataset):
    """The data set that a variant is of: hierarchical MNIST for its trees and tails, too."""
    base, _ = base_of(dataset)
    return MNIST if base.startswith(MNIST) else base


def provenance(numbers):
    """Where the rows come from, counted: a data frame of texts, a row for each data set."""
    table = []
    for dataset, rows in numbers.rows.groupby(numbers.rows.dataset.map(family)):
        runs = rows.config_hash.nunique()
        row = {"data set": figures.dataset_name(dataset), "runs": f"{runs:,}"}
        row |= {"numbers": f"{len(rows):,}", "device": tables.listed(rows.device)}
        row["commits"] = "<br>".join(rows.commit.value_counts().index)  # most numbers first
        table.append(row)
    return pd.DataFrame(table)


def sources(numbers):
    """Each source of data with the number of its rows, a list in Markdown."""
    counted = numbers.rows.data_source.value_counts().items()
    return "\n".join(f"* {source}: {number:,}" for source, number in counted)
