"""The seam between the journal and the disk, and the real disk behind it.

A `Store` is the journal of one worker. A `Disk` opens stores and runs their blocking calls.
`ThreadedDisk` is SQLite in one thread; a simulated disk on a mock clock fits as well.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Sequence
from contextlib import suppress
from queue import SimpleQueue
from typing import Protocol, TypeAlias, TypeVar, cast

import trio

from ..system.threads import start_thread
from .records import Contents, Record

T = TypeVar("T")


class Store(Protocol):
    """One worker's journal, held by one worker at a time. Synchronous; one call at a time.

    Where a call raises `JournalError`, the store is of no more use but for `set_aside` and `close`.
    """

    @property
    def notice(self) -> str:
        """What a person should know about it although it works; "" for nothing."""
        ...

    def load(self) -> Contents:
        """Read everything; called once, first. What makes no sense is set aside, never deleted."""
        ...

    def apply(self, batch: Sequence[Record]) -> None:
        """Write all records or none; they survive a crash once this returns."""
        ...

    def set_aside(self) -> None:
        """Hide it from the next worker: its contents are no longer true."""
        ...

    def close(self) -> None:
        """Let another worker have it. Idempotent, never raises."""
        ...


class Disk(Protocol):
    """Where stores are."""

    def open_store(self, directory: str, agent_id: str) -> Store:
        """The store of that agent in that directory, made if there is none.

        Raises `StateDirInUseError` where another worker holds it, `JournalError` where there
        cannot be one.
        """
        ...

    async def run(self, call: Callable[[], T]) -> T:
        """Call something of the above without holding up the event loop.

        Cancelled, it leaves the call behind, which may still happen. One call after the other.
        """
        ...


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
            with suppress(trio.RunFinishedError):  # the run is over, and with it the waiting task
                token.run_sync_soon(done.set)

        self._calls.put(work)
        await done.wait()
        if error is not None:
            raise error
        return cast("T", value)


def _work(calls: _Calls) -> None:
    while (call := calls.get()) is not None:
        call()
