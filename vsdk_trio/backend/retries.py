"""When to try again to reach the registry, and when to give up.

The first retry after a lost session comes at once; after that the delay follows the length of the
outage. Pure: time comes in as `now`, in seconds, and jitter from the given `random.Random`.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Final

from ..errors import IllegalTransitionError, RegistrationRefusedError, RegistryUnreachableError

# A session that lasted this long was real; what ended it may be over already, as a reset is.
_REAL_SESSION_SECONDS: Final = 1.0
_AFTER_A_RESET_SECONDS: Final = 0.2
_SHORTEST_SECONDS: Final = 1.0
# An outage of T seconds costs at most T / 3 more, until the pace is the slowest one.
_SHARE_OF_OUTAGE: Final = 1 / 3


class Backoff:
    """Counts failures in a row and gives the delay after each.

    The delay is between a half and the whole of a third of the outage so far, at least 1 s, at most
    `slowest_seconds`. The first one after a lost session is at most 0.2 s.

    Args:
        max_retry: Retries before there are no more, but not before the reference's schedule
            (0, 2, 4, 6, 8, 10, 10 ... seconds) would have used them up.
        rng: The source of jitter.
        stable_after: Seconds that a session must stay registered to end the outage. A registry
            that accepts and then drops at once is as good as down.
    """

    slowest_seconds: Final = 10.0

    def __init__(
        self, max_retry: int = 16, *, rng: random.Random, stable_after: float = 10.0
    ) -> None:
        self._max_retry = max_retry
        self._least_outage = sum(min(2.0 * n, self.slowest_seconds) for n in range(max_retry))
        self._rng = rng
        self._stable_after = stable_after
        self._tries = 0
        self._failing_since: float | None = None
        self._registered_at: float | None = None

    def __repr__(self) -> str:
        return f"<Backoff: {self._tries} retries, at least {self._max_retry}>"

    @property
    def tries(self) -> int:
        """Retries used since the last stable session."""
        return self._tries

    def failed(self, now: float) -> float | None:
        """Note an attempt that led to no session; return the delay in seconds, None if used up.

        Raises `IllegalTransitionError` while a session is registered: call `lost` then.
        """
        if self._registered_at is not None:
            raise IllegalTransitionError("an attempt failed while a session is registered")
        return self._next_delay(now, was_real=False)

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
        lasted = now - self._registered_at
        if lasted >= self._stable_after:
            self._tries = 0
            self._failing_since = None
        self._registered_at = None
        return self._next_delay(now, was_real=lasted >= _REAL_SESSION_SECONDS)

    def _next_delay(self, now: float, *, was_real: bool) -> float | None:
        if self._failing_since is None:
            self._failing_since = now
        outage = now - self._failing_since
        if self._tries >= self._max_retry and outage >= self._least_outage:
            return None
        self._tries += 1
        if was_real:
            return self._rng.uniform(0, _AFTER_A_RESET_SECONDS)
        longest = min(max(outage * _SHARE_OF_OUTAGE, _SHORTEST_SECONDS), self.slowest_seconds)
        return self._rng.uniform(longest / 2, longest)


MAX_RETRY_AFTER_SECONDS = 60.0
LEAVING_SECONDS = 1.0


class Retries:
    """Counts attempts; asks `give_up` before it ends with an error.

    Where `give_up` says no (a worker that still has jobs), the attempts go on at the slowest pace.
    """

    def __init__(
        self, max_retry: int, rng: random.Random, give_up: Callable[[Exception], bool]
    ) -> None:
        self._backoff = Backoff(max_retry, rng=rng)
        self._rng = rng
        self._give_up = give_up

    @property
    def tries(self) -> int:
        """Retries used since the last stable session."""
        return self._backoff.tries

    def registered(self, now: float) -> None:
        """Note a registered session."""
        self._backoff.registered(now)

    def delay_after(
        self, error: Exception, *, was_registered: bool, now: float, is_leaving: bool
    ) -> float:
        """Return the seconds to wait; raises the final error where it is time to give up.

        While leaving, no error is final and waits are short, because the caller has a short time
        limit; a longer `Retry-After` of the registry is respected.
        """
        delay = self._backoff.lost(now) if was_registered else self._backoff.failed(now)
        asked = min(getattr(error, "retry_after", None) or 0.0, MAX_RETRY_AFTER_SECONDS)
        if is_leaving:
            return max(asked, self._rng.uniform(LEAVING_SECONDS / 4, LEAVING_SECONDS))
        if isinstance(error, RegistrationRefusedError):
            final: Exception = error
        elif delay is None:
            attempts = f"{self.tries + 1} attempt" + "s" * (self.tries > 0)
            final = RegistryUnreachableError(
                f"the registry could not be reached in {attempts}: {error}"
            )
        else:
            return max(delay, asked)
        if not self._give_up(final):
            slowest = self._backoff.slowest_seconds
            return self._rng.uniform(slowest / 2, slowest)
        raise final from (None if final is error else error)
