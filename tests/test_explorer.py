"""The page to click on holds what it was given and each sample's neighbours, needs nothing else,
and nothing in a class name gets out of it."""

import base64
import dataclasses
import html
import io
import json
import math
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgb
from PIL import Image

import write_explorer
from hmlc_core import files, pretrain
from study import explorer, figures, maps, plan


@pytest.fixture
def parts(dataset):
    names = [["</script><b>", *dataset.class_names[0][1:]], dataset.class_names[1]]
    data = dataclasses.replace(dataset, class_names=names)
    rng = np.random.default_rng(0)
    points = {"split": rng.normal(size=(96, 2)), "g_hmlc": rng.normal(size=(96, 2))}
    vectors = {method: rng.normal(size=(96, 5)) for method in points}
    return data, points, vectors, {"g_hmlc": rng.integers(0, 2, (2, 96, 5))}


def stored(page):
    return json.loads(re.search(r"^const data = (.*);$", page, re.M).group(1))


def test_page_holds_points_labels_and_masks_of_each_method(parts):
    data, points, vectors, masks = parts
    page = stored(explorer.page(*parts))
    assert page["labels"] == data.labels.tolist() and page["class_names"] == data.class_names
    split, ours = page["methods"]
    assert (split["name"], ours["name"]) == ("control: split", "G-HMLC")
    assert split["masks"] is None
    for method, given in zip((split, ours), points.values()):
        drawn = np.array(method["points"])
        assert drawn.min() == 0 and drawn.max() == 1
        for axis in range(2):
            assert np.corrcoef(drawn[:, axis], given[:, axis])[0, 1] > 0.999
    packed = np.frombuffer(base64.b64decode(ours["masks"]), np.uint8).reshape(2, 96, 5)
    assert (packed == 255 * masks["g_hmlc"]).all()


def test_a_slider_goes_back_to_earlier_maps_neighbours_and_masks(parts):
    data, points, vectors, masks = parts
    before = {m: -x for m, x in points.items()}, {m: x[::-1] for m, x in vectors.items()}, {}
    page = stored(explorer.page(*parts, earlier={"3 of 7 epochs": before}))
    (then,) = page["earlier"]
    assert then["told"] == "3 of 7 epochs" and len(then["methods"]) == len(page["methods"])
    for k, (now, earlier) in enumerate(zip(page["methods"], then["methods"])):
        name = list(points)[k]
        assert np.allclose(np.add(now["points"], earlier["points"]), 1, atol=0.002)
        assert earlier["neighbours"] == explorer.neighbours(vectors[name][::-1], None, 2).tolist()
        assert earlier["masks"] is None
        own = explorer.neighbours(vectors[name], masks.get(name), 2)
        assert now["neighbours"] == own.tolist()


def test_earlier_parts_of_another_shape_are_refused(parts):
    data, points, vectors, masks = parts
    with pytest.raises(ValueError, match="of the same methods"):
        explorer.page(*parts, earlier={"1": ({}, vectors, masks)})


def test_page_holds_each_picture_at_its_place(parts):
    data, points, vectors, masks = parts
    page = stored(explorer.page(*parts))
    sheet = np.asarray(Image.open(io.BytesIO(base64.b64decode(page["sheet"]))))
    side = sheet.shape[1] // page["columns"]
    for i in (0, 37, 95):
        row, column = divmod(i, page["columns"])
        tile = sheet[row * side : (row + 1) * side, column * side : (column + 1) * side]
        picture = Image.fromarray(data.images[i, :, :, 0]).resize((side, side))
        assert (tile == np.asarray(picture)).all()


def test_colours_are_those_of_the_maps_in_figures(parts):
    page = stored(explorer.page(*parts))
    for colours in page["colours"]:
        assert len(colours) == 10
        wanted = figures.class_colours(10)[:10]
        assert np.allclose([to_rgb(colour) for colour in colours], wanted, atol=0.003)


def test_soft_masks_keep_their_proportions(parts):
    data, points, vectors, _ = parts
    soft = np.linspace(0, 2, 2 * 96 * 5).reshape(2, 96, 5)
    page = stored(explorer.page(data, points, vectors, {"g_hmlc": soft}))
    packed = np.frombuffer(base64.b64decode(page["methods"][1]["masks"]), np.uint8)
    wanted = np.clip(soft.ravel() / np.quantile(soft, 0.98), 0, 1)
    assert np.allclose(packed / 255, wanted, atol=0.003)


def nearest(vectors, i, count):
    """The neighbours of sample i, one cosine after another."""
    cosines = []
    for j in range(len(vectors)):
        lengths = math.sqrt(sum(x * x for x in vectors[i])) * math.sqrt(
            sum(y * y for y in vectors[j])
        )
        product = sum(x * y for x, y in zip(vectors[i], vectors[j]))
        cosines.append(product / lengths if lengths else 0)
    others = [j for j in range(len(vectors)) if j != i]
    return sorted(others, key=lambda j: -cosines[j])[:count]


def test_neighbours_are_the_nearest_by_what_the_mask_of_the_level_leaves():
    rng = np.random.default_rng(1)
    vectors, masks = (
        rng.normal(size=(30, 7)),
        rng.random((3, 30, 7)) * (rng.random((3, 30, 7)) < 0.6),
    )
    masks[1, 4] = 0  # nothing is left of a sample
    found = explorer.neighbours(vectors.astype(np.float32), masks.astype(np.float32), 3, count=4)
    assert found.shape == (3, 30, 4)
    for level in range(3):
        left = [[float(x) for x in row] for row in vectors.astype(np.float32) * masks[level]]
        assert found[level].tolist() == [nearest(left, i, 4) for i in range(30)]


def test_neighbours_without_masks_are_the_same_at_all_levels():
    vectors = np.random.default_rng(2).normal(size=(5, 3))
    found = explorer.neighbours(vectors, None, 2)
    wanted = [nearest(vectors.tolist(), i, 6) for i in range(5)]  # four others are all there are
    assert found.tolist() == [wanted, wanted]


def test_page_holds_neighbours_and_how_many_are_of_the_class(parts):
    data, points, vectors, masks = parts
    data.labels[:40, 1] = -1
    page = stored(explorer.page(*parts))
    for method, name in zip(page["methods"], points):
        near = explorer.neighbours(vectors[name], masks.get(name), 2)
        assert method["neighbours"] == near.tolist() and near.shape == (2, 96, 6)
        for level, share in enumerate(method["shares"]):
            column = data.labels[:, level].tolist()
            pairs = [(column[i], column[j]) for i in range(96) for j in near[level, i]]
            known = [a == b for a, b in pairs if a >= 0 and b >= 0]
            assert share == pytest.approx(sum(known) / len(known), abs=1e-4)
    for level, chance in enumerate(page["chance"]):
        known = data.labels[data.labels[:, level] >= 0, level]
        same = sum(count * (count - 1) for count in np.bincount(known))
        assert chance == pytest.approx(same / (len(known) * (len(known) - 1)), abs=1e-4)


def test_share_of_labels_of_which_none_is_known_is_none():
    assert explorer.agreement(np.full(4, -1), np.array([[1], [2], [3], [0]])) is None


def test_title_stands_on_top_and_in_the_tab(parts):
    page = explorer.page(*parts, title="<i>$data & co")
    assert page.count("&lt;i&gt;$data &amp; co") == 2 and "<i>" not in page
    assert "<title>&lt;i&gt;" in page and "<h1>&lt;i&gt;" in page
    stored(page)


def test_page_loads_nothing_from_elsewhere(parts):
    page = explorer.page(*parts)
    assert not re.search(r"//[\w.-]+\.\w|@import|<link|<img|<iframe|\bsrc=|fetch\(|XMLHttp", page)
    assert re.findall(r"url\(([^$)]*)", page) == ["data:image/png;base64,"]


def test_page_follows_the_reader(parts):
    """What the browser is told of widths, colours, keys and names for those who do not see."""
    page = explorer.page(*parts)
    words = ['lang="en"', 'name="viewport"', "@media (prefers-color-scheme: dark)", "<noscript>"]
    words += [":focus-visible", "aria-live", "ariaLabel", "ariaPressed", "ArrowUp", "tabIndex: 0"]
    assert not [word for word in words if word not in page]
    lead = re.search(r'<p class="lead">(.*?)</p>', page, re.S).group(1)
    assert lead.strip().endswith(".") and lead.count(".") == 1 and len(lead.split()) < 50


def test_pictures_get_smaller_until_their_sheet_fits(monkeypatch):
    noise = np.random.default_rng(0).integers(0, 256, (9, 64, 64, 3), np.uint8)
    widths = []
    for most in (200_000, 80_000, 30_000, 10):
        monkeypatch.setattr(explorer, "MOST", most)
        png = base64.b64decode(explorer._sheet(noise, 3))
        widths.append(Image.open(io.BytesIO(png)).width)
    assert widths == [3 * 64, 3 * 48, 3 * 32, 3 * 32]


def test_no_class_name_ends_the_script(parts):
    page = explorer.page(*parts)
    assert page.count("</script>") == 1 and page.endswith("</script>\n</html>\n")
    frame = explorer.frame(page)
    assert frame.count("<") == 4 and html.unescape(frame).count("</script>") == 1


def test_map_with_other_points_is_refused(parts):
    data, points, vectors, masks = parts
    with pytest.raises(ValueError, match=r"the map of split must be \[96, 2\], not \[95, 2\]"):
        explorer.page(data, points | {"split": points["split"][1:]}, vectors, masks)


def test_embeddings_of_other_samples_are_refused(parts):
    data, points, vectors, masks = parts
    wrong = vectors | {"split": vectors["split"][1:]}
    with pytest.raises(ValueError, match=r"embeddings of split must be \[96, 5\], not \[95, 5\]"):
        explorer.page(data, points, wrong, masks)


def test_masks_of_other_samples_are_refused(parts):
    data, points, vectors, masks = parts
    wrong = {"g_hmlc": masks["g_hmlc"][:, 6:]}
    with pytest.raises(ValueError, match=r"g_hmlc must be \[2, 96, 5\], not \[2, 90, 5\]"):
        explorer.page(data, points, vectors, wrong)


def test_other_methods_are_refused(parts):
    data, points, vectors, masks = parts
    del vectors["split"]
    with pytest.raises(ValueError, match="of the same methods"):
        explorer.page(data, points, vectors, masks)


def test_script_writes_the_page_of_finished_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(write_explorer, "PICTURES", 60)
    monkeypatch.setattr(write_explorer, "SHOWN", ("hmce_released", "split", "g_hmlc"))
    for method in ("hmce_released", "g_hmlc"):
        settings = plan.usual_settings("smoke", plan.MNIST, method)
        pretrain(plan.MNIST, method, settings, 1, progress=False)
    out = tmp_path / "docs" / "explorer.html"
    write_explorer.main(["--profile", "smoke", "--seed", "1", "--out", str(out)])
    said = capsys.readouterr().out
    assert (
        "split is left out" in said and "hierarchical_mnist split --profile smoke --seed 1" in said
    )
    text = out.read_text(encoding="utf-8")
    assert "<h1>Hierarchical MNIST: 60 test pictures, seed 1, 1 epoch of training</h1>" in text
    assert out.stat().st_size < 5e6 and str(tmp_path) not in text
    page = stored(text)
    assert [m["name"] for m in page["methods"]] == ["HMCE (released)", "G-HMLC"]
    assert [m["masks"] is None for m in page["methods"]] == [True, False]
    assert len(page["labels"]) == 60


def test_script_goes_back_in_training_if_asked(tmp_path, monkeypatch):
    for name, value in (("PICTURES", 60), ("SHOWN", ("split", "g_hmlc")), ("EARLIER", (1, 2, 3))):
        monkeypatch.setattr(write_explorer, name, value)
    three = replace(plan.usual_settings("smoke"), epochs=3)
    monkeypatch.setattr(plan, "usual_settings", lambda *_: three)
    runs = {m: pretrain(plan.MNIST, m, three, 0, progress=False) for m in write_explorer.SHOWN}
    out = tmp_path / "explorer.html"
    write_explorer.main(["--profile", "smoke", "--out", str(out), "--slider"])
    page, test = stored(out.read_text(encoding="utf-8")), runs["g_hmlc"].data("test")
    told = [one["told"] for one in page["earlier"]]
    assert told == ["1 of 3 epochs", "2 of 3 epochs"]
    kept = pretrain(plan.MNIST, "g_hmlc", three, 0, folder=files.DATA / "runs" / "snapshots",
                    progress=False)  # fmt: skip
    assert torch.equal(kept.embeddings("test"), runs["g_hmlc"].embeddings("test"))
    few = maps.shown(test, 60)
    for epoch, one in zip((1, 2), page["earlier"]):
        run = kept.at(epoch)
        vectors, masks = run.embeddings(few).numpy(), run.level_masks(few).numpy()
        assert one["methods"][1]["neighbours"] == explorer.neighbours(vectors, masks, 2).tolist()


def test_script_takes_no_run_that_is_not_finished(monkeypatch, capsys):
    settings = plan.usual_settings("smoke")
    run = pretrain(plan.MNIST, "split", settings, progress=False)
    checkpoint = torch.load(run.folder / "checkpoint.pt", weights_only=True)
    torch.save(checkpoint | {"history": []}, run.folder / "checkpoint.pt")
    with pytest.raises(SystemExit, match="no run is finished"):
        write_explorer.main(["--profile", "smoke"])
    assert len(list((files.DATA / "runs").iterdir())) == 1  # and starts none
