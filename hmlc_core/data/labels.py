"""Names of classes as people write them, to labels of a hierarchy."""

import re
import unicodedata
from collections import Counter, defaultdict
from itertools import zip_longest

import numpy as np

from hmlc_core.data.notes import legible, some

# Cyrillic and Greek letters that print like Latin ones
TWINS = str.maketrans(
    "АВЕЅІЈКМНОРСТУХаеѕіјорсухΑΒΕΖΗΙΚΜΝΟΡΤΥΧο",  # noqa: RUF001
    "ABESIJKMHOPCTYXaesijopcyxABEZHIKMNOPTYXo",
)
KEPT_FORMAT = "\u200c\u200d"  # joiners, which change how Persian, Hindi or emoji look


def spelled(name):
    """A name as it is shown: composed accents, single blanks, nothing that cannot be seen or
    written."""
    name = unicodedata.normalize("NFC", legible(str(name)))
    seen = [c for c in name if c in KEPT_FORMAT or unicodedata.category(c) != "Cf"]
    return " ".join("".join(seen).split())


def printed(name):
    """What two names share that print the same (full-width, ligatures, letters of two scripts)."""
    return spelled(unicodedata.normalize("NFKC", spelled(name)).translate(TWINS))


def look(name):
    """What two names share that look alike: printed the same but for case and leading zeros."""
    return re.sub(r"(?<![\d.])0+(?=\d)", "", printed(name).casefold())


def one_spelling(rows, notes):
    """Rows of names with one spelling, the most frequent, for names that print the same.

    Names are compared within a level. Each spelling that gives way is warned of.
    """
    columns = list(zip_longest(*rows, fillvalue=""))
    columns = [_one_spelling(column, level, notes) for level, column in enumerate(columns, 1)]
    return [tuple(row[: len(old)]) for row, old in zip(zip(*columns), rows)]


def _one_spelling(column, level, notes):
    spellings = defaultdict(Counter)
    for raw, count in Counter(column).items():
        spellings[printed(raw)][raw] += count
    chosen = {}
    for variants in spellings.values():
        best = spelled(min(variants, key=lambda raw: (-variants[raw], raw)))
        chosen |= dict.fromkeys(variants, best)
        if len(variants) > 1:
            notes.warn(
                f"level {level}: {some(map(ascii, sorted(variants)))} print the same and are taken "
                f"as one class '{best}': rename them if you mean different ones"
            )
    return [chosen[raw] for raw in column]


def hierarchy(rows, ends="own", tree=True, whole_names=False, notes=None):
    """Class names of each level and labels, for rows of names from coarse to fine.

    A class is known by its whole path: the same name under two parents is two classes. A name that
    is empty is unknown, with one exception: in a table whose rows are empty only at their ends, a
    branch below which no row names anything ends there.

    Args:
        rows: tuples of L names.
        ends: what a branch that ends early is on the levels below: "own" = its own only class
            there, "unknown" = -1.
        tree: False keeps one class for the same name under several parents (factors).
        whole_names: name each class by its whole path, "a/b"; otherwise only where it is needed.

    Returns:
        names (L lists), labels int64 [N, L].
    """
    short = ended(rows)
    if short:
        notes.append(_about(short, rows, ends))
    kept = short if ends == "own" else set()
    keys = [_keys(row, kept) for row in rows]
    if tree:
        columns = [_complete(column) for column in zip(*keys)]
    else:
        columns = [[key[-1:] for key in column] for column in zip(*keys)]
    names, labels = zip(*(_numbered(column, whole_names) for column in columns))
    if tree and not whole_names:
        _tell_of_several_parents(columns, notes)
    _tell_of_look_alikes(columns, notes)
    return list(names), np.stack(labels, 1)


def ended(rows):
    """The branches that end above the finest level: paths below which no row names anything.

    None, where a row has an empty name above a name: there an empty name means unknown.
    """
    paths = {_known(row) for row in rows}
    if any("" in path for path in paths):
        return set()
    inner = {path[:depth] for path in paths for depth in range(1, len(path))}
    return {path for path in paths - inner if 0 < len(path) < len(rows[0])}


def _known(row):
    """A row without the empty names at its end."""
    return row[: max((k for k, name in enumerate(row, 1) if name), default=0)]


def _about(short, rows, ends):
    level = Counter(map(len, short)).most_common(1)[0][0]
    all_there = len({row[:level] for row in rows if row[level - 1]})
    there = sum(len(path) == level for path in short)
    below = "is its own only class" if ends == "own" else "is unknown (-1)"
    return (
        f"{len(short)} classes have no finer division ({there} of the {all_there} of level "
        f"{level}), e.g. {some(map('/'.join, sorted(short)), 2)}: each {below} on the levels below"
    )


def _keys(row, ended):
    """What a row's class is known by on each level: the path to it; () = unknown."""
    path = _known(row)
    below = path if path in ended else ()
    return [
        row[: level + 1] if row[level] else below if level >= len(path) else ()
        for level in range(len(row))
    ]


def _complete(column):
    """Paths with unknown parts: the only whole path they fit, or unknown if they fit several."""
    whole = defaultdict(set)
    for key in set(column):
        if key and all(key):
            whole[key[-1]].add(key)

    def complete(key):
        if all(key):
            return key
        fits = [k for k in whole[key[-1]] if all(not a or a == b for a, b in zip(key, k))]
        return tuple(filter(None, key)) if not fits else fits[0] if len(fits) == 1 else ()

    found = {key: complete(key) for key in set(column)}
    return [found[key] for key in column]


def _numbered(column, whole_names):
    """Names of one level's classes, in order, and labels int64 [N]."""
    names = _names(set(column) - {()}, whole_names)
    numeric = all(name.isdecimal() for name in names.values())
    order = sorted(names, key=lambda key: int(names[key]) if numeric else names[key].split("/"))
    number = {key: k for k, key in enumerate(order)} | {(): -1}
    return [names[key] for key in order], np.array([number[key] for key in column], np.int64)


def _names(keys, whole_names):
    last = Counter(key[-1] for key in keys)
    names = {k: "/".join(k) if whole_names or last[k[-1]] > 1 else k[-1] for k in keys}
    if len(set(names.values())) < len(names):  # a name with a slash prints like a path
        names = {key: " > ".join(key) for key in keys}
    return names


def _tell_of_several_parents(columns, notes):
    for level, column in enumerate(columns, 1):
        paths = defaultdict(set)
        for key in set(column) - {()}:
            paths[key[-1]].add("/".join(key))
        several = {name: sorted(places) for name, places in paths.items() if len(places) > 1}
        if several:
            notes.warn(
                f"level {level}: {len(several)} names stand under several parents, e.g. "
                f"{some(next(iter(several.values())))}: as in a folder a class is known by its "
                "whole path, so these are different classes; tree=False makes each name one class"
            )


def _tell_of_look_alikes(columns, notes):
    told = set()  # a branch that ends early is on several levels
    for level, column in enumerate(columns, 1):
        alike = defaultdict(set)
        for key in set(column) - {()} - told:
            alike[key[:-1], look(key[-1])].add("/".join(key))
        told |= set(column)
        for names in alike.values():
            if len(names) > 1:
                notes.warn(
                    f"level {level}: {some(map(repr, sorted(names)), 5)} look alike and are kept "
                    "as different classes: give them one name if you mean one class"
                )


def several_parents(names, labels, level):
    """Names of the classes of a level that occur under more than one class of the level above."""
    known = (labels[:, level - 1 : level + 1] >= 0).all(1)
    pairs = np.unique(labels[known, level - 1 : level + 1], axis=0)
    classes, counts = np.unique(pairs[:, 1], return_counts=True)
    return [names[level][k] for k in classes[counts > 1]]


def coarse_to_fine(rows):
    """The order of columns in which each class of one lies in a single class of the one before.

    The order given is kept unless the columns are nested strictly in another one and samples that
    share a class show it.
    """
    order = list(range(len(rows[0])))
    counts = [len({row[k] for row in rows} - {""}) for k in order]
    other = sorted(order, key=lambda k: counts[k])
    pairs = list(zip(other, other[1:]))
    told = [counts[k] > 1 or all(row[k] for row in rows) for k in order]
    nested = all(told[a] and _nested(rows, a, b) for a, b in pairs)
    return other if nested and any(a > b and counts[a] < counts[b] for a, b in pairs) else order


def _nested(rows, coarse, fine):
    """Whether each class of `fine` lies in one of `coarse`, and there are samples to show it."""
    both = Counter((row[coarse], row[fine]) for row in rows if row[coarse] and row[fine])
    classes = {fine for _, fine in both}
    return bool(both) and len(both) == len(classes) and both.total() >= 2 * len(classes)
