"""pretrain(): one loop for every method, on CPU or GPU, resumed after any interruption."""
import argparse
import copy
import ctypes
import inspect
import json
import time
from dataclasses import dataclass, field, replace
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn
from torch.distributed.elastic.multiprocessing.errors import record

from hmlc_core import augment, datasets, distributed, files, losses, masks, models, profiles, results
from hmlc_core.progress import progress_bar


class Method(NamedTuple):
    """What a method is: where its masks come from and which loss it takes.

    masks: function (embeddings [B, D], levels) -> [levels, B, D], or a module class made with (dim, levels); None: no masks.
    loss: function (embeddings, labels, [masks,] temperature, reduction), or a module class made with (dim, class_counts).
    projected: whether the loss sees the projection head's embedding (else the encoder's features).
    """
    masks: object
    loss: object
    projected: bool = True


METHODS = {
    "cross_entropy": Method(None, losses.CrossEntropyHeads, projected=False),
    "supcon": Method(None, losses.finest_supcon_loss),
    "hmce_paper": Method(None, losses.hmce_loss),
    "hmce_released": Method(None, losses.hmce_released_loss),
    "shared": Method(masks.shared_masks, losses.masked_hierarchical_loss),
    "split": Method(masks.split_masks, losses.masked_hierarchical_loss),
    "sign": Method(masks.sign_masks, losses.masked_hierarchical_loss),
    "rectified": Method(masks.rectified_masks, losses.masked_hierarchical_loss),
    "random": Method(masks.random_masks, losses.masked_hierarchical_loss),
    "g_hmlc": Method(masks.gmm_masks, losses.masked_hierarchical_loss),
    "g_hmlc_batch": Method(partial(masks.gmm_masks, scope="batch"), losses.masked_hierarchical_loss),
    "a_hmlc": Method(masks.AttentionMasks, losses.masked_hierarchical_loss),
    "a_hmlc_sharp": Method(masks.SharpAttentionMasks, losses.masked_hierarchical_loss),
    "a_hmlc_sigmoid": Method(masks.SigmoidAttentionMasks, losses.masked_hierarchical_loss),
    "a_hmlc_rectified": Method(masks.RectifiedAttentionMasks, losses.masked_hierarchical_loss),
    "separability": Method(masks.SeparabilityMasks, losses.masked_hierarchical_loss),
    "heads": Method(None, losses.PerLevelHeads, projected=False),
    "rince": Method(None, losses.rince_loss),
    "bhcl": Method(None, losses.BHCL),
    "level_restricted": Method(None, losses.LevelRestricted),
    "level_restricted_hyperbolic": Method(None, losses.LevelRestrictedHyperbolic),
}


class Objective(nn.Module):
    """A method's masks and loss, with their parameters if they have any."""

    def __init__(self, method, dim, class_counts, temperature):
        super().__init__()
        self.levels, self.temperature = len(class_counts), temperature
        self.masks = method.masks(dim, self.levels) if isinstance(method.masks, type) else method.masks
        self.loss = method.loss(dim, class_counts) if isinstance(method.loss, type) else method.loss

    def level_masks(self, embeddings):
        """Masks [levels, ..., D] of embeddings [..., D]."""
        flat = embeddings.flatten(0, -2)
        return self.masks(flat, self.levels).unflatten(1, embeddings.shape[:-1])

    def forward(self, embeddings, labels):
        """embeddings [B, V, D], labels [B, L] -> the loss's terms, one per level it uses, coarse to fine."""
        if self.training and hasattr(self.masks, "observe"):
            self.masks.observe(embeddings[:, 0], labels)
        extra = [self.level_masks(embeddings)] if self.masks else []
        return self.loss(embeddings, labels, *extra, temperature=self.temperature, reduction="none")


class Model(nn.Module):
    """Encoder, projection head and objective of one run."""

    def __init__(self, method, profile, channels, class_counts):
        super().__init__()
        self.encoder, features = models.build_encoder(profile.encoder, channels)
        dim = profile.dim if method.projected else features
        self.head = models.projection_head(features, dim, profile.head_batch_norm) if method.projected else nn.Identity()
        self.objective = Objective(method, dim, class_counts, profile.temperature)

    def forward(self, views, labels, autocast):
        """views [B, V, C, H, W], labels [B, L] -> loss terms [<= L], in float32.

        With several processes, `views` are this one's share of the batch and `labels` those of the whole batch.
        """
        with autocast:
            embeddings = self.head(self.encoder(views.flatten(0, 1).contiguous(memory_format=torch.channels_last)))
        return self.objective(distributed.gather(embeddings.float().unflatten(0, views.shape[:2])), labels)


@dataclass
class Run:
    """A finished training run.

    Attributes:
        model: the trained Model; history: one dict per epoch (epoch, seconds, device, loss, one entry per loss term).
        folder: where its checkpoint and computed embeddings lie; config_hash: what all of that depends on.
    """
    dataset: datasets.HierarchicalDataset
    method: str
    profile: profiles.Profile
    seed: int
    model: Model
    history: list
    folder: Path
    config_hash: str
    device: torch.device
    _data: dict = field(default_factory=dict, repr=False)
    _outputs: dict = field(default_factory=dict, repr=False)

    @property
    def encoder(self):
        return self.model.encoder

    @property
    def label(self):
        """The method's name in result files."""
        return profiles.run_label(self.method, self.profile, self.dataset.name)

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
        path = _snapshot(self.folder, epoch)
        if not path.exists():
            raise FileNotFoundError(f"no {path.name} in {self.folder}: train with pretrain(..., snapshots=True, folder=...) into a new folder")
        model = copy.deepcopy(self.model)
        history = _restore(path, {"model": model})
        return replace(self, model=model.eval(), history=history, folder=self.folder / f"epoch-{epoch}", _outputs={})

    def data(self, split):
        """The data set of a split by name; the run's own for the split it was trained on. A data set passes through.

        Raises:
            ValueError: if the split that datasets.load knows does not belong to the run's data set.
        """
        if isinstance(split, datasets.HierarchicalDataset):
            return split
        if split not in self._data:
            own = self.dataset
            data = own if split == own.split else datasets.load(own.name, self.profile, split)
            if (data.images.shape[1:], data.class_names, data.source) != (own.images.shape[1:], own.class_names, own.source):
                raise ValueError(f"the run was not trained on datasets.load({own.name!r}): give its {split} set as a "
                                 "HierarchicalDataset instead of a name")
            self._data[split] = data
        return self._data[split]

    def features(self, split):
        """The frozen encoder's features, float32 [N, F] on the CPU, of a split or of any HierarchicalDataset."""
        return self._output(split)[0]

    def embeddings(self, split):
        """z behind the projection head (for cross-entropy: the features), float32 [N, D] on the CPU."""
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
            if not path.exists():
                outputs = encode(self.model, data, self.device)
                with files.writing(path) as beside:
                    torch.save(outputs, beside)
            self._outputs[data.fingerprint] = torch.load(path, weights_only=True)
        return self._outputs[data.fingerprint]


@torch.no_grad()
def encode(model, dataset, device, batch_size=500):
    """Features [N, F] and embeddings [N, D] of a data set, without augmentation, on the CPU."""
    model.eval()
    outputs = []
    for batch in torch.from_numpy(dataset.images).split(batch_size):
        with _autocast(device):
            features = model.encoder(augment.to_float(batch.to(device)))
            outputs.append((features.float().cpu(), model.head(features).float().cpu()))
    return tuple(torch.cat(parts) for parts in zip(*outputs))


def best_device():
    """cuda if there is one, else cpu."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _precision(device):
    """bfloat16 where the hardware multiplies it natively, float16 on older GPUs, else float32."""
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    return torch.bfloat16 if torch.cpu._is_avx512_bf16_supported() else torch.float32


def _autocast(device):
    precision = _precision(device)
    return torch.autocast(device.type, precision if precision != torch.float32 else torch.bfloat16,
                          enabled=precision != torch.float32)


def _foreign_source(part):
    """Source of a mask maker or loss that a user wrote elsewhere (say, in a notebook), as text, and the arguments of a partial; "" for
    ours, which the code's hash has."""
    if isinstance(part, partial):
        return f"{_foreign_source(part.func)} {part.args} {sorted(part.keywords.items())}"
    if part is None or part.__module__.startswith("hmlc_core"):
        return ""
    pieces = [part] if not isinstance(part, type) else [f for f in vars(part).values() if inspect.isfunction(f)]
    try:
        return part.__qualname__ + "".join(map(inspect.getsource, pieces))
    except (OSError, TypeError):     # typed where no source is kept, or an object that is called
        return repr(part)


def config_hash(dataset, method, profile, seed, device):
    """What a run's numbers depend on: data, settings, seed, kind of device, precision, torch and the code that trains."""
    code = files.code_hash(augment, distributed, losses, masks, models, __file__)
    parts = [dataset.fingerprint, dataset.name, method, profile.training_settings(), seed,
             device.type, str(_precision(device)), torch.__version__, code, *map(_foreign_source, METHODS[method][:2]), METHODS[method].projected]
    return blake2b(json.dumps(parts, sort_keys=True).encode(), digest_size=6).hexdigest()


def pretrain(dataset, method, profile="cpu", seed=0, *, folder=None, device=None, progress=True, snapshots=False):
    """Train an encoder on a data set with a method, or load the run if it was trained before.

    A run is kept in a folder named by a hash of all it depends on; after each epoch a checkpoint is written there, and
    an interrupted run goes on from it. On a CPU the same seed gives the same bits on the same machine and versions,
    interrupted or not.

    Args:
        dataset: HierarchicalDataset, or a name for datasets.load.
        method: a key of METHODS.
        profile: "smoke", "cpu", "gpu" or a Profile.
        seed: of the weights, the order of samples and the augmentation.
        folder: where runs are kept; None: data/runs.
        device: torch.device or its name; None: cuda if there is one.
        progress: whether to show a bar.
        snapshots: whether to keep the model of every epoch, for Run.at(epoch); give a folder of its own.

    Returns:
        Run.

    Raises:
        ValueError: unknown method or profile, a class with one sample, an unreadable checkpoint.
        FloatingPointError: the loss became NaN or infinite. The last good checkpoint is kept.
    """
    if method not in METHODS:
        raise ValueError(f"unknown method {method!r}: choose from {', '.join(METHODS)}")
    dataset = datasets.load(dataset, profile, "train") if isinstance(dataset, str) else dataset
    profile = profiles.get(profile, dataset.name)
    device = torch.device(device) if device else best_device()
    _check_trainable(dataset)
    if device.type == "cpu":
        _keep_freed_memory()
    key = config_hash(dataset, method, profile, seed, device)
    folder = Path(folder or files.DATA / "runs") / f"{dataset.name}-{method}-seed{seed}-{key}"
    model = _new_model(dataset, method, profile, seed, device)
    with progress_bar(desc=f"{method} seed {seed}", **({} if progress else {"disable": True})) as bar:
        history = _train(model, dataset, profile, seed, device, folder / "checkpoint.pt", bar, snapshots)
    return Run(dataset, method, profile, seed, model.eval(), history, folder, key, device)


def _new_model(dataset, method, profile, seed, device):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = Model(METHODS[method], profile, dataset.images.shape[3], dataset.class_counts)
    model = model.to(device, memory_format=torch.channels_last)
    model.encoder, model.head = (distributed.synchronise(part, device) for part in (model.encoder, model.head))
    return model


def _keep_freed_memory():
    """Stop glibc from handing large tensors back to the kernel at every step and paying for each page again: about twice
    the speed on a CPU."""
    try:
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(-4, 0)             # M_MMAP_MAX
        libc.mallopt(-1, 2**31 - 1)     # M_TRIM_THRESHOLD
    except (OSError, AttributeError):   # another C library, which does not do so
        pass


def _check_trainable(dataset):
    for level, names, column in zip(dataset.level_names, dataset.class_names, dataset.labels.T):
        count = torch.bincount(torch.from_numpy(column[column >= 0]), minlength=len(names))
        if (count == 1).any():
            raise ValueError(f"class '{names[int((count == 1).nonzero()[0])]}' of level '{level}' has one sample, so nothing "
                             "else is like it. Add samples, merge it with another class, or label it -1 (unknown)")


def _train(model, dataset, profile, seed, device, path, bar, snapshots=False):
    """Train to the last epoch, from the checkpoint at `path` if there is one. Returns the history."""
    steps = max(len(dataset) // profile.batch_size, 1)
    optimizer = _optimizer([p for p in model.parameters() if p.requires_grad], profile)
    total = profile.epochs * steps
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, profile.learning_rate, total_steps=total,
                                                   pct_start=0.1 if total > 10 else 0.3)       # PyTorch divides by 0.1 * 10 - 1
    scaler = torch.amp.GradScaler(device.type, enabled=_precision(device) == torch.float16)
    state = {"model": model, "optimizer": optimizer, "schedule": schedule, "scaler": scaler}
    history = _restore(path, state)
    distributed.require_same(len(history), "the epochs of their checkpoint")
    if len(history) == profile.epochs:
        return history
    forward = distributed.parallel(model)
    images, labels = (torch.from_numpy(part).to(device) for part in (dataset.images, dataset.labels))
    bar.reset(total=profile.epochs * steps)
    bar.update(len(history) * steps)
    for epoch in range(len(history), profile.epochs):
        start = time.perf_counter()
        generator = torch.Generator(device).manual_seed(seed * 100_003 + epoch)      # so that resuming needs no state
        order = torch.randperm(len(images), device=device, generator=generator)[:steps * profile.batch_size]
        model.train()
        terms = []
        for batch in order.split(profile.batch_size):
            views = augment.two_views(images[distributed.share(batch)], profile.augmentation, generator)
            terms.append(_step(forward, views, labels[batch], _autocast(device), optimizer, schedule, scaler))
            bar.update()
            _require_finite(terms[-1], f"epoch {epoch + 1}, step {len(terms)} of {path.parent.name}")
        history.append(_epoch_record(epoch, time.perf_counter() - start, device, torch.stack(terms).mean(0), dataset.level_names))
        bar.set_postfix(loss=f"{history[-1]['loss']:.2f}")
        if snapshots:
            _save(_snapshot(path.parent, epoch + 1), {"model": model}, history)
        _save(path, state, history)
    return history


def _snapshot(folder, epoch):
    return folder / f"epoch-{epoch}.pt"


def _optimizer(parameters, profile):
    if profile.optimizer == "sgd":
        return torch.optim.SGD(parameters, profile.learning_rate, momentum=0.9, weight_decay=profile.weight_decay)
    return torch.optim.AdamW(parameters, profile.learning_rate, weight_decay=profile.weight_decay)


def _step(forward, views, labels, autocast, optimizer, schedule, scaler):
    """One optimisation step; returns the detached loss terms."""
    terms = forward(views, labels, autocast)
    optimizer.zero_grad(set_to_none=True)
    scaler.scale(terms.sum()).backward()
    scaler.step(optimizer)
    scaler.update()
    schedule.step()
    return terms.detach()


def _require_finite(terms, where):
    if not torch.isfinite(terms).all():
        raise FloatingPointError(f"the loss is {terms.tolist()} at {where}: lower the learning rate or raise the temperature. "
                                 "The checkpoint of the last whole epoch is kept")


def _epoch_record(epoch, seconds, device, terms, level_names):
    """One history entry; a method with fewer terms than levels has those of the finest."""
    names = level_names[-len(terms):]
    return {"epoch": epoch + 1, "seconds": seconds, "device": results.device_name(device), "loss": terms.sum().item(),
            **dict(zip(names, terms.tolist()))}


def _save(path, state, history):
    """Write a checkpoint; of several processes the first does, for all."""
    if distributed.rank() > 0:
        return
    with files.writing(path) as beside:
        torch.save({"history": history, **{key: part.state_dict() for key, part in state.items()}}, beside)


def _restore(path, state):
    """Load the checkpoint at `path`, if any, into the parts of `state`; returns its history."""
    if not path.exists():
        return []
    try:
        stored = torch.load(path, weights_only=True, map_location="cpu")
        for key, part in state.items():
            part.load_state_dict(stored[key])
        return stored["history"]
    except Exception as error:  # torch, zipfile and pickle each have their own
        raise ValueError(f"checkpoint {path} is unreadable ({type(error).__name__}: {error}): delete it to train this run "
                         "again") from error


@record
def main(words=None):
    """Train one run; under torchrun with several processes, on one batch. The notebooks then find it in data/runs."""
    parser = argparse.ArgumentParser(prog="python -m hmlc_core.training", description=main.__doc__)
    parser.add_argument("dataset", help="a name for datasets.load, or the path of an .npz")
    parser.add_argument("method", choices=METHODS)
    parser.add_argument("--profile", choices=profiles.PROFILES, default="gpu" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(words)
    with distributed.group(minutes=120) as device:      # the first may have to download and render
        load = datasets.HierarchicalDataset.load if args.dataset.endswith(".npz") else partial(datasets.load, profile=args.profile)
        if distributed.rank() == 0:
            load(args.dataset)          # makes the cache that the others read
        distributed.barrier()
        run = pretrain(load(args.dataset), args.method, args.profile, args.seed, device=device, progress=distributed.rank() == 0)
        distributed.barrier()           # the checkpoint is written
        if distributed.rank() == 0:
            print(f"{run.label} seed {run.seed}: loss {run.history[-1]['loss']:.3f} after {len(run.history)} epochs, {run.folder}")


if __name__ == "__main__":
    main()
