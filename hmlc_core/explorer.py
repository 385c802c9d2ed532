"""Maps of embeddings to click on: the chosen sample's picture, labels and masks, several methods side by side."""
import base64
import html
import io
import json
from pathlib import Path

import numpy as np
import seaborn as sns
from PIL import Image

THUMB = 48      # side in pixels of a stored picture


def page(dataset, maps, masks):
    """One HTML page with all in it: works without a kernel, a network or an extension, in JupyterLab, Colab and any browser.

    Args:
        dataset: HierarchicalDataset of the n samples shown (a thousand make a page of some MB).
        maps: {name of the method: float [n, 2]}; masks: {name: [L, n, D]}, of methods that have masks.

    Raises:
        ValueError: if a map has another number of points.
    """
    for name, points in maps.items():
        if points.shape != (len(dataset), 2):
            raise ValueError(f"the map of {name} must be [{len(dataset)}, 2], not {list(points.shape)}")
    columns = int(np.ceil(np.sqrt(len(dataset))))
    data = {"labels": dataset.labels.tolist(), "level_names": dataset.level_names, "class_names": dataset.class_names,
            "colours": [sns.color_palette("tab10" if count <= 10 else "husl", count).as_hex() for count in dataset.class_counts],
            "columns": columns, "sheet": _sheet(dataset.images, columns),
            "methods": [{"name": name, "points": _unit(points).round(4).tolist(), **_packed(masks.get(name))} for name, points in maps.items()]}
    text = json.dumps(data).replace("<", "\\u003c")       # no class name can end the script
    return Path(__file__).with_name("explorer.html").read_text().replace("$data", text, 1)


def frame(text, height=640):
    """The page as a frame for IPython.display.HTML; it grows to what it shows."""
    return f'<div><iframe srcdoc="{html.escape(text)}" width="100%" height="{height}" style="border: none"></iframe></div>'


def _unit(points):
    low, high = points.min(0), points.max(0)
    return (points - low) / np.maximum(high - low, 1e-9)


def _packed(masks):
    """Masks as bytes, 255 = the largest value (of the 98 % smallest)."""
    if masks is None:
        return {"masks": None}
    masks = np.asarray(masks)
    scaled = np.clip(masks / max(np.quantile(masks, 0.98), 1e-9), 0, 1)
    return {"masks": _text((255 * scaled).round().astype(np.uint8).tobytes()), "dim": masks.shape[2]}


def _sheet(images, columns):
    """All pictures in one PNG, row by row."""
    sheet = Image.new("RGB", (columns * THUMB, -(-len(images) // columns) * THUMB))
    for i, image in enumerate(images):
        sheet.paste(Image.fromarray(image.squeeze()).resize((THUMB, THUMB)), (i % columns * THUMB, i // columns * THUMB))
    stream = io.BytesIO()
    sheet.save(stream, "png", optimize=True)
    return _text(stream.getvalue())


def _text(data):
    return base64.b64encode(data).decode()
