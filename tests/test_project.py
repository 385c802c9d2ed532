"""The files that must say the same thing: README and the reference (RESULTS: test_written)."""

import re

import numpy as np
import pytest
import scipy
from conftest import ROOT
from test_run_all import copy_project, run_all

from study import results

PROSE = ("README.md",)


def lines_of(names=PROSE):
    return [line for name in names for line in (ROOT / name).read_text().splitlines()]


def squeezed(line):
    """A row of a table without the blanks that fill its cells."""
    return re.sub(" +", " ", line)


def test_readme_tables_are_those_of_the_reference(tmp_path):
    copy_project(tmp_path / "project")
    made = run_all(tmp_path / "project", "--profile", "cpu", "--only", "06")
    assert made.returncode == 0, made.err[-3000:]
    folder = tmp_path / "project" / "figures" / "cpu"
    tables = "\n".join(path.read_text() for path in folder.glob("*.md"))
    tables = squeezed(tables.replace(" *(recorded)*", ""))
    data_sets = ("| CIFAR-100 |", "| ModelNet10 |")
    rows = [squeezed(line) for line in lines_of() if line.startswith("|")]
    rows = {row for row in rows if "±" in row or row.startswith(data_sets)}
    claims = {row for row in rows if row.startswith("| **")}
    assert len(rows) > 30 and len(claims) == 5
    assert not [row for row in rows - claims if row not in tables]


def intervals(values, signed=False):
    """Texts of mean and interval over the seeds that each column of [seeds, columns] has."""
    count = np.isfinite(values).sum(0)
    half = scipy.stats.t.ppf(0.975, count - 1) * np.nanstd(values, 0, ddof=1) / np.sqrt(count)
    pairs = zip(np.nanmean(values, 0), half)
    return {results.percent(mean, width, signed) for mean, width in pairs}


def of_groups(groups, signed=False):
    """The same of each group of a grouped series."""
    return {results.percent(*results.mean_and_interval(v), signed=signed) for _, v in groups}


def known_numbers():
    """Every mean with an interval that follows from the reference, and every paired difference."""
    folder = ROOT / "data" / "reference"
    frame, repeats = (results.read(folder / f"{name}.csv") for name in ("cpu", "cpu_repeats"))
    known = of_groups(repeats.groupby(["commit", "method", "level", "metric"]).value)
    said = ["linear_accuracy", "tail_accuracy", "explained_variance", "effective_rank"]
    said += ["tice", "fpa"]
    chosen = frame[frame.metric.isin(said) | frame.metric.str.startswith("bits_of_part")]
    for (_, _, metric), group in chosen.groupby(["dataset", "level", "metric"]):
        scale = 100 if metric.startswith(("effective_rank", "bits")) else 1
        table = group.pivot_table(index="seed", columns="method", values="value") / scale
        values = table.loc[:, table.count() > 1].to_numpy()
        known |= intervals(values)
        for column in values.T:
            known |= intervals(values - column[:, None], signed=True)
    linear = frame[frame.metric == "linear_accuracy"].set_index(["method", "level", "seed"])
    swapped, given = (
        linear[linear.dataset == name].value
        for name in ("hierarchical_mnist_swapped", "hierarchical_mnist")
    )
    change = (swapped - given).dropna().groupby(["method", "level"])
    return known | of_groups(change, signed=True)


def test_numbers_in_the_text_are_those_of_the_reference():
    prose = [line for line in lines_of() if not line.startswith("|") or line.startswith("| **")]
    numbers = re.findall(r"[+−-]?\d+\.\d ± \d+\.\d", "\n".join(prose))
    said = {number.replace("−", "-") for number in numbers}
    assert len(numbers) > 10 and not said - known_numbers()


@pytest.mark.parametrize("page", ["README.md", "docs/library.md"])
def test_examples_run(page):
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.S)
    assert blocks
    for block in blocks:
        exec(block, {"__name__": "__main__"})
