"""Readers fed with damaged and invented files: a clear ValueError or right data, and no hang.

HMLC_FUZZ=10000 bash run_tests.sh -k fuzz    # more inputs for each reader than the default
"""

import contextlib
import io
import os
import zipfile

import numpy as np
import pytest
import trimesh
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from hmlc_core import HierarchicalDataset
from hmlc_core.data import downloads, meshes, mnist, own
from hmlc_core.data.images import read_image

pytestmark = pytest.mark.filterwarnings("ignore")  # Pillow warns of much that is wrong
many = settings(
    max_examples=int(os.environ.get("HMLC_FUZZ", 100)),
    deadline=5000,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def damaged(whole):
    """The bytes of a file: cut, with bytes changed or a piece repeated; or any bytes at all."""
    place = st.integers(0, len(whole))
    changes = st.lists(st.tuples(place, st.binary(max_size=8)), max_size=6)

    def change(cut, pieces):
        data = bytearray(whole[:cut])
        for start, piece in pieces:
            data[start : start + len(piece)] = piece
        return bytes(data)

    return st.builds(change, st.one_of(st.just(len(whole)), place), changes) | st.binary(
        max_size=200
    )


def picture(kind):
    stream = io.BytesIO()
    Image.fromarray(np.arange(300, dtype=np.uint8).reshape(10, 10, 3)).save(stream, kind)
    return stream.getvalue()


OFF = trimesh.creation.icosphere(1).export(file_type="off").encode()
NPZ = io.BytesIO()
np.savez(
    NPZ,
    images=np.zeros((3, 4, 4, 1), np.uint8),
    labels=np.array([[0, 0], [0, 1], [1, -1]]),
    level_names=np.array(["a", "b"]),
    class_names_0=np.array(["x", "y"]),
    class_names_1=np.array(["p", "q"]),
    split="train",
    name="n",
    source="s",
)
number = st.one_of(
    st.integers(-3, 9),
    st.floats(),
    st.sampled_from(["", "nan", "1e999", "x", "-0", "99999999999999999999"]),
)
off_text = st.lists(st.lists(number, max_size=6), max_size=12).map(
    lambda rows: "OFF" + "\n".join(" ".join(map(str, row)) for row in rows)
)


@many
@given(st.one_of(damaged(OFF), off_text.map(str.encode)))
def test_fuzz_off(tmp_path, data):
    path = tmp_path / "x.off"
    path.write_bytes(data)
    try:
        mesh = meshes.read_off(path)
    except ValueError as error:
        assert "x.off" in str(error)
    else:
        assert (
            np.isfinite(mesh.vertices).all()
            and mesh.faces.max() < len(mesh.vertices)
            and mesh.area > 0
        )
        assert meshes.render_views(mesh, 8).shape == (12, 8, 8, 1)


def mesh_file(kind):
    name, _, way = kind.partition(", ")
    options = {"text": {"encoding": "ascii"}, "": {}}[way]
    if kind == "stl, text":
        name, options = "stl_ascii", {}
    whole = trimesh.creation.icosphere(1).export(file_type=name, **options)
    return whole.encode() if isinstance(whole, str) else whole


@pytest.mark.parametrize("kind", ["stl", "stl, text", "obj", "ply", "ply, text"])
def test_fuzz_other_meshes(tmp_path, kind):
    whole, kind = mesh_file(kind), kind[:3]

    @many
    @given(damaged(whole))
    def check(data):
        path = tmp_path / f"x.{kind}"
        path.write_bytes(data)
        try:
            mesh = meshes.read_mesh(path)
        except ValueError as error:
            assert f"x.{kind}" in str(error)
        else:
            assert np.isfinite(mesh.vertices).all() and mesh.faces.max() < len(mesh.vertices)
            assert mesh.faces.min() >= 0

    check()


@many
@given(damaged(NPZ.getvalue()))
def test_fuzz_npz(tmp_path, data):
    path = tmp_path / "x.npz"
    path.write_bytes(data)
    try:
        loaded = HierarchicalDataset.load(path)
    except (ValueError, TypeError) as error:
        assert str(error)
    else:
        assert (
            loaded.labels.shape == (len(loaded), len(loaded.level_names))
            and loaded.images.dtype == np.uint8
        )


@pytest.mark.parametrize("kind", ["png", "jpeg", "gif", "bmp", "tiff", "webp"])
def test_fuzz_images(tmp_path, kind):
    @many
    @given(damaged(picture(kind)))
    def check(data):
        path = tmp_path / f"x.{kind}"
        path.write_bytes(data)
        try:
            image = read_image(path, 8)
        except ValueError as error:
            assert "cannot read image" in str(error)
        else:
            assert image.shape == (8, 8, 3) and image.dtype == np.uint8

    check()


field = st.text(
    st.characters(codec="utf-8", exclude_characters="\x00"), max_size=6
) | st.sampled_from(["x.png", "y.png", "a", ""])


@many
@given(
    st.one_of(
        damaged(b"file,a,b\nx.png,p,q\ny.png,p,\n"),
        st.lists(st.lists(field, max_size=4), max_size=6).map(
            lambda rows: "\n".join(",".join(row) for row in rows).encode()
        ),
    )
)
def test_fuzz_csv(tmp_path, data):
    for name in ("x.png", "y.png"):
        if not (tmp_path / name).exists():
            Image.new("RGB", (9, 9), (9, 99, 199)).save(tmp_path / name)
    (tmp_path / "t.csv").write_bytes(data)
    try:
        dataset, groups, broken = own.read(tmp_path / "t.csv", 8)
    except ValueError as error:
        assert str(error)
    else:
        assert len(dataset) == len(groups) > 0 and len(dataset.level_names) >= 1
        assert (dataset.labels < [len(names) for names in dataset.class_names]).all()


def test_fuzz_zip_members_cannot_leave_their_folder(tmp_path):
    for name in ("../evil.off", "/evil.off", "a/../../evil.off", "..\\evil.off"):
        with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
            archive.writestr(name, "OFF")
        with contextlib.suppress(ValueError):
            downloads.unpack(tmp_path / "x.zip", tmp_path / "in" / "x")
        assert not (tmp_path / "evil.off").exists() and not os.path.exists("/evil.off")


IDX = b"\x00\x00\x08\x03" + b"".join(n.to_bytes(4, "big") for n in (3, 4, 4)) + bytes(48)


@many
@given(damaged(IDX))
def test_fuzz_idx(tmp_path, data):
    path = tmp_path / "x-ubyte"
    path.write_bytes(data)
    try:
        values = mnist._read_idx(path)
    except ValueError as error:
        assert "x-ubyte is no whole file of MNIST" in str(error)
    else:
        assert values.dtype in (np.uint8, np.int64)
