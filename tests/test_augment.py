"""Views keep the small digit, and are what naive code makes of the same random numbers, image by image."""
import math

import pytest
import torch
import torch.nn.functional as F

from hmlc_core import augment


def test_views_keep_the_whole_image_on_the_canvas():
    """A bright frame at the very edge of the image (where a small digit may lie) is there in every view."""
    images = torch.zeros(200, 48, 48, 1, dtype=torch.uint8)
    images[:, [0, 1, -2, -1]] = 255
    images[:, :, [0, 1, -2, -1]] = 255
    views = augment.two_views(images, "keep_whole", torch.Generator().manual_seed(0))
    assert views.shape == (200, 2, 1, 48, 48) and views.min() >= 0 and views.max() <= 1
    ink = (views / views.amax((2, 3, 4), keepdim=True)).sum((2, 3, 4)) / (images[0] / 255).sum()
    assert ink.min() > 0.75 and ink.max() < 1.1          # shrunk by at most (1.03 * 1.04)^2, never cut


def test_views_are_random_but_seeded():
    images = torch.randint(0, 255, (16, 24, 24, 1), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    views = augment.two_views(images, "keep_whole", torch.Generator().manual_seed(1))
    assert torch.equal(views, augment.two_views(images, "keep_whole", torch.Generator().manual_seed(1)))
    assert not torch.allclose(views[:, 0], views[:, 1])
    flat = torch.corrcoef(torch.stack([views[3, 0].flatten(), images[3].flatten() / 255]))[0, 1]
    assert flat > 0.3            # still the same image


def test_without_rotation_shrinking_and_contrast_nothing_changes():
    x = torch.rand(4, 1, 16, 16)
    assert augment.keep_whole(x, torch.rand(5, len(x)), degrees=0, shrink=0, contrast=0).allclose(x, atol=1e-5)


@pytest.mark.parametrize("padding_mode", ["zeros", "border"])
def test_warp_is_torchs_affine_grid_and_grid_sample(padding_mode):
    torch.manual_seed(0)
    x, places = torch.rand(7, 3, 20, 14), torch.randn(6, 7)
    grid = F.affine_grid(places.T.view(-1, 2, 3), x.shape, align_corners=False)
    plain = F.grid_sample(x, grid, padding_mode=padding_mode, align_corners=False)
    assert augment.warp(x, list(places), padding_mode).allclose(plain, atol=1e-4)


def test_keep_whole_rotates_a_ramp():
    """Closed form: a linear image, rotated by 4 degrees about its middle, shrunk and shifted, is a linear image."""
    side = 64
    u = ((torch.arange(side) * 2 + 1) / side - 1).double()
    draws = torch.tensor([1, 0.5, 0.9, 0.2, 0.5])[:, None].double()
    view = augment.keep_whole((0.5 + 0.2 * u + 0.1 * u[:, None]).expand(1, 1, side, side), draws)[0, 0]
    angle = math.radians(4)
    size = (1 - 0.04 / 2) / (math.sin(angle) + math.cos(angle))
    slack = 1 - size * (math.sin(angle) + math.cos(angle))
    right, down = (u - 0.8 * slack) / size, (u[:, None] + 0.6 * slack) / size
    across, along = math.cos(angle) * right + math.sin(angle) * down, math.cos(angle) * down - math.sin(angle) * right
    expected = 0.85 * (0.5 + 0.2 * across + 0.1 * along)
    inside = slice(side // 8, -side // 8)
    assert view[inside, inside].allclose(expected[inside, inside], atol=1e-6)


def naive_crop_flip_jitter(image, draws):
    """One image [C, H, W] and its nine random numbers, in float64: the area and shape of the crop, its place, whether mirrored, and colours."""
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
            crop[:, row, column] = bilinear(image, ((y + 1) * image.shape[1] - 1) / 2, ((x + 1) * image.shape[2] - 1) / 2)
    brightness, contrast, saturation = (1 + 0.4 * (2 * v - 1) for v in (brightness, contrast, saturation))
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
    return ((1 - down) * ((1 - along) * image[:, top, left] + along * image[:, top, right])
            + down * ((1 - along) * image[:, bottom, left] + along * image[:, bottom, right]))


@pytest.mark.parametrize("channels", [1, 3])
def test_crop_flip_jitter_is_the_naive_one(channels):
    torch.manual_seed(0)
    x, draws = torch.rand(12, channels, 10, 10).double(), torch.rand(9, 12).double()
    assert (draws[4] < 0.5).any() and (draws[4] >= 0.5).any() and (draws[8] < 0.2).any()
    plain = torch.stack([naive_crop_flip_jitter(*pair) for pair in zip(x, draws.T)])
    assert augment.crop_flip_jitter(x, draws).allclose(plain, atol=1e-5)


def test_colours_of_a_grey_image_do_not_matter():
    """With saturation alone, an image whose channels are equal stays as it is."""
    x = torch.rand(5, 1, 8, 8).expand(-1, 3, -1, -1)
    draws = torch.rand(9, 5)
    draws[5:7] = 0.5        # brightness and contrast as they are
    draws[:2], draws[4] = torch.tensor([1, 0.5])[:, None], 0
    assert augment.crop_flip_jitter(x, draws).allclose(x, atol=1e-5)
