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
        self._next = trio.Event()

    def notify(self) -> None:
        """Something changed."""
        self._next.set()
        self._next = trio.Event()

    async def wait(self) -> None:
        """Wait for the next change."""
        await self._next.wait()
