"""The page to click on holds what it was given, and nothing in a class name gets out of it."""
import base64
import dataclasses
import html
import io
import json
import re

import numpy as np
import pytest
from PIL import Image

from hmlc_core import explorer


@pytest.fixture
def parts(dataset):
    data = dataclasses.replace(dataset, class_names=[["</script><b>", *dataset.class_names[0][1:]], dataset.class_names[1]])
    rng = np.random.default_rng(0)
    maps = {"one": rng.normal(size=(96, 2)), "two": rng.normal(size=(96, 2))}
    return data, maps, {"two": rng.integers(0, 2, (2, 96, 5))}


def stored(page):
    return json.loads(re.search(r"^const data = (.*);$", page, re.M).group(1))


def test_page_holds_points_labels_masks_and_pictures(parts):
    data, maps, masks = parts
    found = stored(explorer.page(data, maps, masks))
    assert found["labels"] == data.labels.tolist() and found["class_names"] == data.class_names
    assert [m["name"] for m in found["methods"]] == ["one", "two"] and found["methods"][0]["masks"] is None
    points = np.array(found["methods"][0]["points"])
    assert points.min() == 0 and points.max() == 1
    assert np.corrcoef(points[:, 0], maps["one"][:, 0])[0, 1] > 0.999
    packed = np.frombuffer(base64.b64decode(found["methods"][1]["masks"]), np.uint8).reshape(2, 96, 5)
    assert (packed == 255 * masks["two"]).all()
    sheet = np.asarray(Image.open(io.BytesIO(base64.b64decode(found["sheet"]))))
    row, column = divmod(37, found["columns"])
    tile = sheet[row * explorer.THUMB:(row + 1) * explorer.THUMB, column * explorer.THUMB:(column + 1) * explorer.THUMB, 0]
    own = np.asarray(Image.fromarray(data.images[37, :, :, 0]).resize((explorer.THUMB, explorer.THUMB)))
    assert (tile == own).all()


def test_no_class_name_ends_the_script(parts):
    page = explorer.page(*parts)
    assert page.count("</script>") == 1 and page.rstrip().endswith("</script>")
    assert explorer.frame(page).count("<") == 4 and html.unescape(explorer.frame(page)).count("</script>") == 1


def test_map_with_other_points_is_refused(parts):
    data, maps, masks = parts
    with pytest.raises(ValueError, match=r"the map of one must be \[96, 2\], not \[95, 2\]"):
        explorer.page(data, {"one": maps["one"][1:]}, masks)
