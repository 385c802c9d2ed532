"""CAD meshes to pictures: views around each object by ray casting, without a display."""

from pathlib import Path

import numpy as np
import trimesh
from trimesh.ray.ray_pyembree import RayMeshIntersector

from hmlc_core.data import formats

MAX_BYTES = 2**29  # of one file: about ten million faces
ELEVATION = 30  # degrees above the horizon, as in the multi-view literature (Su et al. 2015)
DISTANCE = 3.0  # of the camera from the centre of the object's bounding sphere, in its radii


def read_off(path):
    """Read an OFF file, also one with the glued header of many ModelNet40 files ("OFF3514 3546 0").

    Returns:
        trimesh.Trimesh, polygons cut into triangles.

    Raises:
        ValueError: not an OFF file, binary, truncated, too large, no faces, flat, or with vertices
            that are no finite numbers; names the file.
    """
    return _read(Path(path), formats.off)


def read_mesh(path):
    """Read an OFF, OBJ, PLY or STL file, as text or binary, or any other that trimesh knows.

    Returns, raises: as read_off.
    """
    path = Path(path)
    return _read(path, formats.READERS.get(path.suffix.lower()))


def _read(path, reader):
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise ValueError(f"{path.name} has {size} bytes, more than the limit of {MAX_BYTES}")
    try:
        with np.errstate(all="ignore"):  # what is infinite is refused
            mesh = _mesh(path, reader)
            _check(mesh)
    except formats.Unreadable as error:
        raise ValueError(f"{path.name} {error}") from error
    except Exception as error:  # numpy and trimesh each have their own
        kind = path.suffix[1:].upper()
        raise ValueError(
            f"{path.name} is truncated or no {kind} file ({type(error).__name__}: {error})"
        ) from error
    return mesh


def _mesh(path, reader):
    if reader is None:
        mesh = trimesh.load_mesh(path, process=False)
        return mesh.to_mesh() if isinstance(mesh, trimesh.Scene) else mesh
    vertices, polygons = reader(path.read_bytes())
    _check_sizes(vertices, polygons)
    return trimesh.Trimesh(vertices, formats.triangles(vertices, polygons), process=False)


def _check_sizes(vertices, faces):
    if len(vertices) < 3 or not len(faces):
        raise formats.Unreadable(f"is empty: {len(vertices)} vertices, {len(faces)} faces")
    if not np.isfinite(vertices).all():
        raise formats.Unreadable("has vertices that are NaN or infinite")


def _check(mesh):
    _check_sizes(mesh.vertices, mesh.faces)
    if mesh.area == 0 or min(mesh.extents) <= 1e-6 * max(mesh.extents):
        raise formats.Unreadable(f"is flat: its extents are {np.round(mesh.extents, 6).tolist()}")


def render_views(mesh, size, views=12):
    """Pictures from cameras evenly around the vertical axis, looking down at the object.

    It fills the frame. A face is the brighter the more it looks towards a light above and beside
    the camera; the background is black.

    Args:
        mesh: trimesh.Trimesh, z upwards.
        size: side in pixels; each pixel is the mean of 2 x 2 rays.

    Returns:
        uint8 [views, size, size, 1].
    """
    centre = mesh.bounds.mean(0)
    radius = np.linalg.norm(mesh.triangles.reshape(-1, 3) - centre, axis=1).max()
    body = trimesh.Trimesh((mesh.vertices - centre) / radius, mesh.faces, process=False)
    caster, normals = RayMeshIntersector(body), body.face_normals
    pictures = []
    for azimuth in np.arange(views) * 2 * np.pi / views:
        eye, right, up = _camera(azimuth)
        rays = _rays(eye, right, up, 2 * size)
        face = caster.intersects_first(np.broadcast_to(DISTANCE * eye, rays.shape), rays)
        seen_side = -np.sign((normals[face] * rays).sum(1, keepdims=True))
        towards = normals[face] * seen_side
        light = eye + 0.5 * up - 0.4 * right
        shade = 0.25 + 0.75 * np.clip(towards @ (light / np.linalg.norm(light)), 0, 1)
        pictures.append(np.where(face >= 0, shade, 0).reshape(size, 2, size, 2).mean((1, 3)))
    return (255 * np.stack(pictures)[..., None]).round().astype(np.uint8)


def _camera(azimuth):
    """Unit vectors from the object to the eye, to the right, and up."""
    elevation = np.radians(ELEVATION)
    flat, height = np.cos(elevation), np.sin(elevation)
    eye = np.array([flat * np.cos(azimuth), flat * np.sin(azimuth), height])
    right = np.array([-np.sin(azimuth), np.cos(azimuth), 0])
    return eye, right, np.cross(eye, right)


def _rays(eye, right, up, side):
    """Directions [side * side, 3] through the pixels of a frame that just holds the unit sphere."""
    reach = np.tan(np.arcsin(1 / DISTANCE))
    across = reach * ((2 * np.arange(side) + 1) / side - 1)
    directions = -eye + across[None, :, None] * right - across[:, None, None] * up
    directions = directions.reshape(-1, 3)
    return directions / np.linalg.norm(directions, axis=1, keepdims=True)
