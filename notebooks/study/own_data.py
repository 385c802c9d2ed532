"""What the notebook on a user's own images needs beside the reader of hmlc_core.data.own."""

import itertools
import math
import os
import socket
import urllib.request
import warnings
from dataclasses import fields, replace
from difflib import get_close_matches
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from tqdm import TqdmWarning

from hmlc_core import METHODS, files, pretrain
from hmlc_core.checks import choose, require
from hmlc_core.data import pretrained
from hmlc_core.data.notes import some
from hmlc_core.runs import level_logits
from hmlc_core.settings import DATA_FIELDS, PRESETS, Settings
from study import evaluation, figures, induced, results, sentences, work
from study.options import LARGE
from study.plan import RAW, UNTOUCHED, Plan

LEARNING_RATE = 1e-2  # of AdamW at LARGE_BATCH; at batches of 16 methods failed with it
LARGE_BATCH = 128
SIDES = {True: 224, False: 64}  # of pictures in pixels: for a pretrained encoder, or from scratch
BUDGET = 300  # seconds that several seeds may take
SEEDS = 3
PASS = 0.04  # seconds of one thread for one view of a picture, tf_efficientnet_lite0
FAR = 0.5  # a failed run has come less than this part of the way of its best peer
INDUCING = "cross_entropy"  # the method whose features an upper level is induced from


def place_for(path, name):
    """The name of files about a folder or table: "own-<name>", with a number behind it if another
    one of that name was there before."""
    here = os.fsencode(Path(path).expanduser().resolve())
    for number in itertools.count(1):
        place = f"own-{name}-{number}" if number > 1 else f"own-{name}"
        note = files.DATA / "own" / f"{place}.txt"
        if not note.exists():
            with files.writing(note) as beside:
                beside.write_bytes(here)
        if note.read_bytes() == here:
            return place


# ---------------------------------------------------------------- how it is trained


def choose_way(name):
    """Whether to start from a pretrained encoder.

    Args:
        name: of a timm model, or "" for a net from scratch.

    Returns:
        The name, or "" where it cannot be had; and a sentence that says which way, and why.

    Raises:
        ValueError: timm has no model of that name, or its weights do not fit.
    """
    if not name:
        return "", "From scratch, as you asked: each method trains a whole net on your pictures."
    try:
        _stay_offline_without_a_network()
        with warnings.catch_warnings(category=TqdmWarning, action="ignore"):
            pretrained.build(name)
    except ImportError as error:
        return "", f"From scratch, because {error}; a pretrained encoder is usually far better."
    except FileNotFoundError:
        return "", (
            f"From scratch, because the weights of {name} could not be downloaded, and there is no "
            f"{name}.safetensors in {files.DATA / 'weights'} or $HMLC_DATA/weights; a pretrained "
            "encoder is usually far better."
        )
    return name, (
        f"The pretrained way, because the weights of {name} are there: its frozen features are "
        "computed once, and each method trains a small adapter on them."
    )


def _stay_offline_without_a_network(seconds=3):
    """Let timm look into its cache only, where the server of its weights cannot be reached: it
    would try for a minute."""
    address = urllib.request.urlparse(os.environ.get("HF_ENDPOINT") or "https://huggingface.co")
    if urllib.request.getproxies():
        return
    try:
        socket.create_connection((address.hostname, address.port or 443), seconds).close()
    except OSError:
        os.environ.setdefault("HF_HUB_OFFLINE", "1")


def own_settings(samples, side, profile="cpu", pretrained="", /, **changes):
    """Settings for images of a user's own: batch and epochs by their number.

    Small sets get more epochs, so that 60 images are trained for a minute and 60,000 for some on
    two CPU cores. The learning rate falls with the root of the batch size, as for AdamW (Malladi
    et al. 2022).

    Args:
        samples: number of training images.
        side: of an image, in pixels.
        profile: whose ModelNet settings are the start of a net from scratch; with "gpu" or
            "paper" that is a larger one.
        pretrained: name of a timm model to adapt; the start is then the grocery data set's.
        changes: any field of Settings that the data leave open; None leaves it as it is.

    Raises:
        ValueError: for an unknown profile or field, one that the data decide, or no image.
    """
    of_profile = choose("profile", profile, PRESETS)
    require(samples > 0, "there is no image to train on: look at what was left out, and why")
    known = [field.name for field in fields(Settings)]
    for name in changes:
        close = get_close_matches(name, known) or known
        require(name in known, f"Settings has no {name!r}: did you mean {', '.join(close)}?")
        given = f"changes cannot set {name!r}: your data, `size` and `pretrained` decide that"
        require(name not in ("pretrained", *DATA_FIELDS), given)
    base = PRESETS["cpu"]["grocery"] if pretrained else of_profile["modelnet"]
    parts, seen = (2, 600_000) if pretrained else (4, 60_000)
    batch_size = 2 ** int(math.log2(max(samples // parts, 1)))  # so many batches an epoch, or more
    batch_size = min(base.batch_size, max(8, batch_size))
    chosen = {
        "canvas": side,
        "train_size": samples,
        "batch_size": batch_size,
        "epochs": min(max(seen // samples, 3), 60),
        "optimizer": "adamw",
        "learning_rate": LEARNING_RATE * min(batch_size / LARGE_BATCH, 1) ** 0.5,
        "pretrained": pretrained,
    }
    if profile in LARGE and not pretrained:
        chosen["encoder"] = "resnet18"  # from scratch: no download
    return replace(base, **chosen | {k: v for k, v in changes.items() if v is not None})


def seconds_of_a_seed(settings, methods):
    """A first guess at the training time of one seed of all methods."""
    return sum(work.seconds_of(Plan("own", one, settings, 0, str(one))) for one in methods)


def say_guess(settings, methods, tested):
    """What the training will take, in a sentence, before anything is measured."""
    one = seconds_of_a_seed(settings, methods)
    passes = (settings.stored_views + 1) * settings.train_size + tested
    first = passes * PASS / torch.get_num_threads() if settings.pretrained else 0
    features = f"the features of the pictures {work.clock(first)}, once; " * bool(first)
    return (
        f"A rough guess of what training takes: {features}one seed of {len(methods)} methods "
        f"{work.clock(one)}, {SEEDS} seeds {work.clock(SEEDS * one)}. What is kept is only loaded."
    )


def seeds_to_train(asked, runs):
    """Yield the seeds: those asked for; if None, one, and two more if that took little.

    Args:
        runs: a dict whose values are the runs trained so far.
    """
    if asked is not None:
        yield from asked
        return
    yield 0
    seconds = SEEDS * sum(run.seconds for run in runs.values())
    if seconds > BUDGET:
        print(
            f"One seed only, so no intervals: {SEEDS} would train for {work.clock(seconds)}, "
            f"measured on the first. seeds = {list(range(SEEDS))} does so."
        )
        return
    print(f"{SEEDS} seeds, in {work.clock(seconds)} of training, measured on the first", flush=True)
    yield from range(1, SEEDS)


def train_all(train, test, methods, settings, seeds=None):
    """Train and test all methods, seed by seed; the pretrained way also RAW, whose layer alone is
    trained. What was trained before is only loaded.

    Returns:
        {(method, seed): Run}; rows of results; {(method, seed): why it failed}.

    Raises:
        ValueError: no method, an unknown one, or no run came to its end.
    """
    for name, given, example in (("methods", methods, ["split"]), ("seeds", seeds, [0, 1])):
        is_list = given is None or (hasattr(given, "__iter__") and not isinstance(given, str))
        require(is_list, f"{name} must be a list such as {example}, not {given!r}")
    if not methods:
        raise ValueError("methods is empty: name at least one key of hmlc_core.METHODS")
    for method in methods:
        choose("method", method, METHODS, ", or put one of your own into METHODS")
    runs, rows, broken = {}, [], {}
    for seed in seeds_to_train(seeds, runs):
        for method in methods:
            try:
                run = runs[method, seed] = pretrain(train, method, settings, seed)
            except FloatingPointError as error:
                broken[method, seed] = f"{_title(method, seed)}: {error}"
                continue
            rows += evaluation.evaluate(run, test)
            print(f"{_title(method, seed)}: {run.seconds:.0f} s", flush=True)
    if not runs:
        raise ValueError(f"no run came to its end: {next(iter(broken.values()), 'no seed')}")
    if settings.pretrained:
        runs[RAW, 0] = untouched(train, settings)
        rows = evaluation.evaluate(runs[RAW, 0], test) + rows
    return runs, rows, broken | failed_runs(runs, rows)


def untouched(train, settings):
    """A run whose features are the pretrained ones as they are."""
    return pretrain(train, "cross_entropy", replace(settings, **UNTOUCHED), label=RAW)


def _title(method, seed):
    return f"{figures.method_name(method)} seed {seed}"


def failed_runs(runs, rows):
    """{(method, seed): sentence} of runs that ended far above their peers.

    Peers are runs with the same loss on the same data, of any method and seed. From the median loss
    of the first epoch, a failed run has come less than half of the way of the best one; and, since
    hard masks keep a loss high, at some level it is right less than half as often as the best run.
    """
    families, failed, rarely_right = {}, {}, _rarely_right(rows)
    for key, run in runs.items():
        if key[0] != RAW and len(run.history) > 1:
            families.setdefault(METHODS[run.method].loss, {})[key] = run
    for peers in families.values():
        start = np.median([run.history[0]["loss"] for run in peers.values()])
        ends = {key: run.history[-1]["loss"] for key, run in peers.items()}
        best = min(ends.values())
        learned = start - best > 0.05 * abs(start)
        far = [key for key, end in ends.items() if learned and end - best > FAR * (start - best)]
        far = [key for key in far if key in rarely_right]
        failed |= {key: _advice(key, ends[key], best, peers[key].settings) for key in far}
    return failed


def _rarely_right(rows):
    """(method, seed) of runs that at some level are right less than half as often as the best."""
    linear = pd.DataFrame([row for row in rows if row["metric"] == "linear_accuracy"])
    table = linear.pivot_table(index=["method", "seed"], columns="level", values="value")
    return set(table.index[(table < FAR * table.max()).any(axis=1)])


def _advice(key, end, best, settings):
    return (
        f"{_title(*key)} failed: its loss ended at {end:.2f}, the best run of the same loss at "
        f"{best:.2f}. Its numbers say nothing about the method. Try a lower learning rate, "
        f'changes = {{"learning_rate": {settings.learning_rate / 3:.1g}}}, or another seed.'
    )


# ---------------------------------------------------------------- what came out


def best_method(rows, levels, among=None):
    """The method with the highest mean linear accuracy at the finest level that was tested, of
    `among` if given; None if none was."""
    for level in reversed(levels):
        means = _accuracies(rows, level).mean()
        means = means if among is None else means[[name for name in means.index if name in among]]
        if len(means):
            return means.idxmax()
    return None


def verdicts(rows, train, test):
    """What came out, in words: the best of all at the finest level; then for each level which
    method is best, by how much, and what that is worth."""
    shares = dict(zip(test.level_names, guesses(train, test)))
    texts = [_headline(rows, test.level_names)] if best_method(rows, test.level_names) else []
    for level, column in zip(test.level_names, test.labels.T):
        frame = _accuracies(rows, level)
        if len(frame):
            texts.append(_verdict(level, frame, shares[level], (column >= 0).sum()))
    return texts


def _headline(rows, levels):
    finest = [level for level in levels if len(_accuracies(rows, level))][-1]
    frame = _accuracies(rows, finest)
    means = frame.mean()
    alike = np.isclose(means, means.max())
    best, others = means.index[alike], means.index[~alike]
    right = f"right for {100 * means.max():.0f} % of the test pictures"
    text = f"In short, best at {finest}: {', '.join(map(figures.method_name, best))}, {right}"
    near = [name for name in others if not all(v > h > 0 for v, h in _over(frame, best, name))]
    if near:
        names = sentences.listed(map(figures.method_name, near))
        text += f"; over the seeds not decidedly better than {names}"
    return f"{text}."


def _accuracies(rows, level):
    """Linear accuracy at a level, index = seeds, columns = methods in their order; the one run of
    untouched features for every seed."""
    rows = [r for r in rows if r["metric"] == "linear_accuracy" and r["level"] == level]
    if not rows:
        return pd.DataFrame()
    table = pd.DataFrame(rows).pivot_table(index="seed", columns="method", values="value")
    if RAW in table:
        table[RAW] = table[RAW].mean()
    return table[methods_of(rows)]


def _verdict(level, frame, guess, tested):
    trained = frame.drop(columns=RAW, errors="ignore")
    means = trained.mean().sort_values(ascending=False, kind="stable")
    alike = np.isclose(means, means.iloc[0])
    best, others = means.index[alike], means.index[~alike]
    share, half = results.mean_and_interval(trained[best[0]].dropna())
    parts = [f"{level}: of what was trained, {_are_best(best, share, half)}"]
    parts[0] += f"; guessing the largest class gives {results.percent(guess)} %."
    if share <= guess:
        parts.append("So nothing has been learned of this level.")
    gains = _gains(frame, best, others)
    parts += [f"{who} {_worths(best, values)}." for who, values in gains.items()]
    draw = 1.96 * math.sqrt(max(share * (1 - share), 0.01) / tested)
    small = gains and all(abs(value) < draw for values in gains.values() for value, _ in values)
    parts.append(
        f"Another {tested} test pictures would move each number by up to about {100 * draw:.0f} "
        f"points{', more than these differences' if small else ''}; the intervals are of the "
        "seeds alone."
    )
    return " ".join(parts)


def _worths(best, gains):
    """ "it is above (+1.0 ± 0.5)"; of several that differ, each by its name."""
    said = [_worth(*gain) for gain in gains]
    if len(set(said)) == 1:
        return f"{'they are' if len(best) > 1 else 'it is'} {said[0]}"
    return sentences.listed(
        f"{figures.method_name(name)} is {one}" for name, one in zip(best, said)
    )


def _worth(value, half_width):
    """A verdict, but of a difference that every seed has alike, which has no interval."""
    if not np.isclose(half_width, 0):
        return results.verdict(value, half_width)
    alike = "the same" if np.isclose(value, 0) else results.percent(value, signed=True)
    return f"{alike} in every seed"


def _gains(frame, best, others):
    """{first words of a sentence: [(difference, half width) of each of the best methods]}, against
    the untouched features and the best of the others, where there are such."""
    gains = {}
    if RAW in frame:
        raw = results.percent(frame[RAW].iloc[0])
        who = f"The untouched features (raw) have {raw} %; against them"
        gains[who] = _over(frame, best, RAW)
    if len(others):
        who = f"Against the next, {figures.method_name(others[0])},"
        gains[who] = _over(frame, best, others[0])
    return gains


def _over(frame, best, other):
    """(Difference, half width) of each of the best methods to another, over common seeds."""
    return [results.mean_and_interval((frame[one] - frame[other]).dropna()) for one in best]


def _are_best(methods, share, half):
    """ "split is best with 81.0 ± 2.5 %"; where several have the same mean, all of them."""
    names = sentences.listed(map(figures.method_name, methods))
    if len(methods) > 1:
        return f"{names} are best with {results.percent(share)} %"
    return f"{names} is best with {results.percent(share, half)} %"


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


def finest_classes(run, test):
    """Classes int [N] of the finest level that a run's linear layer gives test pictures."""
    return level_logits(run, test)[-1].argmax(1).numpy()


def confusions(labels, predicted, most=3):
    """Pairs of classes most often taken for each other, [(a, b, times)]; labels of -1 left out."""
    known = labels >= 0
    pairs = np.sort(np.stack([labels[known], predicted[known]], 1), 1)
    pairs, times = np.unique(pairs[pairs[:, 0] != pairs[:, 1]], axis=0, return_counts=True)
    order = np.argsort(-times, kind="stable")[:most]
    return [(*pairs[k].tolist(), int(times[k])) for k in order]


def some_of(dataset, values, most):
    """At most so many samples spread over a data set, a data set, and what belongs to them."""
    spread = np.linspace(0, len(dataset) - 1, min(len(dataset), most)).astype(int)
    chosen = replace(dataset, images=dataset.images[spread], labels=dataset.labels[spread])
    return chosen, values[spread]


# ---------------------------------------------------------------- an upper level that is induced


def with_induced_level(train, test, settings, groups):
    """Train and test with a level of so many groups above a flat one, induced from the pretrained
    features, or from a net trained with cross-entropy on the flat labels.

    Raises:
        ValueError: labels that are not flat, or a number of groups that makes no level.
    """
    if len(train.level_names) > 1:
        raise ValueError(f"there is a hierarchy already: {train.level_names}; set groups = 0")
    lost = set(range(train.class_counts[0])) - set(train.labels[:, 0].tolist())
    names = some([train.class_names[0][k] for k in sorted(lost)])
    about = f"train has no two pictures of {names}, so nothing says which group that belongs to"
    require(not lost, f"{about}: add pictures, or set groups = 0")
    run = untouched(train, settings) if settings.pretrained else pretrain(train, INDUCING, settings)
    group, _ = _induce(run, train, groups)
    return induced.with_level(train, group), induced.with_level(test, group)


def alike(run, most=60):
    """How alike the classes of the finest level are to a run, or why that cannot be drawn.

    Returns:
        scipy's linkage matrix, the classes' groups [C] (as many as the level above has classes, or
        the root of the number of classes), and a sentence; None, None and the reason instead.
    """
    data = run.dataset
    count = data.class_counts[-1]
    seen = len(set(data.labels[:, -1].tolist()) - {-1})
    if not 3 <= count <= most or seen < count:
        return None, None, f"{count} classes, {seen} of them with pictures: no dendrogram is drawn."
    above = data.class_counts[-2] if len(data.level_names) > 1 else 0
    groups = above if 2 <= above < count else max(round(count**0.5), 2)
    group, tree = _induce(run, data, groups)
    names = _short(data.class_names[-1])
    members = [[n for n, g in zip(names, group) if g == k] for k in range(max(group) + 1)]
    lines = [f"* {', '.join(one)}" for one in members if len(one) > 1]
    said = "\n".join([f"Cut into {len(members)} groups; those of several classes:", *lines, ""])
    given = above and data.level_names[-2] != induced.LEVEL
    return tree, group, said + (_agreement(data, group) if given else "")


def _short(names):
    """The last parts of paths, longer where two would be the same."""
    ends = [name.rsplit("/", 1)[-1] for name in names]
    return [end if ends.count(end) == 1 else name for name, end in zip(names, ends)]


def _induce(run, train, groups):
    labels = torch.from_numpy(train.labels[:, -1])
    return induced.induce(run.features(train), labels, train.class_counts[-1], groups)


def _agreement(data, group):
    """How well groups fit the level above, where each class has one parent."""
    known = data.labels[(data.labels[:, -2:] >= 0).all(1), -2:]
    parents = dict(known[:, ::-1].tolist())
    common = sorted(parents)
    value = induced.agreement(group[common], [parents[k] for k in common])
    return f" Agreement with your level '{data.level_names[-2]}': {value:.2f} (1 same, 0 chance)."


# ---------------------------------------------------------------- numbers


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
