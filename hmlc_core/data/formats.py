"""Mesh files, as their formats allow and as programs write them, to vertices and triangles."""

import re
import struct
from codecs import BOM_UTF16_BE, BOM_UTF16_LE

import numpy as np

OFF = re.compile(
    r"((?:ST|[CN4])*)OFF(\d*)", re.I
)  # the counts may be glued to it, as in ModelNet40
PLY = {"char": "i1", "uchar": "u1", "short": "i2", "ushort": "u2", "int": "i4", "uint": "u4"}
PLY |= {"int8": "i1", "uint8": "u1", "int16": "i2", "uint16": "u2", "int32": "i4", "uint32": "u4"}
PLY |= {"float": "f4", "float32": "f4", "double": "f8", "float64": "f8"}
LONGEST = 1000  # corners of a polygon that is looked at for ears


class Unreadable(ValueError):
    """What is wrong with a mesh file, to be put behind its name."""


def off(data):
    """OFF: vertices float64 [V, 3] and polygons, lists of vertex numbers.

    Also COFF, NOFF, STOFF, 4OFF and their mixtures; colours and normals are left out. Binary files
    and other dimensions are refused.
    """
    rows = _rows(re.sub(r"#.*", "", _text(data)))
    kind = _off_header(rows)
    vertices, faces = counts = _off_counts(rows)
    if 2 * (vertices + faces) > len(data):
        raise Unreadable(
            f"is truncated: {vertices} vertices and {faces} faces cannot be in {len(data)} bytes"
        )
    width = 4 if "4" in kind else 3
    numbers = _off_by_line(rows, width, *counts) or _off_by_word(rows, kind, width, *counts)
    points = np.array(numbers[0], np.float64).reshape(vertices, width)
    return points[:, :3] / points[:, 3:] if width == 4 else points, numbers[1]


def _off_header(rows):
    """Take the header off the first row; returns the letters before OFF, "" without a header."""
    word = rows[0][0] if rows else ""
    found = OFF.fullmatch(word)
    if re.fullmatch(r"\w*nOFF\d*", word):
        raise Unreadable("is an OFF file of any number of dimensions: save it with three")
    if rows and len(rows[0]) > 1 and rows[0][1].upper() == "BINARY":
        raise Unreadable("is a binary OFF file: save it as text")
    if found is None and not word.isdecimal():
        raise Unreadable("is no OFF file: it does not begin with OFF and its counts")
    if found is None:
        return ""
    rows[0] = [found[2], *rows[0][1:]] if found[2] else rows[0][1:]
    if not rows[0]:
        del rows[0]
    return found[1].upper()


def _off_counts(rows):
    """Take the counts of vertices, faces and edges off the first rows; the last may be missing."""
    words = []
    while len(words) < 3 and rows and not (len(words) == 2 and len(rows[0]) > 2):
        words += rows.pop(0)
    if len(words) > 3:
        rows.insert(0, words[3:])
    if len(words) < 2 or not all(word.isdecimal() for word in words[:2]):
        raise Unreadable("is no OFF file: it does not begin with OFF and its counts")
    return int(words[0]), int(words[1])


def _off_by_line(rows, width, vertices, faces):
    """Coordinates and polygons of a file with a line for each; None if it is not written so."""
    corners, polygons = rows[:vertices], rows[vertices : vertices + faces]
    if len(polygons) < faces or any(len(row) < width for row in corners):
        return None
    if any(not row[0].isdecimal() or len(row) <= int(row[0]) for row in polygons):
        return None
    indices = [[int(word) for word in row[1 : int(row[0]) + 1]] for row in polygons]
    return [row[:width] for row in corners], indices


def _off_by_word(rows, kind, width, vertices, faces):
    """The same of a file whose lines mean nothing, as the format allows without face colours."""
    words = [word for row in rows for word in row]
    stride = width + 3 * ("N" in kind) + 4 * ("C" in kind) + 2 * ("ST" in kind)
    corners = [words[i * stride : i * stride + width] for i in range(vertices)]
    place, polygons = vertices * stride, []
    while len(polygons) < faces and place < len(words):
        count = int(words[place])
        polygons.append([int(word) for word in words[place + 1 : place + 1 + count]])
        place += 1 + max(count, 0)
    if place > len(words) or len(polygons) < faces:
        raise Unreadable(
            f"is truncated: {len(words)} numbers are too few for {vertices} vertices and "
            f"{faces} faces"
        )
    if place < len(words):
        raise Unreadable("has faces with colours, but no line for each: write one face a line")
    return corners, polygons


def obj(data):
    """OBJ: vertices float64 [V, 3] and polygons; only the lines v and f count."""
    text = re.sub(r"#.*", "", _text(data)).replace("\\\n", " ")
    vertices, polygons = [], []
    for keyword, *words in _rows(text):
        if keyword == "v":
            vertices.append(words[:3])
        elif keyword in ("f", "fo"):  # fo: of old versions
            numbers = [int(word.split("/")[0]) for word in words]
            if 0 in numbers:
                raise Unreadable("has a face with vertex 0: the first vertex of OBJ is 1")
            polygons.append([n - 1 if n > 0 else len(vertices) + n for n in numbers])
    return np.array(vertices, np.float64).reshape(-1, 3), polygons


def ply(data):
    """PLY, as text or binary: vertices float64 [V, 3] and polygons."""
    kind, elements, body = _ply_header(data)
    read = _Words(body) if kind == "ascii" else _Bytes(body, "<" if "little" in kind else ">")
    vertices, polygons = np.zeros((0, 3)), []
    for name, (count, properties) in elements.items():
        columns = _ply_element(read, count, properties)
        if name == "vertex":
            vertices = np.stack([np.array(columns[axis], np.float64) for axis in "xyz"], 1)
        elif name == "face":
            lists = [key for key, kinds in properties.items() if len(kinds) == 2]
            named = [key for key in lists if key in ("vertex_indices", "vertex_index")]
            polygons = [[int(n) for n in row] for row in columns[(named or lists)[0]]]
    return vertices, polygons


def _ply_header(data):
    """The format, {element: (count, {property: its types, two of a list})}, and what follows."""
    start = re.match(rb"(?:\xef\xbb\xbf)?\s*ply[ \t]*(\r\n|\r|\n)", data, re.I)
    end = start and re.compile(rb"end_header[ \t]*" + start[1]).search(data)
    if not end:
        raise Unreadable("is no PLY file: it does not begin with ply and a header")
    kind, elements, properties = "ascii", {}, {}
    for keyword, *words in _rows(_text(data[start.end() : end.start()])):
        if keyword == "format":
            kind = words[0].lower()
        elif keyword == "element":
            properties = {}
            elements[words[0]] = int(words[1]), properties
        elif keyword == "property":
            properties[words[-1]] = [PLY[word] for word in words[:-1] if word != "list"]
    return kind, elements, data[end.end() :]


def _ply_element(read, count, properties):
    """{property: its values for all elements of a kind}; the value of a list is an array."""
    if all(len(kinds) == 1 for kinds in properties.values()):
        return read.table(count, {name: kinds[0] for name, kinds in properties.items()})
    columns = {name: [] for name in properties}
    for _ in range(count):
        for name, kinds in properties.items():
            length = int(read.take(kinds[0], 1)[0]) if len(kinds) == 2 else 1
            columns[name].append(read.take(kinds[-1], length))
    return columns


class _Words:
    """The numbers of a text, one after the other."""

    def __init__(self, data):
        self.words, self.place = _text(data).split(), 0

    def take(self, kind, count):
        taken = self.words[self.place : self.place + max(count, 0)]
        if len(taken) != count:
            raise Unreadable(f"is truncated: {len(self.words)} numbers are too few")
        self.place += count
        return np.array(taken, np.float64)

    def table(self, count, kinds):
        rows = self.take("f8", count * len(kinds)).reshape(count, len(kinds))
        return dict(zip(kinds, rows.T))


class _Bytes:
    """The numbers of binary data, one after the other."""

    def __init__(self, data, order):
        self.data, self.order, self.place = data, order, 0

    def take(self, kind, count):
        dtype = np.dtype(kind).newbyteorder(self.order)
        end = self.place + count * dtype.itemsize
        if count < 0 or end > len(self.data):
            raise Unreadable(f"is truncated: {len(self.data)} bytes are too few")
        taken = np.frombuffer(self.data[self.place : end], dtype)
        self.place = end
        return taken

    def table(self, count, kinds):
        rows = self.take(list(kinds.items()), count)
        return {name: rows[name] for name in kinds}


def stl(data):
    """STL, as text or binary: vertices float64 [3 F, 3] and their triangles."""
    count = struct.unpack("<I", data[80:84])[0] if len(data) >= 84 else 0
    exact = len(data) >= 84 and len(data) == 84 + 50 * count
    text = "" if exact else _text(data).lower()
    if re.search(r"^\s*vertex\s", text, re.M):
        corners = _stl_corners(_rows(text))
    elif 84 + 50 * count > len(data):
        raise Unreadable(f"is truncated or no STL file: {count} triangles in {len(data)} bytes")
    else:
        facet = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("about", "<u2")])
        corners = np.frombuffer(data, facet, count, 84)["corners"]
    vertices = np.array(corners, np.float64).reshape(-1, 3)
    return vertices, np.arange(len(vertices)).reshape(-1, 3)


def _stl_corners(rows):
    corners = [row[1:4] for row in rows if row[0] == "vertex"]
    if len(corners) % 3 or not "".join(rows[-1]).startswith("endsolid"):
        raise Unreadable(f"is truncated: {len(corners)} vertices and no endsolid at the end")
    return corners


def _text(data):
    """Text of a file with any mark of its encoding and any line ends."""
    wide = data[:2] in (BOM_UTF16_LE, BOM_UTF16_BE)
    text = data.decode("utf-16" if wide else "utf-8-sig", errors="replace")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _rows(text):
    """The words of each line that has any."""
    return [words for words in map(str.split, text.split("\n")) if words]


def triangles(vertices, polygons):
    """Cut polygons into triangles: fans, and ears where a polygon is not convex.

    Args:
        vertices: float [V, 3]; polygons: lists of vertex numbers; points and lines are left out.

    Returns:
        int64 [F, 3].

    Raises:
        Unreadable: for numbers of vertices that there are not.
    """
    groups = {}
    for polygon in polygons:
        groups.setdefault(len(polygon), []).append(polygon)
    faces = [np.zeros((0, 3), np.int64)]
    for corners, group in sorted(groups.items()):
        group = np.array(group, np.int64).reshape(-1, corners)
        if group.size and not 0 <= group.min() <= group.max() < len(vertices):
            raise Unreadable(
                f"has faces with vertices {group.min()}..{group.max()} of {len(vertices)} vertices"
            )
        if corners >= 3:
            faces += _cut(vertices, group)
    return np.concatenate(faces)


def _cut(vertices, group):
    """Triangles of polygons [P, corners], a list of arrays [., 3]."""
    corners = group.shape[1]
    convex = np.ones(len(group), bool)
    if 3 < corners <= LONGEST:
        convex = _turns(vertices[group]).min(1) >= 0
    fans = [group[convex][:, [0, k, k + 1]] for k in range(1, corners - 1)]
    return [*fans, *(polygon[_ears(vertices[polygon])] for polygon in group[~convex])]


def _turns(points):
    """How far polygons [P, corners, 3] turn at each corner, seen along their normal; > 0: left."""
    before, after = np.roll(points, 1, 1), np.roll(points, -1, 1)
    normal = np.cross(points - points[:, :1], after - points[:, :1]).sum(1, keepdims=True)
    turns = (np.cross(points - before, after - points) * normal).sum(2)
    least = 1e-9 * np.abs(turns).max(1, keepdims=True)  # straight on, up to rounding
    return np.where(np.abs(turns) <= least, 0, turns)


def _ears(points):
    """Triangles [corners - 2, 3] of a polygon [corners, 3], corner by corner cut off."""
    normal = np.cross(points - points[0], np.roll(points, -1, 0) - points[0]).sum(0)
    left, ears = list(range(len(points))), []
    while len(left) > 3:
        count = len(left)
        trios = [(left[k - 1], left[k], left[(k + 1) % count]) for k in range(count)]
        k = next((k for k, trio in enumerate(trios) if _is_ear(points, left, trio, normal)), 0)
        ears.append(trios[k])
        del left[k]
    return np.array([*ears, left])


def _is_ear(points, left, trio, normal):
    """Whether a trio of corners turns left and no other corner lies in its triangle."""
    a, b, c = points[list(trio)]
    if np.cross(b - a, c - b) @ normal <= 0:
        return False
    others = points[[k for k in left if k not in trio]]
    sides = [np.cross(q - p, others - p) @ normal for p, q in ((a, b), (b, c), (c, a))]
    return not (np.stack(sides) >= 0).all(0).any()


READERS = {".off": off, ".obj": obj, ".ply": ply, ".stl": stl}
