"""The options of run_all.sh. Plain Python: they are answered before anything is installed."""

import argparse
import os
import sys
import tempfile
from pathlib import Path

LARGE = ("gpu", "paper")  # profiles that want a GPU
PROFILES = ("smoke", "cpu", *LARGE)
EXTRAS = {
    "baselines": "cross-entropy, SupCon, more controls",
    "early": "six epochs, one temperature for all",
    "order": "swapped levels",
    "peers": "MLCL, RINCE, BHCL, level-restricted",
    "ablation": "head without BatchNorm, rate, batch",
    "seeds": "ten seeds (CIFAR-100: five, ModelNet10: eight)",
    "cifar100": "Table 1",
    "modelnet10": "Table 1",
    "modelnet40": "Table 1",
    "grocery": "photographs, pretrained encoder",
    "scratch": "photographs, a net from scratch",
    "budget": "fewer and more epochs",
    "temperature": "Table 1 at 0.1",
    "claims": "three levels, tree, tails",
    "tuning": "trials on validation",
    "variants": "trials on validation",
    "ours": "our own methods",
}
_SEVERAL = {"action": "append", "default": []}  # may be given again
NOTEBOOKS = sorted(Path(__file__).parents[1].glob("[0-9][0-9]_*.ipynb"))
REFERENCES = Path(__file__).parents[2] / "data" / "reference"
HELP_WAS_GIVEN = 100
ABOUT = """Regenerate every table and figure. Finished training runs are kept in data/runs and not
run again; an interrupted one goes on from its last epoch."""


def numbers():
    """Numbers of the notebooks that are run: "01", "02", ..."""
    return [notebook.name[:2] for notebook in NOTEBOOKS]


def parser():
    made = argparse.ArgumentParser(
        prog="run_all.sh", description=ABOUT, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = made.add_argument
    add(
        "--profile",
        choices=PROFILES,
        help="smoke: a minute, checks that it runs; cpu: ten to forty minutes on a laptop; gpu: "
        "hours on one GPU; paper: days to months (default: gpu if CUDA is there, else cpu)",
    )
    add("--only", metavar="03,05", **_SEVERAL, help="run only the notebooks with these numbers")
    add("--with", dest="extras", metavar="NAME,...", **_SEVERAL, help=f"add runs: {_named()}; all")
    add("--jobs", metavar="N", type=_at_least_one, help="train N runs at a time (default: as many "
        "as there are cores, one thread each; on GPUs one each)")  # fmt: skip
    add("--fresh", action="store_true", help="first delete the runs and results of this job")
    add("--check", action="store_true", help="then compare the results with data/reference")
    add("--publish", action="store_true", help="then write the outputs into the numbered "
        "notebooks, and README, RESULTS and what_we_learned: for a commit")  # fmt: skip
    return made


def _named():
    texts = dict.fromkeys(EXTRAS.values())
    names = {text: ", ".join(n for n in EXTRAS if EXTRAS[n] == text) for text in texts}
    return "; ".join(f"{names[text]}: {text}" for text in texts)


def _at_least_one(text):
    if not (text.isascii() and text.isdecimal()) or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number of at least 1")
    return int(text)


def _names(made, option, given, known):
    """The names in all values of an option, each a list with commas; stops for one not known."""
    words = [word.strip() for text in given for word in text.split(",") if word.strip()]
    unknown = [word for word in words if word not in known]
    if unknown or (given and not words):
        wrong = ", ".join(unknown) or "no name at all"
        made.error(f"{option}: {wrong}; choose from {', '.join(known)}")
    return list(dict.fromkeys(words))


def parse(words=None):
    """Options as a namespace: profile (None: by the machine), only and extras (lists), jobs (None:
    by the machine), fresh, check, publish. Stops with a message for wrong ones.
    """
    made = parser()
    chosen = made.parse_args(words)
    known = [*numbers(), *(number.lstrip("0") for number in numbers())]
    chosen.only = [word.zfill(2) for word in _names(made, "--only", chosen.only, known)]
    chosen.extras = _names(made, "--with", chosen.extras, [*EXTRAS, "all"])
    if "all" in chosen.extras:
        chosen.extras = list(EXTRAS)
    if chosen.fresh and chosen.only and "03" not in chosen.only:
        made.error("--fresh deletes trained runs, and without notebook 03 --only trains none anew")
    if chosen.check and chosen.profile and not (REFERENCES / f"{chosen.profile}.csv").exists():
        made.error(f"--check: there is no reference of profile {chosen.profile} to compare with")
    if chosen.publish and (chosen.only or chosen.profile not in (None, "cpu")):
        made.error("--publish is for a whole run with profile cpu, without --only")
    return chosen


def require_writable(root):
    """Stop with a message unless files can be written into root/data and root/figures."""
    for folder in (Path(root, "data"), Path(root, "figures")):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=folder).close()
        except OSError as error:
            sys.exit(
                f"run_all.sh: cannot write into {folder}: {error.strerror}. Allow writing there, "
                "or set HMLC_ROOT to a folder for data and figures"
            )


def require_data_folder():
    """Stop with a message if $HMLC_DATA is set, and no folder."""
    place = os.environ.get("HMLC_DATA")
    if place and not Path(os.path.expanduser(place)).is_dir():
        sys.exit(f"run_all.sh: $HMLC_DATA is {place}, which is no folder: correct it, or unset it")


def work_folder():
    """Where runs, results and figures go; stops with a message if $HMLC_ROOT names no place."""
    place = os.environ.get("HMLC_ROOT") or Path(__file__).parents[2]
    try:
        return Path(place).expanduser()
    except RuntimeError as error:  # the home of somebody who is not there
        sys.exit(
            f"run_all.sh: $HMLC_ROOT is {place}: {str(error).rstrip('.')}: correct it, or unset it"
        )


def main():
    """Answer --help, wrong options, a read-only folder and one that is not there at once."""
    try:
        parse()
    except SystemExit as stopped:
        sys.exit(HELP_WAS_GIVEN if stopped.code == 0 else stopped.code)
    require_data_folder()
    require_writable(work_folder())


if __name__ == "__main__":
    main()
