"""Runs the numbered notebooks in order through papermill. Called by run_all.sh, which also installs what is missing."""
import argparse
import os
import shutil
import sys
import time
from pathlib import Path

import papermill
import torch
from papermill.exceptions import PapermillExecutionError

from hmlc_core import files, profiles, results

NOTEBOOKS = sorted(Path(__file__).parent.glob("[0-9][0-9]_*.ipynb"))
# Seconds of a first run with --profile cpu, to say how much is left.
SECONDS = {"01": 11, "02": 54, "03": 310, "04": 55, "05": 40, "06": 17, "07": 93}
PER_DATASET = ("03", "04")      # run once for each data set


def parse(words=None):
    parser = argparse.ArgumentParser(prog="run_all.sh", formatter_class=argparse.RawDescriptionHelpFormatter, description=(
        "Regenerate every table and figure. Finished training runs are kept in data/runs and not run again;\n"
        "an interrupted one goes on from its last epoch."))
    parser.add_argument("--profile", choices=profiles.PROFILES, default="gpu" if torch.cuda.is_available() else "cpu",
                        help="smoke: a minute, checks that it runs; cpu: minutes on a laptop; gpu: paper scale "
                             "(default: gpu if CUDA is there, else cpu)")
    parser.add_argument("--only", metavar="03,05", default="", help="run only the notebooks with these numbers")
    named = {text: [name for name in profiles.EXTRAS if profiles.EXTRAS[name] == text] for text in profiles.EXTRAS.values()}
    parser.add_argument("--with", dest="extras", metavar="NAME,...", default="",
                        help="; ".join(f"{', '.join(names)}: {text}" for text, names in named.items()))
    parser.add_argument("--jobs", metavar="N", type=int, default=1, help="train N runs at the same time; on several GPUs one on each")
    parser.add_argument("--fresh", action="store_true", help="first delete results, and runs of all profiles")
    parser.add_argument("--check", action="store_true", help="then compare the results with data/reference")
    args = parser.parse_args(words)
    args.only, args.extras = ([word for word in text.split(",") if word] for text in (args.only, args.extras))
    if args.profile == "gpu" and not args.extras:
        args.extras = list(profiles.EXTRAS)
    unknown = [w for w in args.only if w not in {n.name[:2] for n in NOTEBOOKS}] + [w for w in args.extras if w not in profiles.EXTRAS]
    if unknown:
        parser.error(f"unknown: {', '.join(unknown)}; notebooks are {', '.join(n.name[:2] for n in NOTEBOOKS)}, "
                     f"extras are {', '.join(profiles.EXTRAS)}")
    return args


def start_afresh(profile):
    for folder in ("runs", "cache", "executed"):
        shutil.rmtree((files.DATA / folder).resolve(), ignore_errors=True)      # a link, if runs are kept on Drive
    results.path(profile).unlink(missing_ok=True)


def planned_steps(only, extras):
    """(notebook, data set) in the order they run; data set None where the notebook has no such parameter."""
    planned = {profiles.variant_of(plan.dataset) for plan in profiles.planned_runs("cpu", extras)}      # the same for every profile
    added = [name for name in profiles.TABLE1 if name in planned]
    return [(notebook, dataset) for notebook in NOTEBOOKS if not only or notebook.name[:2] in only
            for dataset in (["hierarchical_mnist", *added] if notebook.name[:2] in PER_DATASET else [None])]


def execute(notebook, parameters, dataset, jobs):
    """Run one notebook; its executed copy goes to data/executed. Unknown parameters are an error."""
    parameters |= {"dataset": dataset, "jobs": jobs} if dataset else {}
    unknown = set(parameters) - set(papermill.inspect_notebook(str(notebook)))
    if unknown:
        raise SystemExit(f"{notebook.name} has no parameter {', '.join(sorted(unknown))}")
    which = f"-{dataset}" if dataset in profiles.TABLE1 else ""
    target = files.DATA / "executed" / f"{parameters['profile']}-{notebook.stem}{which}.ipynb"
    target.parent.mkdir(parents=True, exist_ok=True)
    os.environ["TQDM_DISABLE"] = "1"        # a line per run says enough when nobody can watch a bar
    papermill.execute_notebook(str(notebook), str(target), parameters, cwd=str(notebook.parent), kernel_name="python3",
                               progress_bar=False, stdout_file=sys.stdout, stderr_file=sys.stderr,
                               extra_arguments=["--log-level=ERROR"])


def write_page(folder):
    """A page (README.md in the folder) that shows all figures and tables that are there."""
    lines = [f"# Figures and tables, profile {folder.name}", "", "Made by `run_all.sh`; not written by hand.", ""]
    for path in sorted([*folder.glob("*.png"), *folder.glob("*.md")], key=lambda p: (p.suffix, p.name)):
        if path.name != "README.md":
            lines += [f"## {path.stem.replace('_', ' ')}", "", f"![{path.stem}]({path.name})" if path.suffix == ".png" else path.read_text(), ""]
    with files.writing(folder / "README.md") as beside:
        beside.write_text("\n".join(lines))


def clock(seconds):
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def main():
    args = parse()
    if args.check and not results.reference_path(args.profile).exists():
        sys.exit(f"--check: there is no {results.reference_path(args.profile)} to compare with")
    if args.fresh:
        start_afresh(args.profile)
    steps = planned_steps(args.only, args.extras)
    print(f"Profile {args.profile}: {len(profiles.planned_runs(args.profile, args.extras))} training runs in all; those that are finished are not "
          "run again. --with chooses what is added, --profile cpu is for a laptop.", flush=True)
    shares = [SECONDS[notebook.name[:2]] for notebook, _ in steps]
    start, missing = time.monotonic(), {}
    for step, (notebook, dataset) in enumerate(steps):
        elapsed = time.monotonic() - start
        left = f", about {clock(elapsed * sum(shares[step:]) / sum(shares[:step]))} left" if step else ""
        print(f"[{step + 1}/{len(steps)}] {notebook.stem} ({dataset or args.profile})   {clock(elapsed)} elapsed{left}", flush=True)
        if dataset in missing:
            continue
        try:
            execute(notebook, {"profile": args.profile, "extras": args.extras}, dataset, args.jobs)
        except PapermillExecutionError as error:
            if error.ename == "FileNotFoundError" and dataset in profiles.TABLE1:      # the rest of the run goes on without it
                missing[dataset] = error.evalue
                continue
            sys.exit(f"\n{notebook.name} failed in cell {error.cell_index}:\n{error.ename}: {error.evalue}\n"
                     "What is finished is kept: run again to go on from here.")
        except Exception as error:  # e.g. the kernel was killed because memory ran out
            sys.exit(f"\n{notebook.name} stopped: {type(error).__name__}: {error}\n"
                     "What is finished is kept: run again to go on from here.")
    write_page(files.FIGURES / args.profile)
    print(f"Done in {clock(time.monotonic() - start)}. Figures and tables: {files.FIGURES / args.profile}, "
          f"executed notebooks: {files.DATA / 'executed'}")
    for dataset, reason in missing.items():
        print(f"NOT RUN: {dataset}. {reason}")
    if args.check:
        sys.exit(check(args.profile))


def check(profile):
    """Compare this machine's results with the committed reference; 0 if all means agree, else 1."""
    differences = results.compare(profile)
    bad = differences[~differences.agrees]
    print(f"--check: {len(differences)} means compared with {results.reference_path(profile).name} (data from the same source only), {len(bad)} differ by more "
          "than the tolerance (3 points, for effective rank and bits a tenth, or the root of the summed squares of the 95 % intervals, whichever is larger)")
    left_out = sorted(set(results.read(results.path(profile)).dataset) - set(differences.dataset))
    if left_out:
        print(f"Not compared, because the reference lacks them or had its data from another source: {', '.join(left_out)}")
    if len(bad):
        print(bad.to_string(index=False))
    return int(len(bad) > 0 or not len(differences))


if __name__ == "__main__":
    main()
