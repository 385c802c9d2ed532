"""Runs are kept under a name of all they depend on, and loaded again."""

import dataclasses
import functools
import importlib
import json
import sys
import types

import numpy as np
import pytest
import torch
import torchvision
from torch import relu, stack

from hmlc_core import (
    METHODS,
    HierarchicalDataset,
    Method,
    Settings,
    build_hierarchical_mnist,
    devices,
    files,
    linear_evaluation,
    losses,
    masks,
    metrics,
    preset,
    pretrain,
    runs,
    settings,
    views,
)
from hmlc_core.data import mnist
from hmlc_core.fingerprint import fingerprint
from study import results

TINY = Settings(canvas=24, train_size=96, test_size=60, dim=16, epochs=1, batch_size=32)
CPU = torch.device("cpu")
hash_once = functools.cache(files.code_hash)


@pytest.fixture(autouse=True)
def code_is_read_once(monkeypatch):
    """Reading all code anew for each of the many keys here takes its time."""
    monkeypatch.setattr(files, "code_hash", hash_once)


@pytest.fixture
def fit(dataset, tmp_path):
    def call(method="split", settings=TINY, seed=0, folder=tmp_path / "runs", data=dataset, **more):
        more = {"device": "cpu", "progress": False} | more
        return pretrain(data, method, settings, seed, folder=folder, **more)

    return call


@pytest.mark.parametrize("split", ["fit", "validation"])
def test_train_is_what_a_run_was_trained_on(fit, dataset, split):
    """Not the named training split, which may hold the pictures that it is tested on."""
    part = dataclasses.replace(dataset, split=split)
    run = fit(data=part)
    assert run.data("train") is part and run.data(split) is part


@pytest.fixture
def no_training(monkeypatch):
    """A function after which nothing can be trained, or, if asked, not even encoded."""

    def forbid(*_, **__):
        raise AssertionError("this should have been loaded")

    def call(encoding=False):
        monkeypatch.setattr(views.Pictures, "views", forbid)
        if encoding:
            monkeypatch.setattr(runs, "encode", forbid)

    return call


def config(dataset, method="split", settings=TINY, seed=0, device=CPU):
    return runs.configuration(dataset, runs.methods.get(method), settings, seed, device)


def key(*arguments, **more):
    return runs.hash_of(config(*arguments, **more))


# ------------------------------------------------------------ what a run is kept under


def test_finished_run_is_loaded_not_trained(fit, dataset, no_training):
    first = fit()
    features = first.features(dataset)
    no_training(encoding=True)
    again = fit()
    assert again.history == first.history and torch.equal(again.features(dataset), features)
    assert again.folder == first.folder and not again.model.training


OTHER = {
    "encoder": "small_resnet",
    "dim": 8,
    "epochs": 2,
    "batch_size": 31,
    "learning_rate": 0.5,
    "weight_decay": 0.5,
    "optimizer": "sgd",
    "temperature": 0.5,
    "augmentation": "crop_flip_jitter",
    "head_batch_norm": False,
}


def test_every_setting_of_training_is_in_the_key(dataset):
    names = {field.name for field in dataclasses.fields(Settings)} - set(settings.DATA_FIELDS)
    assert set(OTHER) <= names
    for name in OTHER:
        changed = dataclasses.replace(TINY, **{name: OTHER[name]})
        assert key(dataset, settings=changed) != key(dataset), name
    for name in names:
        assert name in config(dataset), name


def test_the_key_has_method_seed_data_and_device(dataset, digits):
    pixels, labels = dataset.images.copy(), dataset.labels.copy()
    pixels[0, 0, 0] ^= 1
    labels[0, 0] = (labels[0, 0] + 1) % 10
    composer = mnist.Composer(*digits, 24)
    others = [
        key(dataset, "sign"),
        key(dataset, seed=1),
        key(dataset, device=torch.device("cuda")),
        key(dataset.with_levels([1, 0], "swapped")),
        key(dataclasses.replace(dataset, images=pixels)),
        key(dataclasses.replace(dataset, labels=labels)),
        key(dataclasses.replace(dataset, name="other")),
        key(dataclasses.replace(dataset, composer=composer)),
        key(dataset, dataclasses.replace(METHODS["split"], version=2)),
        key(dataset, dataclasses.replace(METHODS["split"], projected=False)),
        key(dataset, dataclasses.replace(METHODS["split"], one_mask=True)),
    ]
    assert len({key(dataset), *others}) == 12


def test_sizes_that_the_images_show_are_not_in_the_key_again(dataset):
    changes = dict(train_size=7, test_size=5, digits="torchvision")
    assert key(dataset) == key(dataset, settings=dataclasses.replace(TINY, **changes))
    named = dataclasses.replace(METHODS["split"], name="another name", source="another paper")
    assert key(dataset) == key(dataset, named)


def test_the_key_has_versions_and_precision(dataset, monkeypatch):
    before = key(dataset)
    for owner, name in ((torch, "__version__"), (torchvision, "__version__")):
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, "0.1")
            assert key(dataset) != before
    kinds = torch.float32, torch.bfloat16
    keys = []
    for kind in kinds:
        monkeypatch.setattr(devices, "precision", lambda device, kind=kind: kind)
        keys.append(key(dataset))
    assert keys[0] != keys[1]


def test_the_key_has_all_code_that_trains(dataset, monkeypatch):
    """Every module of hmlc_core that the loop, the methods and the views need, checks.py too."""
    hashed = set()

    def note(*sources):
        hashed.update(source.stem for source in sources)
        return "0"

    monkeypatch.setattr(files, "code_hash", note)
    config(dataset)
    assert hashed >= needed_by("train", "methods", "views") - {"files"}
    assert {"checks", "losses", "masks", "models", "peers", "contrast", "runs"} <= hashed


def needed_by(*names):
    """Modules of hmlc_core that these import, and those that they import."""
    found, open_ = set(), list(names)
    while open_:
        name = open_.pop()
        if name not in found:
            found.add(name)
            module = sys.modules[f"hmlc_core.{name}"]
            owners = [getattr(v, "__module__", None) or "" for v in vars(module).values()]
            owners += [v.__name__ for v in vars(module).values() if isinstance(v, types.ModuleType)]
            inner = {owner.split(".")[1] for owner in owners if owner.startswith("hmlc_core.")}
            open_ += inner
    return found


def test_the_code_that_composes_fresh_images_is_in_the_key(digits, dataset, monkeypatch):
    seen = []
    monkeypatch.setattr(files, "code_hash", lambda *sources: str(seen.append(sources)))
    fresh = dataclasses.replace(dataset, composer=mnist.Composer(*digits, 24))
    for data in (dataset, fresh):
        runs.configuration(data, runs.methods.get("split"), TINY, 0, torch.device("cpu"))
    assert [any(source is mnist for source in sources) for sources in seen] == [False, True]


def test_changed_code_trains_anew(dataset, monkeypatch, fit, capsys):
    first, real = fit(), files.code_hash
    monkeypatch.setattr(files, "code_hash", lambda *sources: real(*sources) + "+")
    second = fit()
    assert second.folder != first.folder
    assert "split-seed0 is trained anew, because of another: code" in capsys.readouterr().out


# ------------------------------------------------------------ config.json, and trained anew


def test_config_json_says_what_a_run_depends_on(fit, dataset):
    run = fit("g_hmlc", seed=3)
    stored = json.loads((run.folder / "config.json").read_text())
    assert stored == config(dataset, "g_hmlc", seed=3) and runs.hash_of(stored) == run.config_hash
    expected = {"method": "g_hmlc", "seed": 3, "dim": 16, "temperature": 0.1, "device": "cpu"}
    expected |= {"torch": torch.__version__, "torchvision": torchvision.__version__}
    assert {name: stored[name] for name in expected} == expected
    assert stored["data"] == dataset.fingerprint and "code" in stored
    assert run.folder.name == f"hierarchical_mnist-g_hmlc-seed3-{run.config_hash}"


def test_an_unexpected_training_names_what_differs(fit, dataset, monkeypatch, capsys):
    fit()
    assert capsys.readouterr().out == ""
    pixels = dataset.images.copy()
    pixels[0] = 7
    with monkeypatch.context() as patch:
        patch.setattr(torchvision, "__version__", "9.9")
        fit()
        assert "another: torchvision" in capsys.readouterr().out
        fit(data=dataclasses.replace(dataset, images=pixels))
        said = capsys.readouterr().out
        assert "another: data, torchvision" in said or "another: data\n" in said
    fit(Method("split", "mine", "ours", "a test", METHODS["split"].loss, masks.sign_masks))
    assert "hierarchical_mnist-split-seed0 is trained anew" in capsys.readouterr().out


def test_a_run_that_never_trained_is_none_that_is_trained_anew(fit, monkeypatch, capsys):
    with monkeypatch.context() as patch:
        patch.setattr(torchvision, "__version__", "9.9")
        patch.setattr(runs.train, "train", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            fit()
    fit()
    assert capsys.readouterr().out == ""


def test_what_was_chosen_to_be_different_is_trained_without_a_word(fit, capsys):
    fit()
    fit(settings=dataclasses.replace(TINY, dim=8))
    fit(settings=dataclasses.replace(TINY, temperature=0.3))
    fit(seed=1)
    fit("sign")
    fit()
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("text", ["", "[]", "3", '{"half'])
def test_a_damaged_config_of_another_run_stops_nothing(text, fit, capsys):
    first = fit()
    (first.folder / "config.json").write_text(text)
    second = fit(settings=dataclasses.replace(TINY, temperature=0.5))
    assert second.folder != first.folder and capsys.readouterr().out == ""


def test_a_run_that_differs_in_nothing_to_be_named_is_trained_without_a_word(
    fit, dataset, tmp_path, capsys
):
    """As one of an earlier version, with dim 16.0 in place of 16."""
    folder = tmp_path / "runs" / "hierarchical_mnist-split-seed0-0"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config(dataset) | {"dim": 16.0}))
    fit()
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("seed", ["a", 1.5, None, -1])
def test_a_seed_that_cannot_be_is_named(seed, fit):
    with pytest.raises(ValueError, match=f"seed must be a whole number.*, not {seed!r}"):
        fit(seed=seed)


def test_a_seed_of_numpy_is_the_same_seed(fit):
    assert fit(seed=np.int64(3)).folder == fit(seed=3).folder


# ------------------------------------------------------------ methods of one's own


def method(maker=None, loss=losses.masked_hierarchical_loss):
    return Method("mine", "mine", "ours", "a test", loss, maker or masks.split_masks)


def halves(z, levels):
    return masks.split_masks(z, levels)


def thirds(z, levels):
    return masks.sign_masks(z, levels)


def half_of(share, *, sharp=False):
    def make(z, levels):
        return masks.split_masks(z, levels) * share

    return make


FACTOR = 1.0
TABLE = {"inner": [1, 2]}


def by_factor(z, levels):
    return masks.split_masks(z, levels) * FACTOR


def by_helper(z, levels):
    return by_factor(z, levels)


def by_table(z, levels):
    return masks.split_masks(z, levels) * TABLE["inner"][0]


def by_default(z, levels, scale=1.0):
    return masks.split_masks(z, levels) * scale


class Base(torch.nn.Module):
    def scale(self):
        return 1.0


class Halves(Base):
    share = 1.0

    def __init__(self, dim, levels):
        super().__init__()

    def forward(self, z, levels):
        return masks.split_masks(z, levels) * self.share * self.scale()

    @staticmethod
    def still():
        return 1

    @property
    def twice(self):
        return 2 * self.share


class Callable:
    """Not a function, nor a module class."""

    def __init__(self, share):
        self.share, self.weights = share, torch.ones(3) * share

    def __call__(self, z, levels):
        return masks.split_masks(z, levels) * self.share

    def masks(self, z, levels):
        return self(z, levels)


def compiled(kind):
    """A function whose text nobody can read, as of a notebook that is gone."""
    scope = {"masks": masks, "__name__": "elsewhere"}
    exec(f"def make(z, levels):\n    return masks.{kind}_masks(z, levels)", scope)
    return scope["make"]


CHANGES = {
    "another function": (halves, thirds, None),
    "a default": (by_default, functools.partial(by_default, scale=2.0), None),
    "a closure": (half_of(1.0), half_of(2.0), None),
    "an argument of a partial": (
        functools.partial(masks.gmm_masks, iterations=5),
        functools.partial(masks.gmm_masks, iterations=50),
        None,
    ),
    "an object's value": (Callable(1.0), Callable(2.0), None),
    "a bound method's object": (Callable(1.0).masks, Callable(2.0).masks, None),
    "a global": (by_factor, by_factor, ("FACTOR", 2.0)),
    "a global that a helper uses": (by_helper, by_helper, ("FACTOR", 2.0)),
    "a helper": (by_helper, by_helper, ("by_factor", thirds)),
    "inside a global": (by_table, by_table, ("TABLE", {"inner": [3, 2]})),
    "a class attribute": (Halves, Halves, ("Halves.share", 2.0)),
    "a base class": (Halves, Halves, ("Base.scale", lambda self: 3.0)),
    "a static method": (Halves, Halves, ("Halves.still", staticmethod(lambda: 2))),
    "a property": (Halves, Halves, ("Halves.twice", property(lambda self: 3))),
    "a lambda": (lambda z, n: masks.split_masks(z, n), lambda z, n: masks.sign_masks(z, n), None),
    "inside a lambda": (
        lambda z, n: (lambda x: masks.split_masks(x, n))(z),
        lambda z, n: (lambda x: masks.sign_masks(x, n))(z),
        None,
    ),
    "a function without a file": (compiled("split"), compiled("sign"), None),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_method_of_ones_own_is_another_run(change, dataset, monkeypatch):
    before, after, patched = CHANGES[change]
    first, again = key(dataset, method(before)), key(dataset, method(before))
    as_loss = key(dataset, method(loss=before))
    if patched:
        owner, _, name = patched[0].rpartition(".")
        owner = globals()[owner] if owner else sys.modules[__name__]
        monkeypatch.setattr(owner, name or patched[0], patched[1])
    assert first == again != key(dataset, method(after))
    assert as_loss != key(dataset, method(loss=after)) or as_loss == first


def test_a_changed_global_trains_anew_and_says_so(fit, dataset, monkeypatch, capsys):
    first = fit(method(by_factor))
    assert fit(method(by_factor)).folder == first.folder
    monkeypatch.setattr(sys.modules[__name__], "FACTOR", 0.5)
    assert fit(method(by_factor)).folder != first.folder
    assert "mine-seed0 is trained anew, because of another: masks" in capsys.readouterr().out


@pytest.mark.parametrize(
    "maker", [Callable(1.0), Callable(1.0).masks, Halves, half_of(1.0), lambda z, n: halves(z, n)]
)
def test_masks_of_any_kind_of_callable_train(maker, fit, dataset):
    run = fit(method(maker))
    assert run.level_masks(dataset).shape == (2, 96, 16) and np.isfinite(run.history[0]["loss"])


def test_the_fingerprint_is_of_what_a_thing_does(monkeypatch):
    def counted(z, levels):
        return z * levels

    first = fingerprint(counted)

    def counted(z, levels):
        """Now with a docstring."""
        return z * levels  # and a comment

    assert fingerprint(counted) == first
    numbers = types.SimpleNamespace(a=1, b=[torch.ones(2), np.zeros(2), {"x": (None, True)}])
    assert fingerprint(numbers) == fingerprint(
        types.SimpleNamespace(a=1, b=[torch.ones(2), np.zeros(2), {"x": (None, True)}])
    )
    numbers.b[0] = torch.ones(2) * 2
    assert len(fingerprint(numbers)) == 12


def test_a_method_that_refers_to_itself_has_a_fingerprint():
    def again(z, levels):
        return again(z, levels - 1) if levels else z

    assert fingerprint(again) == fingerprint(again)
    ring = Callable(1.0)
    ring.self = ring
    assert fingerprint(ring) == fingerprint(ring)


def by_module(z, levels):
    return own_module.scaled(z)


own_module = None  # stands for a file of one's own that is imported


def test_a_changed_module_of_ones_own_is_seen(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    prints = []
    for number, factor in enumerate((1, 2, 1)):
        (tmp_path / f"mine_{number}.py").write_text(f"def scaled(z):\n    return z * {factor}\n")
        module = importlib.import_module(f"mine_{number}")
        monkeypatch.setattr(sys.modules[__name__], "own_module", module)
        prints.append(fingerprint(by_module))
    assert prints[0] == prints[2] != prints[1]


def test_what_python_runs_on_does_not_matter_to_a_written_function():
    """The text counts, not the instructions, which another Python makes otherwise."""
    text = fingerprint.__globals__["_describe"](halves, {})
    assert "return masks.split_masks(z, levels)" in text
    assert halves.__code__.co_code.hex() not in text


def stacked(z, levels):
    return stack([relu(z) if "a" in {"a", "b"} else z] * levels)


def test_fingerprints_do_not_depend_on_addresses_or_the_process():
    """What is made twice is the same twice; sets have no order."""
    assert " at 0x" not in fingerprint.__globals__["_describe"](stacked, {})
    assert fingerprint(Callable(1.0)) == fingerprint(Callable(1.0))
    assert fingerprint(half_of(1.0)) == fingerprint(half_of(1.0))
    assert fingerprint({"b", "a", "c"}) == fingerprint({"c", "a", "b"})


# ------------------------------------------------------------ what a run gives


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    labels = np.arange(200) % 10
    digits = np.zeros((200, 28, 28), np.uint8)
    digits[:, 4:24, 4:24] = (100 + 10 * labels)[:, None, None]
    data = build_hierarchical_mnist(digits, labels, n=96, canvas=24)
    folder = tmp_path_factory.mktemp("trained")
    return pretrain(data, "a_hmlc", TINY, 2, folder=folder, device="cpu", progress=False)


def test_outputs_are_encoded_once_for_each_data_set(trained, monkeypatch):
    data = trained.dataset
    flipped = dataclasses.replace(data, images=data.images[:, ::-1])
    relabelled = dataclasses.replace(data, labels=data.labels[:, ::-1])
    features = [trained.features(part) for part in (data, flipped, relabelled)]
    assert not torch.allclose(features[0], features[1]) and torch.equal(features[0], features[2])
    kept = {path.name for path in trained.folder.glob("outputs-*.pt")}
    assert {f"outputs-{part.fingerprint}.pt" for part in (data, flipped)} <= kept
    monkeypatch.setattr(runs, "encode", None)
    fresh = dataclasses.replace(trained, _outputs={})
    assert torch.equal(fresh.features(flipped), features[1])
    assert fresh.features(data).dtype == torch.float32 and fresh.embeddings(data).shape == (96, 16)


DAMAGES = {
    "cut off": lambda whole, path: path.write_bytes(whole[:-100]),
    "empty": lambda whole, path: path.write_bytes(b""),
    "foreign": lambda whole, path: path.write_bytes(b"PK" * 9),
    "a dict": lambda whole, path: torch.save({}, path),
    "a number": lambda whole, path: torch.save(3, path),
    "other rows": lambda whole, path: torch.save((torch.zeros(3, 8), torch.zeros(3, 16)), path),
}


def test_features_are_given_where_they_cannot_be_kept(trained, monkeypatch, tmp_path):
    def full(*_):
        raise OSError(28, "No space left on device")

    expected = trained.features("train")
    again = dataclasses.replace(trained, _outputs={}, folder=tmp_path)
    monkeypatch.setattr(torch, "save", full)
    assert torch.equal(again.features("train"), expected)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_outputs_are_computed_anew(damage, trained):
    expected = trained.features(trained.dataset)
    path = trained.folder / f"outputs-{trained.dataset.fingerprint}.pt"
    DAMAGES[damage](path.read_bytes(), path)
    for _ in range(2):
        again = dataclasses.replace(trained, _outputs={})
        assert torch.equal(again.features(trained.dataset), expected)
    assert torch.equal(torch.load(path, weights_only=True)[0], expected)


def test_data_sets_are_encoded_in_parts_and_in_order(trained):
    many = np.concatenate([trained.dataset.images] * 6)
    labels = np.concatenate([trained.dataset.labels] * 6)
    large = dataclasses.replace(trained.dataset, images=many, labels=labels)
    whole = trained.features(large)
    assert len(whole) == 576
    repeated = trained.features(trained.dataset).repeat(6, 1)
    assert torch.allclose(whole, repeated, atol=1e-4 * repeated.abs().max())


def test_embeddings_are_the_heads_and_masks_those_of_the_embeddings(trained):
    data = trained.dataset
    with torch.no_grad():
        z = trained.model.head(trained.features(data))
        expected = trained.model.objective.masks(z, 2)
    assert torch.allclose(trained.embeddings(data), z, atol=1e-6)
    assert torch.allclose(trained.level_masks(data), expected, atol=1e-5)
    assert trained.encoder is trained.model.encoder


def test_the_run_names_its_device_and_adds_its_seconds(trained):
    parts = [dict(seconds=1.5, device="a"), dict(seconds=2.0, device="b")]
    data = dataclasses.replace(trained.dataset, source="a test")
    two = dataclasses.replace(trained, history=parts, dataset=data)
    assert two.seconds == 3.5 and two.trained_on == "b"
    assert runs.row(two, "central", "nmi", 0.5) == {
        "dataset": "hierarchical_mnist",
        "method": "a_hmlc",
        "level": "central",
        "metric": "nmi",
        "seed": 2,
        "value": 0.5,
        "seconds": 3.5,
        "device": "b",
        "data_source": "a test",
        "torch": torch.__version__,
        "commit": files.commit(),
        "config_hash": trained.config_hash,
    }
    assert list(runs.row(two, "central", "nmi", 0.5)) == results.COLUMNS


def test_a_label_is_the_methods_name_in_rows_and_changes_nothing_else(fit):
    plain, labelled = fit(), fit(label="split@2")
    assert plain.label == "split" and labelled.label == "split@2"
    assert labelled.folder == plain.folder and labelled.method == "split"
    assert runs.row(labelled, "central", "nmi", 0)["method"] == "split@2"


def test_linear_layers_are_fitted_on_train_and_tested_on_the_split(trained, monkeypatch):
    data = trained.dataset
    test = dataclasses.replace(data, images=data.images[:40], labels=data.labels[:40])
    calls = []

    def note(fit, labels, other, classes, *more):
        calls.append((fit, labels, other, classes, more))
        return other[:, 3 : 3 + classes]  # quicker than to fit

    monkeypatch.setattr(metrics, "linear_logits", note)
    rows = linear_evaluation(trained, test)
    for level, (fit, labels, other, classes, more) in enumerate(calls):
        assert torch.equal(fit, trained.features(data)) and classes == 10 and not more
        assert torch.equal(labels, torch.from_numpy(data.labels[:, level]))
        assert torch.equal(other, trained.features(test))
    assert [(row["level"], row["metric"]) for row in rows] == [
        ("central", "linear_accuracy"),
        ("subsidiary", "linear_accuracy"),
    ]
    for level, (row, logits) in enumerate(zip(rows, runs.level_logits(trained, test))):
        assert row["value"] == (logits.argmax(1).numpy() == test.labels[:, level]).mean()
    unknown = dataclasses.replace(test, labels=test.labels * [1, 0] + [0, -1])
    assert [row["level"] for row in linear_evaluation(trained, unknown)] == ["central"]


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda x: dict(class_names=[x.class_names[0], x.class_names[1][::-1]]), "as in training"),
        (
            lambda x: dict(
                labels=x.labels[:, 1:], level_names=x.level_names[1:], class_names=x.class_names[1:]
            ),
            r"levels \['subsidiary'\] and their classes must be as in training",
        ),
        (lambda x: dict(images=x.images[:, ::2, ::2]), r"trained on images \[24, 24, 1\], which"),
    ],
    ids=["order of classes", "a level alone", "size"],
)
def test_a_test_set_that_would_be_read_as_another_is_named(trained, change, message):
    other = dataclasses.replace(trained.dataset, **change(trained.dataset))
    with pytest.raises(ValueError, match=message):
        linear_evaluation(trained, other)


def test_names_are_loaded_with_the_settings_as_the_training_split(monkeypatch, fit, dataset):
    asked = []

    def load(name, chosen, split):
        asked.append((name, chosen, split))
        part = slice(0, 96 if split == "train" else 60)
        images, labels = dataset.images[part], dataset.labels[part]
        return dataclasses.replace(dataset, images=images, labels=labels, name=name, split=split)

    monkeypatch.setattr(runs, "load_dataset", load)
    run = fit(data="hierarchical_mnist")
    assert asked == [("hierarchical_mnist", TINY, "train")]
    assert len(run.data("test")) == 60 and run.data("test") is run.data("test")
    assert asked[1:] == [("hierarchical_mnist", TINY, "test")]
    assert run.data("train") is run.dataset and run.data(dataset) is dataset
    assert len(run.features("test")) == 60
    profile = fit(data="hierarchical_mnist", settings="smoke")
    assert profile.settings == settings.preset("smoke")
    pictures = fit(data="cifar100", settings="smoke")
    assert pictures.settings == settings.preset("smoke", "cifar100") != profile.settings


def test_a_foreign_data_set_is_not_tested_on_the_built_in_one(fit, dataset, monkeypatch):
    run = fit()
    other = dataclasses.replace(dataset, split="test", source="elsewhere")
    monkeypatch.setattr(runs, "load_dataset", lambda *_: other)
    with pytest.raises(ValueError, match="not trained on load_dataset.'hierarchical_mnist'"):
        run.data("test")
    assert run.data(dataset) is dataset
    monkeypatch.undo()
    with pytest.raises(ValueError, match="unknown data set 'custom'"):
        fit(data=dataclasses.replace(dataset, name="custom")).data("test")


def test_the_bar_is_shown_only_if_asked_for(fit, capsys):
    fit(progress=False)
    assert capsys.readouterr() == ("", "")


def test_runs_are_kept_under_data_unless_said_otherwise(fit, dataset, monkeypatch):
    run = pretrain(dataset, "split", TINY, device="cpu", progress=False)
    assert run.folder.parent == files.DATA / "runs"
    monkeypatch.setattr(devices, "best_device", lambda: CPU)
    assert pretrain(dataset, "split", TINY, progress=False).device == CPU


# ------------------------------------------------------------ what cannot work


def test_a_data_set_without_labels_is_named(fit, dataset):
    labels = dataset.labels.copy()
    labels[:, 1] = -1
    for unknown, level in ((labels, "subsidiary"), (0 * labels - 1, "central")):
        with pytest.raises(ValueError, match=f"no sample has a label of level '{level}'"):
            fit(data=dataclasses.replace(dataset, labels=unknown))


def test_a_folder_in_the_home_folder_is_found(monkeypatch, tmp_path, dataset):
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(ValueError, match="no sample has a label"):
        runs.pretrain(dataclasses.replace(dataset, labels=0 * dataset.labels - 1), "split")
    run = runs.pretrain(dataset, "split", TINY, folder="~/kept", progress=False)
    assert run.folder.parent == tmp_path / "kept"


def test_class_with_one_sample_is_named(fit, dataset):
    labels = dataset.labels.copy()
    labels[labels[:, 1] == 7, 1] = 6
    labels[5, 1] = 7
    with pytest.raises(ValueError, match="class '7' of level 'subsidiary' has one sample"):
        fit(data=dataclasses.replace(dataset, labels=labels))


def test_labels_that_change_in_place_make_another_run(fit, dataset):
    first = fit(data=dataset)
    dataset.labels[:, 1] = dataset.labels[:, 0]
    assert fit(data=dataset).folder != first.folder


@pytest.mark.parametrize(
    "call, message",
    [
        (dict(method="hmce"), "unknown method 'hmce': choose from cross_entropy"),
        (dict(data=(1, 2, {})), "give a HierarchicalDataset .own.read gives it first., not tuple"),
        (
            dict(method=Method("flat", "", "ours", "", masks=lambda z, n: torch.ones_like(z))),
            r"masks must be a tensor \[2, 64, 16\], not \[64, 16\]",
        ),
        (dict(settings="laptop"), "unknown profile 'laptop'.*: choose from smoke, cpu, gpu"),
    ],
)
def test_unknown_names_are_refused(call, message, fit):
    with pytest.raises(ValueError, match=message):
        fit(**call)


def test_images_that_are_not_square_are_named(fit, dataset):
    with pytest.raises(ValueError, match="square, not .*24.*20"):
        fit(data=dataclasses.replace(dataset, images=dataset.images[:, :, :20]))


# ------------------------------------------------------------ the smallest form of profile gpu


@pytest.mark.parametrize("kind, channels", [("hierarchical_mnist", 1), ("cifar100", 3)])
def test_profile_gpu_trains_and_is_evaluated_with_its_own_nets_and_sizes(fit, kind, channels):
    """On few pictures, but through its ResNet-18 at its canvas, where it was never run whole."""
    settings = preset("gpu", kind)
    settings = dataclasses.replace(settings, batch_size=4, epochs=1, train_size=8)
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (8, settings.canvas, settings.canvas, channels), np.uint8)
    labels = np.stack([np.arange(8) % 2, np.arange(8) % 4], 1)
    data = HierarchicalDataset(
        images, labels, ["a", "b"], [["0", "1"], list("0123")], "train", kind
    )
    run = fit("g_hmlc", settings, data=data)
    assert sum(p.numel() for p in run.model.encoder.parameters()) > 11e6
    assert run.features(data).shape == (8, 512) and np.isfinite(run.history[-1]["loss"])
    assert len(linear_evaluation(run, data)) == 2
