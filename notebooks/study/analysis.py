"""What masks pick, what the parts they cut out know, and how many levels an embedding suggests."""

import warnings

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import BayesianGaussianMixture

from hmlc_core import checks, devices, files, load_dataset, metrics, pretrain, runs, views
from hmlc_core.data.dataset import sample
from hmlc_core.data.pretrained import StoredViews
from study import evaluation, plan, results
from study.plan import MNIST

LOOKED_AT = ("shared", "split", "sign", "rectified", "g_hmlc", "a_hmlc")
KINDS_OF_PAIRS = ("neither", "level 1 only", "level 2 only", "both")


def strongest_level(masks):
    """The level whose mask is largest, for each coordinate of each sample.

    Args:
        masks: [L, B, D].

    Returns:
        int64 [B, D].
    """
    return masks.argmax(0)


def mask_agreement(a, b):
    """Cohen's kappa of the strongest levels of two masks [L, B, D], mean over the B pairs.

    1 = the same, 0 = as by chance, given how many coordinates each level has in each. A pair whose
    coordinates all are in one and the same level counts 1.
    """
    a, b = (F.one_hot(strongest_level(masks), len(masks)).double() for masks in (a, b))  # [B, D, L]
    same = (a * b).sum(2).mean(1)
    chance = (a.mean(1) * b.mean(1)).sum(1)
    return float(torch.where(chance < 1, (same - chance) / (1 - chance), 1.0).mean())


def agreement_of_pairs(masks, labels, pairs=20_000, seed=0):
    """Agreement of the masks of two different samples, by the levels at which their classes agree.

    Args:
        masks: [L, B, D]; labels: int64 [B, 2]; samples with an unknown label are left out.

    Returns:
        dict: "neither", "level 1 only", "level 2 only", "both" -> mean kappa over the random pairs
        of that kind; kinds without a pair are left out.
    """
    generator = torch.Generator().manual_seed(seed)
    a, b = torch.randint(len(labels), (2, pairs), generator=generator)
    known = (labels >= 0).all(1)
    usable = (a != b) & known[a] & known[b]
    a, b = a[usable], b[usable]
    kind = (labels[a] == labels[b]).long() @ torch.tensor([1, 2])
    agreement = {}
    for number, name in enumerate(KINDS_OF_PAIRS):
        here = kind == number
        if here.any():
            agreement[name] = mask_agreement(masks[:, a[here]], masks[:, b[here]])
    return agreement


@torch.no_grad()
def view_agreement(run, split="test", images=500):
    """Mean kappa of the masks of two random views of the same image."""
    data = run.data(split)
    pictures = torch.from_numpy(data.images[sample(len(data), images)]).to(run.device)
    generator = torch.Generator(run.device).manual_seed(0)
    pairs = views.two_views(pictures, run.settings.augmentation, generator)
    masks = []
    for view in (pairs[:, 0], pairs[:, 1]):
        inputs = view.contiguous(memory_format=torch.channels_last)
        embeddings = run.model.head(run.encoder(inputs)).float()
        masks.append(run.model.objective.level_masks(embeddings))
    return mask_agreement(*masks)


def usable_information(train, train_labels, test, test_labels, classes):
    """Bits that a linear classifier of the features tells about the label.

    That is the entropy of the labels minus the classifier's cross-entropy on the test samples
    (V-information, Xu et al. 2020): a lower bound of the mutual information, up to sampling; about
    0 where the classifier knows nothing. The classifier is fitted on nine tenths of the training
    samples, and its logits are scaled by what suits the rest: without that, many small classes make
    it too sure of itself.

    Args:
        train: float [N, F], train_labels int64 [N]; test: float [M, F], test_labels int64 [M]; -1
            left out.

    Returns:
        bits, accuracy.
    """
    labelled = (train_labels >= 0).nonzero().squeeze(1)
    held_out = torch.zeros(len(train), dtype=torch.bool)
    held_out[labelled[sample(len(labelled), len(labelled) // 10)]] = True
    known = test_labels >= 0
    labels = test_labels[known]
    inputs = torch.cat([train[held_out], test[known]])
    logits = metrics.linear_logits(train[~held_out], train_labels[~held_out], inputs, classes)
    held_out_logits, test_logits = logits.split([int(held_out.sum()), len(labels)])
    scale = _best_scale(held_out_logits, train_labels[held_out])
    nats = _entropy(labels, classes) - F.cross_entropy(scale * test_logits, labels)
    return float(nats / np.log(2)), metrics.accuracy(test_logits.argmax(1), labels)


def _entropy(labels, classes):
    """Entropy of the class frequencies, in nats."""
    return torch.special.entr(torch.bincount(labels, minlength=classes) / len(labels)).sum()


def _best_scale(logits, labels):
    """The factor of the logits with the least cross-entropy, of 0 and 60 between 0.01 and 2; 1 if
    there are no labels to choose it by."""
    if not len(labels):
        return 1
    scales = F.pad(torch.logspace(-2, np.log10(2), 60), (1, 0))
    losses = [F.cross_entropy(scale * logits, labels) for scale in scales]
    return scales[torch.stack(losses).argmin()]


def part_information(run, split="test"):
    """What each masked part of the embedding tells about each level's labels.

    A part is what its level's loss sees, normalised z * M_h.

    Args:
        run: runs.Run of a method with masks.

    Returns:
        list of dicts: part (level of the mask, by name), level (of the labels, by name), bits,
        accuracy.

    Raises:
        ValueError: if the method has no masks.
    """
    train, test = run.data("train"), run.data(split)
    checks.require(run.level_masks(split) is not None, f"{run.method} has no masks")
    train_labels, test_labels = torch.from_numpy(train.labels), torch.from_numpy(test.labels)
    rows = []
    for name, fit, tested in zip(train.level_names, _parts(run, "train"), _parts(run, split)):
        for level, classes in enumerate(train.class_counts):
            columns = train_labels[:, level], test_labels[:, level]
            bits, right = usable_information(fit, columns[0], tested, columns[1], classes)
            of = {"part": name, "level": train.level_names[level]}
            rows.append(of | {"bits": bits, "accuracy": right})
    return rows


def bits_table(run, split="test"):
    """part_information as a data frame of bits, index = parts, columns = levels of the labels."""
    table = pd.DataFrame(part_information(run, split))
    levels = run.dataset.level_names
    table = table.pivot(index="part", columns="level", values="bits")
    return table.reindex(index=levels, columns=levels)


def _parts(run, split):
    return F.normalize(run.embeddings(split) * run.level_masks(split), dim=-1)


def analyse(run, split="test", samples=20):
    """All rows of a run that this module knows, computed once and then read from its folder.

    They are "levels_posterior_1" and so on, of `samples` embeddings; with masks also
    "bits_of_part_<level>" (see part_information) and, where masks differ between levels,
    "mask_agreement_views" and with two levels "mask_agreement_<neither, both, ...>".
    """
    data = [run.data("train").fingerprint, run.data(split).fingerprint, samples]
    name = f"analysis-{evaluation.state_of((__file__, metrics, views), data)}.csv"
    return results.cached_rows(run, name, lambda: _rows(run, split, samples))


def _rows(run, split, samples):
    some = run.embeddings(split)[sample(len(run.data(split)), samples)]
    posterior = levels_posterior(some)
    values = {f"levels_posterior_{k}": p for k, p in enumerate(posterior, 1)}
    values |= _agreements(run, split)
    rows = [runs.row(run, "all", metric, value) for metric, value in values.items()]
    if run.level_masks(split) is None:
        return rows
    for part in part_information(run, split):
        rows.append(runs.row(run, part["level"], f"bits_of_part_{part['part']}", part["bits"]))
    return rows


def _agreements(run, split):
    """Agreement of masks between views and between images; empty where all levels see the same."""
    masks = run.level_masks(split)
    if masks is None or not (masks != masks[:1]).any():
        return {}
    stored = runs.source_of(run.settings) is StoredViews  # which has no new views of test pictures
    values = {} if stored else {"mask_agreement_views": view_agreement(run, split)}
    if len(masks) == 2:
        pairs = agreement_of_pairs(masks, torch.from_numpy(run.data(split).labels))
        values |= {f"mask_agreement_{kind}": value for kind, value in pairs.items()}
    return values


def level_1_usage(run, split="test"):
    """Share of images for which each coordinate belongs to level 1, sorted, float [D]."""
    in_level_1 = strongest_level(run.level_masks(split)) == 0
    return in_level_1.float().mean(0).sort().values.numpy()


def agreement_with_last(run, split="test"):
    """Agreement of the masks after each epoch with the last's, of a run with snapshots; a list."""
    last = run.level_masks(split)
    epochs = range(1, run.settings.epochs + 1)
    return [mask_agreement(run.at(epoch).level_masks(split), last) for epoch in epochs]


SETTLING = ("g_hmlc", "a_hmlc")  # methods whose masks are followed through training


def all_settling(profile, extras):
    """Rows of settling, of each of SETTLING with each seed: five of them with "seeds"."""
    seeds = range(5 if "seeds" in extras else plan.SEEDS[profile])
    return sum((settling(method, seed, profile) for method in SETTLING for seed in seeds), [])


def settling(method, seed, profile):
    """Rows "masks_of_epoch_<k>", see agreement_with_last, of a method on hierarchical MNIST. It is
    trained apart, because other runs keep no snapshots."""
    settings, apart = plan.usual_settings(profile, MNIST, method), files.DATA / "runs" / "snapshots"
    run = pretrain(MNIST, method, settings, seed, snapshots=True, progress=False, folder=apart)

    def rows():
        agreement = enumerate(agreement_with_last(run), 1)
        return [runs.row(run, "all", f"masks_of_epoch_{k}", value) for k, value in agreement]

    state = evaluation.state_of((__file__, metrics, views), [run.data("test").fingerprint])
    return results.cached_rows(run, f"settling-{state}.csv", rows)


def pull_of_samples(loss, embeddings):
    """How hard a loss pulls at each sample, and how much of it all is at the two pulled hardest.

    Args:
        loss: scalar that depends on embeddings [N, D], which require a gradient.

    Returns:
        norm of the whole gradient; share of it in two samples (the norm of their part).
    """
    gradient = torch.autograd.grad(loss, embeddings, retain_graph=True)[0].norm(dim=1)
    return float(gradient.norm()), float(gradient.topk(2).values.norm() / gradient.norm())


def levels_posterior(embeddings, largest=6, draws=20, threshold=0.05, seed=0):
    """How many levels a Dirichlet-process mixture sees in each embedding (the paper's future work).

    scikit-learn's BayesianGaussianMixture on the D values of each embedding, as G-HMLC would fit
    it; from its posterior over stick-breaking weights, components are counted that hold more than
    `threshold` of the coordinates.

    Args:
        embeddings: [B, D].
        largest: most components allowed.
        draws: draws of the weights for each embedding.

    Returns:
        float [largest]: probability of 1, 2, ... components, averaged over the embeddings.
    """
    checks.require_embeddings(embeddings)
    rng = np.random.default_rng(seed)
    counts = []
    for values in embeddings.double().cpu().numpy():
        weights = _drawn_weights(_dirichlet_mixture(values, largest, seed), draws, rng)
        counts.append((weights > threshold).sum(1))
    return np.bincount(np.concatenate(counts), minlength=largest + 1)[1:] / (draws * len(counts))


def _dirichlet_mixture(values, largest, seed):
    """The mixture fitted to values [D], centred and scaled."""
    mixture = BayesianGaussianMixture(
        n_components=largest,
        covariance_type="diag",
        weight_concentration_prior_type="dirichlet_process",
        mean_precision_prior=0.01,  # means may lie far apart
        max_iter=500,
        n_init=5,
        random_state=seed,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return mixture.fit((values[:, None] - values.mean()) / max(values.std(), 1e-12))


def _drawn_weights(mixture, draws, rng):
    """Draws of the weights [draws, components]: each stick takes a share of what is left."""
    size = (draws, mixture.n_components)
    taken = rng.beta(*mixture.weight_concentration_, size=size)
    taken[:, -1] = 1
    left = np.cumprod(1 - taken[:, :-1], axis=1)
    left = np.hstack([np.ones((draws, 1)), left])
    return taken * left


def planted_posteriors(samples=20, dim=128, distance=8.0):
    """levels_posterior where the number is known: coordinates from 1, 2, 3 or 4 Gaussians.

    Returns:
        {text: float [largest]}.
    """
    generator = torch.Generator().manual_seed(0)
    posteriors = {}
    for levels in (1, 2, 3, 4):
        centres = distance * (torch.arange(dim) % levels)
        embeddings = torch.randn(samples, dim, generator=generator) + centres
        posteriors[f"planted: {levels}"] = levels_posterior(embeddings)
    return posteriors


def looked_at(profile, extras):
    """The planned runs whose masks notebook 07 looks at, one data set after another."""
    datasets = [name for name in plan.BY_NOTEBOOK if name in (plan.MNIST, *extras)]
    if "claims" in extras:
        datasets.append(plan.THREE)
    plans = plan.planned_runs(profile, extras)
    chosen = [one for one in plans if one.dataset in datasets and one.label in LOOKED_AT]
    return sorted(chosen, key=lambda one: datasets.index(one.dataset))


def with_data(plans):
    """Those of the plans whose data and pretrained net can be had; prints which data sets are left
    out, and why."""
    there = {}
    for one in plans:
        if one.dataset not in there:
            there[one.dataset] = _has_data(one)
    return [one for one in plans if there[one.dataset]]


def _has_data(one):
    try:
        data = load_dataset(one.dataset, one.settings, "train")
        runs.source_of(one.settings).depends_on(data, one.settings, devices.best_device())
    except (FileNotFoundError, ImportError) as error:
        print(f"{one.dataset} left out: {error}")
        return False
    return True
