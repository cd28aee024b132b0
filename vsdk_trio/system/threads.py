"""The one way to start a thread, directly or by a function of trio's that needs one.

A leaf. Python says that there are no more threads by a `RuntimeError`, which looks like a bug and
would end the worker. Here it becomes the `ShortageError` that it is. `tests/test_threads.py` lists
every place that starts a thread, and fails when one is added that does not go through here.
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
    """Around a call that may start a thread: a lack of one is a `ShortageError`.

    Args:
        doing: What the thread is for, as in "cannot <doing>".
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
    """`trio.to_thread.run_sync`, which raises `ShortageError` where there is no thread.

    Args:
        doing: What it is for, as in "cannot <doing>".
        function: Called with `args`.
        abandon_on_cancel: See `trio.to_thread.run_sync`.
    """
    with starting_threads(doing):
        result = await trio.to_thread.run_sync(function, *args, abandon_on_cancel=abandon_on_cancel)
    SHORTAGES.over(Resource.THREADS)
    return result


def could_start(thread: threading.Thread) -> bool:
    """Start a thread of ours if there can be one. For the log, which cannot be told by a log."""
    try:
        thread.start()
    except RuntimeError as error:
        if resource_of(error) is not Resource.THREADS:
            raise
        return False
    return True


def start_thread(thread: threading.Thread) -> None:
    """Start a thread of ours; raises `ShortageError` where there can be none."""
    with starting_threads(f"start the thread {thread.name!r}"):
        thread.start()
    SHORTAGES.over(Resource.THREADS)
