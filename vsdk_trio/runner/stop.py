"""A wish that a job may end: from outside, by a frame, EOF or a signal; or from its room.

Knows trio and nothing of the project.
"""

from __future__ import annotations

import trio


class StopRequest:
    """Whether somebody wants the end, and why; the first reason counts.

    Argument: `wakes`, an event to set as well, for somebody who waits for other things, too.
    """

    def __init__(self, *, wakes: trio.Event | None = None) -> None:
        self._requested = trio.Event()
        self._wakes = wakes
        self._reason = ""

    @property
    def reason(self) -> str:
        """Why; empty while nobody has asked."""
        return self._reason

    @property
    def is_requested(self) -> bool:
        """Whether anybody has asked."""
        return self._requested.is_set()

    def request(self, reason: str) -> None:
        """Ask for the end. Asking again changes nothing."""
        if not self._requested.is_set():
            self._reason = reason
            self._requested.set()
            if self._wakes is not None:
                self._wakes.set()

    async def wait(self) -> str:
        """Wait for the request; returns the reason."""
        await self._requested.wait()
        return self._reason
