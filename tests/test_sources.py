"""CIFAR-100, ModelNet and downloads, on small files made here; and on a user's real data."""

import functools
import hashlib
import http.server
import os
import threading
import zipfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import trimesh

from hmlc_core import HierarchicalDataset, files, load_dataset, preset
from hmlc_core.data import cifar100, downloads, meshes, modelnet, stamp

BROKEN = "OFF\n4 4 0\n0 0 0\n1 0 0\n0 1 0\n"
REAL = Path(os.environ.get("HMLC_DATA", "/nowhere"))
SMOKE = preset("smoke", "modelnet")


def off(mesh, header="OFF\n"):
    text = mesh.export(file_type="off")
    return header + text.split("\n", 1)[1]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A user's data folder, and an empty data/."""
    monkeypatch.setattr(files, "DATA", tmp_path / "data")
    monkeypatch.setenv("HMLC_DATA", str(tmp_path / "user"))
    (tmp_path / "data").mkdir()
    (tmp_path / "user").mkdir()
    return tmp_path / "user"


@pytest.fixture
def modelnet_folder(folder):
    """ModelNet10 with 3 categories of 11 training and 2 test objects."""
    rng = np.random.default_rng(0)
    shapes = {
        "bed": lambda: trimesh.creation.box(rng.uniform(1, 3, 3)),
        "chair": lambda: trimesh.creation.cone(*rng.uniform(1, 2, 2)),
        "sofa": lambda: trimesh.creation.icosphere(1, rng.uniform(1, 2)),
    }
    for category, make in shapes.items():
        for part, count in (("train", 11), ("test", 2)):
            (folder / "ModelNet10" / category / part).mkdir(parents=True)
            for k in range(count):
                (
                    folder / "ModelNet10" / category / part / f"{category}_{part}{k:04}.off"
                ).write_text(off(make()))
    return folder / "ModelNet10"


# ---------------------------------------------------------------- ModelNet


def test_modelnet_splits(modelnet_folder):
    train, fit, validation, test = (
        load_dataset("modelnet10", SMOKE, split) for split in ("train", "fit", "validation", "test")
    )
    assert train.level_names == ["category", "object"] and train.class_counts == [3, 33]
    assert (
        train.images.shape == (33 * 9, 32, 32, 1) and (np.bincount(train.labels[:, 1]) == 9).all()
    )
    assert test.class_names == train.class_names and len(test) == 6 * 12 + 33 * 3
    unseen = test.labels[:, 1] == -1
    assert (
        unseen.sum() == 72
        and (test.labels[unseen, 0] >= 0).all()
        and (test.labels[~unseen, 0] == -1).all()
    )
    assert (
        len(fit) == 30 * 9
        and len(validation) == 3 * 12 + 30 * 3
        and fit.class_counts == [3, 30] == validation.class_counts
    )
    views = {
        image.tobytes() for image in train.images[train.labels[:, 0] == 1]
    }  # no two cones or views of them alike
    held = test.images[(test.labels[:, 1] >= 11) & (test.labels[:, 1] < 22)]
    assert train.source == "33 + 6 meshes of ModelNet10" and len(held) == 33 and len(views) > 1


def test_super_categories_go_on_top(modelnet_folder):
    test = load_dataset("modelnet10_super", SMOKE, "test")
    assert test.level_names == ["super-category", "category", "object"] and test.class_names[0] == [
        "seats and beds"
    ]
    assert ((test.labels[:, 0] == -1) == (test.labels[:, 1] == -1)).all()
    everything = {name for names in modelnet.SUPER_CATEGORIES.values() for name in names.split()}
    assert (
        len(everything)
        == 40
        == sum(len(names.split()) for names in modelnet.SUPER_CATEGORIES.values())
    )


def test_broken_meshes_are_left_out_by_name(modelnet_folder):
    (modelnet_folder / "bed" / "train" / "broken.off").write_text(BROKEN)
    with pytest.warns(UserWarning, match=r"1 of 34 meshes .*\nbroken.off is truncated"):
        train = load_dataset("modelnet10", SMOKE, "train")
    assert train.class_counts == [3, 33]


def test_meshes_that_change_or_share_a_name_have_pictures_of_their_own(modelnet_folder):
    first, other = sorted((modelnet_folder / "bed" / "train").iterdir())[:2]
    before = modelnet.rendered(modelnet_folder, "train", 16)[0]
    first.write_text(off(trimesh.creation.icosphere(1)))
    other.rename(modelnet_folder / "chair" / "train" / first.name)
    views, _, _, names = modelnet.rendered(modelnet_folder, "train", 16)
    ball, moved = (views[i] for i, name in enumerate(names) if name == first.stem)
    assert not np.array_equal(ball, before[0]) and np.array_equal(moved, before[1])


def test_rendering_goes_on_where_it_was_interrupted(modelnet_folder, monkeypatch):
    whole = modelnet.rendered(modelnet_folder, "train", 16)
    cache = next((files.DATA / "cache").glob("views-*"))
    stamps = {p.name: p.stat().st_mtime_ns for p in cache.iterdir()}
    lost = sorted(cache.iterdir())[:5]
    for path in lost:
        path.unlink()
    again = modelnet.rendered(modelnet_folder, "train", 16)
    assert np.array_equal(whole[0], again[0]) and whole[3] == again[3]
    assert all(p.stat().st_mtime_ns == stamps[p.name] for p in cache.iterdir() if p not in lost)


def test_one_category_is_an_error(folder):
    (folder / "ModelNet10" / "bed" / "train").mkdir(parents=True)
    with pytest.raises(ValueError, match="at least two categories, found \\['bed'\\]"):
        load_dataset("modelnet10", SMOKE, "train")


def test_category_without_a_mesh_is_an_error(modelnet_folder):
    for path in (modelnet_folder / "sofa" / "train").iterdir():
        path.write_text("")
    with (
        pytest.warns(UserWarning),
        pytest.raises(ValueError, match="no usable mesh in \\['sofa'\\]"),
    ):
        load_dataset("modelnet10", SMOKE, "train")


# ---------------------------------------------------------------- CIFAR-100


def cifar_file(folder, part, n=400):
    rng = np.random.default_rng(0)
    names = sorted(name for names in cifar100.SUPERCLASSES.values() for name in names.split())
    labels, class_names = cifar100.hierarchy(np.arange(n) % 100, names)
    HierarchicalDataset(
        rng.integers(0, 256, (n, 32, 32, 3), dtype=np.uint8),
        labels,
        ["superclass", "class"],
        class_names,
        part,
    ).save(folder / f"cifar100-{part}.npz")


def test_cifar100_from_the_users_file(folder):
    cifar_file(folder, "train")
    cifar_file(folder, "test", 100)
    train, fit, validation, test = (
        load_dataset("cifar100", "cpu", split) for split in ("train", "fit", "validation", "test")
    )
    assert (len(train), len(fit), len(validation), len(test)) == (400, 360, 40, 100)
    assert (
        train.class_counts == [20, 100]
        and train.source == test.source == "cifar100-{train,test}.npz"
    )

    def of(data):
        return {image.tobytes() for image in data.images}

    assert of(fit) | of(validation) == of(train) and not of(fit) & of(validation)
    assert len(load_dataset("cifar100", "smoke", "train")) == 400
    few = replace(SMOKE, test_size=20)
    assert [len(load_dataset("cifar100", few, part)) for part in ("validation", "test")] == [20] * 2


def test_cifar100_archive_beside_the_users_data_is_unpacked_there(folder, monkeypatch):
    (folder / cifar100.ARCHIVE).touch()
    names = [name for names in cifar100.SUPERCLASSES.values() for name in names.split()]
    stored = SimpleNamespace(data=np.zeros((2, 32, 32, 3), np.uint8), targets=[5, 0], classes=names)
    monkeypatch.setattr(
        "torchvision.datasets.CIFAR100",
        lambda root, **_: stored if Path(root) == folder else pytest.fail(f"unpacked in {root}"),
    )
    monkeypatch.setattr(downloads, "fetch", lambda *_: pytest.fail("downloaded what the user has"))
    assert cifar100.download("train")[1].tolist() == [[1, 5], [0, 0]]


def test_every_class_has_one_superclass():
    names = [name for names in cifar100.SUPERCLASSES.values() for name in names.split()]
    assert len(names) == 100 == len(set(names)) and {
        len(v.split()) for v in cifar100.SUPERCLASSES.values()
    } == {5}
    labels, (coarse, fine) = cifar100.hierarchy(np.array([0, 2]), ["baby", "beaver", "bear"])
    assert [coarse[k] for k in labels[:, 0]] == ["people", "large_carnivores"] and labels[
        :, 1
    ].tolist() == [0, 2]


@pytest.mark.skipif(not (REAL / "cifar100-train.npz").exists(), reason="HMLC_DATA has no CIFAR-100")
def test_real_cifar100_has_our_superclasses():
    with np.load(REAL / "cifar100-test.npz") as stored:
        labels, class_names = cifar100.hierarchy(
            stored["labels"][:, 1], stored["class_names_1"].tolist()
        )
        theirs = [stored["class_names_0"][k].replace("_", "-") for k in stored["labels"][:, 0]]
    assert [class_names[0][k].replace("_", "-") for k in labels[:, 0]] == theirs


@pytest.mark.skipif(
    not (REAL / "ModelNetSamples").exists(), reason="HMLC_DATA has no original OFF files"
)
def test_original_off_files_render():
    paths = sorted((REAL / "ModelNetSamples").rglob("*.off"))
    assert len(paths) >= 16
    for path in paths:
        views = meshes.render_views(meshes.read_off(path), 24)
        assert ((views > 0).mean((1, 2, 3)) > 0.02).all(), path


# ---------------------------------------------------------------- downloads


class Server(http.server.SimpleHTTPRequestHandler):
    """Serves a folder; understands ranges; breaks off after `limit` bytes."""

    limit, asked = None, []

    def do_GET(self):
        body = (
            (Path(self.directory) / self.path[1:]).read_bytes()
            if (Path(self.directory) / self.path[1:]).exists()
            else None
        )
        if body is None:
            return self.send_error(404)
        start = int(self.headers.get("Range", "bytes=0-")[6:-1])
        Server.asked.append(start)
        if start >= len(body):
            return self.send_error(416)
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        self.wfile.write(body[start:][: Server.limit])

    def log_message(self, *words):
        pass


@pytest.fixture
def server(tmp_path):
    (tmp_path / "served").mkdir()
    Server.limit, Server.asked = None, []
    with http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Server, directory=tmp_path / "served")
    ) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield tmp_path / "served", f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


def test_broken_download_goes_on(server, tmp_path):
    served, address = server
    body = bytes(range(256)) * 1000
    (served / "set.zip").write_bytes(body)
    Server.limit = 100_000
    with pytest.raises(
        FileNotFoundError, match="set.zip could not be had. Put it into .*\n.*\n.*set.zip"
    ):
        downloads.fetch(
            "set.zip", [f"{address}/set.zip"], hashlib.sha256(body).hexdigest(), tmp_path / "got"
        )
    Server.limit = None
    path = downloads.fetch(
        "set.zip", [f"{address}/set.zip"], hashlib.sha256(body).hexdigest(), tmp_path / "got"
    )
    assert (
        path.read_bytes() == body and Server.asked[0] == 0 and 80_000 < Server.asked[-1] <= 100_000
    )
    asked = len(Server.asked)
    downloads.fetch(
        "set.zip", [f"{address}/set.zip"], hashlib.sha256(body).hexdigest(), tmp_path / "got"
    )
    assert len(Server.asked) == asked and [p.name for p in (tmp_path / "got").iterdir()] == [
        "set.zip"
    ]


def test_wrong_hash_and_missing_file_try_the_next_address(server, tmp_path):
    served, address = server
    (served / "bad").mkdir()
    (served / "bad" / "set.zip").write_bytes(b"something else")
    (served / "set.zip").write_bytes(b"right")
    right = hashlib.sha256(b"right").hexdigest()
    urls = [f"{address}/none/set.zip", f"{address}/bad/set.zip"]
    with pytest.raises(FileNotFoundError, match="404(.|\n)*hash"):
        downloads.fetch("set.zip", urls, right, tmp_path / "got")
    assert (
        downloads.fetch(
            "set.zip", urls + [f"{address}/set.zip"], right, tmp_path / "got"
        ).read_bytes()
        == b"right"
    )


def test_no_network_says_which_file_to_put_where(folder, monkeypatch):
    monkeypatch.setattr(cifar100, "URLS", ("http://127.0.0.1:9/cifar-100-python.tar.gz",))
    monkeypatch.setattr(
        modelnet, "ARCHIVES", {"ModelNet10": ("http://127.0.0.1:9/ModelNet10.zip", "0" * 64)}
    )
    for name, file in (("cifar100", "cifar-100-python.tar.gz"), ("modelnet10", "ModelNet10.zip")):
        with pytest.raises(
            FileNotFoundError, match=f"{file} could not be had. Put it into {files.DATA}"
        ):
            load_dataset(name, "smoke", "train")


def test_zip_is_unpacked_whole_or_not_at_all(folder, monkeypatch):
    with zipfile.ZipFile(folder / "ModelNet10.zip", "w") as made:
        made.writestr("ModelNet10/bed/train/a.off", "OFF")
        made.writestr("../../outside.off", "OFF")
    monkeypatch.setattr(downloads.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 1}))
    with pytest.raises(OSError, match="needs .* to unpack, but .* has 0.0 GiB free"):
        modelnet.folder_of("ModelNet10")
    monkeypatch.undo()
    unpacked = downloads.unpack(folder / "ModelNet10.zip", folder / "ModelNet10")
    assert (unpacked / "bed" / "train" / "a.off").exists()
    assert not list(folder.parent.parent.rglob("outside.off")) and not list(folder.glob(".*"))
    (folder / "ModelNet40.zip").write_bytes(b"PK half")
    with pytest.raises(ValueError, match="no whole zip file"):
        downloads.unpack(folder / "ModelNet40.zip", folder / "ModelNet40")


def test_parts_of_other_categories_are_an_error(modelnet_folder):
    """The numbers of categories would mean other ones in train and test."""
    for path in (modelnet_folder / "chair" / "test").iterdir():
        path.unlink()
    (modelnet_folder / "chair" / "test").rmdir()
    with pytest.raises(ValueError, match=r"same categories; one of them lacks \['chair'\]"):
        load_dataset("modelnet10", SMOKE, "test")


def test_hidden_files_are_no_meshes(modelnet_folder):
    (modelnet_folder / "bed" / "train" / "._bed.off").write_text("left by a Mac")
    assert load_dataset("modelnet10", SMOKE, "train").class_counts == [3, 33]


@pytest.mark.parametrize("category", ["lorry", "Bed"])
def test_categories_without_a_super_category_are_named(category):
    with pytest.raises(ValueError, match=rf"no super-category of \['{category}'\]"):
        modelnet.super_category(np.array([[0, 0]]), [[category, "bed"], ["a"]])


def of_the_same_age(path, content):
    """Replace a file by another of the same size and time, as unpacking an archive does."""
    before = path.stat()
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_replaced_meshes_are_read_anew(modelnet_folder):
    before = load_dataset("modelnet10", SMOKE, "train")
    again = load_dataset("modelnet10", SMOKE, "train")
    assert again.fingerprint == before.fingerprint
    path = modelnet_folder / "bed" / "train" / "bed_train0003.off"
    text = path.read_text()
    of_the_same_age(path, text.replace("0.", "7.").encode())
    after = load_dataset("modelnet10", SMOKE, "train")
    changed = (before.images != after.images).any((1, 2, 3))
    assert set(np.flatnonzero(changed) // 9) == {3}
    (modelnet_folder / "SOURCE.txt").write_text("of my own")
    assert load_dataset("modelnet10", SMOKE, "test").source.endswith("of my own")


def test_replaced_cifar_files_are_read_anew(folder):
    for part in ("train", "test"):
        cifar_file(folder, part)
    before = load_dataset("cifar100", "cpu", "test").fingerprint
    stored = HierarchicalDataset.load(folder / "cifar100-test.npz")
    stored.images[0] += 1
    stored.save(folder / "other.npz")
    of_the_same_age(folder / "cifar100-test.npz", (folder / "other.npz").read_bytes())
    assert load_dataset("cifar100", "cpu", "test").fingerprint != before


def test_the_users_folder_goes_before_ours(folder, monkeypatch):
    """An archive in $HMLC_DATA before files in data/, although within a folder files go first."""
    cifar_file(files.DATA, "train")
    (folder / cifar100.FOLDER).mkdir()
    monkeypatch.setattr(cifar100, "download", lambda part: ("its images", "labels", "names"))
    assert cifar100.read("train") == ("its images", "labels", "names", cifar100.ARCHIVE)


@pytest.mark.parametrize("name", ["train", "test", "meta"])
def test_every_file_of_the_archive_counts(folder, name):
    (folder / cifar100.FOLDER).mkdir()
    path = folder / cifar100.FOLDER / name
    path.write_bytes(b"one")
    before = stamp(cifar100.stored_files())
    of_the_same_age(path, b"two")
    assert stamp(cifar100.stored_files()) != before


def test_another_cifar_than_the_published_is_refused_and_kept(folder, monkeypatch):
    """torchvision would download the published one over it."""
    overwrite = "torchvision.datasets.CIFAR100.download"
    monkeypatch.setattr(overwrite, lambda self: pytest.fail("downloaded over the user's files"))
    (folder / cifar100.FOLDER).mkdir()
    for name in ("train", "test", "meta"):
        (folder / cifar100.FOLDER / name).write_bytes(b"mine")
    with pytest.raises(ValueError, match="another cifar-100-python than the published one.*npz"):
        load_dataset("cifar100", "smoke", "train")
    assert (folder / cifar100.FOLDER / "train").read_bytes() == b"mine"


@pytest.mark.parametrize("damage", [slice(0, -30), slice(0, 60)])
def test_damaged_archives_leave_nothing(folder, damage):
    with zipfile.ZipFile(folder / "x.zip", "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("ModelNet10/bed/train/a.off", "OFF 1 2 3" * 1000)
    whole = (folder / "x.zip").read_bytes()
    (folder / "ModelNet10.zip").write_bytes(whole[damage])
    with pytest.raises(ValueError, match="no whole zip file .*delete it and run again"):
        modelnet.folder_of("ModelNet10")
    flipped = bytearray(whole)
    flipped[60:70] = b"xxxxxxxxxx"
    (folder / "ModelNet10.zip").write_bytes(flipped)
    with pytest.raises(ValueError, match="delete it and run again"):
        modelnet.folder_of("ModelNet10")
    assert not list(folder.glob(".*")) and not (folder / "ModelNet10").exists()
