"""Runs the numbered notebooks in order through papermill. Called by run_all.sh, which also installs
what is missing."""

import logging
import os
import shutil
import signal
import sys
import time
from pathlib import Path

GO_ON = "What is finished is kept: run again to go on from here."


def stop(*_):
    """End as Ctrl-C does."""
    print(f"\nStopped. {GO_ON}", file=sys.stderr)
    sys.exit(130)


if __name__ == "__main__":  # what is imported below takes seconds
    signal.signal(signal.SIGINT, stop)

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import papermill
import torch
from papermill.exceptions import PapermillExecutionError

from hmlc_core import files
from study import check, options, plan, published, results, work, written

# Seconds on two CPU cores with --profile cpu without training; and what a run adds to 03 and 04.
SECONDS = {"01": 11, "02": 54, "03": 10, "04": 15, "05": 40, "06": 17, "07": 60}
SECONDS_PER_RUN = {"03": 0.5, "04": 3}
STEADY = 30  # seconds after which a pace is believed
PER_DATASET = ("03", "04")  # run once for each data set
IN_02 = ("g_hmlc", "a_hmlc", "hmce_paper")  # methods that notebook 02 looks at, seed 0
NOT_THERE = ("FileNotFoundError", "ImportError")  # a file of data or weights, a package for it


class MissingData(Exception):
    """A data set that was asked for cannot be had."""


def main(words=None):
    signal.signal(signal.SIGINT, interrupt)
    args = options.parse(words)
    try:
        sys.exit(carry_out(args))
    except KeyboardInterrupt:
        stop()


def interrupt(*_):
    """Ctrl-C: silent from here on, because the kernel that ends with us is logged as dead."""
    logging.disable()
    raise KeyboardInterrupt


def carry_out(args):
    """Do what the options ask for; returns the exit status."""
    args.profile = args.profile or ("gpu" if torch.cuda.is_available() else "cpu")
    if args.publish and args.profile != "cpu":
        sys.exit("--publish: choose --profile cpu")
    options.require_writable(files.WORK)
    reference = results.reference_path(args.profile)
    if args.check and not reference.exists():
        sys.exit(f"--check: there is no {reference} to compare with")
    plans = plan.planned_runs(args.profile, args.extras)
    if args.fresh:
        start_afresh(args.profile, plans)
    missing = run_all(args, plans)
    differs = check.check(args.profile, plans) if args.check else 0
    if args.publish:
        publish(args.profile, missing)
    return 1 if missing else differs


def publish(profile, missing):
    """Write the outputs of a whole run into the committed notebooks, and RESULTS.md."""
    if missing:
        sys.exit("--publish: the run is not whole, so nothing is published")
    try:
        published.publish(profile)
    except (OSError, ValueError, published.Local) as error:
        sys.exit(f"--publish: {error}")
    pages = ", ".join(path.name for path in written.write())
    print(f"Published: {len(options.NOTEBOOKS)} notebooks, {pages}. Look at them.")


def run_all(args, plans):
    """Run the notebooks; returns {data set that could not be had: why}."""
    steps = planned_steps(args.only, plans)
    if args.jobs:
        os.environ["HMLC_JOBS"] = str(args.jobs)  # for the kernels of notebooks
    left = work.seconds_to_end(plans)
    guesses = guesses_of(steps, plans, left)
    asked = plans if any(number_of(path) in PER_DATASET for path, _ in steps) else []
    announce(args, len(asked), len(left) if asked else 0, sum(guesses))
    start, missing = time.monotonic(), {}
    for step, (notebook, dataset) in enumerate(steps):
        elapsed = time.monotonic() - start
        left = seconds_left(elapsed, guesses, step)
        print(
            f"[{step + 1}/{len(steps)}] {notebook.stem} ({dataset or args.profile})   "
            f"{work.clock(elapsed)} elapsed, about {work.clock(left)} left",
            flush=True,
        )
        if dataset in missing:
            continue
        extras = [name for name in args.extras if name not in missing]
        try:
            run_notebook(notebook, {"profile": args.profile, "extras": extras}, dataset)
        except MissingData as error:
            missing[dataset] = error  # the rest goes on without it
    write_page(files.FIGURES / args.profile)
    took = work.clock(time.monotonic() - start)
    print(
        f"Done in {took}. Figures and tables: {files.FIGURES / args.profile}, "
        f"executed notebooks: {files.DATA / 'executed'}"
    )
    for dataset, reason in missing.items():
        print(f"NOT RUN: {dataset}. {reason}")
    return missing


def planned_steps(only, plans):
    """(notebook, data set) in the order they run; data set None where the notebook has no such
    parameter."""
    asked = {plan.variant_of(one.dataset) for one in plans}
    datasets = [name for name in plan.BY_NOTEBOOK if name in asked]
    steps = []
    for notebook in options.NOTEBOOKS:
        if only and number_of(notebook) not in only:
            continue
        each = datasets if number_of(notebook) in PER_DATASET else [None]
        steps += [(notebook, dataset) for dataset in each]
    return steps


def number_of(notebook):
    return notebook.name[:2]


def guesses_of(steps, plans, left):
    """First guesses of the seconds that steps take; a run is of the first that trains it.

    Args:
        left: {plan: seconds}, see work.seconds_to_end.
    """
    numbers = [number_of(path) for path, _ in steps]
    first = {one: left[one] for one in left if "02" in numbers and is_trained_in_02(one)}
    later = {one: left[one] for one in left if one not in first}
    return [
        guess(number, dataset, plans, first if number == "02" else later)
        for number, (_, dataset) in zip(numbers, steps)
    ]


def is_trained_in_02(one):
    shown = (one.dataset, one.seed) == (plan.MNIST, 0) and one.label in IN_02
    try:
        return shown and not work.has_weights(one)
    except ValueError:  # a damaged file: notebook 02 says so
        return True


def guess(number, dataset, plans, left):
    """A first guess of the seconds that a step takes; `left`: of the plans that it may train."""
    count = sum(plan.variant_of(one.dataset) == dataset for one in plans)
    seconds = SECONDS[number] + SECONDS_PER_RUN.get(number, 0) * count
    if number in ("02", "03"):
        own = [one for one in left if number == "02" or plan.variant_of(one.dataset) == dataset]
        seconds += sum(left[one] for one in own) / work.jobs_here()
    return seconds


def seconds_left(elapsed, guesses, step):
    """What the steps from `step` on will take: their guesses, at the pace of those before, which
    counts for little while it is of seconds."""
    return sum(guesses[step:]) * (elapsed + STEADY) / (sum(guesses[:step]) + STEADY)


def announce(args, runs, new, seconds):
    """Say how much there is to do, before it is done."""
    card = " on a T4, less on a faster card" if torch.cuda.is_available() else ""
    if not card and args.profile in ("gpu", "paper"):
        card = " WITHOUT A GPU: none was found here"
    print(
        f"Profile {args.profile}: {runs} training runs, {new} of them new; very roughly "
        f"{work.clock(seconds)}{card}, {work.jobs_here()} at a time. Ctrl-C stops, and "
        "running again goes on. --with adds runs, --profile cpu is for a laptop.",
        flush=True,
    )


def start_afresh(profile, plans):
    """Delete the runs of plans, their results and the executed notebooks of the profile."""
    folders = work.folders_of_job(plans)
    for folder in folders:
        shutil.rmtree(folder)
    executed = list((files.DATA / "executed").glob(f"{profile}-*.ipynb"))
    for notebook in executed:
        notebook.unlink()
    frame, runs = results.read(results.path(profile)), {(p.dataset, p.label, p.seed) for p in plans}
    stays = [run not in runs for run in zip(frame.dataset, frame.method, frame.seed)]
    if len(frame):
        results.write(frame[stays], results.path(profile))
    print(
        f"--fresh: deleted {len(folders)} runs, {stays.count(False)} rows of "
        f"{results.path(profile)} and {len(executed)} executed notebooks; all else stays."
    )


def run_notebook(notebook, parameters, dataset):
    """Run one notebook; its executed copy goes to data/executed.

    Raises:
        MissingData: the data set, or the pretrained net for it, cannot be had.
        SystemExit: unknown parameters, or another error in a cell.
    """
    parameters |= {"dataset": dataset} if dataset else {}
    unknown = sorted(set(parameters) - set(papermill.inspect_notebook(str(notebook))))
    if unknown:
        raise SystemExit(f"{notebook.name} has no parameter {', '.join(unknown)}")
    which = f"-{dataset}" if dataset in plan.BY_NOTEBOOK[1:] else ""
    name = f"{parameters['profile']}-{notebook.stem}{which}.ipynb"
    try:
        execute(notebook, files.DATA / "executed" / name, parameters)
    except PapermillExecutionError as error:
        if error.ename in NOT_THERE and dataset in plan.BY_NOTEBOOK[1:]:
            raise MissingData(error.evalue) from error
        sys.exit(
            f"\n{notebook.name} failed in cell {error.cell_index}:\n{error.ename}: {error.evalue}\n"
            f"{GO_ON}"
        )
    except Exception as error:  # e.g. the kernel was killed because memory ran out
        sys.exit(f"\n{notebook.name} stopped: {type(error).__name__}: {error}\n{GO_ON}")


def execute(notebook, target, parameters):
    """Run a notebook with papermill in its own folder; what it prints is shown as it comes."""
    target.parent.mkdir(parents=True, exist_ok=True)
    os.environ["TQDM_DISABLE"] = "1"  # a line per run says enough when nobody can watch a bar
    papermill.execute_notebook(
        str(notebook),
        str(target),
        parameters,
        cwd=str(notebook.parent),
        kernel_name="python3",
        progress_bar=False,
        stdout_file=sys.stdout,
        stderr_file=sys.stderr,
        extra_arguments=["--log-level=CRITICAL"],  # errors come as exceptions
    )


def write_page(folder):
    """A page (README.md in the folder) that shows all figures and tables that are there."""
    name = folder.name
    lines = [f"# Figures and tables, profile {name}", "", "Made by `run_all.sh`; not by hand.", ""]
    pictures, tables = sorted(folder.glob("*.png")), sorted(folder.glob("*.md"))
    for path in pictures + [path for path in tables if path.name != "README.md"]:
        body = f"![{path.stem}]({path.name})" if path in pictures else path.read_text()
        lines += [f"## {path.stem.replace('_', ' ')}", "", body, ""]
    with files.writing(folder / "README.md") as beside:
        beside.write_text("\n".join(lines))


if __name__ == "__main__":
    main()
