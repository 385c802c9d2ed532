"""Data sets and readers; they know no method."""

import sys
from contextlib import contextmanager

from joblib import Parallel, delayed
from tqdm import tqdm


def each(work, items, title, threads=False):
    """work(item) of each item, in their order, on all cores, with a bar.

    Args:
        threads: whether threads are enough (Pillow lets others work), or else processes.
    """
    prefer = "threads" if threads else "processes"
    jobs = (delayed(work)(item) for item in items)
    done = Parallel(n_jobs=-1, return_as="generator", prefer=prefer)(jobs)
    return tqdm(done, title, len(items), file=sys.stdout, leave=False, delay=1)


@contextmanager
def needs(extra):
    """Inside, a package that is not installed is an error that says how to install it."""
    try:
        yield
    except ImportError as error:
        raise ImportError(
            f"{error.name} is not installed; it comes with pip install '.[{extra}]'",
            name=error.name,
        ) from error
