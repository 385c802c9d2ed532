"""Times of several ways to do the same, interleaved in one run; what counts are the ratios."""

import platform
import statistics
import sys
import time
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "notebooks")]

import torch  # noqa: E402

from hmlc_core import checks, devices, distributed, methods, runs, train  # noqa: E402
from hmlc_core.views import two_views  # noqa: E402

CPU = torch.device("cpu")
WHOLE, ENCODER = "whole step", "encoder and head, forward and backward"


def median_seconds(ways, rounds=7):
    """{name: function} -> {name: median seconds}; each round calls each function once, in turn,
    after one call to warm up."""
    runs.keep_freed_memory()
    times = {name: [] for name in ways}
    for number in range(rounds + 1):
        for name, way in ways.items():
            seconds = seconds_of(way)
            if number:
                times[name].append(seconds)
    return {name: statistics.median(values) for name, values in times.items()}


def seconds_of(way):
    """Seconds of a call, until a GPU is done with it."""
    start = time.perf_counter()
    way()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start


def new_step(method, settings, classes, channels=3, device=CPU):
    """A function (views [B, 2, C, H, W], labels [B, L]) that does one training step, and its model;
    shared by all processes there are."""
    model = methods.Model(methods.get(method), settings, channels, classes)
    model = distributed.synchronise(model.to(device, memory_format=torch.channels_last))
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
    schedule = torch.optim.lr_scheduler.ConstantLR(optimizer)
    halves = devices.precision(device) == torch.float16
    scaler = torch.amp.GradScaler(device.type, enabled=halves)
    state = dict(model=model, optimizer=optimizer, schedule=schedule, scaler=scaler)
    forward = distributed.parallel(model)
    return partial(_step, forward, device, state), model


def _step(forward, device, state, views, labels):
    return train.step(forward, views, labels, device, **state)


def step_parts(settings, classes, channels=3, device=CPU, compiled=False):
    """{part: function} of a training step of G-HMLC on random pictures, the whole step first.

    Args:
        compiled: whether the encoder is compiled, which happens in its first call.
    """
    step, model = new_step("g_hmlc", settings, classes, channels, device)
    shape = (settings.batch_size, settings.canvas, settings.canvas, channels)
    pictures = torch.randint(0, 256, shape, dtype=torch.uint8, device=device)
    y = torch.stack([torch.arange(len(pictures), device=device) % k for k in classes], 1)
    views = two_views(pictures, settings.augmentation)
    flat, objective = views.flatten(0, 1), model.objective
    _, z = model.embed(flat, devices.autocast(device))
    z = z.detach().unflatten(0, views.shape[:2]).requires_grad_()
    fixed = objective.level_masks(z.detach())
    if compiled:
        model.encoder.compile()
    ways = {
        WHOLE: lambda: step(two_views(pictures, settings.augmentation), y),
        ENCODER: lambda: model.embed(flat, devices.autocast(device))[1].square().mean().backward(),
        "augmentation": lambda: two_views(pictures, settings.augmentation),
        "masks (EM)": lambda: objective.level_masks(z.detach()),
        "loss, forward and backward": lambda: objective.loss(
            z, y, fixed, temperature=settings.temperature
        ).backward(),
        "masks and loss, forward and backward": lambda: objective(z, y).sum().backward(),
    }
    return {name: partial(_as_in_training, device, way) for name, way in ways.items()}


def _as_in_training(device, way):
    """A GPU waits whenever values are looked at: training does so in one step of many."""
    with checks.values(device.type == "cpu"):
        return way()


def report(title, seconds, ours, device="cpu"):
    """Print the ratio of each median to that of `ours`; device: on which they were measured."""
    on_gpu, threads = torch.device(device).type == "cuda", torch.get_num_threads()
    where = torch.cuda.get_device_name(device) if on_gpu else f"{threads} CPU threads"
    print(f"\n{title} ({where}, {platform.machine()}, torch {torch.__version__})")
    for name, value in seconds.items():
        print(f"  {name:<55} {value / seconds[ours]:8.2f} x   ({1e3 * value:.1f} ms)")
