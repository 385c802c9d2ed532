"""The plan of the study: a table of groups of runs, and one function that expands it."""

import math
from dataclasses import asdict, dataclass, replace

from hmlc_core.data.load import DATASETS, base_of, kind_of
from hmlc_core.settings import Settings, preset
from study import variants
from study.options import EXTRAS

SEEDS = {"smoke": 2, "cpu": 3, "gpu": 1, "paper": 3}  # so many, from 0
TSNE_SIZE = {"smoke": 200, "cpu": 2000, "gpu": 10000, "paper": 10000}  # test images in Figure 4

MNIST = "hierarchical_mnist"
TABLE1 = ("cifar100", "modelnet10", "modelnet40")
BY_NOTEBOOK = (MNIST, *TABLE1, "grocery")  # data sets that notebooks 03 and 04 are run for
TUNING = ("cifar100_tuning", "modelnet10_tuning")
DIGITS_TUNING = f"{MNIST}_tuning"
SWAPPED, THREE, TREE = (f"{MNIST}_{name}" for name in ("swapped", "three", "path"))
TAILS = (f"{MNIST}_tail10", f"{MNIST}_tail50")
TRIALS = {DIGITS_TUNING: 2, "cifar100_tuning": 15, "modelnet10_tuning": 6}  # epochs by so many
START_TEMPERATURE = Settings().temperature  # of all trials

# A method's own temperature where it is not the preset's: profile -> data set, the one that it is a
# variant of, or its kind -> method.
TEMPERATURES = {
    "cpu": {
        MNIST: {"hmce_paper": 0.2, "hmce_released": 0.2, "shared": 0.2}
        | {"supcon": 0.4, "rince": 0.05, "bhcl": 0.2},
        "cifar100": {"level_restricted": 0.1, "prototype_heads": 0.1, "hmce_paper": 0.4},
        "modelnet10": {"hmce_released": 0.4, "level_restricted": 0.1}
        | {"supcon": 0.1, "hmce_paper": 0.1, "sign": 0.1},
        "grocery": {"supcon": 0.2, "hmce_paper": 0.4, "hmce_released": 0.2, "split": 0.2}
        | {"a_hmlc": 0.2, "heads": 0.05, "level_restricted": 0.2, "prototype_heads": 0.4},
    }
}

TEMPERATURES["gpu"] = TEMPERATURES["cpu"]  # of the small nets' trials

# The same of learning rates.
FASTER = {  # at 0.03; the others have the preset's 0.01
    "cifar100": ("supcon", "hmce_released", "shared", "split", "sign", "g_hmlc", "heads"),
    "modelnet10": ("cross_entropy", "supcon", "rectified", "g_hmlc", "a_hmlc"),
}
LEARNING_RATES = {"cpu": {name: dict.fromkeys(keys, 0.03) for name, keys in FASTER.items()}}

# A linear layer on the stored features alone: its name in result files, and its settings.
RAW, UNTOUCHED = "raw", {"encoder": "untouched", "epochs": 1}

# A net of one's own in place of the pretrained encoder: its tag in result files, and its settings.
FROM_SCRATCH = "@from_scratch"
SCRATCH = {"pretrained": "", "encoder": "small_resnet", "canvas": 64, "epochs": 120}

# A budget in the middle of learning, one temperature and learning rate for all.
SHORT = {
    MNIST: {"epochs": 6, "fresh": False, "temperature": START_TEMPERATURE},
    "cifar100": {"epochs": 6, "temperature": 0.4},
    "modelnet10": {"epochs": 6, "temperature": 0.2},
}
BRIEF = tuple(name for name in TABLE1 if name in SHORT)

MAIN = ("hmce_paper", "hmce_released", "shared", "split", "g_hmlc", "a_hmlc")
BASELINES = ("cross_entropy", "supcon", "sign", "rectified", "random", "g_hmlc_batch")
PEERS = ("heads", "rince", "bhcl", "level_restricted", "level_restricted_hyperbolic")
TABLE1_METHODS = ("cross_entropy", "supcon", "hmce_paper", "hmce_released", "shared", "split")
TABLE1_METHODS += ("sign", "rectified", "g_hmlc", "a_hmlc")
TEMPERATURE_METHODS = TABLE1_METHODS[1:]  # cross-entropy has none
ORDER_METHODS = ("hmce_paper", "g_hmlc", "a_hmlc")
SEEDS_METHODS = ("hmce_paper", "hmce_released", "shared", "split", "sign", "heads")
SEEDS_METHODS += ("g_hmlc", "a_hmlc")
TUNING_METHODS = ("cross_entropy", "hmce_paper", "shared", "g_hmlc", "a_hmlc")
BUDGET_MNIST = ("cross_entropy", *MAIN)
BUDGET_TABLE1 = ("cross_entropy", "hmce_released", "shared", "split", "g_hmlc", "a_hmlc")
FASTER_AT_BUDGETS = {
    name: tuple(key for key in BUDGET_TABLE1 if key in keys) for name, keys in FASTER.items()
}
BATCH_METHODS = ("shared", "g_hmlc")
RATE_METHODS = ("shared", "split", "g_hmlc", "a_hmlc")
LEVELS_METHODS = ("hmce_paper", "shared", "split", "sign", "g_hmlc", "a_hmlc")
TAIL_METHODS = ("cross_entropy", "split", "g_hmlc", "a_hmlc", "level_restricted")
CLAIMED = (  # variants of hierarchical MNIST, and who is trained on them
    ((THREE,), (*LEVELS_METHODS, "heads")),
    ((TREE,), (*LEVELS_METHODS, "level_restricted")),
    (TAILS, TAIL_METHODS),
)
SCRATCH_METHODS = ("cross_entropy", "hmce_released", "shared", "g_hmlc", "a_hmlc")
GROCERY_METHODS = ("cross_entropy", "supcon", *MAIN, "heads", "level_restricted")
VARIANTS = tuple(method.key for method in variants.VARIANTS)
OURS = ("split", "sign", "heads", "g_hmlc", "a_hmlc", "separability")
RESTRICTED = ("level_restricted",)
UNION = (variants.PROTOTYPE_HEADS.key,)  # of MLCL and level-restricted
CIFAR_PEERS = (*RESTRICTED, "heads", *UNION, "g_hmlc_batch")
RATED = {"cifar100_tuning": (*TABLE1_METHODS, *CIFAR_PEERS)}
RATED["modelnet10_tuning"] = (*TABLE1_METHODS, *RESTRICTED)


OF_ALL = "of all"  # a change to what the data set's methods have that have none of their own


def times(factor):
    """A change that multiplies what the settings have; whole numbers stay whole."""

    def change(value):
        if isinstance(value, int):
            return max(round(factor * value), 1)
        return round(factor * value, 10)

    return change


def each(field, values):
    """Changes of one field of Settings, to one value after another."""
    return tuple({field: value} for value in values)


@dataclass(frozen=True)
class Group:
    """Runs that belong together: every data set x method x change x seed.

    Attributes:
        needs: names of EXTRAS that must all be asked for; (): always there.
        changes: of Settings, as dicts of values, of functions of the usual value (times), or of
            OF_ALL. One that changes nothing is left out; {} is the run with its usual settings.
        seeds: so many, from 0; None: as many as the profile has (SEEDS).
    """

    needs: tuple
    datasets: tuple
    methods: tuple
    changes: tuple = ({},)
    seeds: int | None = None


def _doubled(method):
    """Changes of the trials on digits to the usual budget and temperature, and to twice that."""
    temperature = TEMPERATURES["cpu"][MNIST].get(method, START_TEMPERATURE)
    return tuple({"epochs": times(many), "temperature": temperature} for many in (2, 4))


def _short(name):
    """A data set's short budget, at the learning rate of all."""
    return SHORT[name] | _RATE_OF_ALL


def _cool(name):
    """The same, at the temperature that trials start from."""
    return _short(name) | {"temperature": START_TEMPERATURE}


def _longer(name):
    """Changes of the trials on a data set to more epochs, at each of three temperatures."""
    return tuple({"epochs": LONGER[name], **change} for change in (_START, *_TEMPERATURES[1:3]))


def rated(name, method):
    """The Group of a method's trials on a data set for more epochs at its own temperature, at each
    of three learning rates."""
    known = {"cross_entropy": START_TEMPERATURE, **TEMPERATURES["cpu"][base_of(name)[0]]}
    temperature = known.get(method, preset("cpu", kind_of(name)).temperature)
    own = {"epochs": LONGER[name], "temperature": temperature}
    changes = tuple({**own, **change} for change in ({}, *_RATES))
    return Group(("tuning",), (name,), (method,), changes, seeds=1)


SLOWER = times(0.3)
_RATES = each("learning_rate", (SLOWER, times(3)))
_TEMPERATURES = each("temperature", (0.05, 0.2, 0.4, 0.8))
_START = {"temperature": START_TEMPERATURE}
_RATE_OF_ALL = {"learning_rate": OF_ALL}
_OTHER_BUDGET = {"cifar100": {"epochs": times(0.5)}, "modelnet10": {"epochs": times(2)}}
_FOUR = ({}, *_TEMPERATURES[:3])
_BATCHES = tuple({"epochs": times(0.5), "batch_size": times(part)} for part in (0.5, 2))
_OF_TREE = ({"epochs": times(2)}, {"epochs": times(2), "batch_size": times(4)})
_SCRATCH_TWICE = SCRATCH | {"epochs": 2 * SCRATCH["epochs"]}
LONGER = {"cifar100_tuning": times(5), "modelnet10_tuning": times(4)}  # than the first trials
GROUPS = (
    Group((), (MNIST,), MAIN, seeds=1),  # so that a laptop is done in minutes
    Group(("baselines",), (MNIST,), BASELINES),
    Group(("baselines", "seeds"), (MNIST,), BASELINES, seeds=5),
    Group(("peers",), (MNIST,), PEERS),
    Group(("peers", "seeds"), (MNIST,), PEERS, seeds=5),
    Group(("ablation",), (MNIST,), ("shared",), each("head_batch_norm", [False])),
    Group(("ablation",), (MNIST,), RATE_METHODS, each("learning_rate", [SLOWER]), seeds=5),
    Group(("ablation",), (MNIST,), BATCH_METHODS, _BATCHES),
    *(
        Group(("ablation", name), (name,), FASTER[name], (_RATE_OF_ALL,), seeds=5)
        for name in FASTER
    ),
    Group(
        ("ablation", "modelnet10"),
        ("modelnet10",),
        FASTER_AT_BUDGETS["modelnet10"],
        (_RATE_OF_ALL,),
        seeds=8,
    ),
    *(
        Group(
            ("ablation", "budget", name), (name,), FASTER_AT_BUDGETS[name], (_RATE_OF_ALL | change,)
        )
        for name, change in _OTHER_BUDGET.items()
    ),
    Group(("ablation",), (TREE,), ("shared",), _OF_TREE, seeds=1),
    Group(("early",), (MNIST,), (*MAIN, *BASELINES, *PEERS), (SHORT[MNIST],)),
    Group(("early",), (MNIST,), ("shared",), ({"head_batch_norm": False, **SHORT[MNIST]},)),
    Group(("early", "seeds"), (MNIST,), SEEDS_METHODS, (SHORT[MNIST],), seeds=10),
    Group(("order",), (SWAPPED, MNIST), ORDER_METHODS),
    Group(("order", "seeds"), (SWAPPED,), ORDER_METHODS, seeds=5),
    Group(("seeds",), (MNIST,), SEEDS_METHODS, seeds=10),
    Group(("cifar100",), ("cifar100",), TABLE1_METHODS, seeds=1),  # ten minutes each
    Group(("cifar100", "seeds"), ("cifar100",), TABLE1_METHODS, seeds=5),
    *(Group((name,), (name,), TABLE1_METHODS) for name in TABLE1[1:]),
    Group(("modelnet10", "seeds"), ("modelnet10",), TABLE1_METHODS, seeds=5),
    Group(("modelnet10", "seeds"), ("modelnet10",), BUDGET_TABLE1, seeds=8),
    *(Group(("early", name), (name,), TABLE1_METHODS, (_short(name),)) for name in BRIEF),
    *(Group(("claims", name), (name,), RESTRICTED) for name in TABLE1),
    Group(("claims", "cifar100", "seeds"), ("cifar100",), CIFAR_PEERS, seeds=5),
    Group(("claims", "modelnet10", "seeds"), ("modelnet10",), RESTRICTED, seeds=5),
    *(Group(("early", "claims", name), (name,), RESTRICTED, (_short(name),)) for name in BRIEF),
    *(Group(("claims",), *one) for one in CLAIMED),
    *(Group(("claims", "seeds"), *one, seeds=5) for one in CLAIMED),
    Group(("ours",), (DIGITS_TUNING,), OURS, (SHORT[MNIST],)),
    Group(("ours",), ("modelnet10_tuning",), OURS),
    Group(("ours",), (MNIST,), UNION, seeds=5),
    Group(("ours", "grocery"), ("grocery",), UNION, seeds=10),
    Group(("ours",), (DIGITS_TUNING,), UNION, _FOUR, seeds=1),
    Group(("ours", "grocery"), ("grocery_tuning",), UNION, _FOUR, seeds=1),
    *(Group(("temperature",), (name,), TEMPERATURE_METHODS, (_cool(name),)) for name in BRIEF),
    Group(("budget",), (MNIST,), BUDGET_MNIST, each("epochs", map(times, (0.25, 0.5))), seeds=5),
    Group(("budget",), (MNIST,), BUDGET_MNIST, seeds=5),
    Group(("budget",), (MNIST,), BUDGET_MNIST, each("epochs", [times(2)]), seeds=5),
    Group(("budget",), (MNIST,), BUDGET_MNIST, each("epochs", [times(4)]), seeds=1),
    *(
        Group(("budget", name), (name,), BUDGET_TABLE1, ({}, change))
        for name, change in _OTHER_BUDGET.items()
    ),
    Group(("tuning",), TUNING, TUNING_METHODS, ({}, *_RATES), seeds=1),
    Group(("tuning",), TUNING, TUNING_METHODS[1:], _TEMPERATURES, seeds=1),
    Group(("tuning",), (DIGITS_TUNING,), (*MAIN, *BASELINES[1:], *PEERS), _FOUR, seeds=1),
    Group(("tuning",), (DIGITS_TUNING,), BUDGET_MNIST, ({}, *_RATES), seeds=1),
    *(Group(("tuning",), (DIGITS_TUNING,), (key,), _doubled(key), seeds=1) for key in BUDGET_MNIST),
    *(Group(("tuning",), (name,), TEMPERATURE_METHODS, _longer(name), seeds=1) for name in TUNING),
    Group(("tuning",), TUNING[:1], CIFAR_PEERS, _longer(TUNING[0]), seeds=1),
    Group(("tuning",), TUNING[1:], RESTRICTED, _longer(TUNING[1]), seeds=1),
    *(rated(name, method) for name, methods in RATED.items() for method in methods),
    Group(("variants",), ("cifar100_tuning",), VARIANTS, seeds=1),
    Group(("grocery",), ("grocery",), GROCERY_METHODS, seeds=10),
    Group(("grocery",), ("grocery",), ("cross_entropy",), (UNTOUCHED,), seeds=10),
    Group(("scratch",), ("grocery",), SCRATCH_METHODS, (SCRATCH,), seeds=3),
    Group(("scratch",), ("grocery",), ("cross_entropy", "g_hmlc"), (_SCRATCH_TWICE,), seeds=1),
    Group(("grocery", "tuning"), ("grocery_tuning",), GROCERY_METHODS[1:], _FOUR, seeds=1),
)

# How a changed setting shows in a method's name in result files.
TAGS = {
    "head_batch_norm": lambda value: "_with_batchnorm" if value else "_without_batchnorm",
    "epochs": "@{:g}".format,
    "learning_rate": "@lr{:g}".format,
    "temperature": "@t{:g}".format,
    "batch_size": "@b{:g}".format,
}


@dataclass(frozen=True)
class Plan:
    """One training run: the arguments of hmlc_core.pretrain."""

    dataset: str
    method: str
    settings: Settings
    seed: int
    label: str


def usual_settings(profile, dataset=MNIST, method=None):
    """The Settings that a profile has for a data set, with the method's own temperature and
    learning rate.

    Raises:
        ValueError: for an unknown profile.
    """
    settings = preset(profile, kind_of(dataset))
    if dataset.endswith("_tuning"):
        epochs = math.ceil(settings.epochs / TRIALS.get(dataset, 1))
        return replace(settings, epochs=epochs, temperature=START_TEMPERATURE)
    for setting, table in (("temperature", TEMPERATURES), ("learning_rate", LEARNING_RATES)):
        for name in (kind_of(dataset), variant_of(dataset), dataset):  # the last that has it counts
            own = table.get(profile, {}).get(name, {})
            if method in own:
                settings = replace(settings, **{setting: own[method]})
    return settings


def own_rates(profile, dataset):
    """{method: learning rate} of those that have one of their own on a data set."""
    return LEARNING_RATES.get(profile, {}).get(dataset, {})


def run_label(method, settings, usual):
    """A method's name in result files: its key and a tag for each setting that is not the usual,
    say "g_hmlc@t0.2"; "raw" where no encoder is trained."""
    if settings.encoder == "untouched":
        return RAW
    tags = [method]
    if usual.pretrained and not settings.pretrained:
        usual, tags = replace(usual, **SCRATCH), [method, FROM_SCRATCH]
    changed = [name for name, value in asdict(settings).items() if value != getattr(usual, name)]
    changed.sort(key=lambda name: (list(TAGS).index(name) if name in TAGS else len(TAGS), name))
    for name in changed:
        show = TAGS.get(name, f"@{name}={{}}".format)
        tags.append(show(getattr(settings, name)))
    return "".join(tags)


def planned_runs(profile, extras=(), dataset=None):
    """The training runs of a profile as Plans, seed by seed.

    Args:
        extras: names from EXTRAS.
        dataset: only those of this data set and its variants.

    Raises:
        ValueError: for an unknown extra, or a data set of which nothing is asked for.
    """
    unknown = sorted(set(extras) - set(EXTRAS))
    if unknown:
        raise ValueError(f"unknown extra {', '.join(unknown)}: choose from {', '.join(EXTRAS)}")
    chosen = [group for group in GROUPS if set(group.needs) <= set(extras)]
    plans = [plan for group in chosen for plan in expand(group, profile)]
    plans = sorted(dict.fromkeys(plans), key=lambda plan: plan.seed)
    asked = [plan for plan in plans if dataset in (None, variant_of(plan.dataset))]
    if not asked:
        raise ValueError(f"no run of {dataset} is asked for: put {dataset!r} into extras")
    return asked


def expand(group, profile):
    """The Plans of a group."""
    seeds = SEEDS[profile] if group.seeds is None else group.seeds
    plans = []
    for dataset in group.datasets:
        of_all = usual_settings(profile, dataset)
        for method in group.methods:
            usual = usual_settings(profile, dataset, method)
            for settings in _changed(usual, group.changes, of_all):
                label = run_label(method, settings, label_base(settings, usual, dataset, of_all))
                plans += [Plan(dataset, method, settings, seed, label) for seed in range(seeds)]
    return plans


def label_base(settings, usual, dataset, of_all):
    """What a label compares with: the usual settings, but at the short budget its temperature and
    the learning rate of all methods; of_all: usual_settings of none."""
    short = SHORT.get(variant_of(dataset), {})
    if short.get("epochs") != settings.epochs:
        return usual
    rate = of_all.learning_rate
    return replace(usual, temperature=short["temperature"], learning_rate=rate)


def _changed(usual, changes, of_all):
    """Settings by each change; without those that change nothing but say they do, and without raw
    and from scratch where no features are stored."""
    made = []
    for change in changes:
        new = {key: _value(key, asked, usual, of_all) for key, asked in change.items()}
        settings = replace(usual, **new)
        possible = usual.pretrained or "encoder" not in change
        if possible and (not change or settings != usual):
            made.append(settings)
    return made


def _value(key, asked, usual, of_all):
    if asked is OF_ALL:
        return getattr(of_all, key)
    return asked(getattr(usual, key)) if callable(asked) else asked


def variant_of(dataset):
    """The data set that a notebook of this study handles a variant with: "cifar100" for
    "cifar100_tuning", "hierarchical_mnist" for all of its kind; other names pass through."""
    base, _ = base_of(dataset)
    known = base in DATASETS and DATASETS[base].kind.startswith(MNIST)
    return MNIST if known else base
