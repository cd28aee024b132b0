"""What follows a failed attempt or a lost session: how long to wait, or to give up with what.

Pure: time comes in as `now`, jitter through the given `Backoff` and `random.Random`. Must not
know how an attempt is made.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from ..errors import RegistrationRefusedError, RegistryUnreachableError
from ..protocol.backoff import Backoff

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

        While leaving nothing is final but the patience of whoever waits, which is short: so is the
        wait, unless the registry has asked for another.
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
