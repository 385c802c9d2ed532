"""Write the explorer page from runs or weights of hierarchical MNIST.

python notebooks/write_explorer.py --profile cpu --seed 0 --out docs/explorer.html --slider
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from hmlc_core import files, pretrain
from study import explorer, figures, maps, options, plan, work

SHOWN = ("hmce_released", "split", "g_hmlc", "a_hmlc")
PICTURES = 500
EARLIER = 2, 6, 10, 20  # epochs that the slider goes back to
PAGE = files.CODE / "docs" / "explorer.html"


def main(words=None):
    parser = argparse.ArgumentParser(
        prog="write_explorer.py", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("--profile", choices=options.PROFILES, default="cpu")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=PAGE)
    parser.add_argument("--slider", action="store_true", help="go back to earlier epochs, too: "
        "trains each method anew, with its states kept (about three minutes a method)")  # fmt: skip
    args = parser.parse_args(words)
    found = finished_runs(args.profile, args.seed)
    if args.slider:
        found = {method: with_snapshots(run) for method, run in found.items()}
    if not found:
        raise SystemExit("no run is finished, so there is nothing to show")
    with files.writing(args.out) as beside:
        beside.write_text(page_of(found, EARLIER if args.slider else ()), encoding="utf-8")
    print(f"{args.out}: {args.out.stat().st_size / 1e6:.1f} MB, {', '.join(found)}")


def finished_runs(profile, seed):
    """{method: Run} of those methods SHOWN that were trained to the end here or whose weights come
    with the project; the others are named."""
    plans = {one.method: one for one in plan.planned_runs(profile, ["seeds"], plan.MNIST)
             if one.label in SHOWN and one.seed == seed}  # fmt: skip
    found = {method: work.without_training(one) for method, one in plans.items()}
    for method in SHOWN:
        if found.get(method) is None:
            words = f"{plan.MNIST} {method} --profile {profile} --seed {seed}"
            print(f"{method} is left out: not trained yet (python notebooks/train.py {words})")
    return {method: found[method] for method in SHOWN if found.get(method)}


def with_snapshots(run):
    """The same run, trained where the states after each epoch are kept."""
    folder = files.DATA / "runs" / "snapshots"
    return pretrain(run.dataset, run.method, run.settings, run.seed, folder=folder, snapshots=True)


def page_of(found, epochs=()):
    """The page of {method: Run} on some test pictures, as they are and after fewer epochs."""
    one = next(iter(found.values()))
    test = maps.shown(one.data("test"), PICTURES)
    parts = explorer.parts(found, test)
    epochs = [epoch for epoch in epochs if epoch < len(one.history)]
    earlier = explorer.before(found, test, epochs, parts[0])
    return explorer.page(test, *parts, title=title(one, len(test)), earlier=earlier)


def title(run, count):
    data = figures.dataset_name(run.dataset.name)
    epochs = f"{len(run.history)} epoch{'s'[: len(run.history) - 1]}"
    return f"{data}: {count} test pictures, seed {run.seed}, {epochs} of training"


if __name__ == "__main__":
    main()
