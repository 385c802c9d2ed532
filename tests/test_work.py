"""Many runs: several at a time with the same numbers, from the cache, with an honest estimate."""

import heapq
import os
import re
import shutil
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import ROOT

from hmlc_core import files, preset, pretrain, weights
from study import evaluation, plan, results, work

TINY = replace(preset("smoke"), train_size=64, test_size=32, canvas=32, batch_size=32, epochs=2)


def planned(*methods, seeds=1, settings=TINY):
    return [plan.Plan(plan.MNIST, m, settings, s, m) for s in range(seeds) for m in methods]


def test_runs_side_by_side_are_those_of_one_process(tmp_path, capfd):
    plans = planned("split", "a_hmlc", "cross_entropy")
    plans[1] = replace(plans[1], label="a_hmlc@t0.1")
    runs = work.train_all(plans, jobs=2)
    said = capfd.readouterr().out
    assert [run.label for run in runs] == ["split", "a_hmlc@t0.1", "cross_entropy"]
    assert [run.method for run in runs] == ["split", "a_hmlc", "cross_entropy"]
    assert said.count(" s, loss ") == 3 and "3/3" in said and "left" in said
    threads = max(work.joblib.cpu_count() // 2, 1)
    assert {run.trained_on.split(" in ")[0] for run in runs} == {f"cpu ({threads} threads)"}
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    alone = pretrain(plan.MNIST, "split", TINY, 0, folder=tmp_path / "alone", progress=False)
    torch.set_num_threads(before)
    for ours, theirs in zip(runs[0].model.state_dict().values(), alone.model.state_dict().values()):
        assert torch.equal(ours, theirs)
    rows = work.evaluate_all(plans, jobs=2)
    assert rows == [row for run in runs for row in evaluation.evaluate(run)]


def test_a_run_that_is_left_alone_has_the_threads_of_all_jobs():
    """Its numbers would be others: interrupted and run again, they shall be the same."""
    before, many = torch.get_num_threads(), 2 * work.joblib.cpu_count()
    plans = planned("split")
    (run,) = work.train_all(plans, jobs=many)
    assert run.trained_on.startswith("cpu (1 threads)") and torch.get_num_threads() == before
    assert dict(work._each(lambda one: torch.get_num_threads(), plans, many)) == {plans[0]: 1}
    assert dict(work._each(lambda one: torch.get_num_threads(), plans, 1)) == {plans[0]: before}
    with work._processes(1, 1) as pool:
        assert pool.submit(torch.get_num_threads).result() == 1


def test_side_by_side_each_has_the_threads_of_all_jobs(monkeypatch):
    asked = []

    def stopped(jobs, threads):
        asked.append((jobs, threads))
        raise KeyboardInterrupt

    monkeypatch.setattr(work, "_processes", stopped)
    monkeypatch.setattr(work.joblib, "cpu_count", lambda: 16)
    with pytest.raises(KeyboardInterrupt):
        list(work._each(None, planned("split", "sign", "shared"), 8))
    assert asked == [(3, 2)]


def test_a_second_time_all_comes_from_the_cache(capsys):
    plans = planned("split", "shared", seeds=2)
    work.train_all(plans, jobs=1)
    made = {p: p.stat().st_mtime_ns for p in (files.DATA / "runs").rglob("checkpoint.pt")}
    assert len(made) == 4 and "from cache" not in capsys.readouterr().out
    more = [*plans, *planned("sign")]
    work.train_all(more, jobs=1)
    said = capsys.readouterr().out
    assert "from cache: hierarchical_mnist  split seeds 0, 1\n" in said
    assert "1 runs to train" in said and "1/1  hierarchical_mnist  sign seed 0" in said
    assert {p: p.stat().st_mtime_ns for p in made} == made


def ended(one):
    return work.epochs_there(one) == one.settings.epochs


@pytest.mark.parametrize("fresh", [False, True])
def test_a_run_that_was_interrupted_is_not_from_the_cache(capsys, monkeypatch, fresh):
    (one,) = planned("split", settings=replace(TINY, fresh=fresh))
    assert not ended(one)
    work.train_all([one], jobs=1)
    assert ended(one) and work.seconds_to_end([one]) == {}
    with monkeypatch.context() as patch:  # a run of other code is trained anew
        patch.setattr(work.runs, "TRAINING_CODE", ("losses",))
        assert not ended(one)
    with monkeypatch.context() as patch:  # so is one in another precision
        patch.setattr(work.devices, "precision", lambda device: torch.float16)
        assert not ended(one) and work.seconds_to_end([one]) == {one: work.seconds_of(one)}
    (checkpoint,) = (files.DATA / "runs").rglob("checkpoint.pt")
    stored = torch.load(checkpoint, weights_only=True)
    torch.save(stored | {"history": stored["history"][:1]}, checkpoint)
    share = 1 - 1 / one.settings.epochs
    assert work.seconds_to_end([one]) == {one: pytest.approx(share * work.seconds_of(one))}
    data = work._datasets([one])[work._data_of(one)]
    assert work._epochs_done(one, data, torch.device("cpu")) == 1 and not ended(one)
    checkpoint.write_bytes(b"cut off")
    assert work._epochs_done(one, data, torch.device("cpu")) == 0
    with pytest.raises(ValueError, match="unreadable"):
        work.train_all([one], jobs=1)


def test_an_error_of_a_run_is_the_error():
    with pytest.raises(ValueError, match="unknown method 'no_such_method'"):
        work.train_all(planned("no_such_method"), jobs=2)


def test_a_missing_data_set_is_a_file_not_found_error():
    with pytest.raises(FileNotFoundError):
        work.train_all([plan.Plan("modelnet40", "split", TINY, 0, "split")])


def _kill(_):
    os._exit(9)


def test_a_killed_process_is_said_with_what_to_do():
    others = set(work.multiprocessing.active_children())  # joblib's, and of other tests
    with pytest.raises(RuntimeError, match="memory ran out: run again with fewer than --jobs 2"):
        list(work._each(_kill, planned("split", "shared"), 2))
    ours = set(work.multiprocessing.active_children()) - others
    last = time.monotonic() + 60  # the pool's thread may be collecting them at the same moment
    while any(process.is_alive() for process in ours) and time.monotonic() < last:
        time.sleep(0.1)
    assert not any(process.is_alive() for process in ours)


def test_as_many_jobs_as_cores_or_gpus(monkeypatch):
    monkeypatch.setattr(work.joblib, "cpu_count", lambda: 6)
    assert work.jobs_here(3) == 3
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert work.jobs_here() == 6
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert work.jobs_here() == 4


def test_environment_is_put_back(monkeypatch):
    monkeypatch.setenv("HMLC_A", "before")
    monkeypatch.delenv("HMLC_B", raising=False)
    with work._environment(HMLC_A="1", HMLC_B="2"):
        assert (os.environ["HMLC_A"], os.environ["HMLC_B"]) == ("1", "2")
    assert os.environ["HMLC_A"] == "before" and "HMLC_B" not in os.environ


def schedule(durations, jobs):
    """(end, run) in the order runs end, if each starts when a place is free."""
    places, ends = [0.0] * jobs, []
    for run, duration in enumerate(durations):
        start = heapq.heappop(places)
        heapq.heappush(places, start + duration)
        ends.append((start + duration, run))
    return sorted(ends)


@pytest.mark.parametrize("jobs", [1, 2, 4])
@pytest.mark.parametrize("kind", ["alike", "budgets", "noisy"])
def test_the_estimate_is_right_within_half_from_the_third_run_on(jobs, kind):
    generator = np.random.default_rng(0)
    guesses = np.ones(24) if kind == "alike" else np.resize([1.0, 2.0, 4.0], 24)
    noise = generator.uniform(0.8, 1.25, 24) if kind == "noisy" else np.ones(24)
    durations = 37 * guesses * noise
    ends = schedule(durations, jobs)
    left = work.Estimate(dict(enumerate(guesses)), jobs)
    for number, (now, run) in enumerate(ends, 1):
        left.finished(run, durations[run])
        true = ends[-1][0] - now
        if number >= 3 and true > max(durations):  # then rounding at the end plays no part
            assert true / 1.5 < left.seconds() < 1.5 * true
    assert left.seconds() == 0


def test_more_jobs_than_runs_are_as_many_as_runs():
    assert work.Estimate({"a": 10, "b": 30}, 10**12).seconds() == 30
    assert work.Estimate({}, 10**12).seconds() == 0


def test_a_guess_counts_epochs_pixels_and_images():
    (one,) = planned("split", settings=preset("cpu"))
    longer = replace(one, settings=replace(one.settings, epochs=2 * one.settings.epochs))
    assert work.seconds_of(longer) == pytest.approx(2 * work.seconds_of(one))
    assert 10 < work.seconds_of(one) / one.settings.epochs * 6 < 100
    modelnet = plan.Plan("modelnet10", "split", preset("cpu", "modelnet"), 0, "split")
    assert work.seconds_of(modelnet) > 0


def test_folders_of_a_plan_are_those_of_its_settings():
    one, other = planned("split", seeds=2)
    run = work.train_all([one, other], jobs=1)[0]
    assert work.folders_of(one) == [run.folder]
    assert work.folders_of(replace(one, settings=replace(TINY, temperature=0.3))) == []
    (run.folder / "config.json").write_text("")
    assert work.folders_of(one) == []


def test_folders_of_a_job_are_those_on_its_data(monkeypatch):
    (one,) = planned("split")
    others = [replace(TINY, canvas=26), replace(TINY, train_size=300), replace(TINY, fresh=True)]
    plans = [one, *(replace(one, settings=settings) for settings in others)]
    made = [run.folder for run in work.train_all(plans, jobs=1)]
    assert len(set(made)) == 4 == len(work.folders_of(one))
    assert work.folders_of_job([one]) == {made[0]} and work.folders_of_job(plans) == set(made)

    def lost(*asked):
        raise FileNotFoundError

    monkeypatch.setattr(work, "load_dataset", lost)
    assert work.folders_of_job(plans) == set()


def test_hashes_of_what_a_profile_may_have_are_those_of_its_runs(monkeypatch):
    group = plan.Group((), (plan.MNIST,), ("split",), seeds=1)
    monkeypatch.setattr(plan, "GROUPS", (group,))
    monkeypatch.setattr(plan, "usual_settings", lambda *_: TINY)
    plans = plan.planned_runs("smoke")
    assert work.current_hashes("smoke", plan.MNIST) == {}
    runs = work.train_all(plans, jobs=1)
    rows = work.evaluate_all(plans, jobs=1)
    results.add(rows, results.path("smoke"))
    assert work.current_hashes("smoke", plan.MNIST) == {
        plan.MNIST: {("split", runs[0].config_hash)}
    }


def test_the_first_guess_for_a_gpu_is_what_the_docs_say(monkeypatch):
    """2.6 hours on a T4 for both jobs of profile gpu; not minutes."""
    monkeypatch.setattr(work.devices, "best_device", lambda: torch.device("cuda"))
    plans = plan.planned_runs("gpu", ["cifar100"])
    assert {one.settings.encoder for one in plans} <= set(work.PACE["cuda"])
    hours = sum(map(work.seconds_of, plans)) / 3600
    page = (ROOT / "docs" / "running.md").read_text()
    said = float(re.search(r"an estimated ([\d.]+) hours on a T4", page)[1])
    assert hours == pytest.approx(said, rel=0.1)


@pytest.mark.parametrize(
    "seconds, text", [(0, "0 s"), (89, "89 s"), (90, "2 min"), (3000, "50 min"), (9000, "2.5 h")]
)
def test_clock(seconds, text):
    assert work.clock(seconds) == text


def test_committed_weights_are_taken_where_they_fit_and_nothing_was_trained(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(weights, "FOLDER", tmp_path / "weights")
    a, other = planned("a_hmlc", "split")
    run = work.train_all([a])[0]
    weights.save_weights(run, {}, weights.FOLDER)
    assert work.ready([a])[0].folder == run.folder  # what was trained here comes first
    shutil.rmtree(run.folder)
    capsys.readouterr()
    split, ours = work.ready([other, a])
    assert "nothing was trained: a_hmlc\n" in capsys.readouterr().out
    assert (split.method, ours.method) == ("split", "a_hmlc")
    for new, old in zip(ours.model.state_dict().values(), run.model.state_dict().values()):
        assert torch.equal(new, old)
    with monkeypatch.context() as patch:  # other pictures under the same name, with other classes
        other = {"size": [1, 1, 1]}
        patch.setattr(weights.weight_files, "about", lambda *_: other)
        assert "weights" not in work.ready([a])[0].folder.name
    said = capsys.readouterr().out
    assert "trained on other data" in said and "nothing was trained" not in said
    shutil.rmtree(run.folder)
    for changed in (replace(a, seed=1), replace(a, settings=replace(TINY, temperature=0.2))):
        assert "weights" not in work.ready([changed])[0].folder.name
