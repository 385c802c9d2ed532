"""Pictures that are the same, or nearly."""

import hashlib

import numpy as np

CELLS = 8  # thumbnails of nearly identical pictures are CELLS x CELLS
NEAR = 2.0  # grey levels (root mean square) by which such thumbnails differ at most
BLOCK = 1024


def same_pixels(images):
    """A number for each picture, the same for identical ones: int64 [N], in order of appearance."""
    numbers = {}
    digests = (hashlib.blake2b(image, digest_size=16).digest() for image in images)
    return np.array([numbers.setdefault(digest, len(numbers)) for digest in digests], np.int64)


def near_identical(images, others=None):
    """For each picture the place of the nearest other one, if it is nearly identical, else -1.

    Compared are thumbnails: copies saved again or resized are found, cropped ones are not.

    Args:
        images: uint8 [N, H, W, C].
        others: pictures to compare with; None = those that come earlier among `images`.

    Returns:
        int64 [N].
    """
    mine = thumbnails(images)
    theirs = mine if others is None else thumbnails(others)
    if not len(theirs):
        return np.full(len(mine), -1)
    grey = mine.mean(2), theirs.mean(2)
    middle = grey[1].mean(0)
    nearest = _nearest(grey[0] - middle, grey[1] - middle, others is None)
    apart = np.sqrt(((mine - theirs[nearest]) ** 2).mean((1, 2)))
    found = (apart <= NEAR) & ((nearest < np.arange(len(mine))) | (others is not None))
    return np.where(found, nearest, -1)


def thumbnails(images):
    """Means of CELLS x CELLS cells, float32 [N, CELLS^2 (fewer for small pictures), C]."""
    count, height, width, channels = images.shape
    rows, columns = (np.linspace(0, n, min(CELLS, n) + 1).astype(int) for n in (height, width))
    sizes = np.outer(np.diff(rows), np.diff(columns))[..., None]
    cells = np.empty((count, len(rows) - 1, len(columns) - 1, channels), np.float32)
    for k in range(0, count, BLOCK):
        sums = np.add.reduceat(images[k : k + BLOCK].astype(np.float32), rows[:-1], 1)
        cells[k : k + BLOCK] = np.add.reduceat(sums, columns[:-1], 2) / sizes
    return cells.reshape(count, -1, channels)


def _nearest(points, others, earlier):
    """Of each point the nearest of the others, or of those before it; by blocks."""
    points = np.pad(2 * points, ((0, 0), (0, 1)), constant_values=1)
    others = np.column_stack([others, -(others**2).sum(1)]).T  # products: closeness to a point
    nearest = np.zeros(len(points), np.int64)
    for k in range(0, len(points), BLOCK):
        block = points[k : k + BLOCK]
        stop = k + len(block) if earlier else others.shape[1]
        close = block @ others[:, :stop]
        if earlier:
            close[:, k:][np.triu_indices(len(block))] = -np.inf
        nearest[k : k + BLOCK] = close.argmax(1)
    return nearest
