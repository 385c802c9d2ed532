"""Training and evaluating many runs: several at a time, each only if it is not there yet."""

import contextlib
import heapq
import multiprocessing
import os
import threading
import time
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict

import joblib
import torch

from hmlc_core import devices, files, load_dataset, pretrain, runs, weights
from hmlc_core.data.weight_files import OtherData, read_card
from study import evaluation, plan, results

# Seconds of training for a million pixels seen, one CPU thread or a T4: a first guess, until the
# first run has been timed. Measured on the CPU, by benchmarks/gpu_hours.py for the GPU.
PACE = {
    "cpu": {"small_cnn": 0.1, "small_resnet": 0.55, "resnet18": 1.5, "resnet50_cifar": 30.0},
    "cuda": {"small_cnn": 0.03, "small_resnet": 0.06, "resnet18": 0.041, "resnet18_cifar": 0.65}
    | {"resnet50_cifar": 1.5},
}
OTHER_NETS = {"cpu": 5.0, "cuda": 0.07}
IMAGES = {"modelnet10": 9 * 3991, "modelnet40": 9 * 9843}  # to train on; others have train_size
IMAGES |= {"grocery": 2640}
STEP, SAMPLE = 0.02, 1e-4  # seconds for a step on stored features, and for each sample of it


def train_all(plans, jobs=None):
    """Train the runs of plans that are not in data/runs yet, several at a time.

    Prints a line for each run, and about how long the rest will take.

    Args:
        plans: list of plan.Plan.
        jobs: runs at a time, see jobs_here.

    Returns:
        Their Runs, in the order of plans.

    Raises:
        FileNotFoundError: a data set cannot be had.
    """
    jobs, data = jobs_here(jobs), _datasets(plans)
    device = devices.best_device()
    done = {one: _epochs_done(one, data[_data_of(one)], device) for one in plans}
    waiting = [one for one in plans if done[one] < one.settings.epochs]
    _say_what_is_there([one for one in plans if done[one] == one.settings.epochs])
    left = Estimate({one: _seconds_left(one, done[one]) for one in waiting}, jobs)
    if waiting:
        print(f"{len(waiting)} runs to train, {jobs} at a time: about {clock(left.seconds())}")
    for number, (one, (seconds, last)) in enumerate(_each(_train, waiting, jobs), 1):
        left.finished(one, seconds)
        print(
            f"{number:3}/{len(waiting)}  {one.dataset}  {one.label} seed {one.seed}: "
            f"{seconds:.0f} s, loss {_losses(last)}   about {clock(left.seconds())} left",
            flush=True,
        )
    return [_run(one, data[_data_of(one)]) for one in plans]


def ready(plans):
    """Runs of plans, in their order: those that are trained, else those whose weights come with the
    project and were trained with the same settings and seed; what is left is trained."""
    data = _datasets(plans)
    unfinished = [one for one in plans if not is_finished(one, data[_data_of(one)])]
    runs = {one: run for one in unfinished if (run := _from_weights(one))}
    if runs:
        labels = [one.label for one in runs]
        print("from the weights that come with the project, nothing was trained:", *labels)
    others = [one for one in plans if one not in runs]
    runs |= zip(others, train_all(others))
    return [runs[one] for one in plans]


def without_training(one):
    """The Run of a plan if it is trained to its end here, else of the weights that come with the
    project, else None."""
    data = load_dataset(one.dataset, one.settings, "train")
    return _run(one, data, progress=False) if is_finished(one, data) else _from_weights(one)


def _from_weights(one):
    """The Run of the committed weights of a plan, or None if there are none that fit."""
    if not has_weights(one):
        return None
    try:
        return weights.load_weights(one.dataset, one.method, weights.FOLDER)
    except OtherData as error:
        print(error)
        return None


def has_weights(one):
    """Whether weights of a plan's settings and seed come with the project."""
    try:
        card = read_card(weights.FOLDER / f"{one.dataset}-{one.method}.safetensors")
    except FileNotFoundError:
        return False
    return (card["settings"], card["seed"]) == (asdict(one.settings), one.seed)


def evaluate_all(plans, jobs=None):
    """Rows of the trained runs of plans, in their order; see evaluation.evaluate."""
    rows = dict(_each(_evaluate, plans, jobs_here(jobs)))
    return [row for one in plans for row in rows[one]]


def current_hashes(profile, dataset):
    """Configuration hashes of all runs that a profile may have of a data set and its variants.

    Returns:
        {data set: set of (label, hash)}, of those data sets that have rows in the profile's
        results, to tell rows of older settings or code by.
    """
    written = set(results.read(results.path(profile)).dataset)
    plans = plan.planned_runs(profile, plan.EXTRAS, dataset)
    plans = [one for one in plans if one.dataset in written]
    data, hashes = _datasets(plans), {}
    for one in plans:
        known = hashes.setdefault(one.dataset, set())
        known.add((one.label, _hash(one, data[_data_of(one)], devices.best_device())))
    return hashes


def jobs_here(jobs=None):
    """`jobs`, or if None: HMLC_JOBS of the environment, which run_all.sh --jobs sets; else as many
    as there are GPUs, or CPU cores."""
    asked = jobs or int(os.environ.get("HMLC_JOBS") or 0)
    return asked or torch.cuda.device_count() or joblib.cpu_count()


def folders_of(one, **more):
    """Folders in data/runs with a run of a plan's data set, method, seed and settings, by whatever
    code and versions; more: what else its config.json must say."""
    known = {"data set": one.dataset, "method": one.method, "seed": one.seed}
    known |= one.settings.of_training() | more
    pattern = f"{one.dataset}-{one.method}-seed{one.seed}-*/config.json"
    folders = []
    for path in (files.DATA / "runs").rglob(pattern):
        config = runs.read_config(path)
        if all(config.get(name) == value for name, value in known.items()):
            folders.append(path.parent)
    return folders


def folders_of_job(plans):
    """Folders in data/runs with runs of plans on the data as they are now, a set; none of data that
    cannot be had."""
    prints, folders = {}, set()
    for one in plans:
        key = _data_of(one)
        if key not in prints:
            prints[key] = "cannot be had"
            with contextlib.suppress(FileNotFoundError, ImportError):
                prints[key] = load_dataset(one.dataset, one.settings, "train").fingerprint
        folders |= {*folders_of(one, data=prints[key])}
    return folders


def epochs_there(one):
    """How many epochs of a plan's run are there, by this code, on such a device, in its precision
    and by this version of torch."""
    folders = [folder for folder in folders_of(one) if _goes_on_here(folder)]
    return max((_epochs_in(folder / "checkpoint.pt") for folder in folders), default=0)


def _goes_on_here(folder):
    config, device = runs.read_config(folder / "config.json"), devices.best_device()
    now = {"code": runs.code_of(config.get("fresh")), "torch": torch.__version__}
    now |= {"device": device.type, "precision": str(devices.precision(device))}
    return all(config.get(name) == value for name, value in now.items())


def seconds_to_end(plans):
    """{plan: a first guess of what is left of its training, in seconds}, of those that are not
    trained to their end."""
    there = {one: epochs_there(one) for one in plans}
    return {one: _seconds_left(one, n) for one, n in there.items() if n != one.settings.epochs}


def seconds_of(one):
    """A first guess at the training time of a plan, in seconds."""
    device, settings = devices.best_device().type, one.settings
    images = IMAGES.get(plan.variant_of(one.dataset), settings.train_size)
    if settings.encoder in ("adapter", "untouched"):
        steps = settings.epochs * max(images // settings.batch_size, 1)
        return steps * (STEP + SAMPLE * settings.batch_size)
    pixels = settings.epochs * images * settings.canvas**2
    return pixels / 1e6 * PACE[device].get(settings.encoder, OTHER_NETS[device])


class Estimate:
    """How long the runs that are left will take, by those that are done.

    Args:
        guesses: {run: seconds}, right up to a common factor, in the order they start.
        jobs: runs at a time.
    """

    def __init__(self, guesses, jobs):
        self.left, self.jobs = dict(guesses), min(jobs, max(len(guesses), 1))
        self.guessed = self.measured = 0.0

    def finished(self, run, seconds):
        """Note that a run took so long."""
        self.guessed += self.left.pop(run)
        self.measured += seconds

    def seconds(self):
        """Wall time left, if each starts when a place is free; those that run now count half."""
        guesses = list(self.left.values())
        running = self.jobs - 1 if self.guessed else 0
        places = [guess / 2 for guess in guesses[:running]]
        places = sorted(places + [0.0] * (self.jobs - len(places)))
        for guess in guesses[running:]:
            heapq.heapreplace(places, places[0] + guess)
        return max(places) * (self.measured / self.guessed if self.guessed else 1.0)


def clock(seconds):
    """ "40 s", "12 min" or "3.5 h"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _data_of(one):
    return one.dataset, tuple(one.settings.of_data().items())


def _datasets(plans):
    """The training split of each plan's data set, by _data_of."""
    data = {}
    for one in plans:
        if _data_of(one) not in data:
            data[_data_of(one)] = load_dataset(one.dataset, one.settings, "train")
    return data


def _run(one, dataset, **more):
    return pretrain(dataset, one.method, one.settings, one.seed, label=one.label, **more)


def _hash(one, dataset, device):
    return runs.hash_of(
        runs.configuration(dataset, runs.methods.get(one.method), one.settings, one.seed, device)
    )


def is_finished(one, dataset):
    """Whether the run of a plan on this training split is trained to its last epoch."""
    return _epochs_done(one, dataset, devices.best_device()) == one.settings.epochs


def _epochs_done(one, dataset, device):
    """Number of epochs in the checkpoint of a plan's run."""
    pattern = f"*-{_hash(one, dataset, device)}/checkpoint.pt"
    return max(map(_epochs_in, (files.DATA / "runs").glob(pattern)), default=0)


def _epochs_in(checkpoint):
    with contextlib.suppress(Exception):  # not there, or unreadable: pretrain will say so
        return len(torch.load(checkpoint, weights_only=True, mmap=True)["history"])
    return 0


def _seconds_left(one, done):
    return seconds_of(one) * (1 - done / one.settings.epochs)


def _say_what_is_there(plans):
    seeds = {}
    for one in plans:
        seeds.setdefault((one.dataset, one.label), []).append(str(one.seed))
    for (dataset, label), numbers in seeds.items():
        print(f"from cache: {dataset}  {label} seed{'s'[: len(numbers) - 1]} {', '.join(numbers)}")


def _losses(record):
    about = ("epoch", "seconds", "device", "loss")
    return "  ".join(
        f"{name} {value:.2f}"
        for name, value in record.items()
        if name not in about and isinstance(value, float)
    )


def _train(one):
    start = time.perf_counter()
    run = _run(one, load_dataset(one.dataset, one.settings, "train"), progress=False)
    return time.perf_counter() - start, run.history[-1]


def _evaluate(one):
    dataset = load_dataset(one.dataset, one.settings, "train")
    return evaluation.evaluate(_run(one, dataset, progress=False))


def _each(work, plans, jobs):
    """(plan, work(plan)) of each plan as they finish, `jobs` at a time, each in a process; with as
    many threads as if all places were taken, because numbers depend on that."""
    threads = max(joblib.cpu_count() // jobs, 1) if jobs > 1 else torch.get_num_threads()
    if jobs == 1 or len(plans) < 2:
        for one in plans:
            with _threads(threads):
                done = work(one)
            yield one, done
        return
    with _processes(min(jobs, len(plans)), threads) as pool:
        asked = {pool.submit(work, one): one for one in plans}
        while asked:
            finished, _ = wait(asked, return_when=FIRST_COMPLETED)
            for future in finished:
                yield asked.pop(future), _result(future, jobs)


def _result(future, jobs):
    try:
        return future.result()
    except BrokenProcessPool as error:
        raise RuntimeError(
            "a process that trained was killed, probably because memory ran out: run again with "
            f"fewer than --jobs {jobs}. What is finished is kept"
        ) from error


@contextlib.contextmanager
def _threads(count):
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextlib.contextmanager
def _processes(jobs, threads):
    """A pool of processes, each with so many threads and a GPU in turn."""
    context = multiprocessing.get_context("spawn")
    devices = context.Queue()
    for number in range(jobs):
        devices.put(number % max(torch.cuda.device_count(), 1))
    others = multiprocessing.active_children()
    with _environment(OMP_NUM_THREADS=str(threads)):  # read by the processes as they start
        pool = ProcessPoolExecutor(jobs, context, _begin, (devices, threads, files.DATA))
        try:
            yield pool
        except BaseException:  # after an error nobody waits for what still runs
            pool.shutdown(wait=False, cancel_futures=True)
            for process in set(multiprocessing.active_children()) - set(others):
                process.terminate()
            raise
        pool.shutdown()


@contextlib.contextmanager
def _environment(**values):
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def _begin(devices, threads, data):
    """What a process of the pool does first."""
    files.DATA = data
    torch.set_num_threads(threads)
    if torch.cuda.is_available():
        torch.cuda.set_device(devices.get())
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent():
    multiprocessing.parent_process().join()
    os._exit(1)
