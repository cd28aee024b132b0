"""A request to stop, from outside the job: by a frame, by EOF, or by a signal.

Knows trio and nothing of the project.
"""

from __future__ import annotations

import trio


class StopRequest:
    """Whether the job was asked to stop, and why; the first reason counts."""

    def __init__(self) -> None:
        self._requested = trio.Event()
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
        """Ask the job to stop. Asking again changes nothing."""
        if not self._requested.is_set():
            self._reason = reason
            self._requested.set()

    async def wait(self) -> str:
        """Wait for the request; returns the reason."""
        await self._requested.wait()
        return self._reason
