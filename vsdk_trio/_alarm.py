"""A moment that one task waits for and that others bring nearer: they wake nobody before it comes.

A leaf: knows trio and nothing of the project.
"""

from __future__ import annotations

import trio


class Alarm:
    """For one waiting task. It is silent until it is set, and again each time it has rung.

    Setting it also works while nobody waits: the next wait is over at that moment.
    """

    def __init__(self) -> None:
        self._pause = trio.CancelScope()

    def ring(self) -> None:
        """The wait is over now."""
        self.ring_at(float("-inf"))

    def ring_at(self, moment: float) -> None:
        """The wait is over at `moment` of Trio's clock, or sooner if that was said before."""
        if moment < self._pause.deadline:
            self._pause.deadline = moment

    async def wait(self) -> None:
        """Wait until it rings."""
        try:
            with self._pause:
                await trio.sleep_forever()
        finally:
            self._pause = trio.CancelScope()
