"""Your own images or meshes, a folder or a table: read, checked, divided into train and test."""

import os
from collections import defaultdict
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from hmlc_core.checks import require
from hmlc_core.data import each, folders, kinds, labels, needs, tables
from hmlc_core.data.dataset import RESERVED, HierarchicalDataset
from hmlc_core.data.images import read_image
from hmlc_core.data.notes import Notes, legible, some
from hmlc_core.data.similar import near_identical, same_pixels
from hmlc_core.settings import checked

OBJECT = "object"  # the level of meshes that have one level only: each is its own class
OBJECTS = (OBJECT, "mesh")  # the second where the first is that level's name
MAX_BYTES = 8 * 2**30  # of all pictures together, once resized


def read(path, size=64, ignore=(), ends="own", tree=True, levels=None, names=None, parents=None):
    """Read a folder of images or of meshes, or a table that names image files and their labels.

    Folders: each folder level is a level of the hierarchy, e.g. category/class/1.jpg. A class is
    known by its whole path. Tables (csv and the like): one column names the files, relative to the
    table; the others are levels, coarse to fine; an empty field is unknown. A name below several
    parents is several classes, as in a folder. Pictures of any size, mode and orientation become
    RGB, size x size (short side, then centre crop). Meshes become 12 grey views; if there is one
    level only, the object becomes the second.

    A division that is there (folders train, test, val, ... at the root or below each class, or in
    the paths or a column of a table) is not a level: it is kept in dataset.parts. What was decided
    on the way is said in dataset.notes; damage is also warned of.

    Args:
        ignore: glob patterns of files and folders to leave out, e.g. "masks" or "cat/*.gif".
        ends: what a class that has no finer division is on the levels below: "own" = its own only
            class there, "unknown" = -1. In tables a branch ends where fields are empty to the end
            of the row, no other row goes on, and no row has an empty field before a full one.
        tree: False keeps one class for a name below several parents (tables).
        levels: titles of the columns that are levels, coarse to fine (tables); None = all that
            may be: see tables.read_table.
        names: a table of numbers and names of classes; None = classes.csv or the like, if it fits.
        parents: a table class, parent[, ...] above a flat level; None = such a csv in the folder or
            beside it.

    Returns:
        dataset (HierarchicalDataset), groups int64 [N] (views of one object and identical pictures
        share a number), broken {file: why it is left out}.

    Raises:
        ValueError: nothing to read, pictures beside folders of pictures or beside meshes, a table
            without levels, too many pictures for this size, or no whole number for it.
    """
    if ends not in ("own", "unknown"):
        raise ValueError(f"ends must be 'own' or 'unknown', not {ends!r}")
    path, notes, size = Path(path).expanduser().absolute(), Notes(), checked("size", int, size)
    ignore = list(map(str, [ignore] if isinstance(ignore, (str, Path)) else ignore))
    levels = [levels] if isinstance(levels, str) else levels
    names, parents = _table("names", names), _table("parents", parents)
    source = _find(path, ignore, levels, names, notes)
    source = _with_parents(source, path, ignore, parents, notes)
    _require_titles(source, path)
    source, pictures = _read(source, path, size, notes)
    source = _with_objects(source, path)
    class_names, numbers = labels.hierarchy(source.rows, ends, tree, source.whole, notes)
    _require_labels(path, source.levels, class_names)
    _tell_of_unknown(source, numbers, notes)
    repeats = [len(views) for views in pictures]
    images = np.concatenate(pictures)
    pixels = same_pixels(images)
    groups = _joined(pixels, np.arange(len(repeats)).repeat(repeats))
    title = labels.spelled(path.resolve().name)
    dataset = HierarchicalDataset(
        images,
        numbers.repeat(repeats, 0),
        source.levels,
        class_names,
        "train",
        Path(title).stem if path.is_file() else title,
        f"own data: {title}",
        parts=np.array(source.parts).repeat(repeats) if source.parts else None,
        notes=notes,
    )
    _tell_of_several_parents(dataset, tree)
    _tell_of_copies(dataset, pixels, np.array(source.files, object).repeat(repeats))
    return dataset, groups, {legible(file): legible(why) for file, why in source.broken.items()}


# ---------------------------------------------------------------- what is there


@dataclass
class Source:
    """Files, the names of their classes, coarse to fine, and the part each belongs to.

    `whole`: classes are named by their whole paths, as in folders.
    """

    files: list
    rows: list
    levels: list
    parts: list
    broken: dict
    whole: bool

    def pick(self, kept):
        """The same without some files."""
        files, rows = [self.files[k] for k in kept], [self.rows[k] for k in kept]
        return replace(
            self, files=files, rows=rows, parts=[self.parts[k] for k in kept if self.parts]
        )


def _table(what, path):
    """The path of a table that was asked for; None if none was."""
    if not path:
        return None
    path = Path(path).expanduser()
    if not path.is_file():
        raise ValueError(f"{what}='{path}' is no file: give a csv, or leave {what} out")
    return path


def _find(path, ignore, levels, names, notes):
    if path.is_dir():
        if levels or names:
            raise ValueError(
                f"levels and names are of tables, but {path} is a folder: its folders are the "
                "classes. Leave them out, or give a csv"
            )
        source = _of_folder(path, ignore, notes)
    elif path.is_file():
        found = tables.read_table(path, notes, levels, names)
        source = Source(found.files, found.rows, found.levels, found.parts, {}, False)
        source = _without_unread(_without_ignored(source, path.parent, ignore, notes))
        folders.require_one_kind(path, source.files)
    else:
        raise ValueError(f"{path} is neither a folder nor a csv file")
    folders.tell_of_other_parts(path, notes)
    source.rows = labels.one_spelling(source.rows, notes)
    return source


def _of_folder(root, ignore, notes):
    found = folders.find(root, ignore, notes)
    files, rows, parts = folders.divided(root, found.files, notes)
    folders.require_hierarchy(root, files, rows, found)
    folders.tell_of_single_classes(root, rows, notes)
    rows, titles = _filled(rows)
    return Source(files, rows, titles, parts, found.unread, True)


def _filled(rows):
    """Rows of names, all as long as the longest, and titles for their levels."""
    depth = max(map(len, rows))
    rows = [(*row, *[""] * (depth - len(row))) for row in rows]
    return rows, [f"level {level}" for level in range(1, depth + 1)]


def _without_ignored(source, base, ignore, notes):
    kept = range(len(source.files))
    for pattern in ignore:
        fits = {k for k in kept if folders.fits(source.files[k], base, pattern)}
        kept = [k for k in kept if k not in fits]
        folders.tell_of_pattern(pattern, len(fits), notes)
    return source.pick(kept)


def _without_unread(source):
    unread = {k for k, path in enumerate(source.files) if kinds.kind(path) == "unread"}
    broken = {str(source.files[k]): kinds.advice(source.files[k]) for k in sorted(unread)}
    source = replace(source, broken=source.broken | broken)
    return source.pick([k for k in range(len(source.files)) if k not in unread])


def _with_parents(source, path, ignore, parents, notes):
    """The source with the levels that a table class, parent puts above its only level."""
    table = parents or _table_of_parents(source, path, ignore, notes)
    if not table:
        return source
    if len(source.levels) > 1:
        raise ValueError(f"{table} gives parents to a flat level, but {path} has {source.levels}")
    chains = tables.read_parents(table, notes)
    classes = sorted({row[0] for row in source.rows} - {""})
    above = _parents_of(classes, chains, table)
    lost = [name for name in classes if name not in above]
    if lost:
        raise ValueError(
            f"{table} has no row for {len(lost)} classes of {path} ({some(lost)}): add class,parent"
        )
    rows = [(*above[row[0]], *row) if row[0] else () for row in source.rows]
    rows, titles = _filled(rows)
    notes.append(f"the levels above are those of {table.name}: {len(titles)} levels in all")
    return replace(source, rows=rows, levels=titles, whole=False)


def _parents_of(classes, chains, table):
    """{class: its parents, from the top} of the classes that a table has in their own spelling, or
    in one that looks like it.

    Raises:
        ValueError: several that look like a class have different parents.
    """
    alike, above = defaultdict(dict), {}
    for known, chain in chains.items():
        alike[labels.look(known)][known] = chain[:-1]
    for name in classes:
        found = alike[labels.look(name)] or alike[labels.look(tables.cleaned(name))]
        parents = {found[name]} if name in found else set(found.values())
        require(
            len(parents) < 2,
            f"{table} has {some(sorted(found))}, which look like class '{name}' and have different "
            "parents: write one of them as the class is written",
        )
        if parents:
            above[name] = parents.pop()
    return above


def _table_of_parents(source, path, ignore, notes):
    """A table class, parent in the folder, or beside it if it has all classes; or None."""
    if len(source.levels) > 1:
        return None
    inside = path if path.is_dir() else path.parent
    for folder in (inside, inside.resolve().parent):
        others = [p for p in _tables_of_parents(folder, folder != inside) if p != path]
        others = [p for p in others if not any(folders.fits(p, folder, x) for x in ignore)]
        for table in others:
            known = _children(table, stop=folder == inside)
            if known:
                classes = {labels.look(row[0]) for row in source.rows if row[0]}
                if folder == inside or classes <= known:
                    return table
                if classes & known:
                    notes.warn(f"{table} is not used: it lacks {some(sorted(classes - known))}")
    return None


def _tables_of_parents(folder, beside):
    """Those of a folder; of one beside the data what may not be read is passed over."""
    if beside and not os.access(folder, os.R_OK | os.X_OK):
        return []
    files = [p for p in sorted(folder.iterdir()) if p.suffix.lower() in tables.TEXT_FILES]
    files = [p for p in files if p.is_file() and not (beside and not os.access(p, os.R_OK))]
    return [p for p in files if tables.is_parents(p)]


def _children(table, stop):
    """The looks of the classes that a table gives parents; none if it cannot be read, unless that
    is to stop: what lies beside the data may be of something else."""
    try:
        return set(map(labels.look, tables.read_parents(table, Notes())))
    except (ValueError, OSError):
        if stop:
            raise
        return set()


def _require_titles(source, path):
    """Before all pictures are read."""
    odd = sorted(RESERVED & set(source.levels))
    require(
        not odd,
        f"{path}: no level can be called {some(odd)}, which result files need: rename that column, "
        "or leave it out by levels=[...]",
    )


def _with_objects(source, path):
    """Meshes with one level only get their own names as a second one."""
    if len(source.levels) > 1 or kinds.kind(source.files[0]) != "mesh":
        return source
    base = path if path.is_dir() else path.parent
    places = [Path(os.path.relpath(file, base)) for file in source.files]
    objects = [place.with_suffix("").as_posix() for place in places]
    if len(set(objects)) < len(objects):
        objects = [place.as_posix() for place in places]
    if source.whole:
        objects = [name.removeprefix(f"{row[0]}/") for name, row in zip(objects, source.rows)]
    rows = [(*row, name) for row, name in zip(source.rows, objects)]
    title = OBJECTS[OBJECT in source.levels]
    return replace(source, rows=rows, levels=[*source.levels, title])


# ---------------------------------------------------------------- pictures


def _read(source, path, size, notes):
    """The source without files that cannot be read, and the pictures of each file."""
    if not source.files:
        raise ValueError(f"none of the files of {path} can be read, e.g. {_first(source.broken)}")
    found = _read_all(source.files, size)
    broken = {str(f): why for f, why in zip(source.files, found) if isinstance(why, str)}
    kept = [k for k, pictures in enumerate(found) if not isinstance(pictures, str)]
    whole = replace(source, broken=source.broken | broken).pick(kept)
    if not kept:
        raise ValueError(
            f"none of the {len(found)} files of {path} can be read, e.g. {_first(whole.broken)}"
        )
    if whole.broken:
        tell = notes.warn if broken else notes.append  # of damage; not of formats
        tell(f"{len(whole.broken)} files cannot be read and are left out: see broken")
    lost = sorted(set(source.parts) - set(whole.parts))
    if lost:
        notes.warn(f"no file of the {', '.join(lost)} part can be read: that part is missing")
    _tell_of_lost_classes(source, whole, path, notes)
    return whole, [found[k] for k in kept]


def _first(broken):
    return next(iter(broken.items()), "nothing")


def _tell_of_lost_classes(source, whole, path, notes):
    lost = sorted(set(source.rows) - set(whole.rows))
    if source.whole:  # a folder all of whose pictures are in a format that needs another package
        there = {str(Path(file).parent) for file in whole.files}
        lost += sorted({str(Path(file).parent) for file in whole.broken} - there)
    if lost:
        shown = [row if isinstance(row, str) else "/".join(filter(None, row)) for row in lost]
        notes.warn(f"no file can be read of {some(dict.fromkeys(shown))}: the class is missing")


def _read_all(files, size):
    """Pictures uint8 [1 or 12, size, size, 3 or 1] of each file, or why it cannot be read."""
    views = 12 if kinds.kind(files[0]) == "mesh" else 1
    if len(files) * views * size * size * 3 > MAX_BYTES:
        raise ValueError(
            f"{len(files)} files at {size} x {size} take more than the limit of "
            f"{MAX_BYTES // 2**30} GiB: choose a smaller size"
        )
    return list(each(partial(_read_one, size=size), files, "read", threads=views == 1))


def _read_one(path, size):
    if not os.path.isfile(path):  # a name may be too long
        return "there is no such file: a table names files relative to its own folder"
    try:
        return views_of(path, size)
    except (ValueError, OSError) as error:
        return str(error)


def views_of(path, size):
    """The picture in a file, uint8 [1, size, size, 3], or of a mesh views, [12, size, size, 1].

    Raises:
        ValueError, OSError: it cannot be read; says why.
    """
    if kinds.kind(Path(path)) == "mesh":
        with needs("meshes"):
            from hmlc_core.data import meshes

        return meshes.render_views(meshes.read_mesh(path), size)
    return read_image(path, size)[None]


# ---------------------------------------------------------------- what is said of it


def check(dataset):
    """What each level holds, as a data frame.

    Classes, samples without a label, smallest and largest class, imbalance (largest / smallest),
    and how many classes occur under several classes of the level above.
    """
    with needs("notebooks"):
        import pandas as pd

    rows = []
    for level, column in enumerate(dataset.labels.T):
        names = dataset.class_names[level]
        counts = np.bincount(column[column >= 0], minlength=len(names))
        small, large = counts.argmin(), counts.argmax()
        rows.append(
            {
                "level": dataset.level_names[level],
                "classes": len(names),
                "unknown": int((column < 0).sum()),
                "smallest class": f"{names[small]} ({counts[small]})",
                "largest class": f"{names[large]} ({counts[large]})",
                "imbalance": round(counts[large] / max(counts[small], 1), 1),
                "several parents": len(_several_parents(dataset, level)),
            }
        )
    return pd.DataFrame(rows)


def _several_parents(dataset, level):
    names, numbers = dataset.class_names, dataset.labels
    return labels.several_parents(names, numbers, level) if level else []


def _tell_of_several_parents(dataset, tree):
    for level, name in enumerate(dataset.level_names):
        several = [] if tree else _several_parents(dataset, level)
        if several:
            dataset.notes.append(
                f"the labels are no tree: {len(several)} classes of level '{name}' have several "
                f"parents ({some(several)})"
            )


def _require_labels(path, levels, class_names):
    for level, names in zip(levels, class_names):
        if not names:
            raise ValueError(f"{path}: level '{level}' has no label at all: remove that column")


def _tell_of_unknown(source, numbers, notes):
    """Say how many files have no label at a level; warn where most have only a finer one."""
    for level, (title, column) in enumerate(zip(source.levels, numbers.T), 1):
        unknown = column < 0
        finer = unknown & (numbers[:, level:] >= 0).any(1)
        said = f"level '{title}': {unknown.sum()} of {len(column)} files have no label"
        if 2 * finer.sum() > len(column):
            notes.warn(f"{said} (of merged cells a spreadsheet keeps the first row only)")
        elif unknown.any():
            notes.append(said)
    if numbers.max() == 0 and source.levels[-1] not in OBJECTS:
        notes.warn("there is one class only, so nothing to learn: expected category/class/1.jpg")


def _tell_of_copies(dataset, pixels, files):
    """Note identical and nearly identical pictures of different files, warn where labels differ."""
    first = {}
    for number, (same, file) in enumerate(zip(pixels, files)):
        first.setdefault(same, {}).setdefault(str(file), number)
    copies = [list(places.values()) for places in first.values() if len(places) > 1]
    twice = sum(len(place) for place in copies)
    listed = len(files) > len(set(map(str, files))) and dataset.images.shape[3] == 3
    if copies:
        shown = [" = ".join(Path(files[k]).name for k in places) for places in copies]
        dataset.notes.append(
            f"{twice} pictures are identical to another one, pixel by pixel, in {len(copies)} sets "
            f"that no division separates: {some(shown)}"
        )
    if listed:
        count = len(files) - len(set(map(str, files)))
        dataset.notes.append(f"{count} rows name a file once more: no division separates them")
    _tell_of_contradictions(dataset, pixels, files)
    _tell_of_near_copies(dataset, pixels, files)


def _tell_of_contradictions(dataset, pixels, files):
    """Of the finest level with such, but that of single objects."""
    levels = [*enumerate(dataset.level_names)]
    if dataset.images.shape[3] == 1 and levels[-1][1] in OBJECTS:
        levels = levels[:-1]
    for level, title in reversed(levels):
        column, names = dataset.labels[:, level], dataset.class_names[level]
        known = column >= 0
        pairs = np.unique(np.stack([pixels[known], column[known]], 1), axis=0)
        odd = pairs[1:, 0][pairs[1:, 0] == pairs[:-1, 0]]
        if len(odd):
            first = np.flatnonzero(known & (pixels == odd[0]))
            shown = [f"{files[k]} ({names[column[k]]})" for k in first]
            dataset.notes.warn(
                f"{len(set(odd))} pictures have several labels at level '{title}', "
                f"in identical copies; a division that is drawn only trains on them: {some(shown)}"
            )
            return


def _tell_of_near_copies(dataset, pixels, files):
    if dataset.images.shape[3] == 1:
        return  # views of one object are alike
    distinct = np.unique(pixels, return_index=True)[1]
    near = near_identical(dataset.images[distinct])
    copies = np.flatnonzero(near >= 0)
    if len(copies):
        shown = [f"{files[distinct[k]]} ~ {files[distinct[near[k]]]}" for k in copies]
        dataset.notes.append(
            f"{len(copies)} pictures are nearly identical to another one (not kept together): "
            f"{some(shown)}"
        )


# ---------------------------------------------------------------- train and test


def together(images, groups):
    """Groups, merged where they share a picture: int64 [N], numbered in order of appearance."""
    return _joined(same_pixels(images), groups)


def _joined(pixels, groups):
    """As together, of pictures by their same_pixels."""
    count = len(groups)
    groups = np.unique(groups, return_inverse=True)[1]
    graph = coo_array((np.ones(count), (groups, pixels + count)), shape=(2 * count, 2 * count))
    found = connected_components(graph, directed=False)[1][groups]
    _, first, number = np.unique(found, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[number]


def divide(dataset, groups, share=0.2, seed=0, validation="train"):
    """Divide into train and test.

    As dataset.parts says, if the data came with a division (replace(dataset, parts=None) draws one
    all the same). Otherwise this share of the groups of each class of the finest level that can
    spare it goes to test. Identical pictures are never on both sides: of a division that is there,
    train loses them.

    A class keeps two samples in train; one that has a single sample there becomes unknown (-1) at
    its level, because nothing else is like it. Where each class of the finest level is one group
    (views of one object), coarser levels are tested on objects that are not trained on, the finest
    on held-out views of the others; labels that do not count are -1 there.

    Args:
        share: above 0 and below 1.
        validation: where pictures of a validation part go: "train", "test" or "out" (nowhere).
            Where the data have no test part, they are the test, with a warning, unless "out".

    Returns:
        train, test (HierarchicalDataset).

    Raises:
        ValueError: if no class can spare a sample, or a level cannot be learned or tested.
    """
    if validation not in ("train", "test", "out"):
        raise ValueError(f"validation must be 'train', 'test' or 'out', not {validation!r}")
    if checked("share", float, share) >= 1:
        raise ValueError(f"share must be below 1, not {share}: 0.2 is a fifth")
    groups = np.asarray(groups)
    if groups.shape != (len(dataset),):
        raise ValueError(f"groups must be [{len(dataset)}], not {list(groups.shape)}")
    rng, notes = np.random.default_rng(checked("seed", int, seed)), Notes(dataset.notes)
    pixels = same_pixels(dataset.images)
    units, numbers = _joined(pixels, groups), dataset.labels.copy()
    finest, kept = numbers[:, -1], np.ones(len(groups), bool)
    known = finest >= 0
    objects = (
        numbers.shape[1] > 1
        and len(set(groups)) < len(groups)
        and len(set(zip(finest[known], groups[known]))) == len(set(finest[known]))
    )
    if not _is_divided(dataset.parts):
        test = _spared(numbers[:, -2] if objects else finest, units, share, rng)
        columns = numbers[:, :-1].T if objects else numbers.T
        test &= ~np.any([_class_of(column, units) == -2 for column in columns], 0)
    else:
        test, kept = _as_divided(dataset.parts, units, validation, notes)
    if objects:
        views = ~test & kept & _spared(finest, pixels, share, rng)
        numbers[test, -1], numbers[views, :-1] = -1, -1
        test = test | views
    _require_parts(dataset.parts, kept & ~test, test)
    if not test.any():
        raise ValueError(
            f"no class of level '{dataset.level_names[-1]}' has more than two samples that differ, "
            "so none can be tested: add samples, merge classes, or leave out that level"
        )
    if not (kept & ~test).any():
        raise ValueError("nothing is left to train on: every picture of train is in test too")
    return _two(dataset, numbers, kept & ~test, test, notes)


def _require_parts(parts, train, test):
    """Of a division that is there, say which part lacks."""
    there = sorted(set(parts.tolist())) if _is_divided(parts) else []
    advice = "replace(dataset, parts=None) draws one instead"
    require(
        not there or test.any(),
        f"the division that is there has nothing to test on, only {some(there)}: give "
        f"validation='test', or {advice}",
    )
    require(
        not there or train.any() or "train" in there,
        f"the division that is there has nothing to train on, only {some(there)}: {advice}",
    )


def _is_divided(parts):
    return parts is not None and bool(set(parts.tolist()) - {"train"})


def _two(dataset, numbers, train, test, notes):
    """Train and test; a class with a single sample in train is unknown there."""
    seen = numbers[train]
    for column, names in zip(seen.T, dataset.class_names):
        counts = np.bincount(column[column >= 0], minlength=len(names))
        column[np.isin(column, np.flatnonzero(counts == 1))] = -1
    _require_known(dataset.level_names, seen, numbers[test])
    near = near_identical(dataset.images[test], dataset.images[train])
    if (near >= 0).any():
        notes.append(
            f"{(near >= 0).sum()} of {test.sum()} test pictures are nearly identical to a train one"
        )
    _tell_of_unseen(dataset, seen, numbers[test], notes)
    parts = {"parts": None, "notes": notes}
    return (
        replace(dataset, images=dataset.images[train], labels=seen, **parts),
        replace(dataset, images=dataset.images[test], labels=numbers[test], split="test", **parts),
    )


def _require_known(level_names, seen, tested):
    """Stop unless each level has labels in train, and one has in test."""
    for name, column in zip(level_names, seen.T):
        require(
            (column >= 0).any(),
            f"level '{name}': no class has two pictures in train, so nothing can be learned of it: "
            "add pictures, merge classes, or leave out that level",
        )
    require(
        (tested >= 0).any(),
        f"none of {len(tested)} test pictures has a label: label some, or let "
        "replace(dataset, parts=None) be divided anew",
    )


def _tell_of_unseen(dataset, seen, tested, notes):
    for level, name in enumerate(dataset.level_names):
        lost = sorted(set(tested[:, level]) - set(seen[:, level]) - {-1})
        if lost:
            names = dataset.class_names[level]
            shown = some([names[k] for k in lost])
            notes.warn(
                f"level '{name}': {len(lost)} classes are in test and have no two pictures in "
                f"train: {shown}"
                + _elsewhere(
                    [names[k] for k in lost], [names[k] for k in set(seen[:, level]) - {-1}]
                )
            )


def _elsewhere(lost, seen):
    """A class of test that train has under another parent is most likely one that was moved."""
    last = {name.rsplit("/", 1)[-1]: name for name in seen}
    moved = [f"{k} ({last[k.rsplit('/', 1)[-1]]})" for k in lost if k.rsplit("/", 1)[-1] in last]
    return (
        f"; train has the same name elsewhere, is it the same class? {some(moved)}" if moved else ""
    )


def _as_divided(parts, units, validation, notes):
    """Masks [N] of what is tested and of what is used at all, by a division that is there."""
    test, held = parts == "test", parts == "validation"
    kept = np.ones(len(parts), bool)
    if validation == "test" or (validation == "train" and not test.any()):
        test = test | held
    elif validation == "out":
        kept &= ~held
    if held.any():
        tested = "tested on" if (test & held).any() else "trained on"
        where = "left out" if validation == "out" else tested
        tell = notes.warn if (test & held).any() and validation == "train" else notes.append
        tell(f"{held.sum()} pictures of the validation part are {where}" + _why(where, validation))
    copies = kept & ~test & np.isin(units, units[test])
    if copies.any():
        notes.warn(
            f"{copies.sum()} pictures of the train part are identical to one of the test part and "
            "are not trained on"
        )
    return test, kept & ~copies


def _why(where, validation):
    if where == "tested on" and validation == "train":
        return ", because there is no test part: do not choose settings by the result"
    return ""


def _spared(classes, units, share, rng):
    """Which samples go to test: of each class this share of its units, so that two samples stay.

    A unit that holds two classes stays in train.
    """
    own, sizes = _class_of(classes, units), np.bincount(units)
    test = np.zeros(len(classes), bool)
    for label in np.unique(classes):
        mine = own == label
        members, spared = rng.permutation(np.unique(units[mine])), []
        left, wanted = mine.sum(), max(round(share * len(members)), 1)
        for unit in members:
            if len(spared) < wanted and left - sizes[unit] >= 2:
                spared.append(unit)
                left -= sizes[unit]
        test |= mine & np.isin(units, spared)
    return test


def _class_of(classes, units):
    """Of each sample the class of its unit: -1 if no label is known, -2 if there are two."""
    low, high = np.full(units.max() + 1, np.iinfo(np.int64).max), np.full(units.max() + 1, -1)
    np.maximum.at(high, units, classes)
    np.minimum.at(low, units[classes >= 0], classes[classes >= 0])
    return np.where((high >= 0) & (low != high), -2, high)[units]
