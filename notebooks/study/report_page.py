"""A page about one's own data: results first, then what they rest on; all in one html file."""

import base64
import html
import io
from dataclasses import dataclass, fields
from pathlib import Path
from string import Template

import numpy as np
from PIL import Image

from hmlc_core import files
from hmlc_core.settings import Settings

DOTS, FEW_DOTS = 150, 75  # an inch, of pictures of the page, of those in a notebook
OPEN = 20  # classes of a level whose counts are shown at once
MAP = "map of "  # begins the name of a map's figure, before the level's
CAPTIONS = {
    "masks": "Three test pictures. Rows: levels; columns: coordinates of the embedding; blue: what "
    "the mask of that level lets through.",
    "dendrogram": "Classes of the finest level, joined by how alike their mean features are.",
}


@dataclass
class Facts:
    """What a report tells.

    Attributes:
        train, test: HierarchicalDataset.
        way: sentence: pretrained or from scratch, and why.
        verdicts: sentences, see own_data.verdicts.
        table: data frame of texts, see own_data.accuracy_table.
        failed: {run: sentence}.
        drawn: {name: figure}: "map of <level>", "confused", "masks", "dendrogram"; any may lack.
        pairs: see own_data.confusions.
    """

    train: object
    test: object
    way: str
    verdicts: list
    table: object
    failed: dict
    drawn: dict
    pairs: list


def report(facts, run, stored):
    """The page of a study of one's own data.

    Args:
        run: runs.Run that is to predict new files; stored: path of its training set.
    """
    return page(
        facts.train.name,
        [
            ("", result(facts)),
            ("The test pictures on a map", maps(facts)),
            ("What is confused", confused(facts)),
            ("What the masks pick", drawn(facts, "masks")),
            ("Which classes are alike", drawn(facts, "dendrogram")),
            ("What was noticed in the data", noticed(facts)),
            ("What there is", counts(facts.train, facts.test)),
            ("How to predict new files", how_to_predict(run, stored)),
        ],
    )


def summary(facts):
    """The result alone, to stand in a notebook: verdicts, table, and the finest level's map."""
    return "\n".join(result(facts) + maps(facts, FEW_DOTS)[-1:])


def page(name, sections):
    """The html text of a page.

    Args:
        name: of the data set.
        sections: list of (heading, [html]); no heading, or no html: none is shown.
    """
    body = "\n".join(_section(heading, parts) for heading, parts in sections if parts)
    title = html.escape(f"{name}: what was learned")
    template = Template(Path(__file__).with_suffix(".html").read_text())
    return template.substitute(title=title, body=f"<h1>{title}</h1>\n{body}")


def _section(heading, parts):
    title = f"<h2>{html.escape(heading)}</h2>\n" if heading else ""
    return title + "\n".join(parts)


def write(text, folder):
    """Write the page to a folder; returns its path."""
    path = Path(folder) / "report.html"
    with files.writing(path) as beside:
        beside.write_text(text, encoding="utf-8")
    return path


# ---------------------------------------------------------------- what a page is made of


def text(*sentences, kind=""):
    """A paragraph for each sentence."""
    return "\n".join(f'<p class="{kind}">{html.escape(sentence)}</p>' for sentence in sentences)


def bullets(sentences, kind=""):
    """A list of sentences."""
    items = "".join(f"<li>{html.escape(sentence)}</li>" for sentence in sentences)
    return f'<ul class="{kind}">{items}</ul>'


def table(frame, caption):
    """A data frame of texts, its index as first column."""
    head = "".join(f'<th scope="col">{html.escape(str(c))}</th>' for c in frame.columns)
    rows = "\n".join(_row(name, row) for name, row in zip(frame.index, frame.to_numpy()))
    return (
        f'<div class="wide"><table><caption>{html.escape(caption)}</caption>\n'
        f"<thead><tr><th></th>{head}</tr></thead>\n<tbody>{rows}</tbody></table></div>"
    )


def _row(name, values):
    cells = "".join(f"<td>{html.escape(str(value))}</td>" for value in values)
    return f'<tr><th scope="row">{html.escape(str(name))}</th>{cells}</tr>'


def picture(figure, caption, dots=DOTS):
    """A matplotlib figure inside the page, as JPEG, its caption under it."""
    stream, packed = io.BytesIO(), io.BytesIO()
    figure.savefig(stream, format="png", dpi=dots, facecolor="white")
    Image.open(stream).convert("RGB").save(packed, "jpeg", quality=85, optimize=True)
    source = base64.b64encode(packed.getvalue()).decode()
    said = html.escape(caption)
    return (
        f'<figure><img src="data:image/jpeg;base64,{source}" alt="{said}">'
        f"<figcaption>{said}</figcaption></figure>"
    )


def counts(train, test):
    """For each level a table of its classes: pictures to train on and to test on, with bars."""
    return [_counts_of(train, test, level) for level in range(len(train.level_names))]


def _counts_of(train, test, level):
    names = train.class_names[level]
    numbers = [_numbers(data.labels[:, level], len(names)) for data in (train, test)]
    most = max(int(numbers[0].max()), 1)
    rows = "\n".join(
        f'<tr><th scope="row">{html.escape(name)}</th><td>{a}</td><td>{b}</td>'
        f'<td><meter max="{most}" value="{a}">{a}</meter></td></tr>'
        for name, a, b in zip(names, *numbers)
    )
    unknown = sum(int((data.labels[:, level] < 0).sum()) for data in (train, test))
    said = f"{train.level_names[level]}: {len(names)} classes"
    said += f", {unknown} pictures without a label" * bool(unknown)
    return (
        f"<details{' open' * (len(names) <= OPEN)}><summary>{html.escape(said)}</summary>"
        '<div class="wide"><table><thead><tr><th>class</th><th>train</th><th>test</th><th></th>'
        f"</tr></thead>\n<tbody>{rows}</tbody></table></div></details>"
    )


def _numbers(labels, classes):
    return np.bincount(labels[labels >= 0], minlength=classes)


def result(facts):
    """What came out: the verdicts in words, the accuracies, and what failed."""
    caption = "linear accuracy in % on the test pictures; ± half of a 95 % interval over seeds"
    said = text(*facts.verdicts[:1], kind="lead") + text(*facts.verdicts[1:])
    parts = [said, table(facts.table, caption), text(facts.way, kind="faint")]
    if facts.failed:
        parts.insert(1, bullets(facts.failed.values(), "bad"))
    return parts


def maps(facts, dots=DOTS):
    """The maps, coarse to fine."""
    levels = [level for level in facts.test.level_names if MAP + level in facts.drawn]
    said = "t-SNE of test pictures: alike for the method lie close; a frame has the colour of its "
    texts = {level: f"{said}class of {level}." for level in levels}
    return [picture(facts.drawn[MAP + level], text, dots) for level, text in texts.items()]


def drawn(facts, name):
    """A figure with its caption, if it was drawn."""
    return [picture(facts.drawn[name], CAPTIONS[name])] if name in facts.drawn else []


def confused(facts):
    """The most confused classes side by side, and how often."""
    said = confused_in_words(facts.pairs, facts.test.class_names[-1])
    if "confused" not in facts.drawn:
        return [text(said)]
    return [text(said), picture(facts.drawn["confused"], "Framed: taken for the class beside it.")]


def confused_in_words(pairs, names):
    """Pairs of classes that were taken for each other."""
    if not pairs:
        return "No test picture was taken for one of another class of the finest level."
    if max(times for *_, times in pairs) == 1:
        shown = [f"{names[a]} and {names[b]}" for a, b, _ in pairs]
        return f"Taken for each other, one test picture each: {', '.join(shown)}."
    shown = [f"{names[a]} and {names[b]} ({times})" for a, b, times in pairs]
    return f"Most often taken for each other (test pictures): {', '.join(shown)}."


def noticed(facts):
    """The notes of the reader and of the division."""
    return [bullets(facts.test.notes) if facts.test.notes else text("Nothing.")]


# ---------------------------------------------------------------- how to go on


def recipe(run, stored, predicted="predictions.csv"):
    """Lines of Python, run in the folder `notebooks`, that predict new files with a run.

    Args:
        stored: path of the .npz of the run's training set.
    """
    defaults = Settings()
    chosen = {f.name: getattr(run.settings, f.name) for f in fields(Settings)}
    changed = [f"{k}={v!r}" for k, v in chosen.items() if v != getattr(defaults, k)]
    return f"""import sys

sys.path.insert(0, "..")

from hmlc_core import HierarchicalDataset, Settings, pretrain
from study import predictions, variants  # methods of our own, too

train = HierarchicalDataset.load({str(stored)!r})
settings = Settings({", ".join(changed)})
run = pretrain(train, {run.method!r}, settings, {run.seed})     # loaded, if it was trained here
new_files = predictions.pictures_in("your new pictures")
table = predictions.predict(run, new_files)
table.to_csv({predicted!r}, index=False)
"""


def how_to_predict(run, stored):
    """How new files are predicted, with the lines that do so."""
    said = "In the notebook set new_files to your folder and run all cells: what was trained is "
    said += "kept. Or run these lines in the folder notebooks; they give each file's class at each "
    said += "level, with its probability."
    return [text(said), f"<pre>{html.escape(recipe(run, stored))}</pre>"]
