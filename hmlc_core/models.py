"""Encoders and the projection head: image -> features [B, F] -> embedding z [B, D]."""
import torch
import torchvision
from torch import nn


class SmallCNN(nn.Module):
    """A CNN for a laptop: features are the maxima of a fine map (stride 6, sees 23 pixels) and of a coarse one (stride
    12, sees 35). The maximum finds a small digit wherever it is; an average would drown it.

    images [B, channels, H, W] -> features [B, 8 * width].
    """

    def __init__(self, channels, width):
        super().__init__()
        self.fine = nn.Sequential(*_conv(channels, width, 5, 3), *_conv(width, 2 * width, 3, 2), *_conv(2 * width, 4 * width, 3, 1))
        depthwise = nn.Conv2d(4 * width, 4 * width, 3, 2, 1, groups=4 * width, bias=False)
        self.coarse = nn.Sequential(depthwise, *_conv(4 * width, 4 * width, 1, 1))

    def forward(self, images):
        fine = self.fine(images)
        return torch.cat([fine.amax((2, 3)), self.coarse(fine).amax((2, 3))], 1)


def _conv(inputs, outputs, kernel, stride):
    return [nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True)]


def resnet(channels, depth):
    """torchvision's ResNet-18 or -50 without its classifier, from scratch; 512 or 2048 features."""
    net = getattr(torchvision.models, f"resnet{depth}")(weights=None)
    if channels != 3:
        net.conv1 = nn.Conv2d(channels, 64, 7, 2, 3, bias=False)
    net.fc = nn.Identity()
    return net


ENCODERS = {"small_cnn": (lambda channels: SmallCNN(channels, 16), 128),
            "resnet18": (lambda channels: resnet(channels, 18), 512),
            "resnet50": (lambda channels: resnet(channels, 50), 2048)}


def build_encoder(name, channels):
    """An encoder, images [B, C, H, W] in 0..1 -> features [B, F], and F."""
    if name not in ENCODERS:
        raise ValueError(f"unknown encoder {name!r}: choose from {', '.join(ENCODERS)}")
    build, features = ENCODERS[name]
    return build(channels), features


def projection_head(features, dim, batch_norm=True):
    """features [B, F] -> embedding z [B, dim]: Linear, BatchNorm, ReLU, Linear, BatchNorm without affine.

    Without the BatchNorms (batch_norm=False) the part of the embedding that should tell level 2 collapses on
    hierarchical MNIST and its loss never leaves log(batch size): see notebook 03. The head is ours; the paper's is
    not known to us.
    """
    if not batch_norm:
        return nn.Sequential(nn.Linear(features, features), nn.ReLU(inplace=True), nn.Linear(features, dim))
    return nn.Sequential(nn.Linear(features, features, bias=False), nn.BatchNorm1d(features), nn.ReLU(inplace=True),
                         nn.Linear(features, dim, bias=False), nn.BatchNorm1d(dim, affine=False))
