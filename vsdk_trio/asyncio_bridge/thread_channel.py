"""Values from another thread into a bounded memory channel of Trio.

A leaf: knows trio and threads. Whoever puts a value in never waits and never fails; what finds no
room is dropped and counted, so that a flood costs values and not memory.
"""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from typing import Generic, TypeVar

import trio

_T = TypeVar("_T")


class Handover(Generic[_T]):
    """One end in any thread (`put`), the other in Trio's (`receive`). Make it in Trio's.

    Arguments: `capacity`, how many values may wait to be read. `dropped` counts those that found no
    room. Order is kept.
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
        """Hand `value` over, from any thread; it is dropped where there is no room or no reader."""
        with self._lock:
            if len(self._arriving) >= self._capacity:
                self.dropped += 1
                return
            self._arriving.append(value)
        with contextlib.suppress(trio.RunFinishedError):  # no reader will ever come
            self._token.run_sync_soon(self._move, idempotent=True)

    def take_dropped(self) -> int:
        """How many were dropped since this was asked last; `dropped` starts anew."""
        with self._lock:
            dropped, self.dropped = self.dropped, 0
        return dropped

    def close(self) -> None:
        """Let the reader come to the end of what was put before; call it in Trio's thread."""
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
