"""The real disk: SQLite files, each call in a thread that is kept for them."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from typing import TypeAlias, TypeVar, cast

import trio

from ..system.threads import start_thread
from .store import Store

T = TypeVar("T")

_Calls: TypeAlias = "SimpleQueue[Callable[[], None] | None]"


class ThreadedDisk:
    """The `Disk` of a worker in the real world.

    Its thread starts with the first call and is kept: a journal that was opened needs no more
    threads, however few there are later. And a slow disk takes none from others.
    """

    def __init__(self) -> None:
        self._calls: _Calls = SimpleQueue()
        self._has_thread = False

    def open_store(self, directory: str, agent_id: str) -> Store:
        """See `Disk.open_store`."""
        # Imported late: a worker without a state directory needs no SQLite.
        from .sqlite_store import open_sqlite_store

        return open_sqlite_store(directory, agent_id)

    async def run(self, call: Callable[[], T]) -> T:
        """See `Disk.run`. The first one raises `ShortageError` where there is no thread."""
        if not self._has_thread:
            start_thread(
                threading.Thread(target=_work, args=(self._calls,), name="journal", daemon=True)
            )
            self._has_thread = True
            weakref.finalize(self, self._calls.put, None)
        token = trio.lowlevel.current_trio_token()
        done = trio.Event()
        error: BaseException | None = None
        value: T | None = None

        def work() -> None:
            nonlocal value, error
            try:
                value = call()
            except BaseException as raised:  # all of it belongs to the caller
                error = raised
            with suppress(trio.RunFinishedError):  # nobody waits any more
                token.run_sync_soon(done.set)

        self._calls.put(work)
        await done.wait()
        if error is not None:
            raise error
        return cast("T", value)


def _work(calls: _Calls) -> None:
    while (call := calls.get()) is not None:
        call()
