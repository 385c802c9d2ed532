"""What the notebook on a user's own images needs beside the reader of hmlc_core.data.own."""

import math
from dataclasses import replace

import numpy as np
import pandas as pd

from hmlc_core.settings import PRESETS
from study import figures, results

LEARNING_RATE = 1e-2  # of AdamW at LARGE_BATCH; at batches of 16 methods failed with it
LARGE_BATCH = 128


def own_settings(samples, side, profile="cpu", **changes):
    """Settings for images of a user's own: batch and epochs by their number.

    Small sets get more epochs, so that 60 images are trained for a minute and 60,000 for some on
    two CPU cores. The learning rate falls with the root of the batch size, as for AdamW (Malladi
    et al. 2022).

    Args:
        samples: number of training images.
        side: of an image, in pixels.
        profile: whose ModelNet settings are the start; "gpu" has a larger net.
        changes: any field of Settings.

    Raises:
        ValueError: for an unknown profile.
    """
    if profile not in PRESETS:
        raise ValueError(f"unknown profile {profile!r}: choose from {', '.join(PRESETS)}")
    base = PRESETS[profile]["modelnet"]
    quarter = 2 ** int(math.log2(max(samples // 4, 1)))  # at least four batches an epoch
    batch_size = min(base.batch_size, max(8, quarter))
    chosen = {
        "canvas": side,
        "train_size": samples,
        "encoder": "resnet18" if profile == "gpu" else base.encoder,  # from scratch: no download
        "batch_size": batch_size,
        "epochs": min(max(60_000 // samples, 3), 60),
        "optimizer": "adamw",
        "learning_rate": LEARNING_RATE * min(batch_size / LARGE_BATCH, 1) ** 0.5,
    }
    return replace(base, **chosen | changes)


def accuracy_table(rows, train, test):
    """Linear accuracy in %, a row per method and a column per level, with intervals over seeds.

    The last row, "largest class", is what guessing the class most frequent in training gives.

    Args:
        rows: of results; train, test: the data sets they belong to.

    Returns:
        Data frame of texts, index = names of methods.
    """
    summary = results.summary(pd.DataFrame(rows))
    linear = summary[summary.metric == "linear_accuracy"]
    texts = {
        (row.method, row.level): results.percent(row.mean, row.half_width)
        for row in linear.itertuples(index=False)
    }
    table = {}
    for level, guess in zip(test.level_names, guesses(train, test)):
        column = {figures.method_name(m): texts.get((m, level), "–") for m in methods_of(rows)}
        table[level] = column | {"largest class": results.percent(guess)}
    return pd.DataFrame(table)


def methods_of(rows):
    """Different method names of rows, in their order."""
    return list(dict.fromkeys(row["method"] for row in rows))


def guesses(train, test):
    """Share of known test labels of the class most frequent in training, for each level; NaN where
    a level has no known label in one of them."""
    shares = []
    for seen, tested in zip(train.labels.T, test.labels.T):
        seen, tested = seen[seen >= 0], tested[tested >= 0]
        known = len(seen) and len(tested)
        shares.append((tested == np.bincount(seen).argmax()).mean() if known else np.nan)
    return shares
