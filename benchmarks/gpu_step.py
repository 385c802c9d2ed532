"""Where the time of a training step of profile gpu goes on this machine, a CPU or a GPU, and what a
run takes at that pace: gpu_hours.py counts the encoder's part alone. Minutes on a CPU."""

from common import WHOLE, median_seconds, report, step_parts

from hmlc_core import devices
from hmlc_core.settings import preset
from study import work


def parts(kind, channels, classes):
    settings = preset("gpu", kind)
    device = devices.best_device()
    ways = step_parts(settings, classes, channels, device=device)
    title = f"{kind}, {settings.encoder} at {settings.canvas}, batch {settings.batch_size}"
    seconds = median_seconds(ways, rounds=2)
    report(title, seconds, WHOLE, device)
    steps = settings.epochs * (settings.train_size // settings.batch_size)
    print(f"  {steps:,} steps of a run at this pace: {work.clock(steps * seconds[WHOLE])}")


if __name__ == "__main__":
    parts("cifar100", 3, [20, 100])
    parts("hierarchical_mnist", 1, [10, 10])
