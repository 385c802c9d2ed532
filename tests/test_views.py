"""Views keep the small digit, and are what naive code makes of the same random numbers."""

import dataclasses
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from hmlc_core import HierarchicalDataset, Settings, views
from hmlc_core.data import mnist


def test_views_keep_the_whole_image_on_the_canvas():
    """A bright frame at the very edge, where a small digit may lie, is there in every view."""
    images = torch.zeros(200, 48, 48, 1, dtype=torch.uint8)
    images[:, [0, 1, -2, -1]] = 255
    images[:, :, [0, 1, -2, -1]] = 255
    pairs = views.two_views(images, "keep_whole", torch.Generator().manual_seed(0))
    assert pairs.shape == (200, 2, 1, 48, 48) and pairs.min() >= 0 and pairs.max() <= 1
    ink = (pairs / pairs.amax((2, 3, 4), keepdim=True)).sum((2, 3, 4)) / (images[0] / 255).sum()
    assert ink.min() > 0.75 and ink.max() < 1.1  # shrunk by at most (1.03 * 1.04)^2, never cut


def test_views_are_random_but_seeded():
    images = pictures(16, 24)

    def draw(seed):
        return views.two_views(images, "keep_whole", torch.Generator().manual_seed(seed))

    pairs = draw(1)
    assert torch.equal(pairs, draw(1)) and not torch.allclose(pairs, draw(2))
    assert not torch.allclose(pairs[:, 0], pairs[:, 1])
    both = torch.stack([pairs[3, 0].flatten(), images[3].flatten() / 255])
    assert torch.corrcoef(both)[0, 1] > 0.3  # still the same image


def pictures(count, side, channels=1):
    generator = torch.Generator().manual_seed(0)
    size = (count, side, side, channels)
    return torch.randint(0, 255, size, dtype=torch.uint8, generator=generator)


@pytest.mark.parametrize("name, channels", [("keep_whole", 1), ("crop_flip_jitter", 3)])
def test_each_view_is_the_augmentation_of_its_own_random_numbers(name, channels):
    images = pictures(5, 12, channels)
    pairs = views.two_views(images, name, torch.Generator().manual_seed(4))
    augment, numbers = views.AUGMENTATIONS[name]
    draws = torch.rand(numbers, 10, generator=torch.Generator().manual_seed(4))
    for number, image in enumerate(images.permute(0, 3, 1, 2).float() / 255):
        for view in (0, 1):
            column = 2 * number + view
            alone = augment(image[None].clone(), draws[:, column : column + 1])[0]
            assert torch.allclose(pairs[number, view], alone, atol=1e-5)


def test_the_global_generator_is_used_without_one():
    images = pictures(3, 12)
    torch.manual_seed(8)
    pairs = views.two_views(images, "keep_whole")
    again = views.two_views(images, "keep_whole", torch.Generator().manual_seed(8))
    assert torch.equal(pairs, again)


def test_pictures_give_the_images_and_labels_of_a_batch():
    images, labels = pictures(9, 12).numpy(), np.arange(18).reshape(9, 2) % 5
    data = HierarchicalDataset(images, labels, ["a", "b"], [list("vwxyz")] * 2)
    settings = Settings(augmentation="crop_flip_jitter")
    source = views.Pictures(data, settings, torch.device("cpu"))
    source.begin(0, 0)
    batch = torch.tensor([7, 2, 2])
    pairs = source.views(batch, torch.Generator().manual_seed(1))
    chosen = torch.from_numpy(images)[batch]
    same = views.two_views(chosen, "crop_flip_jitter", torch.Generator().manual_seed(1))
    assert torch.equal(pairs, same) and len(source) == 9
    assert source.labels.tolist() == labels.tolist()
    clean = list(source.clean(data, settings, torch.device("cpu"), size=4))
    assert [len(part) for part in clean] == [4, 4, 1]
    assert torch.equal(torch.cat(clean), torch.from_numpy(images).permute(0, 3, 1, 2) / 255)


def test_pictures_with_a_composer_are_others_in_every_epoch(digits, dataset):
    data = dataclasses.replace(dataset, composer=mnist.Composer(*digits, 24))
    settings, drawn = Settings(), []
    for seed, epoch in ((0, 0), (0, 1), (1, 0), (0, 0)):
        source = views.Pictures(data, settings, torch.device("cpu"))
        source.begin(seed, epoch)
        drawn.append(source.views(torch.arange(96), torch.Generator().manual_seed(0)))
        for number in (0, 50):
            central = source.labels[number, 0].item()
            image = data.composer.compose(source.drawn, torch.tensor([number]))
            assert image.max() >= 100 + 10 * central
    assert torch.equal(drawn[0], drawn[3])
    assert not torch.allclose(drawn[0], drawn[1]) and not torch.allclose(drawn[0], drawn[2])


def test_without_rotation_shrinking_and_contrast_nothing_changes():
    x = torch.rand(4, 1, 16, 16)
    assert views.keep_whole(x, torch.rand(5, len(x)), degrees=0, shrink=0, contrast=0).allclose(
        x, atol=1e-5
    )


@pytest.mark.parametrize("padding_mode", ["zeros", "border"])
def test_warp_is_torchs_affine_grid_and_grid_sample(padding_mode):
    torch.manual_seed(0)
    x, places = torch.rand(7, 3, 20, 14), torch.randn(6, 7)
    grid = F.affine_grid(places.T.view(-1, 2, 3), x.shape, align_corners=False)
    plain = F.grid_sample(x, grid, padding_mode=padding_mode, align_corners=False)
    assert views.warp(x, list(places), padding_mode).allclose(plain, atol=1e-4)


def test_keep_whole_rotates_a_ramp():
    """Closed form: a linear image, rotated by 4 degrees, shrunk and shifted, is linear."""
    side = 64
    u = ((torch.arange(side) * 2 + 1) / side - 1).double()
    draws = torch.tensor([1, 0.5, 0.9, 0.2, 0.5])[:, None].double()
    view = views.keep_whole((0.5 + 0.2 * u + 0.1 * u[:, None]).expand(1, 1, side, side), draws)[
        0, 0
    ]
    angle = math.radians(4)
    size = (1 - 0.04 / 2) / (math.sin(angle) + math.cos(angle))
    slack = 1 - size * (math.sin(angle) + math.cos(angle))
    right, down = (u - 0.8 * slack) / size, (u[:, None] + 0.6 * slack) / size
    across, along = (
        math.cos(angle) * right + math.sin(angle) * down,
        math.cos(angle) * down - math.sin(angle) * right,
    )
    expected = 0.85 * (0.5 + 0.2 * across + 0.1 * along)
    inside = slice(side // 8, -side // 8)
    assert view[inside, inside].allclose(expected[inside, inside], atol=1e-6)


def naive_crop_flip_jitter(image, draws):
    """One image [C, H, W] and its nine random numbers, in float64."""
    area, aspect, dx, dy, mirror, brightness, contrast, saturation, fade = draws.tolist()
    area, aspect = 0.35 + 0.65 * area, (4 / 3) ** (2 * aspect - 1)
    width, height = min(math.sqrt(area * aspect), 1), min(math.sqrt(area / aspect), 1)
    middle = (2 * dx - 1) * (1 - width), (2 * dy - 1) * (1 - height)
    crop = torch.empty_like(image)
    for row in range(image.shape[1]):
        for column in range(image.shape[2]):
            u = (2 * column + 1) / image.shape[2] - 1
            x = middle[0] + width * (-u if mirror >= 0.5 else u)
            y = middle[1] + height * ((2 * row + 1) / image.shape[1] - 1)
            crop[:, row, column] = bilinear(
                image, ((y + 1) * image.shape[1] - 1) / 2, ((x + 1) * image.shape[2] - 1) / 2
            )
    brightness, contrast, saturation = (
        1 + 0.4 * (2 * v - 1) for v in (brightness, contrast, saturation)
    )
    crop = crop * brightness
    crop = crop.mean() + contrast * (crop - crop.mean())
    if len(image) == 3:
        grey = crop.mean(0)
        crop = grey + (0 if fade < 0.2 else saturation) * (crop - grey)
    return crop.clamp(0, 1)


def bilinear(image, row, column):
    """[C] at a place between pixels; outside counts what is nearest."""
    row, column = (min(max(v, 0), size - 1) for v, size in zip((row, column), image.shape[1:]))
    top, left = int(row), int(column)
    bottom, right = min(top + 1, image.shape[1] - 1), min(left + 1, image.shape[2] - 1)
    down, along = row - top, column - left
    return (1 - down) * (
        (1 - along) * image[:, top, left] + along * image[:, top, right]
    ) + down * ((1 - along) * image[:, bottom, left] + along * image[:, bottom, right])


@pytest.mark.parametrize("channels", [1, 3])
def test_crop_flip_jitter_is_the_naive_one(channels):
    torch.manual_seed(0)
    x, draws = torch.rand(12, channels, 10, 10).double(), torch.rand(9, 12).double()
    assert (draws[4] < 0.5).any() and (draws[4] >= 0.5).any() and (draws[8] < 0.2).any()
    plain = torch.stack([naive_crop_flip_jitter(*pair) for pair in zip(x, draws.T)])
    assert views.crop_flip_jitter(x, draws).allclose(plain, atol=1e-5)


def test_colours_of_a_grey_image_do_not_matter():
    """With saturation alone, an image whose channels are equal stays as it is."""
    x = torch.rand(5, 1, 8, 8).expand(-1, 3, -1, -1)
    draws = torch.rand(9, 5)
    draws[5:7] = 0.5  # brightness and contrast as they are
    draws[:2], draws[4] = torch.tensor([1, 0.5])[:, None], 0
    assert views.crop_flip_jitter(x, draws).allclose(x, atol=1e-5)


def test_photographs_keep_their_colours_and_more_of_the_picture():
    x, draws = pictures(20, 16, 3), torch.rand(9, 20, generator=torch.Generator().manual_seed(1))
    x, (augment, numbers) = views.to_float(x), views.AUGMENTATIONS["photograph"]
    assert numbers == 9
    theirs = views.crop_flip_jitter(x.clone(), draws, smallest=0.4, jitter=0.4, grey=0)
    assert torch.equal(augment(x.clone(), draws), theirs)


def test_images_that_are_not_square_are_named():
    with pytest.raises(ValueError, match="square, not .*12.*10.*resize"):
        views.keep_whole(torch.rand(2, 1, 12, 10), torch.rand(5, 2))
