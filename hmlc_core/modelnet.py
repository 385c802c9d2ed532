"""ModelNet10 and ModelNet40 (Wu et al. 2015) as pictures: twelve views of each CAD object."""
import warnings

import numpy as np
from joblib import Parallel, delayed

from hmlc_core import downloads, files, meshes
from hmlc_core.progress import progress_bar

ARCHIVES = {
    "ModelNet10": ("https://3dvision.princeton.edu/projects/2014/3DShapeNets/ModelNet10.zip",
                   "9d8679435fc07d1d26f13009878db164a7aa8ea5e7ea3c8880e42794b7307d51"),
    "ModelNet40": ("https://modelnet.cs.princeton.edu/ModelNet40.zip",
                   "42dc3e656932e387f554e25a4eb2cc0e1a1bd3ab54606e2a9eae444c60e536ac"),
}
VIEWS = 12
HELD_OUT = (3, 7, 11)       # views of training objects that are not trained on: the object level is tested on them

SUPER_CATEGORIES = {        # ours; ModelNet has none
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
    """Folder <category>/{train,test}/*.off of "ModelNet10" or "ModelNet40": the user's, or downloaded and unpacked."""
    for folder in files.data_folders():
        if (folder / name).is_dir():
            return folder / name
        if (folder / f"{name}.zip").exists():
            return downloads.unpack(folder / f"{name}.zip", folder / name)
    url, sha256 = ARCHIVES[name]
    return downloads.unpack(downloads.fetch(f"{name}.zip", [url], sha256), files.DATA / name)


def rendered(root, part, size):
    """All objects of a part ("train" or "test") as pictures; done in parallel, and gone on with where it was interrupted.

    Meshes that cannot be rendered are left out, with a warning that names each and says why.

    Returns:
        views uint8 [objects, 12, size, size, 1], category [objects], names of the categories, names of the objects.

    Raises:
        ValueError: if there are fewer than two categories, or one without a usable mesh.
    """
    categories = sorted(folder.name for folder in root.iterdir() if (folder / part).is_dir())
    if len(categories) < 2:
        raise ValueError(f"{root} must hold folders <category>/{part}/*.off of at least two categories, found {categories}")
    paths = [path for category in categories for path in sorted((root / category / part).glob("*.off"))]
    cache = files.DATA / "cache" / f"views-{root.name}-{size}-{files.code_hash(meshes)}"
    jobs = (delayed(_views)(path, cache / _cache_name(path, root), size) for path in paths)
    views = list(progress_bar(Parallel(n_jobs=-1, return_as="generator")(jobs), f"render {root.name} {part}", len(paths)))
    broken = [str(v) for v in views if isinstance(v, str)]
    if broken:
        warnings.warn(f"{len(broken)} of {len(paths)} meshes of {root} ({part}) are left out:\n" + "\n".join(broken), stacklevel=2)
    good = [(path, v) for path, v in zip(paths, views) if not isinstance(v, str)]
    category = np.array([categories.index(path.parts[-3]) for path, _ in good], dtype=np.int64)
    if len(set(category)) < len(categories):
        raise ValueError(f"{root}: no usable mesh in {sorted(set(categories) - {categories[k] for k in category})} ({part})")
    return np.stack([v for _, v in good]), category, categories, [path.stem for path, _ in good]


def _cache_name(path, root):
    """Of a mesh: another one of the same name, elsewhere or later, has another."""
    status = path.stat()
    return "-".join([*path.relative_to(root).parts[:-1], path.stem, str(status.st_size), str(status.st_mtime_ns)]) + ".npz"


def _views(path, cached, size):
    """Pictures of one mesh, from the cache if they were made before; or, if it cannot be read, the reason as a text."""
    if not cached.exists():
        try:
            pictures = meshes.render_views(meshes.read_off(path), size, VIEWS)
        except ValueError as error:
            return str(error)
        with files.writing(cached) as beside, open(beside, "wb") as stream:
            np.savez_compressed(stream, views=pictures)
    with np.load(cached) as stored:
        return stored["views"]


def split(train, test, split):
    """Images and labels of a split, from what `rendered` gave for both parts.

    train: every training object, without the held-out views. test: all views of the test objects, whose own class is
    unknown at object level (-1), and the held-out views of the training objects, unknown at category level: so
    categories are tested on unseen objects and objects on unseen views. fit and validation: the same with every tenth
    training object in the part of the test objects.

    Returns:
        images uint8 [N, size, size, 1], labels int64 [N, 2] (category, object), names of both.
    """
    views, category, categories, names = train
    seen = np.setdiff1d(np.arange(VIEWS), HELD_OUT)
    objects = np.arange(len(views))
    unseen, unseen_category = test[0], test[1]
    if split in ("fit", "validation"):
        held = objects % 10 == 9
        unseen, unseen_category = views[held], category[held]
        views, category, names = views[~held], category[~held], [n for n, h in zip(names, held) if not h]
        objects = np.arange(len(views))
    class_names = [categories, names]
    if split in ("train", "fit"):
        return views[:, seen].reshape(-1, *views.shape[2:]), _labels(category, objects, len(seen)), class_names
    images = np.concatenate([part.reshape(-1, *views.shape[2:]) for part in (unseen, views[:, HELD_OUT])])
    labels = [_labels(unseen_category, np.full(len(unseen), -1), VIEWS), _labels(np.full(len(views), -1), objects, len(HELD_OUT))]
    return images, np.concatenate(labels), class_names


def _labels(category, objects, views):
    return np.stack([category, objects], 1).repeat(views, 0).astype(np.int64)


def super_category(labels, class_names):
    """The same labels with a level on top, from SUPER_CATEGORIES (ours)."""
    present = [name for name, members in SUPER_CATEGORIES.items() if set(members.split()) & set(class_names[0])]
    parent = np.array([next(k for k, name in enumerate(present) if category in SUPER_CATEGORIES[name].split())
                       for category in class_names[0]])
    top = np.where(labels[:, 0] >= 0, parent[labels[:, 0]], -1)
    return np.column_stack([top, labels]), [present, *class_names]
