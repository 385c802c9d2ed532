"""Maps of embeddings to click on: the chosen sample's picture, labels and masks, by method."""

import base64
import html
import io
import json
from pathlib import Path

import numpy as np
from matplotlib.colors import to_hex
from PIL import Image

from study import figures

THUMB = 48  # side in pixels of a stored picture


def page(dataset, maps, masks):
    """One HTML page with all in it: works without a kernel, a network or an extension.

    Args:
        dataset: HierarchicalDataset of the n samples shown (a thousand make a page of some MB).
        maps: {method: float [n, 2]}.
        masks: {method: [L, n, D]}, of methods that have masks.

    Raises:
        ValueError: if a map has another number of points, or masks another number of samples.
    """
    _check(dataset, maps, masks)
    columns = int(np.ceil(np.sqrt(len(dataset))))
    methods = [_method(method, points, masks.get(method)) for method, points in maps.items()]
    data = {
        "labels": dataset.labels.tolist(),
        "level_names": dataset.level_names,
        "class_names": dataset.class_names,
        "colours": [_colours(count) for count in dataset.class_counts],
        "columns": columns,
        "sheet": _sheet(dataset.images, columns),
        "methods": methods,
    }
    text = json.dumps(data).replace("<", "\\u003c")  # no class name can end the script
    return Path(__file__).with_name("explorer.html").read_text().replace("$data", text, 1)


def _check(dataset, maps, masks):
    n = len(dataset)
    for method, points in maps.items():
        if points.shape != (n, 2):
            raise ValueError(f"the map of {method} must be [{n}, 2], not {list(points.shape)}")
    for method, values in masks.items():
        if values.shape[:2] != (len(dataset.level_names), n):
            wanted = f"[{len(dataset.level_names)}, {n}, D]"
            raise ValueError(f"masks of {method} must be {wanted}, not {list(values.shape)}")


def frame(text, height=640):
    """The page as a frame for IPython.display.HTML; it grows to what it shows."""
    source = f'srcdoc="{html.escape(text)}"'
    style = f'width="100%" height="{height}" style="border: none"'
    return f"<div><iframe {source} {style}></iframe></div>"


def _colours(count):
    return [to_hex(colour) for colour in figures.class_colours(count)[:count]]


def _method(method, points, masks):
    """What the page knows of a method: its name, its map in 0..1, and its masks as bytes."""
    entry = {"name": figures.method_name(method), "points": _unit(points).round(4).tolist()}
    if masks is None:
        return entry | {"masks": None}
    return entry | {"masks": _text(_bytes(masks)), "dim": masks.shape[2]}


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
    """All pictures in one PNG, row by row, as base64 text."""
    rows = -(-len(images) // columns)
    sheet = Image.new("RGB", (columns * THUMB, rows * THUMB))
    for i, image in enumerate(images):
        picture = Image.fromarray(image.squeeze()).resize((THUMB, THUMB))
        sheet.paste(picture, (i % columns * THUMB, i // columns * THUMB))
    stream = io.BytesIO()
    sheet.save(stream, "png", optimize=True)
    return _text(stream.getvalue())


def _text(data):
    return base64.b64encode(data).decode()
