"""The real disk: SQLite files, each call in a thread."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import attrs
import trio

from .store import Store

T = TypeVar("T")


@attrs.frozen
class ThreadedDisk:
    """The `Disk` of a worker in the real world."""

    # Its own: slow disks must not take threads from others, nor wait for them.
    _limiter: trio.CapacityLimiter = attrs.field(factory=lambda: trio.CapacityLimiter(1))

    def open_store(self, directory: str, agent_id: str) -> Store:
        """See `Disk.open_store`."""
        # Imported late: a worker without a state directory needs no SQLite.
        from .sqlite_store import open_sqlite_store

        return open_sqlite_store(directory, agent_id)

    async def run(self, call: Callable[[], T]) -> T:
        """See `Disk.run`."""
        return await trio.to_thread.run_sync(call, abandon_on_cancel=True, limiter=self._limiter)
