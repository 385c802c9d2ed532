"""CAD meshes (OFF files) to pictures: views around each object by ray casting, without a display."""
import io
import re
from pathlib import Path

import numpy as np
import trimesh
from trimesh.ray.ray_pyembree import RayMeshIntersector

MAX_BYTES = 2**29      # of one file: about ten million faces
ELEVATION = 30         # degrees above the horizon, as in the multi-view literature (Su et al. 2015)
DISTANCE = 3.0         # of the camera from the centre of the object's bounding sphere, in its radii


def read_off(path):
    """Read an OFF file, also one with the glued header of many ModelNet40 files ("OFF3514 3546 0").

    Returns:
        trimesh.Trimesh, polygons cut into triangles.

    Raises:
        ValueError: not an OFF file, truncated, too large, no faces, flat, or with vertices that are no finite numbers.
    """
    path = Path(path)
    _refuse_large(path)
    text = re.sub(r"^\s*OFF", "OFF\n", path.read_text(errors="replace"), count=1)
    counts = re.match(r"OFF\s+(?:#.*\s+)*(\d+)\s+(\d+)", text)
    if not counts:
        raise ValueError(f"{path.name} is no OFF file: it does not begin with OFF and its counts")
    vertices, faces = map(int, counts.groups())
    _refuse_empty(vertices, faces, path.name)
    if 2 * (vertices + faces) > len(text):
        raise ValueError(f"{path.name} is truncated: {vertices} vertices and {faces} faces cannot be in {len(text)} characters")
    try:
        mesh = trimesh.load_mesh(io.StringIO(text), file_type="off", process=False)
    except Exception as error:  # trimesh and numpy each have their own
        raise ValueError(f"{path.name} is truncated or no OFF file ({type(error).__name__}: {error})") from error
    _check(mesh, vertices, faces, path.name)
    return mesh


def read_mesh(path):
    """Read a mesh of any format trimesh knows (OFF by read_off, which knows ModelNet's faults too).

    Raises:
        ValueError: as read_off.
    """
    path = Path(path)
    if path.suffix.lower() == ".off":
        return read_off(path)
    _refuse_large(path)
    try:
        mesh = trimesh.load_mesh(path, process=False)
        mesh = mesh.to_mesh() if isinstance(mesh, trimesh.Scene) else mesh
        vertices, faces = len(mesh.vertices), len(mesh.faces)
    except Exception as error:  # trimesh's readers each have their own
        raise ValueError(f"{path.name} cannot be read as a mesh ({type(error).__name__}: {error})") from error
    _refuse_empty(vertices, faces, path.name)
    _check(mesh, vertices, faces, path.name)
    return mesh


def _refuse_large(path):
    if path.stat().st_size > MAX_BYTES:
        raise ValueError(f"{path.name} has {path.stat().st_size} bytes, more than the limit of {MAX_BYTES}")


def _refuse_empty(vertices, faces, name):
    if vertices < 3 or not faces:
        raise ValueError(f"{name} is empty: {vertices} vertices, {faces} faces")


def _check(mesh, vertices, faces, name):
    if len(mesh.vertices) != vertices or len(mesh.faces) < faces:
        raise ValueError(f"{name} is truncated: {len(mesh.vertices)} of {vertices} vertices, {len(mesh.faces)} of {faces} faces")
    if not np.isfinite(mesh.vertices).all():
        raise ValueError(f"{name} has vertices that are NaN or infinite")
    if not 0 <= mesh.faces.min() <= mesh.faces.max() < vertices:
        raise ValueError(f"{name} has a face with vertex {mesh.faces.max()}, but only {vertices} vertices")
    if mesh.area == 0 or min(mesh.extents) <= 1e-6 * max(mesh.extents):
        raise ValueError(f"{name} is flat: its extents are {np.round(mesh.extents, 6).tolist()}")


def render_views(mesh, size, views=12):
    """Pictures from cameras evenly around the vertical axis, looking down at the object, which fills the frame.

    A face is the brighter the more it looks towards a light above and beside the camera; the background is black.

    Args:
        mesh: trimesh.Trimesh, z upwards.
        size: side in pixels; each pixel is the mean of 2 x 2 rays.

    Returns:
        uint8 [views, size, size, 1].
    """
    centre = mesh.bounds.mean(0)
    radius = np.linalg.norm(mesh.vertices - centre, axis=1).max()
    body = trimesh.Trimesh((mesh.vertices - centre) / radius, mesh.faces, process=False)
    caster, normals = RayMeshIntersector(body), body.face_normals
    pictures = []
    for azimuth in np.arange(views) * 2 * np.pi / views:
        eye, right, up = _camera(azimuth)
        rays = _rays(eye, right, up, 2 * size)
        face = caster.intersects_first(np.broadcast_to(DISTANCE * eye, rays.shape), rays)
        towards = normals[face] * -np.sign((normals[face] * rays).sum(1, keepdims=True))     # the side that is seen
        light = eye + 0.5 * up - 0.4 * right
        shade = 0.25 + 0.75 * np.clip(towards @ (light / np.linalg.norm(light)), 0, 1)
        pictures.append(np.where(face >= 0, shade, 0).reshape(size, 2, size, 2).mean((1, 3)))
    return (255 * np.stack(pictures)[..., None]).round().astype(np.uint8)


def _camera(azimuth):
    """Unit vectors from the object to the eye, to the right, and up."""
    elevation = np.radians(ELEVATION)
    eye = np.array([np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth), np.sin(elevation)])
    right = np.array([-np.sin(azimuth), np.cos(azimuth), 0])
    return eye, right, np.cross(eye, right)


def _rays(eye, right, up, side):
    """Directions [side * side, 3] through the pixels of a frame that just holds the unit sphere."""
    reach = np.tan(np.arcsin(1 / DISTANCE))
    across = reach * ((2 * np.arange(side) + 1) / side - 1)
    directions = -eye + across[None, :, None] * right - across[:, None, None] * up
    return directions.reshape(-1, 3) / np.linalg.norm(directions.reshape(-1, 3), axis=1, keepdims=True)
