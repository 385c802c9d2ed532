"""run_all.sh --check: this machine's results beside the committed reference, seed by seed.

Two runs of the same seed on another machine or torch differ by rounding, which grows over training:
a method whose seeds differ much among themselves may differ as much here. So what is allowed is
twice the standard deviation over the reference's seeds, but at least FLOOR and at most CAP, and
never more than half the way to chance. Numbers that are no shares: RELATIVE to the reference. The
reference of profile smoke is in float32 and of 256 images: in another precision CAP is allowed, and
three times that for the worst of ten classes.
"""

import numpy as np
import torch

from hmlc_core import devices
from study import plan, results, tables

RUN = ["dataset", "method", "seed"]
FLOOR, CAP = 0.03, 0.10  # 3 and 10 points
FEW_SAMPLES = ("worst_class_accuracy", "head_accuracy", "tail_accuracy")  # these are allowed CAP
RELATIVE = 0.10, 0.30  # the same two for numbers that are no shares
NO_SHARES = ("effective_rank", "mistake_severity", "bits_of_part")
CLASSES = {**tables.CLASSES[plan.MNIST], **tables.CLASSES["cifar100"], "category": 10}
APART = "masks_of_epoch_"  # numbers of runs with snapshots, which only --with claims trains
SHOWN = 30  # rows that a report lists


def compare(own, reference, plans=(), coarse=False):
    """Each number of the reference beside that of the same run here.

    Args:
        own, reference: data frames of results.COLUMNS.
        plans: plan.Plans that should have been run. Of the reference, the rows of these and of all
            runs in `own` are compared.
        coarse: whether to allow the most, whatever the reference's spread.

    Returns:
        Data frame: dataset, method, level, metric, seed, value, reference, allowed, status, which
        is "agrees", "differs", "missing" (not in own) or "other data" (from another source).
    """
    if not own.metric.str.startswith(APART).any():
        reference = reference[~reference.metric.str.startswith(APART)]
    chosen = {(one.dataset, one.label, one.seed) for one in plans} | set(_runs(own))
    expected = reference.assign(allowed=allowed(reference, coarse))
    expected = expected[np.array([run in chosen for run in _runs(reference)], bool)]
    columns = [*results.KEY, "value", "data_source"]
    here = own[columns].astype({"seed": int, "value": float})
    both = expected.merge(here, "left", results.KEY, suffixes=("_reference", ""))
    difference = (both.value - both.value_reference).abs()
    agrees = (difference <= both.allowed) | (both.value.isna() & both.value_reference.isna())
    conditions = [both.data_source.isna(), both.data_source != both.data_source_reference, agrees]
    both["status"] = np.select(conditions, ["missing", "other data", "agrees"], "differs")
    both = both.rename(columns={"value_reference": "reference"})
    return both[[*results.KEY, "value", "reference", "allowed", "status"]]


def _runs(frame):
    return list(zip(frame.dataset, frame.method, frame.seed))


def allowed(reference, coarse=False):
    """What each row of the reference may differ by, a series; the most if coarse."""
    floor, share = (CAP, RELATIVE[1]) if coarse else (FLOOR, RELATIVE[0])
    groups = reference.groupby(["dataset", "method", "level", "metric"]).value
    spread = 2 * groups.transform("std").fillna(0)
    chance = 1 / reference.level.map(CLASSES)
    accuracy = reference.metric.str.endswith("accuracy")
    halfway = ((reference.value - chance.fillna(0)) / 2).where(accuracy, CAP)
    shares = spread.clip(floor, CAP).clip(upper=halfway.clip(lower=floor))
    shares = shares.where(~reference.metric.isin(FEW_SAMPLES), 3 * CAP if coarse else CAP)
    size = reference.value.abs()
    relative = (spread / size).fillna(0).clip(share, RELATIVE[1]) * size
    return shares.where(~reference.metric.str.startswith(NO_SHARES), relative.clip(lower=floor))


def report(compared, own, name):
    """What compare found, in words; and whether all agrees.

    Args:
        own: the results that were compared.
        name: of the reference.
    """
    bad = compared[compared.status != "agrees"]
    counts = compared.status.value_counts()
    runs = len(compared[RUN].drop_duplicates())
    lines = [
        f"--check: {len(compared)} numbers of {runs} runs in {name}, seed by seed: "
        f"{counts.get('agrees', 0)} agree, {counts.get('differs', 0)} differ, "
        f"{counts.get('missing', 0)} missing, {counts.get('other data', 0)} from other data"
    ]
    for run, rows in bad.groupby(RUN):
        words = ", ".join(f"{n} {status}" for status, n in rows.status.value_counts().items())
        lines.append(f"  {run[0]}  {run[1]} seed {run[2]}: {words}")
    differing = bad[bad.status == "differs"]
    if len(differing):
        lines.append(differing.head(SHOWN).round(4).to_string(index=False))
    extra = sorted(set(_runs(own)) - set(_runs(compared)))
    if extra:
        names = ", ".join(f"{d} {m} seed {s}" for d, m, s in extra)
        lines.append(f"Not in the reference, so not compared: {names}")
    if not len(compared):
        lines.append("Nothing could be compared, which is no agreement")
    return "\n".join(lines), not len(bad) and len(compared) > 0


def check(profile, plans):
    """Compare a profile's results with its reference and print the report; exit status 0 or 1."""
    own, reference = (results.read(p(profile)) for p in (results.path, results.reference_path))
    name = results.reference_path(profile).name
    coarse = profile == "smoke" and devices.precision(devices.best_device()) != torch.float32
    text, agrees = report(compare(own, reference, plans, coarse), own, name)
    print(text)
    return 0 if agrees else 1
