"""The workers that may be asked, in the order in which they are asked.

Pure. Kept in order as workers change, because every dispatch asks for the first and there may be a
thousand. Knows what a worker is; nothing of jobs or of answers.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator
from typing import TypeAlias

from .workers import Worker

_Place: TypeAlias = tuple[bool, float, int, int, str, Worker]


class Ranking:
    """Of each agent: least load first, then fewest jobs, then the one not asked for longest.

    A worker that let its last offer expire comes after all others, or every job would wait for it.
    """

    def __init__(self) -> None:
        self._ranks: dict[str, list[_Place]] = {}

    def of_agent(self, agent_id: str) -> Iterator[Worker]:
        """The workers of an agent that may be asked; no other call before it is gone through."""
        return (place[-1] for place in self._ranks.get(agent_id, ()))

    def add(self, worker: Worker) -> None:
        """Give the worker its place; none if it must not be asked."""
        if worker.is_taking:
            insort(self._ranks.setdefault(worker.agent_id, []), _place(worker))

    def remove(self, worker: Worker) -> None:
        """Take a worker out that was added, as it was then."""
        if worker.is_taking:
            rank = self._ranks[worker.agent_id]
            del rank[bisect_left(rank, _place(worker))]
            if not rank:
                del self._ranks[worker.agent_id]


def _place(worker: Worker) -> _Place:
    # The id makes it unique, so workers themselves are never compared.
    return (
        worker.is_silent,
        worker.expected_load,
        len(worker.jobs),
        worker.turn,
        worker.worker_id,
        worker,
    )
