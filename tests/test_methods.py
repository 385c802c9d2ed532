"""Methods are one entry each; where their gradients go; and the GPU path without a GPU."""

import dataclasses

import numpy as np
import pytest
import torch
import torchvision
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from hmlc_core import (
    AttentionMasks,
    HierarchicalDataset,
    Method,
    Settings,
    losses,
    masks,
    methods,
    models,
    peers,
    preset,
    pretrain,
    supcon_loss,
    train,
    views,
)
from hmlc_core.methods import Model, Objective
from study.variants import METHODS

TINY = Settings(canvas=24, dim=16, epochs=1, batch_size=32)
PLAIN = torch.autocast("cpu", enabled=False)


@pytest.fixture
def fit(dataset, tmp_path):
    def call(method="g_hmlc", settings=TINY, data=dataset, **more):
        more = {"device": "cpu", "progress": False, "folder": tmp_path / "runs"} | more
        return pretrain(data, method, settings, **more)

    return call


def test_a_key_has_its_loss_and_its_masks():
    masked = {name: (losses.masked_hierarchical_loss, getattr(masks, maker)) for name, maker in {
        "shared": "shared_masks", "split": "split_masks", "sign": "sign_masks",
        "rectified": "rectified_masks", "random": "random_masks", "g_hmlc": "gmm_masks",
        "a_hmlc": "AttentionMasks"}.items()}  # fmt: skip
    unmasked = {
        "cross_entropy": peers.CrossEntropyHeads, "supcon": losses.finest_supcon_loss,
        "hmce_paper": losses.hmce_loss, "hmce_released": losses.hmce_released_loss,
        "heads": peers.PerLevelHeads, "rince": peers.rince_loss, "bhcl": peers.BHCL,
        "level_restricted": peers.LevelRestricted,
        "level_restricted_hyperbolic": peers.LevelRestrictedHyperbolic}  # fmt: skip
    known = masked | {name: (loss, None) for name, loss in unmasked.items()}
    by_batch = methods.METHODS["g_hmlc_batch"]
    assert (by_batch.masks.func, by_batch.masks.keywords) == (masks.gmm_masks, {"scope": "batch"})
    assert {method.key for method in methods._ALL} == {*known, "g_hmlc_batch"}
    for name, (loss, maker) in known.items():
        assert methods.METHODS[name].loss is loss and methods.METHODS[name].masks is maker, name


@pytest.mark.parametrize("method", METHODS)
def test_every_method_trains(method, fit, dataset):
    run = fit(method)
    assert [epoch["epoch"] for epoch in run.history] == [1]
    others = {"epoch", "seconds", "device", "loss"}
    named = {name for name in run.history[0] if not name.startswith("unseen")} - others
    assert named == ({"subsidiary"} if method == "supcon" else {"central", "subsidiary"})
    total = sum(run.history[0][name] for name in named)
    assert run.history[0]["loss"] == pytest.approx(total, rel=1e-5)
    width = models.ENCODERS[TINY.encoder][1]
    assert run.features(dataset).shape == (96, width)
    wide = TINY.dim if METHODS[method].projected else width
    assert run.embeddings(dataset).shape == (96, wide)
    assert torch.isfinite(run.embeddings(dataset)).all()
    masked = METHODS[method].masks is not None
    assert (run.level_masks(dataset) is not None) == masked
    if masked:
        assert run.level_masks(dataset).shape == (2, 96, 16)


def test_three_levels_and_unknown_labels(fit, dataset):
    labels = np.concatenate([dataset.labels, dataset.labels[:, :1] // 2], 1)
    labels[::5, 1] = -1
    names = [*dataset.class_names, list("vwxyz")]
    three = HierarchicalDataset(dataset.images, labels, ["a", "b", "c"], names)
    for method in METHODS:
        run = fit(method, data=three)
        assert np.isfinite(run.history[0]["loss"]), method
        if METHODS[method].masks is not None:
            assert run.level_masks(three).shape == (3, 96, 16)


def test_a_module_given_in_place_of_a_class_is_trained_by_one_run_alone(fit):
    given = AttentionMasks(16, 2)
    before = [p.clone() for p in given.parameters()]
    mine = Method("mine", "mine", "ours", "a slip", masks=given)
    first = fit(mine)
    of_first = first.level_masks("train")
    second = fit(mine, seed=1)
    assert all(map(torch.equal, given.parameters(), before))
    assert first.model.objective.masks is not second.model.objective.masks
    assert torch.equal(first.level_masks("train"), of_first)
    assert not torch.equal(second.level_masks("train"), of_first)


@pytest.mark.parametrize("made", [lambda z: z.sum(), lambda z: z[0, 0, :3], lambda z: z[0, 0, :0]])
def test_a_loss_that_gives_no_term_per_level_is_named(made, fit):
    def loss(embeddings, labels, temperature, reduction):
        return made(embeddings)

    with pytest.raises(ValueError, match="must give a term per level, 1 to 2, not"):
        fit(Method("odd", "odd", "ours", "a slip", loss))


def test_unknown_methods_are_refused():
    with pytest.raises(ValueError, match="unknown method 'hmce': choose from cross_entropy"):
        methods.get("hmce")
    assert methods.get("split") is METHODS["split"] is methods.get(METHODS["split"])


def test_a_method_of_ones_own_is_one_entry(fit, monkeypatch, dataset):
    def first_masks(z, levels):
        return masks.split_masks(z, levels).flip(0)

    mine = Method("mine", "mine", "ours", "here", losses.masked_hierarchical_loss, first_masks)
    assert fit(mine).level_masks(dataset)[1, 0, 0] == 1
    monkeypatch.setitem(METHODS, "mine", mine)
    assert fit("mine").method == "mine"


# ------------------------------------------------------------ masks, loss and where gradients go


@pytest.fixture
def views_and_labels():
    generator = torch.Generator().manual_seed(0)
    labels = torch.stack([torch.arange(12) % 3, torch.arange(12) % 6], 1)
    return torch.rand(12, 2, 1, 24, 24, generator=generator), labels


@pytest.mark.parametrize("method", METHODS)
def test_gradients_reach_encoder_head_masks_and_prototypes(method, views_and_labels):
    torch.manual_seed(0)
    model = Model(METHODS[method], TINY, 1, [3, 6])
    model(*views_and_labels, PLAIN).sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().max() > 0, name


@pytest.fixture
def wide():
    """Embeddings [12, 32], wide enough that each level has some coordinates, and labels."""
    coarse = torch.arange(12) % 3
    labels = torch.stack([coarse, coarse + 3 * (torch.arange(12) // 6)], 1)
    return torch.randn(12, 32, generator=torch.Generator().manual_seed(0)), labels


def plain_gradient(z, labels, given):
    """Of masked SupCon, with the masks as constants."""
    z = z.detach().requires_grad_()
    sum(supcon_loss(z * mask, labels[:, level]) for level, mask in enumerate(given)).backward()
    return z.grad


@pytest.mark.parametrize("name, constant", [("g_hmlc", True), ("sign", True), ("a_hmlc", False)])
def test_hard_masks_pass_no_gradient_and_attention_does(name, constant, wide):
    torch.manual_seed(0)
    z, labels = wide[0].requires_grad_(), wide[1]
    objective = Objective(METHODS[name], 32, [3, 6], 0.1)
    given = objective.level_masks(z[:, None])[:, :, 0]
    assert given.requires_grad != constant
    objective(z[:, None], labels).sum().backward()
    alone = plain_gradient(z, labels, given.detach())
    assert torch.allclose(z.grad, alone, atol=1e-5) == constant


def test_masks_are_made_of_each_view_by_itself(batch):
    z = torch.stack([batch[0], batch[0].flip(1) * 1.7], 1).float()
    objective = Objective(METHODS["g_hmlc"], 6, [3, 6], 0.1)
    both = objective.level_masks(z)
    assert both.shape == (2, 12, 2, 6)
    for view in (0, 1):
        assert torch.equal(both[:, :, view], masks.gmm_masks(z[:, view], 2))


@pytest.mark.parametrize("name", ["split", "g_hmlc", "a_hmlc"])
def test_each_level_has_its_own_mask_and_labels(name, wide):
    """Terms are coarse to fine; a level's term depends on its own labels alone."""
    torch.manual_seed(0)
    z, labels = wide[0][:, None], wide[1]
    objective = Objective(METHODS[name], 32, [3, 6], 0.3)
    terms, given = objective(z, labels), objective.level_masks(z)
    for level in (0, 1):
        alone = supcon_loss((z * given[level])[:, 0], labels[:, level], 0.3)
        assert terms[level].item() == pytest.approx(alone.item(), rel=1e-5)
    other = labels.clone()
    other[:, 1] = labels[:, 0]
    changed = objective(z, other)
    assert changed[0] == terms[0] and changed[1] != terms[1]
    unknown = labels.clone()
    unknown[:4, 0] = -1
    part = supcon_loss((z * given[0])[4:, 0], labels[4:, 0], 0.3)
    assert objective(z, unknown)[0].item() == pytest.approx(part.item(), rel=1e-5)


def test_the_temperature_reaches_every_loss(views_and_labels):
    for method in METHODS:
        terms = []
        for temperature in (0.1, 0.5):
            torch.manual_seed(0)
            settings = dataclasses.replace(TINY, temperature=temperature)
            model = Model(METHODS[method], settings, 1, [3, 6])
            terms.append(model(*views_and_labels, PLAIN).tolist())
        assert (terms[0] == terms[1]) == (method == "cross_entropy"), method


def test_learned_parts_are_made_for_the_width_levels_and_classes_of_the_run():
    wide = models.ENCODERS[TINY.encoder][1]
    a_hmlc = Model(METHODS["a_hmlc"], TINY, 1, [3, 6, 9])
    assert isinstance(a_hmlc.objective.masks, AttentionMasks)
    assert [head[0].in_features for head in a_hmlc.objective.masks.heads] == [TINY.dim] * 3
    crossed = Model(METHODS["cross_entropy"], TINY, 1, [3, 6])
    assert isinstance(crossed.head, nn.Identity)
    shapes = [tuple(head.weight.shape) for head in crossed.objective.loss.heads]
    assert shapes == [(3, wide), (6, wide)]
    assert [len(p) for p in Model(METHODS["bhcl"], TINY, 1, [3, 6]).objective.loss.prototypes] == [
        *(3, 6)
    ]


@pytest.mark.parametrize("batch_norm", [True, False])
def test_the_head_is_the_one_of_the_settings(batch_norm):
    settings = dataclasses.replace(TINY, head_batch_norm=batch_norm, dim=9)
    head = Model(METHODS["split"], settings, 1, [3, 6]).head
    norms = [layer for layer in head if isinstance(layer, nn.BatchNorm1d)]
    assert len(norms) == (2 if batch_norm else 0)
    assert head(torch.rand(5, 128)).shape == (5, 9)


def test_masks_that_observe_see_the_first_view_in_training_only(views_and_labels):
    seen = []

    class Observers(masks.AttentionMasks):
        def observe(self, z, labels):
            seen.append((z, labels))

    torch.manual_seed(0)
    model = Model(Method("mine", "mine", "ours", "a test", masks=Observers), TINY, 1, [3, 6])
    model.eval()
    model(*views_and_labels, PLAIN)
    assert not seen
    model.train()
    model(*views_and_labels, PLAIN)
    ((z, labels),) = seen
    assert z.shape == (12, TINY.dim) and torch.equal(labels, views_and_labels[1])


def test_features_are_before_the_head_and_embeddings_behind_it(views_and_labels):
    torch.manual_seed(0)
    model = Model(METHODS["split"], TINY, 1, [3, 6]).eval()
    images = views_and_labels[0][:, 0]
    with torch.no_grad():
        features, z = model.embed(images, PLAIN)
        assert torch.allclose(features, model.encoder(images), atol=1e-6)
        assert torch.allclose(z, model.head(features), atol=1e-6)


# ------------------------------------------------------------ the GPU path without a GPU


WITH_NETS = [(method, "small_cnn") for method in METHODS] + [("a_hmlc", "resnet18")]
ON_META = [(method, "small_resnet") for method in METHODS] + [("a_hmlc", "resnet50_cifar")]


def fake_cuda_needs_a_driver():
    """Of torch 2.9 built for CUDA, which asks for one even where tensors are fake."""
    try:
        with FakeTensorMode(), torch.device("cuda"):
            nn.Conv2d(1, 1, 1)
    except RuntimeError:
        return True
    return False


@pytest.mark.skipif(fake_cuda_needs_a_driver(), reason="this torch's fake tensors need a driver")
@pytest.mark.parametrize("method, encoder", WITH_NETS)
def test_forward_on_cuda_in_fake_tensor_mode(method, encoder):
    """Fails with the name of any tensor that was left on the CPU."""
    settings = dataclasses.replace(preset("gpu"), encoder=encoder, canvas=64)
    with FakeTensorMode(allow_non_fake_inputs=True), torch.device("cuda"):
        model = Model(METHODS[method], settings, 1, [10, 10])
        images = torch.zeros(8, 64, 64, 1, dtype=torch.uint8)
        labels = torch.zeros(8, 2, dtype=torch.long)
        pair = views.two_views(images, settings.augmentation)
        terms = model(pair, labels, torch.autocast("cuda", torch.bfloat16, enabled=False))
    assert terms.device.type == "cuda" and terms.dtype == torch.float32


@pytest.mark.parametrize("method, encoder", ON_META)
def test_whole_step_on_meta_device(method, encoder):
    settings = dataclasses.replace(preset("gpu"), encoder=encoder)
    meta = torch.device("meta")
    with meta:
        model = Model(METHODS[method], settings, 3, [5, 7, 9])
        pair, labels = torch.zeros(6, 2, 3, 32, 32), torch.zeros(6, 3, dtype=torch.long)
    optimizer = torch.optim.AdamW(model.parameters())
    schedule = train.make_schedule(optimizer, settings, 4)
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    parts = {"optimizer": optimizer, "schedule": schedule, "scaler": scaler}
    terms = train.step(model, pair, labels, torch.device("cpu"), model=model, **parts)
    assert terms.is_meta and all(p.grad is not None for p in model.encoder.parameters())


# ------------------------------------------------------------ encoders


def test_encoders_have_the_width_they_state(monkeypatch):
    untrained = torchvision.models.resnet50
    monkeypatch.setattr(torchvision.models, "resnet50", lambda weights: untrained())  # no download
    for name, (build, width) in models.ENCODERS.items():
        assert build(1).eval()(torch.zeros(2, 1, 64, 64)).shape == (2, width), name
    with pytest.raises(ValueError, match="unknown encoder 'vgg': choose from"):
        models.build_encoder("vgg", 3)


def test_depthwise_convolution_is_torchs_in_float32():
    torch.manual_seed(0)
    shape = dict(kernel_size=3, stride=2, padding=1, groups=8, bias=False)
    ours, plain = models.DepthwiseConv2d(8, 8, **shape), nn.Conv2d(8, 8, **shape)
    plain.load_state_dict(ours.state_dict())
    x, y = (torch.rand(4, 8, 9, 9).bfloat16() for _ in range(2))
    y = x.clone().requires_grad_()
    x.requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        output = ours(x)
    expected = plain(y.float())
    output.square().sum().backward()
    expected.square().sum().backward()
    assert output.dtype == torch.float32 and torch.equal(output, expected)
    assert x.grad.dtype == torch.bfloat16 and torch.equal(x.grad, y.grad)
    assert torch.equal(ours.weight.grad, plain.weight.grad)


def test_small_cnn_keeps_the_maxima_of_both_maps():
    net, x = models.build_encoder("small_cnn", 1)[0].eval(), torch.rand(3, 1, 50, 50)
    fine = net.fine(x)
    assert torch.equal(net(x), torch.cat([fine.amax((2, 3)), net.coarse(fine).amax((2, 3))], 1))


def test_frozen_stages_of_the_pretrained_resnet_stay_as_they_are(monkeypatch):
    """Neither weights nor BatchNorm statistics of what is not trained move."""
    untrained = torchvision.models.resnet50
    monkeypatch.setattr(torchvision.models, "resnet50", lambda weights: untrained())
    net = models.PretrainedResNet50().train()
    trained = {name.split(".")[1] for name, p in net.named_parameters() if p.requires_grad}
    assert trained == {"layer3", "layer4"}
    before = {name: value.clone() for name, value in net.named_buffers()}
    net(torch.rand(4, 1, 32, 32))
    moved = {n for n, value in net.named_buffers() if not torch.equal(value, before[n])}
    assert {name.split(".")[1] for name in moved} == {"layer3", "layer4"}


def test_projection_head_is_normalised_by_batchnorm():
    head = models.projection_head(12, 8).train()
    z = head(torch.rand(64, 12))
    assert z.mean(0).abs().max() < 1e-5
    assert z.var(0, correction=0).allclose(torch.ones(8), atol=1e-3)


def test_views_whose_mask_leaves_fewer_than_two_coordinates_are_unknown_and_counted():
    """At level 1, sample 0 has no coordinate and sample 1 has one; the others have three."""

    def make(z, levels):
        first = torch.tensor([0, 1, 3, 3, 3, 3])[:, None] > torch.arange(6)
        return torch.stack([first, ~first]).to(z.dtype)

    own = Method("own", "own", "ours", "a test", losses.masked_hierarchical_loss, make)
    objective = Objective(own, 6, [2, 2], 0.2).train()
    z = torch.randn(6, 1, 6, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(6)[:, None].expand(6, 2) % 2
    assert objective.take_unseen() is None
    terms = objective(z, labels)
    first = z[:, 0] * make(z, 2)[0]
    unknown = torch.where(torch.arange(6) < 2, -1, labels[:, 0])
    assert terms[0].item() == pytest.approx(supcon_loss(first, unknown, 0.2).item(), rel=1e-5)
    objective(z, labels)
    assert objective.take_unseen().tolist() == [4, 0] and objective.take_unseen() is None
    known = labels.clone()
    known[0, 0] = -1  # was not to be seen anyway
    objective(z, known)
    assert objective.take_unseen().tolist() == [1, 0]
    objective.eval()
    objective(z, labels)
    assert objective.take_unseen() is None
    unmasked = Objective(METHODS["hmce_paper"], 6, [2, 2], 0.2).train()
    unmasked(z, labels)
    assert unmasked.take_unseen() is None
