"""Times of several ways to do the same, measured interleaved in one run; what counts are the ratios."""
import platform
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch

from hmlc_core import distributed, training


def median_seconds(ways, rounds=7):
    """{name: function} -> {name: median seconds}; each round calls each function once, in turn, after one call to warm up."""
    training._keep_freed_memory()
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


def new_step(method, profile, classes, channels=3):
    """A function (views [B, 2, C, H, W], labels [B, L]) that does one training step, and its model; shared by all processes there are."""
    device = torch.device("cpu")
    model = training.Model(training.METHODS[method], profile, channels, classes).to(memory_format=torch.channels_last)
    model.encoder, model.head = (distributed.synchronise(part, device) for part in (model.encoder, model.head))
    forward, optimizer = distributed.parallel(model), torch.optim.AdamW(model.parameters(), 1e-3)
    rest = torch.optim.lr_scheduler.ConstantLR(optimizer), torch.amp.GradScaler("cpu", enabled=False)
    return (lambda views, labels: training._step(forward, views, labels, training._autocast(device), optimizer, *rest)), model


def report(title, seconds, ours):
    """Print the ratio of each median to that of `ours`."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"{torch.get_num_threads()} CPU threads"
    print(f"\n{title} ({device}, {platform.machine()}, torch {torch.__version__})")
    for name, value in seconds.items():
        print(f"  {name:<55} {value / seconds[ours]:8.2f} x   ({1e3 * value:.1f} ms)")
