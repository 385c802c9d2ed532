"""A folder of pictures as people have it: what is in it, what divides it, what does not belong."""

import glob
import os
import re
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

from hmlc_core.data import kinds
from hmlc_core.data.notes import some

LEFT_BEHIND = {  # folders of systems and tools, besides those that begin with a dot or an @ (NAS)
    "__macosx", "__pycache__", "#recycle", "#snapshot", "$recycle.bin", "recycler", "lost+found",
    "found.000", "system volume information", "network trash folder", "temporary items",
    "thumbnails", "node_modules", "site-packages", "venv", "wandb", "mlruns", "lightning_logs",
}  # fmt: skip
HOLDERS = {"images", "image", "imgs", "img", "jpegimages", "pictures", "photos", "jpg", "png"}
PART_NAMES = {
    "train": "train|training|trainings|trn|trainval|learn|learning|entrenamiento|treino|"
    "apprentissage|addestramento",
    "test": "test|tests|testing|tst|eval|evaluation|holdout|hold-out|heldout|held-out|unseen|"
    "prueba|teste",
    "validation": "val|vali|valid|validate|validation|dev|devel|development|validierung|validacion",
}
PART = re.compile(
    r"(?:(?P<before>.*)[ _.-])??(?:"
    + "|".join(f"(?P<{part}>{names})" for part, names in PART_NAMES.items())
    + r")(?:[ _.-]*(?:set|data|daten|images?|imgs?|pictures?|split|\d+(?:x\d+)?))*"
    r"(?:[ _.-](?P<after>.*))?",
    re.IGNORECASE,
)


@dataclass
class Found:
    """The pictures or meshes below a folder; `unread` says of others why they are left out."""

    files: list = field(default_factory=list)
    unread: dict = field(default_factory=dict)
    others: Counter = field(default_factory=Counter)
    tables: list = field(default_factory=list)


# ---------------------------------------------------------------- what is there


def find(root, ignore, notes):
    """Every picture and mesh below a folder, sorted, links followed; the rest is counted in notes.

    Args:
        ignore: glob patterns of what is left out: of names ("masks", "*.gif"), or, with a slash,
            of paths from the root ("cat/masks").
    """
    found, left, used = Found(), Counter(), Counter()
    for path in _walk(root, ignore, left, used, notes):
        kind = kinds.kind(path)
        if not path.is_file():
            found.unread[str(path)] = "a link to nothing, or no file"
        elif kind in ("picture", "mesh"):
            found.files.append(path)
        elif kind == "unread":
            found.unread[str(path)] = kinds.advice(path)
        else:
            found.others[path.suffix.lower() or "without an ending"] += 1
            if path.suffix.lower() in (".csv", ".tsv", ".txt"):
                found.tables.append(path)
    found.files.sort()
    _tell_of_the_rest(found.others, left, used, ignore, notes)
    _tell_of_derived(found.files, notes)
    return found


def _walk(root, ignore, left, used, notes):
    """Files below root; links to folders are followed last, and none that leads back."""
    home = Path(os.path.realpath(root))
    waiting, links = [(root, (home,))], []
    while waiting or links:
        folder, above = waiting.pop() if waiting else links.pop()
        for path in _listed(folder, notes):
            relative = path.relative_to(root)
            pattern = next((p for p in ignore if _fits(relative, p)), None)
            if pattern:
                used[pattern] += 1
            elif left_behind(path.name):
                left[path.name if path.is_dir() else "hidden files"] += 1
            elif not path.is_dir():
                yield path
            elif not path.is_symlink():
                waiting.append((path, (*above, path.resolve())))
            elif _leads_back(path.resolve(), home, above):
                notes.append(f"the link {relative} leads back into its own folder: not followed")
            else:
                links.append((path, (*above, path.resolve())))


def _listed(folder, notes):
    try:
        return sorted(folder.iterdir())
    except PermissionError:
        notes.warn(f"{folder} may not be read and is left out")
        return []


def _leads_back(target, home, above):
    return target in above or home.is_relative_to(target) or target.is_relative_to(home)


def left_behind(name):
    """Whether a file or folder is hidden or made by a system or a tool."""
    return name.startswith((".", "~$", "@")) or name.casefold() in LEFT_BEHIND


def fits(path, root, pattern):
    """Whether a pattern names a path, or a folder between it and the root."""
    parts = Path(path).relative_to(root).parts if Path(path).is_relative_to(root) else path.parts
    return any(_fits(Path(*parts[:depth]), pattern) for depth in range(1, len(parts) + 1))


def _fits(relative, pattern):
    """Whether a pattern names it: by its name, or, with a slash, by its path from the root."""
    names = pattern.rstrip("/").lstrip("/").split("/")
    parts = relative.parts if "/" in pattern.rstrip("/") else relative.parts[-1:]
    return len(names) == len(parts) and all(map(fnmatchcase, parts, names))


def _tell_of_the_rest(others, left, used, ignore, notes):
    if others:
        kinds = ", ".join(f"{count} {ending}" for ending, count in others.most_common(8))
        notes.append(f"left out, no pictures by their names: {others.total()} files ({kinds})")
    if left:
        names = [f"{name} ({count})" for name, count in left.most_common()]
        notes.append(f"left out, hidden or made by a system or a tool: {some(names, 8)}")
    for pattern in ignore:
        tell_of_pattern(pattern, used[pattern], notes)


def _tell_of_derived(files, notes):
    """Warn of pictures named as one beside them with a word behind: masks, edited copies."""
    names = {(path.parent, path.stem) for path in files}
    words = defaultdict(list)
    for path in files:
        found = re.fullmatch(r"(.+?)([ _.-]+[a-z]+)", path.stem, re.IGNORECASE)
        if found and (path.parent, found[1]) in names:
            words[found[2]].append(path)
    for word, paths in words.items():
        if len(paths) > 1:
            notes.warn(
                f"{len(paths)} pictures are named as another one with '{word}' behind, e.g. "
                f"{paths[0]}: if they are masks or copies, ignore='*{word}.*' leaves them out"
            )


def tell_of_pattern(pattern, count, notes):
    """Note what a pattern left out; warn if that is nothing."""
    if count:
        notes.append(f"left out by ignore '{pattern}': {count} files or folders")
    else:
        notes.warn(f"ignore '{pattern}' fits no file and no folder: look at its spelling")


# ---------------------------------------------------------------- a division that is there


def part_of(name):
    """What a name says of a division, as (what stands before, part, what stands behind), e.g.
    ("", "test", "small"); or None."""
    match = PART.fullmatch(name.strip())
    if not match:
        return None
    part = next(part for part in PART_NAMES if match[part])
    before, after = (re.sub(r"\d+", "", match[side] or "") for side in ("before", "after"))
    return before.casefold(), part, after.casefold()


@dataclass
class Division:
    """Parts of files: "train", "test", "validation" or "" (lies in none), and their class folders.

    `at` are the folders that are divided, by the paths to them.
    """

    parts: list
    folders: list
    at: list


def division(folders):
    """The division in paths of folders: siblings such as train and test, the uppermost ones.

    Args:
        folders: of each file, names of the folders from the root to it.

    Returns:
        Division, or None where there is none.
    """
    divided = {parent: _parts(names) for parent, names in _children(folders).items()}
    divided = {parent: parts for parent, parts in divided.items() if parts}
    if not divided:
        return None
    divided = _uppermost(divided, folders)
    tried = sorted(set(map(len, divided)))
    depths = [_depth(path, divided, tried) for path in folders]
    parts = [
        divided.get(path[:depth], {}).get(path[depth], "") if len(path) > depth else ""
        for path, depth in zip(folders, depths)
    ]
    lone = [_lone_part(p, d, divided) for p, d in zip(folders, depths)]
    parts = [part or other for part, other in zip(parts, lone)]
    return Division(parts, _without_parts(folders, parts, depths), sorted(divided))


def _children(folders):
    """{path: names of the folders in it} of paths and of all folders above them."""
    children = defaultdict(set)
    for path in set(folders):
        for depth, name in enumerate(path):
            children[path[:depth]].add(name)
    return children


def _uppermost(divided, folders):
    """The folders that are divided and lie in no other one; that on top alone if it is one that
    holds classes: then the data set lies there, whatever is around it."""
    depth = min(map(len, divided))
    top, *others = [parent for parent in divided if len(parent) == depth]
    if not others and any(len(p) > depth + 1 and p[:depth] == top for p in folders):
        return {top: divided[top]}
    return {p: parts for p, parts in divided.items() if _first_on(p, divided) == len(p)}


def _first_on(path, parents):
    """The depth of the uppermost of some folders on a path; None if none lies on it."""
    return next((depth for depth in range(len(path) + 1) if path[:depth] in parents), None)


def _depth(path, divided, depths):
    """How deep the folder lies that divides a path; of a path that none does, where its own name
    says a part as deep as another is divided, or the least depth.

    Args:
        depths: of the folders that are divided, least first.
    """
    inside = _first_on(path, divided)
    if inside is not None:
        return inside
    said = (depth for depth in depths if len(path) > depth > 0 and part_of(path[depth]))
    return next(said, depths[0])


def _parts(names):
    """{name: part} of the names that are a division; empty if they are not."""
    families = defaultdict(dict)
    for name in sorted(names):
        before, part, after = part_of(name) or ("", "", "")
        families[before, after][name] = part
    found = [
        {name: part for name, part in family.items() if part}
        for (_, after), family in families.items()
        if len(set(family.values()) - {""}) > 1 and (not after or "train" in family.values())
    ]
    return max(found, key=len, default={})


def _lone_part(path, depth, at):
    """The part of a class that has one part only, beside classes that have several."""
    said = part_of(path[depth]) if path[:depth] not in at and depth and len(path) > depth else None
    return said[1] if said and not said[2] else ""


def _without_parts(folders, parts, depths):
    """The paths without the name of their part, also where it stands there twice."""
    found = [p[:d] + p[d + 1 :] if part else p for p, d, part in zip(folders, depths, parts)]
    while True:
        again = [
            len(path) > d and (part_of(path[d]) or ("", "", ""))[1] == part != ""
            for path, d, part in zip(found, depths, parts)
        ]
        if not any(parts) or not all(a for a, part in zip(again, parts) if part):
            return found
        found = [p[:d] + p[d + 1 :] if part else p for p, d, part in zip(found, depths, parts)]


def divided(root, files, notes):
    """The files that a folder's division holds, their class folders and their parts.

    What lies beside the parts is left out where the folder that is divided holds the classes, and
    belongs to train where each class is divided; both are warned of.

    Returns:
        files, folders (tuples of names), parts (list of str; empty without a division).
    """
    folders = _without_holders([path.relative_to(root).parent.parts for path in files], notes)
    found = division(folders)
    if not found:
        _tell_of_the_same_below(folders, notes)
        _tell_of_lone_parts(folders, notes)
        return files, folders, []
    depth = len(found.at[0])
    inner = any(part and len(path) > depth for path, part in zip(found.folders, found.parts))
    if len(found.at) == 1 and inner:  # the data set lies there, whatever is around it
        kept = [k for k, part in enumerate(found.parts) if part]
        folders = [found.folders[k][depth:] for k in kept]
        parts = [found.parts[k] for k in kept]
    else:
        at = set(found.at)
        outside = [_first_on(path, at) is None for path in folders]
        kept = [k for k, part in enumerate(found.parts) if part or outside[k]]
        folders = [found.folders[k] for k in kept]
        parts = [found.parts[k] or "train" for k in kept]
        _tell_of_undivided([files[k] for k in kept if not found.parts[k]], root, notes)
    _tell_of_outsiders(sorted(set(files) - {files[k] for k in kept}), root, notes)
    return _labelled(root, [files[k] for k in kept], folders, parts, found.at, notes)


def _without_holders(folders, notes):
    """The paths without folders "images" and the like that are alone in theirs: no classes."""
    children = _children(folders)
    for path in set(folders):
        children[path].add("")  # pictures
    held = {path for path in children if len(path) > 1 and path[-1].casefold() in HOLDERS}
    alone = {p for p in held if len(children[p[:-1]]) == 1 and not _parts(children[p])}
    if alone:
        names = some(sorted({path[-1] for path in alone}))
        notes.append(f"folders that only hold the pictures are no classes: {names}")
    return [
        tuple(name for depth, name in enumerate(path, 1) if path[:depth] not in alone)
        for path in folders
    ]


def _tell_of_the_same_below(folders, notes):
    """Warn if the folders on top all hold the same ones, as divisions and factors do."""
    below = defaultdict(set)
    for path in folders:
        below[path[:1]] |= set(path[1:2])
    every = set().union(*below.values())
    common = every.intersection(*below.values())
    if len(below) > 1 and len(common) > 1 and 2 * len(common) >= len(every):
        tops = sorted("/".join(top) for top in below)
        notes.warn(
            f"{some(tops)} all hold folders of the same names ({some(sorted(common))}), which are "
            f"different classes, e.g. {tops[0]}/{min(common)} and {tops[1]}/{min(common)}: name "
            "parts of a division train, test and the like; ignore='masks' leaves out masks"
        )


def _tell_of_lone_parts(folders, notes):
    """Warn of a folder "test" or the like beside the classes that it holds itself."""
    children = _children(folders)
    for path, inner in sorted(children.items()):
        said = part_of(path[-1]) if path else None
        if said and not said[0] + said[2] and inner <= children[path[:-1]]:
            place, other = "/".join(path), "test" if said[1] == "train" else "train"
            notes.warn(
                f"{place} holds folders named as those beside it ({some(sorted(inner))}) and is "
                f"read as a class: if it is the {said[1]} part, put the others into a folder "
                f"{other} beside it; ignore='{place}' leaves it out"
            )


def _tell_of_undivided(files, root, notes):
    if files:
        folders = sorted({path.relative_to(root).parent.as_posix() for path in files})
        notes.warn(
            f"{len(files)} files lie in folders without train and test, unlike the others, and are "
            f"trained on: {some(folders)}"
        )


def _tell_of_outsiders(files, root, notes):
    if files:
        tops = Counter(path.relative_to(root).parent.as_posix() for path in files)
        folders = [f"{'the folder itself' if k == '.' else k} ({n})" for k, n in tops.items()]
        notes.warn(
            f"{len(files)} pictures lie beside the parts of the division and are left out: "
            f"{some(folders)}"
        )


def _labelled(root, files, folders, parts, at, notes):
    """Without parts whose files lie in no class folder, e.g. the test pictures of a competition."""
    bare = {part for part in set(parts)} - {part for part, path in zip(parts, folders) if path}
    kept = [k for k, part in enumerate(parts) if part not in bare]
    if not kept:
        raise ValueError(
            f"{root}: the pictures of {', '.join(sorted(bare))} lie in no class folder, so they "
            "have no label: expected e.g. train/category/class/1.jpg, or a table of labels"
        )
    for part in sorted(bare):
        notes.warn(
            f"the {parts.count(part)} pictures of the {part} part lie in no class folder, so they "
            "have no label and are left out"
        )
    files, folders, parts = ([column[k] for k in kept] for column in (files, folders, parts))
    if len(set(parts)) < 2:
        return files, folders, []
    counts = ", ".join(f"{count} {part}" for part, count in Counter(parts).items())
    where = some([("/".join(path) or str(root)) for path in at])
    notes.append(f"a division that is already there (in {where}) is used: {counts}")
    return files, folders, parts


def tell_of_other_parts(path, notes):
    """If a folder or list is itself one part of a division, say where the others are."""
    said = part_of(path.stem if path.is_file() else path.name)
    if said and path.parent.is_dir():
        siblings = [p for p in path.parent.iterdir() if p.is_dir() == path.is_dir() and p != path]
        same = [p for p in siblings if p.suffix == path.suffix and part_of(p.stem) is not None]
        kin = {p.name: part_of(p.stem) for p in same}
        others = sorted(n for n, o in kin.items() if o[1] != said[1] and o[2] == said[2])
        if others:
            notes.append(
                f"only {path.name} is read, one part of a division; {some(others)} beside it: not. "
                "Read what holds them all to train and test as they are divided"
            )


# ---------------------------------------------------------------- what is no hierarchy


def require_hierarchy(root, files, folders, found):
    """Check that pictures lie in folders, and none beside folders of pictures.

    Raises:
        ValueError: naming the folders that differ, and the pattern that leaves one out.
    """
    depths = dict(sorted(Counter(map(len, folders)).items()))
    if not files or set(depths) == {0}:
        raise ValueError(
            f"{root} must hold images or meshes in nested folders, e.g. category/class/1.jpg; "
            f"found {f'files at depths {depths}' if files else 'none'}{_hint(found)}"
        )
    require_one_kind(root, files)
    _require_unmixed(root, files, folders, depths)


def require_one_kind(root, files):
    """Check that files are all pictures, or all meshes."""
    meshes = [path for path in files if kinds.kind(path) == "mesh"]
    if 0 < len(meshes) < len(files):
        picture = next(path for path in files if kinds.kind(path) != "mesh")
        raise ValueError(
            f"{root} holds images and meshes, e.g. {picture} and {meshes[0]}: give one or the "
            f"other, e.g. ignore='*{picture.suffix}' leaves these images out"
        )


def _hint(found):
    if found.unread:
        path, why = next(iter(found.unread.items()))
        return f", and {len(found.unread)} pictures that cannot be read, e.g. {path}: {why}"
    if found.tables:
        return f". There is a table: read {found.tables[0]} instead"
    if found.others:
        return f", and files that are no pictures by their names {dict(found.others)}"
    return ""


def _require_unmixed(root, files, folders, depths):
    holders = set(folders)
    inner = defaultdict(set)
    for path in holders:
        for depth in range(len(path)):
            inner[path[:depth]].add(path)
    mixed = sorted(holders & set(inner))
    if not mixed:
        return
    names = Counter(below[len(path)] for path in mixed for below in inner[path])
    first, below = mixed[0], sorted(inner[mixed[0]])[0]
    example, deeper = (files[folders.index(path)].relative_to(root) for path in (first, below))
    name, place = names.most_common(1)[0][0], "/".join(first)
    shown = some(["/".join(path) or "the folder itself" for path in mixed])
    raise ValueError(
        f"{root} holds pictures beside folders of pictures, in {len(mixed)} places ({shown}), so "
        f"it is not clear what is a class: found files at depths {depths}, e.g. {example} and "
        f"{deeper}. Expected pictures in the innermost folders only, e.g. category/class/1.jpg. "
        f"ignore='{name}' leaves out the folders of that name, "
        f"ignore='{glob.escape(place)}/*{example.suffix}' the pictures beside them"
    )


def tell_of_single_classes(root, rows, notes):
    """Warn of levels on top that are the same for every file: the root is probably too high."""
    same = os.path.commonprefix([row[:-1] for row in rows])
    if same:
        notes.warn(
            f"all files lie in {'/'.join(same)}, so the first {len(same)} of "
            f"{max(map(len, rows))} levels have one class only. Expected category/class/1.jpg: "
            f"read {Path(root, *same)} to leave them out"
        )
