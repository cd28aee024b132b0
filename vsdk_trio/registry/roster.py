"""The workers that the registry knows, and which agents were ever served.

Pure. Keeps the newest value of each worker, and the order in which workers are asked; decides
nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import attrs

from ..errors import IllegalTransitionError
from .ranking import Ranking
from .workers import Worker


class Roster:
    """The workers by id, and which agents were ever served.

    Arguments: `max_agents`, how many agent ids are remembered; the one not seen for longest goes.
    A worker that is away is kept only as long as it holds jobs: its id is welcome again anyway.
    """

    def __init__(self, *, max_agents: int = 10_000) -> None:
        self._workers: dict[str, Worker] = {}
        self._ranking = Ranking()
        self._links: Counter[str] = Counter()
        self._agents: dict[str, None] = {}
        self._max_agents = max_agents

    def get(self, worker_id: str) -> Worker | None:
        """The worker as it stands, present or away."""
        return self._workers.get(worker_id)

    def all(self) -> tuple[Worker, ...]:
        """Every worker, in the order of their last registration."""
        return tuple(self._workers.values())

    def is_linked(self, worker_id: str) -> bool:
        """Does the worker have a link?"""
        worker = self._workers.get(worker_id)
        return worker is not None and not worker.away

    def linked(self, worker_id: str) -> Worker:
        """The worker; raises `IllegalTransitionError` where it has no link that could speak."""
        worker = self._workers.get(worker_id)
        if worker is None or worker.away:
            raise IllegalTransitionError(f"the worker {worker_id!r} has no link")
        return worker

    def has_link(self, agent_id: str) -> bool:
        """Is there a worker of this agent that has a link, whether or not it may be asked?"""
        return agent_id in self._links

    def candidates(self, agent_id: str) -> Iterator[Worker]:
        """The workers of an agent that may be offered a job, the one to be asked first in front.

        Nothing here may change while it is gone through.
        """
        return self._ranking.of_agent(agent_id)

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

    def _count(self, worker: Worker) -> None:
        if not worker.away:
            self._links[worker.agent_id] += 1
        self._ranking.add(worker)

    def _uncount(self, worker: Worker) -> None:
        if not worker.away:
            self._links[worker.agent_id] -= 1
            if not self._links[worker.agent_id]:
                del self._links[worker.agent_id]
        self._ranking.remove(worker)
