"""Whether the code that was loaded is still what is on disk.

A look costs one `stat` for each file of the user's own, and one for each directory of installed
packages: installing, upgrading and removing renames something in there.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from typing import TypeAlias

_STANDARD_LIBRARY = os.path.dirname(os.__file__)
_PACKAGE_DIRECTORIES = ("site-packages", "dist-packages")

# A file's time comes from a clock that ticks: what is written now may look so much older.
_FILE_CLOCK_TICK_NS = 10_000_000

_State: TypeAlias = tuple[int, int, int] | None


class SourceFiles:
    """The files behind the modules that were loaded since `before` was noted.

    Arguments: `before`, a copy of `sys.modules` then; `since`, `time.time_ns()` then. To be made
    right after loading: a file that was written meanwhile counts as changed.
    """

    def __init__(self, before: Mapping[str, object], since: int) -> None:
        paths = {_watched(_origin(module)) for module in _new_modules(before)} - {""}
        self._states = {path: _state(path) for path in paths}
        now = time.time_ns()
        self._changed_meanwhile = [
            path
            for path, state in self._states.items()
            if state is not None
            and since - _FILE_CLOCK_TICK_NS <= state[0] <= now
            and not os.path.isdir(path)
        ]

    def changed(self) -> str | None:
        """A path that is no longer as it was; None where there is none."""
        if self._changed_meanwhile:
            return self._changed_meanwhile[0]
        for path, state in self._states.items():
            if _state(path) != state:
                return path
        return None


def _new_modules(known: Mapping[str, object]) -> list[object]:
    # Not by name alone: `multiprocessing` has given the main module's to another one. Of a copy: a
    # lazy module in it may load others when it is looked at.
    loaded = list(sys.modules.items())
    return [module for name, module in loaded if known.get(name) is not module]


def _origin(module: object) -> str:
    # Not by `getattr`: some modules load things when asked for what they do not have.
    path = vars(module).get("__file__") if hasattr(module, "__dict__") else None
    return os.path.abspath(path) if isinstance(path, str) else ""


def _watched(path: str) -> str:
    """What to look at for the file `path`; empty for nothing."""
    for name in _PACKAGE_DIRECTORIES:
        head, found, _ = path.partition(f"{os.sep}{name}{os.sep}")
        if found:
            return os.path.join(head, name)
    return "" if path.startswith(_STANDARD_LIBRARY + os.sep) else path


def _state(path: str) -> _State:
    try:
        stat = os.stat(path)
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_size, stat.st_ino
