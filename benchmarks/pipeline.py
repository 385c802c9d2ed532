"""A training step, beside the usual pipeline: PIL transforms of torchvision in a DataLoader with two workers, the same net and loss.

Then where the time of our step goes: augmentation, encoder and head, masks and loss, optimiser.
"""
import numpy as np
import torch
from common import median_seconds, new_step, report, training
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from hmlc_core import augment, profiles

PROFILE = profiles.get("cpu", "cifar100")
STEPS, BATCH = 8, PROFILE.batch_size
generator = np.random.default_rng(0)
IMAGES = generator.integers(0, 256, (STEPS * BATCH, 32, 32, 3), np.uint8)
LABELS = np.stack([generator.integers(0, 20, len(IMAGES)), generator.integers(0, 100, len(IMAGES))], 1)
SIMCLR = transforms.Compose([transforms.ToPILImage(), transforms.RandomResizedCrop(32, (0.35, 1)), transforms.RandomHorizontalFlip(),
                             transforms.ColorJitter(0.4, 0.4, 0.4), transforms.RandomGrayscale(0.2), transforms.ToTensor()])


class Pictures(Dataset):
    def __len__(self):
        return len(IMAGES)

    def __getitem__(self, i):
        return torch.stack([SIMCLR(IMAGES[i]), SIMCLR(IMAGES[i])]), torch.from_numpy(LABELS[i])


step, _ = new_step("g_hmlc", PROFILE, [20, 100])
images, labels = torch.from_numpy(IMAGES), torch.from_numpy(LABELS)


def ours():
    for part in torch.randperm(len(images)).split(BATCH):
        step(augment.two_views(images[part], PROFILE.augmentation), labels[part])


def usual():
    for views, y in DataLoader(Pictures(), BATCH, shuffle=True, num_workers=2):
        step(views, y)


def parts(dataset, channels, classes):
    """Report where the time of a training step of G-HMLC goes."""
    profile = profiles.get("cpu", dataset)
    step, model = new_step("g_hmlc", profile, classes, channels)
    pictures = torch.randint(0, 256, (profile.batch_size, profile.canvas, profile.canvas, channels), dtype=torch.uint8)
    y = torch.stack([torch.arange(len(pictures)) % count for count in classes], 1)
    views = augment.two_views(pictures, profile.augmentation)
    z = model.head(model.encoder(views.flatten(0, 1))).float().detach().unflatten(0, views.shape[:2]).requires_grad_()

    def encoder():
        with training._autocast(torch.device("cpu")):
            out = model.head(model.encoder(views.flatten(0, 1).contiguous(memory_format=torch.channels_last)))
        out.float().square().mean().backward()

    seconds = median_seconds({"whole step": lambda: step(augment.two_views(pictures, profile.augmentation), y),
                              "encoder and head, forward and backward": encoder,
                              "augmentation": lambda: augment.two_views(pictures, profile.augmentation),
                              "masks (EM)": lambda: model.objective.level_masks(z.detach()),
                              "masks and loss, forward and backward": lambda: model.objective(z, y).sum().backward()}, rounds=9)
    report(f"parts of a step on {dataset}, batch {profile.batch_size} x 2 views", seconds, "whole step")


if __name__ == "__main__":
    report(f"an epoch of {len(images)} pictures of 32 x 32, G-HMLC, {PROFILE.encoder}", median_seconds(
        {"hmlc": ours, "PIL transforms, DataLoader with 2 workers": usual}, rounds=5), "hmlc")
    parts("cifar100", 3, [20, 100])
    parts("hierarchical_mnist", 1, [10, 10])
