"""What is to happen when in a simulated world.

Knows trio's clock; not what happens.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable

import trio


class Agenda:
    """Calls functions at given times; what is due at the same time is called in order.

    `run` must run as a task for as long as anything is to happen.
    """

    def __init__(self) -> None:
        self._due: list[tuple[float, int, Callable[[], object]]] = []
        self._number = 0
        self._waiting: trio.CancelScope | None = None

    def at(self, when: float, call: Callable[[], object]) -> None:
        """Have `call()` called at `when`, in seconds on trio's clock."""
        self._number += 1
        heapq.heappush(self._due, (when, self._number, call))
        if self._waiting is not None and when < self._waiting.deadline:
            self._waiting.deadline = when

    async def run(self) -> None:
        """Keep the agenda, until cancelled."""
        while True:
            now = trio.current_time()
            while self._due and self._due[0][0] <= now:
                heapq.heappop(self._due)[2]()
            with trio.CancelScope() as self._waiting:
                if self._due:
                    self._waiting.deadline = self._due[0][0]
                await trio.sleep_forever()
