"""A text that says what somebody's own method does, so that a changed one is trained anew."""

import dis
import inspect
import sys
import textwrap
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from types import CellType, CodeType, FunctionType, MethodType, ModuleType

import numpy as np
import torch

from hmlc_core.files import plain_code

_PLAIN = (str, bytes, int, float, complex, bool, type(None), torch.dtype, torch.device)
_PACKAGES = tuple(f"{Path(file).parent.as_posix()}/" for file in (__file__, inspect.__file__))
_PACKAGES += ("<frozen",)
_ABOUT = ("__module__", "__dict__", "__weakref__", "__doc__", "__firstlineno__", "__qualname__")
_ABOUT += ("__static_attributes__", "_abc_impl")  # and annotations


def fingerprint(thing):
    """A short hash of a function, class or object, and of all of one's own code it refers to.

    It sees the source, default values, closures, the globals that are used, class attributes, base
    classes and the state of objects. Installed packages count by name and version, hmlc_core by
    name alone, because files.code_hash sees it.
    """
    text = _describe(thing, {})
    return blake2b(text.encode(errors="backslashreplace"), digest_size=6).hexdigest()


def _describe(thing, seen):
    """What a thing is, as a text; `seen` holds those that were described before."""
    kind = type(thing)
    if kind in _PLAIN:
        return repr(thing)
    if kind in (set, frozenset):  # in any order, so each as if it were the first
        return f"set ({', '.join(sorted(_describe(part, dict(seen)) for part in thing))})"
    if id(thing) in seen:
        return f"again {seen[id(thing)][0]}"
    if kind is not tuple:  # equal ones may be one, or not
        seen[id(thing)] = len(seen), thing  # kept, so that no other thing has its id
    try:
        return f"{kind.__name__} ({', '.join(_describe(part, seen) for part in _parts(thing))})"
    except Exception as error:  # whatever strange objects raise
        return f"{kind.__module__}.{kind.__qualname__} {type(error).__name__}"


def _parts(thing):
    """All that says what a thing does: simpler things, always in the same order."""
    if isinstance(thing, torch.Tensor | np.ndarray):
        return _array(thing)
    if isinstance(thing, type):
        return _class(thing)
    if isinstance(thing, staticmethod | classmethod | property):
        return [getattr(thing, name, None) for name in ("__func__", "fget", "fset")]
    return _KINDS.get(type(thing), _state)(thing)


def _array(thing):
    if isinstance(thing, torch.Tensor):
        dense = thing.detach().cpu().to_dense().resolve_conj().contiguous()
        return [str(thing.dtype), *thing.shape, dense.reshape(-1).view(torch.uint8).numpy()]
    numbers = None if thing.dtype.hasobject else blake2b(np.ascontiguousarray(thing)).hexdigest()
    return [str(thing.dtype), *thing.shape, numbers or thing.tolist()]


def _function(thing):
    code, cells = thing.__code__, list(thing.__closure__ or ())
    if not _is_own(code.co_filename):
        return [_name(thing.__globals__.get("__name__", ""), code.co_qualname), cells]
    steps = (step for part in _codes(code) for step in dis.get_instructions(part))
    looked_up = {step.argval for step in steps if step.opname in ("LOAD_GLOBAL", "LOAD_NAME")}
    names = sorted(looked_up & set(thing.__globals__))
    used = [(name, _of_module(thing.__globals__[name], code, ())) for name in names]
    about = {key: value for key, value in vars(thing).items() if key not in _ABOUT}
    return [_source(code), thing.__defaults__, thing.__kwdefaults__, cells, used, about]


def _codes(code):
    """A code object and those inside it."""
    inner = [part for part in code.co_consts if isinstance(part, CodeType)]
    return [code, *(deeper for part in inner for deeper in _codes(part))]


def _of_module(thing, code, above):
    """A thing, or of a module of one's own what this code may use of it."""
    path = _path(thing) if isinstance(thing, ModuleType) else None
    if not path or not _is_own(path) or thing in above:
        return thing
    names = sorted({name for part in _codes(code) for name in part.co_names} & set(vars(thing)))
    return [(name, _of_module(vars(thing)[name], code, (*above, thing))) for name in names]


def _path(module):
    return getattr(module, "__file__", None) or next(iter(getattr(module, "__path__", ())), None)


def _source(code):
    """Its text without comments; what was done step by step if there is no text of its own."""
    with suppress(Exception):  # tokenize, ast and inspect each have their own
        if code.co_name != "<lambda>":
            return plain_code(textwrap.dedent(inspect.getsource(code)))
    return code


def _class(thing):
    top = thing.__module__.split(".")[0]
    path = _path(sys.modules.get(thing.__module__)) or _path(sys.modules.get(top))
    own = _is_own(path) if path else top not in sys.stdlib_module_names
    if not own and top != "__main__":
        return [_name(thing.__module__, thing.__qualname__)]
    kept = [k for k in vars(thing) if k not in _ABOUT and not k.startswith("__annot")]
    return [thing.__name__, [(k, vars(thing)[k]) for k in kept], thing.__bases__, type(thing)]


def _is_own(path):
    """Whether a file is neither ours nor of an installed package."""
    path = Path(path)
    installed = {"site-packages", "dist-packages"} & set(path.parts)
    return not installed and not path.as_posix().startswith(_PACKAGES)


def _name(module, name):
    top = module.split(".")[0]
    version = getattr(sys.modules.get(top), "__version__", "")
    return f"{module}.{name} {'' if top in sys.stdlib_module_names else version}"


def _state(thing):
    """An object as pickle would see it; of what cannot be pickled, its attributes."""
    try:
        parts = thing.__reduce_ex__(4)
    except Exception:
        return [type(thing), getattr(thing, "__dict__", None)]
    if isinstance(parts, str):
        return [parts, *(getattr(thing, name, None) for name in ("__module__", "__wrapped__"))]
    return [*parts[:3], *(part and list(part) for part in parts[3:5])]


_KINDS = {
    list: list,
    tuple: list,
    dict: lambda thing: list(thing.items()),
    FunctionType: _function,
    MethodType: lambda method: [method.__func__, method.__self__],
    CellType: lambda cell: [cell.cell_contents],
    CodeType: lambda code: [(step.opname, step.argval) for step in dis.get_instructions(code)],
    ModuleType: lambda module: [_name(module.__name__, "")],
}
