"""Random views of a batch of images, made on their device, without loops over images."""

import math
from functools import partial

import torch
import torch.nn.functional as F

from hmlc_core import distributed
from hmlc_core.checks import choose, require


class Pictures:
    """Training images on a device: what the training loop asks for views of a batch.

    Args:
        dataset: HierarchicalDataset. If it has a `composer`, every epoch has other images.
        settings: Settings, for the augmentation.
    """

    def __init__(self, dataset, settings, device):
        self.composer, self.count, self.device = dataset.composer, len(dataset), device
        self.augmentation = settings.augmentation
        if self.composer is None:
            self.images = torch.from_numpy(dataset.images).to(device)
            self.labels = torch.from_numpy(dataset.labels).to(device)

    def __len__(self):
        return self.count

    def begin(self, seed, epoch):
        """Draw the images of an epoch; all methods of a seed see the same."""
        if self.composer is not None:
            self.drawn = self.composer.draw(self.count, (seed, epoch)).to(self.device)
            self.labels = self.drawn.labels

    def views(self, batch, generator):
        """Two views of the images with these indices [B], float32 [B, 2, C, H, W] in 0..1."""
        if self.composer is not None:
            images = self.composer.compose(self.drawn, batch)
        else:
            images = self.images.index_select(0, batch)
        return two_views(images, self.augmentation, generator)

    @staticmethod
    def depends_on(dataset, settings, device):
        """What a run depends on beside its data set and settings: nothing."""
        return {}

    @staticmethod
    def channels(dataset, settings, device):
        """C, of the encoder's inputs [B, C, H, W]."""
        return dataset.images.shape[3]

    @staticmethod
    def prepare(encoder, dataset, settings, device):
        """Nothing: an encoder of pictures is ready as it is."""

    @staticmethod
    def clean(dataset, settings, device, size=500):
        """Yield the whole data set as it is, as inputs [<= size, C, H, W] of the encoder."""
        for images in torch.from_numpy(dataset.images).split(size):
            yield to_float(images.to(device))


def two_views(images, augmentation, generator=None):
    """Two independent random views of each image.

    With several processes, `images` is this one's share of the batch, and its views are those that
    one process would make of it.

    Args:
        images: uint8 [B, H, W, C].
        augmentation: a key of AUGMENTATIONS.
        generator: torch.Generator on the images' device; None: the global one.

    Returns:
        float32 [B, 2, C, H, W] in 0..1.
    """
    augment, numbers = choose("augmentation", augmentation, AUGMENTATIONS)
    x = to_float(images).repeat_interleave(2, 0)
    total = distributed.processes() * len(x)
    draws = torch.rand(numbers, total, device=x.device, generator=generator)
    return augment(x, distributed.share(draws.T).T).unflatten(0, (-1, 2))


def to_float(images):
    """uint8 [B, H, W, C] -> float32 [B, C, H, W] in 0..1, channels_last in memory."""
    return images.permute(0, 3, 1, 2).float().div_(255)


def keep_whole(x, draws, degrees=4.0, shrink=0.04, contrast=0.3):
    """Rotate, shrink and shift so that the whole image stays on the canvas; lower the contrast.

    A crop would lose the small digit at the edge of hierarchical MNIST, and with it the second
    level. Here the four corners stay inside, so whatever is in the image stays too.

    Args:
        x: float [B, C, H, W] with H = W.
        draws: [5, B], uniform in 0..1.
        degrees: largest rotation.
        shrink: largest share by which the side shrinks beyond what the rotation needs.
        contrast: largest share by which intensities drop.
    """
    height, width = x.shape[2:]
    require(height == width, f"images must be square, not {height} x {width}: resize them first")
    angle, scale, dx, dy, gain = draws
    angle = (2 * angle - 1) * math.radians(degrees)
    half_side = angle.sin().abs() + angle.cos().abs()  # of the upright square around the image
    scale = (1 - shrink * scale) / half_side
    slack = 1 - scale * half_side
    dx, dy = (2 * dx - 1) * slack, (2 * dy - 1) * slack
    cos, sin = angle.cos() / scale, angle.sin() / scale
    x = warp(x, [cos, sin, -cos * dx - sin * dy, -sin, cos, sin * dx - cos * dy])
    return x.mul_((1 - contrast * gain)[:, None, None, None])


def warp(x, affine, padding_mode="zeros"):
    """x [B, C, H, W] seen through an affine map.

    The pixel at (u, v), in -1..1 over the image, comes from (a u + b v + c, d u + e v + f) with
    affine = [a, b, c, d, e, f], each [B]. As F.affine_grid and F.grid_sample, in half the time.
    """
    v, u = ((torch.arange(n, dtype=x.dtype, device=x.device) * 2 + 1) / n - 1 for n in x.shape[2:])
    of_u, of_v, shift = torch.stack(affine, 1).view(-1, 2, 3, 1).unbind(2)
    grid = ((of_u * u + shift)[:, :, None] + (of_v * v)[..., None]).permute(0, 2, 3, 1)
    return F.grid_sample(x, grid, padding_mode=padding_mode, align_corners=False)


def crop_flip_jitter(x, draws, smallest=0.35, jitter=0.4, grey=0.2):
    """Random resized crop, mirror image, jitter of colours: SimCLR's recipe, in tensors.

    Args:
        x: float [B, C, H, W].
        draws: [9, B], uniform in 0..1.
        smallest: smallest share of the area that a crop keeps (aspect ratio 3/4 to 4/3).
        jitter: largest relative change of brightness, contrast and saturation.
        grey: share of colour images that lose their colour.
    """
    area, aspect, dx, dy, mirror, brightness, contrast, saturation, fade = draws
    area, aspect = smallest + (1 - smallest) * area, (4 / 3) ** (2 * aspect - 1)
    width, height = (area * aspect).sqrt().clamp(max=1), (area / aspect).sqrt().clamp(max=1)
    dx, dy, zero = (2 * dx - 1) * (1 - width), (2 * dy - 1) * (1 - height), torch.zeros_like(dx)
    flipped = width * (2 * (mirror < 0.5) - 1)
    x = warp(x, [flipped, zero, dx, zero, height, dy], padding_mode="border")
    x = x.mul_(_factor(brightness, jitter))
    x = torch.lerp(x.mean((1, 2, 3), keepdim=True), x, _factor(contrast, jitter))
    if x.shape[1] == 3:
        colour = torch.where(fade[:, None, None, None] < grey, 0, _factor(saturation, jitter))
        x = torch.lerp(x.mean(1, keepdim=True), x, colour)
    return x.clamp_(0, 1)


def _factor(draws, jitter):
    """Factors [B, 1, 1, 1] in 1 - jitter .. 1 + jitter of uniform draws [B]."""
    return 1 + jitter * (2 * draws[:, None, None, None] - 1)


# each with the number of uniform draws that an image needs
AUGMENTATIONS = {
    "keep_whole": (keep_whole, 5),
    "crop_flip_jitter": (crop_flip_jitter, 9),
    "photograph": (partial(crop_flip_jitter, smallest=0.4, grey=0), 9),
}
