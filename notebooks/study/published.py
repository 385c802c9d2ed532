"""run_all.sh --publish: the outputs of executed notebooks go into the committed ones.

What is committed is what a reader sees on the web: pictures, tables and text, no progress bars, no
warnings, no times of papermill, nothing of the machine. A hash of the code in the notebook's
metadata says which code the outputs are of.
"""

import base64
import io
import os
import re
import tempfile
from hashlib import blake2b
from pathlib import Path

import nbformat
import numpy as np
from PIL import Image

from hmlc_core import files
from study import options

MOST_BYTES = 500_000  # of a notebook
SCALES = (1, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3)  # of pictures, until a notebook fits
PNG, JPEG = "image/png", "image/jpeg"
KEEP_RARE = Image.Quantize.MAXCOVERAGE  # of colours: a single blue mark must not turn grey
METADATA = "hmlc"  # key in a notebook's metadata
INJECTED = "injected-parameters"  # papermill's tag

# Whole paths of homes, temporary and mounted folders, of any machine.
LOCAL = re.compile(
    r"(?<![\w.~\]])/(?:home|root|tmp|var|Users|mnt|media|opt|private|srv|work|workspace|content)"
    r"/[\w.@/+-]*|\b[A-Z]:\\\\?Users\b[^\s\"']*"
)


class Local(Exception):
    """Something of the machine is in an output."""


def publish(profile, notebooks=None):
    """Write the outputs of a profile's executed notebooks into the committed ones.

    Nothing is written unless all of them can be.

    Raises:
        FileNotFoundError: if a notebook was not run.
        ValueError: if one is not what was run, or too large.
        Local: if a path of this machine stays in an output.
    """
    ready = {}
    for path in notebooks or options.NOTEBOOKS:
        executed = files.DATA / "executed" / f"{profile}-{path.name}"
        if not executed.exists():
            raise FileNotFoundError(f"{executed} is not there: run all notebooks first")
        sources, outputs = nbformat.read(path, 4), nbformat.read(executed, 4)
        ready[path] = with_outputs(sources, outputs, path.name)
    for path, text in ready.items():
        with files.writing(path) as beside:
            beside.write_text(text, encoding="utf-8")


def with_outputs(notebook, executed, name):
    """The text of a notebook with the outputs of its executed copy.

    Raises:
        ValueError: if the code is not that which was run, or it stays too large.
        Local: if a path of this machine stays in an output.
    """
    ran = [cell for cell in executed.cells if INJECTED not in cell.metadata.get("tags", [])]
    ran = [cell for cell in ran if cell.cell_type == "code"]
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    if [cell.source for cell in code] != [cell.source for cell in ran]:
        raise ValueError(f"{name} was changed since it was run: run again")
    if not ran[-1].outputs:
        raise ValueError(f"{name} was not run to its end: run again")
    for number, (cell, done) in enumerate(zip(code, ran), 1):
        cell.execution_count = number
        cell.outputs = [clean(output, number) for output in done.outputs if is_shown(output)]
        refuse_local(cell, name)
    notebook.metadata[METADATA] = {"sources": sources_hash(notebook)}
    return fitting(notebook, name)


def sources_hash(notebook):
    """A hash of the sources of a notebook's code cells."""
    digest = blake2b(digest_size=8)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            digest.update(cell.source.encode() + b"\0")
    return digest.hexdigest()


BAR = re.compile(r"[^\n]*\d%\|[^\n]*")  # a line of tqdm


def is_shown(output):
    """Whether an output is for readers of a committed notebook: no error stream, no progress bar,
    no whole page in a frame, which the web would not show."""
    data = output.get("data", {})
    framed = "<iframe" in "".join(data.get("text/html", ""))
    widget = "application/vnd.jupyter.widget-view+json" in data
    text = "".join(output.get("text", ""))
    bar = BAR.search(text) and not BAR.sub("", text).strip()
    return output.get("name") != "stderr" and not (widget or framed or bar)


def clean(output, number):
    """An output without times and paths; of lines written over each other the last."""
    kept = nbformat.from_dict(dict(output))
    if "metadata" in kept:
        kept.metadata = {}
    if kept.output_type == "execute_result":
        kept.execution_count = number
    if kept.output_type == "stream":
        kept.text = without_paths(re.sub(r"[^\n]*\r(?!\n)", "", kept.text))
    texts = {kind: text for kind, text in kept.get("data", {}).items() if is_text(kind, text)}
    for kind, text in texts.items():
        kept.data[kind] = without_paths(text)
    return kept


def is_text(kind, body):
    return isinstance(body, str) and (not kind.startswith("image/") or kind == "image/svg+xml")


def without_paths(text):
    """Text in which the folders of this machine have names."""
    named = {files.CODE: "[project]", files.WORK: "[work]", Path.home(): "~"}
    named |= {Path(tempfile.gettempdir()): "[temp]"}
    if os.environ.get("HMLC_DATA"):
        named[Path(os.environ["HMLC_DATA"]).expanduser()] = "[data]"
    for folder in sorted(named, key=lambda folder: -len(str(folder))):
        if len(folder.parts) > 1:  # not "/"
            whole = rf"(?<![\w.~]){re.escape(str(folder))}(?![\w.-])"
            text = re.sub(whole, named[folder], text)
    return text


def local_texts(cell):
    """What looks like a path of a machine in the outputs of a cell."""
    bodies = []
    for output in cell.outputs:
        bodies += [output.get("text", ""), *map(str, output.get("traceback", []))]
        bodies += [b for kind, b in output.get("data", {}).items() if is_text(kind, b)]
    return [found for body in bodies for found in LOCAL.findall(body)]


def refuse_local(cell, name):
    """Look for paths in the outputs of a cell.

    Raises:
        Local: if there is one of a machine, with cell and text.
    """
    found = local_texts(cell)
    if found:
        where = f"{name}, cell {cell.get('id', cell.execution_count)}"
        raise Local(f"{where}: '{found[0]}' is of this machine, and would be published")


def faults(notebook):
    """What is wrong with a notebook that is to be committed: a list of texts."""
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    outputs = [output for cell in code for output in cell.outputs]
    wrong = [f"of papermill: {key}" for key in notebook.metadata if key == "papermill"]
    wrong += [f"tag {INJECTED}" for c in code if INJECTED in c.metadata.get("tags", [])]
    wrong += [f"times of cell {c.id}" for c in code if {"papermill", "execution"} & {*c.metadata}]
    wrong += [f"local: {text}" for cell in code for text in local_texts(cell)]
    wrong += [f"not for readers: {o.get('name', 'widget')}" for o in outputs if not is_shown(o)]
    wrong += [f"error: {o.ename}" for o in outputs if o.output_type == "error"]
    said = notebook.metadata.get(METADATA, {}).get("sources")
    if outputs and said != sources_hash(notebook):
        wrong.append("the outputs are of other sources: clear them, or run_all.sh --publish")
    return wrong


def fitting(notebook, name):
    """The text of a notebook, its pictures as small as they have to be: first all are stored in
    fewer bytes (see smaller), then they shrink in turn, so that letters stay alike.

    Raises:
        ValueError: if it is too large with the smallest pictures.
    """
    pictures = [output.data for cell in notebook.cells for output in cell.get("outputs", [])
                if PNG in output.get("data", {})]  # fmt: skip
    originals = [data[PNG] for data in pictures]
    kinds = [PNG] * len(pictures)
    steps = [-1] * len(pictures)  # of SCALES; -1: as it was
    while size_of(notebook) >= MOST_BYTES:
        left = [k for k, step in enumerate(steps) if step + 1 < len(SCALES)]
        if not left:
            size = size_of(notebook)
            raise ValueError(f"{name} has {size:,} bytes, more than {MOST_BYTES:,}")
        largest = max(left, key=lambda k: (-steps[k], len(pictures[k][kinds[k]])))
        steps[largest] += 1
        del pictures[largest][kinds[largest]]
        kinds[largest], made = smaller(originals[largest], SCALES[steps[largest]])
        pictures[largest][kinds[largest]] = made
    return nbformat.writes(notebook) + "\n"


def size_of(notebook):
    return len(nbformat.writes(notebook).encode()) + 1


def smaller(picture, scale):
    """A PNG (base64) at this scale: (its kind, it), as JPEG, or in few colours where these are no
    further from the picture; what is smaller."""
    image = _decoded(picture).convert("RGBA")
    white = Image.new("RGBA", image.size, "white")
    image = Image.alpha_composite(white, image).convert("RGB")
    if scale < 1:
        image = image.resize([max(1, round(scale * side)) for side in image.size], Image.LANCZOS)
    jpeg = _encoded(image, "jpeg", quality=85)
    made = [(JPEG, jpeg)] + ([(PNG, picture.strip())] if scale == 1 else [])
    allowed = _distance(image, _decoded(jpeg))
    for colours in (64, 256):
        few = image.quantize(colours, KEEP_RARE, dither=Image.Dither.NONE)
        if _distance(image, few.convert("RGB")) <= allowed:
            made.append((PNG, _encoded(few, "png", optimize=True)))
    return min(made, key=lambda one: len(one[1]))


def _distance(image, other):
    """Root of the mean squared difference of two pictures."""
    return np.sqrt(np.square(np.float32(image) - np.float32(other)).mean())


def _decoded(text):
    return Image.open(io.BytesIO(base64.b64decode(text)))


def _encoded(image, kind, **options):
    written = io.BytesIO()
    image.save(written, kind, **options)
    return base64.b64encode(written.getvalue()).decode()
