"""A user's own images, meshes and csv become one data set; what is broken is named."""

import numpy as np
import pytest
import trimesh
from PIL import Image

from hmlc_core import pretrain
from hmlc_core.data import own
from study.evaluation import evaluate
from study.own_data import own_settings


def picture(path, colour=(200, 30, 30), size=(40, 30), mode="RGB", **how):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).convert(mode).save(path, **how)
    return path


@pytest.fixture
def folder(tmp_path):
    """animal/{dog,cat} and plant/tree, three to six pictures each, of all sorts."""
    root = tmp_path / "pets"
    for number, (place, mode, kind) in enumerate(
        [
            ("animal/dog", "RGB", "jpg"),
            ("animal/cat", "L", "png"),
            ("plant/tree", "RGBA", "png"),
            ("plant/tree", "P", "gif"),
            ("animal/dog", "CMYK", "jpg"),
            ("animal/cat", "1", "bmp"),
        ]
    ):
        for k in range(3):
            picture(
                root / place / f"{number}{k}.{kind}",
                (40 * number, 100, 30 * k),
                (30 + 7 * k, 50 - 6 * number),
                mode,
            )
    return root


def test_images_of_every_mode_and_size(folder):
    dataset, groups, broken = own.read(folder, size=16)
    assert (
        dataset.images.shape == (18, 16, 16, 3)
        and not broken
        and groups.tolist() == list(range(18))
    )
    assert dataset.level_names == ["level 1", "level 2"] and dataset.class_names == [
        ["animal", "plant"],
        ["animal/cat", "animal/dog", "plant/tree"],
    ]
    assert np.bincount(dataset.labels[:, 1]).tolist() == [6, 6, 6]


def test_pictures_are_turned_upright(tmp_path):
    image = Image.new("RGB", (40, 20))
    image.paste((255, 255, 255), (0, 0, 20, 20))  # left half white
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise by 90 degrees
    for name in "ab":
        (tmp_path / name).mkdir()
        image.save(tmp_path / name / "x.png", exif=exif)
    dataset, *_ = own.read(tmp_path, size=20)
    assert (
        dataset.images[0, 2].min() > 200 and dataset.images[0, -3].max() < 50
    )  # now the top is white


def test_broken_files_are_named_and_left_out(folder):
    (folder / "animal/dog/empty.png").write_bytes(b"")
    (folder / "animal/dog/text.jpg").write_text("no picture")
    whole = (folder / "animal/cat/10.png").read_bytes()
    (folder / "animal/cat/cut.png").write_bytes(whole[: len(whole) // 2])
    dataset, groups, broken = own.read(folder, size=16)
    assert len(dataset) == len(groups) == 18
    assert sorted(name.rsplit("/", 1)[1] for name in broken) == ["cut.png", "empty.png", "text.jpg"]
    assert all("cannot read image" in reason for reason in broken.values())
    with pytest.warns(UserWarning, match="3 files cannot be read and are left out"):
        own.read(folder, size=16)


def test_too_many_pixels_are_refused_before_they_are_decoded(tmp_path, monkeypatch):
    monkeypatch.setattr("hmlc_core.data.images.MAX_PIXELS", 1000)
    for name in "ab":
        picture(tmp_path / name / "x.png", size=(40, 30))
    with pytest.raises(ValueError, match="40 x 30 pixels, more than the limit of 1000"):
        own.read(tmp_path)
    monkeypatch.setattr(own, "MAX_BYTES", 1000)
    with pytest.raises(ValueError, match="2 files at 64 x 64 take more than the limit"):
        own.read(tmp_path)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda root: None, "found none"),
        (lambda root: picture(root / "x.png"), "depths {0: 1}"),
        (
            lambda root: (picture(root / "a" / "x.png"), picture(root / "a" / "b" / "x.png")),
            "depths",
        ),
        (
            lambda root: (
                picture(root / "a" / "x.png"),
                (root / "b").mkdir(),
                (root / "b" / "y.off").write_text("OFF"),
            ),
            "images and meshes",
        ),
    ],
)
def test_folders_that_are_no_hierarchy_are_refused(tmp_path, make, message):
    (tmp_path / "root").mkdir()
    make(tmp_path / "root")
    with pytest.raises(ValueError, match=message):
        own.read(tmp_path / "root")
    with pytest.raises(ValueError, match="neither a folder nor a csv"):
        own.read(tmp_path / "nothing")


def test_csv_with_unknown_labels(folder):
    table = folder / "labels.csv"
    table.write_text(
        "\ufefffile,kingdom,species\nanimal/dog/00.jpg,animal,dog\n"
        "animal/cat/10.png, animal ,\nplant/tree/20.png,plant,tree\n"
        "missing.png,plant,tree\n",
        encoding="utf-8",
    )
    dataset, _, broken = own.read(table, size=8)
    assert dataset.level_names == ["kingdom", "species"] and dataset.class_names == [
        ["animal", "plant"],
        ["dog", "tree"],
    ]
    assert dataset.labels.tolist() == [[0, 0], [0, -1], [1, 1]]
    assert list(broken) == [str(folder / "missing.png")]


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "readable csv"),
        ("file\na.png\n", "at least one level"),
        ("file,a\n", "0 rows"),
        ("file,a\nx.png,b,c\n", "row 2 with another number"),
        ('file,a\n"x.png,b\n', "readable csv"),
        ('file,a,b\nx.png,c,d\ny.png,"c,d\n', "no readable csv"),
    ],
)
def test_csv_that_is_none_is_refused(tmp_path, text, message):
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        own.read(tmp_path / "t.csv")


def test_csv_that_is_no_text_is_refused(tmp_path):
    (tmp_path / "t.csv").write_bytes(b"file,ebene\nx.png,L\x00we\n")
    with pytest.raises(ValueError, match="no text in UTF-8"):
        own.read(tmp_path / "t.csv")


@pytest.mark.parametrize("nested", [False, True])
def test_meshes_become_views(tmp_path, nested):
    shapes = {
        "box": lambda k: trimesh.creation.box((1, 2, 3 + k)),
        "ball": lambda k: trimesh.creation.icosphere(1).apply_scale((1, 1, 1 + k)),
        "rod": lambda k: trimesh.creation.cylinder(1, 5 + k),
    }
    for name, make in shapes.items():
        for number in range(4):
            mesh = make(number).apply_transform(
                trimesh.transformations.rotation_matrix(0.3, (1, 2, 3))
            )  # no two views alike
            path = (
                tmp_path
                / "root"
                / ("solids/" if nested else "")
                / name
                / f"{number}.{'obj' if number else 'off'}"
            )
            path.parent.mkdir(parents=True, exist_ok=True)
            mesh.export(path)
    (tmp_path / "root" / ("solids/" if nested else "") / "box" / "flat.stl").write_bytes(
        trimesh.Trimesh([[0, 0, 0], [1, 0, 0], [0, 1, 0]], [[0, 1, 2]]).export(file_type="stl")
    )
    dataset, groups, broken = own.read(tmp_path / "root", size=8)
    assert dataset.images.shape == (144, 8, 8, 1) and np.bincount(groups).tolist() == [12] * 12
    assert [name.rsplit("/", 1)[1] for name in broken] == ["flat.stl"] and "flat" in next(
        iter(broken.values())
    )
    assert dataset.level_names == (["level 1", "level 2"] if nested else ["level 1", "object"])
    train, test = own.divide(dataset, groups)
    if nested:  # whole objects are spared
        assert (
            len(train) == 108
            and len(test) == 36
            and np.bincount(test.labels[:, 1]).tolist() == [12, 12, 12]
        )
    else:  # the finest level is the object: whole objects test the category, views the object
        unseen = test.labels[:, 1] < 0
        assert (
            unseen.sum() == 12 * len(set(train.labels[:, 0]))
            and (test.labels[unseen, 0] >= 0).all()
            and (test.labels[~unseen, 0] == -1).all()
        )
        assert set(test.labels[~unseen, 1]) == set(train.labels[:, 1]) and len(train) + len(
            test
        ) == len(dataset)
        assert np.bincount(train.labels[:, 1])[sorted(set(train.labels[:, 1]))].min() >= 9


def test_division_spares_a_share_of_each_class(folder):
    dataset, groups, _ = own.read(folder, size=8)
    train, test = own.divide(dataset, groups, share=0.34)
    assert np.bincount(test.labels[:, 1]).tolist() == [2, 2, 2] and len(train) + len(test) == 18
    assert (
        own.divide(dataset, groups, share=0.34)[1].images == test.images
    ).all() and test.split == "test"


@pytest.mark.parametrize(
    "change, message",
    [
        (dict(share=20), "share must be below 1, not 20"),
        (dict(share=0), "share must be a finite number above 0, not 0"),
        (dict(share="0.2"), "share must be .*, not '0.2'"),
        (dict(seed=None), "seed must be a whole number .*, not None"),
        (dict(groups=[0, 1]), r"groups must be \[18\], not \[2\]"),
    ],
)
def test_a_division_that_cannot_be_is_named(change, message, folder):
    dataset, groups, _ = own.read(folder, size=8)
    with pytest.raises(ValueError, match=message):
        own.divide(dataset, **{"groups": groups} | change)


@pytest.mark.parametrize(
    "given, message",
    [
        (dict(levels=["a"]), "levels and names are of tables, but .* is a folder"),
        (dict(names="nope.csv"), "names='nope.csv' is no file"),
        (dict(parents="nope.csv"), "parents='nope.csv' is no file"),
    ],
)
def test_what_a_folder_has_no_use_for_is_named(given, message, folder):
    with pytest.raises(ValueError, match=message):
        own.read(folder, 8, **given)


def test_one_level_may_be_given_as_a_text(folder):
    (folder / "t.csv").write_text("file,of,s\nanimal/dog/00.jpg,a,b\nanimal/cat/10.png,c,d\n")
    assert own.read(folder / "t.csv", 8, levels="of")[0].level_names == ["of"]


def test_small_classes_stay_in_train_and_single_samples_become_unknown(folder):
    for name in (
        "animal/dog/00.jpg",
        "animal/dog/01.jpg",
        "animal/dog/02.jpg",
        "animal/dog/40.jpg",
        "animal/dog/41.jpg",
    ):
        (folder / name).unlink()
    dataset, groups, _ = own.read(folder, size=8)
    train, test = own.divide(dataset, groups)
    assert (
        (train.labels[:, 1] != 1).all()
        and (train.labels[:, 1] == -1).sum() == 1
        and (test.labels[:, 1] != 1).all()
    )
    table = own.check(dataset).set_index("level")
    assert (
        table.loc["level 2", "smallest class"] == "animal/dog (1)"
        and table.loc["level 2", "imbalance"] == 6
    )
    with pytest.raises(ValueError, match="no class of level 'level 2' has more than two samples"):
        own.divide(
            own.replace(
                dataset,
                images=dataset.images[:4],
                labels=np.array([[0, 0], [0, 0], [1, 2], [1, 2]]),
            ),
            np.arange(4),
        )


def test_levels_without_labels_and_with_names_that_are_taken_are_refused(folder):
    for text, message in (
        ("file,kind\nanimal/dog/00.jpg,\n", "level 'kind' has no label at all"),
        ("file,loss\nanimal/dog/00.jpg,dog\n", "no level can be called loss, which result"),
        ("file,a,a\nanimal/dog/00.jpg,dog,x\n", "level names must differ"),
    ):
        (folder / "t.csv").write_text(text)
        with pytest.raises(ValueError, match=message):
            own.read(folder / "t.csv", size=8)


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_every_class_keeps_two_samples_in_train(folder, share):
    for name in ("animal/dog/00.jpg", "animal/dog/01.jpg", "animal/dog/02.jpg"):
        (folder / name).unlink()
    dataset, groups, _ = own.read(folder, size=8)
    train, test = own.divide(dataset, groups, share)
    assert np.bincount(train.labels[:, 1]).min() >= 2 and np.bincount(test.labels[:, 1]).min() >= 1


@pytest.mark.parametrize(
    "part, unknown", [("test", "none of 4 test"), ("train", "level 'kind': no class has")]
)
def test_a_division_that_cannot_be_learned_or_tested_is_named(part, unknown, tmp_path):
    rows = ["file,split,kind"]
    for number in range(12):
        picture(tmp_path / f"{number}.png", (20 * number, 100, 0))
        where = "test" if number >= 8 else "train"
        kind = "" if where == part == "test" else number if where == part else number % 2
        rows.append(f"{number}.png,{where},{kind if kind == '' else f'k{kind}'}")
    (tmp_path / "t.csv").write_text("\n".join(rows))
    dataset, groups, _ = own.read(tmp_path / "t.csv", size=8)
    with pytest.raises(ValueError, match=unknown):
        own.divide(dataset, groups)


@pytest.mark.parametrize("size", ["64", 2.5, 0])
def test_a_size_that_is_none_is_named(size, folder):
    with pytest.raises(ValueError, match="size must be a whole number above 0, not"):
        own.read(folder, size)


def test_a_table_of_pictures_and_meshes_is_named(tmp_path):
    picture(tmp_path / "a.png", (200, 100, 0))
    trimesh.creation.box((1, 2, 3)).export(tmp_path / "b.off")
    (tmp_path / "t.csv").write_text("file,kind\na.png,x\nb.off,y\n")
    with pytest.raises(ValueError, match="holds images and meshes, e.g. .*a.png and .*b.off"):
        own.read(tmp_path / "t.csv", size=8)


def test_meshes_of_a_csv_are_objects_by_their_path(tmp_path):
    rows = ["file,kind"]
    for name in "abcd":
        (tmp_path / name).mkdir()
        trimesh.creation.box((1, 2, 3)).export(tmp_path / name / "model.off")
        rows.append(f"{name}/model.off,{'box' if name < 'c' else 'crate'}")
    (tmp_path / "t.csv").write_text("\n".join(rows))
    assert own.read(tmp_path / "t.csv", size=8)[0].class_names == [
        ["box", "crate"],
        ["a/model", "b/model", "c/model", "d/model"],
    ]


@pytest.mark.parametrize("title", ["kind", "object"])
def test_meshes_may_lie_elsewhere_and_their_level_be_called_object(tmp_path, title):
    rows = [f"file,{title}"]
    (tmp_path / "table").mkdir()
    for name in "abcd":
        (tmp_path / "store" / name).mkdir(parents=True)
        mesh = tmp_path / "store" / name / "model.off"
        trimesh.creation.box((1, 2, 3)).export(mesh)
        rows.append(f"{mesh},{'box' if name < 'c' else 'crate'}")
    (tmp_path / "table" / "t.csv").write_text("\n".join(rows))
    dataset = own.read(tmp_path / "table" / "t.csv", size=8)[0]
    assert dataset.level_names == ([title, "object"] if title == "kind" else [title, "mesh"])
    assert len(dataset.class_names[1]) == 4
    told = [note for note in dataset.notes if "several labels" in note]  # the meshes are alike
    assert len(told) == 1 and f"at level '{title}'" in told[0]


def test_partly_labelled_data_are_evaluated(tmp_path):
    rows = ["file,a,b"]
    for number in range(12):
        picture(tmp_path / f"{number}.png", (20 * number, 100, 0))
        rows.append(
            f"{number}.png,{number % 2 if number < 6 else ''},{number % 2 if number >= 6 else ''}"
        )  # no picture has both
    (tmp_path / "t.csv").write_text("\n".join(rows))
    dataset, *_ = own.read(tmp_path / "t.csv", size=24)
    run = pretrain(
        dataset,
        "split",
        own_settings(12, 24, epochs=2, dim=8),
        folder=tmp_path / "runs",
        device="cpu",
        progress=False,
    )
    run._data["train"] = dataset
    rows = evaluate(run, dataset)
    assert {row["metric"] for row in rows} >= {"linear_accuracy", "knn_accuracy"} and not {
        "fpa",
        "top_down_accuracy",
    } & {row["metric"] for row in rows}
