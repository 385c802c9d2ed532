"""Stored features: computed once, resumed, kept apart by what they depend on, trained on like
pictures."""

import json
import os
import resource
import signal
import types
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from hmlc_core import distributed, files, models, runs, views
from hmlc_core.data import pretrained
from hmlc_core.data.dataset import HierarchicalDataset
from hmlc_core.settings import Settings, preset

CPU = torch.device("cpu")
TINY = Settings(
    pretrained="tiny", encoder="adapter", stored_views=3, augmentation="photograph", dim=8,
    epochs=3, batch_size=16,
)  # fmt: skip
LOOK = {"size": torch.Size((8, 8)), "mean": (0.4, 0.5, 0.6), "std": (0.2, 0.3, 0.4)}


class Net(nn.Module):
    """Pictures [B, 3, 8, 8] -> features [B, 12]; counts pictures, and can be interrupted."""

    def __init__(self, seed=0, stop_after=None):
        super().__init__()
        weight = torch.randn(12, 192, generator=torch.Generator().manual_seed(seed)) / 14
        self.register_buffer("weight", weight)
        self.seen, self.stop_after = 0, stop_after

    def forward(self, x):
        assert x.shape[1:] == (3, 8, 8)
        if self.stop_after is not None and self.seen + len(x) > self.stop_after:
            raise KeyboardInterrupt
        self.seen += len(x)
        return F.linear(x.flatten(1), self.weight)


@pytest.fixture
def use(monkeypatch):
    """Put a net in the place of timm's."""
    monkeypatch.setattr(pretrained, "version", lambda name: "0")
    monkeypatch.setattr(pretrained, "SAVE_EVERY", 20)
    monkeypatch.setattr(pretrained, "CHUNK", 7)

    def use(net):
        monkeypatch.setattr(pretrained, "build", lambda name: (net, LOOK))
        return net

    return use


@pytest.fixture
def net(use):
    return use(Net())


def pictures(channels=3, split="train", seed=0, n=48):
    """Six classes in three, told by the colour of a picture and by its upper half."""
    rng = np.random.default_rng(seed)
    fine = np.arange(n) % 6
    images = rng.integers(90, 110, (n, 10, 10, channels))
    images[..., 0] += 20 * (fine // 2)[:, None, None]
    images[:, :5, :, channels - 1] += 40 * (fine % 2)[:, None, None]
    names = [list("abc"), list("uvwxyz")]
    labels = np.stack([fine // 2, fine], 1)
    return HierarchicalDataset(images.astype(np.uint8), labels, ["top", "low"], names, split)


def clean(dataset, settings=TINY):
    return torch.cat(list(pretrained.StoredViews.clean(dataset, settings, CPU, size=17)))


@pytest.fixture
def in_float32(monkeypatch):
    """Where the machine would take bfloat16, too: what is compared here is not rounding."""
    monkeypatch.setattr(pretrained.devices, "precision", lambda device: torch.float32)


@pytest.mark.parametrize("channels", [1, 3])
def test_clean_features_are_those_of_the_net_on_the_normalised_picture(net, in_float32, channels):
    data = pictures(channels)
    x = torch.from_numpy(data.images).permute(0, 3, 1, 2).double() / 255
    x = F.interpolate(x, (8, 8), mode="bilinear", antialias=True).expand(-1, 3, -1, -1)
    mean, std = (torch.tensor(LOOK[k]).double()[:, None, None] for k in ("mean", "std"))
    expected = ((x - mean) / std).flatten(1) @ net.weight.double().T
    torch.testing.assert_close(clean(data).double(), expected, rtol=1e-3, atol=2e-3)


def test_kept_views_are_augmented_pictures_and_differ(net, in_float32):
    data = pictures()
    whole = pretrained.features(data, TINY, CPU, range(4))
    augment, numbers = views.AUGMENTATIONS["photograph"]
    draws = torch.rand(numbers, 48, generator=torch.Generator().manual_seed(2))
    x = augment(views.to_float(torch.from_numpy(data.images)), draws)
    expected = net(pretrained._inputs(x, **LOOK))
    torch.testing.assert_close(torch.from_numpy(whole[2]).float(), expected, rtol=1e-2, atol=5e-3)
    assert len({x.tobytes() for x in whole}) == 4


def test_a_batch_gets_two_different_views_of_its_own_pictures_all_pairs_alike(net):
    data, settings = pictures(), replace(TINY, stored_views=4)
    source = pretrained.StoredViews(data, settings, CPU)
    stored = np.stack(pretrained.features(data, settings, CPU, range(1, 5)), 1).astype(np.float32)
    batch, generator = torch.tensor([5, 5, 40, 0] * 500), torch.Generator().manual_seed(0)
    found = source.views(batch, generator)
    assert found.shape == (2000, 2, 12) and found.dtype == torch.float32
    which = [
        [np.flatnonzero((stored[i] == view).all(1)).item() for view in two]
        for i, two in zip(batch.tolist(), found.numpy())
    ]
    pairs = Counter(map(tuple, which))
    assert set(pairs) == {(a, b) for a in range(4) for b in range(4) if a != b}
    assert min(pairs.values()) > 110 and max(pairs.values()) < 230  # 167 expected
    again = source.views(batch, torch.Generator().manual_seed(0))
    assert torch.equal(found, again)


def test_pictures_may_lie_in_a_mapped_file(net, tmp_path):
    data = pictures()
    np.save(tmp_path / "pictures.npy", data.images)
    mapped = replace(data, images=np.load(tmp_path / "pictures.npy", mmap_mode="c"))
    source = pretrained.StoredViews(mapped, TINY, CPU)
    batch, other = torch.arange(20), pretrained.StoredViews(data, TINY, CPU)
    assert net.seen == 4 * 48  # once, and the clean ones
    found = source.views(batch, torch.Generator().manual_seed(3))
    assert torch.equal(found, other.views(batch, torch.Generator().manual_seed(3)))


def test_two_processes_take_the_views_that_one_would(net, monkeypatch):
    source = pretrained.StoredViews(pictures(), TINY, CPU)
    batch = torch.arange(20)
    whole = source.views(batch, torch.Generator().manual_seed(3))
    monkeypatch.setattr(distributed, "processes", lambda: 2)
    for rank in range(2):
        monkeypatch.setattr(distributed, "rank", lambda rank=rank: rank)
        part = source.views(distributed.share(batch), torch.Generator().manual_seed(3))
        assert torch.equal(part, whole.chunk(2)[rank])


def test_two_processes_share_the_pass(use, monkeypatch):
    data, expected = pictures(), None
    use(Net())
    expected = pretrained.features(data, TINY, CPU, [1])[0].tobytes()
    (pretrained.folder_of(data, TINY, CPU) / "view-1.npy").unlink()
    monkeypatch.setattr(distributed, "processes", lambda: 2)
    monkeypatch.setattr(distributed, "require_same", lambda *_: None)
    seen = []
    for rank in (1, 0):  # the first process joins the chunks, so it goes last here
        net = use(Net())
        monkeypatch.setattr(distributed, "rank", lambda rank=rank: rank)
        monkeypatch.setattr(distributed, "barrier", lambda: None)
        if rank:
            with pytest.raises(ValueError, match="unreadable"):  # not joined yet
                pretrained.features(data, TINY, CPU, [1])
        else:
            assert pretrained.features(data, TINY, CPU, [1])[0].tobytes() == expected
        seen.append(net.seen)
    assert seen == [20, 28]


def test_features_are_computed_once_for_the_same_pictures(net):
    data = pictures()
    pretrained.StoredViews(data, TINY, CPU)
    clean(data)
    assert net.seen == 4 * 48
    relabelled = data.with_levels([1, 0], "other")
    pretrained.StoredViews(relabelled, replace(TINY, epochs=9, temperature=1.0), CPU)
    clean(relabelled)
    assert net.seen == 4 * 48
    pretrained.StoredViews(data, replace(TINY, stored_views=5), CPU)  # two more
    assert net.seen == 6 * 48
    clean(data, replace(TINY, augmentation="crop_flip_jitter"))
    assert net.seen == 6 * 48
    pretrained.StoredViews(data, replace(TINY, augmentation="crop_flip_jitter"), CPU)
    assert net.seen == 9 * 48
    clean(pictures(seed=1))
    assert net.seen == 10 * 48


def test_other_weights_versions_and_augmenting_code_have_other_features(use, monkeypatch):
    data = pictures()
    folders = []

    def look():
        folders.append(pretrained.folder_of(data, TINY, CPU).name)

    use(Net())
    look()
    use(Net(seed=1))
    look()
    monkeypatch.setattr(pretrained, "version", lambda name: "1")
    look()

    def darker(x, places, padding_mode):
        return x * 0.5

    darker.__module__ = "hmlc_core.views"
    monkeypatch.setattr(views, "warp", darker)
    pretrained._code_of.cache_clear()  # kept while a process runs
    look()
    monkeypatch.setitem(
        views.AUGMENTATIONS, "photograph", (views.AUGMENTATIONS["crop_flip_jitter"][0], 9)
    )
    look()
    pretrained._code_of.cache_clear()
    assert len(set(folders)) == 5


def test_an_interrupted_pass_goes_on_and_gives_the_same_bits(use):
    data = pictures()
    use(Net())
    expected = [x.tobytes() for x in pretrained.features(data, TINY, CPU, range(3))]
    for path in files.DATA.rglob("view-*.npy"):
        path.unlink()
    use(Net(stop_after=75))
    with pytest.raises(KeyboardInterrupt):
        pretrained.features(data, TINY, CPU, range(3))
    net = use(Net())
    found = [x.tobytes() for x in pretrained.features(data, TINY, CPU, range(3))]
    assert found == expected
    assert net.seen == 3 * 48 - 48 - 20 + 1  # a view and a chunk of 20 were there; one for F
    assert not list(files.DATA.rglob("*-from-*"))
    about = json.loads(next(files.DATA.rglob("about.json")).read_text())
    assert about["pretrained"] == "tiny" and about["split"] == "train"


@pytest.mark.parametrize(
    "change, said",
    [
        (lambda x: x[:7], r"holds float16 \[7, 12\], not float16 \[20, F\]"),
        (lambda x: x[:, :5], "has 5 columns, not 12"),
        (lambda x: x[:, 0], r"holds float16 \[20\]"),
        (lambda x: x.astype(float), "holds float64"),
        (lambda x: x * np.float16("nan"), "holds NaN"),
        (None, "is unreadable"),
    ],
)
def test_a_chunk_that_is_not_whole_is_named_and_computed_anew(use, change, said):
    data = pictures()
    use(Net(stop_after=45))
    with pytest.raises(KeyboardInterrupt):
        clean(data)
    part = next(files.DATA.rglob("*-from-20-to-40.npy"))
    np.save(part, change(np.load(part))) if change else part.write_bytes(b"\x93NUMPY")
    net = use(Net())
    with pytest.warns(UserWarning, match=rf"{part.name} {said}.*computed anew"):
        found = clean(data)
    assert net.seen == 1 + 20 + 8
    next(files.DATA.rglob("view-0.npy")).unlink()
    assert torch.equal(found, clean(data))


def test_chunks_of_another_size_are_not_gone_on_with(use, monkeypatch):
    data = pictures()
    use(Net(stop_after=45))
    with pytest.raises(KeyboardInterrupt):
        clean(data)
    monkeypatch.setattr(pretrained, "SAVE_EVERY", 10)
    net = use(Net())
    found = clean(data)
    assert net.seen == 48 and len(found) == 48
    assert not list(files.DATA.rglob("*-from-*"))


def only_for_reading(path, mode, open_memmap=np.lib.format.open_memmap):
    assert mode == "c"  # a mapped file that is written on a full disk ends the process
    return open_memmap(path, mode=mode)


def test_a_full_disk_while_chunks_are_joined_is_an_error_and_leaves_nothing_half(net, monkeypatch):
    """A file with a limit on its size in the place of a full disk."""
    monkeypatch.setattr(np.lib.format, "open_memmap", only_for_reading)
    data, limits = pictures(n=300), resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        with pytest.raises(OSError, match="cannot write .*view-0.npy: File too large. Free some"):
            clean(data)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    left = [path.name for path in files.DATA.rglob("*") if path.is_file()]
    assert len(left) == 16 and all("-from-" in name or name == "about.json" for name in left)
    seen = net.seen
    assert len(clean(data)) == 300 and net.seen == seen + 1  # all chunks are there


def test_what_killed_writes_left_is_removed_after_a_while(net):
    data = pictures()
    clean(data)
    folder = pretrained.folder_of(data, TINY, CPU, 0)
    old, young, other = (folder / name for name in (f".{'a' * 32}.npy", f".{'b' * 32}.npy", ".x"))
    for path in (old, young, other):
        path.touch()
    os.utime(old, (0, 0))
    clean(data)
    assert not old.exists() and young.exists() and other.exists()


@pytest.mark.parametrize(
    "change, said",
    [
        (lambda x: x[:7], r"holds float16 \[7, 12\], not float16 \[48, F\]"),
        (lambda x: np.concatenate([x, x]), r"holds float16 \[96, 12\]"),
        (lambda x: x[:, 0], r"holds float16 \[48\]"),
        (lambda x: x.astype(np.float32), "holds float32"),
        (lambda x: x * np.float16("inf"), "holds NaN or infinity"),
        (lambda x: x[:, :5], r"differ in width: .*view-0.npy \(12 columns\) and .*\(5 columns\)"),
    ],
)
def test_stored_features_that_do_not_fit_are_named(net, change, said):
    data = pictures()
    pretrained.StoredViews(data, TINY, CPU)
    path = next(files.DATA.rglob("view-1.npy"))
    np.save(path, change(np.load(path)))
    with pytest.raises(ValueError, match=rf"{said}.*[dD]elete (it|them) and run again"):
        pretrained.StoredViews(data, TINY, CPU)


def test_no_pictures_are_an_error(net):
    none = pictures(n=6, split="test").images[:0]
    data = HierarchicalDataset(none, np.zeros((0, 1), int), ["top"], [["a"]], "test", "mine")
    with pytest.raises(ValueError, match="the test split of mine has no picture"):
        clean(data)


def test_the_adapter_standardises_by_the_clean_features_of_the_training_set(net):
    data = pictures()
    x = clean(data).double()
    for encoder in ("adapter", "untouched"):
        settings = replace(TINY, encoder=encoder)
        model = runs.new_model(data, runs.methods.get("g_hmlc"), settings, 0, CPU)
        mean, std = model.encoder.mean.double(), model.encoder.std.double()
        torch.testing.assert_close(mean, x.mean(0), rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(std, x.std(0, correction=0), rtol=1e-4, atol=1e-5)
    features, _ = runs.encode(model, data, settings, CPU)
    torch.testing.assert_close(
        features.double(), (x - x.mean(0)) / x.std(0, correction=0), rtol=1e-3, atol=1e-3
    )


@pytest.mark.parametrize("value", [0.0, 1.5])
def test_a_channel_that_is_constant_in_training_is_not_blown_up_elsewhere(monkeypatch, value):
    stored = np.random.default_rng(0).normal(2, 1, (20, 4)).astype(np.float16)
    stored[:, 1] = value
    monkeypatch.setattr(pretrained, "features", lambda *_: [stored])
    encoder = types.SimpleNamespace(mean=torch.zeros(4), std=torch.zeros(4))
    pretrained.SOURCES["adapter"].prepare(encoder, None, TINY, CPU)
    wanted = torch.from_numpy(stored).double().std(0, correction=0).float()
    wanted[1] = 1
    torch.testing.assert_close(encoder.std, wanted)


def test_weights_of_an_adapter_do_not_depend_on_whether_the_net_was_built_before(use, monkeypatch):
    data = pictures()
    net = use(Net())

    def build(name):
        torch.rand(1000)  # as a net that draws its weights
        return net, LOOK

    first = runs.new_model(data, runs.methods.get("g_hmlc"), TINY, 0, CPU).state_dict()
    monkeypatch.setattr(pretrained, "build", build)
    second = runs.new_model(data, runs.methods.get("g_hmlc"), TINY, 0, CPU).state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize("method", ["cross_entropy", "a_hmlc", "hmce_released", "heads"])
def test_methods_train_on_stored_features_as_on_pictures(net, method):
    run = runs.pretrain(pictures(), method, TINY, progress=False)
    assert net.seen == 4 * 48
    assert run.history[-1]["loss"] < run.history[0]["loss"]
    assert run.features("train").shape == (48, 512)
    assert len(run.embeddings(pictures(n=30, split="test", seed=7))) == 30


def test_a_run_on_stored_features_tells_classes_and_is_the_same_again(net):
    data, settings = pictures(n=96), replace(TINY, epochs=6)
    run = runs.pretrain(data, "g_hmlc", settings, progress=False)
    rows = runs.linear_evaluation(run, pictures(n=60, split="test", seed=7))
    assert [row["level"] for row in rows] == ["top", "low"] and rows[1]["value"] > 0.7
    again = runs.pretrain(data, "g_hmlc", settings, progress=False, folder=files.DATA / "other")
    assert torch.equal(run.embeddings("train"), again.embeddings("train"))
    kept = runs.pretrain(data, "g_hmlc", settings, progress=False)
    assert kept.config_hash == run.config_hash and kept.history == run.history


def test_raw_is_a_run_whose_features_are_the_untouched_ones(net):
    data, new = pictures(n=96), pictures(n=60, split="test", seed=7)
    settings = replace(TINY, encoder="untouched", epochs=1)
    run = runs.pretrain(data, "cross_entropy", settings, progress=False, label="raw")
    x, y = clean(data, settings), torch.from_numpy(data.labels)
    expected = [
        runs.metrics.accuracy(
            runs.metrics.linear_logits(x, y[:, level], clean(new), classes).argmax(1),
            torch.from_numpy(new.labels)[:, level],
        )
        for level, classes in enumerate(data.class_counts)
    ]
    rows = runs.linear_evaluation(run, new)
    assert [row["method"] for row in rows] == ["raw", "raw"]
    assert [row["value"] for row in rows] == pytest.approx(expected, abs=0.04)


def test_a_run_says_what_its_features_depend_on(use):
    data = pictures()
    configs = []
    for seed in (0, 1):
        use(Net(seed))
        run = runs.pretrain(data, "shared", TINY, progress=False)
        configs.append(json.loads((run.folder / "config.json").read_text()))
    assert {k for k in configs[0] if configs[0][k] != configs[1][k]} == {"weights", "features"}
    assert configs[0]["timm"] == "0" and configs[0]["pretrained"] == "tiny"


@pytest.mark.parametrize(
    "change", [{"encoder": "small_cnn"}, {"pretrained": ""}, {"encoder": "resnet18"}]
)
def test_an_encoder_that_does_not_fit_is_an_error(net, change):
    with pytest.raises(ValueError, match="does not go with"):
        runs.pretrain(pictures(), "shared", replace(TINY, **change), progress=False)


def test_bad_settings_and_data_are_errors(net, dataset):
    with pytest.raises(ValueError, match="stored_views must be 2"):
        pretrained.StoredViews(pictures(), replace(TINY, stored_views=1), CPU)
    with pytest.raises(ValueError, match="fresh=False"):
        clean(replace(pictures(), composer=object()))
    path = pretrained.folder_of(pictures(), TINY, CPU, 0) / "view-0.npy"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"\x93NUMPY cut off")
    with pytest.raises(ValueError, match="view-0.npy is unreadable .* delete it"):
        clean(pictures())


@pytest.mark.parametrize("value", [float("nan"), 1e6])
def test_features_that_float16_cannot_hold_are_an_error(use, value):
    net = use(Net())
    net.weight[0, 0] = value
    with pytest.raises(
        ValueError, match="tiny on .* train: .*not finite or too large.*weights anew"
    ):
        clean(pictures())


def test_maps_instead_of_pooled_features_are_an_error(net):
    net.forward = lambda x: x
    with pytest.raises(ValueError, match="not pooled features"):
        clean(pictures())


def test_grocery_takes_the_pretrained_way():
    settings = preset("cpu", "grocery")
    assert settings.encoder in models.OF_TIMM and settings.stored_views == 8
    assert runs.source_of(settings) is pretrained.StoredViews
    assert runs.source_of(preset("cpu")) is views.Pictures


UNFROZEN = replace(TINY, pretrained="test_efficientnet", encoder="last_stage", batch_size=8)
TRAINED = ("blocks.4", "conv_head", "bn2")  # of test_efficientnet


@pytest.fixture
def tiny_timm(timm, monkeypatch, tmp_path):
    """timm's smallest net, with weights in the user's folder."""
    from safetensors.torch import save_file

    path = tmp_path / "weights" / "test_efficientnet.safetensors"
    path.parent.mkdir()
    monkeypatch.setenv("HMLC_DATA", str(tmp_path))
    torch.manual_seed(5)
    save_file(timm.create_model("test_efficientnet", pretrained=False).state_dict(), path)
    return path


def test_only_the_last_stage_is_trained_and_frozen_batchnorms_stay_as_they_are(tiny_timm):
    data = pictures(n=24)
    before = pretrained.build("test_efficientnet")[0].state_dict()
    run = runs.pretrain(data, "g_hmlc", replace(UNFROZEN, epochs=1), progress=False)
    after = run.encoder.net.state_dict()
    moved = {name for name in after if not torch.equal(after[name], before[name])}
    kept = {name for name in after if not name.startswith(TRAINED)}
    assert moved == set(after) - kept
    assert any("running_mean" in name for name in moved) and any("running_var" in n for n in kept)
    assert not any(p.requires_grad for p in pretrained.build("test_efficientnet")[0].parameters())


def test_unfrozen_runs_are_trained_evaluated_and_kept_like_any_other(tiny_timm):
    data, new = pictures(n=24), pictures(n=12, split="test", seed=7)
    run = runs.pretrain(data, "shared", UNFROZEN, progress=False)
    assert not list(files.DATA.glob("features/*"))  # nothing is stored
    rows = runs.linear_evaluation(run, new)
    assert [row["level"] for row in rows] == ["top", "low"] and rows[0]["value"] > 0.5
    images = views.to_float(torch.from_numpy(new.images))
    with torch.no_grad(), pretrained.devices.autocast(CPU):
        expected = run.encoder(images).float()
    torch.testing.assert_close(run.features(new), expected, rtol=1e-2, atol=1e-2)
    kept = runs.pretrain(data, "shared", UNFROZEN, progress=False)
    assert kept.config_hash == run.config_hash and kept.history == run.history
    assert torch.equal(kept.features(new), run.features(new))
    config = json.loads((run.folder / "config.json").read_text())
    assert config["pretrained"] == "test_efficientnet" and config["weights"]


def test_the_last_stage_is_that_of_timm(timm):
    for name, first, behind in [
        ("test_efficientnet", "blocks.4", {"conv_head", "bn2"}),
        ("resnet18", "layer4", set()),
        ("mobilenetv3_small_100", "blocks.4", {"blocks.5", "conv_head"}),
        ("convnext_atto", "stages.3", {"head.norm"}),
        ("test_vit", "blocks.5", {"norm"}),
    ]:
        found = pretrained.last_stage(timm.create_model(name, num_classes=0))
        places = {first} | behind
        assert {p for p in places if any(n.startswith(f"{p}.") for n in found)} == places, name
        assert all(n.startswith(tuple(f"{p}." for p in places)) for n in found), name
