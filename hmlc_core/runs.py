"""A training run: what it depends on, where it is kept, and what it gives."""

import copy
import ctypes
import json
from contextlib import suppress
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from pathlib import Path

import numpy as np
import torch
import torchvision

from hmlc_core import devices, distributed, files, methods, metrics, train, views
from hmlc_core.checks import require
from hmlc_core.data import bar, mnist, pretrained
from hmlc_core.data.dataset import HierarchicalDataset
from hmlc_core.data.load import kind_of, load_dataset
from hmlc_core.fingerprint import fingerprint
from hmlc_core.settings import Settings, checked, preset

TRAINING_CODE = ("checks", "contrast", "devices", "distributed", "losses", "masks", "methods")
TRAINING_CODE += ("models", "peers", "runs", "train", "views")  # runs makes models and encodes


@dataclass(eq=False)
class Run:
    """A finished training run.

    Attributes:
        dataset: the training split.
        label: the method's name in result files.
        model: the trained methods.Model.
        history: a dict for each epoch (epoch, seconds, device, loss, one entry per loss term).
        folder: where its checkpoint and computed embeddings lie.
        config_hash: of what all of that depends on.
    """

    dataset: HierarchicalDataset
    method: str
    settings: Settings
    seed: int
    model: methods.Model = field(repr=False)
    history: list = field(repr=False)
    folder: Path
    config_hash: str
    device: torch.device
    label: str
    _data: dict = field(default_factory=dict, repr=False)
    _outputs: dict = field(default_factory=dict, repr=False)

    @property
    def encoder(self):
        return self.model.encoder

    @property
    def trained_on(self):
        """Name of the device it was trained on, with the number of threads of a CPU."""
        return self.history[-1]["device"]

    @property
    def seconds(self):
        """Training time, without evaluation."""
        return sum(epoch["seconds"] for epoch in self.history)

    def at(self, epoch):
        """The run as it was after an epoch (1, 2, ...), if pretrain(snapshots=True) kept it.

        Raises:
            FileNotFoundError: if it was not kept.
        """
        path = train.snapshot_path(self.folder, epoch)
        if not path.exists():
            advice = "train with pretrain(..., snapshots=True, folder=...) into a new folder"
            raise FileNotFoundError(f"no {path.name} in {self.folder}: {advice}")
        model = copy.deepcopy(self.model)
        history = train.restore(path, {"model": model})
        folder = self.folder / f"epoch-{epoch}"
        return replace(self, model=model.eval(), history=history, folder=folder, _outputs={})

    def data(self, split):
        """The data set of a split by name, "train" what the run was trained on; a data set passes
        through.

        Raises:
            ValueError: a split that is not of the run's data set, or images of another shape.
        """
        if isinstance(split, HierarchicalDataset):
            shape, trained = (list(x.images.shape[1:]) for x in (split, self.dataset))
            require(shape == trained, f"trained on images {trained}, which {shape} do not fit")
            return split
        if split not in self._data:
            own, known = self.dataset, split in ("train", self.dataset.split)
            other = own if known else load_dataset(own.name, self.settings, split)
            of_own, of_other = ((x.images.shape[1:], x.class_names, x.source) for x in (own, other))
            told = f"the run was not trained on load_dataset({own.name!r})"
            advice = f"give its {split} set as a HierarchicalDataset instead of a name"
            require(of_own == of_other, f"{told}: {advice}")
            self._data[split] = other
        return self._data[split]

    def features(self, split):
        """The frozen encoder's features, float32 [N, F] on the CPU, of a split or a data set."""
        return self._output(split)[0]

    def embeddings(self, split):
        """z behind the head, float32 [N, D] on the CPU; of a method without a head the features."""
        return self._output(split)[1]

    def level_masks(self, split):
        """Masks [L, N, D] of the embeddings, or None if the method has none."""
        if self.model.objective.masks is None:
            return None
        with torch.no_grad():
            return self.model.objective.level_masks(self.embeddings(split).to(self.device)).cpu()

    def _output(self, split):
        data = self.data(split)
        path = self.folder / f"outputs-{data.fingerprint}.pt"
        if data.fingerprint not in self._outputs:
            outputs = _kept_outputs(path, len(data))
            if outputs is None:
                outputs = encode(self.model, data, self.settings, self.device)
                with suppress(OSError), files.writing(path) as beside:  # else made again
                    torch.save(outputs, beside)
            self._outputs[data.fingerprint] = outputs
        return self._outputs[data.fingerprint]


def _kept_outputs(path, count):
    """Outputs of so many samples, kept in a file; None if it is not there, or damaged."""
    with suppress(Exception):  # torch, pickle and zipfile each have their own
        outputs = torch.load(path, weights_only=True)
        return outputs if [len(part) for part in outputs] == [count, count] else None


@torch.no_grad()
def encode(model, dataset, settings, device):
    """Features [N, F] and embeddings [N, D] of a data set, without augmentation, on the CPU."""
    model.eval()
    batches = source_of(settings).clean(dataset, settings, device)
    outputs = [model.embed(inputs, devices.autocast(device)) for inputs in batches]
    return tuple(torch.cat(parts).cpu() for parts in zip(*outputs))


def source_of(settings):
    """The class that gives views of a batch and the clean inputs of a data set."""
    given = f"encoder {settings.encoder!r} does not go with pretrained={settings.pretrained!r}"
    advice = f"with a timm model's name choose {', '.join(pretrained.SOURCES)}, with '' another"
    fits = (settings.encoder in pretrained.SOURCES) == bool(settings.pretrained)
    require(fits, f"{given}: {advice}")
    return pretrained.SOURCES.get(settings.encoder, views.Pictures)


def configuration(dataset, method, settings, seed, device):
    """What a run's numbers depend on: data, settings, seed, precision, versions and code."""
    return {
        "data": dataset.fingerprint,
        "data set": dataset.name,
        "fresh": dataset.composer is not None,
        "method": method.key,
        "method version": method.version,
        "masks": fingerprint((method.masks, method.one_mask)),
        "loss": fingerprint(method.loss),
        "projected": method.projected,
        **settings.of_training(),
        **source_of(settings).depends_on(dataset, settings, device),
        "seed": seed,
        "device": device.type,
        "precision": str(devices.precision(device)),
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "code": code_of(dataset.composer is not None),
    }


def code_of(fresh):
    """A hash of the code that trains, of fresh composites what makes them, too."""
    code = [Path(__file__).with_name(f"{name}.py") for name in TRAINING_CODE]
    return files.code_hash(*code, *([mnist] if fresh else []))


def hash_of(config):
    """12 hexadecimal digits that name a configuration."""
    return blake2b(json.dumps(config, sort_keys=True).encode(), digest_size=6).hexdigest()


def pretrain(
    dataset, method, settings="cpu", seed=0, *, folder=None, device=None, progress=True,
    snapshots=False, label=None,
):  # fmt: skip
    """Train an encoder on a data set with a method, or load the run if it was trained before.

    A run is kept in a folder named by a hash of all it depends on, with config.json that says what
    that is; after each epoch a checkpoint is written there, and an interrupted run goes on from it.
    On a CPU the same seed gives the same bits on the same machine and versions, interrupted or not.

    Args:
        dataset: HierarchicalDataset, or a name for load_dataset.
        method: a key of methods.METHODS, or a methods.Method of your own.
        settings: Settings, or the name of a profile for its preset.
        seed: of the weights, the order of samples and the augmentation.
        folder: where runs are kept; None: data/runs.
        device: torch.device or its name; None: cuda if there is one.
        progress: whether to show a bar.
        snapshots: keep the model of every epoch, for Run.at(epoch); give a folder of its own.
        label: the method's name in result files; None: its key.

    Returns:
        Run.

    Raises:
        ValueError: unknown method or profile, odd seed, class with one sample, damaged checkpoint.
        FloatingPointError: the loss became NaN or infinite. The last good checkpoint is kept.
    """
    method = methods.get(method)
    dataset = load_dataset(dataset, settings, "train") if isinstance(dataset, str) else dataset
    _check_trainable(dataset)
    settings, seed = preset(settings, kind_of(dataset.name)), checked("seed", int, seed)
    device = torch.device(device) if device else devices.best_device()
    if device.type == "cpu":
        keep_freed_memory()
    config = configuration(dataset, method, settings, seed, device)
    prefix = f"{dataset.name}-{method.key}-seed{seed}-"
    place = Path(folder or files.DATA / "runs").expanduser() / f"{prefix}{hash_of(config)}"
    _write_config(config, place, prefix)
    model = new_model(dataset, method, settings, seed, device)
    source = source_of(settings)(dataset, settings, device)
    path, names = place / "checkpoint.pt", dataset.level_names
    hidden = {} if progress else {"disable": True}  # else TQDM_DISABLE says
    with bar(desc=f"{method.key} seed {seed}", **hidden) as shown, torch.random.fork_rng():
        history = train.train(model, source, settings, seed, device, path, names, shown, snapshots)
    parts = (dataset, method.key, settings, seed, model.eval(), history, place, hash_of(config))
    return Run(*parts, device, label or method.key)


def new_model(dataset, method, settings, seed, device):
    """The untrained methods.Model of a run, on the device."""
    source = source_of(settings)
    channels = source.channels(dataset, settings, device)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = methods.Model(method, settings, channels, dataset.class_counts)
    source.prepare(model.encoder, dataset, settings, device)
    return distributed.synchronise(model.to(device, memory_format=torch.channels_last))


def _write_config(config, place, prefix):
    """Write config.json; where a run of the same settings is there, say why this is another."""
    if (place / "config.json").exists() or distributed.rank() > 0:
        return
    trained = place.parent.glob(f"{prefix}*/checkpoint.pt")
    others = [read_config(path.with_name("config.json")) for path in trained]
    changes = [{k for k in config if other.get(k) != config[k]} for other in others]
    chosen = {"fresh", *Settings().of_training()}
    changes = [names for names in changes if names and not names & chosen]
    if changes:
        names = ", ".join(sorted(min(changes, key=len)))
        print(f"{prefix[:-1]} is trained anew, because of another: {names}")
    with files.writing(place / "config.json") as beside:
        beside.write_text(json.dumps(config, indent=1))


def read_config(path):
    """What a run's config.json says, a dict; an empty one if it is damaged or something else."""
    with suppress(OSError, ValueError, TypeError):
        return dict(json.loads(path.read_text()))
    return {}


def keep_freed_memory():
    """Stop glibc from handing freed memory back at every step: about twice the speed on a CPU."""
    with suppress(OSError, AttributeError):  # another C library, which does not do so
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(-4, 0)  # M_MMAP_MAX
        libc.mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD


def _check_trainable(dataset):
    told = f"give a HierarchicalDataset (own.read gives it first), not {type(dataset).__name__}"
    require(isinstance(dataset, HierarchicalDataset), told)
    for level, names, column in zip(dataset.level_names, dataset.class_names, dataset.labels.T):
        sizes = np.bincount(column[column >= 0])
        require(len(sizes), f"no sample has a label of level '{level}': leave the level out")
        alone = [name for name, size in zip(names, sizes) if size == 1]
        told = f"class '{', '.join(alone)}' of level '{level}' has one sample: nothing is like it"
        advice = "Add samples, merge it with another class, or label it -1 (unknown)"
        require(not alone, f"{told}. {advice}")


def row(run, level, metric, value):
    """One row of results, a dict; seconds = training time of the run."""
    number = dict(dataset=run.dataset.name, method=run.label, level=level, metric=metric)
    number |= dict(seed=run.seed, value=value, seconds=round(run.seconds, 1))
    origin = dict(device=run.trained_on, data_source=run.dataset.source, torch=torch.__version__)
    return number | origin | dict(commit=files.commit(), config_hash=run.config_hash)


def linear_evaluation(run, split="test"):
    """Accuracy of one linear layer per level on the frozen encoder's features.

    Args:
        run: Run.
        split: what to test on, a split's name or a HierarchicalDataset; the layers are fitted on
            the training split, without augmentation.

    Returns:
        Rows of results, metric "linear_accuracy", one per level with a known label in the test.

    Raises:
        ValueError: a level without any label in the training split.
    """
    predictions = [logits.argmax(1) for logits in level_logits(run, split)]
    return level_rows(run, "linear_accuracy", predictions, run.data(split))


def level_rows(run, metric, predictions, test, measure=metrics.accuracy):
    """A row for each level with a known label.

    Args:
        predictions: of each level, int64 [N].
        test: HierarchicalDataset of N samples; ValueError if it has other levels or classes.
        measure: function (predictions [N], labels [N]) -> number.
    """
    rows, own = [], run.dataset
    same = (test.level_names, test.class_names) == (own.level_names, own.class_names)
    require(same, f"levels {test.level_names} and their classes must be as in training, in order")
    for level, predicted, column in zip(test.level_names, predictions, test.labels.T):
        labels = torch.from_numpy(column)
        if (labels >= 0).any():
            rows.append(row(run, level, metric, measure(predicted, labels)))
    return rows


def level_logits(run, split="test"):
    """Logits [N, classes] of the split by the linear layer of each level, a list of L."""
    labels = torch.from_numpy(run.data("train").labels).to(run.device)
    fit, test = (run.features(part).to(run.device) for part in ("train", split))
    levels = zip(labels.T, run.dataset.class_counts)
    return [metrics.linear_logits(fit, known, test, count).cpu() for known, count in levels]
