"""Models of timm: their frozen features, computed once, for a small adapter as the encoder; or the
net itself as the encoder, its last stage trained on pictures."""

import inspect
import json
import time
import warnings
from contextlib import contextmanager, suppress
from copy import deepcopy
from functools import lru_cache, partial
from hashlib import blake2b
from importlib.metadata import version
from textwrap import dedent

import numpy as np
import torch
import torch.nn.functional as F

from hmlc_core import devices, distributed, files, views
from hmlc_core.checks import require
from hmlc_core.data import bar, timm_nets
from hmlc_core.data.timm_nets import build

CHUNK = 16  # pictures in one pass of the net: on a CPU a third faster than with 64
SAVE_EVERY = 256  # pictures in one file of an unfinished pass
BLOCK = 4096  # rows of stored features looked at in one go
LEFT_BEHIND = 3600  # seconds after which nobody writes on at a hidden file


class StoredViews:
    """Stored features of training pictures: two of the kept views of each picture of a batch.

    They stay in files that are mapped into memory; on a GPU they are in its memory if half of
    what is free there holds them.

    Args:
        dataset: HierarchicalDataset without a composer.
        settings: Settings with `pretrained`, `stored_views` (2 or more) and `augmentation`.
    """

    def __init__(self, dataset, settings, device):
        count = settings.stored_views
        require(count >= 2, f"stored_views must be 2 or more, to have two views, not {count}")
        stored = features(dataset, settings, device, range(count + 1))[1:]  # as wide as the clean
        place = device if _fit(sum(x.nbytes for x in stored), device) else "cpu"
        self.stored = [torch.from_numpy(x).to(place) for x in stored]
        self.labels = torch.from_numpy(dataset.labels).to(device)

    def __len__(self):
        return len(self.labels)

    def begin(self, seed, epoch):
        """Nothing to draw: every epoch has the same pictures."""

    def views(self, batch, generator):
        """Two different ones of the views of the pictures with these indices [B], float32
        [B, 2, F]. With several processes, those that one process would take."""
        total, count = distributed.processes() * len(batch), len(self.stored)
        draws = torch.rand(total, 2, device=self.labels.device, generator=generator)
        first, step = distributed.share(draws).T
        first, step = (first * count).long(), (step * (count - 1)).long()
        chosen = torch.stack([first, (first + 1 + step) % count], 1)
        place, width = self.stored[0].device, self.stored[0].shape[1]
        chosen, batch = chosen.to(place), batch.to(place)
        found = self.stored[0].new_empty(*chosen.shape, width)
        for number, view in enumerate(self.stored):
            row, which = (chosen == number).nonzero(as_tuple=True)
            found[row, which] = view[batch[row]]
        return found.to(self.labels.device).float()

    @staticmethod
    def clean(dataset, settings, device, size=500):
        """Yield the features of the pictures as they are, float32 [<= size, F]."""
        (stored,) = features(dataset, settings, device, [0])
        for part in torch.from_numpy(stored).split(size):
            yield part.to(device).float()

    @staticmethod
    def channels(dataset, settings, device):
        """F, of the encoder's inputs [B, F]."""
        return features(dataset, settings, device, [0])[0].shape[1]

    @staticmethod
    def prepare(encoder, dataset, settings, device):
        """Let the encoder standardise by the training set's features, not augmented."""
        (stored,) = features(dataset, settings, device, [0])
        total, square = 0, 0
        for part in torch.from_numpy(stored).split(4096):
            part = part.double()
            total, square = total + part.sum(0), square + part.square().sum(0)
        mean = total / len(stored)
        variance = square / len(stored) - mean.square()
        constant = variance <= 1e-6 * variance.median()  # here; elsewhere it may be far off
        encoder.mean.copy_(mean)
        encoder.std.copy_(variance.masked_fill(constant, 1).sqrt())

    @staticmethod
    def depends_on(dataset, settings, device):
        """What a run depends on beside its data set and settings: the stored features."""
        stored = {"features": folder_of(dataset, settings, device).name}
        code = {"code of pretrained": files.code_hash(__file__, timm_nets)}
        return depends_on(settings, device) | stored | code


def _fit(size, device):
    """Whether so many bytes fit into half of what a GPU has free."""
    return device.type != "cuda" or size < torch.cuda.mem_get_info(device)[0] / 2


def features(dataset, settings, device, numbers):
    """Stored features, float16 [N, F] each: of number 0, the pictures as they are; of 1, 2, ...,
    that augmented view of them. What is not stored yet is computed, with a bar.

    Raises:
        ImportError: timm is not installed.
        ValueError: no pictures, unknown model, unfit weights, or stored features that do not fit.
        FileNotFoundError: no weights; says where to put them.
    """
    name = f"the {dataset.split} split of {dataset.name}"
    require(len(dataset), f"{name} has no picture, so it has no features: give it one or more")
    paths = {k: folder_of(dataset, settings, device, k) / f"view-{k}.npy" for k in numbers}
    missing = {k: path for k, path in paths.items() if not path.exists()}
    if missing:
        _compute(dataset, settings, device, missing)
    for folder in {path.parent for path in paths.values()}:
        _sweep(folder)
    return _all_fit([*paths.values()], len(dataset))


def _sweep(folder):
    """Remove what killed writes have left."""
    for left in folder.glob(f".{'[0-9a-f]' * 32}.*"):  # as files.writing names them
        with suppress(FileNotFoundError):  # another process sweeps, too
            if time.time() - left.stat().st_mtime > LEFT_BEHIND:
                left.unlink()


def _all_fit(paths, rows):
    """The stored features of these files, mapped, float16 [rows, F] each."""
    stored, widths = [_open(path) for path in paths], {}
    for path, array in zip(paths, stored):
        fault = _fault(array, rows)
        require(not fault, f"{path} {fault}: delete it and run again")
        widths.setdefault(array.shape[1], path)
    names = " and ".join(f"{path} ({width} columns)" for width, path in widths.items())
    require(len(widths) == 1, f"these differ in width: {names}. Delete them and run again")
    return stored


def _open(path):
    try:
        return np.lib.format.open_memmap(path, mode="c")
    except (ValueError, OSError, EOFError) as error:
        raise ValueError(f"{path} is unreadable ({error}): delete it and run again") from error


def _fault(array, rows):
    """What is wrong with stored features that should be float16 [rows, F], or ""."""
    if array.dtype != np.float16 or array.ndim != 2 or len(array) != rows:
        return f"holds {array.dtype} {list(array.shape)}, not float16 [{rows}, F]"
    blocks = (array[start : start + BLOCK] for start in range(0, rows, BLOCK))
    return "" if all(np.isfinite(block).all() for block in blocks) else "holds NaN or infinity"


def folder_of(dataset, settings, device, number=1):
    """Where the features of pictures as they are (number 0) or of their views lie."""
    about = json.dumps(_about(dataset, settings, device, number), sort_keys=True)
    key = blake2b(about.encode(), digest_size=6).hexdigest()
    return files.DATA / "features" / f"{settings.pretrained}-{key}"


def _about(dataset, settings, device, number):
    parts = depends_on(settings, device) | {"pictures": _pixels(dataset)}
    if number > 0:
        augment, _ = views.AUGMENTATIONS[settings.augmentation]
        parts |= {"augmentation": settings.augmentation, "augmenting": _code_of(augment, _draws)}
    return parts


def _pixels(dataset):
    """A hash of the pictures alone, kept with the data set: other labels need no other features."""
    known = vars(dataset)
    if "_pixels" not in known:
        digest = blake2b(repr(dataset.images.shape).encode(), digest_size=8)
        digest.update(dataset.images)
        known["_pixels"] = digest.hexdigest()
    return known["_pixels"]


def depends_on(settings, device):
    """What features depend on, beside pictures and augmentation, as a dict."""
    return {
        "pretrained": settings.pretrained,
        "weights": _digest_of(build(settings.pretrained)[0]),
        "timm": version("timm"),
        "torch": torch.__version__,
        "device": device.type,
        "precision": str(devices.precision(device)),
        "passing": _code_of(_features, views.to_float),
    }


@lru_cache  # the code as it was when first used, whatever is edited later
def _code_of(*functions):
    """A hash of what functions, or partials of them, and those of their modules they call do."""
    found, text = [getattr(f, "func", f) for f in functions], []
    for function in found:  # grows as it goes
        names = function.__globals__
        used = filter(inspect.isfunction, map(names.get, function.__code__.co_names))
        own = [f for f in used if f.__module__ == function.__module__]
        found += [f for f in own if f not in found]
        text.append(files.plain_code(dedent(inspect.getsource(function))))
    text += [repr(getattr(f, "keywords", {})) for f in functions]
    return blake2b("\n".join(text).encode(), digest_size=6).hexdigest()


def _compute(dataset, settings, device, paths):
    """Compute and store views, going on with the chunks that an interrupted pass has left.

    Several processes share the chunks."""
    require(dataset.composer is None, "pretrained features need fixed pictures: set fresh=False")
    distributed.require_same(len(paths), "the stored features that they found")
    with bar(
        desc=f"{settings.pretrained} on {dataset.name} {dataset.split}, {len(paths)} views",
        total=len(paths) * len(dataset) // distributed.processes(),
        unit="pictures",
        disable=distributed.rank() > 0,
    ) as shown:
        for number, path in paths.items():
            parts = _parts(path, len(dataset))
            _compute_parts(dataset, settings, device, number, parts, shown)
            distributed.barrier()
            if distributed.rank() == 0:
                about = _about(dataset, settings, device, number)
                _join(parts, path, about | {"data set": dataset.name, "split": dataset.split})
            distributed.barrier()


def _parts(path, count):
    """The file of each chunk of pictures of a view, with the chunk in its name."""
    starts = range(0, count, SAVE_EVERY)
    chunks = [(start, min(start + SAVE_EVERY, count)) for start in starts]
    return [path.with_name(f"{path.stem}-from-{start}-to-{stop}.npy") for start, stop in chunks]


def _compute_parts(dataset, settings, device, number, parts, shown):
    """Write this process's chunks of a view that are not there, or not as they should be."""
    net, look = build(settings.pretrained)
    net, draws = net.to(device), _draws(number, settings, len(dataset))
    own = range(distributed.rank(), len(parts), distributed.processes())
    width = _width(net, look, device) if any(parts[i].exists() for i in own) else None
    for i in own:
        chosen = slice(i * SAVE_EVERY, (i + 1) * SAVE_EVERY)
        images = dataset.images[chosen]
        if parts[i].exists() and _is_whole(parts[i], len(images), width):
            shown.update(len(images))
        else:
            augment, _ = views.AUGMENTATIONS[settings.augmentation]
            with _named(settings.pretrained, dataset):
                found = _features(net, look, images, augment, draws[:, chosen], device, shown)
            _write(parts[i], [found])


@contextmanager
def _named(name, dataset):
    """Inside, an error of what features hold says of which model and data set."""
    try:
        yield
    except ValueError as error:
        raise ValueError(
            f"{name} on {dataset.name} {dataset.split}: {error}. Where the pictures are as they "
            "should be, get its weights anew or choose another model"
        ) from error


def _is_whole(part, rows, width):
    """Whether a chunk can be gone on with; says so if not."""
    try:
        array = np.lib.format.open_memmap(part, mode="c")
        fault = _fault(array, rows)
        if not fault and array.shape[1] != width:
            fault = f"has {array.shape[1]} columns, not {width}"
    except (ValueError, OSError, EOFError) as error:
        fault = f"is unreadable ({error})"
    if fault:
        warnings.warn(f"{part} {fault}: it is computed anew", stacklevel=2)
    return not fault


def _width(net, look, device):
    """F, of a net's features."""
    return _pass(net, look, torch.zeros(1, 3, *look["size"], device=device), device).shape[1]


def _join(parts, path, about):
    """One file of all chunks, and about.json beside it."""
    with files.writing(path.with_name("about.json")) as beside:
        beside.write_text(json.dumps(about, indent=1))
    if not path.exists():  # another run may have been faster
        _write(path, [_open(part) for part in parts])
    for part in path.parent.glob(f"{path.stem}-from-*.npy"):  # also those of other chunks
        part.unlink(missing_ok=True)


def _write(path, arrays):
    """Write float16 [n, F] below each other into one file.

    It is not mapped: on a full disk, writing to a mapped file ends the process."""
    shape = sum(map(len, arrays)), arrays[0].shape[1]
    header = {"descr": arrays[0].dtype.str, "fortran_order": False, "shape": shape}
    with files.writing(path) as beside, open(beside, "wb") as stream:
        np.lib.format.write_array_header_1_0(stream, header)
        for array in arrays:
            stream.write(np.ascontiguousarray(array))


def _draws(number, settings, count):
    """Random numbers [n, count] of a view of all pictures; none [0, count] for the clean ones."""
    _, needed = views.AUGMENTATIONS[settings.augmentation]
    generator = torch.Generator().manual_seed(number)
    return torch.rand(needed if number > 0 else 0, count, generator=generator)


def _features(net, look, images, augment, draws, device, bar):
    """Features float16 [n, F] of pictures uint8 [n, H, W, C], augmented if there are draws."""
    found = []
    for start in range(0, len(images), CHUNK):
        part = slice(start, start + CHUNK)
        x = views.to_float(torch.from_numpy(images[part]).to(device))
        x = augment(x, draws[:, part].to(device)) if len(draws) else x
        found.append(_pass(net, look, x, device))
        bar.update(len(x))
    return np.concatenate(found)


@torch.no_grad()
def _pass(net, look, x, device):
    with devices.autocast(device):
        found = net(_inputs(x, **look)).float()
    require(found.ndim == 2, f"the model gives {list(found.shape)}, not pooled features [N, F]")
    require((found.abs() < 65504).all(), "features are not finite or too large for float16")
    return found.half().cpu().numpy()


def _inputs(x, size, mean, std):
    """Pictures [B, 1 or 3, H, W] in 0..1 as the model wants them: size, colours, normalisation."""
    if x.shape[2:] != size:
        x = F.interpolate(x, size, mode="bilinear", antialias=True)
    mean, std = (torch.tensor(v, device=x.device)[:, None, None] for v in (mean, std))
    x = (x.expand(-1, 3, -1, -1) - mean) / std
    return x.contiguous(memory_format=torch.channels_last)


@lru_cache(1)
def _digest_of(net):
    """Of the values, so that a file and timm's download of the same weights have the same."""
    digest = blake2b(digest_size=8)
    for key, value in sorted(net.state_dict().items()):
        digest.update(key.encode())
        digest.update(value.contiguous().cpu().numpy())
    return digest.hexdigest()


# ---------------------------------------------------------------- the last stage, unfrozen


class UnfrozenPictures(views.Pictures):
    """As views.Pictures, for the encoder models.LastStage: weights are had as by `build`."""

    @staticmethod
    def depends_on(dataset, settings, device):
        """What a run depends on beside its data set and settings: the weights it starts from."""
        code = {"code of pretrained": files.code_hash(__file__, timm_nets)}
        return depends_on(settings, device) | code

    @staticmethod
    def channels(dataset, settings, device):
        """F, of the encoder's features [B, F]."""
        net, look = build(settings.pretrained)
        return _width(net.to(device), look, device)

    @staticmethod
    def prepare(encoder, dataset, settings, device):
        """Give the encoder a net of its own, with the pretrained weights."""
        net, look = build(settings.pretrained)
        encoder.net, encoder.inputs = deepcopy(net), partial(_inputs, **look)
        for name in last_stage(net):
            encoder.net.get_parameter(name).requires_grad_(True)

    @staticmethod
    def clean(dataset, settings, device, size=64):
        """As views.Pictures, fewer at a time: they are large."""
        return views.Pictures.clean(dataset, settings, device, size)


def last_stage(net):
    """Names of the parameters of the last stage (of a transformer: block) of a timm model, and of
    what comes after it."""
    from timm.models import group_parameters

    groups = group_parameters(net, net.group_matcher(coarse=True))
    last = max(k for k, names in groups.items() if len(names) > 3)  # fewer: a norm, a convolution
    return [name for k, names in groups.items() if k >= last for name in names]


# where an encoder with Settings.pretrained has its inputs from
SOURCES = {"adapter": StoredViews, "untouched": StoredViews, "last_stage": UnfrozenPictures}
