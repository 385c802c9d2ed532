"""Maps of embeddings in the plane: t-SNE of runs, and what is written under them."""

from dataclasses import replace

import numpy as np
import openTSNE
from threadpoolctl import threadpool_limits
from torch.nn.functional import normalize

from hmlc_core import files
from hmlc_core.checks import require
from hmlc_core.data.dataset import sample

LEAST = 10  # samples that make a map


def tsne(vectors, start=None):
    """openTSNE map [N, 2] of vectors float [N, D]: cosine distance, perplexity 30 (less for fewer
    than 91 of them), fixed seed; it starts from another map [N, 2], or from PCA.

    Raises:
        ValueError: for fewer than LEAST vectors.
    """
    count = len(vectors)
    require(count >= LEAST, f"a map needs at least {LEAST} samples, not {count}")
    settings = {"perplexity": min(30, (count - 1) / 3), "metric": "cosine", "random_state": 0}
    unit = normalize(vectors, dim=1).numpy()
    with threadpool_limits(1):  # a map follows rounding, and rounding the number of threads
        start = "pca" if start is None else openTSNE.initialization.rescale(start)
        return np.asarray(openTSNE.TSNE(initialization=start, **settings).fit(unit))


def shown(dataset, size):
    """At most `size` samples of a data set, a data set; with all labels if those make a map."""
    complete = np.flatnonzero((dataset.labels >= 0).all(1))
    candidates = complete if len(complete) >= LEAST else np.arange(len(dataset))
    chosen = candidates[sample(len(candidates), size)]
    return replace(dataset, images=dataset.images[chosen], labels=dataset.labels[chosen])


def map_of(run, dataset):
    """t-SNE map [N, 2] of a run's embeddings of a data set, made once and kept in its folder.

    Args:
        run: runs.Run.
        dataset: HierarchicalDataset of the N samples to show; row i is the point of its sample i.
    """
    code = files.code_hash(__file__)
    path = run.folder / f"tsne-{dataset.fingerprint}-{openTSNE.__version__}-{code}.npy"
    if not path.exists():
        points = tsne(run.embeddings(dataset))
        with files.writing(path) as beside:
            np.save(beside, points)
    return np.load(path)


def captions(run, rows):
    """What was measured on the embedding itself, to stand under the panels of a run's map.

    Args:
        rows: of results, with "embedding_knn_accuracy" and "silhouette" of the run.

    Returns:
        {(run.label, level name): text}; a number that was not measured is left out.
    """
    values = {
        (row["level"], row["metric"]): row["value"] for row in rows if row["method"] == run.label
    }
    texts = {}
    for level in run.dataset.level_names:
        parts = []
        if (level, "embedding_knn_accuracy") in values:
            parts.append(f"k-NN {100 * values[level, 'embedding_knn_accuracy']:.0f} %")
        if (level, "silhouette") in values:
            parts.append(f"silhouette {values[level, 'silhouette']:.2f}")
        texts[run.label, level] = ", ".join(parts)
    return texts
