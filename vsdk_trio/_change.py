"""A change that tasks wait for: like an event that is reset as it is set.

A leaf: knows trio and nothing of the project.
"""

from __future__ import annotations

import trio


class Change:
    """Wakes everybody who is waiting; whoever waits later waits for the next change.

    Look at the state first and wait then, with no checkpoint in between, and no change is missed.
    """

    def __init__(self) -> None:
        # Made by the first who waits: most changes are seen by nobody, and cost next to nothing.
        self._next: trio.Event | None = None
        self._settling: dict[trio.CancelScope, float] = {}

    def notify(self) -> None:
        """Something changed."""
        if self._next is not None:
            self._next.set()
            self._next = None
        for scope, seconds in self._settling.items():
            # In a burst the first change has moved it already; moving it again is not for free.
            if (settled_at := trio.current_time() + seconds) < scope.deadline:
                scope.deadline = settled_at

    async def wait(self) -> None:
        """Wait for the next change."""
        if self._next is None:
            self._next = trio.Event()
        await self._next.wait()

    async def settle(self, seconds: float, *, at_most: float) -> None:
        """Wait for the next change and `seconds` more, but `at_most` seconds in all.

        Changes come in bursts, in the middle of what somebody waits for: they wake nobody here.
        """
        with trio.move_on_after(at_most) as scope:
            self._settling[scope] = seconds
            try:
                await trio.sleep_forever()
            finally:
                del self._settling[scope]
