"""How many jobs a worker gets through, each in a process of its own."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from functools import partial

import attrs
import trio

from ..figures import Figure, Samples
from ..interpreters import Imports, KnownImports, time_start
from ..plan import Plan
from ..registry import Registry, Session
from ..worker_program import open_worker

# Until a slot is asked for again: a process takes a moment to be gone after its job has ended.
RETRY_SECONDS = 0.005
JOB_LIMIT_SECONDS = 60.0


async def measure_throughput(
    plan: Plan, registry: Registry, known: KnownImports
) -> AsyncIterator[Figure | Samples]:
    """As many at once as the plan says; the floor starts as many bare interpreters at once.

    Half of the floor comes before and half after, so that a slow minute of the machine hits both.
    """
    half = attrs.evolve(plan, jobs=max(plan.jobs // 2, plan.at_once))
    start = partial(_start, known.runner)
    starts = [await _rate(half, start)]
    async with open_worker(
        registry, plan.directory, idle=plan.at_once, max_processes=plan.at_once
    ) as worker:
        await worker.reports.processes_up(plan.at_once)
        jobs = await _rate(plan, partial(_run_job, worker.session))
    starts.append(await _rate(half, start))
    yield Figure(
        measured=Samples(f"jobs sustained, {plan.at_once} at once", "/s", [jobs]),
        floor=Samples(known.runner.name, "/s", starts),
    )


async def _rate(plan: Plan, do: Callable[[int], Awaitable[None]]) -> float:
    """How often a second `do` gets done, while always `at_once` of it are under way."""
    numbers = iter(range(plan.jobs))
    started_ns = time.monotonic_ns()
    async with trio.open_nursery() as nursery:
        for _ in range(plan.at_once):
            nursery.start_soon(_do_all, numbers, do)
    return plan.jobs / ((time.monotonic_ns() - started_ns) / 1e9)


async def _do_all(numbers: Iterator[int], do: Callable[[int], Awaitable[None]]) -> None:
    for number in numbers:
        await do(number)


async def _run_job(session: Session, number: int) -> None:
    job_id = f"job-{number}"
    with trio.fail_after(JOB_LIMIT_SECONDS):
        while True:
            _, taken = await session.offer(job_id)
            if taken:
                break
            await trio.sleep(RETRY_SECONDS)
        await session.assign(job_id)
        await session.ended(job_id)


async def _start(imports: Imports, number: int) -> None:
    await trio.to_thread.run_sync(time_start, imports)
