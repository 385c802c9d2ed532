"""Folders as phones, zips, network disks and competitions leave them."""

import os
import unicodedata
import warnings
from dataclasses import replace
from pathlib import Path
from zlib import crc32

import numpy as np
import pytest
from PIL import Image

from hmlc_core import HierarchicalDataset
from hmlc_core.data import folders, kinds, own


def photo(path, seed=None, size=16):
    """A picture of its own for each path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    seed = crc32(path.as_posix().encode()) if seed is None else seed
    pixels = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    Image.fromarray(pixels).resize((size, size), Image.Resampling.NEAREST).save(path)
    return path


def fill(root, places, count=4):
    """`count` pictures in each folder, all different."""
    for place in places.split():
        for k in range(count):
            photo(root / place / f"{k}.png", crc32(f"{place}{k}".encode()))
    return root


def quietly(path, **how):
    """A data set that is read without any warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return own.read(path, size=8, **how)


def said(dataset, *words):
    return any(all(word in note for word in words) for note in dataset.notes)


def shared(train, test):
    return {image.tobytes() for image in train.images} & {image.tobytes() for image in test.images}


def test_classes_of_uneven_depth_may_be_divided_each(tmp_path):
    places = [f"{kind}/{part}" for kind in ("milk", "fruit/apple", "fruit/kiwi")
              for part in ("train", "test")]  # fmt: skip
    dataset = quietly(fill(tmp_path / "shop", " ".join(places)))[0]
    assert dataset.class_names == [["fruit", "milk"], ["fruit/apple", "fruit/kiwi", "milk"]]
    assert sorted(dataset.parts.tolist()) == 12 * ["test"] + 12 * ["train"]
    fill(tmp_path / "shop", "fruit/lime/train")  # one part alone
    dataset = quietly(tmp_path / "shop")[0]
    assert dataset.class_names[1] == ["fruit/apple", "fruit/kiwi", "fruit/lime", "milk"]


def test_a_table_beside_the_folder_that_is_of_something_else_does_not_stop(tmp_path):
    root = fill(tmp_path / "pets", "cat dog")
    (tmp_path / "school.csv").write_text("name,parent\nAnna,Maria\nAnna,Josef\n")
    assert quietly(root)[0].class_names == [["cat", "dog"]]
    (root / "parents.csv").write_text("name,parent\ncat,pet\ncat,wild\ndog,pet\n")
    with pytest.raises(ValueError, match="several parents"):
        quietly(root)


# ---------------------------------------------------------------- what systems and tools leave

LEFT = [
    "__MACOSX/cat/._0.png", ".ipynb_checkpoints/0-checkpoint.png", "cat/.ipynb_checkpoints/0.png",
    "cat/._0.png", "cat/.thumb.jpg", "dog/@eaDir/0.png/SYNOPHOTO_THUMB_M.png", "#recycle/old.png",
    "$RECYCLE.BIN/S-1-5-21/$R1.png", "lost+found/a.png", ".Trash-1000/files/x.jpg",
    "System Volume Information/a.png", ".git/x.png", "dog/__pycache__/x.png", "@Recycle/1.jpg",
    "@__thumb/x.png", "cat/@tmp/0.png", "wandb/run/media/x.png", "node_modules/logo/x.png",
    ".DS_Store", "cat/Thumbs.db", "desktop.ini", "cat/Icon\r", "dog/~$list.png",
]  # fmt: skip


@pytest.mark.parametrize("name", LEFT)
def test_what_is_left_behind_is_no_class(tmp_path, name):
    fill(tmp_path, "cat dog")
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_bytes(b"not to be read")
    dataset, _, broken = quietly(tmp_path)
    assert dataset.class_names == [["cat", "dog"]] and len(dataset) == 8 and not broken
    assert said(dataset, "left out")


@pytest.mark.parametrize(
    "name",
    [
        "README.pdf",
        "cat/labels.h5",
        "notes.hdf",
        "dog/clip.mpg",
        "x.grib",
        "cat/list.txt",
        "movie.mov",
        "cat/no_ending",
    ],
)
def test_files_that_are_no_pictures_are_counted(tmp_path, name):
    fill(tmp_path, "cat dog")
    (tmp_path / name).write_bytes(b"%PDF")
    dataset, _, broken = quietly(tmp_path)
    assert (
        len(dataset) == 8 and not broken and said(dataset, "no pictures by their names", "1 files")
    )


@pytest.mark.parametrize(
    "ending, package",
    [
        ("HEIC", "pillow-heif"),
        ("hif", "pillow-heif"),
        ("cr3", "rawpy"),
        ("NEF", "rawpy"),
        ("svg", "cairosvg"),
        ("psb", "psd-tools"),
        ("jxl", "pillow-jxl"),
        ("dcm", "pydicom"),
        ("exr", "OpenEXR"),
        ("eps", "ghostscript"),
    ],
)
def test_formats_that_need_a_package_are_named(tmp_path, ending, package):
    fill(tmp_path, "cat dog")
    (tmp_path / "cat" / f"IMG_1.{ending}").write_bytes(b"x")
    _, _, broken = quietly(tmp_path)
    ((path, why),) = broken.items()
    assert path.endswith(f"IMG_1.{ending}") and package in why and ending.lower() in why


def test_a_class_of_which_nothing_can_be_read_is_warned_of(tmp_path):
    fill(tmp_path, "cat dog")
    for name in ("bird/1.heic", "fish/2.png"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(b"x")
    with pytest.warns(UserWarning, match="no file can be read of .*fish.*bird"):
        dataset, _, broken = own.read(tmp_path, size=8)
    assert dataset.class_names == [["cat", "dog"]] and len(broken) == 2
    (tmp_path / "only").mkdir()
    (tmp_path / "only" / "1.heic").write_bytes(b"x")
    with pytest.raises(ValueError, match="pillow-heif"):
        own.read(tmp_path / "only", size=8)


def test_what_pillow_reads_is_not_left_out():
    endings = {
        ending
        for ending in kinds.readable()
        if ending[1:] in ("avif", "psd", "webp", "jfif", "jp2", "mpo", "tga")
    }
    assert {".webp", ".jfif", ".tga", ".mpo"} <= endings
    assert all(kinds.kind(folders.Path(f"x{ending}")) == "picture" for ending in endings)


def test_a_plug_in_for_pictures_counts_from_when_it_is_there(monkeypatch):
    assert kinds.kind(folders.Path("x.heic")) == "unread"
    monkeypatch.setitem(Image.EXTENSION, ".heic", "HEIF")
    monkeypatch.setitem(Image.OPEN, "HEIF", (None, None))
    assert kinds.kind(folders.Path("x.heic")) == "picture"


# ---------------------------------------------------------------- names


def test_names_that_are_not_utf8_are_read_as_windows_has_them(tmp_path):
    """As unpacking an old archive leaves them."""
    root = os.fsencode(tmp_path) + b"/caf\xe9"
    for name in (b"cr\xe8me", "crème brûlée".encode(), b"na\x81ve"):
        os.makedirs(root + b"/" + name)
        for number in range(3):
            photo(Path(os.fsdecode(root + b"/" + name + b"/\xe9%d.png" % number)), number)
    Path(os.fsdecode(root + b"/cr\xe8me/\xe9x.png")).write_bytes(b"x")
    dataset, _, broken = own.read(os.fsdecode(root), size=8)
    assert dataset.class_names == [["crème", "crème brûlée", "na\ufffdve"]]
    assert (dataset.name, dataset.source) == ("café", "own data: café")
    texts = [*dataset.notes, *broken, *broken.values(), *dataset.class_names[0]]
    assert all(text.encode() for text in texts) and any(file.endswith("éx.png") for file in broken)


def test_a_folder_is_known_by_its_whole_name(tmp_path):
    for number in range(4):
        photo(tmp_path / "photos.2024" / "ab"[number % 2] / f"{number}.png")
    assert own.read(tmp_path / "photos.2024", size=8)[0].name == "photos.2024"


# ---------------------------------------------------------------- links


def test_linked_classes_are_read_and_loops_end(tmp_path):
    root, store = tmp_path / "root", tmp_path / "store"
    fill(root, "cat dog")
    fill(store, "bird fish/deep")
    (root / "bird").symlink_to(store / "bird")
    (root / "fish").symlink_to(store / "fish" / "deep", target_is_directory=True)
    (root / "cat" / "again").symlink_to(root)
    (root / "dog" / "up").symlink_to(tmp_path)
    (store / "bird" / "self").symlink_to(store / "bird")
    (root / "dog" / "lost.png").symlink_to(tmp_path / "nothing.png")
    dataset, _, broken = quietly(root)
    assert dataset.class_names == [["bird", "cat", "dog", "fish"]] and len(dataset) == 16
    assert sum("leads back" in note for note in dataset.notes) == 3
    assert list(broken) == [str(root / "dog" / "lost.png")]


def test_two_folders_linked_to_each_other(tmp_path):
    fill(tmp_path, "a/x b/y")
    (tmp_path / "a" / "b").symlink_to(tmp_path / "b")
    (tmp_path / "b" / "a").symlink_to(tmp_path / "a")
    assert quietly(tmp_path)[0].class_names == [["a", "b"], ["a/x", "b/y"]]


# ---------------------------------------------------------------- a division that is there


@pytest.mark.parametrize(
    "train, held, part",
    [
        ("train", "test", "test"),
        ("Training", "TESTING", "test"),
        ("train_set", "test_set", "test"),
        ("01_train", "02_test", "test"),
        ("train", "val", "validation"),
        ("TRAIN", "Valid", "validation"),
        ("training", "validation", "validation"),
        ("train2017", "val2017", "validation"),
        ("train", "dev", "validation"),
        ("seg_train", "seg_test", "test"),
        ("train_images", "test_images", "test"),
    ],
)
@pytest.mark.parametrize("below", [False, True])
def test_a_division_is_no_class(tmp_path, train, held, part, below):
    for number, division in enumerate((train, held)):
        for name in ("pets/cat", "pets/dog", "wild/fox"):
            fill(tmp_path, f"{name}/{division}" if below else f"{division}/{name}", 5 - number)
    dataset, groups, _ = quietly(tmp_path)
    assert dataset.class_names == [["pets", "wild"], ["pets/cat", "pets/dog", "wild/fox"]]
    assert dict(zip(*np.unique(dataset.parts, return_counts=True))) == {"train": 15, part: 12}
    assert said(dataset, "a division that is already there", "15 train")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        tested = own.divide(dataset, groups, seed=3)
    assert [len(found) for found in tested] == [15, 12] and not shared(*tested)
    assert bool(caught) == (part == "validation")
    assert said(tested[1], "no test part") == (part == "validation")


def test_validation_is_trained_on_unless_asked_otherwise(tmp_path):
    for part, count in (("train", 6), ("val", 3), ("test", 4)):
        fill(tmp_path, f"{part}/cat {part}/dog", count)
    dataset, groups, _ = quietly(tmp_path)
    sizes = {
        where: [len(x) for x in own.divide(dataset, groups, validation=where)]
        for where in ("train", "test", "out")
    }
    assert sizes == {"train": [18, 8], "test": [12, 14], "out": [12, 8]}
    assert said(own.divide(dataset, groups)[0], "6 pictures of the validation part are trained on")
    with pytest.raises(ValueError, match="'train', 'test' or 'out', not 'both'"):
        own.divide(dataset, groups, validation="both")


def test_a_division_that_lacks_a_part_is_named(tmp_path):
    fill(tmp_path, "train/cat train/dog val/cat val/dog")
    dataset, groups, _ = quietly(tmp_path)
    with pytest.raises(
        ValueError, match="nothing to test on, only train, validation: give .*parts"
    ):
        own.divide(dataset, groups, validation="out")
    for part in ("test", "validation"):
        alone = replace(dataset, parts=np.full(len(dataset), part))
        with pytest.raises(ValueError, match=f"nothing to train on, only {part}: replace"):
            own.divide(alone, groups, validation="test")
    assert len(own.divide(replace(dataset, parts=None), groups)[1]) == 4


def test_a_part_of_which_no_file_can_be_read_is_warned_of(tmp_path):
    fill(tmp_path, "train/cat train/dog")
    for place in ("test/cat", "test/dog"):
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "0.png").write_bytes(b"no picture")
    with pytest.warns(UserWarning, match="no file of the test part can be read: that part is"):
        own.read(tmp_path, size=8)


def test_groups_may_be_a_list(tmp_path):
    fill(tmp_path, "a/cat a/dog b/fish")
    dataset, _, _ = quietly(tmp_path)
    numbers = np.arange(len(dataset)) // 2
    of_list, of_array = (own.divide(dataset, given) for given in (numbers.tolist(), numbers))
    assert (of_list[1].labels == of_array[1].labels).all() and len(of_list[1])


def test_names_of_parts_can_be_classes(tmp_path):
    fill(tmp_path, "bus car train model_test/a model_test/b")
    dataset, *_ = quietly(tmp_path)
    assert "train" in dataset.class_names[0] and dataset.parts is None
    for name in ("bus", "car", "train"):
        for part in ("train", "test"):
            fill(tmp_path / "vehicles", f"{part}/{name}")
    assert quietly(tmp_path / "vehicles")[0].class_names == [["bus", "car", "train"]]


def test_part_folders_twice_as_competitions_pack_them(tmp_path):
    for part in ("seg_train", "seg_test"):
        fill(tmp_path, f"{part}/{part}/sea {part}/{part}/forest")
    fill(tmp_path, "seg_pred/seg_pred")
    with pytest.warns(UserWarning, match="4 pictures lie beside the parts .*seg_pred"):
        dataset, *_ = own.read(tmp_path, size=8)
    assert dataset.class_names == [["forest", "sea"]] and (dataset.parts == "test").sum() == 8


def test_test_pictures_without_labels_are_left_out(tmp_path):
    fill(tmp_path, "train/cat train/dog test1")
    with pytest.warns(UserWarning, match="the 4 pictures of the test part lie in no class folder"):
        dataset, groups, _ = own.read(tmp_path, size=8)
    assert dataset.parts is None and dataset.class_names == [["cat", "dog"]]
    assert len(own.divide(dataset, groups)[1]) == 2


def test_a_repository_around_the_data(tmp_path):
    for part in ("train", "test"):
        fill(tmp_path / "repo" / "data" / "images", f"{part}/cat {part}/dog")
    fill(tmp_path / "repo", "docs assets/logos .github")
    with pytest.warns(UserWarning, match="8 pictures lie beside .*assets/logos .4., docs .4."):
        dataset, *_ = own.read(tmp_path / "repo", size=8)
    assert (
        dataset.class_names == [["cat", "dog"]]
        and len(dataset) == 16
        and said(dataset, "data/images")
    )


def test_classes_without_a_division_beside_divided_ones_are_trained_on(tmp_path):
    fill(tmp_path, "cat/train cat/test dog/train dog/test bird fish/train")
    with pytest.warns(UserWarning, match="4 files lie in folders without train and test.*bird"):
        dataset, *_ = own.read(tmp_path, size=8)
    assert (
        dataset.class_names == [["bird", "cat", "dog", "fish"]]
        and (dataset.parts == "train").sum() == 16
    )


def test_one_part_alone_says_where_the_others_are(tmp_path):
    for part in ("train", "test", "val"):
        fill(tmp_path, f"{part}/cat {part}/dog")
    dataset, groups, _ = quietly(tmp_path / "train")
    assert (
        said(dataset, "only train is read", "test, val")
        and len(dataset) == 8
        and dataset.parts is None
    )
    assert not shared(*own.divide(dataset, groups))


def test_a_class_that_only_test_has_is_named(tmp_path):
    fill(
        tmp_path,
        "train/food/cap train/food/egg train/food/mushroom/old "
        "test/food/mushroom/cap test/food/egg",
    )
    dataset, groups, _ = own.read(tmp_path, size=8)
    with pytest.warns(
        UserWarning,
        match="1 classes are in test and .* in train: food/mushroom/cap; train has .*food/cap",
    ):
        own.divide(dataset, groups)


def test_a_division_goes_through_a_file(tmp_path):
    fill(tmp_path / "own", "train/cat train/dog test/cat test/dog")
    dataset, groups, _ = quietly(tmp_path / "own")
    dataset.save(tmp_path / "d.npz")
    again = HierarchicalDataset.load(tmp_path / "d.npz")
    assert (again.parts == dataset.parts).all() and again.notes == list(dataset.notes)
    assert again.fingerprint == dataset.fingerprint
    assert (own.divide(again, groups)[1].images == own.divide(dataset, groups)[1].images).all()
    with pytest.raises(ValueError, match="parts must be .16. of .*not .16. of .'dev'.|dev"):
        HierarchicalDataset(
            dataset.images, dataset.labels, ["a"], dataset.class_names, parts=["dev"] * 16
        )
    with pytest.raises(ValueError, match=r"parts must be \[16\]"):
        HierarchicalDataset(
            dataset.images, dataset.labels, ["a"], dataset.class_names, parts=["test"] * 15
        )


# ---------------------------------------------------------------- depth


def test_branches_that_end_early(tmp_path):
    fill(tmp_path, "fruit/apple/gala fruit/apple/fuji fruit/kiwi milk tools/saw/hand/left")
    dataset, *_ = quietly(tmp_path)
    assert dataset.class_counts == [3, 4, 5, 5]
    assert dataset.class_names[3] == [
        "fruit/apple/fuji",
        "fruit/apple/gala",
        "fruit/kiwi",
        "milk",
        "tools/saw/hand/left",
    ]
    assert (dataset.labels >= 0).all() and said(dataset, "4 classes have no finer division")
    unknown = quietly(tmp_path, ends="unknown")[0]
    assert unknown.class_counts == [3, 3, 3, 1]
    assert [(unknown.labels[:, level] < 0).sum() for level in range(4)] == [0, 4, 8, 16]
    with pytest.raises(ValueError, match="ends must be 'own' or 'unknown', not 'x'"):
        own.read(tmp_path, ends="x")


@pytest.mark.parametrize(
    "mixed, pattern, kept",
    [
        ("mug/masks cup/masks mug cup", "masks", ["cup", "mug"]),
        ("mug/masks cup/masks mug cup", ["*/*.png"], ["cup/masks", "mug/masks"]),
        ("a/x/depth a/x b/y", "a/x/depth", ["a/x", "b/y"]),
        ("a/x/depth a/x b/y", "depth/", ["a/x", "b/y"]),
        ("a/x a b", "/a/*.png", ["a/x", "b"]),
    ],
)
def test_pictures_beside_folders_of_pictures(tmp_path, mixed, pattern, kept):
    fill(tmp_path, mixed)
    with pytest.raises(ValueError) as error:
        own.read(tmp_path)
    message = str(error.value)
    assert "pictures beside folders of pictures" in message and "category/class/1.jpg" in message
    first = sorted(set(mixed.split()) & {"mug", "cup", "a/x", "a"})[0]
    assert first in message and f"{first}/0.png" in message and "ignore='" in message
    dataset = quietly(tmp_path, ignore=pattern)[0]
    assert dataset.class_names[-1] == kept and said(dataset, "left out by ignore")
    offered = message.split("ignore='")[1].split("'")[0]
    assert len(own.read(tmp_path, size=8, ignore=offered)[0])


def test_patterns_in_the_root_and_those_that_fit_nothing(tmp_path):
    fill(tmp_path, "cat dog")
    photo(tmp_path / "cover.png")
    with pytest.raises(ValueError, match=r"the folder itself.*e.g. cover.png .*ignore='/\*.png'"):
        own.read(tmp_path)
    assert (
        len(quietly(tmp_path, ignore="/*.png")[0])
        == 8
        == len(quietly(tmp_path, ignore="cover.*")[0])
    )
    with pytest.warns(UserWarning, match="ignore 'mask' fits no file"):
        own.read(tmp_path, size=8, ignore=["mask", "cover.png"])


def test_a_root_that_is_too_high_says_what_was_expected(tmp_path):
    fill(tmp_path, "src/main/java/pets/cat src/main/java/pets/dog")
    with pytest.warns(
        UserWarning,
        match="4 of 5 levels have one class only. Expected category/class/1.jpg: .*/java/pets",
    ):
        assert len(own.read(tmp_path, size=8)[0].level_names) == 5


def test_a_folder_of_loose_pictures_names_the_table_beside_them(tmp_path):
    photo(tmp_path / "1.png")
    (tmp_path / "labels.csv").write_text("file,kind\n1.png,cat\n")
    with pytest.raises(ValueError, match="depths {0: 1}. There is a table: read .*labels.csv"):
        own.read(tmp_path)


@pytest.mark.parametrize(
    "pair",
    [
        "train_v2 test_v2",
        "trainset_A testset_A",
        "train-small val-small",
        "train.zip_files test.zip_files",
        "learning unseen",
        "entrenamiento prueba",
        "Trainingsdaten Testdaten",
    ],
)
def test_names_of_a_division_with_words_around_them(tmp_path, pair):
    fill(tmp_path, " ".join(f"{part}/{name}" for part in pair.split() for name in ("cat", "dog")))
    dataset, *_ = quietly(tmp_path)
    assert dataset.class_names == [["cat", "dog"]] and (dataset.parts == "train").sum() == 8


def test_devices_of_one_kind_are_no_division(tmp_path):
    fill(tmp_path, "test_board dev_board")
    assert quietly(tmp_path)[0].class_names == [["dev_board", "test_board"]]


@pytest.mark.parametrize("tops", ["fold1 fold2 fold3", "train query", "amazon dslr"])
def test_folders_that_all_hold_the_same_are_warned_of(tmp_path, tops):
    fill(tmp_path, " ".join(f"{top}/{name}" for top in tops.split() for name in ("cat", "dog")))
    with pytest.warns(UserWarning, match="all hold folders of the same names .cat, dog."):
        own.read(tmp_path, size=8)


@pytest.mark.parametrize(
    "places, names, parts",
    [
        ("train/n1/images train/n2/images test/n1/images test/n2/images", [["n1", "n2"]], 16),
        ("cat/JPEGImages dog/JPEGImages", [["cat", "dog"]], 0),
        ("a/imgs/x a/imgs/y b/imgs/z", [["a", "b"], ["a/x", "a/y", "b/z"]], 0),
        ("photo sketch", [["photo", "sketch"]], 0),
    ],
)
def test_folders_that_only_hold_pictures_are_no_classes(tmp_path, places, names, parts):
    dataset = quietly(fill(tmp_path, places))[0]
    assert dataset.class_names == names and len(dataset.parts if parts else []) == parts


@pytest.mark.parametrize("places", ["train/images valid/images", "train test"])
def test_a_division_without_classes_is_refused(tmp_path, places):
    fill(tmp_path / "data", places)
    with pytest.raises(ValueError, match="train.* lie in no class folder"):
        own.read(tmp_path / "data", size=8)


@pytest.mark.parametrize("word", ["_mask", "-edited", " copy"])
def test_pictures_named_after_others_are_warned_of(tmp_path, word):
    fill(tmp_path, "cat dog")
    for name in "01":
        photo(tmp_path / "cat" / f"{name}{word}.png")
    with pytest.warns(UserWarning, match=f"2 pictures are named as another one with '{word}'"):
        own.read(tmp_path, size=8)
    assert len(quietly(tmp_path, ignore=f"*{word}.*")[0]) == 8


def test_one_class_alone_is_warned_of(tmp_path):
    fill(tmp_path, "images")
    with pytest.warns(UserWarning, match="one class only, so nothing to learn"):
        own.read(tmp_path, size=8)


# ---------------------------------------------------------------- names that look alike


@pytest.mark.parametrize(
    "one, other",
    [
        ("Löwe", unicodedata.normalize("NFD", "Löwe")),
        ("naïve é", unicodedata.normalize("NFD", "naïve é")),
        ("big cat", "big  cat"),
        ("cat", "cat "),
        ("cat", "cat\u200b"),
        ("a b", "a\xa0b"),
        ("ABC", "\uff21\uff22\uff23"),
        ("fish", "\ufb01sh"),
        ("Mac", "\u041c\u0430c"),
    ],
)
def test_names_that_print_the_same_are_one_class(tmp_path, one, other):
    fill(tmp_path, "dog")
    for k, name in enumerate((one, one, other)):
        photo(tmp_path / name / f"{k}.png", k)
    with pytest.warns(UserWarning, match="print the same and are taken as one class"):
        dataset, *_ = own.read(tmp_path, size=8)
    assert set(dataset.class_names[0]) == {one, "dog"} and np.bincount(
        dataset.labels[:, 0]
    ).tolist() in ([3, 4], [4, 3])


@pytest.mark.parametrize(
    "one, other", [("Cat", "cat"), ("STRASSE", "straße"), ("type 1", "Type 01")]
)
def test_names_that_look_alike_are_kept_apart_and_named(tmp_path, one, other):
    for k in range(4):
        photo(tmp_path / one / f"{k}.png", k)
        photo(tmp_path / other / f"{k}.png", 10 + k)
    with pytest.warns(UserWarning, match="look alike and are kept as different classes"):
        assert own.read(tmp_path, size=8)[0].class_counts == [2]
    assert not [p for p in tmp_path.iterdir() if p.name not in (one, other)]


@pytest.mark.parametrize("top, inner", [("", "test"), ("", "val"), ("pets/", "test")])
def test_a_lone_part_beside_the_classes_it_holds_is_warned_of(tmp_path, top, inner):
    for place in (f"{top}cat", f"{top}dog", f"{top}{inner}/cat", f"{top}{inner}/dog"):
        for k in range(2):
            photo(tmp_path / place / f"{k}.png")
    with pytest.warns(UserWarning, match=f"{top}{inner} holds folders named as those beside it"):
        own.read(tmp_path, size=8)


def test_the_same_name_under_other_parents_is_no_matter_in_folders(tmp_path):
    fill(tmp_path, "pets/other wild/other wild/Other2")
    assert quietly(tmp_path)[0].class_names[1] == ["pets/other", "wild/Other2", "wild/other"]


# ---------------------------------------------------------------- from start to end


def test_a_folder_as_phones_macs_and_windows_leave_it(tmp_path):
    root = tmp_path / "Meine Bilder"
    for place in ("Tiere/Löwe", "Tiere/Hund", "Pflanzen/Baum", "Pflanzen/Blüte"):
        for k in range(6):
            path = photo(
                root / unicodedata.normalize("NFD", place) / f"IMG_{k}.JPG",
                crc32(f"{place}{k}".encode()),
            )
            (path.parent / f"IMG_{k} (1).JPG").write_bytes(path.read_bytes())
            (path.parent / f"._IMG_{k}.JPG").write_bytes(b"\0\5\x16\7")
            (path.parent / f"IMG_{k}.HEIC").write_bytes(b"x")
            (path.parent / f"IMG_{k}.MOV").write_bytes(b"x")
        for name in ("Thumbs.db", ".DS_Store", "desktop.ini"):
            (path.parent / name).write_bytes(b"x")
    photo(root / "__MACOSX" / "Tiere" / "Hund" / "x.jpg")
    (root / "README.pdf").write_bytes(b"%PDF")
    dataset, groups, broken = quietly(root)
    assert (
        dataset.class_counts == [2, 4]
        and len(dataset) == 48
        and len(set(groups)) == 24 == len(broken)
    )
    assert dataset.class_names[1][-1] == unicodedata.normalize("NFC", "Tiere/Löwe")
    for share in (0.1, 0.3, 0.6):
        train, test = own.divide(dataset, groups, share)
        assert not shared(train, test) and len(test) >= 8 and len(train) + len(test) == 48
