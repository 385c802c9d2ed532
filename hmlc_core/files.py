"""Where the code lies, where the work lies, and how files get there whole."""

import ast
import io
import os
import subprocess
import tempfile
import tokenize
from contextlib import contextmanager
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path

CODE = Path(__file__).resolve().parents[1]  # this checkout
WORK = Path(os.environ.get("HMLC_ROOT", CODE)).expanduser().resolve()  # what runs write
DATA = WORK / "data"
FIGURES = WORK / "figures"


def data_folders():
    """Folders searched for data sets, in order: $HMLC_DATA (if set), then data/."""
    user = os.environ.get("HMLC_DATA")
    return ([Path(user).expanduser()] if user else []) + [DATA]


@contextmanager
def writing(path):
    """Yield a path beside `path`; rename it to `path` once the block ends without an error.

    A full disk, a missing permission or a kill leaves what was at `path` untouched.

    Raises:
        OSError: if it cannot be written, with the reason and what to do.
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
    except (OSError, RuntimeError) as error:
        of_writer = "PytorchStreamWriter" in str(error) or "inline_container" in str(error)
        if isinstance(error, RuntimeError) and not of_writer:
            raise  # of torch's errors only those of its writer are of the disk
        raise OSError(
            f"cannot write {path}: {getattr(error, 'strerror', None) or error}. Free some space or "
            f"allow writing to {path.parent}, then run again: what is already saved is kept"
        ) from error
    finally:
        if beside is not None:
            beside.unlink(missing_ok=True)


def _umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


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


def code_hash(*sources):
    """A hash of what Python files say, without comments, docstrings and empty lines.

    It is of the text, not of a syntax tree, so every Python version gives the same.

    Args:
        sources: paths, or modules.
    """
    digest = blake2b(digest_size=6)
    for source in sources:
        digest.update(plain_code(Path(getattr(source, "__file__", source)).read_text()).encode())
    return digest.hexdigest()


@lru_cache
def plain_code(text):
    """Python source without comments, docstrings, empty lines and blanks at line ends."""
    lines = text.splitlines()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            _cut(lines, token.start[0], token.start[1], None)
    lines = [line.encode() for line in lines]  # a syntax tree counts bytes
    for node in ast.walk(ast.parse(text)):
        documented = isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        if documented and ast.get_docstring(node) is not None:
            said = node.body[0]
            for row in range(said.lineno, said.end_lineno + 1):
                start = said.col_offset if row == said.lineno else 0
                end = said.end_col_offset if row == said.end_lineno else None
                _cut(lines, row, start, end)
    lines = [line.decode() for line in lines]
    return "\n".join(line.rstrip() for line in lines if line.strip())


def _cut(lines, row, start, end):
    """Take columns start to end (None: all behind) out of a line, the first being row 1."""
    line = lines[row - 1]
    lines[row - 1] = line[:start] + (line[end:] if end is not None else line[:0])


def commit():
    """Short hash of the code's commit, "+" behind it if code has changed since; else "unknown"."""
    try:
        changed = _git("status", "--porcelain", "-uno", "--", "hmlc_core", "notebooks")
        return _git("rev-parse", "--short=10", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def commit_date(commit):
    """Date of a commit, e.g. "2026-11-22"; "date unknown" outside git."""
    try:
        return _git("show", "-s", "--format=%cs", commit.rstrip("+"))
    except (OSError, subprocess.CalledProcessError):
        return "date unknown"


def _git(*words):
    command = ["git", "-C", str(CODE), *words]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
