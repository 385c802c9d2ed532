"""Mesh files in all that their formats allow, and the pictures of them."""

import struct

import numpy as np
import pytest
import trimesh

from hmlc_core.data import formats, meshes


def off(mesh, header="OFF\n"):
    text = mesh.export(file_type="off")
    return header + text.split("\n", 1)[1]


@pytest.mark.parametrize("header", ["OFF\n", "OFF", "OFF ", "\nOFF\n# a comment\n"])
def test_off_with_plain_and_glued_header(tmp_path, header):
    box = trimesh.creation.box((1, 2, 3))
    (tmp_path / "box.off").write_text(off(box, header))
    mesh = meshes.read_off(tmp_path / "box.off")
    assert len(mesh.vertices) == 8 and len(mesh.faces) == 12 and mesh.volume == pytest.approx(6)


def test_off_with_polygons(tmp_path):
    (tmp_path / "pyramid.off").write_text(
        "OFF\n5 5 0\n0 0 0\n1 0 0\n1 1 0\n0 1 0\n.5 .5 1\n"
        "4 3 2 1 0\n3 0 1 4\n3 1 2 4\n3 2 3 4\n3 3 0 4\n"
    )
    assert meshes.read_off(tmp_path / "pyramid.off").volume == pytest.approx(1 / 3)


BAD = {
    "no OFF file": "PLY\n8 12 0\n",
    "no OFF file: it does not begin": "",
    "is empty: 0 vertices": "OFF\n0 0 0\n",
    "is empty: 4 vertices, 0 faces": "OFF\n4 0 0\n0 0 0\n1 0 0\n0 1 0\n0 0 1\n",
    "is truncated": "OFF\n4 4 0\n0 0 0\n1 0 0\n0 1 0\n",
    "is truncated: 99999999 vertices": "OFF\n99999999 9 0\n0 0 0\n",
    "NaN or infinite": "OFF\n4 2 0\n0 0 0\n1 nan 0\n0 1 0\n0 0 1\n3 0 1 2\n3 0 1 3\n",
    "vertices": "OFF\n4 2 0\n0 0 0\n1 0 0\n0 1 0\n0 0 1\n3 0 1 2\n3 0 1 7\n",
    "is flat": "OFF\n4 2 0\n0 0 0\n1 0 0\n0 1 0\n1 1 0\n3 0 1 2\n3 1 2 3\n",
    "is flat: its extents are [0.0": "OFF\n3 1 0\n2 2 2\n2 2 2\n2 2 2\n3 0 1 2\n",
}


@pytest.mark.parametrize("message", BAD)
def test_bad_meshes_are_named(tmp_path, message):
    (tmp_path / "bad.off").write_text(BAD[message])
    with pytest.raises(ValueError) as error:
        meshes.read_off(tmp_path / "bad.off")
    assert message in str(error.value) and "bad.off" in str(error.value)


def test_views_show_the_object_from_all_sides():
    box = trimesh.creation.box((2, 1, 1))
    views = meshes.render_views(box, 32)
    assert views.shape == (12, 32, 32, 1) and views.dtype == np.uint8
    width = (views[..., 0] > 0).any(1).sum(1)
    assert width[0] < width[3] and np.array_equal(
        width[:6], width[6:]
    )  # narrow from the end, wide from the side
    assert (
        0.1 < (views > 0).mean() < 0.6 and (views[:, [0, -1]] == 0).all()
    )  # fills the frame, leaves it nowhere
    shades = np.unique(views[1])
    assert len(shades[shades > 0]) >= 3  # three faces, three shades


def test_views_turn_with_the_object_and_forget_its_place_and_size():
    chair = trimesh.util.concatenate(
        [
            trimesh.creation.box((1, 1, 0.2)),
            trimesh.creation.box((1, 0.2, 1)).apply_translation((0, 0.4, 0.6)),
        ]
    )
    views = meshes.render_views(chair, 24)
    turned = chair.copy().apply_transform(
        trimesh.transformations.rotation_matrix(np.pi / 6, (0, 0, 1))
    )
    assert np.abs(meshes.render_views(turned, 24)[1:].astype(int) - views[:-1]).mean() < 1
    moved = chair.copy().apply_scale(100).apply_translation((5, 6, 7))
    assert np.abs(meshes.render_views(moved, 24).astype(int) - views).mean() < 0.5


def test_a_vertex_of_no_face_changes_nothing():
    box = trimesh.creation.box((1, 2, 3)).apply_translation((1000, 500, 0))
    stray = trimesh.Trimesh(np.vstack([box.vertices, [[0, 0, 0]]]), box.faces, process=False)
    views = meshes.render_views(box, 24)
    assert (views > 0).mean() > 0.2
    assert np.array_equal(meshes.render_views(stray, 24), views)


def test_inside_out_faces_are_seen_too():
    box = trimesh.creation.box((2, 1, 1))
    flipped = trimesh.Trimesh(box.vertices, box.faces[:, ::-1], process=False)
    assert np.array_equal(meshes.render_views(box, 16), meshes.render_views(flipped, 16))


BOX = trimesh.creation.box((1, 2, 3))
POINTS, TRIANGLES = BOX.vertices.tolist(), BOX.faces.tolist()
QUADS = [[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]]
MIXED = [[0, 1, 3], [0, 3, 2], *QUADS[1:]]


def lines(rows, before="", after=""):
    return "".join(f"{before}{' '.join(map(str, row))}{after}\n" for row in rows)


def off_text(header="OFF\n8 12 0\n", points=POINTS, more="", faces=TRIANGLES, colour=""):
    return header + lines(points, after=more) + lines([[len(f), *f] for f in faces], after=colour)


PLAIN = off_text()
OFFS = {
    "comments anywhere": "# made by hand\nOFF # yes\n# counts\n8 12 0 # 12\n"
    + PLAIN.split("\n", 2)[2].replace("\n", " # here\n\n# and here\n"),
    "blank lines": PLAIN.replace("\n", "\n\n  \n\t\n"),
    "mark of UTF-8": "\ufeff" + PLAIN,
    "mark before a comment": "\ufeff# hi\n" + PLAIN,
    "UTF-16": PLAIN.encode("utf-16"),
    "lower case": PLAIN.lower(),
    "mixed case": "Off" + PLAIN[3:],
    "lower case, glued": "off8 12 0\n" + PLAIN.split("\n", 2)[2],
    "glued": "OFF8 12 0\n" + PLAIN.split("\n", 2)[2],
    "one line": "OFF 8 12 0\n" + PLAIN.split("\n", 2)[2],
    "COFF": off_text("COFF\n8 12 0\n", more=" 0.5 0.5 0.5 1"),
    "COFF in bytes": off_text("COFF\n8 12 0\n", more=" 255 0 9 255", colour=" 9 9 9"),
    "NOFF": off_text("NOFF\n8 12 0\n", more=" 0 0 1"),
    "noff, glued": off_text("noff8 12 0\n", more=" 0 0 1"),
    "STOFF": off_text("STOFF\n8 12 0\n", more=" 0.1 0.9"),
    "CNOFF": off_text("CNOFF\n8 12 0\n", more=" 0 0 1 0.5 0.5 0.5 1"),
    "STCNOFF": off_text("STCNOFF\n8 12 0\n", more=" 0 0 1 0.5 0.5 0.5 1 0.3 0.3"),
    "NCOFF, as MeshLab": off_text("NCOFF\n8 12 0\n", more=" 0 0 1 0 0 255 255"),
    "4OFF": off_text("4OFF\n8 12 0\n", [[2 * x, 2 * y, 2 * z, 2] for x, y, z in POINTS]),
    "C4OFF": off_text("C4OFF\n8 12 0\n", [[*p, 1] for p in POINTS], more=" 1 1 1 1"),
    "no header": off_text("8 12 0\n"),
    "no header, a comment": off_text("# points faces edges\n8 12 18\n"),
    "two counts": off_text("OFF\n8 12\n"),
    "a line a count": off_text("OFF\n8\n12\n0\n"),
    "counts on two lines": off_text("OFF\n8 12\n0\n"),
    "colours without saying so": off_text(more=" 0.5 0.5 0.5"),
    "colours behind faces": off_text(colour=" 0.1 0.2 0.3"),
    "colours behind some faces": off_text(faces=TRIANGLES[:6]).replace("8 12 0", "8 12 0")
    + lines([[3, *f] for f in TRIANGLES[6:]], after=" 255 0 0 128"),
    "an index behind faces": off_text(colour=" 7"),
    "quads": off_text("OFF\n8 6 0\n", faces=QUADS),
    "quads and triangles": off_text("OFF\n8 7 0\n", faces=MIXED, colour=" 1 0 0"),
    "points and lines too": off_text("OFF\n8 14 0\n", faces=[[0], *TRIANGLES, [1, 2]]),
    "CRLF": PLAIN.replace("\n", "\r\n"),
    "CR": PLAIN.replace("\n", "\r"),
    "no final newline": PLAIN.rstrip(),
    "tabs and blanks": "  " + PLAIN.replace(" ", "\t ").replace("\n", "  \n  "),
    "all on one line": PLAIN.replace("\n", " "),
    "all on one line, normals": off_text("NOFF\n8 12 0\n", more=" 0 0 1").replace("\n", " "),
    "a word a line": PLAIN.replace(" ", "\n"),
    "exponents": PLAIN.replace("0.5", "5e-1").replace("1.5", "0.15E+1"),
}


def obj_text(points=POINTS, faces=TRIANGLES, more="", corner="{}"):
    numbers = [[corner.format(k + 1) for k in face] for face in faces]
    return lines(points, "v ", more) + lines(numbers, "f ")


OBJ = obj_text()
HALVES = obj_text(POINTS[:0], TRIANGLES[:6]), obj_text(POINTS[:0], TRIANGLES[6:])
RELATIVE = lines(POINTS, "v ") + lines([[k - 8 for k in f] for f in TRIANGLES], "f ")
OBJS = {
    "plain": OBJ,
    "from the end": RELATIVE,
    "from the end, with normals": "vn 0 0 1\n"
    + lines(POINTS, "v ")
    + lines([[f"{k - 8}//-1" for k in f] for f in TRIANGLES], "f "),
    "from the end, a point before": "v 0 0 0\n" + RELATIVE,
    "from the end, more points later": RELATIVE + "v 0 0 0\nv 0.1 0.1 0.1\n",
    "quads": obj_text(faces=QUADS),
    "quads and triangles": obj_text(faces=MIXED),
    "no final newline": OBJ.rstrip(),
    "colours": obj_text(more=" 0.1 0.2 0.3"),
    "weights": obj_text(more=" 1.0"),
    "textures": "vt 0 0\n" + obj_text(corner="{}/1"),
    "textures and normals": "vt 0 0\nvn 0 0 1\n" + obj_text(corner="{}/1/1"),
    "groups": lines(POINTS, "v ") + "g one\n" + HALVES[0] + "g two\ns off\n" + HALVES[1],
    "materials that are not there": "mtllib no.mtl\nusemtl a\n"
    + OBJ.replace("f 2", "usemtl b\nf 2"),
    "objects, points between faces": "o a\n"
    + lines(POINTS, "v ")
    + HALVES[0]
    + "v 0 0 0\n"
    + HALVES[1],
    "lines and points": OBJ + "l 1 2 3\np 4\n",
    "CRLF": OBJ.replace("\n", "\r\n"),
    "CR": OBJ.replace("\n", "\r"),
    "mark of UTF-8": "\ufeff" + OBJ,
    "UTF-16": OBJ.encode("utf-16"),
    "comments": "# made\n" + OBJ.replace("\n", " # here\n#\n"),
    "indented": OBJ.replace("\n", "\n   ").replace(" ", "\t "),
    "lines that go on": OBJ.replace("f ", "f \\\n"),
}


def ply_data(kind="ascii", faces=TRIANGLES, eol="\n", about="", mark="", more=(), number="float"):
    """A box as PLY; more: whether points and faces have a colour."""
    colours = [f"property uchar {name}" for name in more]
    header = [f"{mark}ply", f"format {kind} 1.0", *about.split("\n")[:-1], "element vertex 8"]
    header += [*(f"property {number} {axis}" for axis in "xyz"), *colours]
    header += [f"element face {len(faces)}", "property list uchar int vertex_indices", *colours]
    header += ["end_header", ""]
    colour = [9] * len(more)
    if kind == "ascii":
        rows = [*([*p, *colour] for p in POINTS), *([len(f), *f, *colour] for f in faces)]
        return (eol.join(header) + lines(rows).replace("\n", eol)).encode()
    order, letter = "<" if "little" in kind else ">", {"float": "f", "double": "d"}[number]
    tail = bytes(colour)
    points = b"".join(struct.pack(f"{order}3{letter}", *p) + tail for p in POINTS)
    cut = b"".join(struct.pack(f"{order}B{len(f)}i", len(f), *f) + tail for f in faces)
    return eol.join(header).encode() + points + cut


LITTLE, BIG = "binary_little_endian", "binary_big_endian"
RGB, SAID = ("red", "green", "blue"), "comment made by x\nobj_info 3 4\n"
PLYS = {
    "text": ply_data(),
    "text, quads": ply_data(faces=QUADS),
    "text, quads and triangles": ply_data(faces=MIXED),
    "text, CRLF": ply_data(eol="\r\n"),
    "text, CR": ply_data(eol="\r"),
    "text, a mark": ply_data(mark="\ufeff"),
    "text, comments": ply_data(about=SAID),
    "text, colours": ply_data(more=RGB),
    "text, blank lines": ply_data(eol="\n\n"),
    "text, vertex_index": ply_data().replace(b"vertex_indices", b"vertex_index"),
    "little": ply_data(LITTLE),
    "big": ply_data(BIG),
    "little, quads": ply_data(LITTLE, QUADS),
    "big, quads": ply_data(BIG, QUADS),
    "little, quads and triangles": ply_data(LITTLE, MIXED),
    "big, quads and triangles, colours": ply_data(BIG, MIXED, more=RGB),
    "little, CRLF": ply_data(LITTLE, eol="\r\n"),
    "big, CRLF": ply_data(BIG, eol="\r\n"),
    "little, CR": ply_data(LITTLE, eol="\r"),
    "little, comments, colours": ply_data(LITTLE, about=SAID, more=RGB),
    "big, double": ply_data(BIG, number="double"),
    "little, double": ply_data(LITTLE, number="double"),
    "little, a mark": ply_data(LITTLE, mark="\ufeff"),
    "other names of types": ply_data(LITTLE).replace(b"uchar int ", b"uint8 int32 "),
    "edges behind": ply_data().replace(b"end_header", b"element edge 1\nproperty int a\nend_header")
    + b"7\n",
}


def stl_text(name="part", end=None, eol="\n"):
    facets = "".join(
        f"facet normal 0 0 1{eol}outer loop{eol}"
        + "".join(f"  vertex {x:e} {y} {z}{eol}" for x, y, z in corners)
        + f"endloop{eol}endfacet{eol}"
        for corners in BOX.triangles.tolist()
    )
    return f"solid {name}{eol}{facets}endsolid {name if end is None else end}{eol}"


def stl_binary(header=b"made by x"):
    facets = b"".join(struct.pack("<12f", 0, 0, 1, *c.ravel()) + b"\0\0" for c in BOX.triangles)
    return header.ljust(80, b"\0")[:80] + struct.pack("<I", 12) + facets


STLS = {
    "text": stl_text(),
    "no name": stl_text(""),
    "odd name": stl_text("my part: ü (v2), facet 3", ""),
    "a name of the format's words": stl_text("vertex facet 3 endsolid"),
    "other name at the end": stl_text("a", "b c"),
    "upper case": stl_text().upper(),
    "CRLF": stl_text(eol="\r\n"),
    "CR": stl_text(eol="\r"),
    "a mark": "\ufeff" + stl_text(),
    "UTF-16": stl_text().encode("utf-16"),
    "indented with tabs": stl_text().replace("\n", "\n\t\t"),
    "blank lines": "\n\n" + stl_text().replace("\n", "\n\n"),
    "end solid": stl_text().replace("endsolid", "end solid"),
    "binary": stl_binary(),
    "binary that begins with solid": stl_binary(b"solid part"),
    "binary that looks like text": stl_binary(b"solid\nfacet normal 0 0 1\nouter loop\nvertex 1"),
    "binary, blanks": stl_binary(b"solid".ljust(80)),
    "binary, something behind": stl_binary() + b"\0\0\0\0",
}
EVERY = [
    (suffix, name)
    for suffix, kinds in (("off", OFFS), ("obj", OBJS), ("ply", PLYS), ("stl", STLS))
    for name in kinds
]


@pytest.mark.parametrize("suffix, name", EVERY)
def test_each_way_to_write_a_box_gives_the_box(suffix, name, tmp_path):
    data = {"off": OFFS, "obj": OBJS, "ply": PLYS, "stl": STLS}[suffix][name]
    path = tmp_path / f"box.{suffix}"
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    mesh = meshes.read_mesh(path)
    corners = np.unique(mesh.vertices[mesh.faces].reshape(-1, 3).round(6), axis=0)
    assert np.allclose(corners, np.unique(np.round(POINTS, 6), axis=0))
    assert len(mesh.faces) == 12
    assert mesh.area == pytest.approx(22) and abs(mesh.volume) == pytest.approx(6)
    assert np.array_equal(meshes.render_views(mesh, 12), meshes.render_views(BOX, 12))


REFUSED = {
    "a binary OFF": (
        "off",
        b"OFF BINARY\n\0\0\0\x08\0\0\0\x0c",
        "binary OFF file: save it as text",
    ),
    "a binary COFF": ("off", b"coff binary\n\0\0\0\x08", "binary OFF file: save it as text"),
    "four dimensions": ("off", "nOFF\n4\n8 12 0\n" + PLAIN, "three"),
    "a picture": ("off", b"\x89PNG\r\n\x1a\n", "no OFF file"),
    "a face less": ("off", PLAIN.rsplit("3 ", 1)[0], "truncated"),
    "a corner less": ("off", PLAIN.rstrip().rsplit(" ", 1)[0], "truncated"),
    "a negative corner": ("off", PLAIN.replace("3 1 3 0", "3 1 -3 0"), "vertices -3..7 of 8"),
    "a corner too many": ("off", PLAIN.replace("3 1 3 0", "3 1 8 0"), "vertices 0..8 of 8"),
    "a point at infinity": (
        "off",
        off_text("4OFF\n8 12 0\n", [[*p, 0] for p in POINTS]),
        "NaN or inf",
    ),
    "a word for a number": ("off", PLAIN.replace("0.5", "half"), "could not convert"),
    "OBJ with vertex 0": ("obj", OBJ.replace("f 2", "f 0"), "first vertex of OBJ is 1"),
    "OBJ with vertex 9": ("obj", OBJ.replace("f 2", "f 9"), "of 8 vertices"),
    "OBJ from before its start": ("obj", OBJ.replace("f 2", "f -9"), "of 8 vertices"),
    "OBJ of curves only": ("obj", "v 0 0 0\nv 1 0 0\nv 0 1 0\ncurv 0 1 1 2 3\n", "empty"),
    "PLY of points only": (
        "ply",
        b"ply\nformat ascii 1.0\nelement vertex 1\nproperty float x\n"
        b"property float y\nproperty float z\nend_header\n0 0 0\n",
        "empty",
    ),
    "PLY cut off": ("ply", ply_data()[:-9], "truncated"),
    "binary PLY cut off": ("ply", ply_data(BIG)[:-9], "truncated"),
    "PLY without a header": ("ply", b"ply\nformat ascii", "no PLY file"),
    "STL cut off": ("stl", stl_text()[:900], "truncated"),
    "STL cut off behind a facet": ("stl", stl_text().rsplit("facet normal", 1)[0], "no endsolid"),
    "binary STL cut off": ("stl", stl_binary()[:-7], "truncated"),
    "STL of nothing": ("stl", b"", "truncated or no STL"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_read_is_named_with_the_reason(case, tmp_path):
    suffix, data, message = REFUSED[case]
    path = tmp_path / f"bad.{suffix}"
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    with pytest.raises(ValueError) as error:
        meshes.read_mesh(path)
    assert message in str(error.value) and str(error.value).startswith(f"bad.{suffix}")


ROUND = [(np.cos(a), np.sin(a)) for a in np.arange(11) * 2 * np.pi / 11]
STAR = [(x, y) if k % 2 else (0.3 * x, 0.3 * y) for k, (x, y) in enumerate(ROUND[:10])]
FLAT = {
    "five corners": [(0, 0), (2, 0), (3, 1), (1, 3), (-1, 1)],
    "eleven corners": ROUND,
    "an L": [(0, 0), (2, 0), (2, 1), (1, 1), (1, 2), (0, 2)],
    "an arrow": [(0, 0), (2, 1), (0, 2), (0.5, 1)],
    "a comb": [
        (0, 0),
        (5, 0),
        (5, 3),
        (4, 3),
        (4, 1),
        (3, 1),
        (3, 3),
        (2, 3),
        (2, 1),
        (1, 1),
        (1, 3),
        (0, 3),
    ],
    "a star": STAR,
    "corners on a straight edge": [(0, 0), (1, 0), (2, 0), (2, 2), (1, 2), (0, 2), (0, 1)],
}


@pytest.mark.parametrize("shape", FLAT)
@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("first", [0, 1, 3])
def test_polygons_are_cut_without_a_gap_or_an_overlap(shape, backwards, first):
    """Of each: as many triangles as it needs, all turning its way, together as large as it is."""
    flat = np.roll(np.array(FLAT[shape], float), -first, 0)[:: -1 if backwards else 1]
    x, y = flat.T
    area = abs(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2
    points = (
        np.column_stack([flat, np.zeros(len(flat))])
        @ trimesh.transformations.random_rotation_matrix(np.random.default_rng(0).random(3))[:3, :3]
    )
    faces = formats.triangles(points, [list(range(len(points)))])
    corners = points[faces]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]) / 2
    assert len(faces) == len(points) - 2
    assert np.linalg.norm(normals, axis=1).sum() == pytest.approx(area)
    assert np.linalg.norm(normals.sum(0)) == pytest.approx(area)


def test_polygons_without_end_do_not_hang():
    turn = np.linspace(0, 60, 5000)
    spiral = np.column_stack([turn * np.cos(turn), turn * np.sin(turn), 0 * turn])
    for count in (300, 5000):
        assert len(formats.triangles(spiral, [list(range(count))])) == count - 2
