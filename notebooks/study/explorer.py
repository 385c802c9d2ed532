"""The explorer: one page on which a click shows what the levels of several methods know."""

import base64
import html
import io
import json
import re
from pathlib import Path

import numpy as np
from matplotlib.colors import to_hex
from PIL import Image

from hmlc_core.checks import require
from study import figures, maps

SIDES = (96, 64, 48, 32)  # of a stored picture, in pixels; the first whose sheet fits is taken
MOST = 2_000_000  # bytes of the sheet of pictures, so that the page stays under 5 MB
NEIGHBOURS = 6

ABOUT = {  # what stands under a method's name
    "hmce_paper": "No division: all numbers serve every level.",
    "hmce_released": "No division: all numbers serve every level.",
    "shared": "No division: all numbers serve every level.",
    "split": "A fixed division, the same for every picture.",
    "g_hmlc": "Divided anew for each picture, by the size of its numbers.",
    "a_hmlc": "A learned, soft division for each picture.",
}


def parts(runs, dataset):
    """Maps, embeddings and masks of runs, as page takes them.

    Args:
        runs: {method: runs.Run}.
        dataset: HierarchicalDataset of the n samples to show.
    """
    points = {method: maps.map_of(run, dataset) for method, run in runs.items()}
    return points, *_seen(runs, dataset)


def _seen(runs, dataset):
    """Embeddings and masks of runs."""
    masks = {method: run.level_masks(dataset) for method, run in runs.items()}
    return (
        {method: run.embeddings(dataset).numpy() for method, run in runs.items()},
        {method: values.numpy() for method, values in masks.items() if values is not None},
    )


def before(runs, dataset, epochs, points):
    """The same of the runs as they were after fewer epochs: {text: parts}, for a slider.

    Each map starts from the next later one, so that its dots move as little as they can.

    Args:
        runs: {method: runs.Run}, trained with snapshots.
        points: their maps at the end, as parts gives them.
    """
    earlier = {}
    for epoch in sorted(epochs, reverse=True):
        then = {method: run.at(epoch) for method, run in runs.items()}
        total = max(len(run.history) for run in runs.values())
        points = {m: maps.tsne(run.embeddings(dataset), points[m]) for m, run in then.items()}
        earlier[f"{epoch} of {total} epochs"] = (points, *_seen(then, dataset))
    return dict(reversed(earlier.items()))


def page(dataset, points, vectors, masks, title="Explorer", earlier=None):
    """One HTML page with all in it: works without a kernel, a network or an extension.

    Args:
        dataset: HierarchicalDataset of the n samples shown (a thousand make a page of some MB).
        points: maps, {method: float [n, 2]}.
        vectors: embeddings, {method: float [n, D]}, of the same methods.
        masks: {method: [L, n, D]}, of methods that have masks.
        title: what stands on top, plain text.
        earlier: what a slider goes back to, {text: (points, vectors, masks)}, oldest first.

    Raises:
        ValueError: if they are not of the same methods, n samples and L levels.
    """
    stages = {**(earlier or {}), "": (points, vectors, masks)}
    for given in stages.values():
        _check(dataset, *given)
    told = [{"told": text, "methods": _methods(dataset, *given)} for text, given in stages.items()]
    methods = [_about(key, vectors[key]) | one for key, one in zip(points, told.pop()["methods"])]
    text = json.dumps(_shown(dataset) | {"methods": methods, "earlier": told})
    words = {"title": html.escape(title)}
    words["data"] = text.replace("<", "\\u003c")  # no class name can end the script
    template = Path(__file__).with_name("explorer.html").read_text()
    return re.sub(r"\$(title|data)\b", lambda found: words[found[1]], template)


def _check(dataset, points, vectors, masks):
    n, levels = len(dataset), len(dataset.level_names)
    fits = set(masks) <= set(points) == set(vectors)
    require(fits, "maps and embeddings must be of the same methods, masks of some of these")
    for method, values in points.items():
        dim = vectors[method].shape[-1]
        _require_shape(f"the map of {method}", values, (n, 2))
        _require_shape(f"the embeddings of {method}", vectors[method], (n, dim))
        if method in masks:
            _require_shape(f"the masks of {method}", masks[method], (levels, n, dim))


def _require_shape(name, values, shape):
    wanted, found = list(shape), list(values.shape)
    require(wanted == found, f"{name} must be {wanted}, not {found}")


def _shown(dataset):
    """What the page knows of the samples."""
    columns = int(np.ceil(np.sqrt(len(dataset))))
    everyone = _others(len(dataset))
    return {
        "labels": dataset.labels.tolist(),
        "level_names": dataset.level_names,
        "class_names": dataset.class_names,
        "colours": [_colours(count) for count in dataset.class_counts],
        "chance": [agreement(column, everyone) for column in dataset.labels.T],
        "columns": columns,
        "sheet": _sheet(dataset.images, columns),
    }


def _others(n):
    """[n, n - 1]: all samples but the row's own."""
    return (np.arange(n)[:, None] + np.arange(1, n)) % n


def frame(text, height=900):
    """The page as a frame for IPython.display.HTML; it grows to what it shows."""
    source = f'srcdoc="{html.escape(text)}"'
    style = f'width="100%" height="{height}" style="border: none"'
    return f"<div><iframe {source} {style}></iframe></div>"


def _colours(count):
    return [to_hex(colour) for colour in figures.class_colours(count)[:count]]


def _about(method, vectors):
    """What the page knows of a method whatever it has learned."""
    words = {"name": figures.method_name(method), "about": ABOUT.get(method, "")}
    return words | {"dim": vectors.shape[1]}


def _methods(dataset, points, vectors, masks):
    """What the page knows of methods at a time: maps in 0..1, the neighbours of each sample at each
    level, the share of them that is of its class, and masks as bytes."""
    known = []
    for method in points:
        near = neighbours(vectors[method], masks.get(method), len(dataset.level_names))
        shares = [agreement(column, found) for column, found in zip(dataset.labels.T, near)]
        packed = _text(_bytes(masks[method])) if method in masks else None
        places = _unit(points[method]).round(3).tolist()
        known.append({"points": places, "neighbours": near.tolist(), "shares": shares,
                      "masks": packed})  # fmt: skip
    return known


def neighbours(vectors, masks, levels, count=NEIGHBOURS):
    """The samples most like each one at each level, nearest first: int [levels, n, <= count].

    By the cosine of what the level's mask leaves of the embeddings; without masks, of all. A sample
    of which a mask leaves nothing is equally far from all.

    Args:
        vectors: [n, D].
        masks: [levels, n, D], or None.
    """
    masks = np.ones((levels, 1, 1)) if masks is None else np.asarray(masks, np.float64)
    return np.stack([_nearest(part, count) for part in np.asarray(vectors, np.float64) * masks])


def _nearest(vectors, count):
    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    cosine = unit @ unit.T
    np.fill_diagonal(cosine, -np.inf)
    return np.argsort(-cosine, axis=1, kind="stable")[:, : min(count, len(vectors) - 1)]


def agreement(labels, near):
    """Share of neighbours that are of their sample's class, where both classes are known.

    Args:
        labels: [n], -1 = unknown.
        near: int [n, K].

    Returns:
        A number in 0..1, None if nothing is known.
    """
    own, other = labels[:, None], labels[near]
    known = (own >= 0) & (other >= 0)
    return round(float((own == other)[known].mean()), 4) if known.any() else None


def _unit(points):
    """Points moved and scaled into 0..1, each axis by itself."""
    low, high = points.min(0), points.max(0)
    return (points - low) / np.maximum(high - low, 1e-9)


def _bytes(masks):
    """Masks as bytes, 255 = the largest of the 98 % smallest values."""
    masks = np.asarray(masks)
    scaled = np.clip(masks / max(np.quantile(masks, 0.98), 1e-9), 0, 1)
    return (255 * scaled).round().astype(np.uint8).tobytes()


def _sheet(images, columns):
    """All pictures in one PNG of at most MOST bytes, or of the smallest side, as base64 text."""
    sides = [side for side in SIDES if side <= max(images.shape[1:3])] or SIDES[-1:]
    for side in sides:
        png = _png(images, columns, side)
        if len(png) <= MOST:
            break
    return _text(png)


def _png(images, columns, side):
    """Pictures in rows of `columns`, each side x side pixels."""
    rows = -(-len(images) // columns)
    sheet = Image.new("L" if images.shape[3] == 1 else "RGB", (columns * side, rows * side))
    for i, image in enumerate(images):
        picture = Image.fromarray(image.squeeze()).resize((side, side))
        sheet.paste(picture, (i % columns * side, i // columns * side))
    stream = io.BytesIO()
    sheet.save(stream, "png", optimize=True)
    return stream.getvalue()


def _text(data):
    return base64.b64encode(data).decode()
