"""Where the time of a training step of profile gpu goes on this machine, a CPU or a GPU: what
gpu_hours.py counts is the encoder's part alone. Minutes on a CPU."""

from common import WHOLE, median_seconds, report, step_parts

from hmlc_core import devices
from hmlc_core.settings import preset


def parts(kind, channels, classes):
    settings = preset("gpu", kind)
    ways = step_parts(settings, classes, channels, device=devices.best_device())
    title = f"{kind}, {settings.encoder} at {settings.canvas}, batch {settings.batch_size}"
    report(title, median_seconds(ways, rounds=2), WHOLE)


if __name__ == "__main__":
    parts("cifar100", 3, [20, 100])
    parts("hierarchical_mnist", 1, [10, 10])
