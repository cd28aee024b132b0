"""Decides how many job processes to start now: for jobs that wait, and to keep some idle.

Pure. The pool counts its processes and asks; this module knows neither processes nor the clock.
"""

from __future__ import annotations

import attrs

from ..system.backoff import next_delay

FIRST_RETRY_SECONDS = 0.5
SLOWEST_RETRY_SECONDS = 30.0
REFILL_DELAY_SECONDS = 0.05
AFTER_ANSWER_SECONDS = 0.005


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
    """Decides how many processes to start: first for jobs that wait, then to keep some idle.

    Refills wait for jobs, are few at a time, and back off after failures. A job that waits is
    delayed by nothing else, because it learns from its own start what is wrong.

    Args:
        num_idle: How many processes to keep ready.
        max_processes: The bound on all processes.
        max_refills: How many may start at once to become idle ones.
        max_starting: How many may start at once in all. A burst of jobs that starts all its
            processes at the same moment would make each of them late.
    """

    def __init__(
        self, *, num_idle: int, max_processes: int, max_refills: int = 2, max_starting: int = 8
    ) -> None:
        if num_idle < 0 or max_processes < 1 or not 1 <= max_refills <= max_starting:
            raise ValueError(
                "num_idle must be at least 0, max_processes and max_refills at least 1, "
                "max_starting at least max_refills"
            )
        self._num_idle = num_idle
        self._max_processes = max_processes
        self._max_refills = max_refills
        self._max_starting = max_starting
        self._retry_seconds = 0.0
        self._backed_off_until = float("-inf")
        self._held_until = float("-inf")
        self._unanswered: set[int] = set()

    def to_start(self, census: Census, *, now: float, probe: bool = False) -> int:
        """Return how many processes to start now; at most up to `max_processes` in all.

        Args:
            census: How many there are.
            now: The time in seconds.
            probe: Start one to see whether it comes up, whatever `num_idle` is.
        """
        room = min(
            self._max_processes - census.processes,
            self._max_starting - census.starting,
        )
        wanted = census.waiting - census.idle - census.starting
        if self.refill_at <= now:
            # A process that starts for a waiting job will not become idle.
            most = self._max_refills
            if probe:
                wanted, most = max(wanted, 0), 1
            idle = 1 if probe else self._num_idle
            wanted = max(wanted, min(wanted + idle, most - census.starting))
        return max(0, min(room, wanted))

    def wants_to_keep(self, census: Census) -> bool:
        """Return whether one more ready process, for which no job waits, should stay."""
        return census.idle < self._num_idle

    @property
    def refill_at(self) -> float:
        """The time from which refills may start; it may be past."""
        return max(self._held_until, self._backed_off_until)

    def taken(self, pid: int, *, now: float) -> None:
        """A process got a job: no refill may compete with it until it is `answered`."""
        self._unanswered.add(pid)
        # From the first of several: a steady stream of jobs must not put the refill off for ever.
        if self._held_until <= now:
            self._held_until = now + REFILL_DELAY_SECONDS

    def answered(self, pid: int, *, now: float) -> bool:
        """The worker is reporting that the job of a process runs, or the job is over.

        Returns:
            Whether a refill may begin sooner. It may not if the process was not `taken` or was
            answered before, or while other jobs are not answered.
        """
        if pid not in self._unanswered:
            return False
        self._unanswered.remove(pid)
        # Not at once: the registry's answer is written, and the job's first lines run, before.
        if self._unanswered or self._held_until <= now + AFTER_ANSWER_SECONDS:
            return False
        self._held_until = now + AFTER_ANSWER_SECONDS
        return True

    def became_ready(self) -> None:
        """A start has succeeded: the next failure counts as the first one."""
        self._retry_seconds = 0.0

    def renewed(self) -> None:
        """The code is new, so earlier failures do not count: refill at once."""
        self._retry_seconds = 0.0
        self._backed_off_until = float("-inf")

    def failed(self, *, now: float) -> None:
        """A start failed or an idle process died: hold the next refill back, longer each time."""
        self._retry_seconds = next_delay(
            self._retry_seconds, first=FIRST_RETRY_SECONDS, longest=SLOWEST_RETRY_SECONDS
        )
        self._backed_off_until = now + self._retry_seconds
