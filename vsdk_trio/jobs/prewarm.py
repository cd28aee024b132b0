"""Decides how many job processes to start now: for jobs that wait, and to keep some idle.

Pure. The pool counts its processes and asks; this module knows neither processes nor the clock.
"""

from __future__ import annotations

import attrs

FIRST_RETRY_SECONDS = 0.5
SLOWEST_RETRY_SECONDS = 30.0
REFILL_DELAY_SECONDS = 0.05


@attrs.frozen(kw_only=True)
class Census:
    """How many job processes are in which state, and how many jobs wait for one."""

    idle: int
    starting: int
    running: int
    waiting: int

    @property
    def processes(self) -> int:
        """All that exist, whatever they do."""
        return self.idle + self.starting + self.running


class Prewarm:
    """Demand is served at once; refills wait, are few at a time, and back off after failures.

    Arguments: `num_idle`, how many to keep ready; `max_processes`, the bound on all of them;
    `max_starting`, how many may start at once to become idle ones. A job that waits is not held
    up by `max_starting` or a back-off: its own start is how it learns what is wrong.
    """

    def __init__(self, *, num_idle: int, max_processes: int, max_starting: int = 2) -> None:
        if num_idle < 0 or max_processes < 1 or max_starting < 1:
            raise ValueError("num_idle must be at least 0, max_processes and max_starting 1")
        self._num_idle = num_idle
        self._max_processes = max_processes
        self._max_starting = max_starting
        self._failures = 0
        self._refill_at = float("-inf")

    def to_start(self, census: Census, *, now: float) -> int:
        """How many processes to start now. Never so many that there are over `max_processes`."""
        room = max(0, self._max_processes - census.processes)
        demand = max(0, census.waiting - census.idle - census.starting)
        refill = 0
        if now >= self._refill_at:
            # What starts for a job that waits will not become idle.
            missing = self._num_idle + census.waiting - census.idle - census.starting
            refill = min(missing, self._max_starting - census.starting)
        return min(room, max(demand, refill))

    def wants_to_keep(self, census: Census) -> bool:
        """Whether one more process that is ready, and that no job waits for, should stay."""
        return census.idle < self._num_idle

    def refill_in(self, *, now: float) -> float:
        """Seconds until refilling is no longer held back; 0.0 when it is not."""
        return max(0.0, self._refill_at - now)

    def taken(self, *, now: float) -> None:
        """An idle process got a job. Its first moments are not disturbed by starting another."""
        # From the first of several: a steady stream of jobs must not put the refill off for ever.
        if self._refill_at <= now:
            self._refill_at = now + REFILL_DELAY_SECONDS

    def became_ready(self) -> None:
        """A start succeeded: the next failure is a first one again."""
        self._failures = 0

    def renewed(self) -> None:
        """What failed may not fail again: refill at once."""
        self._failures = 0
        self._refill_at = float("-inf")

    def failed(self, *, now: float) -> None:
        """A start failed or an idle process died: hold the next refill back, longer each time."""
        delay = min(FIRST_RETRY_SECONDS * 2**self._failures, SLOWEST_RETRY_SECONDS)
        # Beyond this the delay is the slowest one anyway, and 2**n would grow without bound.
        self._failures = min(self._failures + 1, 16)
        self._refill_at = now + delay
