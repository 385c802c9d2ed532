"""Files get there whole or not at all; code and work lie in two places; hashes see what matters."""

import io
import os
import subprocess
import sys
import time

import matplotlib
import pytest
import torch

from hmlc_core import data, files
from study import results


def say(folder, text, name="m.py"):
    path = folder / name
    path.write_text(text)
    return path


# ------------------------------------------------------------ writing


def test_a_file_is_written_whole_and_replaces_the_old_one(tmp_path):
    path = tmp_path / "new" / "a.txt"
    for text in ("first", "second"):
        with files.writing(path) as beside:
            assert beside.parent == path.parent and beside != path and beside.suffix == ".txt"
            beside.write_text(text)
        assert path.read_text() == text
    assert [p.name for p in path.parent.iterdir()] == ["a.txt"]
    umask = os.umask(0)
    os.umask(umask)
    assert path.stat().st_mode & 0o777 == 0o666 & ~umask


def test_a_disk_that_says_late_that_it_is_full_costs_nothing(tmp_path, monkeypatch):
    """As mounted drives do, which take what is written and send it later."""
    path, asked = say(tmp_path, "old"), []

    def full(descriptor):
        asked.append(os.fstat(descriptor).st_size)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    wanted = pytest.raises(OSError, match="No space left.*Free some space")
    with wanted, files.writing(path) as beside:
        beside.write_text("newer")
    assert asked == [5]
    assert path.read_text() == "old" and len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError, MemoryError])
def test_what_was_there_stays_if_writing_ends_early(error, tmp_path):
    path = say(tmp_path, "old")
    with pytest.raises(error), files.writing(path) as beside:
        beside.write_text("half")
        raise error
    assert path.read_text() == "old" and len(list(tmp_path.iterdir())) == 1


def test_a_full_disk_is_named_with_what_to_do(tmp_path):
    for error in (
        OSError(28, "No space left on device"),
        RuntimeError("[enforce fail at inline_container.cc] . PytorchStreamWriter failed writing"),
    ):
        with (
            pytest.raises(OSError, match="cannot write .*a.pt.* Free some space or allow writing"),
            files.writing(tmp_path / "a.pt"),
        ):
            raise error
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "message",
    [
        "CUDA error: out of memory",
        "CUDA error: an illegal memory access was encountered",
        "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR",
        "NCCL error in: ProcessGroupNCCL.cpp",
        "Expected all tensors to be on the same device",
    ],
)
def test_errors_of_a_gpu_are_not_called_errors_of_the_disk(message, tmp_path):
    with pytest.raises(RuntimeError, match=message) as caught, files.writing(tmp_path / "a.pt"):
        raise RuntimeError(message)
    assert not isinstance(caught.value, OSError) and "space" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    file = say(tmp_path, "a file, not a folder", "folder")
    with pytest.raises(OSError, match="cannot write"), files.writing(file / "a.pt"):
        raise AssertionError("not reached")


def test_torch_reports_a_full_disk_in_the_words_that_are_looked_for(tmp_path):
    """/dev/full has no room for anything."""
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full here")
    with pytest.raises(OSError, match="Free some space"), files.writing(tmp_path / "a.pt"):
        torch.save({"a": torch.zeros(10_000)}, "/dev/full")


# ------------------------------------------------------------ hashes


BASE = 'def f(x):\n    """Doc."""\n    return x + 1\n'


@pytest.mark.parametrize(
    "text",
    [
        BASE,
        "# new\ndef f(x):\n\n    '''Other.'''\n    return x + 1  # why\n",
        '"""About."""\n\n\n' + BASE + "\n\n",
        'def f(x):\n    """Doc.\n\n    Of many lines # and a sign.\n    """\n    return x + 1   \n',
        BASE.replace("\n", "\r\n"),
    ],
)
def test_comments_docstrings_and_empty_lines_are_no_code(text, tmp_path):
    assert files.code_hash(say(tmp_path, text)) == files.code_hash(say(tmp_path, BASE, "base.py"))


@pytest.mark.parametrize(
    "text",
    [
        BASE.replace("+ 1", "+ 2"),
        BASE.replace("f(x)", "f(x, y=0)"),
        BASE + "f(2)\n",
        "@cache\n" + BASE,
        BASE.replace("x + 1", "'#'"),
        BASE.replace('"""Doc."""', "x = '''Doc.'''"),
    ],
)
def test_every_other_change_is_code(text, tmp_path):
    assert files.code_hash(say(tmp_path, text)) != files.code_hash(say(tmp_path, BASE, "base.py"))


@pytest.mark.parametrize(
    "first, second",
    [
        ("x = '# one'\n", "x = '# two'\n"),
        ('x = """\n# one\n"""\n', 'x = """\n# two\n"""\n'),
        ("class A:\n    'Doc.'\n    k = 1\n", "class A:\n    'Doc.'\n    k = 2\n"),
        ('def f(x): "Doc."; return x\n', 'def f(x): "Doc."; return -x\n'),
        ('def f(x): """Doc."""\n', 'def g(x): """Doc."""\n'),
        ("if a:\n    b()\n    c()\n", "if a:\n    b()\nc()\n"),
    ],
)
def test_what_looks_like_a_comment_or_a_docstring_is_seen(first, second, tmp_path):
    hashes = {files.code_hash(say(tmp_path, text)) for text in (first, second)}
    assert len(hashes) == 2


def test_code_is_hashed_as_text_which_every_python_reads_alike(tmp_path):
    assert files.plain_code(BASE) == "def f(x):\n    return x + 1"
    assert files.code_hash(say(tmp_path, BASE)) == files.code_hash(files_like(tmp_path))
    several = say(tmp_path, BASE), say(tmp_path, "y = 1\n", "n.py")
    assert files.code_hash(*several) != files.code_hash(several[0])


def files_like(folder):
    """A module, as far as a hash is concerned."""
    return type("module", (), {"__file__": str(folder / "m.py")})


def test_a_stamp_changes_once_a_file_is_replaced(tmp_path):
    path = say(tmp_path, "one", "a.gz")
    first = data.stamp([path])
    assert data.stamp([str(path)]) == first and len(first) == 16
    path.write_text("longer")
    longer = data.stamp([path])
    os.utime(path, ns=(10**18, 10**18))
    touched = data.stamp([path])
    assert len({first, longer, touched}) == 3
    other = say(tmp_path, "two", "b.gz")
    assert data.stamp([path, other]) == data.stamp([other, path]) != touched
    other.rename(tmp_path / "c.gz")
    assert data.stamp([path, tmp_path / "c.gz"]) != data.stamp([path])
    assert data.stamp([]) == data.stamp([])


# ------------------------------------------------------------ where things lie


def git(folder, *words):
    author = {f"GIT_{who}_{what}": "a@b.c" for who in ("AUTHOR", "COMMITTER") for what in NAMED}
    command = ["git", "-C", str(folder), *words]
    return subprocess.run(command, env=os.environ | author, check=True, capture_output=True)


NAMED = ("NAME", "EMAIL")


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A small repository that stands for this one."""
    folder = tmp_path / "checkout"
    (folder / "hmlc_core").mkdir(parents=True)
    say(folder / "hmlc_core", "x = 1\n")
    git(tmp_path, "init", "-q", str(folder))
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "first", "--date", "2026-01-02T03:04:05")
    monkeypatch.setattr(files, "CODE", folder)
    monkeypatch.setattr(files, "commit", files.commit.__wrapped__)  # which is asked once a process
    return folder


def test_the_commit_is_the_codes_and_marked_if_code_has_changed(checkout, monkeypatch, tmp_path):
    head = git(checkout, "rev-parse", "--short=10", "HEAD").stdout.decode().strip()
    monkeypatch.setenv("HMLC_COMMIT", "of another copy")  # git knows better
    assert files.commit() == head and len(head) == 10
    monkeypatch.chdir(tmp_path)
    assert files.commit() == head
    say(checkout, "text", "README.md")
    assert files.commit() == head
    say(checkout / "hmlc_core", "x = 2\n")
    assert files.commit() == head + "+"
    assert len(results.commit_date(head)) == 10 == len(results.commit_date(head + "+"))


def test_outside_git_the_commit_is_unknown(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "CODE", tmp_path)
    monkeypatch.setattr(files, "commit", files.commit.__wrapped__)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert files.commit() == "unknown" and results.commit_date("abc") == "date unknown"
    monkeypatch.setenv("PATH", "")
    assert files.commit() == "unknown"
    monkeypatch.setenv("HMLC_COMMIT", "0123456789")
    assert files.commit() == "0123456789"


def test_data_folders_are_searched_in_order(monkeypatch, tmp_path):
    assert data.data_folders() == [files.DATA]
    monkeypatch.setenv("HMLC_DATA", str(tmp_path))
    assert data.data_folders() == [tmp_path, files.DATA]
    monkeypatch.setenv("HMLC_DATA", "~/pictures")
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "pictures").mkdir()
    assert data.data_folders()[0] == tmp_path / "pictures"


@pytest.mark.parametrize("place", ["nowhere", "file", "~no_such_user/data"])
def test_a_data_folder_that_is_none_is_named(monkeypatch, tmp_path, place):
    (tmp_path / "file").write_text("")
    place = place if place.startswith("~") else str(tmp_path / place)
    monkeypatch.setenv("HMLC_DATA", place)
    with pytest.raises(ValueError, match=f"HMLC_DATA is {place}, which is no folder"):
        data.data_folders()


ELSEWHERE = """
import sys
sys.path[:0] = [sys.argv[1], sys.argv[1] + "/notebooks"]
from hmlc_core import data, files
from study import figures
import matplotlib.pyplot as plt
told = files.WORK, files.DATA, files.FIGURES, files.CODE, files.commit()
print(*told, plt.rcParams["font.size"], plt.rcParams["axes.spines.top"], sep="\\n")
"""


def test_an_empty_work_folder_is_none(tmp_path):
    paths = {"HMLC_ROOT": "", "PYTHONPATH": str(files.CODE)}
    code = "from hmlc_core import files; print(files.WORK)"
    ran = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | paths, cwd=tmp_path, capture_output=True
    )
    assert ran.stdout.decode().strip() == str(files.CODE), ran.stderr.decode()


def test_work_elsewhere_leaves_the_code_where_it_is(tmp_path):
    """HMLC_ROOT moves what is written, not the style of the figures nor the commit."""
    root = tmp_path / "work"
    ran = subprocess.run(
        [sys.executable, "-c", ELSEWHERE, str(files.CODE)],
        env=os.environ | {"HMLC_ROOT": str(root)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr
    style = matplotlib.rc_params_from_file(files.CODE / "figures" / "paper.mplstyle")
    expected = [root, root / "data", root / "figures", files.CODE, files.commit()]
    expected += [style["font.size"], style["axes.spines.top"]]
    assert ran.stdout.splitlines() == [str(part) for part in expected]


# ------------------------------------------------------------ bars


@pytest.mark.parametrize("watched", [False, True])
def test_a_bar_that_nobody_watches_writes_little(watched, monkeypatch):
    class Stream(io.StringIO):
        def isatty(self):
            return watched

    stream = Stream()
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.delenv("TQDM_DISABLE", raising=False)
    with data.bar(desc="pass", total=200, delay=0, disable=False) as shown:
        for _ in range(200):
            time.sleep(0.002)
            shown.update()
    assert (stream.getvalue().count("pass") <= 2) is not watched
