"""Tables of labels as spreadsheets, pandas and hand-made lists write them."""

import csv
import io
import os
import re
from collections import Counter, defaultdict
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from itertools import permutations
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

from hmlc_core.data import folders, kinds
from hmlc_core.data.labels import coarse_to_fine, look, printed, spelled
from hmlc_core.data.notes import some

UNKNOWN = re.compile(  # #NV, #N/D, #WERT! and the like: errors of Excel in any language
    r"-?nan|n/?a|<na>|none|\(?null\)?|nat|nil|#n/?[a-z]|#\S+[!?]|\?+|-+|\(blank\)|undefined|"
    r"unlabell?ed|unknown",
    re.IGNORECASE,
)
PART_COLUMNS = {"split", "subset", "set", "part", "partition", "usage", "phase"}
NEVER_LEVELS = {"split", "partition"}
SHORT_PARTS = {"tr": "train", "va": "validation", "te": "test"}
SHORT_PARTS |= {"publictest": "validation", "privatetest": "test"}  # of FER2013
NO_CLASS = re.compile(  # titles of what annotation tools and pipelines write beside a label
    r"bbox_?[xywh]|(bbox_?)?(width|height|[xy]_?(min|max|1|2|center))|((k|cv)_?)?folds?|annotator|"
    r"confidence|score|(image_?|annotation_?)?id",
    re.IGNORECASE,
)
PICTURES = re.compile(r"image|img|pict|photo|file|path|mesh", re.IGNORECASE)
DERIVED = re.compile(r"mask|annot|seg|thumb|label|depth", re.IGNORECASE)
CHILD = re.compile(r"(sub[ _-]?)?class|child|label|category|name", re.IGNORECASE)
PARENT = re.compile(r"(great[ -]?|grand[ -]?)*parent.*|super[ _-]?c.*", re.IGNORECASE)
YES, NO = {"1", "true", "yes", "y"}, {"0", "false", "no", "n"}
NAMES_FILES = (
    "classes",
    "class_names",
    "classnames",
    "names",
    "labels",
    "label_names",
    "categories",
)
TEXT_FILES = (".csv", ".tsv", ".txt")


@dataclass
class Table:
    """Files and their labels: rows of names coarse to fine, "" = unknown; parts may be empty."""

    files: list
    rows: list
    levels: list
    parts: list


def read_table(path, notes, levels=None, names=None):
    """Read a table that names files and their labels.

    Delimiter, encoding and header are recognised; the files' column is that of pictures or meshes;
    an index, empty columns, numbers with fractions, what differs for every picture and what tools
    write beside a label are left out, which is noted; every other column is a level, and columns
    of 0 and 1 that mark a class each are one.

    Args:
        levels: names of the columns that are levels, coarse to fine; None = all that may be.
        names: a table with the names of labels that are numbers; None = one beside it, if it fits.

    Raises:
        ValueError: if it is no text, has no column of labels, or a row has more fields than others.
    """
    _listing.cache_clear()
    _near.cache_clear()
    header, body = split_header(path, cells(path, notes))
    where = _column_of_files(header, body, path.parent, notes)
    columns = _columns(path, header, body, where, notes)
    parts = _parts(columns, levels or (), notes)
    if levels is None:
        mesh = any(row[where].lower().endswith(kinds.MESHES) for row in body)
        columns = _classes_alone(path, _one_hot(columns, bool(header), notes), mesh, notes)
        _tell_of_odd_columns(columns, notes)
        _tell_of_paths(columns, notes)
    else:
        columns = _picked(path, header, body, levels, notes)
    if not columns or not body:
        raise ValueError(
            f"{path} must have a column of files, at least one level and a row a file; found "
            f"columns {some(header or ['no header'])}, {len(body)} rows"
        )
    _require_labels(path, columns)
    rows = list(zip(*columns.values()))
    titles = list(columns) if header or levels else [""] * len(columns)
    titles, rows = _named(path, titles, rows, names, notes)
    if levels is None:
        titles, rows = _ordered(titles, rows, bool(header), notes)
    titles = [t or f"level {k}" for k, t in enumerate(titles, 1)]
    files, inner = locate(path, [row[where] for row in body], notes)
    _tell_of_unnamed(files, notes)
    return Table(files, rows, titles, parts or _parts_of_paths(inner, notes))


# ---------------------------------------------------------------- text, rows, header


def cells(path, notes):
    """The rows of a table, equally long, fields without blanks around them, empty rows left out."""
    text = _text(path, notes)
    said = re.match(r"sep=(.)\r?\n?", text, re.IGNORECASE)  # as Excel writes on top
    text = text[said.end() :] if said else text
    try:
        rows = _split(text, said[1] if said else None)
    except csv.Error as error:
        raise ValueError(f"{path} is no readable csv ({error}): repair its quotes") from error
    if not rows:
        raise ValueError(f"{path} is no readable csv: it is empty")
    rows = _without_extra_fields(_without_heading(path, rows, notes))
    width = len(rows[0]) if not _like_file(rows[0]) else max(map(len, rows))
    for number, row in enumerate(rows, 1):
        if len(row) > width:
            raise ValueError(
                f"{path} must have a row a file with as many fields as its first row, {width}; "
                f"found row {number} with another number of fields, {len(row)}: {row}"
            )
    short = sum(len(row) < width for row in rows)
    if short:
        notes.append(f"{short} rows of {path.name} are short: their last fields are empty")
    return [row + [""] * (width - len(row)) for row in rows]


def _without_extra_fields(rows):
    """R leaves out the title of row names; spreadsheets write empty fields behind the last one."""
    width, body = len(rows[0]), rows[1:]
    named = all(len(row) == width + 1 and not names_a_file(row[0]) for row in body)
    if body and named and not _like_file(rows[0]) and any(map(_like_file, body)):
        rows = [["", *rows[0]], *body]
    width = max(len(_known(row)) for row in rows)
    return [row[: max(width, len(rows[0]))] for row in rows]


def _without_heading(path, rows, notes):
    """Without what stands above the table: a title, a comment."""
    start = next((k for k, row in enumerate(rows) if sum(map(bool, row)) > 1), 0)
    if start and not any(map(_like_file, rows[:start])):
        notes.append(f"left out above the table of {path.name}: {some(' '.join(rows[0]).split())}")
        return rows[start:]
    return rows


def _known(row):
    return row[: max(k for k, field in enumerate(row, 1) if field)]


def _text(path, notes):
    raw = path.read_bytes()
    if raw[:4] in (b"PK\x03\x04", b"\xd0\xcf\x11\xe0"):
        advice = "save it as csv (UTF-8), or unpack it"
        raise ValueError(f"{path} is a spreadsheet or a zip, no csv: {advice}")
    for encoding in _encodings(raw):
        try:
            text = raw.decode(encoding)
        except UnicodeError:
            continue
        if encoding in ("cp1252", "latin-1"):
            odd = re.search(r"\w*[^\x00-\x7f]\w*", text)
            notes.warn(
                f"{path.name} is not in UTF-8 and is read as {encoding}, e.g. {odd and odd[0]!r}: "
                "if that looks wrong, save it as UTF-8"
            )
        if "\0" in text:
            break
        return text
    raise ValueError(f"{path} is no readable csv: it is no text in UTF-8, UTF-16 or cp1252")


def _encodings(raw):
    if raw[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return ["utf-16"]
    zeros = (raw[:2000:2].count(0), raw[1:2000:2].count(0))
    if max(zeros) > len(raw[:2000]) / 5:  # every second byte: UTF-16 without a mark
        return ["utf-16-be" if zeros[0] > zeros[1] else "utf-16-le"]
    return ["utf-8-sig", "cp1252", "latin-1"]


def _split(text, delimiter):
    """Rows by the delimiter that makes a column of files and the most even rows."""
    found, problem = {}, None
    for one in [delimiter] if delimiter else [",", ";", "\t", "|", " "]:
        try:
            found[one] = _rows(text, one)
        except csv.Error as error:
            problem = error
    best = found and found[max(found, key=lambda one: _evenness(found[one], one))]
    if problem and (not best or max(map(len, best)) == 1):
        raise problem  # of another delimiter, in a text that this one does not divide
    return best


def _rows(text, delimiter):
    lines = io.StringIO(text, newline=None)
    rows = csv.reader(lines, delimiter=delimiter, strict=True, skipinitialspace=True)
    rows = [[field.strip("\ufeff \t\r\n\xa0") for field in row] for row in rows]
    rows = [_trimmed(row) if delimiter == " " else row for row in rows]
    return [row for row in rows if any(row)]


def _trimmed(row):
    return [field for field in row if field]


def _evenness(rows, delimiter):
    widths = Counter(map(len, rows))
    if not widths or max(widths) < 2:
        return (False,)
    width, even = max(widths.items(), key=lambda item: (item[1], item[0]))
    files = max(sum(names_a_file(row[k]) for row in rows if len(row) > k) for k in range(width))
    return (width > 1, files / len(rows), delimiter != " ", even / len(rows), width)


def names_a_file(field):
    """Whether a field names a picture or a mesh by its ending."""
    return kinds.kind(PurePosixPath(_as_path(field))) != "other"


def _as_path(name):
    """With slashes; of an address what names the file, as in Label Studio's /data/?d=cat/1.jpg."""
    if "?d=" in name:
        return unquote(name.split("?d=")[1])
    if "://" in name:
        return unquote(re.sub(r"[?#].*", "", name))
    return name.replace("\\", "/")


def _like_file(row):
    return any(map(names_a_file, row))


def split_header(path, rows):
    """Header (empty if the first row is a row of data) and rows of data."""
    first = rows[0]
    endings = any(map(_like_file, rows[1:]))  # of other rows: then the first is a header
    if _like_file(first) or not endings and any(_names_one(path.parent, f) for f in first):
        return [], rows
    return [spelled(field) for field in first], rows[1:]


# ---------------------------------------------------------------- columns


def _names_one(base, field):
    """Whether a field is the name, without its ending perhaps, of a file near the table."""
    parts = PurePosixPath(_as_path(field)).parts
    usable = parts and "\0" not in field
    return bool(usable) and any(find_file(folder, parts) is not None for folder in _near(base))


def _column_of_files(header, body, base, notes):
    columns = list(zip(*body))
    counts = [sum(map(names_a_file, column)) for column in columns]
    if not any(counts):
        counts = [sum(_names_one(base, f) for f in set(_sampled(column))) for column in columns]
    if not any(counts):
        return 0
    best = [k for k, count in enumerate(counts) if count == max(counts)]
    titles = [header[k] if header else f"column {k + 1}" for k in best]
    pictures = [k for k, t in zip(best, titles) if PICTURES.search(t) and not DERIVED.search(t)]
    if len(best) > 1 and len(pictures) != 1:
        notes.warn(f"columns {some(titles)} all name files: '{titles[0]}' is read as the pictures")
    return pictures[0] if len(pictures) == 1 else best[0]


def _columns(path, header, body, where, notes):
    """{title: cleaned fields} of the columns that are labels or a division."""
    titles = header or [f"level {k}" for k in range(1, len(body[0]) if body else 1)]
    if not header and body:
        titles.insert(where, "file")
    columns = [[row[k] for row in body] for k in range(len(titles))] if body else []
    kept = [k for k in range(len(columns)) if k != where and not _no_label(titles[k], columns[k])]
    kept = [k for k in kept if not _second_file(columns[k])]
    index = [k for k in kept if _index(titles[k], columns[k], k < where)]
    kept = [k for k in kept if k not in index or len(kept) == len(index)]
    left = [titles[k] or f"column {k + 1}" for k in range(len(columns)) if k not in (where, *kept)]
    if left:
        notes.append(f"columns of {path.name} that are no labels are left out: {some(left)}")
    _require_titles(path, [titles[k] for k in kept])
    return {titles[k] or f"column {k + 1}": _labels(columns[k], titles[k], notes) for k in kept}


def _picked(path, header, body, levels, notes):
    """{title: cleaned fields} of the columns that are asked for."""
    alike = {look(title): k for k, title in enumerate(header)}
    missing = [name for name in levels if look(name) not in alike]
    if missing:
        raise ValueError(f"{path} has no column {some(missing)}: its columns are {header}")
    places = {spelled(name): alike[look(name)] for name in levels}
    return {name: _labels([row[k] for row in body], name, notes) for name, k in places.items()}


def _require_labels(path, columns):
    empty = [title for title, column in columns.items() if not any(column)]
    if empty:
        raise ValueError(f"{path}: level '{empty[0]}' has no label at all: remove that column")


def _require_titles(path, titles):
    twice = [title for title, count in Counter(titles).items() if title and count > 1]
    if twice:
        raise ValueError(f"{path}: level names must differ, found {twice} twice: rename a column")


def _no_label(title, column):
    return not title and not any(column)


def _second_file(column):
    known = [field for field in column if field]
    return bool(known) and all(map(names_a_file, known))


def _index(title, column, before):
    """Row numbers: without a title, or whole numbers, all different, before the column of files."""
    if not all(re.fullmatch(r"\d+(\.0+)?", field) for field in column):
        return False
    numbers = [int(float(field)) for field in column]
    unnamed = not title or title.casefold().startswith("unnamed:")
    counted = numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    return counted if unnamed else before and len(set(numbers)) == len(numbers)


def _classes_alone(path, columns, mesh, notes):
    """Columns without those that name no classes, as long as others remain."""
    reasons = {
        "without a label": lambda title, column: not any(column),
        "by its title": lambda title, column: NO_CLASS.fullmatch(title),
        "numbers with fractions": lambda title, column: _has_fractions(column),
        "different for every file": lambda title, column: not mesh and _all_differ(column),
        "the number of a name": lambda title, column: _numbers_names(column, columns.values()),
    }
    for reason, holds in reasons.items():
        found = [title for title, column in columns.items() if holds(title, column)]
        if found and len(found) < len(columns):
            notes.append(f"columns of {path.name} that are no level ({reason}): {some(found)}")
            columns = {t: c for t, c in columns.items() if t not in found}
    return columns


def _has_fractions(column):
    known = [field for field in column if field]
    numbers = all(re.fullmatch(r"[-+]?\d*[.,]?\d+(e[-+]?\d+)?", field) for field in known)
    return numbers and not all(field.lstrip("+-").isdecimal() for field in known)


def _all_differ(column):
    return len({field for field in column if field}) == len(column) > 3


def _numbers_names(column, columns):
    """Whether each number of a column stands beside one name of another column alone."""
    numbers = {field for field in column if field}
    if not all(map(str.isdecimal, numbers)):
        return False
    names = [other for other in columns if not all(f.isdecimal() for f in other if f)]
    pairs = [set(zip(column, other)) for other in names]
    return any(len(p) == len(numbers) == len({name for _, name in p}) > 1 for p in pairs)


def _one_hot(columns, titled, notes):
    """Columns of 0 and 1, or of false and true, of which each row has one 1, as one column of their
    titles; a row may have none where there are more than two and no others."""
    marks = [title for title, column in columns.items() if _is_mark(column)]
    rows = [[field.casefold() in YES for field in row] for row in zip(*map(columns.get, marks))]
    counts = set(map(sum, rows))
    may_lack = 2 < len(marks) == len(columns)
    if not titled or len(marks) < 2 or not counts <= ({0, 1} if may_lack else {1}):
        return columns
    notes.append(f"columns of yes and no are read as marks of one class each: {some(marks)}")
    named = [dict(zip(row, marks)).get(True, "") for row in rows]
    return {title: c for title, c in columns.items() if title not in marks} | {"class": named}


def _is_mark(column):
    return {field.casefold() for field in column} in ({"0", "1"}, {"false", "true"})


def _tell_of_paths(columns, notes):
    """Of an only column whose fields all have as many parts."""
    if len(columns) != 1:
        return
    ((title, column),) = columns.items()
    for mark in "/|>":
        parts, *others = {field.count(mark) + 1 for field in column if field} or {1}
        if parts > 1 and not others:
            notes.warn(
                f"'{title}': every field has {parts} parts, e.g. {max(column)}, and is read as "
                f"one class: for {parts} levels make a column of each part"
            )


def _tell_of_odd_columns(columns, notes):
    for title, column in columns.items():
        if len(columns) > 1 and len(set(column)) == 1:
            notes.warn(f"'{title}' is '{column[0]}' for every file: levels=[...] leaves it out")
        names = {field.casefold() for field in column}
        parts = {field: re.split(r"\s*[|;,+&/]\s*", field.casefold()) for field in set(column)}
        several = [f for f in parts if len(parts[f]) > 1 and names.issuperset(parts[f])]
        several += [field for field in parts if field.startswith(("[", "{"))]
        if several:
            notes.warn(
                f"'{title}': {len(several)} fields name several classes and are read as a class "
                f"of their own, e.g. {some(sorted(several))}: keep one label in each field"
            )


def _tell_of_unnamed(files, notes):
    named, folders_of = set(map(str, files)), sorted({path.parent for path in files})
    there = [path for folder in folders_of if folder.is_dir() for path in folder.iterdir()]
    lost = [p for p in there if kinds.kind(p) == "picture" and not folders.left_behind(p.name)]
    lost = sorted(path.name for path in lost if str(path) not in named)
    if lost:
        notes.append(f"{len(lost)} pictures beside those in the table are not in it: {some(lost)}")


def _labels(column, title, notes):
    """Names of a column: what stands for nothing is "", 1.0 is 1."""
    empty = [field for field in column if UNKNOWN.fullmatch(field)]
    if empty:
        notes.append(
            f"'{title}': {len(empty)} fields {some(sorted(set(empty)))} are read as unknown"
        )
    column = ["" if UNKNOWN.fullmatch(field) else spelled(field) for field in column]
    numbers = [field for field in column if re.fullmatch(r"[-+]?\d+[.,]\d+", field)]
    if numbers and all(re.fullmatch(r"[-+]?\d+[.,]0+", field) for field in numbers):
        column = [re.sub(r"^([-+]?\d+)[.,]0+$", r"\1", field) for field in column]
    known = [field for field in column if field]
    signed = any(re.fullmatch(r"[+]\d+|-(?!1$)\d+", field) for field in known)
    names = signed or set(known) == {"-1", "1"}
    if "-1" in known and not names:
        notes.append(f"'{title}': {known.count('-1')} labels -1 are read as unknown")
        column = ["" if field == "-1" else field for field in column]
    return column


def _parts(columns, levels, notes):
    """Parts by the columns that are a division and no level that was asked for, all taken out of
    columns; none where they divide nothing."""
    asked = set(map(look, levels))
    may_be = [title for title in columns if look(title) not in asked]
    flags = {title: part for title in may_be if (part := _flag(title, columns[title]))}
    said = {title: _parts_said(title, columns[title]) for title in may_be if title not in flags}
    worded = [title for title in said if _divides(title, said[title])]
    _leave_out_odd_divisions(columns, [title for title in said if title not in worded], notes)
    taken = {title: columns.pop(title) for title in [*worded, *flags]}
    used = worded[:1] or list(flags)
    left = [title for title in taken if title not in used]
    if left:
        notes.warn(f"{some(left)}: another division than '{used[0]}', which is used; left out")
    if worded:
        parts = _by_words(used[0], taken[used[0]], said[used[0]], notes)
    else:
        parts = _by_flags(flags, taken)
    if taken and len(set(parts)) < 2:
        notes.append(f"'{some(used)}' divides nothing: all files are of one part")
    titles = ", ".join(f"'{title}'" for title in used)
    return _told(parts, f"column {titles}", notes) if len(set(parts)) > 1 else []


def _leave_out_odd_divisions(columns, titles, notes):
    for title in [t for t in titles if t.casefold() in NEVER_LEVELS and len(columns) > 1]:
        fields = sorted(set(columns.pop(title)))
        notes.warn(
            f"'{title}' is no division that is understood ({some(fields)}) and is left out: write "
            "train, validation and test"
        )


def _flag(title, column):
    """The part that a column of yes and no speaks of: "is_valid" and the like, or "test" of true
    and false (0 and 1 may mark a class); "" of another column."""
    asks = re.fullmatch(r"(?:is|for|in)[ _-]?(\w+)", title, re.IGNORECASE)
    before, part, after = folders.part_of(asks[1] if asks else title) or ("", "", "")
    words = {field.casefold() for field in column} - {""}
    plain = words <= ({*YES, *NO} if asks else {"true", "false"})
    named = asks or (not before + after and title.casefold() != "valid")  # may be of quality
    return part if words and plain and named else ""


def _by_flags(flags, columns):
    """Parts by columns of yes and no, {title: part}. Of several that say yes it is the first of
    test, validation, train; where none does, the first of train, test, validation that no column
    speaks of."""
    rest = [part for part in ("train", "test", "validation") if part not in flags.values()]
    rows = zip(*([field.casefold() in YES for field in columns[title]] for title in flags))
    said = [{part for part, yes in zip(flags.values(), row) if yes} for row in rows]
    order = "test", "validation", "train"
    return [next((part for part in order if part in yes), [*rest, "train"][0]) for yes in said]


def _divides(title, said):
    """Whether fields {field: part or ""} are those of a division."""
    parts, odd = set(said.values()) - {""}, _odd(said)
    named = title.casefold() in PART_COLUMNS
    return (len(parts) > 1 and len(odd) <= 1 + named) or (bool(parts) and not odd and named)


def _odd(said):
    """The fields that say something, but no part."""
    return [field for field, part in said.items() if field and not part]


def _by_words(title, column, said, notes):
    """Parts by a column of words {field: part or ""}; what says no part is train."""
    odd = _odd(said)
    if odd:
        notes.warn(f"'{title}': {some(odd)} is no part of a division, taken as train")
    if "" in column:
        notes.append(f"'{title}': {column.count('')} empty fields are taken as train")
    return [said[field] or "train" for field in column]


def _parts_said(title, column):
    """{field: part or ""}."""
    said = {field: folders.part_of(field) or ("", "", "") for field in set(column)}
    short = SHORT_PARTS if title.casefold() in PART_COLUMNS else {}
    return {
        field: short.get(field.casefold(), part if not before + after else "")
        for field, (before, part, after) in said.items()
    }


def _parts_of_paths(inner, notes):
    found = folders.division(inner)
    return _told([part or "train" for part in found.parts], "its paths", notes) if found else []


def _told(parts, where, notes):
    counts = ", ".join(f"{count} {part}" for part, count in Counter(parts).items())
    notes.append(f"a division that is already there (in {where}) is used: {counts}")
    return parts


def _ordered(titles, rows, header, notes):
    order = coarse_to_fine(rows)
    if order == sorted(order):
        return titles, rows
    titles = [titles[k] for k in order]
    if header:
        notes.warn(
            f"the columns are nested in another order, so levels are {titles}, coarse to fine"
        )
    else:
        notes.append(f"columns are taken in the order {[k + 1 for k in order]}, coarse to fine")
    return titles, [tuple(row[k] for k in order) for row in rows]


# ---------------------------------------------------------------- names in a second file


def _named(path, titles, rows, names, notes):
    """Titles and rows with the names of labels that are numbers, if a second file has them."""
    numbers = {field for row in rows for field in row if field}
    if not names and not (numbers and all(field.isdecimal() for field in numbers)):
        return titles, rows
    for other in [names] if names else _beside(path):
        found = _names_of(other, rows, notes)
        if found:
            notes.append(f"names of classes are those of {other.name}: {', '.join(found)}")
            maps = list(found.values())
            rows = [tuple(m.get(f, "") for m, f in zip(maps, row)) for row in rows]
            said = ["" if re.fullmatch(r"level \d+", title) else title for title in found]
            return [s or t for s, t in zip(said, titles)], rows
    if names:
        raise ValueError(
            f"{names} does not name the numbers of {path}: it needs a column of numbers with every "
            f"number of each level and, beside it, a column of names, all different"
        )
    return titles, rows


def _beside(path):
    files = sorted(p for p in path.parent.iterdir() if p.suffix.lower() in (*TEXT_FILES, ".names"))
    return [p for p in files if p.stem.casefold() in NAMES_FILES and p != path]


def _names_of(path, rows, notes):
    """{title: {number: name}} for each level; empty if the file does not fit."""
    try:
        header, body, by_line = _numbered_names(path, notes)
    except (ValueError, OSError):
        return {}
    columns = list(zip(*body))
    fitting = _columns_of_numbers(columns, rows)
    if not fitting:
        return {}
    numbers = {int(field) for row in rows for field in row if field}
    if by_line and numbers == {*range(1, len(numbers) + 1)}:
        notes.warn(f"{path.name} has a name a line, from 0, but labels are from 1: it is not used")
        return {}
    texts = [_texts(columns, k) for k in fitting[0]]
    titles = [_title(header, k) or f"level {number}" for number, k in enumerate(texts, 1)]
    if len(fitting) > 1:
        notes.warn(
            f"the numbers fit several columns of {path.name}; names are taken from {some(titles)}: "
            "make a file with those alone if that is wrong"
        )
    maps = [dict(zip(columns[k], map(spelled, columns[t]))) for k, t in zip(fitting[0], texts)]
    return dict(zip(titles, maps))


def _columns_of_numbers(columns, rows):
    """The columns of numbers, one for each level, that have all rows; those of fewest first."""
    whole = [k for k, column in enumerate(columns) if all(map(str.isdecimal, column))]
    whole = [k for k in whole if _texts(columns, k) is not None]
    whole.sort(key=lambda k: len(set(columns[k])))
    levels = [set(level) - {""} for level in zip(*rows)]
    wanted = {row for row in rows if all(row)}
    return [
        chosen
        for chosen in permutations(whole, len(levels))
        if all(level <= set(columns[k]) for level, k in zip(levels, chosen))
        and wanted <= set(zip(*(columns[k] for k in chosen)))
    ]


def _numbered_names(path, notes):
    """Header and rows of a file of names: a table, "3 name" lines, or a name a line, from 0; and
    whether it is the last."""
    lines = [line.strip() for line in _text(path, notes).splitlines() if line.strip()]
    pairs = [re.fullmatch(r"(\d+)\s*[\s:=]\s*([^,;|\t]+)", line) for line in lines]
    if lines and all(pairs):
        return [], [list(pair.groups()) for pair in pairs], False
    if not re.search(r"[,;|\t]", "".join(lines)):
        return [], [[str(k), line] for k, line in enumerate(lines)], True
    table = cells(path, notes)
    headless = any(map(str.isdecimal, table[0]))
    return ([], table, False) if headless else (table[0], table[1:], False)


def _texts(columns, numbers):
    """The column of names that belong one to one to a column of numbers: the nearest one."""
    for k in sorted(range(len(columns)), key=lambda k: (abs(k - numbers), k > numbers)):
        pairs = set(zip(columns[numbers], columns[k]))
        one_to_one = len({n for n, _ in pairs}) == len(pairs) == len({t for _, t in pairs})
        if one_to_one and not all(map(str.isdecimal, columns[k])):
            return k
    return None


def _title(header, k):
    return re.sub(r"\s*\(.*?\)", "", spelled(header[k])) if header else ""


# ---------------------------------------------------------------- where the files are


def locate(table, names, notes):
    """Paths of files as a table names them, and the folders that stand in their names.

    Backslashes, the case and accents of another system, paths of another machine and a folder of
    pictures beside the table are understood; what is not found keeps its name.
    """
    base = table.parent
    names = [name if os.path.isfile(base / name) else _as_path(name) for name in names]
    start, drop = _start(table, names)
    if start != base or drop:
        lost = "/".join(PurePosixPath(names[0]).parts[:drop])
        notes.append(
            f"files of the table are looked for in {start}" + (f" without '{lost}'" if lost else "")
        )
    inner = [PurePosixPath(name).parts[drop:] for name in names]
    paths = [find_file(start, parts) or start / Path(*parts) for parts in inner]
    return paths, [parts[:-1] for parts in inner]


def _start(table, names):
    """The folder, and how many leading folders to drop, by which most files are found."""
    parts = [PurePosixPath(name).parts for name in _sampled(names)]
    same = len(os.path.commonprefix([p[:-1] for p in parts]))
    base, *below, above = _near(table.parent)
    for drop in range(same + 1):
        if 2 * _found(base, [p[drop:] for p in parts]) > len(parts):
            return base, drop
    counts = {start: _found(start, parts) for start in below}
    counts = {start: count for start, count in counts.items() if 2 * count > len(parts)}
    if counts:
        return _fitting(table, counts), 0
    return (above if 2 * _found(above, parts) > len(parts) else base), 0


def _sampled(rows):
    return rows[:: max(len(rows) // 100, 1)]


@cache
def _near(base):
    """The folder of a table, those in it, and the one it lies in."""
    below = sorted(Path(entry.path) for entry in os.scandir(base) if entry.is_dir())
    return [base, *[p for p in below if not folders.left_behind(p.name)][:200], base.parent]


def _found(start, parts):
    return sum(find_file(start, p) is not None for p in parts)


def _fitting(table, counts):
    """Of folders that hold most of the names: that of the part which the table's name says, else
    that with the most, where they are as many one that is no "masks" or the like.

    Args:
        counts: {folder: how many of the names it holds}.
    """
    _, part, _ = folders.part_of(table.stem) or ("", "", "")
    of_part = [p for p in counts if part and folders.part_of(p.name) == ("", part, "")]
    most = [p for p in counts if counts[p] == max(counts.values())]
    plain = [p for p in most if not DERIVED.search(p.name)]
    for chosen in (of_part, most, plain):
        if len(chosen) == 1:
            return chosen[0]
    raise ValueError(
        f"the files of {table} are in {len(most)} folders, {some([p.name for p in most])}: "
        "write the folder before their names, e.g. train/1.png"
    )


def find_file(base, parts):
    """The file at a path below base, in the case and accents of another system too; or None."""
    path = Path(base, *parts)
    if os.path.isfile(path):
        return path
    folder = Path(base)
    for part in parts:
        if not os.path.exists(folder / part):
            listed = _listing(str(folder))
            alike = listed.get(printed(part).casefold()) or listed.get(("0", look(part)), [])
            if len(alike) != 1:
                return None
            part = alike[0]
        folder = folder / part
    return folder if os.path.isfile(folder) else None


@cache
def _listing(folder):
    """Names in a folder by their look, with and without the ending, and, behind "0", by their look
    without leading zeros, which Excel takes away."""
    alike = defaultdict(list)
    with suppress(OSError):  # no folder, or none that may be read
        for name in os.listdir(folder):
            _list(alike, name, name)
            if names_a_file(name):
                _list(alike, name.rsplit(".", 1)[0], name)
    return alike


def _list(alike, known, name):
    alike[printed(known).casefold()].append(name)
    alike["0", look(known)].append(name)


# ---------------------------------------------------------------- a table of parents


def is_parents(path):
    """Whether the header of a table is class, parent, ..., in any order, behind an index or not."""
    with open(path, "rb") as file:
        head = file.read(500).replace(b"\0", b"").lstrip(b"\xef\xbb\xbf\xff\xfe")
    head = re.sub(r"sep=.\s+", "", head.decode(errors="replace")).lstrip().splitlines() or [""]
    titles = [field.strip('" ') for field in re.split(r"[;,|\t]", head[0])]
    titles = titles if titles[0] else titles[1:]
    return any(map(CHILD.fullmatch, titles[:2])) and any(map(PARENT.fullmatch, titles[:2]))


def _parents_columns(header):
    """Places of the class, its parent, grandparent, ... by their titles; None without titles."""
    parents = [k for k, title in enumerate(header) if PARENT.fullmatch(title)]
    others = [k for k, title in enumerate(header) if title and k not in parents]
    if not parents or not others:
        return None
    child = next((k for k in others if CHILD.fullmatch(header[k])), others[0])
    return [child, *(parents if child < parents[0] else reversed(parents))]


def read_parents(path, notes):
    """{class: path of names from the top to it} of a table class, parent[, grandparent, ...].

    Parents may stand as classes in other rows, so two columns say any number of levels. A class
    that is its own parent lies in a class of the same name.

    Raises:
        ValueError: a class with two parents, or one that is above itself; each is named.
    """
    rows = cells(path, notes)
    columns = _parents_columns(rows[0])
    rows = [[row[k] for k in columns] for row in rows[1:]] if columns else rows
    rows = [list(map(cleaned, row)) for row in rows]
    above = defaultdict(set)
    for row in rows:
        chain = [field for field in row if field]
        for child, parent in zip(chain, chain[1:]):
            above[child] |= {parent} - {child}
    several = {child: sorted(parents) for child, parents in above.items() if len(parents) > 1}
    if several:
        child, parents = next(iter(several.items()))
        raise ValueError(
            f"{path}: {len(several)} classes have several parents ({some(several)}), e.g. "
            f"'{child}' lies in {some(parents)}: it must be a tree: keep one row of each, the "
            "class before its parent"
        )
    parent = {child: next(iter(parents)) for child, parents in above.items() if parents}
    classes = {field for row in rows for field in row if field}
    own = {child for child, parents in above.items() if not parents}
    return {name: _to_the_top(path, name, parent) + (name,) * (name in own) for name in classes}


def cleaned(field):
    """A field as a column of labels would have it: 1.0 is 1, what stands for nothing ""."""
    return _labels([field], "", [])[0]


def _to_the_top(path, name, parent):
    chain = [name]
    while chain[-1] in parent:
        if parent[chain[-1]] in chain:
            raise ValueError(f"{path}: '{name}' is above itself: {' < '.join(chain)}: remove a row")
        chain.append(parent[chain[-1]])
    return tuple(reversed(chain))
