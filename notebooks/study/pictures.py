"""The pictures of RESULTS.md, each drawn of the numbers in one place: notebooks and texts show the
same file."""

from functools import partial

from study import claims, figures, plan, sentences, tables
from study.plan import MNIST

SHOWN = ("cross_entropy", "hmce_paper", "hmce_released", "shared", "split", "g_hmlc", "a_hmlc")


def finding(datasets, numbers):
    panels = tables.finding(numbers, datasets)
    return figures.differences(panels) if all(panels.values()) else None


def against_epochs(dataset, numbers):
    points = tables.budget_points(claims.of_budgets(numbers, dataset), dataset)
    points = points[points.method.isin(SHOWN)]
    if points.epochs.nunique() < 2:
        return None
    return figures.accuracy_against_epochs(points, figures.ordered_levels(points.level))


def every_run(numbers):
    several = sentences.several(numbers, MNIST)
    return figures.every_run(tables.runs(numbers, MNIST)) if several else None


def what_came_out(numbers):
    columns = claims.overview(numbers)
    return figures.claims_map(columns, claims.headed(), counted=True) if columns else None


def temperature_turns(numbers):
    columns = claims.by_temperature(numbers)
    return figures.claims_map(columns, claims.headed()) if len(columns) == 4 else None


def budget_turns(dataset, numbers):
    columns = claims.by_budget(claims.of_budgets(numbers, dataset), dataset)
    several = len({name for _, name in columns}) > 1
    return figures.claims_map(columns, claims.headed()) if several else None


def mask_stability(numbers):
    curves = tables.settling(numbers)
    return figures.agreement_over_epochs(curves) if curves else None


def information_of_parts(dataset, numbers):
    parts = tables.bits(numbers, dataset)
    classes = tables.CLASSES.get(plan.variant_of(dataset), {})
    title = figures.dataset_name(dataset)
    return figures.information_of_parts(parts, classes, title) if parts else None


DRAWN = {
    "finding": partial(finding, plan.TABLE1),
    "finding_grocery": partial(finding, ["grocery"]),
    "finding_mnist": partial(finding, [MNIST]),
    "every_run_mnist": every_run,
    "mask_stability": mask_stability,
    "what_came_out": what_came_out,
    "temperature_turns": temperature_turns,
}
BUDGETS = (MNIST, "cifar100", "modelnet10")  # trained for several numbers of epochs
DRAWN |= {f"accuracy_against_epochs_{name}": partial(against_epochs, name) for name in BUDGETS}
DRAWN |= {f"budget_turns_{name}": partial(budget_turns, name) for name in BUDGETS}
DRAWN |= {
    f"information_of_parts_{name}": partial(information_of_parts, name) for name in figures.DATASETS
}


def draw(numbers, name):
    """The matplotlib figure with this name, a key of DRAWN; None where nothing of it was run."""
    return DRAWN[name](numbers)


def show(numbers, name):
    """Draw and save a figure in a notebook, or say that there is none."""
    figure = draw(numbers, name)
    if figure is None:
        print(f"{name}: not run, and not in the reference of this profile")
    else:
        figures.save(figure, name, numbers.profile)
