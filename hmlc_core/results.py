"""One tidy row per number, in one csv per profile; tables are made from it and from nothing else."""
import platform
import subprocess
import time
from datetime import datetime
from importlib.metadata import version

import numpy as np
import pandas as pd
import torch
from scipy import stats

from hmlc_core import files

_STARTED = time.monotonic()
COLUMNS = ["dataset", "method", "level", "metric", "seed", "value", "seconds", "device", "data_source", "torch", "commit",
           "config_hash"]
KEY = ["dataset", "method", "level", "metric", "seed"]


def row(run, level, metric, value):
    """One row (dict of COLUMNS); seconds = training time of the run."""
    return dict(zip(COLUMNS, [run.dataset.name, run.label, level, metric, run.seed, value, round(run.seconds, 1),
                              run.trained_on, run.dataset.source, torch.__version__, commit(), run.config_hash]))


def device_name(device):
    """"cpu (2 threads)", or the name of the GPU."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else f"cpu ({torch.get_num_threads()} threads)"


def commit():
    """Short hash of the project's commit, "+" behind it if code has changed since, "unknown" outside git."""
    def git(*words):
        return subprocess.run(["git", "-C", files.ROOT, *words], capture_output=True, text=True, check=True).stdout.strip()
    try:
        return git("rev-parse", "--short=10", "HEAD") + ("+" if git("status", "--porcelain", "-uno", "--", "hmlc_core", "notebooks") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def commit_date(commit):
    """Date of a commit, e.g. "2026-11-22"; "date unknown" outside git."""
    words = ["git", "-C", files.ROOT, "show", "-s", "--format=%cs", commit.rstrip("+")]
    try:
        return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "date unknown"


def provenance():
    """Print what a notebook's numbers come from: versions, commit, device, wall time since hmlc_core was imported."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "torchvision", "scikit-learn", "openTSNE", "numpy"))
    print(f"{datetime.now():%Y-%m-%d %H:%M}, commit {commit()}, python {platform.python_version()}, {packages}\n"
          f"{device_name(device)}, {platform.system()} {platform.machine()}, wall time {time.monotonic() - _STARTED:.0f} s")


def path(profile):
    """Where the results of a profile lie."""
    return files.DATA / "results" / f"{profile}.csv"


def reference_path(profile):
    """Where the committed reference results of a profile lie."""
    return files.DATA / "reference" / f"{profile}.csv"


def read(where):
    """Results as a data frame; empty if the file is not there.

    Raises:
        ValueError: if it is not such a file.
    """
    if not where.exists():
        return pd.DataFrame(columns=COLUMNS)
    frame = pd.read_csv(where, dtype={"level": str, "commit": str, "config_hash": str, "torch": str})
    if list(frame.columns) != COLUMNS:
        raise ValueError(f"{where} has columns {list(frame.columns)}, not {COLUMNS}: delete it and run again")
    return frame


def add(rows, where, current=None):
    """Add rows to a results file; a row with the same data set, method, level, metric and seed is replaced.

    With `current`, {data set: config hashes}, rows of these data sets with other hashes (older settings or code) are dropped.
    """
    new = pd.DataFrame(rows, columns=COLUMNS)
    frame = pd.concat([read(where), new]) if where.exists() else new
    for dataset, hashes in (current or {}).items():
        frame = frame[(frame.dataset != dataset) | frame.config_hash.isin(hashes)]
    frame = frame.drop_duplicates(KEY, keep="last").sort_values(KEY)
    with files.writing(where) as beside:
        frame.to_csv(beside, index=False)


def kept(run, name, make):
    """Rows of a run from its folder, with its present label; if they are not there, make() makes them first."""
    where = run.folder / name
    if not where.exists():
        add(make(), where)
    return [row | {"method": run.label} for row in read(where).to_dict("records")]


def read_with_reference(profile):
    """Results of a profile; where a data set and method were not run here, the committed reference's rows.

    The extra column `recorded` says which.
    """
    return fill(read(path(profile)), read(reference_path(profile)))


def summary_with_reference(profile, baseline="hmce_paper"):
    """As read_with_reference, summarised. Differences to the baseline are paired within this machine's rows or within the reference's,
    never across."""
    return fill(summary(read(path(profile)), baseline), summary(read(reference_path(profile)), baseline))


def fill(own, reference):
    """Rows of `own`, and those of `reference` for data sets and methods that `own` lacks; column `recorded` says which."""
    have = set(zip(own.dataset, own.method))
    missing = [pair not in have for pair in zip(reference.dataset, reference.method)]
    frames = [part.assign(recorded=flag) for part, flag in ((own, False), (reference[missing], True)) if len(part)]
    return pd.concat(frames, ignore_index=True) if frames else own.assign(recorded=False)


def mean_and_interval(values):
    """Mean and half width of its 95 % confidence interval (Student t); the half width is NaN for fewer than 2 values."""
    values = np.asarray(values, float)
    n = len(values)
    return values.mean(), stats.t.ppf(0.975, n - 1) * values.std(ddof=1) / np.sqrt(n) if n > 1 else np.nan


def summary(frame, baseline="hmce_paper"):
    """Per data set, method, level and metric: mean, interval, and the paired difference to a baseline over shared seeds.

    Returns:
        Data frame with columns dataset, method, level, metric, mean, half_width, difference, difference_half_width, seeds.
    """
    rows = []
    for (dataset, level, metric), group in frame.groupby(["dataset", "level", "metric"], sort=False):
        table = group.pivot_table(index="seed", columns="method", values="value")
        for method, column in table.items():
            values = column.dropna()
            difference = (column - table[baseline]).dropna() if baseline in table and method != baseline else []
            rows.append([dataset, method, level, metric, *mean_and_interval(values),
                         *(mean_and_interval(difference) if len(difference) else (np.nan, np.nan)), len(values)])
    return pd.DataFrame(rows, columns=["dataset", "method", "level", "metric", "mean", "half_width", "difference",
                                       "difference_half_width", "seeds"])


def compare(profile, tolerance=0.03):
    """Means over seeds of this machine's results beside the committed reference's, for data sets from the same source in both.

    They agree if they differ by no more than `tolerance` (for effective_rank and bits, which are no shares, a tenth of the
    reference) or the root of the summed squares of the two 95 % half widths, whichever is larger.

    Returns:
        Data frame: dataset, method, level, metric, mean, reference, allowed, agrees.
    """
    keys = ["dataset", "method", "level", "metric"]
    own, reference = (read(where) for where in (path(profile), reference_path(profile)))
    sources = [frame.groupby("dataset").data_source.agg(lambda s: sorted(set(s))).to_dict() for frame in (own, reference)]
    own, reference = (summary(frame[[sources[0].get(d) == sources[1].get(d) for d in frame.dataset]]) for frame in (own, reference))
    both = own.merge(reference, on=keys, suffixes=("", "_reference"))
    no_share = (both.metric == "effective_rank") | both.metric.str.startswith("bits")
    half_widths = np.hypot(both.half_width.fillna(0), both.half_width_reference.fillna(0))
    both["allowed"] = np.maximum(half_widths, np.where(no_share, 0.1 * both.mean_reference.abs(), 0)).clip(lower=tolerance)
    both["agrees"] = (both["mean"] - both.mean_reference).abs() <= both.allowed
    return both[keys + ["mean", "mean_reference", "allowed", "agrees"]].rename(columns={"mean_reference": "reference"})


def percent(value, half_width=np.nan, signed=False):
    """A share as text in %: "81.2 ± 1.3", "+4.0 ± 0.8"; without the interval where there is none; "–" where no value."""
    if np.isnan(value):
        return "–"
    text = f"{100 * value:+.1f}" if signed else f"{100 * value:.1f}"
    return text if np.isnan(half_width) else f"{text} ± {100 * half_width:.1f}"


def verdict(difference, half_width):
    """"above", "below" or "undecided", by whether the interval of a difference holds zero, with the numbers in points."""
    word = "undecided" if not abs(difference) > half_width else "above" if difference > 0 else "below"
    return f"{word} ({percent(difference, half_width, True)})"


def publish(table, name, caption, profile):
    """Write a table to figures/<profile>/<name> as csv and markdown, the caption under it; returns the markdown."""
    text = f"{markdown(table)}\n\n{caption}\n"
    for kind, body in (("csv", table.to_csv(index=False)), ("md", text)):
        with files.writing(files.FIGURES / profile / f"{name}.{kind}") as beside:
            beside.write_text(body)
    return text


def markdown(table):
    """A data frame of texts as a markdown table."""
    rows = [table.columns, ["---"] * len(table.columns), *table.to_numpy()]
    return "\n".join("| " + " | ".join(map(str, row)) + " |" for row in rows)
