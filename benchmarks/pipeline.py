"""An epoch, beside the usual pipeline: PIL transforms of torchvision in a DataLoader with two
workers, the same net and loss. Then where the time of our step goes."""

import numpy as np
import torch
from common import WHOLE, median_seconds, new_step, report, step_parts
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from hmlc_core.data import mnist
from hmlc_core.settings import preset
from hmlc_core.views import two_views

SETTINGS = preset("cpu", "cifar100")
STEPS, BATCH = 8, SETTINGS.batch_size
generator = np.random.default_rng(0)
IMAGES = generator.integers(0, 256, (STEPS * BATCH, 32, 32, 3), np.uint8)
LABELS = np.stack([generator.integers(0, k, len(IMAGES)) for k in (20, 100)], 1)
SIMCLR = transforms.Compose(
    [
        transforms.ToPILImage(),
        transforms.RandomResizedCrop(32, (0.35, 1)),
        transforms.RandomHorizontalFlip(),
        transforms.ColorJitter(0.4, 0.4, 0.4),
        transforms.RandomGrayscale(0.2),
        transforms.ToTensor(),
    ]
)


class Pictures(Dataset):
    """Two views of a picture, and its labels."""

    def __len__(self):
        return len(IMAGES)

    def __getitem__(self, i):
        return torch.stack([SIMCLR(IMAGES[i]), SIMCLR(IMAGES[i])]), torch.from_numpy(LABELS[i])


step, _ = new_step("g_hmlc", SETTINGS, [20, 100])
images, labels = torch.from_numpy(IMAGES), torch.from_numpy(LABELS)


def ours():
    for part in torch.randperm(len(images)).split(BATCH):
        step(two_views(images[part], SETTINGS.augmentation), labels[part])


def usual():
    for views, y in DataLoader(Pictures(), BATCH, shuffle=True, num_workers=2):
        step(views, y)


def parts(kind, channels, classes):
    """Report where the time of a training step of G-HMLC goes; composing comes before it."""
    settings = preset("cpu", kind)
    ways = step_parts(settings, classes, channels)
    if settings.fresh:
        recipe, batch = mnist.composer(settings), torch.arange(settings.batch_size)
        drawn = recipe.draw(settings.train_size, (0, 1))
        ways["composing"] = lambda: recipe.compose(drawn, batch)
        ways["drawing, for each step"] = lambda: recipe.draw(settings.batch_size, (0, 1))
    title = f"parts of a step on {kind}, batch {settings.batch_size} x 2 views"
    report(title, median_seconds(ways, rounds=9), WHOLE)


if __name__ == "__main__":
    ways = {"hmlc": ours, "PIL transforms, DataLoader with 2 workers": usual}
    title = f"an epoch of {len(images)} pictures of 32 x 32, G-HMLC, {SETTINGS.encoder}"
    report(title, median_seconds(ways, rounds=5), "hmlc")
    parts("cifar100", 3, [20, 100])
    parts("hierarchical_mnist", 1, [10, 10])
