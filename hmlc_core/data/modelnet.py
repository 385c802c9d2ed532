"""ModelNet10 and ModelNet40 (Wu et al. 2015) as pictures: twelve views of each CAD object."""

import warnings
from functools import partial
from hashlib import blake2b

import numpy as np

from hmlc_core import files
from hmlc_core.data import data_folders, downloads, each, formats, meshes

ARCHIVES = {
    "ModelNet10": (
        "https://3dvision.princeton.edu/projects/2014/3DShapeNets/ModelNet10.zip",
        "9d8679435fc07d1d26f13009878db164a7aa8ea5e7ea3c8880e42794b7307d51",
    ),
    "ModelNet40": (
        "https://modelnet.cs.princeton.edu/ModelNet40.zip",
        "42dc3e656932e387f554e25a4eb2cc0e1a1bd3ab54606e2a9eae444c60e536ac",
    ),
}
VIEWS = 12
HELD_OUT = (3, 7, 11)  # views of training objects on which the object level is tested

SUPER_CATEGORIES = {  # ours; ModelNet has none
    "seats and beds": "bed bench chair sofa stool toilet",
    "tables and storage": "bookshelf desk dresser glass_box night_stand table tv_stand wardrobe",
    "devices": "keyboard laptop monitor radio range_hood xbox lamp",
    "basins": "bathtub sink",
    "vessels and plants": "bottle bowl cup flower_pot plant vase",
    "structures": "cone curtain door mantel stairs tent",
    "vehicles": "airplane car",
    "people and instruments": "guitar person piano",
}


def folder_of(name):
    """Folder <category>/{train,test}/*.off of "ModelNet10" or "ModelNet40".

    It is the user's, unpacked if it is a zip, or downloaded.
    """
    for folder in data_folders():
        if (folder / name).is_dir():
            return folder / name
        if (folder / f"{name}.zip").exists():
            return downloads.unpack(folder / f"{name}.zip", folder / name)
    url, sha256 = ARCHIVES[name]
    return downloads.unpack(downloads.fetch(f"{name}.zip", [url], sha256), files.DATA / name)


def mesh_files(root, part="*"):
    """The OFF files of a part, sorted by category and name, without hidden ones."""
    found = root.glob(f"*/{part}/*.off")
    return sorted(path for path in found if not path.name.startswith("."))


def rendered(root, part, size):
    """All objects of a part ("train" or "test") as pictures.

    Made in parallel, and gone on with where that was interrupted. Meshes that cannot be rendered
    are left out, with a warning that names each and says why.

    Returns:
        views uint8 [objects, 12, size, size, 1], category [objects], names of the categories,
        names of the objects.

    Raises:
        ValueError: if there are fewer than two categories, or one without a usable mesh.
    """
    categories = sorted(folder.name for folder in root.iterdir() if (folder / part).is_dir())
    if len(categories) < 2:
        raise ValueError(
            f"{root} must hold folders <category>/{part}/*.off of at least two categories, found "
            f"{categories}"
        )
    paths = mesh_files(root, part)
    good, views = _usable(paths, _render_all(paths, root, part, size), root, part)
    category = np.array([categories.index(path.parts[-3]) for path in good], dtype=np.int64)
    without = sorted(set(categories) - {path.parts[-3] for path in good})
    if without:
        raise ValueError(f"{root}: no usable mesh in {without} ({part})")
    return np.stack(views), category, categories, [path.stem for path in good]


def _render_all(paths, root, part, size):
    """Of each mesh its pictures, or a text that says why there are none."""
    cache = files.DATA / "cache" / f"views-{root.name}-{size}-{files.code_hash(meshes, formats)}"
    return list(each(partial(_views, cache=cache, size=size), paths, f"render {root.name} {part}"))


def _usable(paths, views, root, part):
    """Paths and pictures of the meshes that could be rendered; warns of the others."""
    broken = [text for text in views if isinstance(text, str)]
    if broken:
        warnings.warn(
            f"{len(broken)} of {len(paths)} meshes of {root} ({part}) are left out:\n"
            + "\n".join(broken),
            stacklevel=3,
        )
    good = [(path, v) for path, v in zip(paths, views) if not isinstance(v, str)]
    return [path for path, _ in good], [v for _, v in good]


def _views(path, cache, size):
    """Pictures of one mesh, kept in `cache` by its content; or why it cannot be read, as a text."""
    digest = blake2b(path.read_bytes(), digest_size=12).hexdigest()
    kept = cache / f"{digest}.npz"
    if not kept.exists():
        try:
            pictures = meshes.render_views(meshes.read_off(path), size, VIEWS)
        except ValueError as error:
            return str(error)
        with files.writing(kept) as beside, open(beside, "wb") as stream:
            np.savez_compressed(stream, views=pictures)
    with np.load(kept) as stored:
        return stored["views"]


def split(train, test, split):
    """Images and labels of a split, from what `rendered` gave for both parts.

    train: every training object, without the held-out views. test: all views of the test objects,
    whose own class is unknown at object level (-1), and the held-out views of the training objects,
    unknown at category level: so categories are tested on unseen objects and objects on unseen
    views. fit and validation: the same with every tenth training object in the part of the test
    objects.

    Returns:
        images uint8 [N, size, size, 1], labels int64 [N, 2] (category, object), names of both.

    Raises:
        ValueError: if the parts have other categories.
    """
    if train[2] != test[2]:
        odd = sorted(set(train[2]) ^ set(test[2]))
        raise ValueError(f"train and test must have the same categories; one of them lacks {odd}")
    if split in ("fit", "validation"):
        train, test = _hold_out(*train)
    views, category, categories, names = train
    objects, seen = np.arange(len(views)), np.setdiff1d(np.arange(VIEWS), HELD_OUT)
    class_names = [categories, names]
    if split in ("train", "fit"):
        images = views[:, seen].reshape(-1, *views.shape[2:])
        return images, _labels(category, objects, len(seen)), class_names
    unseen, unseen_category = test[:2]
    parts = (unseen, views[:, HELD_OUT])
    images = np.concatenate([part.reshape(-1, *views.shape[2:]) for part in parts])
    labels = [
        _labels(unseen_category, np.full(len(unseen), -1), VIEWS),
        _labels(np.full(len(views), -1), objects, len(HELD_OUT)),
    ]
    return images, np.concatenate(labels), class_names


def _hold_out(views, category, categories, names):
    """The training objects without every tenth, and those, each as `rendered` gives them."""
    held = np.arange(len(views)) % 10 == 9
    parts = [np.flatnonzero(~held), np.flatnonzero(held)]
    return [(views[i], category[i], categories, [names[k] for k in i]) for i in parts]


def _labels(category, objects, views):
    return np.stack([category, objects], 1).repeat(views, 0).astype(np.int64)


def super_category(labels, class_names):
    """Labels [N, L] and their class names with a level on top, from SUPER_CATEGORIES (ours).

    Raises:
        ValueError: for a category that has none.
    """
    parents = {name: top for top, names in SUPER_CATEGORIES.items() for name in names.split()}
    without = sorted(set(class_names[0]) - set(parents))
    if without:
        raise ValueError(f"no super-category of {without}: add them to modelnet.SUPER_CATEGORIES")
    used = {parents[name] for name in class_names[0]}
    present = [top for top in SUPER_CATEGORIES if top in used]
    parent = np.array([present.index(parents[name]) for name in class_names[0]])
    top = np.where(labels[:, 0] >= 0, parent[labels[:, 0]], -1)
    return np.column_stack([top, labels]), [present, *class_names]
