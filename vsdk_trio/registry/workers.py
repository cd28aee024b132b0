"""Workers as the registry sees them, and which of several is asked first.

Pure. Knows what a worker said of itself and what was put on it since; knows no links and no
messages.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import attrs

from ..errors import IllegalTransitionError

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
        full = self.capacity is not None and len(self.jobs) >= self.capacity
        return not self.away and not full and not self.is_closed

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


def least_loaded(workers: Iterable[Worker]) -> Worker | None:
    """The worker to ask next: least load, then fewest jobs, then the one not asked for longest.

    One that let its last offer expire comes after all others, or every job would wait for it.
    """
    return min(
        (worker for worker in workers if worker.is_taking),
        key=lambda worker: (
            worker.is_silent,
            worker.expected_load,
            len(worker.jobs),
            worker.turn,
        ),
        default=None,
    )


class Roster:
    """The workers by id, and which agents were ever served.

    Arguments: `max_agents`, how many agent ids are remembered; the one not seen for longest goes.
    A worker that is away is kept only as long as it holds jobs: its id is welcome again anyway.
    """

    def __init__(self, *, max_agents: int = 10_000) -> None:
        self._workers: dict[str, Worker] = {}
        self._agents: dict[str, None] = {}
        self._max_agents = max_agents

    def get(self, worker_id: str) -> Worker | None:
        """The worker as it stands, present or away."""
        return self._workers.get(worker_id)

    def all(self) -> tuple[Worker, ...]:
        """Every worker, in the order of their last registration."""
        return tuple(self._workers.values())

    def linked(self, worker_id: str) -> Worker:
        """The worker; raises `IllegalTransitionError` where it has no link that could speak."""
        worker = self._workers.get(worker_id)
        if worker is None or worker.away:
            raise IllegalTransitionError(f"the worker {worker_id!r} has no link")
        return worker

    def of_agent(self, agent_id: str) -> tuple[Worker, ...]:
        """The workers of an agent that have a link."""
        return tuple(w for w in self._workers.values() if w.agent_id == agent_id and not w.away)

    def has_served(self, agent_id: str) -> bool:
        """Was there ever a worker of this agent, as far as remembered?"""
        return agent_id in self._agents

    def join(self, worker: Worker) -> Worker:
        """Enter a worker that registered; one of the same id leaves it its jobs."""
        self._agents.pop(worker.agent_id, None)
        self._agents[worker.agent_id] = None
        while len(self._agents) > self._max_agents:
            del self._agents[next(iter(self._agents))]
        known = self._workers.pop(worker.worker_id, None)
        joined = attrs.evolve(worker, jobs=known.jobs if known is not None else frozenset())
        self._workers[worker.worker_id] = joined
        return joined

    def change(self, worker_id: str, **changes: Any) -> None:
        """Replace fields of a worker; forget it where nothing ties it to us any more."""
        worker = attrs.evolve(self._workers[worker_id], **changes)
        if worker.away and not worker.jobs:
            del self._workers[worker_id]
        else:
            self._workers[worker_id] = worker

    def hold(self, worker_id: str, job_id: str) -> None:
        """The job takes a place at the worker."""
        self.change(worker_id, jobs=self._workers[worker_id].jobs | {job_id})

    def let_go(self, worker_id: str, job_id: str) -> None:
        """The job no longer takes a place there; the worker may be forgotten already."""
        if worker_id in self._workers:
            self.change(worker_id, jobs=self._workers[worker_id].jobs - {job_id})
