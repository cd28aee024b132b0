"""A wish that a job may end: from outside, by a frame, EOF or a signal; or from its room.

Knows trio and nothing of the project.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import trio


class StopRequest:
    """Whether somebody wants the end, and why; the first reason counts."""

    def __init__(self) -> None:
        self._requested = trio.Event()
        self._calls: list[Callable[[], object]] = []
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
            for call in self._calls:
                call()

    @contextmanager
    def calling(self, call: Callable[[], object]) -> Iterator[None]:
        """Call `call` once if the end is asked for before the body ends, or was before.

        It takes no task to wait for it, which would have to be started before a job can begin.
        """
        if self._requested.is_set():
            call()
        self._calls.append(call)
        try:
            yield
        finally:
            self._calls.remove(call)

    async def wait(self) -> str:
        """Wait for the request; returns the reason."""
        await self._requested.wait()
        return self._reason
