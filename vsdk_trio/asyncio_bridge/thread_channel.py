"""Values from another thread into a bounded memory channel of Trio.

The writing thread never waits and never fails. A value that finds no room is dropped and counted,
so a flood costs values and not memory. A leaf: knows trio and threads.
"""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from typing import Generic, TypeVar

import trio

_T = TypeVar("_T")


class ThreadChannel(Generic[_T]):
    """A bounded channel: any thread writes with `put`, Trio's thread reads from `receive`.

    Make it in Trio's thread. Order is kept. `dropped` counts the values that found no room.

    Args:
        capacity: How many values may wait to be read.
    """

    def __init__(self, capacity: int) -> None:
        self.receive: trio.MemoryReceiveChannel[_T]
        self._send, self.receive = trio.open_memory_channel[_T](capacity)
        self._token = trio.lowlevel.current_trio_token()
        self._lock = threading.Lock()
        self._arriving: deque[_T] = deque()
        self._capacity = capacity
        self.dropped = 0

    def put(self, value: _T) -> None:
        """Send `value`, from any thread. It is dropped if there is no room or no reader."""
        with self._lock:
            if len(self._arriving) >= self._capacity:
                self.dropped += 1
                return
            self._arriving.append(value)
        with contextlib.suppress(trio.RunFinishedError):  # no reader will ever come
            self._token.run_sync_soon(self._move, idempotent=True)

    def take_dropped(self) -> int:
        """Return how many values were dropped since the last call, and reset `dropped`."""
        with self._lock:
            dropped, self.dropped = self.dropped, 0
        return dropped

    def close(self) -> None:
        """End the channel after the values that are in it. Call it in Trio's thread."""
        self._move()
        self._send.close()

    def _move(self) -> None:
        while True:
            with self._lock:
                if not self._arriving:
                    return
                value = self._arriving.popleft()
            try:
                self._send.send_nowait(value)
            except (trio.WouldBlock, trio.BrokenResourceError, trio.ClosedResourceError):
                with self._lock:
                    self.dropped += 1
