"""A training step with its encoder compiled (torch.compile), beside the same without, and the
seconds that compiling takes before."""

from common import WHOLE, median_seconds, report, seconds_of, step_parts

from hmlc_core.settings import preset

PLAIN, COMPILED = "as it is", "encoder compiled"


def compare(kind, channels, classes):
    settings = preset("cpu", kind)
    ways = {
        name: step_parts(settings, classes, channels, compiled=name == COMPILED)[WHOLE]
        for name in (PLAIN, COMPILED)
    }
    first = seconds_of(ways[COMPILED])
    medians = median_seconds(ways)
    report(f"a step on {kind}, {settings.encoder}, G-HMLC", medians, PLAIN)
    print(f"  compiling: {first - medians[COMPILED]:.0f} s, once for each process")


if __name__ == "__main__":
    compare("cifar100", 3, [20, 100])
    compare("hierarchical_mnist", 1, [10, 10])
