"""From starting a worker's program to its `register` frame."""

from __future__ import annotations

from collections.abc import AsyncIterator

from ..figures import Figure, Samples, milliseconds
from ..interpreters import KnownImports, time_start
from ..plan import Plan
from ..registry import Registry
from ..worker_program import open_worker

AIM_MS = 600.0


async def measure_start(
    plan: Plan, registry: Registry, known: KnownImports
) -> AsyncIterator[Figure | Samples]:
    """Starts and floors by turns, so that a slow moment of the machine hits both."""
    starts: list[int] = []
    imports = (known.worker, known.worker_libraries, known.nothing)
    floors: dict[str, list[int]] = {each.name: [] for each in imports}
    for _ in range(plan.starts):
        for each in imports:
            floors[each.name].append(time_start(each))
        async with open_worker(registry, plan.directory, idle=0, max_processes=1) as worker:
            starts.append(worker.session.registered_ns - worker.started_ns)
    floor, *others = (milliseconds(name, values) for name, values in floors.items())
    measured = milliseconds("worker start to registered", starts)
    yield Figure(measured=measured, floor=floor, aim=AIM_MS)
    for other in others:
        yield other
