"""Random views of a batch of images, made on the device the images are on, without loops over images."""
import math

import torch
import torch.nn.functional as F

from hmlc_core import distributed
from hmlc_core.checks import require


def two_views(images, augmentation, generator=None):
    """Two independent random views of each image.

    With several processes, `images` is this one's share of the batch, and its views are those that one process would make of it.

    Args:
        images: uint8 [B, H, W, C].
        augmentation: a key of AUGMENTATIONS.
        generator: torch.Generator on the images' device; None: the global one.

    Returns:
        float32 [B, 2, C, H, W] in 0..1.
    """
    augment, numbers = AUGMENTATIONS[augmentation]
    x = to_float(images).repeat_interleave(2, 0)
    draws = torch.rand(numbers, distributed.processes() * len(x), device=x.device, generator=generator)
    return augment(x, distributed.share(draws.T).T).unflatten(0, (-1, 2))


def to_float(images):
    """uint8 [B, H, W, C] -> float32 [B, C, H, W] in 0..1, channels_last in memory."""
    return images.permute(0, 3, 1, 2).float().div_(255)


def keep_whole(x, draws, degrees=4.0, shrink=0.04, contrast=0.3):
    """Rotate, shrink and shift so that the whole image stays on the canvas, then lower the contrast.

    A crop would lose the small digit at the edge of hierarchical MNIST, and with it the second level. Here the four
    corners of the image stay inside, so whatever is in the image stays too.

    Args:
        x: float [B, C, H, W] with H = W; draws: [5, B], uniform in 0..1; degrees: largest rotation; shrink: largest share by which the side shrinks
        beyond what the rotation needs; contrast: largest share by which intensities drop.
    """
    require(x.shape[2] == x.shape[3], f"images must be square, not {list(x.shape[2:])}: resize them, e.g. from_folder(size=)")
    angle, scale, dx, dy, gain = draws
    angle = (2 * angle - 1) * math.radians(degrees)
    reach = angle.sin().abs() + angle.cos().abs()       # half side of the upright square around the rotated image
    scale = (1 - shrink * scale) / reach
    slack = 1 - scale * reach
    dx, dy = (2 * dx - 1) * slack, (2 * dy - 1) * slack
    cos, sin = angle.cos() / scale, angle.sin() / scale
    x = warp(x, [cos, sin, -cos * dx - sin * dy, -sin, cos, sin * dx - cos * dy])
    return x.mul_((1 - contrast * gain)[:, None, None, None])


def warp(x, places, padding_mode="zeros"):
    """x [B, C, H, W] at other places: the pixel at (u, v), in -1..1 over the image, comes from (a u + b v + c, d u + e v + f), places =
    [a, b, c, d, e, f], each [B]. F.affine_grid and grid_sample, but the grid by one product, all its u before all its v."""
    height, width = x.shape[2:]
    u, v = ((torch.arange(n, dtype=x.dtype, device=x.device) * 2 + 1) / n - 1 for n in (width, height))
    ones = x.new_ones(height, width)
    grid = torch.stack(places, 1).view(-1, 3) @ torch.stack([u * ones, v[:, None] * ones, ones]).flatten(1)
    return F.grid_sample(x, grid.view(-1, 2, height, width).permute(0, 2, 3, 1), padding_mode=padding_mode, align_corners=False)


def crop_flip_jitter(x, draws, smallest=0.35, jitter=0.4, grey=0.2):
    """Random resized crop, mirror image, and jitter of brightness, contrast and saturation: SimCLR's recipe, in tensors.

    Args:
        x: float [B, C, H, W]; draws: [9, B], uniform in 0..1; smallest: smallest share of the area that a crop keeps (aspect ratio 3/4 to 4/3);
        jitter: largest relative change; grey: share of colour images that lose their colour.
    """
    area, aspect, dx, dy, mirror, brightness, contrast, saturation, fade = draws
    area, aspect = smallest + (1 - smallest) * area, (4 / 3) ** (2 * aspect - 1)
    width, height = (area * aspect).sqrt().clamp(max=1), (area / aspect).sqrt().clamp(max=1)
    dx, dy, zero = (2 * dx - 1) * (1 - width), (2 * dy - 1) * (1 - height), torch.zeros_like(dx)
    x = warp(x, [width * (2 * (mirror < 0.5) - 1), zero, dx, zero, height, dy], padding_mode="border")
    brightness, contrast, saturation = (1 + jitter * (2 * v[:, None, None, None] - 1) for v in (brightness, contrast, saturation))
    x = x.mul_(brightness)
    x = torch.lerp(x.mean((1, 2, 3), keepdim=True), x, contrast)
    if x.shape[1] == 3:
        x = torch.lerp(x.mean(1, keepdim=True), x, torch.where(fade[:, None, None, None] < grey, 0, saturation))
    return x.clamp_(0, 1)


AUGMENTATIONS = {"keep_whole": (keep_whole, 5), "crop_flip_jitter": (crop_flip_jitter, 9)}      # and how many random numbers an image needs
