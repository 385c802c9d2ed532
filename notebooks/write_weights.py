"""Writes data/weights from trained runs: python notebooks/write_weights.py [data set ...]

The runs of seed 0 that the default job trains of hierarchical MNIST, and of other data sets the
main methods; only what is finished is written, nothing is trained.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from hmlc_core import linear_evaluation, load_dataset, save_weights
from study import plan, work


def main(datasets):
    unknown = sorted(set(datasets) - set(plan.BY_NOTEBOOK))
    if unknown:
        sys.exit(f"unknown {', '.join(unknown)}: choose from {', '.join(plan.BY_NOTEBOOK)}")
    for dataset in datasets:
        extras = [dataset] if dataset in plan.EXTRAS else []
        for one in plan.planned_runs("cpu", extras, dataset):
            if one.seed == 0 and one.label in plan.MAIN and one.dataset == dataset:
                print(write(one) or f"not trained to the end: {dataset} {one.label}")


def write(one):
    """Path of the weights of a plan's run, or None if it is not finished."""
    data = load_dataset(one.dataset, one.settings, "train")
    if not work.is_finished(one, data):
        return None
    run = work.without_training(one)
    return save_weights(run, {row["level"]: row["value"] for row in linear_evaluation(run)})


if __name__ == "__main__":
    main(sys.argv[1:] or [plan.MNIST])
