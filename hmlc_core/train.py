"""The training loop: one for every method, on CPU or GPU, resumed after any interruption."""

import time

import torch

from hmlc_core import checks, devices, distributed, files

CHECK_EVERY = 50  # steps between looks at values, for which a GPU has to wait


def train(model, source, settings, seed, device, path, level_names, bar, snapshots=False):
    """Train a model to the last epoch, from the checkpoint at `path` if there is one.

    Args:
        model: methods.Model on the device.
        source: views.Pictures, or anything that has its __len__, begin, labels and views.
        settings: Settings.
        path: of the checkpoint, written after each epoch.
        bar: a tqdm bar of steps.
        snapshots: whether to keep the model of every epoch beside the checkpoint.

    Returns:
        History, a dict for each epoch: epoch, seconds, device, loss, one entry per loss term, and
        "unseen <level>", the number of views whose mask let fewer than two coordinates through.

    Raises:
        ValueError: the checkpoint is unreadable, or its history is not of what was trained.
        FloatingPointError: the loss became NaN or infinite. The last good checkpoint is kept.
    """
    steps = max(len(source) // settings.batch_size, 1)
    state = _training_state(model, settings, steps, device)
    history = restore(path, state)
    trained, told = state["schedule"].last_epoch / steps, len(history)
    odd = f"checkpoint {path} tells of {told} epochs and has {trained:g} of {settings.epochs}"
    checks.require(told == trained <= settings.epochs, f"{odd}: delete it to train this run again")
    distributed.require_same(len(history), "the epochs of their checkpoint")
    if len(history) == settings.epochs:
        return history
    forward = distributed.parallel(model)
    bar.reset(total=settings.epochs * steps)
    bar.update(len(history) * steps)
    for epoch in range(len(history), settings.epochs):
        start, terms = time.perf_counter(), []
        where = f"epoch {epoch + 1} of {path.parent.name}"
        source.begin(seed, epoch)
        generator = torch.Generator(device).manual_seed((seed * 100_003 + epoch) % 2**63)
        torch.manual_seed(generator.initial_seed())  # for methods that draw; no state to keep
        order = torch.randperm(len(source), device=device, generator=generator)
        model.train()
        for batch in order.split(settings.batch_size)[:steps]:  # whole batches only
            look = device.type == "cpu" or len(terms) % CHECK_EVERY == 0
            views = source.views(distributed.share(batch), generator)
            with checks.values(look):  # state: model, optimizer, schedule, scaler
                terms.append(step(forward, views, source.labels[batch], device, **state))
            if look:
                _require_finite(terms[-1], where)
            bar.update()
        _require_finite(terms[-1], where)  # the last one always, before it is saved
        seconds = time.perf_counter() - start
        history.append(_record(epoch, seconds, device, torch.stack(terms), level_names, model))
        bar.set_postfix(loss=f"{history[-1]['loss']:.2f}", refresh=False)
        if snapshots:
            save(snapshot_path(path.parent, epoch + 1), {"model": model}, history)
        save(path, state, history)
    return history


def step(forward, views, labels, device, model, optimizer, schedule, scaler):
    """One step of the optimiser; returns the detached loss terms [<= L]."""
    terms = forward(views, labels, devices.autocast(device))
    optimizer.zero_grad(set_to_none=True)
    scaler.scale(terms.sum()).backward()
    scaler.step(optimizer)
    scaler.update()
    schedule.step()
    return terms.detach()


def _training_state(model, settings, steps, device):
    """What a checkpoint holds: model, optimiser, schedule and the scaler of float16."""
    optimizer = make_optimizer([p for p in model.parameters() if p.requires_grad], settings)
    schedule = make_schedule(optimizer, settings, settings.epochs * steps)
    scaler = torch.amp.GradScaler(device.type, enabled=devices.precision(device) == torch.float16)
    return {"model": model, "optimizer": optimizer, "schedule": schedule, "scaler": scaler}


def make_optimizer(parameters, settings):
    """AdamW, or SGD with momentum 0.9; the first beta of AdamW follows the schedule."""
    rate, decay = settings.learning_rate, settings.weight_decay
    if settings.optimizer == "sgd":
        return torch.optim.SGD(parameters, rate, momentum=0.9, weight_decay=decay)
    return torch.optim.AdamW(parameters, rate, weight_decay=decay)


def make_schedule(optimizer, settings, total_steps):
    """One cycle: up over the first tenth of the steps, then down along a cosine. AdamW's first beta
    goes the other way, 0.95 to 0.85 and back."""
    start = 0.1 if total_steps > 10 else 0.3  # PyTorch divides by 0.1 * 10 - 1
    how = dict(total_steps=total_steps, pct_start=start, cycle_momentum=settings.optimizer != "sgd")
    return torch.optim.lr_scheduler.OneCycleLR(optimizer, settings.learning_rate, **how)


def _require_finite(terms, where):
    if not torch.isfinite(terms).all():
        advice = "lower the learning rate or raise the temperature. The last whole epoch is kept"
        raise FloatingPointError(f"the loss is {terms.tolist()} in {where}: {advice}")


def _record(epoch, seconds, device, terms, level_names, model):
    """One history entry of an epoch's loss terms [steps, <= L]; fewer than L are of the finest."""
    means = terms.mean(0).tolist()
    record = {"epoch": epoch + 1, "seconds": seconds, "device": devices.device_name(device)}
    record |= {"loss": sum(means), **dict(zip(level_names[-len(means) :], means))}
    unseen = model.objective.take_unseen()
    if unseen is not None:
        record |= {f"unseen {name}": n for name, n in zip(level_names, unseen.tolist())}
    return record


def snapshot_path(folder, epoch):
    """Where the model of an epoch (1, 2, ...) is kept."""
    return folder / f"epoch-{epoch}.pt"


def save(path, state, history):
    """Write a checkpoint; of several processes the first does, for all."""
    if distributed.rank() > 0:
        return
    with files.writing(path) as beside:
        parts = {key: part.state_dict() for key, part in state.items()}
        torch.save({"history": history, **parts}, beside)


def restore(path, state):
    """Load the checkpoint at `path`, if any, into the parts of `state`; returns its history.

    Raises:
        ValueError: if it is damaged, or does not fit; OSError, MemoryError: it may be whole.
    """
    if not path.exists():
        return []
    try:
        stored = torch.load(path, weights_only=True, map_location="cpu")
        for key, part in state.items():
            part.load_state_dict(stored[key])
        return [dict(epoch) for epoch in stored["history"]]
    except Exception as error:  # torch, zipfile and pickle each have their own
        if isinstance(error, OSError | MemoryError) or "memory" in str(error):  # it may be whole
            raise
        # Of torch's words the first sentence: it goes on to advise what is unsafe.
        told = f"{path} is unreadable ({type(error).__name__}: {str(error).partition('. ')[0]})"
        raise ValueError(f"{told}: delete it to train this run again") from error
