"""Why code cannot be imported here that works elsewhere, and what to do: one line for a person.

A leaf: the standard library only. Knows two reasons: a file that hides a library of its name, and
a library that has replaced parts of the standard library.
"""

from __future__ import annotations

import os
import select
import sys
from collections.abc import Iterator
from importlib.machinery import PathFinder
from types import BuiltinFunctionType, ModuleType


def patched() -> str | None:
    """Return what to do if the standard library is patched so that Trio cannot run; else None."""
    function = select.select
    if isinstance(function, BuiltinFunctionType):
        return None
    culprit = str(getattr(function, "__module__", "")).partition(".")[0]
    return (
        f"{culprit} has replaced parts of the standard library, on which Trio cannot run; start "
        "the agent without monkey.patch_all() or monkey_patch()"
    )


def explained(error: BaseException) -> str | None:
    """Return what to do about `error`; None if its reason is not known here."""
    for raised in _chain(error):
        if isinstance(raised, (ImportError, AttributeError)):
            return patched() or _shadowing(raised)
    return None


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: list[BaseException] = []
    found: BaseException | None = error
    while found is not None and found not in seen:
        yield found
        seen.append(found)
        found = found.__cause__ or found.__context__


def _shadowing(error: ImportError | AttributeError) -> str | None:
    """Return which file hides the library in which `error` misses a name."""
    if isinstance(error, ImportError):
        name = (error.name or "").partition(".")[0]
        module = sys.modules.get(name)
        path = error.path
    else:
        module = error.obj if isinstance(error.obj, ModuleType) else None
        name = "" if module is None else module.__name__.partition(".")[0]
        module = sys.modules.get(name, module)
        path = None
    path = getattr(module, "__file__", None) or path
    if not name or path is None:
        return None
    root = path if os.path.basename(path).startswith(f"{name}.") else os.path.dirname(path)
    here = os.path.realpath(os.path.dirname(root))
    others = [entry for entry in sys.path if os.path.realpath(entry or os.curdir) != here]
    library = PathFinder.find_spec(name, others)
    if library is None or library.origin is None:
        return None
    return f"{root} hides the library {name!r} ({library.origin}); give it another name"
