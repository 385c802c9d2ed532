"""The training loop: steps, checkpoints, resuming bit for bit, precision, and what ends a run."""

import dataclasses
import os
import signal
import subprocess
import sys
import types

import numpy as np
import pytest
import torch
from torch import nn

from hmlc_core import (
    HierarchicalDataset,
    Method,
    Settings,
    checks,
    devices,
    files,
    losses,
    methods,
    pretrain,
    runs,
    supcon_loss,
    train,
    views,
)
from hmlc_core.data import mnist
from study.variants import SEPARABILITY

TINY = Settings(canvas=24, dim=16, epochs=3, batch_size=32)
CPU = torch.device("cpu")


@pytest.fixture
def fit(dataset, tmp_path):
    def call(
        method="g_hmlc", settings=TINY, seed=0, folder=tmp_path / "runs", data=dataset, **more
    ):
        more = {"device": "cpu", "progress": False} | more
        return pretrain(data, method, settings, seed, folder=folder, **more)

    return call


def weights(run):
    return torch.cat([p.flatten().double() for p in run.model.state_dict().values()])


def history_of(run):
    return [{k: v for k, v in epoch.items() if k != "seconds"} for epoch in run.history]


class Stop(Exception):
    pass


@pytest.fixture
def stop_at(monkeypatch):
    """A function after which the batch of this number ends the training."""
    real = views.Pictures.views

    def call(batch):
        seen = []

        def stopping(self, *arguments):
            seen.append(0)
            if len(seen) == batch:
                raise Stop
            return real(self, *arguments)

        monkeypatch.setattr(views.Pictures, "views", stopping)

    yield call


# ------------------------------------------------------------ steps


class Tensors:
    """A source of one's own for the loop: vectors, of which two noisy copies are the views."""

    def __init__(self):
        generator = torch.Generator().manual_seed(0)
        self.vectors = torch.randn(40, 6, generator=generator)
        self.labels = torch.stack([torch.arange(40) % 2, torch.arange(40) % 4], 1)
        self.begun, self.batches = [], []

    def __len__(self):
        return len(self.vectors)

    def begin(self, seed, epoch):
        self.begun.append((seed, epoch))

    def views(self, batch, generator):
        self.batches.append(batch)
        pair = self.vectors[batch][:, None].expand(-1, 2, -1)
        return pair + 0.1 * torch.randn(pair.shape, generator=generator)


class Bar:
    """What the loop needs of a tqdm bar."""

    total, count, shown = None, 0, {}

    def reset(self, total):
        self.total = total

    def update(self, count=1):
        self.count += count

    def set_postfix(self, refresh, **more):
        assert not refresh  # a line for each epoch in a log
        self.shown = more


class Unseen(nn.Module):
    """An objective that counted 3 samples unseen at the coarse level, or none."""

    counts = None

    def take_unseen(self):
        return self.counts


class Terms(nn.Module):
    """A model that returns two loss terms, and keeps the labels it is given."""

    def __init__(self):
        super().__init__()
        self.objective = Unseen()
        torch.manual_seed(0)
        self.layer, self.labels, self.modes = nn.Linear(6, 4), [], []

    def forward(self, pair, labels, autocast):
        self.labels.append(labels)
        self.modes.append(self.training)
        z = self.layer(pair)
        return torch.stack([supcon_loss(z, labels[:, level]) for level in (0, 1)])


def loop(path, model, source, bar=None, batch_size=16, device=CPU, epochs=2, seed=5):
    settings = dataclasses.replace(TINY, epochs=epochs, batch_size=batch_size)
    names = ["coarse", "fine"]
    return train.train(model, source, settings, seed, device, path, names, bar or Bar())


def test_the_loop_takes_any_source_and_gives_it_seed_epoch_and_batch(tmp_path):
    source, model = Tensors(), Terms()
    model.eval()
    history = loop(tmp_path / "c.pt", model, source)
    assert source.begun == [(5, 0), (5, 1)] and [len(batch) for batch in source.batches] == [16] * 4
    for batch, labels in zip(source.batches, model.labels):
        assert torch.equal(labels, source.labels[batch])
    assert all(model.modes) and [epoch["epoch"] for epoch in history] == [1, 2]
    assert all(epoch["seconds"] > 0 for epoch in history)
    for epoch in history:
        assert epoch["loss"] == pytest.approx(epoch["coarse"] + epoch["fine"])
        assert epoch["device"] == devices.device_name(CPU)


def test_what_a_method_draws_depends_on_seed_and_epoch_alone(tmp_path):
    class Drawing(Terms):
        def forward(self, pair, labels, autocast):
            drawn.append(torch.rand(()).item())
            return super().forward(pair, labels, autocast)

    drawn = []
    for name in "ab":
        torch.manual_seed(ord(name))
        loop(tmp_path / f"{name}.pt", Drawing(), Tensors())
    loop(tmp_path / "c.pt", Drawing(), Tensors(), seed=6)
    assert drawn[:4] == drawn[4:8] and len(set(drawn)) == 8


def test_terms_fewer_than_levels_are_those_of_the_finest(tmp_path):
    class Finest(Terms):
        def forward(self, pair, labels, autocast):
            return super().forward(pair, labels, autocast)[1:]

    history = loop(tmp_path / "c.pt", Finest(), Tensors())
    assert "fine" in history[0] and "coarse" not in history[0]


def test_what_no_level_saw_is_counted_in_the_history(tmp_path):
    model = Terms()
    assert set(loop(tmp_path / "none.pt", model, Tensors())[0]) == {
        *("epoch", "seconds", "device", "loss", "coarse", "fine")
    }
    model.objective.counts = torch.tensor([3, 0])
    history = loop(tmp_path / "some.pt", model, Tensors())
    assert [(e["unseen coarse"], e["unseen fine"]) for e in history] == [(3, 0), (3, 0)]


def test_the_history_is_the_mean_over_the_steps(tmp_path):
    class Counting(Terms):
        def forward(self, pair, labels, autocast):
            self.labels.append(labels)
            count = float(len(self.labels))
            return torch.tensor([count, 10 * count]) + 0 * self.layer.weight.sum()

    history = loop(tmp_path / "c.pt", Counting(), Tensors())
    assert [(epoch["coarse"], epoch["fine"]) for epoch in history] == [(1.5, 15), (3.5, 35)]
    assert [epoch["loss"] for epoch in history] == [16.5, 38.5]


class Told:
    """Stands for an optimiser, a schedule or a scaler, and keeps what they are told in order."""

    def __init__(self, said, name):
        self.said, self.name = said, name

    def __getattr__(self, verb):
        def tell(*arguments, **more):
            self.said.append(f"{self.name}.{verb}")
            return arguments[0] if arguments else None

        return tell


def test_a_step_clears_gradients_goes_back_steps_and_moves_the_schedule():
    said, weight = [], torch.ones(2, requires_grad=True)
    weight.register_hook(lambda gradient: said.append(f"backward {gradient.tolist()}"))
    parts = {name: Told(said, name) for name in ("optimizer", "schedule", "scaler")}
    terms = train.step(
        lambda pair, labels, autocast: pair * labels * weight, 2.0, 3.0, CPU, model=None, **parts
    )
    assert terms.tolist() == [6, 6] and not terms.requires_grad
    cleared = said.pop(said.index("optimizer.zero_grad"))
    assert cleared and said == [
        "scaler.scale",
        "backward [6.0, 6.0]",
        "scaler.step",
        "scaler.update",
        "schedule.step",
    ]


def test_optimisers_are_those_of_the_settings():
    parameters = [nn.Parameter(torch.zeros(2))]
    adam = train.make_optimizer(parameters, dataclasses.replace(TINY, weight_decay=0.5))
    assert type(adam) is torch.optim.AdamW and adam.defaults["weight_decay"] == 0.5
    assert adam.defaults["lr"] == TINY.learning_rate
    sgd = dataclasses.replace(TINY, optimizer="sgd", learning_rate=0.2)
    sgd = train.make_optimizer(parameters, sgd)
    assert type(sgd) is torch.optim.SGD and sgd.defaults["momentum"] == 0.9
    assert sgd.defaults["lr"] == 0.2 and sgd.defaults["weight_decay"] == TINY.weight_decay


@pytest.mark.parametrize("name, low, high", [("sgd", 0.9, 0.9), ("adamw", 0.85, 0.95)])
def test_momentum_of_sgd_stays_and_that_of_adamw_follows_the_rate(name, low, high):
    settings = dataclasses.replace(TINY, optimizer=name)
    optimizer = train.make_optimizer([nn.Parameter(torch.zeros(2))], settings)
    schedule, seen = train.make_schedule(optimizer, settings, 40), []
    for _ in range(40):
        group = optimizer.param_groups[0]
        seen.append(group["momentum"] if name == "sgd" else group["betas"][0])
        optimizer.step()
        schedule.step()
    assert min(seen) == pytest.approx(low) and max(seen) == pytest.approx(high, abs=1e-3)


@pytest.mark.parametrize("steps", [1, 2, 3, 10, 11, 40])
def test_schedules_of_few_steps_peak_once_and_end_low(steps):
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(2))], 1.0)
    schedule = train.make_schedule(optimizer, dataclasses.replace(TINY, learning_rate=2.0), steps)
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert max(rates) <= 2 + 1e-9 and np.isfinite(rates).all()
    if steps > 3:
        top = int(np.argmax(rates))
        assert rates[0] == pytest.approx(2 / 25) and rates[-1] < 1e-4
        assert (np.diff(rates[: top + 1]) > 0).all() and (np.diff(rates[top:]) < 0).all()
        assert abs(top - ((0.1 if steps > 10 else 0.3) * steps - 1)) < 1


@pytest.mark.parametrize("steps", [1, 2, 3, 10])
def test_runs_of_few_steps_train(steps, fit):
    run = fit("split", dataclasses.replace(TINY, epochs=steps, batch_size=96))
    assert len(run.history) == steps


def test_fewer_images_than_a_batch(fit):
    run = fit(settings=dataclasses.replace(TINY, batch_size=500))
    assert np.isfinite(run.history[-1]["loss"])


def test_training_lowers_the_loss(fit):
    history = fit("split", dataclasses.replace(TINY, epochs=12)).history
    assert history[-1]["central"] < history[0]["central"] - 0.2


def test_the_bar_counts_all_steps_and_starts_where_the_checkpoint_is(tmp_path):
    first, second = Bar(), Bar()
    history = loop(tmp_path / "c.pt", Terms(), Tensors(), bar=first)
    assert (first.total, first.count) == (4, 4)
    assert first.shown == {"loss": f"{history[-1]['loss']:.2f}"}
    loop(tmp_path / "c.pt", Terms(), Tensors(), bar=second)
    assert second.count in (0, second.total)  # nothing to train


# ------------------------------------------------------------ seeds, checkpoints, resuming


def test_same_seed_same_bits_other_seed_other_bits(fit, tmp_path):
    first, again, other = fit(), fit(folder=tmp_path / "again"), fit(seed=1)
    assert torch.equal(weights(first), weights(again))
    assert not torch.equal(weights(first), weights(other))
    assert first.config_hash == again.config_hash != other.config_hash


class Dropped(torch.nn.Module):
    """Masks of somebody who draws numbers without asking where from."""

    def __init__(self, dim, levels):
        super().__init__()

    def forward(self, embeddings, levels):
        return torch.nn.functional.dropout(torch.ones(levels, *embeddings.shape), 0.5)


@pytest.mark.parametrize("seed", [10**15, 2**63])
def test_large_seeds_train(fit, seed):
    assert fit("split", dataclasses.replace(TINY, epochs=1), seed=seed).seed == seed


def test_global_random_state_is_not_touched(fit):
    torch.manual_seed(5)
    np.random.seed(5)
    expected = torch.rand(3), np.random.rand(3)
    torch.manual_seed(5)
    np.random.seed(5)
    fit()
    assert torch.equal(torch.rand(3), expected[0]) and (np.random.rand(3) == expected[1]).all()


@pytest.mark.parametrize(
    "method, changes, fresh",
    [
        ("a_hmlc", {}, False),
        ("g_hmlc", dict(optimizer="sgd", learning_rate=0.1), False),
        ("split", dict(fresh=True), True),
        (SEPARABILITY, {}, False),
        (Method("dropped", "dropped", "ours", "a test", masks=Dropped), {}, False),
    ],
)
def test_resume_equals_uninterrupted_bit_for_bit(
    method, changes, fresh, fit, tmp_path, stop_at, dataset, digits
):
    settings = dataclasses.replace(TINY, **changes)
    composer = mnist.Composer(*digits, 24) if fresh else None
    data = dataclasses.replace(dataset, composer=composer)
    whole = fit(method, settings, data=data)
    for batch in (5, 5):  # in the second epoch, and again in the third
        stop_at(batch)
        with pytest.raises(Stop):
            fit(method, settings, folder=tmp_path / "broken", data=data)
    stop_at(-1)
    resumed = fit(method, settings, folder=tmp_path / "broken", data=data)
    assert torch.equal(weights(whole), weights(resumed))
    assert history_of(whole) == history_of(resumed)


def test_a_checkpoint_holds_all_that_goes_on(fit):
    run = fit("a_hmlc")
    stored = torch.load(run.folder / "checkpoint.pt", weights_only=True)
    assert set(stored) == {"history", "model", "optimizer", "schedule", "scaler"}
    assert stored["history"] == run.history
    assert stored["schedule"]["last_epoch"] == 9
    assert all(moments["step"] == 9 for moments in stored["optimizer"]["state"].values())
    for name, value in run.model.state_dict().items():
        assert torch.equal(stored["model"][name], value)


KILLED = """
import dataclasses, sys, time
from hmlc_core import HierarchicalDataset, Settings, pretrain, views
begin = views.Pictures.begin
def slow(self, seed, epoch):
    print("epoch", epoch, flush=True)
    time.sleep(0.2 if epoch == 0 else 60)
    begin(self, seed, epoch)
views.Pictures.begin = slow
settings = Settings(canvas=24, dim=16, epochs=3, batch_size=32)
data = HierarchicalDataset.load(sys.argv[1])
pretrain(data, "g_hmlc", settings, folder=sys.argv[2], device="cpu", progress=False)
"""


def test_killed_process_goes_on_and_ends_with_the_same_numbers(dataset, tmp_path, fit):
    dataset.save(tmp_path / "data.npz")
    words = [sys.executable, "-c", KILLED, str(tmp_path / "data.npz"), str(tmp_path / "killed")]
    where = os.environ | {"PYTHONPATH": str(files.CODE)}
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=where) as process:
        assert [process.stdout.readline() for _ in range(2)] == ["epoch 0\n", "epoch 1\n"]
        process.send_signal(signal.SIGKILL)
    assert list((tmp_path / "killed").rglob("checkpoint.pt"))
    loaded = HierarchicalDataset.load(tmp_path / "data.npz")
    resumed = fit(folder=tmp_path / "killed", data=loaded)
    assert torch.equal(weights(resumed), weights(fit(data=loaded)))


def test_half_written_checkpoint_is_named(fit):
    checkpoint = fit().folder / "checkpoint.pt"
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    with pytest.raises(ValueError, match="checkpoint.pt is unreadable .*delete it"):
        fit()


def test_what_torch_says_of_a_foreign_file_is_cut_where_it_advises(fit):
    checkpoint = fit().folder / "checkpoint.pt"
    torch.save(types.SimpleNamespace(), checkpoint)
    with pytest.raises(ValueError, match=r"is unreadable \(UnpicklingError: [^.]*\): delete it"):
        fit()


@pytest.mark.parametrize(
    "error",
    [
        PermissionError(13, "Permission denied"),
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 MiB"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_this_machine_lacks_is_no_reason_to_delete_a_checkpoint(fit, monkeypatch, error):
    checkpoint = fit().folder / "checkpoint.pt"

    def fail(*_, **__):
        raise error

    monkeypatch.setattr(torch, "load", fail)
    with pytest.raises(type(error)) as caught:
        fit()
    assert "delete" not in str(caught.value) and checkpoint.exists()


@pytest.mark.parametrize("history", [3, None, [1, 2, 3]])
def test_a_checkpoint_whose_history_is_none_is_named(history, fit):
    checkpoint = fit().folder / "checkpoint.pt"
    torch.save(torch.load(checkpoint, weights_only=True) | {"history": history}, checkpoint)
    with pytest.raises(ValueError, match="checkpoint.pt is unreadable .*delete it"):
        fit()


@pytest.mark.parametrize("epochs", [0, 2, 5])
def test_a_checkpoint_that_tells_of_other_epochs_than_it_has_is_named(epochs, fit):
    checkpoint = fit().folder / "checkpoint.pt"
    stored = torch.load(checkpoint, weights_only=True)
    torch.save(stored | {"history": stored["history"][:1] * epochs}, checkpoint)
    told = f"checkpoint.pt tells of {epochs} epochs and has 3 of 3: delete it"
    with pytest.raises(ValueError, match=told):
        fit()


def test_a_checkpoint_of_a_longer_training_is_named(tmp_path):
    loop(tmp_path / "c.pt", Terms(), Tensors())
    with pytest.raises(ValueError, match="tells of 2 epochs and has .*: delete it"):
        loop(tmp_path / "c.pt", Terms(), Tensors(), epochs=1)


def test_snapshots_are_the_run_after_each_epoch(fit, dataset, tmp_path, stop_at):
    run = fit("a_hmlc", snapshots=True)
    assert sorted(p.name for p in run.folder.glob("epoch-*.pt")) == [
        f"epoch-{n}.pt" for n in (1, 2, 3)
    ]
    assert torch.equal(weights(run.at(3)), weights(run))
    stop_at(7)
    with pytest.raises(Stop):
        fit("a_hmlc", folder=tmp_path / "broken")
    (stopped,) = (tmp_path / "broken").rglob("checkpoint.pt")
    after_two = torch.load(stopped, weights_only=True)["model"]
    second = run.at(2)
    assert all(torch.equal(after_two[k], v) for k, v in second.model.state_dict().items())
    assert second.history == run.history[:2] and not second.model.training
    assert not torch.equal(second.features(dataset), run.features(dataset))
    assert torch.equal(run.at(2).features(dataset), second.features(dataset))
    assert second.seconds < run.seconds
    for missing in (0, 4):
        with pytest.raises(FileNotFoundError, match=f"no epoch-{missing}.pt .*snapshots=True"):
            run.at(missing)


def test_without_snapshots_none_are_kept(fit):
    assert not list(fit().folder.glob("epoch-*"))


# ------------------------------------------------------------ what ends a run


def poison(at):
    """A loss that is NaN from the call of that number on."""
    calls = []

    def loss(z, labels, temperature, reduction):
        calls.append(0)
        terms = losses.hmce_loss(z, labels, temperature, reduction="none")
        return terms * (float("nan") if len(calls) >= at else 1)

    return loss


def test_nan_stops_with_a_clear_error_and_keeps_the_checkpoint(fit, tmp_path):
    own = Method("own", "own", "ours", "a test", poison(5))
    match = r"\[nan, nan\] in epoch 2 of .*own-seed0.*lower the learning rate"
    with pytest.raises(FloatingPointError, match=match):
        fit(own)
    (checkpoint,) = (tmp_path / "runs").rglob("checkpoint.pt")
    assert len(torch.load(checkpoint, weights_only=True)["history"]) == 1


def test_a_loss_that_ends_as_nan_writes_no_checkpoint(fit, tmp_path):
    """Also in the last step of an epoch, which is always looked at."""
    with pytest.raises(FloatingPointError):
        fit(Method("own", "own", "ours", "a test", poison(3)))
    assert not list((tmp_path / "runs").rglob("checkpoint.pt"))


def test_absurd_learning_rate_is_named(fit):
    with pytest.raises((FloatingPointError, ValueError), match="learning rate"):
        fit("shared", dataclasses.replace(TINY, learning_rate=1e30))


# ------------------------------------------------------------ precision and looking at values


def hooked(model, kinds):
    """Inputs' and outputs' dtypes of the modules of these kinds, as they are called."""
    seen = {}

    def note(name):
        def hook(module, inputs, output):
            seen.setdefault(name, set()).update({inputs[0].dtype, output.dtype})

        return hook

    for name, module in model.named_modules():
        if isinstance(module, kinds):
            module.register_forward_hook(note(name))
    return seen


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16])
def test_the_encoder_runs_in_the_devices_precision_and_the_rest_in_float32(
    kind, dataset, monkeypatch
):
    monkeypatch.setattr(devices, "precision", lambda device: kind)
    given = []

    def loss(z, labels, masks, temperature, reduction):
        given.append((z.dtype, masks.dtype))
        return losses.masked_hierarchical_loss(z, labels, masks, temperature, reduction="none")

    own = dataclasses.replace(methods.get("a_hmlc"), loss=loss)
    model = runs.new_model(dataset, own, TINY, 0, CPU)
    layers = hooked(model, (nn.Linear, nn.BatchNorm1d))
    convolutions = hooked(model.encoder.fine, nn.Conv2d)
    images = torch.from_numpy(dataset.images[:8])
    pair = views.two_views(images, "keep_whole", torch.Generator().manual_seed(0))
    terms = model(pair, torch.from_numpy(dataset.labels[:8]), devices.autocast(CPU))
    assert all(kind in dtypes for dtypes in convolutions.values()) and convolutions
    assert set.union(*layers.values()) == {torch.float32} and len(layers) > 6
    assert given == [(torch.float32, torch.float32)] and terms.dtype == torch.float32
    features, z = model.embed(views.to_float(images), devices.autocast(CPU))
    assert features.dtype == z.dtype == torch.float32


def test_float32_is_left_alone(monkeypatch):
    monkeypatch.setattr(devices, "precision", lambda device: torch.float32)
    with devices.autocast(CPU):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32
    monkeypatch.setattr(devices, "precision", lambda device: torch.bfloat16)
    with devices.autocast(CPU):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.bfloat16


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
def test_a_device_is_named_with_its_threads_and_precision(monkeypatch, kind):
    monkeypatch.setattr(devices, "precision", lambda device: kind)
    name = str(kind).removeprefix("torch.")
    assert devices.device_name(CPU) == f"cpu ({torch.get_num_threads()} threads) in {name}"
    assert devices.best_device().type == ("cuda" if torch.cuda.is_available() else "cpu")


def test_values_are_looked_at_only_where_asked():
    """Looking makes a GPU wait; shapes are checked always."""
    z, labels = torch.full((4, 3), float("nan")), torch.arange(4) % 2
    with checks.values(False):
        assert not checks.has_values(z) and supcon_loss(z, labels).isnan()
        checks.require(torch.tensor(False), "not looked at")
        with pytest.raises(ValueError, match="labels must be"):
            supcon_loss(z, labels[:3])
        with checks.values(True):
            assert checks.has_values(z)
        assert not checks.has_values(z)
    with pytest.raises(ValueError, match="NaN"):
        supcon_loss(z, labels)
    with pytest.raises(RuntimeError), checks.values(False):
        raise RuntimeError
    assert checks.has_values(z)


class Elsewhere:
    """torch, of which generators and orders of a pretended device are those of the CPU."""

    def __getattr__(self, name):
        return getattr(torch, name)

    def Generator(self, device):  # noqa: N802
        return torch.Generator()

    def randperm(self, count, device, generator):
        return torch.randperm(count, generator=generator)


class Looks(Terms):
    """Keeps whether values are looked at, and gives NaN from the call of a number on."""

    def __init__(self, poisoned=99):
        super().__init__()
        self.looks, self.poisoned = [], poisoned

    def forward(self, pair, labels, autocast):
        self.looks.append(checks.has_values(pair))
        bad = len(self.looks) >= self.poisoned
        return torch.full((2,), float("nan") if bad else 1.0) + 0 * self.layer.weight.sum()


def test_where_looking_costs_time_values_are_looked_at_every_few_steps(tmp_path, monkeypatch):
    """And the last loss of an epoch always, before its checkpoint is written."""
    monkeypatch.setattr(train, "torch", Elsewhere())
    monkeypatch.setattr(devices, "precision", lambda device: torch.float32)
    monkeypatch.setattr(devices, "autocast", lambda device: None)
    monkeypatch.setattr(train, "CHECK_EVERY", 3)
    place = types.SimpleNamespace(type="xpu")
    model = Looks()
    loop(tmp_path / "fine.pt", model, Tensors(), batch_size=8, device=place)
    assert model.looks == [True, False, False, True, False] * 2
    for poisoned, steps in ((2, 4), (5, 5)):
        model = Looks(poisoned)
        with pytest.raises(FloatingPointError, match="in epoch 1"):
            loop(tmp_path / "bad.pt", model, Tensors(), batch_size=8, device=place)
        assert len(model.looks) == steps and not (tmp_path / "bad.pt").exists()
    on_cpu = Looks()
    loop(tmp_path / "cpu.pt", on_cpu, Tensors(), batch_size=8)
    assert on_cpu.looks == [True] * 10
