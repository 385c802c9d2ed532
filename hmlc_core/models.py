"""Encoders and the projection head: image -> features [B, F] -> embedding z [B, D]."""

import torch
import torch.nn.functional as F
import torchvision
from torch import nn

from hmlc_core.checks import choose, require


class SmallCNN(nn.Module):
    """A CNN for a laptop: images [B, channels, H, W] -> features [B, 8 * width], the maxima of a
    fine map (stride 6, sees 23 pixels) and of a coarse one (stride 12, sees 35). The maximum finds
    a small digit wherever it is; an average would drown it."""

    def __init__(self, channels, width):
        super().__init__()
        first, second = _conv(channels, width, 5, 3), _conv(width, 2 * width, 3, 2)
        self.fine = nn.Sequential(*first, *second, *_conv(2 * width, 4 * width, 3, 1))
        depthwise = DepthwiseConv2d(4 * width, 4 * width, 3, 2, 1, groups=4 * width, bias=False)
        self.coarse = nn.Sequential(depthwise, *_conv(4 * width, 4 * width, 1, 1))

    def forward(self, images):
        fine = self.fine(images)
        maxima = [F.adaptive_max_pool2d(x, 1) for x in (fine, self.coarse(fine))]  # beats amax
        return torch.cat(maxima, 1).flatten(1)


def _conv(inputs, outputs, kernel, stride):
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
    return [convolution, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]


class DepthwiseConv2d(nn.Conv2d):
    """torch's, but on a CPU in float32: in bfloat16 its gradient takes twenty times as long."""

    def forward(self, x):
        if x.device.type != "cpu":
            return super().forward(x)
        with torch.autocast("cpu", enabled=False):
            return super().forward(x.float())


class SmallResNet(nn.Module):
    """A residual net for a laptop: images [B, channels, H, W] -> features [B, 8 * width], averaged
    over positions. A stride of 2 in front halves the time."""

    def __init__(self, channels, width):
        super().__init__()
        sizes = [width, width, 2 * width, 4 * width, 8 * width]
        blocks = [BasicBlock(a, b, stride) for a, b, stride in zip(sizes, sizes[1:], (1, 2, 2, 2))]
        self.layers = nn.Sequential(*_conv(channels, width, 5, 2), *blocks)

    def forward(self, images):
        return self.layers(images).mean((2, 3))


class BasicBlock(nn.Module):
    """relu(shortcut(x) + conv(relu(conv(x)))), with BatchNorms (He et al. 2016)."""

    def __init__(self, inputs, outputs, stride):
        super().__init__()
        first, second = _conv(inputs, outputs, 3, stride), _conv(outputs, outputs, 3, 1)
        shortcut = _conv(inputs, outputs, 1, stride)[:-1] if stride > 1 else []
        self.body, self.shortcut = nn.Sequential(*first, *second[:-1]), nn.Sequential(*shortcut)

    def forward(self, x):
        return torch.relu_(self.body(x) + self.shortcut(x))


def resnet(channels, depth, stem="imagenet"):
    """torchvision's ResNet-18 or -50 without its classifier, from scratch; 512 or 2048 features.

    stem "cifar": 3x3 convolution without pooling, for 32x32 pictures (SupCon's).
    """
    require(stem in ("imagenet", "cifar"), f"stem must be imagenet or cifar, not {stem!r}")
    net = getattr(torchvision.models, f"resnet{depth}")(weights=None)
    if stem == "cifar":
        net.conv1, net.maxpool = nn.Conv2d(channels, 64, 3, 1, 1, bias=False), nn.Identity()
    elif channels != 3:
        net.conv1 = nn.Conv2d(channels, 64, 7, 2, 3, bias=False)
    net.fc = nn.Identity()
    return net


class PartlyFrozen(nn.Module):
    """A net of which some parameters are not trained. Parts without any that are stay as for
    evaluation, so that their BatchNorms keep their statistics."""

    def train(self, mode=True):
        for part in self.modules():
            part.training = mode and any(p.requires_grad for p in part.parameters())
        return self


class PretrainedResNet50(PartlyFrozen):
    """torchvision's ResNet-50 with ImageNet weights; only layer3 and layer4 are trained, as HMCE's
    authors do on ModelNet40. The stages before them are frozen, BatchNorm statistics too."""

    def __init__(self):
        from hmlc_core.data.downloads import imagenet_resnet50  # here, as it trains nothing

        super().__init__()
        self.net = imagenet_resnet50()
        self.net.fc = nn.Identity()
        self.net.requires_grad_(False)
        nn.ModuleList([self.net.layer3, self.net.layer4]).requires_grad_(True)
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406])[:, None, None])
        self.register_buffer("std", torch.tensor([0.229, 0.224, 0.225])[:, None, None])

    def forward(self, images):
        """images [B, 1 or 3, H, W] in 0..1 -> features [B, 2048]."""
        return self.net((images - self.mean) / self.std)


class LastStage(PartlyFrozen):
    """Pictures [B, 1 or 3, H, W] in 0..1 -> pooled features [B, F] of a timm model, of which only
    the last stage is trained, as HMCE's authors do with photographs. It wants a GPU; the code is
    the same on a CPU. data.pretrained puts in the net, and what makes its inputs of pictures."""

    def forward(self, images):
        return self.net(self.inputs(images))


class Untouched(nn.Module):
    """Stored features [B, F], standardised by the training set's: features [B, F]."""

    def __init__(self, channels):
        super().__init__()
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("std", torch.ones(channels))

    def forward(self, stored):
        return (stored - self.mean) / self.std


class Adapter(Untouched):
    """Standardised stored features [B, F], then linear, BatchNorm, ReLU: features [B, 512]."""

    def __init__(self, channels, width=512):
        super().__init__(channels)
        first, norm = nn.Linear(channels, width, bias=False), nn.BatchNorm1d(width)
        self.layers = nn.Sequential(first, norm, nn.ReLU(inplace=True))

    def forward(self, stored):
        return self.layers(super().forward(stored))


ENCODERS = {
    "small_cnn": (lambda channels: SmallCNN(channels, 16), 128),
    "small_resnet": (lambda channels: SmallResNet(channels, 16), 128),
    "resnet18": (lambda channels: resnet(channels, 18), 512),
    "resnet18_cifar": (lambda channels: resnet(channels, 18, "cifar"), 512),
    "resnet50_cifar": (lambda channels: resnet(channels, 50, "cifar"), 2048),
    "resnet50_imagenet": (lambda channels: PretrainedResNet50(), 2048),
}
OF_TIMM = {"adapter": (Adapter, 512), "untouched": (Untouched, None)}  # with Settings.pretrained
OF_TIMM |= {"last_stage": (lambda features: LastStage(), None)}


def build_encoder(name, channels):
    """An encoder, images [B, C, H, W] in 0..1 (adapter, untouched: stored features [B, C]) ->
    features [B, F], and F. last_stage: `channels` is F."""
    build, features = choose("encoder", name, ENCODERS | OF_TIMM)
    return build(channels), features or channels


def projection_head(features, dim, batch_norm=True):
    """features [B, F] -> embedding z [B, dim]: Linear, BatchNorm, ReLU, Linear, plain BatchNorm.

    Ours; the paper's is not known. Without the BatchNorms the part of the embedding that should
    tell level 2 collapses on hierarchical MNIST.
    """
    norm, last = nn.BatchNorm1d(features), nn.BatchNorm1d(dim, affine=False)
    first, second = (nn.Linear(features, size, bias=not batch_norm) for size in (features, dim))
    layers = [first, norm, nn.ReLU(inplace=True), second, last]
    return nn.Sequential(*(layers if batch_norm else [first, layers[2], second]))
