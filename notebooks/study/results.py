"""One tidy row per number, in one csv per profile; tables are made from it, from nothing else."""

import csv
import io
import platform
import time
from datetime import datetime
from importlib.metadata import version

import numpy as np
import pandas as pd
from scipy import stats

from hmlc_core import devices, files

COLUMNS = ["dataset", "method", "level", "metric", "seed", "value", "seconds", "device"]
COLUMNS += ["data_source", "torch", "commit", "config_hash"]
KEY = ["dataset", "method", "level", "metric", "seed"]
_STARTED = time.monotonic()


def path(profile):
    """Where the results of a profile lie."""
    return files.DATA / "results" / f"{profile}.csv"


def reference_path(profile):
    """Where the committed reference results of a profile lie: with the code, wherever the work
    lies; only a files.DATA that was set by hand has its own."""
    data = files.CODE / "data" if files.DATA == files.WORK / "data" else files.DATA
    return data / "reference" / f"{profile}.csv"


def read(where):
    """Results as a data frame; empty if the file is not there.

    Raises:
        ValueError: if it is not such a file, or a line of it is damaged; says which.
    """
    if not where.exists():
        return pd.DataFrame(columns=COLUMNS)
    _require_whole(where)
    texts = dict.fromkeys(("dataset", "method", "level", "metric", "device"), str)
    texts |= dict.fromkeys(("data_source", "torch", "commit", "config_hash"), str)
    empty = {"value": "", "seconds": ""}  # in names, "NA" is a name
    return pd.read_csv(where, dtype=texts, keep_default_na=False, na_values=empty)


def _require_whole(where):
    """Raise ValueError unless every line of a file is a whole row: a copy that was cut off, or a
    merge that was left in it, would be read as numbers."""
    try:
        text = where.read_bytes().decode()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{where} cannot be read ({error}): move it away, run again") from error
    rows = csv.reader(io.StringIO(text, newline=""))
    columns = next(rows, [])
    if columns != COLUMNS:
        raise ValueError(f"{where} has columns {columns}, not {COLUMNS}: delete it and run again")
    number = _damaged_line(rows, text.count("\n"))
    if number:
        line = text.split("\n")[number - 1]
        raise ValueError(
            f"{where}, line {number}: {line[:80]!r} is no whole row. Delete this line alone and "
            "run again: what it said is made again, the others are kept"
        )


def _damaged_line(rows, whole):
    """Number of the first line that begins no whole row, or None.

    Args:
        rows: a csv.reader behind the header.
        whole: number of lines that have an end.
    """
    number = rows.line_num + 1
    try:
        for row in rows:
            if row and (rows.line_num > whole or not _is_row(row)):
                return number
            number = rows.line_num + 1
    except csv.Error:  # a field without end
        return number


def _is_row(row):
    try:
        about = dict(zip(COLUMNS, row, strict=True))
        for name in ("value", "seconds"):
            float(about[name] or "nan")
        return int(about["seed"]) >= 0
    except ValueError:
        return False


def write(frame, where):
    """Write results, sorted, whole."""
    with files.writing(where) as beside:
        frame.sort_values(KEY).to_csv(beside, index=False)


def add(rows, where, current=None):
    """Add rows to a results file; a row with the same data set, method, level, metric and seed is
    replaced.

    Args:
        current: {data set: {(method, config hash)}}; other rows of these data sets, of older
            settings or code, are dropped. See work.current_hashes.
    """
    new = pd.DataFrame(rows, columns=COLUMNS)
    frame = pd.concat([read(where), new]) if where.exists() else new
    for dataset, known in (current or {}).items():
        stays = [pair in known for pair in zip(frame.method, frame.config_hash)]
        frame = frame[(frame.dataset != dataset) | np.array(stays, bool)]
    write(frame.drop_duplicates(KEY, keep="last"), where)


def adopt(profile, seeds):
    """Make the results of a profile its reference: those of these seeds.

    Raises:
        ValueError: if a row is not of committed code.
    """
    frame = read(path(profile))
    frame = frame[frame.seed.isin(seeds)]
    unsure = sorted({commit for commit in frame.commit if not commit.isalnum()} | {"unknown"})
    if frame.commit.isin(unsure).any():
        raise ValueError(f"results of changed code ({', '.join(unsure)}): commit it, and run again")
    write(frame, reference_path(profile))


def cached_rows(run, name, make):
    """Rows of a run from the file `name` in its folder, with its present label; if it is not there,
    make() makes them first."""
    where = run.folder / name
    if not where.exists():
        add(make(), where)
    return [row | {"method": run.label} for row in read(where).to_dict("records")]


def read_with_reference(profile):
    """Results of a profile, filled from its reference, see `fill`.

    The extra column `recorded` says which.
    """
    return fill(read(path(profile)), read(reference_path(profile)))


def summary_with_reference(profile, baseline="hmce_paper"):
    """As read_with_reference, summarised. Differences to the baseline are paired within this
    machine's rows or within the reference's, never across."""
    own, reference = read(path(profile)), read(reference_path(profile))
    return fill(summary(own, baseline), summary(reference, baseline))


def fill(own, reference):
    """Rows of `own`, and those of `reference` for what `own` lacks. Of the methods that both have,
    a data set's are all the reference's where that has as many seeds of each, and more of one, so
    that their differences stay paired within one machine. Column `recorded` says which.
    """
    mine, theirs = _seeds(own), _seeds(reference)
    fuller = {dataset for dataset, _ in mine if _is_fuller(theirs, mine, dataset)}
    replaced = {pair for pair in mine if pair[0] in fuller and pair in theirs}
    parts = []
    for frame, recorded in ((own, False), (reference, True)):
        pairs = zip(frame.dataset, frame.method)
        chosen = [(pair not in mine or pair in replaced) == recorded for pair in pairs]
        if any(chosen):
            parts.append(frame[chosen].assign(recorded=recorded))
    return pd.concat(parts, ignore_index=True) if parts else own.assign(recorded=False)


def _is_fuller(theirs, mine, dataset):
    both = [pair for pair in mine if pair[0] == dataset and pair in theirs]
    counts = [(theirs[pair], mine[pair]) for pair in both]
    return all(a >= b for a, b in counts) and any(a > b for a, b in counts)


def _seeds(frame):
    """{(data set, method): number of seeds} of rows, or of a summary of them."""
    groups = frame.groupby(["dataset", "method"])
    return (groups.seeds.max() if "seeds" in frame else groups.seed.nunique()).to_dict()


def commit_date(commit):
    """Date of a commit, e.g. "2026-11-22"; "date unknown" outside git."""
    return files.git("show", "-s", "--format=%cs", commit.rstrip("+")) or "date unknown"


def mean_and_interval(values):
    """Mean and half width of its 95 % confidence interval (Student t); the half width is NaN for
    fewer than 2 values."""
    values = np.asarray(values, float)
    n = len(values)
    if n < 2:
        return values.mean() if n else np.nan, np.nan
    return values.mean(), stats.t.ppf(0.975, n - 1) * values.std(ddof=1) / np.sqrt(n)


def summary(frame, baseline="hmce_paper"):
    """Per data set, method, level and metric: mean, interval, and the difference to a baseline,
    paired over shared seeds.

    Returns:
        Data frame with columns dataset, method, level, metric, mean, half_width, difference,
        difference_half_width, seeds.
    """
    rows = []
    for group_of, group in frame.groupby(["dataset", "level", "metric"], sort=False):
        dataset, level, metric = group_of
        table = group.pivot_table(index="seed", columns="method", values="value")
        for method, column in table.items():
            paired = baseline in table and method != baseline
            gain = (column - table[baseline]).dropna() if paired else []
            numbers = *mean_and_interval(column.dropna()), *mean_and_interval(gain), column.count()
            rows.append([dataset, method, level, metric, *numbers])
    columns = ["dataset", "method", "level", "metric", "mean", "half_width", "difference"]
    return pd.DataFrame(rows, columns=[*columns, "difference_half_width", "seeds"])


def with_sign(value, digits=1):
    """ "+1.7", "-0.3"; what rounds to zero has no sign."""
    text = f"{value:+.{digits}f}"
    return text if float(text) else text[1:]


def percent(value, half_width=np.nan, signed=False):
    """A share as text in %: "81.2 ± 1.3", "+4.0 ± 0.8"; without the interval where there is none;
    "–" where no value."""
    if np.isnan(value):
        return "–"
    text = with_sign(100 * value)
    text = text if signed else text.removeprefix("+")
    return text if np.isnan(half_width) else f"{text} ± {100 * half_width:.1f}"


def direction(difference, half_width):
    """ "above", "below" or "undecided", by whether the interval of a difference holds zero; without
    an interval it is undecided."""
    if not abs(difference) > half_width:
        return "undecided"
    return "above" if difference > 0 else "below"


def verdict(difference, half_width):
    """The direction of a difference with its numbers, in points: "undecided (+0.4 ± 1.2)".

    The half width of an undecided one is the smallest difference that this design would have seen.
    """
    word, numbers = direction(difference, half_width), percent(difference, half_width, True)
    if word == "undecided" and np.isnan(half_width):
        return f"{word} ({numbers}; one seed, which decides nothing)"
    return f"{word} ({numbers})"


def markdown(table):
    """A data frame of texts as a markdown table, as narrow as can be."""
    lines = [table.columns, [":--"] * len(table.columns), *table.to_numpy()]
    return "\n".join("|" + "|".join(map(str, line)) + "|" for line in lines)


def publish(table, name, caption, profile):
    """Write a table to figures/<profile>/<name> as csv and markdown, the caption under it.

    Returns:
        The markdown.
    """
    text = f"{markdown(table)}\n\n{caption}\n"
    for kind, body in (("csv", table.to_csv(index=False)), ("md", text)):
        with files.writing(files.FIGURES / profile / f"{name}.{kind}") as beside:
            beside.write_text(body)
    return text


def provenance():
    """Print what a notebook's numbers come from: time, commit, versions, device, wall time since
    this module was imported."""
    names = ("torch", "torchvision", "scikit-learn", "openTSNE", "numpy")
    packages = ", ".join(f"{name} {version(name)}" for name in names)
    device = devices.device_name(devices.best_device())
    print(
        f"{datetime.now():%Y-%m-%d %H:%M}, commit {files.commit()}, "
        f"python {platform.python_version()}, {packages}\n"
        f"{device}, {platform.system()} {platform.machine()}, "
        f"wall time {time.monotonic() - _STARTED:.0f} s"
    )
