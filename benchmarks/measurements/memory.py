"""The proportional set size of a worker and of its processes.

PSS depends on who else shares the pages, so the floors are taken with the same cast: as many
interpreters as there were processes, each with the same imports.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator

import trio

from ..figures import Figure, Samples
from ..interpreters import KnownImports, resident
from ..plan import Plan
from ..process_memory import children_of, pss_mb
from ..registry import Registry
from ..worker_program import open_worker

WORKER_AIM_MB = 40.0
IDLE_AIM_MB = 20.0
# A worker looks at its running jobs every five seconds, and loads for it what it needs.
RUN_SECONDS = 6.0
LIMIT_SECONDS = 60.0


async def measure_memory(
    plan: Plan, registry: Registry, known: KnownImports
) -> AsyncIterator[Figure | Samples]:
    """Of a worker with one running job, one idle process and its guardian."""
    measured: defaultdict[str, list[float]] = defaultdict(list)
    floors: defaultdict[str, list[float]] = defaultdict(list)
    cast = ("worker", "running job", "idle job process", "guardian")
    stand_ins = (known.worker, known.runner, known.runner, known.nothing)
    for _ in range(plan.rounds):
        for name, value in zip(cast, await _look(plan, registry), strict=True):
            measured[name].append(value)
        with resident(*stand_ins) as process_ids:
            for name, pid in zip(cast, process_ids, strict=True):
                floors[name].append(pss_mb(pid))
    aims = {"worker": WORKER_AIM_MB, "idle job process": IDLE_AIM_MB}
    for name, imports in zip(cast, stand_ins, strict=True):
        yield Figure(
            measured=Samples(f"PSS of the {name}", "MB", measured[name]),
            floor=Samples(imports.name, "MB", floors[name]),
            aim=aims.get(name),
        )
    libraries = (known.worker_libraries, known.runner_libraries, known.runner_libraries)
    with resident(*libraries, known.nothing) as process_ids:
        for imports, pid in list(zip(libraries, process_ids, strict=False))[:2]:
            yield Samples(imports.name, "MB", [pss_mb(pid)])


async def _look(plan: Plan, registry: Registry) -> tuple[float, ...]:
    with trio.fail_after(LIMIT_SECONDS):
        async with open_worker(registry, plan.directory, idle=1, max_processes=2) as worker:
            await worker.reports.processes_up(1)
            await worker.session.offer("stays")
            await worker.session.assign("stays", stay=True)
            running = (await worker.reports.entered("stays")).pid
            await worker.reports.processes_up(2)
            await trio.sleep(RUN_SECONDS)
            [idle] = set(worker.reports.process_ids) - {running}
            [guardian] = children_of(worker.pid) - {running, idle}
            values = tuple(map(pss_mb, (worker.pid, running, idle, guardian)))
            await worker.session.terminate("stays")
            await worker.session.ended("stays")
            return values
