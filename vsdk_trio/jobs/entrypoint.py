"""Names a function so that another interpreter can import it, or says why that is impossible.

It reads the function, `sys.modules`, the search path, and whether the main script is a file.
Functions are never pickled. The runner loads them by reference.
"""

from __future__ import annotations

import functools
import inspect
import os
import sys
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any, NoReturn

import attrs

from ..errors import EntrypointError

_TARGETS = ("module", "main_module", "main_path")
# What a main program is called in its own process, and in those that load it again.
_MAIN_NAMES = ("__main__", "__mp_main__")
ASYNCIO_MARK = "__vsdk_trio_needs_asyncio__"
"""The attribute of a function that `vsdk_trio.aio.entrypoint` has marked."""


def is_for_asyncio(function: object) -> bool:
    """Whether `function`, or what a partial or a method calls, is marked as needing asyncio."""
    if isinstance(function, functools.partial):
        function = function.func
    return bool(getattr(function, ASYNCIO_MARK, False))


def _is_name(text: str) -> bool:
    return all(part.isidentifier() for part in text.split("."))


@attrs.frozen(kw_only=True)
class EntrypointRef:
    """Where a function is: exactly one of three targets, and a qualified name in it.

    `module` was imported by its name, `main_module` was run by `python -m`, and `main_path` is a
    script. `sys_path` (absolute), `argv` and `cwd` are those of the process that describes it.
    """

    qualname: str
    module: str | None = None
    main_module: str | None = None
    main_path: str | None = None
    sys_path: tuple[str, ...] = ()
    argv: tuple[str, ...] = ()
    cwd: str = ""
    needs_asyncio: bool = False
    """The function is not marked where it is defined, so the loader has to mark it."""

    @property
    def target(self) -> str:
        """The module's name or the script's path."""
        return self.module or self.main_module or self.main_path or ""

    def __str__(self) -> str:
        return f"{self.target}:{self.qualname}"

    def to_dict(self) -> dict[str, Any]:
        """As a JSON object, without the targets that it does not have."""
        wire = attrs.asdict(self, filter=lambda _, value: value is not None)
        if not self.needs_asyncio:
            del wire["needs_asyncio"]
        return {**wire, "sys_path": list(self.sys_path), "argv": list(self.argv)}

    @classmethod
    def from_dict(cls, wire: Mapping[str, Any]) -> EntrypointRef:
        """Read what `to_dict()` gave; raises `EntrypointError` for anything else."""
        targets = {name: wire[name] for name in _TARGETS if wire.get(name) is not None}
        texts = [wire.get("qualname"), wire.get("cwd", ""), *targets.values()]
        lists = [wire.get("sys_path", []), wire.get("argv", [])]
        if not (
            len(targets) == 1
            and all(isinstance(text, str) for text in texts)
            and all(isinstance(items, list) for items in lists)
            and all(isinstance(item, str) for items in lists for item in items)
            and isinstance(wire.get("needs_asyncio", False), bool)
        ):
            raise EntrypointError("malformed reference to an entrypoint")
        return cls(
            qualname=wire["qualname"],
            sys_path=tuple(lists[0]),
            argv=tuple(lists[1]),
            cwd=wire.get("cwd", ""),
            needs_asyncio=wire.get("needs_asyncio", False),
            **targets,
        )


def describe(
    function: Callable[..., Any], *, what: str = "entrypoint", asynchronous: bool = True
) -> EntrypointRef:
    """Return the reference by which a job process can import `function`.

    Args:
        function: The function.
        what: Its name in errors.
        asynchronous: Whether it must be an `async def` function.

    Raises:
        EntrypointError: There is no such reference. The text says what to do.
    """

    def refuse(why: str) -> NoReturn:
        raise EntrypointError(f"the {what} {function!r} cannot be run by a job process: {why}")

    fault = _fault_of(function, asynchronous)
    if fault is not None:
        refuse(fault)
    module_name, qualname = function.__module__, function.__qualname__
    module = sys.modules.get(module_name)
    if module is None:
        refuse(f"its module {module_name!r} is not imported")
    found = _find(module, qualname)
    if found is None:
        refuse(_absence(module, module_name, qualname))
    if inspect.unwrap(found) != inspect.unwrap(function):  # equal, as a class method is made anew
        refuse(f"{module_name}:{qualname} is another object by now; give it a name of its own")
    return EntrypointRef(
        qualname=qualname,
        sys_path=_search_path(),
        argv=tuple(sys.argv),
        cwd=_cwd(),
        needs_asyncio=is_for_asyncio(function) and not is_for_asyncio(found),
        **_target_of(module, module_name, refuse),
    )


def _fault_of(function: Any, asynchronous: bool) -> str | None:
    """Return what makes the function itself unfit; None if it is fit."""
    if not callable(function):
        return f"it is a {type(function).__name__}, not a function"
    if isinstance(function, functools.partial):
        return "it is a functools.partial; use a module-level function and the job's metadata"
    if inspect.ismethod(function) and not inspect.isclass(function.__self__):
        return "it is a method of one object; use a module-level function"
    if asynchronous and not inspect.iscoroutinefunction(function):
        return "it is not an `async def` function"
    qualname = getattr(function, "__qualname__", None)
    if not isinstance(qualname, str) or not isinstance(function.__module__, str):
        return f"it is a {type(function).__name__} without a name; use a module-level function"
    if "<lambda>" in qualname:
        return "it is a lambda; use `def` at module level"
    if "<locals>" in qualname:
        return f"it is defined inside a function ({qualname}); move it to module level"
    return None


def _find(module: ModuleType, qualname: str) -> Any:
    found: Any = module
    for part in qualname.split("."):
        found = getattr(found, part, None)
    return found


def _absence(module: ModuleType, module_name: str, qualname: str) -> str:
    if module_name == "__main__" and getattr(module, "__file__", None) is not None:
        return (
            f"the main program is {module.__file__}, which has no {qualname!r} (a profiler or "
            "another launcher runs the script); import the function from a module of its own"
        )
    return f"{module_name} has no {qualname!r} (a decorator without functools.wraps?)"


def _target_of(
    module: ModuleType, module_name: str, refuse: Callable[[str], NoReturn]
) -> dict[str, Any]:
    """Which of the three targets leads to the module, as a keyword argument."""
    if module_name not in _MAIN_NAMES:
        return {"module": module_name}
    spec = getattr(module, "__spec__", None)
    if spec is not None and spec.name != "__main__":
        return {"main_module": spec.name}
    path = getattr(module, "__file__", None)
    if path is None or path.startswith("<"):
        refuse("it was defined in an interactive session, by `-c` or on stdin; put it into a file")
    path = os.path.abspath(path)
    if not os.path.isfile(path):
        refuse(
            f"its script {path} is not a file (deleted, or inside an archive); put the function "
            "into a module of its own and import it"
        )
    return {"main_path": path}


def _cwd() -> str:
    """The current directory; "" where it is gone: then a job process stays where it starts."""
    try:
        return os.getcwd()
    except OSError:
        return ""


def _search_path() -> tuple[str, ...]:
    # Relative entries mean something else in another directory. Entries that are no paths stay:
    # import hooks put their own markers into `sys.path`.
    cwd = _cwd()
    return tuple(
        os.path.normpath(os.path.join(cwd, entry))
        if cwd and os.path.exists(entry or os.curdir)
        else entry
        for entry in sys.path
    )


def parse(text: str) -> EntrypointRef:
    """The reference that `text` names: `package.module:function` or `path/to/script.py:function`.

    Raises `EntrypointError` for any other form; whether it can be imported is not looked at.
    """
    target, _, qualname = text.rpartition(":")
    is_path = target.endswith(".py")
    if not _is_name(qualname) or not (is_path or _is_name(target)):
        raise EntrypointError(f"expected MODULE:FUNCTION or FILE.py:FUNCTION, got {text!r}")
    cwd = os.getcwd()
    path = os.path.abspath(target)
    first = os.path.dirname(path) if is_path else cwd
    found: dict[str, Any] = {"main_path": path} if is_path else {"module": target}
    return EntrypointRef(
        qualname=qualname,
        sys_path=tuple(dict.fromkeys([first, *_search_path()])),
        argv=(target,),
        cwd=cwd,
        **found,
    )
