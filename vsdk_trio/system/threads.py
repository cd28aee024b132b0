"""Starts threads, directly or by a function of trio that needs one.

If there can be no more threads, Python raises a `RuntimeError`, which looks like a bug and would
end the worker. Here it becomes a `ShortageError`. `tests/test_threads.py` lists every place that
starts a thread, and fails for a new one that does not use this module. A leaf.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar, TypeVarTuple

import trio

from ..errors import Resource
from .shortages import SHORTAGES, resource_of, shortage

_T = TypeVar("_T")
_Ts = TypeVarTuple("_Ts")


@contextmanager
def starting_threads(doing: str) -> Iterator[None]:
    """Turn a lack of threads in the body into a `ShortageError`.

    Args:
        doing: The purpose of the thread, as in "cannot <doing>".
    """
    try:
        yield
    except RuntimeError as error:
        if resource_of(error) is not Resource.THREADS:
            raise
        raise shortage(Resource.THREADS, doing, error) from error


async def run_in_thread(
    doing: str,
    function: Callable[[*_Ts], _T],
    *args: *_Ts,
    abandon_on_cancel: bool = False,
) -> _T:
    """Call `trio.to_thread.run_sync`; a lack of threads is a `ShortageError`.

    Args:
        doing: The purpose of the thread, as in "cannot <doing>".
        function: Called with `args`.
        abandon_on_cancel: See `trio.to_thread.run_sync`.
    """
    with starting_threads(doing):
        result = await trio.to_thread.run_sync(function, *args, abandon_on_cancel=abandon_on_cancel)
    SHORTAGES.over(Resource.THREADS)
    return result


def could_start(thread: threading.Thread) -> bool:
    """Start a thread and return whether there can be one. For the log, which cannot log a lack."""
    try:
        thread.start()
    except RuntimeError as error:
        if resource_of(error) is not Resource.THREADS:
            raise
        return False
    return True


def start_thread(thread: threading.Thread) -> None:
    """Start a thread.

    Raises:
        ShortageError: There can be none.
    """
    with starting_threads(f"start the thread {thread.name!r}"):
        thread.start()
    SHORTAGES.over(Resource.THREADS)
