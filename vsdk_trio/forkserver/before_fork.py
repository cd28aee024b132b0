"""Marks an `initialize_process_fnc` whose result job processes may share.

A leaf: a mark on a function, and the look for it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, TypeVar

_ATTRIBUTE = "__vsdk_trio_before_fork__"

_F = TypeVar("_F", bound=Callable[..., Any])


def before_fork(function: _F) -> _F:
    """Have an `initialize_process_fnc` run once, in the template that jobs are forked from.

    What it stores in `process.userdata` is then in every job process without having been loaded
    there: copied by the fork, shared in memory until it is written to. For models, tables and
    templates; not for connections, threads and event loops, which a fork breaks. Without the mark,
    and with start method "spawn", it runs in each job process.

    Raises `TypeError` for an `async def` function: the template has no event loop.
    """
    if inspect.iscoroutinefunction(function):
        raise TypeError(
            f"before_fork: {function.__qualname__} is an `async def` function, and the template "
            "has no event loop to run it in; make it a plain function"
        )
    setattr(function, _ATTRIBUTE, True)
    return function


def runs_before_fork(function: Callable[..., Any]) -> bool:
    """Whether `function` is marked."""
    return bool(getattr(function, _ATTRIBUTE, False))
