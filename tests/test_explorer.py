"""The page to click on holds what it was given, and nothing in a class name gets out of it."""

import base64
import dataclasses
import html
import io
import json
import re

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from PIL import Image

from study import explorer, figures


@pytest.fixture
def parts(dataset):
    names = [["</script><b>", *dataset.class_names[0][1:]], dataset.class_names[1]]
    data = dataclasses.replace(dataset, class_names=names)
    rng = np.random.default_rng(0)
    maps = {"split": rng.normal(size=(96, 2)), "g_hmlc": rng.normal(size=(96, 2))}
    return data, maps, {"g_hmlc": rng.integers(0, 2, (2, 96, 5))}


def stored(page):
    return json.loads(re.search(r"^const data = (.*);$", page, re.M).group(1))


def test_page_holds_points_labels_and_masks_of_each_method(parts):
    data, maps, masks = parts
    page = stored(explorer.page(data, maps, masks))
    assert page["labels"] == data.labels.tolist() and page["class_names"] == data.class_names
    split, ours = page["methods"]
    assert (split["name"], ours["name"]) == ("control: split", "G-HMLC")
    assert split["masks"] is None
    for method, points in zip((split, ours), maps.values()):
        drawn = np.array(method["points"])
        assert drawn.min() == 0 and drawn.max() == 1
        for axis in range(2):
            assert np.corrcoef(drawn[:, axis], points[:, axis])[0, 1] > 0.999
    packed = np.frombuffer(base64.b64decode(ours["masks"]), np.uint8).reshape(2, 96, 5)
    assert (packed == 255 * masks["g_hmlc"]).all()


def test_page_holds_each_picture_at_its_place(parts):
    data, maps, masks = parts
    page = stored(explorer.page(data, maps, masks))
    sheet = np.asarray(Image.open(io.BytesIO(base64.b64decode(page["sheet"]))))
    side = explorer.THUMB
    for i in (0, 37, 95):
        row, column = divmod(i, page["columns"])
        tile = sheet[row * side : (row + 1) * side, column * side : (column + 1) * side, 0]
        picture = Image.fromarray(data.images[i, :, :, 0]).resize((side, side))
        assert (tile == np.asarray(picture)).all()


def test_colours_are_those_of_the_maps_in_figures(parts):
    page = stored(explorer.page(*parts))
    for colours in page["colours"]:
        assert len(colours) == 10
        wanted = figures.class_colours(10)[:10]
        assert np.allclose([to_rgb(colour) for colour in colours], wanted, atol=0.003)


def test_soft_masks_keep_their_proportions(parts):
    data, maps, _ = parts
    soft = np.linspace(0, 2, 2 * 96 * 5).reshape(2, 96, 5)
    page = stored(explorer.page(data, maps, {"g_hmlc": soft}))
    packed = np.frombuffer(base64.b64decode(page["methods"][1]["masks"]), np.uint8)
    wanted = np.clip(soft.ravel() / np.quantile(soft, 0.98), 0, 1)
    assert np.allclose(packed / 255, wanted, atol=0.003)


def test_no_class_name_ends_the_script(parts):
    page = explorer.page(*parts)
    assert page.count("</script>") == 1 and page.rstrip().endswith("</script>")
    frame = explorer.frame(page)
    assert frame.count("<") == 4 and html.unescape(frame).count("</script>") == 1


def test_map_with_other_points_is_refused(parts):
    data, maps, masks = parts
    with pytest.raises(ValueError, match=r"the map of split must be \[96, 2\], not \[95, 2\]"):
        explorer.page(data, {"split": maps["split"][1:]}, masks)


def test_masks_of_other_samples_are_refused(parts):
    data, maps, masks = parts
    with pytest.raises(ValueError, match=r"masks of g_hmlc must be \[2, 96, D\], not \[2, 90, 5\]"):
        explorer.page(data, maps, {"g_hmlc": masks["g_hmlc"][:, 6:]})
