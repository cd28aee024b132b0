"""One worker with many sleeping jobs: what each costs as there are more of them."""

from __future__ import annotations

import statistics

import trio

from ..figures import NANOSECONDS_PER_MS, Book
from ..plan import Plan
from ..process_memory import pss_mib, tree_of
from ..registry import open_registry
from ..worker_program import open_worker
from .footprint import start_jobs

LATENCY = "dispatch latency, the last jobs (ms, p50)"
MEMORY = "PSS per job, whole tree (MiB)"
SHUTDOWN = "shutdown (s)"
LAST_JOBS = 20
SETTLE_SECONDS = 0.1
LIMIT_SECONDS = 180.0
# Fresh interpreters cost seventeen times what a fork does: what fits into the time, no more.
MOST_SPAWNED = 250


async def measure_scaling(plan: Plan, book: Book) -> None:
    """For each number of jobs: the latency of the last ones, memory, and the time to stop all."""
    for contender in plan.contenders:
        if not contender.is_ours:
            continue
        for count in plan.job_counts:
            if contender.start_method == "spawn" and count > MOST_SPAWNED:
                continue
            async with open_registry() as registry:
                with trio.fail_after(LIMIT_SECONDS):
                    opened = open_worker(
                        contender, registry, plan.directory, idle=1, max_processes=count + 1
                    )
                    async with opened as worker:
                        split = max(count - LAST_JOBS, 0)
                        jobs = await start_jobs(worker, range(split))
                        for number in range(split, count):
                            await worker.reports.processes_up(number + 1)
                            await trio.sleep(SETTLE_SECONDS)
                            jobs += await start_jobs(worker, range(number, number + 1))
                        await trio.sleep(1)
                        pss = sum(map(pss_mib, tree_of(worker.pid)))
                        took = await worker.stop()
            last = [latency / NANOSECONDS_PER_MS for latency, _ in jobs[-LAST_JOBS:]]
            book.add_point(LATENCY, contender.name, count, statistics.median(last))
            book.add_point(MEMORY, contender.name, count, pss / count)
            book.add_point(SHUTDOWN, contender.name, count, took)
