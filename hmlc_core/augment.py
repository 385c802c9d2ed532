"""Random views of a batch of images, made on the device the images are on, without loops over images."""
import math

import torch
import torch.nn.functional as F

from hmlc_core.checks import require


def two_views(images, augmentation, generator=None):
    """Two independent random views of each image.

    Args:
        images: uint8 [B, H, W, C].
        augmentation: a key of AUGMENTATIONS.
        generator: torch.Generator on the images' device; None: the global one.

    Returns:
        float32 [B, 2, C, H, W] in 0..1.
    """
    x = to_float(images).repeat_interleave(2, 0)
    return AUGMENTATIONS[augmentation](x, generator).unflatten(0, (-1, 2))


def to_float(images):
    """uint8 [B, H, W, C] -> float32 [B, C, H, W] in 0..1, channels_last in memory."""
    return images.permute(0, 3, 1, 2).float().div_(255)


def keep_whole(x, generator=None, degrees=4.0, shrink=0.04, contrast=0.3):
    """Rotate, shrink and shift so that the whole image stays on the canvas, then lower the contrast.

    A crop would lose the small digit at the edge of hierarchical MNIST, and with it the second level. Here the four
    corners of the image stay inside, so whatever is in the image stays too.

    Args:
        x: float [B, C, H, W] with H = W; degrees: largest rotation; shrink: largest share by which the side shrinks
        beyond what the rotation needs; contrast: largest share by which intensities drop.
    """
    require(x.shape[2] == x.shape[3], f"images must be square, not {list(x.shape[2:])}: resize them, e.g. from_folder(size=)")
    angle, scale, dx, dy, gain = torch.rand(5, len(x), device=x.device, generator=generator)
    angle = (2 * angle - 1) * math.radians(degrees)
    reach = angle.sin().abs() + angle.cos().abs()       # half side of the upright square around the rotated image
    scale = (1 - shrink * scale) / reach
    slack = 1 - scale * reach
    dx, dy = (2 * dx - 1) * slack, (2 * dy - 1) * slack
    cos, sin, dx, dy = (v[:, None, None] for v in (angle.cos() / scale, angle.sin() / scale, dx, dy))
    axis = (torch.arange(x.shape[-1], device=x.device) * 2 + 1) / x.shape[-1] - 1
    right, down = axis[None, None, :] - dx, axis[None, :, None] - dy
    grid = torch.stack([cos * right + sin * down, cos * down - sin * right], 3)     # where each pixel comes from
    x = F.grid_sample(x, grid, align_corners=False)
    return x * (1 - contrast * gain)[:, None, None, None]


AUGMENTATIONS = {"keep_whole": keep_whole}
