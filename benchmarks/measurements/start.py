"""From starting a worker's program to its `register` frame."""

from __future__ import annotations

from ..figures import Aim, Book
from ..interpreters import KnownImports, time_start
from ..plan import Plan
from ..registry import open_registry
from ..worker_program import open_worker

START = "start to registered"
AIM = Aim(400.0)


async def measure_start(plan: Plan, book: Book, known: KnownImports) -> None:
    """Starts and floors by turns, so that a slow moment of the machine hits all."""
    async with open_registry() as registry:
        for _ in range(plan.starts):
            book.add_times(START, "floor", [time_start(known.worker)])
            for contender in plan.contenders:
                opened = open_worker(contender, registry, plan.directory, idle=0, max_processes=1)
                async with opened as worker:
                    took = worker.session.registered_ns - worker.started_ns
                aim = AIM if contender.is_ours else None
                book.add_times(START, contender.name, [took], aim)
