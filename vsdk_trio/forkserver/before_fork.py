"""The decorator for an `initialize_process_fnc` whose result job processes may share. A leaf."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, TypeVar

_ATTRIBUTE = "__vsdk_trio_before_fork__"

_F = TypeVar("_F", bound=Callable[..., Any])


def before_fork(function: _F) -> _F:
    """Run an `initialize_process_fnc` once, in the template from which jobs are forked.

    Every job process then has the values that it stores in `process.userdata`. The fork copies
    them; their memory is shared until a process writes to it. Use it for models, tables and
    templates. A fork breaks connections, threads and event loops. Without this decorator, and with
    start method "spawn", the function runs in each job process.

    Args:
        function: The `initialize_process_fnc`.

    Returns:
        The same function.

    Raises:
        TypeError: It is an `async def` function, and the template has no event loop.
    """
    if inspect.iscoroutinefunction(function):
        raise TypeError(
            f"before_fork: {function.__qualname__} is an `async def` function, and the template "
            "has no event loop to run it in; make it a plain function"
        )
    setattr(function, _ATTRIBUTE, True)
    return function


def runs_before_fork(function: Callable[..., Any]) -> bool:
    """Return whether `before_fork` decorates `function`."""
    return bool(getattr(function, _ATTRIBUTE, False))
