"""Grocery Store photographs: lists and ids as they lie in a clone, checked, with what is odd
named."""

import os
import shutil
import zipfile
from collections import Counter
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hmlc_core import files
from hmlc_core.data import downloads, grocery
from hmlc_core.data.load import DATASETS, kind_of, load_dataset
from hmlc_core.settings import preset

SETTINGS = replace(preset("cpu", "grocery"), canvas=16)
KINDS = (  # folder, kind id, item id; the mushroom lies in a folder of its own, as in the original
    ("Fruit/Apple/Golden", 0, 0),
    ("Fruit/Apple/Royal", 1, 0),
    ("Fruit/Banana", 2, 1),
    ("Vegetables/Mushroom/White", 3, 2),
    ("Vegetables/Brown-Mushroom", 4, 2),
)
CLASSES = """Class Name (str),Class ID (int),Coarse Class Name (str),Coarse Class ID (int),Path
Golden,0,Apple,0,/x
Royal,1,Apple,0,/x
Banana,2,Banana,1,/x
White,3,Mushroom,2,/x
Brown-Mushroom,4,Mushroom,2,/x
"""
USER = os.environ.get("HMLC_DATA")  # before conftest takes it away
COUNTS = {"train": 3, "val": 1, "test": 2}


def clone(folder):
    """A clone with one picture of its own grey for each file."""
    root, grey = folder / grocery.NAME / "dataset", 0
    root.mkdir(parents=True)
    (root / "classes.csv").write_text(CLASSES)
    for part, count in COUNTS.items():
        lines = []
        for place, kind, item in KINDS:
            for number in range(count):
                path, grey = root / part / place / f"{kind}_{number}.jpg", grey + 5
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.new("RGB", (24, 20), (grey, grey, grey)).save(path)
                lines.append(f"{path.relative_to(root).as_posix()}, {kind}, {item}\n")
        (root / f"{part}.txt").write_text("".join(lines))
    return root


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("HMLC_DATA", str(tmp_path / "user"))
    return clone(tmp_path / "user")


def test_labels_are_those_of_the_lists(root):
    data = load_dataset("grocery", SETTINGS, "train")
    assert data.level_names == ["department", "item", "kind"] and data.split == "train"
    assert data.class_names == [
        ["Fruit", "Vegetables"],
        ["Apple", "Banana", "Mushroom"],
        ["Banana", "Brown-Mushroom", "Golden", "Royal", "White"],
    ]
    named = [
        [names[k] for names, k in zip(data.class_names, row)] for row in data.labels[::3].tolist()
    ]
    assert named == [
        ["Fruit", "Apple", "Golden"],
        ["Fruit", "Apple", "Royal"],
        ["Fruit", "Banana", "Banana"],  # ends early: its own only kind
        ["Vegetables", "Mushroom", "White"],
        ["Vegetables", "Mushroom", "Brown-Mushroom"],
    ]
    greys = data.images.reshape(15, -1).mean(1)
    assert np.allclose(greys, 5 * np.arange(1, 16), atol=1)
    assert data.images.shape == (15, 16, 16, 3)
    assert data.source == ("GroceryStoreDataset, pictures of short side 20, not the original files")


def test_the_official_splits_are_kept(root):
    sizes = {split: len(load_dataset("grocery", SETTINGS, split)) for split in grocery.LISTS}
    assert sizes == {"train": 15, "validation": 5, "test": 10}
    splits = [load_dataset("grocery", SETTINGS, split) for split in grocery.LISTS]
    assert all(data.class_names == splits[0].class_names for data in splits)
    for split, count in (("train", 15), ("test", 5)):
        tuning = load_dataset("grocery_tuning", SETTINGS, split)
        assert (len(tuning), tuning.split) == (count, split)
    assert kind_of("grocery") == "grocery" and DATASETS["grocery"].splits == tuple(grocery.LISTS)


def test_a_replaced_picture_is_read_anew(root):
    before = load_dataset("grocery", SETTINGS, "test")
    Image.new("RGB", (24, 20), "red").save(root / "test/Fruit/Banana/2_0.jpg")
    after = load_dataset("grocery", SETTINGS, "test")
    changed = (before.images != after.images).any((1, 2, 3))
    assert changed.tolist() == [False] * 4 + [True] + [False] * 5


def test_the_digest_is_that_of_sha256sum(root):
    paths = sorted(
        (p for part in COUNTS for p in (root / part).rglob("*.jpg")),
        key=lambda p: p.relative_to(root).as_posix().encode(),
    )
    text = "".join(
        f"{sha256(p.read_bytes()).hexdigest()}  {p.relative_to(root).as_posix()}\n" for p in paths
    )
    assert grocery._digest(grocery._hashes(root)) == sha256(text.encode()).hexdigest()


def test_an_original_clone_is_called_by_its_commit(root, monkeypatch):
    monkeypatch.setattr(grocery, "DIGEST", grocery._digest(grocery._hashes(root)))
    assert grocery.load(SETTINGS, "test").source == "GroceryStoreDataset at fc80ba9"


def test_unreadable_and_missing_pictures_are_named_counted_and_left_out(root):
    (root / "train/Fruit/Apple/Golden/0_1.jpg").write_bytes(b"no picture")
    (root / "train/Fruit/Banana/2_0.jpg").unlink()
    match = r"2 of 15 pictures of train.txt are left out: .*0_1.*2_0"
    with pytest.warns(UserWarning, match=match):
        data = load_dataset("grocery", SETTINGS, "train")
    assert len(data) == 13
    assert data.source.endswith("not the original files, 13 of 15 pictures of train.txt")
    with pytest.warns(UserWarning, match=match):  # from the cache
        assert "are left out" in load_dataset("grocery", SETTINGS, "train").notes[0]
    with pytest.warns(UserWarning, match=match):  # a run needs the same source of both
        assert load_dataset("grocery", SETTINGS, "test").source == data.source
    assert np.bincount(data.labels[:, 2]).tolist() == [2, 3, 2, 3, 3]
    greys = data.images.reshape(13, -1).mean(1)
    assert np.allclose(greys[:4], [5, 15, 20, 25], atol=1)


@pytest.mark.parametrize("copy", ["line", "file"])
def test_splits_that_share_a_picture_are_an_error(root, copy):
    if copy == "line":
        with open(root / "test.txt", "a") as stream:
            stream.write("train/Fruit/Banana/2_1.jpg, 2, 1\n")
    else:
        shutil.copy(root / "train/Fruit/Banana/2_1.jpg", root / "test/Fruit/Banana/2_1.jpg")
    with pytest.raises(ValueError, match="test split is train/Fruit/Banana/2_1.jpg of the train"):
        grocery.load(SETTINGS, "test")


def test_a_kind_that_is_only_tested_is_named(root):
    lines = (root / "train.txt").read_text().splitlines(keepends=True)
    (root / "train.txt").write_text("".join(line for line in lines if "/Royal/" not in line))
    with pytest.warns(UserWarning, match="1 kinds have no training picture: Fruit/Apple/Royal"):
        data = load_dataset("grocery", SETTINGS, "train")
    assert len(data) == 12 and len(data.class_names[2]) == 5
    assert data.source.endswith("original files, 1 kinds without a training picture")
    with pytest.warns(UserWarning, match="no training picture"):  # from the cache
        load_dataset("grocery", SETTINGS, "train")


def test_a_kind_whose_training_pictures_are_all_unreadable_is_named(root):
    shutil.rmtree(root / "train/Fruit/Banana")
    with pytest.warns(UserWarning) as said:
        grocery.load(SETTINGS, "test")
    texts = [str(warning.message) for warning in said]
    assert "3 of 15 pictures of train.txt are left out" in texts[0]
    assert texts[1] == "1 kinds have no training picture: Fruit/Banana/Banana"


def test_no_readable_picture_and_an_empty_list_are_errors(root):
    shutil.rmtree(root / "train")
    with pytest.raises(ValueError, match="none of the 15 pictures of .*train.txt .* unpack"):
        grocery.load(SETTINGS, "train")
    (root / "val.txt").write_text("\n")
    with pytest.raises(ValueError, match="val.txt lists no picture: unpack"):
        grocery.load(SETTINGS, "train")


@pytest.mark.parametrize("kind", ["folder", "link"])
def test_what_is_no_file_is_left_out_by_name(root, kind):
    path = root / "train/Fruit/Banana/2_0.jpg"
    path.unlink()
    path.mkdir() if kind == "folder" else path.symlink_to("nowhere")
    with pytest.warns(UserWarning, match="1 of 15 pictures .* are left out: .*2_0.jpg"):
        assert len(grocery.load(SETTINGS, "train")) == 14


def test_a_picture_without_permission_is_left_out_by_name(root, monkeypatch):
    def read_bytes(path, read=Path.read_bytes):  # the permissions of a file do not bind root
        if path.name == "2_0.jpg" and "train" in path.parts:
            raise PermissionError(13, "Permission denied", str(path))
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", read_bytes)
    (root / "train/Fruit/Banana/2_0.jpg").write_bytes(b"")
    with pytest.warns(UserWarning, match="1 of 15 pictures .* are left out: .*2_0.jpg"):
        assert len(grocery.load(SETTINGS, "train")) == 14


def test_a_line_that_is_there_twice_counts_once_and_blank_ones_not(root):
    text = (root / "train.txt").read_text().replace("\n", "\r\n  \r\n\r\n")
    (root / "train.txt").write_bytes((text + text.split("\r\n")[0]).encode("utf-8-sig"))
    data = grocery.load(SETTINGS, "train")
    assert len(data) == 15 and data.notes == []


def test_files_with_the_same_picture_of_two_kinds_are_an_error(root):
    shutil.copy(root / "train/Fruit/Banana/2_1.jpg", root / "train/Fruit/Apple/Royal/1_1.jpg")
    with pytest.raises(ValueError, match="of kind Banana is the same .* of kind Royal: remove"):
        grocery.load(SETTINGS, "train")


def test_empty_files_are_left_out_and_not_the_same_picture(root):
    for place in ("train/Fruit/Banana/2_1.jpg", "train/Fruit/Apple/Royal/1_1.jpg"):
        (root / place).write_bytes(b"")
    with pytest.warns(UserWarning, match="2 of 15 pictures .* are left out"):
        grocery.load(SETTINGS, "train")


def test_a_picture_of_two_kinds_is_an_error(root):
    with open(root / "train.txt", "a") as stream:
        stream.write("train/Fruit/Banana/2_0.jpg, 0, 0\n")
    with pytest.raises(ValueError, match=r"line 16: .*2_0.jpg is also of kind Banana: remove"):
        grocery.load(SETTINGS, "train")


@pytest.mark.parametrize(
    "line", ["train/Fruit/Banana/2_0.jpg, 2", "train/Fruit/Banana/2_0.jpg, 2, 0", "x.jpg, 2, 1",
             "train/Fruit/Banana/2_0.jpg, nine, 1", "train/Fruit/Banana/2_0.jpg, 99, 1",
             "train/Fruit/Banana/2_0.jpg; 2; 1", "/etc/x/y.jpg, 2, 1", "../x/y.jpg, 2, 1"],
)  # fmt: skip
def test_a_line_that_does_not_fit_is_named(root, line):
    with open(root / "train.txt", "a") as stream:
        stream.write(line + "\n")
    with pytest.raises(ValueError, match="train.txt, line 16"):
        grocery.load(SETTINGS, "train")


@pytest.mark.parametrize(
    "text, said",
    [
        (CLASSES.replace("Royal,1", ",1"), "line 3: .*a name is blank"),
        (CLASSES.replace("Royal,1", "Royal,one"), "line 3: .*'one'"),
        (CLASSES.replace("Royal,1", "Golden,1"), "line 3: .*Golden has the id 0, too"),
        (CLASSES.replace("Royal,1", "Royal,0"), "line 3: .*Golden has the id 0, too"),
        (CLASSES.replace(",", ";"), "line 2: .*is no kind, kind id, item, item id"),
        ("a,b\nx,1\n", "line 2: .*is no kind, kind id, item, item id"),
        ("x\n", "train.txt, line 1: .*classes.csv has no kind 0"),
    ],
)
def test_classes_that_cannot_be_are_named_with_their_line(root, text, said):
    (root / "classes.csv").write_text(text)
    with pytest.raises(ValueError, match=said):
        grocery.load(SETTINGS, "train")


@pytest.mark.parametrize("name", ["train.txt", "classes.csv"])
@pytest.mark.parametrize(
    "change, said",
    [
        (lambda raw: raw.decode().encode("utf-16"), "line 1: not in UTF-8 .*Save it as UTF-8"),
        (lambda raw: raw.decode().encode("utf-16-le"), "line 1: holds NUL"),
        (lambda raw: raw + b"G\xf6lden", "line (7|16): not in UTF-8"),
        (None, "cannot be read .Is a directory.: make it a readable file"),
    ],
)
def test_a_list_that_is_no_text_is_named(root, name, change, said):
    raw = (root / name).read_bytes()
    (root / name).unlink()
    (root / name).write_bytes(change(raw)) if change else (root / name).mkdir()
    with pytest.raises(ValueError, match=f"{name}(,)? {said}"):
        grocery.load(SETTINGS, "train")


@pytest.mark.parametrize("name", ["val.txt", "classes.csv"])
def test_an_incomplete_clone_is_an_error(root, name):
    (root / name).unlink()
    with pytest.raises(FileNotFoundError, match=f"{name}: clone GroceryStoreDataset whole"):
        grocery.load(SETTINGS, "train")


@pytest.fixture
def archive(tmp_path, monkeypatch):
    """The download, put in place of the network."""
    original = clone(tmp_path / "elsewhere").parent
    path = files.DATA / "GroceryStoreDataset.zip"
    path.parent.mkdir(parents=True)
    with zipfile.ZipFile(path, "w") as stored:
        for file in original.rglob("*"):
            inside = f"GroceryStoreDataset-{grocery.COMMIT}/{file.relative_to(original)}"
            stored.write(file, inside)
    asked = []
    monkeypatch.setattr(downloads, "fetch", lambda *given: asked.append(given) or path)
    digest = grocery._digest(grocery._hashes(original / "dataset"))
    monkeypatch.setattr(grocery, "DIGEST", digest)
    return asked


def test_a_download_is_announced_unpacked_and_checked(archive, capsys):
    data = load_dataset("grocery", SETTINGS, "test")
    assert "130 MB from https://github.com/marcusklasson" in capsys.readouterr().out
    assert len(data) == 10 and data.source == "GroceryStoreDataset at fc80ba9"
    (asked,) = archive
    assert grocery.COMMIT in asked[1][0]
    load_dataset("grocery", SETTINGS, "train")
    assert len(archive) == 1  # there now


def test_a_download_with_other_pictures_is_refused(archive, monkeypatch):
    monkeypatch.setattr(grocery, "DIGEST", "0" * 64)
    with pytest.raises(ValueError, match="does not hold the pictures of commit fc80ba9: delete"):
        load_dataset("grocery", SETTINGS, "test")
    assert [p.name for p in files.DATA.iterdir() if "Grocery" in p.name] == [
        "GroceryStoreDataset.zip"
    ]


def test_a_users_half_unpacked_folder_is_named(archive, tmp_path, monkeypatch):
    monkeypatch.setenv("HMLC_DATA", str(tmp_path))
    (tmp_path / grocery.NAME).mkdir()
    with pytest.raises(FileNotFoundError, match=f"{tmp_path / grocery.NAME} has no folder dataset"):
        load_dataset("grocery", SETTINGS, "test")


def test_a_half_unpacked_archive_is_named_or_gone_on_with(archive):
    half, unpacked = files.DATA / grocery.NAME, files.DATA / f"{grocery.NAME}-{grocery.COMMIT}"
    half.mkdir()
    with pytest.raises(FileNotFoundError, match=f"{half} has no folder dataset.*: delete it"):
        load_dataset("grocery", SETTINGS, "test")
    half.rmdir()
    beside = files.DATA / f".{unpacked.name}.unpacking"
    (beside / unpacked.name).mkdir(parents=True)
    (beside / unpacked.name / "left").touch()
    downloads.unpack(files.DATA / "GroceryStoreDataset.zip", unpacked)  # then it was killed
    assert len(load_dataset("grocery", SETTINGS, "test")) == 10
    assert archive == [] and not unpacked.exists() and not (half / "left").exists()


def test_something_else_where_the_archive_is_unpacked_is_named(archive):
    unpacked = files.DATA / f"{grocery.NAME}-{grocery.COMMIT}"
    unpacked.mkdir()
    with pytest.raises(ValueError, match=f"{unpacked} does not hold .* fc80ba9: delete it"):
        load_dataset("grocery", SETTINGS, "test")
    with pytest.raises(FileExistsError, match=f"{unpacked} is in the way of .*: delete it"):
        downloads.unpack(files.DATA / "GroceryStoreDataset.zip", unpacked)


@pytest.mark.parametrize("kind", ["folder", "of master", "empty"])
def test_another_archive_is_named_with_the_commit_that_is_needed(archive, kind):
    path = files.DATA / "GroceryStoreDataset.zip"
    path.unlink()
    if kind == "folder":
        path.mkdir()
    else:
        with zipfile.ZipFile(path, "w") as stored:
            if kind == "of master":
                stored.writestr("GroceryStoreDataset-master/dataset/train.txt", "")
    said = {"folder": "is a folder, no zip file", "empty": "holds nothing, no folder"}
    said |= {"of master": "holds GroceryStoreDataset-master, no folder"}
    match = f"{path} {said[kind]}.*delete it .*Needed is commit fc80ba9: https.*{grocery.COMMIT}"
    with pytest.raises(ValueError, match=match):
        load_dataset("grocery", SETTINGS, "test")


def test_the_real_lists_hold_what_the_paper_says(monkeypatch):
    if not USER or not (Path(USER) / grocery.NAME).is_dir():
        pytest.skip("the Grocery Store data set is not in $HMLC_DATA")
    monkeypatch.setenv("HMLC_DATA", USER)
    lists = {name: grocery._rows(grocery._found(), file) for name, file in grocery.LISTS.items()}
    assert [len(rows) for rows in lists.values()] == [2640, 296, 2485]
    rows = {row for rows in lists.values() for _, row in rows}
    departments, items, kinds = map(set, zip(*rows))
    assert (len(departments), len(items), len(kinds), len(rows)) == (3, 43, 81, 81)
    assert list(Counter(row[1] for row in rows).values()).count(1) == 31
