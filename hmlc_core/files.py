"""Where things lie on disk, and how they get there whole."""
import ast
import os
import tempfile
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path

ROOT = Path(os.environ.get("HMLC_ROOT", Path(__file__).resolve().parents[1]))
DATA = ROOT / "data"
FIGURES = ROOT / "figures"


def data_folders():
    """Folders searched for data sets, in order: $HMLC_DATA (if set), then data/."""
    user = os.environ.get("HMLC_DATA")
    return ([Path(user)] if user else []) + [DATA]


@contextmanager
def writing(path):
    """Yield a path beside `path`; rename it to `path` once the block ends without an error.

    A full disk, a missing permission or a kill leaves what was at `path` untouched.

    Raises:
        OSError: with the reason, and what to do.
    """
    path = Path(path)
    beside = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=".", suffix=path.suffix, dir=path.parent)
        os.close(handle)
        beside = Path(name)
        yield beside
        beside.chmod(0o666 & ~_umask())
        os.replace(beside, path)
    except (OSError, RuntimeError) as error:  # torch.save reports a full disk as RuntimeError
        raise OSError(f"cannot write {path}: {getattr(error, 'strerror', None) or error}. Free some space or allow writing to "
                      f"{path.parent}, then run again: what is already saved is kept") from error
    finally:
        if beside is not None:
            beside.unlink(missing_ok=True)


def _umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


def code_hash(*modules):
    """A hash of what these modules do (their code without comments, docstrings and layout)."""
    digest = blake2b(digest_size=6)
    for module in modules:
        tree = ast.parse(Path(getattr(module, "__file__", module)).read_text())
        for node in ast.walk(tree):
            if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(node) is not None:
                node.body = node.body[1:]
        digest.update(ast.dump(tree).encode())
    return digest.hexdigest()
