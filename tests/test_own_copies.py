"""Identical pictures never stand on both sides of a division; nearly identical ones are shown."""

import re
import shutil
import time
import warnings
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from hmlc_core import HierarchicalDataset
from hmlc_core.data import own
from hmlc_core.data.similar import near_identical, same_pixels, thumbnails

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("seed", range(4))
def test_copies_of_one_picture_do_not_empty_its_class(seed):
    images = RNG.integers(0, 256, (16, 8, 8, 3), dtype=np.uint8)
    images[1:3] = images[0]  # class 0: one picture three times and another; class 1: four and two
    images[5:8] = images[4]
    labels = np.repeat([0, 1, 2], [4, 6, 6])[:, None]
    data = HierarchicalDataset(images, labels, ["kind"], [["a", "b", "c"]], "train")
    train, test = own.divide(data, np.arange(16), share=0.5, seed=seed)
    assert np.bincount(train.labels[:, 0]).min() >= 2
    assert not shared(train, test) and len(train) + len(test) == 16


def photo(path, seed, size=48, **how):
    """A smooth picture of its own for each seed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    small = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    Image.fromarray(small).resize((size, size), Image.Resampling.BICUBIC).save(path, **how)
    return path


def shared(train, test):
    """Pictures that are in both."""
    return {image.tobytes() for image in train.images} & {image.tobytes() for image in test.images}


def copied_files(root):
    for k in range(6):
        for name in ("IMG_%d.png", "Kopie von IMG_%d.png"):
            photo(root / "a" / (name % k), k)
            photo(root / "b" / (name % k), 100 + k)


def other_format(root):
    for k in range(6):
        for ending in ("png", "bmp", "tiff"):
            photo(root / "a" / f"{k}.{ending}", k)
            photo(root / "b" / f"{k}.{ending}", 100 + k)


def turned_and_linked(root):
    for k in range(6):
        for name in "ab":
            path = photo(root / name / f"{k}.png", k + 100 * (name == "b"))
            exif = Image.Exif()
            exif[0x0112] = 3
            Image.open(path).rotate(180).save(root / name / f"{k}-turned.png", exif=exif)
            (root / name / f"{k}-link.png").symlink_to(path)


def files_of_a_list(root):
    rows = ["file,kind"]
    for k in range(12):
        photo(root / f"{k}.png", k)
        rows += [f"{k}.png,{k % 2}", f"./{k}.png,{k % 2}", f"{k}.png,{k % 2}"]
    (root / "t.csv").write_text("\n".join(rows))
    return root / "t.csv"


@pytest.mark.parametrize("make", [copied_files, other_format, turned_and_linked, files_of_a_list])
@pytest.mark.parametrize("share", [0.2, 0.6])
def test_copies_stay_together(tmp_path, make, share):
    path = make(tmp_path) or tmp_path
    dataset, groups, _ = own.read(path, size=16)
    copies = 2 if make is copied_files else 3
    assert np.bincount(groups).tolist() == [copies] * 12
    assert any("identical" in note or "once more" in note for note in dataset.notes)
    for seed in range(5):
        train, test = own.divide(dataset, groups, share, seed)
        assert not shared(train, test) and len(test) and len(train) + len(test) == len(dataset)
        careless = own.divide(dataset, np.arange(len(dataset)), share, seed)  # no groups known
        assert not shared(*careless)


def test_copies_under_two_classes_are_named_and_never_tested(tmp_path):
    for k in range(5):
        photo(tmp_path / "cat" / f"{k}.png", k)
        photo(tmp_path / "dog" / f"{k}.png", 10 + k)
    shutil.copy(tmp_path / "cat" / "3.png", tmp_path / "dog" / "wrong.png")
    with pytest.warns(
        UserWarning, match=r"1 pictures have several labels .*3.png \(cat\).*wrong.png \(dog\)"
    ):
        dataset, groups, _ = own.read(tmp_path, size=16)
    twice = dataset.images[3].tobytes()
    for seed in range(9):
        train, test = own.divide(dataset, groups, 0.5, seed)
        assert not shared(train, test) and twice not in {image.tobytes() for image in test.images}


@pytest.mark.parametrize("header, first, second, tree", [
    ("maker,object", "a,p", "a,q", True), ("maker,colour", "a,", "b,", True),
    ("maker,colour", "ford,red", "audi,red", False),
])  # fmt: skip
def test_two_labels_of_one_picture_are_named_at_any_level(tmp_path, header, first, second, tree):
    rows = [f"0.png,{first}", f"0.png,{second}"]
    for k in range(12):
        photo(tmp_path / f"{k}.png", k)
        rows += [f"{k}.png,{(first, second)[k % 2]}"] if k else []
    (tmp_path / "t.csv").write_text("\n".join([f"file,{header}", *rows]))
    with pytest.warns(UserWarning, match="1 pictures have several labels at level"):
        dataset, groups, _ = own.read(tmp_path / "t.csv", size=16, tree=tree)
    twice = dataset.images[0].tobytes()
    for seed in range(20):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            _, test = own.divide(dataset, groups, 0.5, seed)
        assert twice not in {image.tobytes() for image in test.images}


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_no_division_shares_a_picture(data):
    count = data.draw(st.integers(4, 30))
    column = st.lists(st.integers(0, 7), min_size=count, max_size=count)
    pictures, fine, views = (np.array(data.draw(column)) for _ in range(3))
    fine = np.where(data.draw(st.booleans()), fine % 3, fine) - data.draw(st.integers(0, 1))
    images = np.zeros((count, 4, 4, 3), np.uint8) + pictures[:, None, None, None].astype(np.uint8)
    labels = np.stack([np.where(fine < 0, -1, fine // 2), fine], 1)
    parts = data.draw(
        st.sampled_from(
            [None, ("train", "test"), ("train", "validation"), ("train", "test", "validation")]
        )
    )
    parts = parts and np.array(parts)[np.array(data.draw(column)) % len(parts)]
    dataset = HierarchicalDataset(
        images, labels, ["a", "b"], [list("pqrs"), list("stuvwxyz")], parts=parts
    )
    try:
        train, test = own.divide(
            dataset,
            data.draw(st.sampled_from([views, np.arange(count)])),
            data.draw(st.floats(0.05, 0.95)),
        )
    except ValueError as error:
        known = "can be tested|nothing is left to train on|nothing can be learned of it|has a label"
        assert re.search(known, str(error))
    else:
        assert not shared(train, test) and len(test) > 0
        counts = [np.bincount(column[column >= 0], minlength=1) for column in train.labels.T]
        assert all((sizes != 1).all() for sizes in counts)


test_no_division_shares_a_picture = pytest.mark.filterwarnings("ignore")(
    test_no_division_shares_a_picture
)


def test_groups_are_merged_through_what_they_share():
    images = np.array([0, 1, 1, 2, 3, 4, 4, 5], np.uint8)[:, None, None, None] * np.ones(
        (1, 4, 4, 3), np.uint8
    )
    groups = np.array([7, 7, 3, 3, 9, 9, 2, 1])
    assert own.together(images, groups).tolist() == [0, 0, 0, 0, 1, 1, 1, 2]


@pytest.mark.parametrize("change", ["jpeg", "half", "webp"])
def test_near_copies_are_found_and_others_not(tmp_path, change):
    for k in range(20):
        path = photo(tmp_path / "a" / f"{k}.png", k, 128)
        photo(tmp_path / "b" / f"{k}.png", 100 + k, 128)
        if k < 4:
            image = Image.open(path)
            if change == "half":
                image.resize((64, 64), Image.Resampling.BOX).save(tmp_path / "a" / f"small{k}.png")
            else:
                image.save(tmp_path / "a" / f"again{k}.{change}", quality=80)
    dataset, groups, _ = own.read(tmp_path, size=32)
    note = next(note for note in dataset.notes if "nearly identical" in note)
    assert note.startswith("4 pictures") and len(set(groups)) == len(dataset) == 44
    assert ("small" if change == "half" else "again") in note
    near = near_identical(dataset.images)
    assert (near >= 0).sum() == 4 and (near[near >= 0] < 40).all()


def test_near_copies_across_a_division_are_counted(tmp_path):
    for part in ("train", "test"):
        for k in range(8):
            photo(
                tmp_path / part / "ab"[k % 2] / f"{k}.jpg",
                k + 50 * (part == "test" and k > 2),
                128,
                quality=95 if part == "train" else 70,
            )
    _, test = own.divide(*own.read(tmp_path, size=32)[:2])
    assert any(note.startswith("3 of 8 test pictures are nearly identical") for note in test.notes)


def test_nearest_by_blocks_is_the_nearest(monkeypatch):
    monkeypatch.setattr("hmlc_core.data.similar.BLOCK", 7)
    images = RNG.integers(0, 256, (40, 9, 13, 3), dtype=np.uint8)
    images[[11, 25, 39]] = np.clip(images[[3, 24, 0]].astype(int) + 1, 0, 255)
    assert np.flatnonzero(near_identical(images) >= 0).tolist() == [11, 25, 39]
    assert near_identical(images)[[11, 25, 39]].tolist() == [3, 24, 0]
    assert near_identical(images[[11, 5]], images[:4]).tolist() == [3, -1]
    whole = np.array(
        [image[:1, :1].mean((0, 1)) for image in images]
    )  # the first cell is one pixel
    assert np.allclose(thumbnails(images)[:, 0], whole)


@pytest.mark.parametrize("kind", ["noise", "black"])
def test_many_pictures_do_not_take_long(kind):
    images = np.zeros((12_000, 16, 16, 1), np.uint8)
    if kind == "noise":
        images = RNG.integers(0, 256, images.shape, dtype=np.uint8)
    start = time.perf_counter()
    assert len(np.unique(same_pixels(images))) == (12_000 if kind == "noise" else 1)
    assert (near_identical(images) >= 0).sum() == (0 if kind == "noise" else 11_999)
    assert time.perf_counter() - start < 20


def test_an_official_division_that_overlaps_loses_its_train_copies(tmp_path):
    for part, numbers in (("Train", range(10)), ("Test", range(8, 14))):
        for k in numbers:
            photo(tmp_path / part / ("even" if k % 2 == 0 else "odd") / f"{part}{k}.png", k)
    dataset, groups, _ = own.read(tmp_path, size=16)
    with pytest.warns(UserWarning, match="2 pictures of the train part are identical"):
        train, test = own.divide(dataset, groups)
    assert (len(train), len(test)) == (8, 6) and not shared(train, test)
    drawn = own.divide(replace(dataset, parts=None), groups)
    assert len(drawn[0]) + len(drawn[1]) == 16 and not shared(*drawn)
