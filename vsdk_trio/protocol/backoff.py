"""When to try again: the reference's schedule, with full jitter and a reset that is earned.

Knows neither a clock nor what is tried: it is told `now`, in seconds, and answers in seconds.
"""

from __future__ import annotations

import random
from typing import Final

from ..errors import IllegalTransitionError

# The reference's schedule starts at 0 s. A fleet that loses its registry loses it all at once, so
# that even the first retry needs some room for jitter.
_FIRST_CEILING_SECONDS: Final = 1.0
_CEILING_STEP_SECONDS: Final = 2.0


class Backoff:
    """Counts failures in a row, and says how long to wait after each.

    Arguments: `max_retry`, retries before there are no more; `rng`, the source of jitter;
    `stable_after`, the seconds that a session must stay registered to be worth a new count. A
    registry that accepts and then drops at once is as good as down, and resets nothing.
    """

    slowest_seconds: Final = 10.0

    def __init__(
        self, max_retry: int = 16, *, rng: random.Random, stable_after: float = 10.0
    ) -> None:
        self._max_retry = max_retry
        self._rng = rng
        self._stable_after = stable_after
        self._tries = 0
        self._registered_at: float | None = None

    def __repr__(self) -> str:
        return f"<Backoff: {self._tries} of {self._max_retry} retries used>"

    @property
    def tries(self) -> int:
        """Retries used since the last stable session."""
        return self._tries

    def failed(self) -> float | None:
        """Note an attempt that led to no session; return the delay in seconds, None if used up.

        Raises `IllegalTransitionError` while a session is registered: that one is `lost`.
        """
        if self._registered_at is not None:
            raise IllegalTransitionError("an attempt failed while a session is registered")
        return self._next_delay()

    def registered(self, now: float) -> None:
        """Note that a session is registered. Raises `IllegalTransitionError` where one is."""
        if self._registered_at is not None:
            raise IllegalTransitionError("a session is registered already")
        self._registered_at = now

    def lost(self, now: float) -> float | None:
        """Note the end of the session; return the delay in seconds, None if retries are used up.

        Raises `IllegalTransitionError` where none is registered: that is an attempt that `failed`.
        """
        if self._registered_at is None:
            raise IllegalTransitionError("a session was lost, but none is registered")
        if now - self._registered_at >= self._stable_after:
            self._tries = 0
        self._registered_at = None
        return self._next_delay()

    def _next_delay(self) -> float | None:
        if self._tries >= self._max_retry:
            return None
        ceiling = (
            min(self._tries * _CEILING_STEP_SECONDS, self.slowest_seconds)
            if self._tries
            else _FIRST_CEILING_SECONDS
        )
        self._tries += 1
        return self._rng.uniform(0, ceiling)
