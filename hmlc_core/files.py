"""Where the code lies, where the work lies, and how files get there whole."""

import ast
import io
import os
import subprocess
import tokenize
from contextlib import contextmanager, suppress
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path
from uuid import uuid4

CODE = Path(__file__).resolve().parents[1]  # this checkout
WORK = Path(os.environ.get("HMLC_ROOT") or CODE).expanduser().resolve()  # what runs write
DATA = WORK / "data"
FIGURES = WORK / "figures"


@contextmanager
def writing(path):
    """Yield a path beside `path`; rename it to `path` once the block ends without an error.

    A full disk, a missing permission, a kill or a power cut leaves what was at `path` untouched.

    Raises:
        OSError: if it cannot be written, with the reason and what to do.
    """
    path = Path(path)
    beside = path.with_name(f".{uuid4().hex}{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield beside
        with open(beside, "rb+") as file:
            os.fsync(file.fileno())  # some disks say only now that they are full
        os.replace(beside, path)
    except (OSError, RuntimeError) as error:
        of_writer = "PytorchStreamWriter" in str(error) or "inline_container" in str(error)
        if isinstance(error, RuntimeError) and not of_writer:
            raise  # of torch's errors only those of its writer are of the disk
        told = f"cannot write {path}: {getattr(error, 'strerror', None) or error}"
        advice = f"Free some space or allow writing to {path.parent}, then run again"
        raise OSError(f"{told}. {advice}: what is already saved is kept") from error
    finally:
        with suppress(OSError):  # it is not there if all went well
            beside.unlink()


def code_hash(*sources):
    """A hash of what Python files say, without comments, docstrings and empty lines.

    It is of the text, not of a syntax tree, so every Python version gives the same.

    Args:
        sources: paths, or modules.
    """
    texts = (Path(getattr(source, "__file__", source)).read_text() for source in sources)
    return blake2b("".join(map(plain_code, texts)).encode(), digest_size=6).hexdigest()


@lru_cache
def plain_code(text):
    """Python source without comments, docstrings, empty lines and blanks at line ends."""
    documented = ast.Module | ast.ClassDef | ast.FunctionDef
    nodes = [node for node in ast.walk(ast.parse(text)) if isinstance(node, documented)]
    said = [node.body[0] for node in nodes if ast.get_docstring(node) is not None]
    starts = {(docstring.lineno, docstring.col_offset) for docstring in said}
    lines = text.splitlines()
    for token in reversed([*tokenize.generate_tokens(io.StringIO(text).readline)]):
        (row, start), (last, end) = token.start, token.end
        if token.type == tokenize.COMMENT or token.start in starts:
            lines[row - 1 : last] = [lines[row - 1][:start] + lines[last - 1][end:]]
    return "\n".join(line.rstrip() for line in lines if line.strip())


@lru_cache
def commit():
    """Short hash of the code's commit, "+" behind it if code has changed since; outside git what
    $HMLC_COMMIT says, else "unknown".

    As it was when first asked, which is nearer to the code that runs than a later answer.
    """
    changed = git("status", "--porcelain", "-uno", "--", "hmlc_core", "notebooks")
    head = git("rev-parse", "--short=10", "HEAD")
    return f"{head}+" if head and changed else head or os.environ.get("HMLC_COMMIT", "unknown")


def git(*words):
    """What git says of this checkout; "" outside git."""
    command = ["git", "-C", str(CODE), *words]
    with suppress(OSError, subprocess.CalledProcessError):
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    return ""
