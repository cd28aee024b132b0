"""A worker as the registry sees it.

Pure. Knows what a worker said of itself and what was put on it since; knows no links and no
messages.
"""

from __future__ import annotations

import attrs

# What a worker is called that must not be offered anything. Every other word, known or not, means
# that it may be asked: the documented vocabulary says `busy` for "has jobs, may take more", for
# "full" and for "draining", and only its answer tells which.
_NOT_TAKING = frozenset({"draining", "offline", "error"})

# For a worker that did not say how many jobs it can run; the default of the published client.
_ASSUMED_CAPACITY = 10


@attrs.frozen(kw_only=True)
class Worker:
    """One worker at one moment; a new value for every change.

    `capacity` is its `max_processes`, None where it did not say. `status`, `load` and `job_count`
    are its own last report, `jobs` the ids this registry has put on it, offers included. `away`
    means that its link is gone and the registry waits for it. `reannounces` is true for a worker
    that tells a new session what it still runs; `turn` is the number of the last offer made to it.
    `is_silent` means that it let the last offer expire: a stopped process keeps its link.
    """

    worker_id: str
    agent_id: str
    capacity: int | None = None
    reannounces: bool = True
    status: str = ""
    load: float = 0.0
    job_count: int = 0
    jobs: frozenset[str] = frozenset()
    away: bool = False
    turn: int = 0
    is_silent: bool = False

    @property
    def is_taking(self) -> bool:
        """May it be offered one more job?"""
        return not self.away and not self.is_full and not self.is_closed

    @property
    def is_full(self) -> bool:
        """Has it as many jobs as it said that it can run?"""
        return self.capacity is not None and len(self.jobs) >= self.capacity

    @property
    def is_closed(self) -> bool:
        """Does it call itself one that takes no jobs at all?"""
        return self.status in _NOT_TAKING

    @property
    def expected_load(self) -> float:
        """The load it reported, plus the share of what was put on it and is not in that report."""
        unreported = max(0, len(self.jobs) - self.job_count)
        return self.load + unreported / (self.capacity or _ASSUMED_CAPACITY)

    @property
    def adoptable(self) -> int:
        """How many more jobs that nobody dispatched here are believed to run on it."""
        return max(0, (self.capacity or _ASSUMED_CAPACITY) - len(self.jobs))
