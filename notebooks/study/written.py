"""README.md, RESULTS.md and docs/what_we_learned.md, written from the committed reference by
templates whose numbers and verdicts are filled in, so that text and data cannot part.

In a template {{ expression }} is replaced by its text, and the lines from <!-- if expression -->
to <!-- end --> stay only where the expression is true. An expression calls what sentences.py and
this module offer (see `words`); early.…, brief.…, cool.…, scratch.… and slow.… say the
same of other runs.
"""

import re
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import matplotlib.pyplot as plt
import pandas as pd

from hmlc_core import files
from study import figures, pictures, plan, results, sentences, tables
from study.plan import MNIST

TEMPLATES = files.CODE / "notebooks" / "study" / "templates"
TARGETS = ("README.md", "RESULTS.md", "docs/what_we_learned.md")
OFFERED = """
    has several seeds says swapped tail tally score unmasked identified settings parts
    budget_of_bits code rounding sources learned temperatures doubled crossings
    first_run highest ends average turned best_tried from_scratch scratch_doubled budget_rule
    settled reversed_by_doubling turned_by_doubling turned_by_rate last_doubling
    best_rates change
"""  # of sentences.py
NAMES = {
    "MNIST": MNIST,
    "DIGITS": plan.DIGITS_TUNING,
    "CIFAR": "cifar100",
    "MODELNET": "modelnet10",
    "GROCERY": "grocery",
    "THREE": plan.THREE,
    "TREE": plan.TREE,
    "SWAPPED": plan.SWAPPED,
    "TAIL50": plan.TAILS[1],
}
PICTURES = ("finding", "finding_grocery", "every_run_mnist", "what_came_out", "temperature_turns")
PICTURES += tuple(f"accuracy_against_epochs_{name}" for name in pictures.BUDGETS)
PICTURES += (f"budget_turns_{MNIST}", f"information_of_parts_{MNIST}")


def accuracies(numbers, dataset):
    """Linear accuracy of every method at each level of a data set, as a folded table; below it that
    of methods with a net from scratch, where it was run."""
    columns = [tables.Column(level, level, "linear_accuracy") for level in numbers.levels(dataset)]
    title = f"{figures.dataset_name(dataset)}: linear accuracy of every method, %"
    table = tables.cells(numbers, dataset, columns)
    scratch = tables.cells(numbers.tagged(plan.FROM_SCRATCH), dataset, columns)
    scratch["method"] = [f"{method}, from scratch" for method in scratch.method]
    return folded(title, pd.concat([table.astype(object), scratch]).fillna("–"))


def budgets(numbers, dataset=MNIST):
    """Linear accuracy on a data set at the short budget, whose temperature and learning rate all
    methods share, and at the usual one, where each has its own, also at that learning rate; folded.
    """
    short = numbers.tagged(tables.tag_of_short(numbers.profile, dataset))
    usual, few = tables.epochs_of(numbers, dataset), plan.SHORT[dataset]
    brief, long = f"{few['epochs']} epochs, T={few['temperature']}", f"{usual} epochs"
    views = {brief: short, long: numbers}
    if plan.own_rates(numbers.profile, dataset):
        rate = f", rate {plan.usual_settings(numbers.profile, dataset).learning_rate:g}"
        one = numbers.at_one_rate(dataset)
        views = {brief + rate: short, long + rate: one, f"{long}, own rate": numbers}
    views = {title: view for title, view in views.items() if view.methods(dataset)}
    methods = figures.ordered(key for view in views.values() for key in view.methods(dataset))
    parts = [_at_budget(view, dataset, title, methods) for title, view in views.items()]
    table = pd.DataFrame({"method": [figures.method_name(key) for key in methods]})
    title = f"{figures.dataset_name(dataset)}: linear accuracy by budget, %"
    return folded(title, pd.concat([table, *parts], axis=1))


def _at_budget(numbers, dataset, title, methods):
    """Columns of one budget: number of seeds, and linear accuracy at each level."""
    values = {level: numbers.values(dataset, level, "linear_accuracy")
              for level in numbers.levels(dataset)}  # fmt: skip
    first = next(iter(values.values()))
    columns = {f"{title}: seeds": [first[m].count() if m in first else "–" for m in methods]}
    for level, table in values.items():
        columns[level] = [tables.mean_text(table, method) for method in methods]
    return pd.DataFrame(columns)


def trials(numbers, dataset):
    """Linear accuracy of each method at each temperature of its longer trials on a validation set
    (a key of plan.LONGER), folded."""
    longer = tables.tag_of_longer(numbers.profile, dataset)
    table = tables.table_of_trials(tables.tried_values(numbers, dataset, "temperature", longer))
    title = f"{figures.dataset_name(dataset)}: trials of temperature, %"
    return folded(title, table.drop(columns="data set")) if len(table) else ""


def origin(numbers):
    """Runs, numbers, devices and commits of each data set, folded."""
    return folded("Runs, devices and commits", sentences.provenance(numbers))


def glance(numbers):
    """Mean linear accuracy of few methods on every data set."""
    return results.markdown(tables.at_a_glance(numbers))


def folded(title, table):
    """A table behind its title, which a reader opens."""
    body = results.markdown(table).replace(" ± ", "±")
    return f"<details><summary>{title}</summary>\n\n{body}\n\n</details>"


TABLES = (accuracies, budgets, trials, origin, glance)


def words(numbers):
    """What the expressions of a template may use."""
    tags = {"early": tables.tag_of_short(numbers.profile), "slow": _slow(numbers.profile)}
    tags["brief"] = tables.tag_of_short(numbers.profile, "cifar100")
    tags["scratch"] = plan.FROM_SCRATCH
    tags["cool"] = f"{tags['brief']}@t{plan.START_TEMPERATURE:g}"
    known = {**_offered(numbers), **NAMES, "epochs": tables.epochs_of(numbers)}
    known |= {"SCRATCH": plan.SCRATCH, "GLANCE": tables.GLANCE}
    views = {name: numbers.tagged(tag) for name, tag in tags.items()}
    known |= {name: SimpleNamespace(**_offered(view)) for name, view in views.items()}
    return known


def _offered(numbers):
    functions = [getattr(sentences, name) for name in OFFERED.split()] + [*TABLES, tables.epochs_of]
    return {function.__name__: partial(function, numbers) for function in functions}


def _slow(profile):
    """Behind a method's name where it was trained at a third of the learning rate."""
    usual = plan.usual_settings(profile)
    slower = replace(usual, learning_rate=plan.SLOWER(usual.learning_rate))
    return plan.run_label("", slower, usual)


def render(numbers, template):
    """The text of a template with its numbers.

    Raises:
        ValueError: if an expression is none, or a section has no end.
    """
    marks = re.findall(r"<!-- (if|end)\b", template)
    if marks != ["if", "end"] * (len(marks) // 2):
        raise ValueError("a section of the template is not closed, or in another")
    known = words(numbers)
    section = re.compile(r"<!-- if (.+?) -->\n(.*?)<!-- end -->\n", re.S)
    text = section.sub(lambda m: m[2] if evaluate(m[1], known) else "", template)
    text = re.sub(r"\{\{(.+?)\}\}", lambda m: str(evaluate(m[1], known)), text, flags=re.S)
    return re.sub(r"\n{3,}", "\n\n", text)


def evaluate(expression, known):
    """The value of an expression of a template.

    Raises:
        ValueError: with the expression, if it fails.
    """
    try:
        return eval(expression.strip(), {"__builtins__": {}}, known)
    except Exception as error:
        raise ValueError(f"{{{{{expression}}}}}: {type(error).__name__}: {error}") from error


def drawn(numbers):
    """{name: matplotlib figure} of those of PICTURES that there is anything of."""
    views = {f"information_of_parts_{MNIST}": sentences.view_with_bits(numbers)[0]}
    shown = {name: pictures.draw(views.get(name, numbers), name) for name in PICTURES}
    return {name: figure for name, figure in shown.items() if figure is not None}


def write(profile="cpu"):
    """Write TARGETS and draw the pictures of them, all from the committed reference.

    Returns:
        The paths of TARGETS.
    """
    numbers = sentences.read(profile)
    texts = rendered(numbers)
    for name, figure in drawn(numbers).items():
        with files.writing(files.CODE / "figures" / profile / f"{name}.png") as beside:
            figure.savefig(beside)
        plt.close(figure)
    for path, text in texts.items():
        with files.writing(path) as beside:
            beside.write_text(text)
    return list(texts)


def rendered(numbers):
    """{path of each of TARGETS: its text}."""
    texts = {}
    for name in TARGETS:
        path = files.CODE / name
        texts[path] = render(numbers, (TEMPLATES / path.name).read_text())
    return texts
