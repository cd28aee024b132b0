"""Containment for the reader task of trio-websocket.

trio-websocket starts its reader in a nursery it is given, and lets everything that goes wrong in
it out there: a peer could crash us with one frame. `ReaderGuard` stands in for that nursery. It
is a leaf: knows trio-websocket's shape, and must not know the protocol spoken over it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from typing import Any, cast

import trio


class ReaderGuard:
    """Runs one reader task: contains its crash, outlives cancellation, tells when it has ended.

    The reader is shielded, because the close handshake needs it after a cancellation; whoever
    opens a guard must call `stop()` in a `finally`.
    """

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        self._scope = trio.CancelScope(shield=True)
        self._waiting: set[trio.CancelScope] = set()
        self._ended = trio.Event()
        self.error: Exception | None = None
        self.reader_of: Any = None

    def as_nursery(self) -> trio.Nursery:
        """What trio-websocket takes for a nursery: it uses nothing but `start_soon`."""
        return cast("trio.Nursery", self)

    def start_soon(self, reader: Callable[[], Awaitable[object]]) -> None:
        """Called by trio-websocket, once, with the bound reader method of its connection."""
        self.reader_of = getattr(reader, "__self__", None)
        self._nursery.start_soon(self._run, reader)

    async def _run(self, reader: Callable[[], Awaitable[object]]) -> None:
        try:
            with self._scope:
                await reader()
        except Exception as error:
            # The boundary to foreign code that is fed by the network: whatever a peer's bytes
            # provoke in there is the end of this link, and of nothing else.
            self.error = error
        finally:
            self._ended.set()
            for scope in self._waiting:
                scope.cancel()

    def stop(self) -> None:
        """End the reader."""
        self._scope.cancel()

    async def wait_ended(self) -> None:
        """Wait for the end of the reader."""
        await self._ended.wait()

    @contextmanager
    def while_reading(self) -> Generator[trio.CancelScope]:
        """Bound a wait for something that only the reader can bring about: its end cancels it."""
        with trio.CancelScope() as scope:
            if self._ended.is_set():
                scope.cancel()
            self._waiting.add(scope)
            try:
                yield scope
            finally:
                self._waiting.discard(scope)
