"""Every Python file: formatted and linted, no line too long, arrows of imports down only."""

import ast
import subprocess
import sys

import nbformat
import pytest
from conftest import ROOT

from hmlc_core.files import plain_code

FOLDERS = ("hmlc_core", "notebooks/study", "tests", "benchmarks")
FILES = [p for folder in FOLDERS for p in sorted((ROOT / folder).rglob("*.py"))]
FILES += sorted((ROOT / "notebooks").glob("*.py"))
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
MOST = 100  # characters in a line
CORE = {p.stem: p for p in (ROOT / "hmlc_core").glob("*.py") if p.stem != "__init__"}


@pytest.mark.parametrize("words", [["check"], ["format", "--check"]], ids=" ".join)
def test_ruff_has_nothing_to_say(words):
    command = [sys.executable, "-m", "ruff", *words, *map(str, FILES)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout + ended.stderr


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_no_line_of_a_code_cell_is_too_long(path):
    cells = [cell for cell in nbformat.read(path, 4).cells if cell.cell_type == "code"]
    lines = [line for cell in cells for line in cell.source.splitlines()]
    assert not [line for line in lines if len(line) > MOST]


def imports(path, everywhere=False):
    """Dotted names that a file imports, "package.name" for `from package import name`; those
    inside functions only if `everywhere`."""
    tree = ast.parse(path.read_text())
    names = set()
    for node in ast.walk(tree) if everywhere else tree.body:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def modules_of(root, package):
    """{module: modules of the same package that it imports} of the files under root."""
    paths = [path for path in sorted(root.rglob("*.py")) if path.stem != "__init__"]
    dotted = [".".join((package, *p.relative_to(root).with_suffix("").parts)) for p in paths]
    graph = {}
    for name, path in zip(dotted, paths):
        used = imports(path)
        graph[name] = {m for m in dotted if any(f"{u}.".startswith(f"{m}.") for u in used)}
    return graph


def circle_in(graph):
    """A path of modules that comes back to its first, or None."""

    def walk(path):
        for name in graph[path[-1]]:
            if name in path:
                return [*path, name]
            longer = walk([*path, name])
            if longer:
                return longer
        return None

    return next(filter(None, (walk([name]) for name in graph)), None)


def test_circles_are_found():
    assert circle_in({"a": {"b"}, "b": {"c"}, "c": set()}) is None
    assert circle_in({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["a", "b", "c", "b"]
    assert "hmlc_core.train" in modules_of(ROOT / "hmlc_core", "hmlc_core")["hmlc_core.runs"]


def test_imports_have_no_circle():
    assert circle_in(modules_of(ROOT / "hmlc_core", "hmlc_core")) is None
    assert circle_in(modules_of(ROOT / "notebooks" / "study", "study")) is None


def test_the_core_imports_nothing_of_the_notebooks():
    for path in (ROOT / "hmlc_core").rglob("*.py"):
        packages = {name.split(".")[0] for name in imports(path, everywhere=True)}
        assert not packages & {"study", "notebooks", "run", "papermill"}


def test_data_knows_no_method():
    above = {"methods", "losses", "masks", "peers", "contrast", "train", "runs", "models"}
    for path in (ROOT / "hmlc_core" / "data").glob("*.py"):
        used = {name.split(".")[1] for name in imports(path, True) if name.startswith("hmlc_core.")}
        assert not used & above, path.name


def lines_of_code(path):
    """Number of lines of a file that are neither blank, nor comments, nor docstrings."""
    return len(plain_code(path.read_text()).splitlines())


def test_the_core_fits_an_evening():
    assert sum(map(lines_of_code, CORE.values())) <= 1500
    for path in (ROOT / "hmlc_core").glob("*.py"):
        assert len(path.read_text().splitlines()) <= 350, path.name
