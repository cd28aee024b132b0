"""The workers that the registry knows, in the order in which they are asked.

Pure. Keeps the newest value of each worker and which agents were ever served. The order is kept as
workers change, because each dispatch asks for the first of perhaps a thousand. Decides nothing.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Iterator
from typing import Any, TypeAlias

import attrs

from ..errors import IllegalTransitionError

# What a worker is called that must not be offered anything. Every other word, known or not, means
# that it may be asked: the documented vocabulary says `busy` for "has jobs, may take more", for
# "full" and for "draining", and only its answer tells which.
_NOT_TAKING = frozenset({"draining", "offline", "error"})

# For a worker that did not say how many jobs it can run; the default of the published client.
_ASSUMED_CAPACITY = 10


@attrs.frozen(kw_only=True)
class RegisteredWorker:
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
        """Whether it may be offered one more job."""
        return not self.away and not self.is_full and not self.is_closed

    @property
    def is_full(self) -> bool:
        """Whether it has as many jobs as it can run, by its own report."""
        return self.capacity is not None and len(self.jobs) >= self.capacity

    @property
    def is_closed(self) -> bool:
        """Whether its own status says that it takes no jobs."""
        return self.status in _NOT_TAKING

    @property
    def expected_load(self) -> float:
        """The load it reported, plus the share of jobs that its report does not include."""
        unreported = max(0, len(self.jobs) - self.job_count)
        return self.load + unreported / (self.capacity or _ASSUMED_CAPACITY)

    @property
    def adoptable(self) -> int:
        """How many more jobs that were not dispatched here are believed to run on it."""
        return max(0, (self.capacity or _ASSUMED_CAPACITY) - len(self.jobs))


_Place: TypeAlias = tuple[bool, float, int, int, str, RegisteredWorker]


class Ranking:
    """Of each agent: least load first, then fewest jobs, then the one not asked for longest.

    A worker that let its last offer expire comes after all others, or every job would wait for it.
    """

    def __init__(self) -> None:
        self._ranks: dict[str, list[_Place]] = {}

    def of_agent(self, agent_id: str) -> Iterator[RegisteredWorker]:
        """The workers of an agent that may be asked; no other call before it is gone through."""
        return (place[-1] for place in self._ranks.get(agent_id, ()))

    def add(self, worker: RegisteredWorker) -> None:
        """Give the worker its place; none if it must not be asked."""
        if worker.is_taking:
            insort(self._ranks.setdefault(worker.agent_id, []), _place(worker))

    def remove(self, worker: RegisteredWorker) -> None:
        """Remove a worker; pass the value that was added."""
        if worker.is_taking:
            rank = self._ranks[worker.agent_id]
            del rank[bisect_left(rank, _place(worker))]
            if not rank:
                del self._ranks[worker.agent_id]


def _place(worker: RegisteredWorker) -> _Place:
    # The id makes it unique, so workers themselves are never compared.
    return (
        worker.is_silent,
        worker.expected_load,
        len(worker.jobs),
        worker.turn,
        worker.worker_id,
        worker,
    )


class Roster:
    """The workers by id, and which agents were ever served.

    A worker that is away is kept only while it holds jobs; it may register again in any case.

    Args:
        max_agents: How many agent ids are remembered; the one not seen for longest goes first.
    """

    def __init__(self, *, max_agents: int = 10_000) -> None:
        self._workers: dict[str, RegisteredWorker] = {}
        self._ranking = Ranking()
        self._links: Counter[str] = Counter()
        self._agents: dict[str, None] = {}
        self._max_agents = max_agents

    def get(self, worker_id: str) -> RegisteredWorker | None:
        """The worker as it stands, present or away."""
        return self._workers.get(worker_id)

    def all(self) -> tuple[RegisteredWorker, ...]:
        """Every worker, in the order of their last registration."""
        return tuple(self._workers.values())

    def is_linked(self, worker_id: str) -> bool:
        """Whether the worker has a link."""
        worker = self._workers.get(worker_id)
        return worker is not None and not worker.away

    def linked(self, worker_id: str) -> RegisteredWorker:
        """The worker; raises `IllegalTransitionError` where it has no link."""
        worker = self._workers.get(worker_id)
        if worker is None or worker.away:
            raise IllegalTransitionError(f"the worker {worker_id!r} has no link")
        return worker

    def has_link(self, agent_id: str) -> bool:
        """Whether a worker of this agent has a link, even if it may not be asked."""
        return agent_id in self._links

    def candidates(self, agent_id: str) -> Iterator[RegisteredWorker]:
        """The workers of an agent that may be offered a job, the one to be asked first in front.

        Nothing here may change while it is gone through.
        """
        return self._ranking.of_agent(agent_id)

    def has_served(self, agent_id: str) -> bool:
        """Whether there was ever a worker of this agent, as far as remembered."""
        return agent_id in self._agents

    def join(self, worker: RegisteredWorker) -> RegisteredWorker:
        """Enter a worker that registered; one of the same id leaves it its jobs."""
        self._agents.pop(worker.agent_id, None)
        self._agents[worker.agent_id] = None
        while len(self._agents) > self._max_agents:
            del self._agents[next(iter(self._agents))]
        known = self._workers.pop(worker.worker_id, None)
        joined = attrs.evolve(worker, jobs=known.jobs if known is not None else frozenset())
        if known is not None:
            self._uncount(known)
        self._workers[worker.worker_id] = joined
        self._count(joined)
        return joined

    def change(self, worker_id: str, **changes: Any) -> None:
        """Replace fields of a worker; forget it where nothing ties it to us any more."""
        before = self._workers[worker_id]
        worker = attrs.evolve(before, **changes)
        self._uncount(before)
        if worker.away and not worker.jobs:
            del self._workers[worker_id]
        else:
            self._workers[worker_id] = worker
            self._count(worker)

    def hold(self, worker_id: str, job_id: str) -> None:
        """The job takes a place at the worker."""
        self.change(worker_id, jobs=self._workers[worker_id].jobs | {job_id})

    def let_go(self, worker_id: str, job_id: str) -> None:
        """The job no longer takes a place there; the worker may be forgotten already."""
        if worker_id in self._workers:
            self.change(worker_id, jobs=self._workers[worker_id].jobs - {job_id})

    def _count(self, worker: RegisteredWorker) -> None:
        if not worker.away:
            self._links[worker.agent_id] += 1
        self._ranking.add(worker)

    def _uncount(self, worker: RegisteredWorker) -> None:
        if not worker.away:
            self._links[worker.agent_id] -= 1
            if not self._links[worker.agent_id]:
                del self._links[worker.agent_id]
        self._ranking.remove(worker)
