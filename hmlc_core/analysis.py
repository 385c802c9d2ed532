"""What masks pick, what the parts they cut out know, and how many levels the embedding itself suggests."""
import warnings

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import BayesianGaussianMixture

from hmlc_core import augment, datasets, evaluation, files, results
from hmlc_core.checks import require, require_embeddings
from hmlc_core.evaluation import accuracy, linear_logits


def strongest_level(masks):
    """The level whose mask is largest, for each coordinate of each sample: [L, B, D] -> int64 [B, D]."""
    return masks.argmax(0)


def mask_agreement(a, b):
    """Cohen's kappa of the strongest levels of two masks [L, B, D], mean over the B pairs: 1 = the same, 0 = as by chance given how many
    coordinates each level has in each. A pair whose coordinates are all in one level says 1 or is left out."""
    a, b = (F.one_hot(strongest_level(masks), len(masks)).double() for masks in (a, b))     # [B, D, L]
    same = (a * b).sum(2).mean(1)
    chance = (a.mean(1) * b.mean(1)).sum(1)
    return float(torch.where(chance < 1, (same - chance) / (1 - chance), torch.where(same == 1, 1.0, torch.nan)).nanmean())


def agreement_of_pairs(masks, labels, pairs=20_000, seed=0):
    """Agreement of the masks of two different samples: of the same class of one level alone, of both, of none.

    Args:
        masks: [L, B, D]; labels: int64 [B, 2]; samples with an unknown label are left out.

    Returns:
        dict: "neither", "level 1 only", "level 2 only", "both" -> mean kappa over the random pairs of that kind.
    """
    a, b = torch.randint(len(labels), (2, pairs), generator=torch.Generator().manual_seed(seed))
    told = (a != b) & (labels[a] >= 0).all(1) & (labels[b] >= 0).all(1)
    a, b = a[told], b[told]
    kind = (labels[a] == labels[b]).long() @ torch.tensor([1, 2])
    names = ("neither", "level 1 only", "level 2 only", "both")
    return {name: mask_agreement(masks[:, a[kind == k]], masks[:, b[kind == k]]) for k, name in enumerate(names) if (kind == k).any()}


@torch.no_grad()
def view_agreement(run, split="test", images=500):
    """Mean kappa of the masks of two random views of the same image."""
    pictures = run.data(split).images
    pictures = torch.from_numpy(pictures[datasets.sample(len(pictures), images)]).to(run.device)
    views = augment.two_views(pictures, run.profile.augmentation, torch.Generator(run.device).manual_seed(0)).transpose(0, 1)
    embeddings = [run.model.head(run.encoder(view.contiguous(memory_format=torch.channels_last))).float() for view in views]
    return mask_agreement(*(run.model.objective.level_masks(z) for z in embeddings))


def usable_information(train, train_labels, test, test_labels, classes):
    """Bits that a linear classifier of the features tells about the label: entropy of the labels minus its cross-entropy on the
    test samples (V-information, Xu et al. 2020). A lower bound of the mutual information, up to sampling; about 0 where the
    classifier knows nothing. The classifier is fitted on nine tenths of the training samples, and its logits are scaled by what suits the rest:
    without that, many small classes make it too sure of itself.

    Args:
        train: float [N, F], train_labels int64 [N]; test: float [M, F], test_labels int64 [M]; -1 left out.

    Returns:
        bits, accuracy.
    """
    known = test_labels >= 0
    held = torch.zeros(len(train), dtype=torch.bool)
    held[datasets.sample(len(train), len(train) // 10)] = True
    logits = linear_logits(train[~held], train_labels[~held], torch.cat([train[held], test[known]]), classes)
    logits, y = logits.split([int(held.sum()), int(known.sum())]), test_labels[known]
    entropy = torch.special.entr(torch.bincount(y, minlength=classes) / len(y)).sum()
    return float((entropy - F.cross_entropy(_best_scale(logits[0], train_labels[held]) * logits[1], y)) / np.log(2)), accuracy(logits[1].argmax(1), y)


def _best_scale(logits, labels):
    """Of 0 and 60 numbers between 0.01 and 2, the factor of the logits with the least cross-entropy; labels of -1 left out."""
    scales = F.pad(torch.logspace(-2, np.log10(2), 60), (1, 0))
    return scales[torch.stack([F.cross_entropy(scale * logits, labels, ignore_index=-1) for scale in scales]).argmin()]


def part_information(run, split="test"):
    """What each masked part of the embedding, as its loss sees it (normalised z * M_h), tells about each level's labels.

    Args:
        run: training.Run of a method with masks.

    Returns:
        list of dicts: part (level of the mask, by name), level (of the labels, by name), bits, accuracy.
    """
    train, test = run.data("train"), run.data(split)
    require(run.level_masks(split) is not None, f"{run.method} has no masks")
    rows = []
    for name, *parts in zip(train.level_names, _parts(run, "train"), _parts(run, split)):
        for level, labels in enumerate(train.level_names):
            y_train, y_test = (torch.from_numpy(data.labels[:, level]) for data in (train, test))
            bits, right = usable_information(parts[0], y_train, parts[1], y_test, train.class_counts[level])
            rows.append({"part": name, "level": labels, "bits": bits, "accuracy": right})
    return rows


def _parts(run, split):
    return F.normalize(run.embeddings(split) * run.level_masks(split), dim=-1)


def analyse(run, split="test", samples=20):
    """All rows of a run that this module knows, computed once and kept in the run's folder: "levels_posterior_1" and so on, of `samples`
    embeddings; with masks also "bits_of_part_<level>" (see part_information), "mask_agreement_views" and, with two levels,
    "mask_agreement_<neither, both, ...>"."""
    def rows():
        some = run.embeddings(split)[datasets.sample(len(run.data(split)), samples)]
        found = {f"levels_posterior_{k}": p for k, p in enumerate(levels_posterior(some), 1)}
        masks = run.level_masks(split)
        if masks is not None and (masks != masks[:1]).any():
            found["mask_agreement_views"] = view_agreement(run, split)
            pairs = agreement_of_pairs(masks, torch.from_numpy(run.data(split).labels)) if len(masks) == 2 else {}
            found |= {f"mask_agreement_{kind}": value for kind, value in pairs.items()}
        parts = part_information(run, split) if masks is not None else []
        return ([results.row(run, "all", name, value) for name, value in found.items()]
                + [results.row(run, part["level"], f"bits_of_part_{part['part']}", part["bits"]) for part in parts])
    code = files.code_hash(__file__, evaluation)
    return results.kept(run, f"analysis-{run.data(split).fingerprint}-{code}.csv", rows)


def levels_posterior(embeddings, largest=6, draws=20, threshold=0.05, seed=0):
    """How many levels a Dirichlet-process mixture finds in each embedding, as G-HMLC would fit it (the paper's future work).

    scikit-learn's BayesianGaussianMixture on the D values of each embedding; from its posterior over stick-breaking weights,
    components are counted that hold more than `threshold` of the coordinates.

    Args:
        embeddings: [B, D]; largest: most components allowed; draws: draws of the weights for each embedding.

    Returns:
        float [largest]: posterior probability of 1, 2, ... components, averaged over the embeddings.
    """
    require_embeddings(embeddings)
    rng, counts = np.random.default_rng(seed), []
    for values in embeddings.double().cpu().numpy():
        mixture = BayesianGaussianMixture(n_components=largest, covariance_type="diag", weight_concentration_prior_type="dirichlet_process",
                                          max_iter=500, n_init=5, mean_precision_prior=0.01, random_state=seed)     # means may lie far apart
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            mixture.fit((values[:, None] - values.mean()) / max(values.std(), 1e-12))
        sticks = rng.beta(*mixture.weight_concentration_, size=(draws, largest))
        sticks[:, -1] = 1
        weights = sticks * np.cumprod(np.pad(1 - sticks[:, :-1], ((0, 0), (1, 0)), constant_values=1), 1)
        counts.append((weights > threshold).sum(1))
    return np.bincount(np.concatenate(counts), minlength=largest + 1)[1:] / (draws * len(embeddings))
