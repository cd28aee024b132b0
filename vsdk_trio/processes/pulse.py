"""Signs of life of one job process: what it was asked, what it has answered, and how late.

Knows trio's clock and two frames. Must not know how they travel, or what a silence means.
"""

from __future__ import annotations

import trio

from ..control.frames import Ping, Pong


class Pulse:
    """Pings to a process and its answers; one ping at a time."""

    def __init__(self) -> None:
        self.round_trip_seconds: float | None = None
        """How long the last answer took to come."""
        self._lag_seconds: float | None = None
        self._pings = 0
        self._asked_at = 0.0
        self._answered = trio.Event()

    def ask(self) -> tuple[Ping, trio.Event]:
        """The next ping, to be sent now, and the event of its answer."""
        self._pings += 1
        self._asked_at = trio.current_time()
        self._answered = trio.Event()
        return Ping(seq=self._pings), self._answered

    def note(self, pong: Pong) -> None:
        """An answer has come."""
        self._lag_seconds = pong.lag_ms / 1000
        if pong.seq == self._pings:
            self.round_trip_seconds = trio.current_time() - self._asked_at
            self._answered.set()

    @property
    def silent_since(self) -> float | None:
        """When it was asked what it has not answered yet; None where nothing is due."""
        return self._asked_at if self._pings and not self._answered.is_set() else None

    @property
    def lag_seconds(self) -> float | None:
        """How long the process's event loop was blocked at worst, by its last answer.

        While an answer is due, it is blocked at least since it was asked.
        """
        if (since := self.silent_since) is not None:
            return max(self._lag_seconds or 0.0, trio.current_time() - since)
        return self._lag_seconds
