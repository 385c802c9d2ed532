"""Data sets and readers; they know no method."""

import os
import sys
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path

from joblib import Parallel, delayed
from tqdm import tqdm

from hmlc_core import files
from hmlc_core.checks import require


def bar(*given, **more):
    """A tqdm bar on stdout, gone when done; where that is no terminal, a step each ten
    seconds, because a log and a notebook keep every one."""
    pace = {} if sys.stdout.isatty() else {"mininterval": 10}
    return tqdm(*given, **dict(file=sys.stdout, leave=False, delay=1) | pace | more)


def each(work, items, title, threads=False):
    """work(item) of each item, in their order, on all cores, with a bar.

    Args:
        threads: whether threads are enough (Pillow lets others work), or else processes.
    """
    prefer = "threads" if threads else "processes"
    jobs = (delayed(work)(item) for item in items)
    done = Parallel(n_jobs=-1, return_as="generator", prefer=prefer)(jobs)
    return bar(done, title, len(items))


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


def data_folders():
    """Folders searched for data sets, in order: $HMLC_DATA (if set), then data/.

    Raises:
        ValueError: if $HMLC_DATA is no folder.
    """
    user = os.environ.get("HMLC_DATA")
    if not user:
        return [files.DATA]
    folder = Path(os.path.expanduser(user))
    require(folder.is_dir(), f"$HMLC_DATA is {user}, which is no folder: correct it, or unset it")
    return [folder, files.DATA]


def stamp(paths):
    """Names, sizes and times of files, as a hash: another one once a file was replaced.

    Also by one of the same size and age: st_ctime tells when it was put there.
    """
    digest = blake2b(digest_size=8)
    for path in sorted(map(Path, paths)):
        status = path.stat()
        about = path.name, status.st_size, status.st_mtime_ns, status.st_ctime_ns
        digest.update(f"{about}\n".encode())
    return digest.hexdigest()
