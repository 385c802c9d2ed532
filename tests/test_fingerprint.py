"""The fingerprint of somebody's own method sees what changes its numbers, and nothing else."""

import functools
import os
import subprocess
import sys
import textwrap
import threading
import types

import pytest

from hmlc_core.fingerprint import _source, fingerprint

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

# Each: what a user writes, and a small change of it. The method is called `method`.
CHANGES = {
    "body": ("def method(z): return z + 1", "z + 1", "z + 2"),
    "global": ("T = 0.1\ndef method(z): return z / T", "0.1", "0.2"),
    "global list": ("T = [1, {'a': 2}]\ndef method(z): return z / T[0]", "2", "3"),
    "global set": ("T = {'a', 'b'}\ndef method(z): return z in T", "'b'", "'c'"),
    "global array": ("import numpy as np\nT = np.arange(5)\ndef method(z): return z @ T", "5", "6"),
    "global tensor": (
        "import torch\nT = torch.tensor([1.0, 2.0])\ndef method(z): return z @ T",
        "2.0",
        "2.1",
    ),
    "global tensor in bfloat16": (
        "import torch\nT = torch.ones(2, dtype=torch.bfloat16)\ndef method(z): return z @ T",
        "ones",
        "zeros",
    ),
    "object array": (
        "import numpy as np\nT = np.array([{}, 1], object)\ndef method(z): return z @ T",
        "1",
        "2",
    ),
    "helper": ("def f(z): return z\ndef method(z): return f(z)", "return z\n", "return -z\n"),
    "helper of a helper": (
        "def g(z): return z + 1\ndef f(z): return g(z)\ndef method(z): return f(z)",
        "+ 1",
        "- 1",
    ),
    "closure": (
        "def make(t):\n    def method(z): return z / t\n    return method\nmethod = make(3)",
        "make(3)",
        "make(4)",
    ),
    "function in a closure": (
        "def make(f):\n    return lambda z: f(z)\nmethod = make(lambda z: z + 1)",
        "+ 1",
        "+ 2",
    ),
    "default": ("def method(z, t=1): return z / t", "t=1", "t=2"),
    "default by a name": ("T = 1\ndef method(z, t=T): return z / t", "T = 1", "T = 2"),
    "keyword default": ("T = 1\ndef method(z, *, t=T): return z / t", "T = 1", "T = 2"),
    "nested function": (
        "def method(z):\n    def f(x):\n        return x * 2\n    return f(z)",
        "* 2",
        "* 3",
    ),
    "global of a nested function": (
        "T = 2\ndef method(z):\n    return [(lambda x: x * T)(x) for x in z]",
        "T = 2",
        "T = 3",
    ),
    "lambda": ("method = lambda z: z * 2", "* 2", "* 3"),
    "lambda by name": ("import torch\nmethod = lambda z: torch.sin(z)", "sin", "cos"),
    "second of two lambdas": (
        "pair = [lambda z: z, lambda z: -z]\nmethod = pair[0]",
        "pair[0]",
        "pair[1]",
    ),
    "constants of a lambda in a lambda": ("method = lambda z: (lambda x: x + 1)(z)", "1", "2"),
    "class attribute": (
        "class method:\n    t = 1\n    def __call__(self, z): return z / self.t",
        "t = 1",
        "t = 2",
    ),
    "method of a class": (
        "class method:\n    def f(self): return 1\n    def __call__(self, z): return self.f()",
        "return 1",
        "return 2",
    ),
    "class attribute that is a function": (
        "def f(z): return z\nclass method:\n    measure = staticmethod(f)",
        "return z",
        "return -z",
    ),
    "property": ("class method:\n    @property\n    def t(self): return 1", "return 1", "return 2"),
    "cached property": (
        "import functools as f\nclass method:\n    @f.cached_property\n    def t(self): return 1",
        "return 1",
        "return 2",
    ),
    "class method": (
        "class method:\n    @classmethod\n    def t(cls): return 1",
        "return 1",
        "return 2",
    ),
    "base class": (
        "class A:\n    def f(self): return 1\nclass method(A): pass",
        "return 1",
        "return 2",
    ),
    "other base": (
        "import torch\nclass method(torch.nn.Module): pass",
        "torch.nn.Module",
        "torch.nn.ReLU",
    ),
    "metaclass": (
        "class M(type):\n    def __call__(self): return 1\nclass method(metaclass=M): pass",
        "return 1",
        "return 2",
    ),
    "dataclass": (
        "from dataclasses import dataclass\n@dataclass\nclass C:\n    t: int = 1\n"
        "    def __call__(self, z): return z\nmethod = C()",
        "= 1",
        "= 2",
    ),
    "slots": (
        "class C:\n    __slots__ = ('t',)\n    def __init__(self, t): self.t = t\nmethod = C(1)",
        "C(1)",
        "C(2)",
    ),
    "named tuple": (
        "from collections import namedtuple\nmethod = namedtuple('P', 'a b')(1, 2)",
        "(1, 2)",
        "(1, 3)",
    ),
    "callable object": (
        "class C:\n    def __init__(self, t): self.t = t\n    def __call__(self, z): return z\n"
        "method = C(1)",
        "C(1)",
        "C(2)",
    ),
    "class of a callable object": (
        "class C:\n    def __call__(self, z): return z\nmethod = C()",
        "return z",
        "return -z",
    ),
    "object with a lock": (
        "import threading\nclass C:\n    def __init__(self, t): self.t = t; "
        "self.lock = threading.Lock()\nmethod = C(1)",
        "C(1)",
        "C(2)",
    ),
    "bound method": (
        "class C:\n    t = 1\n    def f(self, z): return z / self.t\nmethod = C().f",
        "t = 1",
        "t = 2",
    ),
    "module with a setting": (
        "import torch\nmethod = torch.nn.CrossEntropyLoss(label_smoothing=0.1)",
        "0.1",
        "0.2",
    ),
    "partial": (
        "from functools import partial\ndef f(z, t): return z\nmethod = partial(f, t=1)",
        "t=1",
        "t=2",
    ),
    "function in a partial": (
        "from functools import partial\ndef f(z, t): return z\nmethod = partial(f, t=1)",
        "return z",
        "return -z",
    ),
    "partial of ours": (
        "from functools import partial\nfrom hmlc_core import gmm_masks\n"
        "method = partial(gmm_masks, scope='batch')",
        "batch",
        "sample",
    ),
    "decorated": (
        "import functools\ndef twice(f):\n    @functools.wraps(f)\n    def wrapper(z):\n"
        "        return f(z) * 2\n    return wrapper\n@twice\ndef method(z): return z + 1",
        "+ 1",
        "+ 3",
    ),
    "decorator": (
        "import functools\ndef twice(f):\n    @functools.wraps(f)\n    def wrapper(z):\n"
        "        return f(z) * 2\n    return wrapper\n@twice\ndef method(z): return z + 1",
        "* 2",
        "* 4",
    ),
    "wrapped loss of ours": (
        "import functools\nfrom hmlc_core import supcon_loss\n@functools.wraps(supcon_loss)\n"
        "def method(*args): return supcon_loss(*args) * 2",
        "* 2",
        "* 4",
    ),
    "decorated by torch": (
        "import torch\n@torch.no_grad()\ndef method(z): return z + 1",
        "+ 1",
        "+ 2",
    ),
    "mapped by torch": (
        "import torch\nmethod = torch.vmap(lambda z: z + 1, in_dims=0)",
        "in_dims=0",
        "in_dims=1",
    ),
    "cached": ("import functools\n@functools.lru_cache\ndef method(z): return z + 1", "+ 1", "+ 2"),
    "recursion": ("def method(n): return 1 if n < 1 else method(n - 1) * 2", "* 2", "* 3"),
    "two that call each other": (
        "def f(n): return g(n) + 1\ndef g(n): return f(n)\nmethod = g",
        "+ 1",
        "+ 2",
    ),
    "attribute of a function": ("def method(z): return z\nmethod.t = 1", "t = 1", "t = 2"),
    "autograd function": (
        "import torch\nclass F(torch.autograd.Function):\n    @staticmethod\n"
        "    def forward(ctx, z): return z\n    @staticmethod\n    def backward(ctx, g): return g\n"
        "def method(z): return F.apply(z)",
        "return g",
        "return -g",
    ),
}


def make(text, name="__main__", filename="<cell>"):
    space = {"__name__": name}
    exec(compile(text, filename, "exec"), space)
    return space["method"]


def from_file(text, folder, name, monkeypatch):
    """The method of a module of one's own, where there is source to look at."""
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.py").write_text(text)
    module = types.ModuleType(name)
    module.__file__ = str(folder / f"{name}.py")
    monkeypatch.setitem(sys.modules, name, module)
    exec(compile(text, module.__file__, "exec"), vars(module))
    return module.method


@pytest.mark.parametrize("kind", CHANGES)
def test_each_kind_of_change_is_seen(kind, tmp_path, monkeypatch):
    text, before, after = CHANGES[kind]
    changed = text[::-1].replace(before[::-1], after[::-1], 1)[::-1]
    if kind in ("helper", "class attribute that is a function", "helper of a helper"):
        changed = text.replace(before, after, 1)
    if kind in ("decorated", "two that call each other"):
        changed = text.replace(before, after)
    assert changed != text
    assert fingerprint(make(text)) == fingerprint(make(text, filename="<another>"))
    assert fingerprint(make(text)) != fingerprint(make(changed))
    for number, (one, other) in enumerate(((text, text), (text, changed))):
        a = from_file(one, tmp_path / f"a{number}", "own_module", monkeypatch)
        first = fingerprint(a)
        b = from_file("\n\n# moved\n" + other, tmp_path / f"b{number}", "own_module", monkeypatch)
        assert (first == fingerprint(b)) == (one == other)


def test_functions_in_modules_of_ones_own_are_followed(tmp_path, monkeypatch):
    """import helpers; helpers.f(z), where f calls g of the same file; also in a package."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "pack").mkdir()
    (tmp_path / "pack" / "__init__.py").write_text("")
    text = "import helpers\nimport pack.deep\ndef method(z): return helpers.f(z) + pack.deep.h(z)"

    def value(g="z + 1", h="z", unused="1"):
        for name in ("helpers", "pack", "pack.deep"):
            sys.modules.pop(name, None)
        source = f"def f(z): return g(z)\ndef g(z): return {g}\ndef unused(): return {unused}\n"
        (tmp_path / "helpers.py").write_text(source)
        (tmp_path / "pack" / "deep.py").write_text(f"import pack\ndef h(z): return {h}\n")
        return fingerprint(make(text))

    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    base = value()
    assert value() == base == value(unused="2")
    assert len({base, value(g="z + 2"), value(h="-z")}) == 3


def test_comments_docstrings_and_places_change_nothing(tmp_path, monkeypatch):
    plain = """
        class C:
            t = 1
            def __call__(self, z):
                return helper(z) / self.t
        def helper(z):
            if z:
                return 1
            return None
        method = C()
    """
    told = '''
        """A new notebook."""
        import os

        class C:
            """What it does."""

            t = 1  # a temperature

            def __call__(self, z):
                """Divides."""
                return helper(z) / self.t


        def helper(z):
            """Helps."""
            # by testing
            if z:
                return 1
            return None
        method = C()
    '''
    plain, told = textwrap.dedent(plain), textwrap.dedent(told)
    assert fingerprint(make(plain)) == fingerprint(make(told, filename="/tmp/ipykernel_9/4.py"))
    first = fingerprint(from_file(plain, tmp_path / "a", "own", monkeypatch))
    assert fingerprint(from_file(told, tmp_path / "b", "own", monkeypatch)) == first


def test_where_there_is_source_no_bytecode_counts(tmp_path, monkeypatch):
    """So that another version of Python gives the same."""
    text = "class method:\n    def f(self):\n        def g(): return 1  # one\n        return g\n"
    code = from_file(text, tmp_path / "a", "own", monkeypatch).f.__code__
    assert _source(code) == "def f(self):\n    def g(): return 1\n    return g"


def test_installed_packages_count_by_name_and_version(monkeypatch):
    import sklearn

    text = "import sklearn\nfrom sklearn.cluster import KMeans\ndef method(z): return KMeans(3)"
    before = fingerprint(make(text))
    monkeypatch.setattr(sklearn, "__version__", "0.0.1")
    assert fingerprint(make(text)) != before


def test_every_process_gives_the_same(tmp_path):
    """Other seeds of Python's hashes, other addresses, other folders."""
    texts = [text for text, _, _ in CHANGES.values()]
    code = textwrap.dedent(f"""
        import sys, threading, logging, re, pathlib
        sys.path.insert(0, {ROOT!r})
        from hmlc_core.fingerprint import fingerprint
        log, pattern, place = logging.getLogger("x"), re.compile("a"), pathlib.Path("a")
        KEYS = {{"one", "two", "three", b"four", 5, (6, "seven")}}
        def uses(z): log.info(pattern, place, KEYS, threading.Lock(), z in {{"a", "b", "c"}})
        found = [fingerprint(uses)]
        for text in {texts!r}:
            space = {{"__name__": "__main__"}}
            exec(text, space)
            found.append(fingerprint(space["method"]))
        print(found)
    """)
    printed = []
    for seed in ("1", "2"):
        (tmp_path / seed).mkdir()
        script = tmp_path / seed / "script.py"
        script.write_text(code)
        environment = os.environ | {"PYTHONHASHSEED": seed}
        ended = subprocess.run(
            [sys.executable, str(script)], env=environment, capture_output=True, text=True
        )
        assert ended.returncode == 0, ended.stderr
        printed.append(ended.stdout)
    assert printed[0] == printed[1] and len(set(eval(printed[0]))) > 40


class Hostile:
    def __getattr__(self, name):
        raise RuntimeError(name)

    def __reduce_ex__(self, version):
        raise KeyError


class Endless:
    def __reduce_ex__(self, version):
        return Endless, (Endless(),)


def deep(n=100_000):
    found = []
    for _ in range(n):
        found = [found]
    return found


def generator():
    yield 1


def test_nothing_crashes_it(tmp_path):
    import torch

    strange = [Hostile(), Endless(), deep(), generator(), tmp_path.cwd, threading.Lock(), sys]
    strange += [iter([1]), object(), type, len, [].append, "\ud800", float("nan"), ..., range(3)]
    strange += [torch.nn.Linear(2, 2), torch.zeros(2, device="meta"), torch.eye(3).to_sparse()]
    strange += [torch.jit.script, torch.Generator(), types.SimpleNamespace(a=1), os.environ]
    strange += [functools.singledispatch(lambda z: z), memoryview(b"a"), {}.keys(), sys.stdout]
    strange += [Exception("a"), type("C", (), {"__module__": None}), property(), slice(1)]
    ring = []
    ring.append(ring)
    for thing in [*strange, ring]:
        assert len(fingerprint(thing)) == 12, thing


def test_a_big_iterator_is_not_used_up():
    """Looking at what a function refers to must not change it."""
    space = {"__name__": "__main__"}
    exec("numbers = iter([1, 2, 3])\ndef method(z): return next(numbers)", space)
    fingerprint(space["method"])
    assert space["method"](0) == 1
