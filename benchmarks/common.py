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

from hmlc_core import distributed, methods, runs, train  # noqa: E402

CPU = torch.device("cpu")


def median_seconds(ways, rounds=7):
    """{name: function} -> {name: median seconds}; each round calls each function once, in turn,
    after one call to warm up."""
    runs.keep_freed_memory()
    times = {name: [] for name in ways}
    for number in range(rounds + 1):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            if number:
                times[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in times.items()}


def new_step(method, settings, classes, channels=3, device=CPU):
    """A function (views [B, 2, C, H, W], labels [B, L]) that does one training step, and its model;
    shared by all processes there are."""
    model = methods.Model(methods.get(method), settings, channels, classes)
    model = distributed.synchronise(model.to(device, memory_format=torch.channels_last))
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
    schedule = torch.optim.lr_scheduler.ConstantLR(optimizer)
    scaler = torch.amp.GradScaler(device.type, enabled=False)
    state = dict(model=model, optimizer=optimizer, schedule=schedule, scaler=scaler)
    forward = distributed.parallel(model)
    return partial(_step, forward, device, state), model


def _step(forward, device, state, views, labels):
    return train.step(forward, views, labels, device, **state)


def report(title, seconds, ours):
    """Print the ratio of each median to that of `ours`."""
    threads = f"{torch.get_num_threads()} CPU threads"
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else threads
    print(f"\n{title} ({device}, {platform.machine()}, torch {torch.__version__})")
    for name, value in seconds.items():
        print(f"  {name:<55} {value / seconds[ours]:8.2f} x   ({1e3 * value:.1f} ms)")
