"""Write the explorer page from runs or weights of hierarchical MNIST; it trains nothing.

python notebooks/write_explorer.py --profile cpu --seed 0 --out docs/explorer.html
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from hmlc_core import files
from study import explorer, figures, maps, options, plan, work

SHOWN = ("hmce_released", "split", "g_hmlc", "a_hmlc")
PICTURES = 600
PAGE = files.CODE / "docs" / "explorer.html"


def main(words=None):
    parser = argparse.ArgumentParser(
        prog="write_explorer.py", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("--profile", choices=options.PROFILES, default="cpu")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=PAGE)
    args = parser.parse_args(words)
    found = finished_runs(args.profile, args.seed)
    if not found:
        raise SystemExit("no run is finished, so there is nothing to show")
    with files.writing(args.out) as beside:
        beside.write_text(page_of(found), encoding="utf-8")
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


def page_of(found):
    """The page of {method: Run} on some test pictures."""
    one = next(iter(found.values()))
    test = maps.shown(one.data("test"), PICTURES)
    return explorer.page(test, *explorer.parts(found, test), title=title(one, len(test)))


def title(run, count):
    data = figures.dataset_name(run.dataset.name)
    epochs = f"{len(run.history)} epoch{'s'[: len(run.history) - 1]}"
    return f"{data}: {count} test pictures, seed {run.seed}, {epochs} of training"


if __name__ == "__main__":
    main()
