"""What a worker costs while its jobs only sleep: memory of the whole tree, and of doing nothing."""

from __future__ import annotations

import trio

from ..contenders import Contender
from ..figures import Aim, Book
from ..interpreters import KnownImports, resident
from ..plan import Plan
from ..process_memory import cpu_seconds, pss_mib, tree_of, wakeups
from ..registry import open_registry
from ..worker_program import WorkerProgram, open_worker

TREE = "PSS, whole tree with {} running jobs"
JOB = "PSS per running job"
IDLE_CPU = "idle: CPU per 30 s"
WAKEUPS = "idle: wakeups"
# A worker looks at its running jobs every five seconds, and loads for it what it needs.
RUN_SECONDS = 6.0
JOBS_LIMIT_SECONDS = 60.0
SETTLE_SECONDS = 3.0


async def measure_memory(plan: Plan, book: Book, known: KnownImports) -> None:
    """With `at_once` running jobs and none idle; contenders by turns."""
    for _ in range(plan.rounds):
        for contender in plan.contenders:
            found = await _look(plan, contender)
            if found is None:
                book.notes.append(f"memory: the jobs of {contender.name} did not begin in time")
                continue
            alone, tree, of_jobs = found
            is_forked = contender.start_method == "forkserver"
            tree_aim, job_aim = (Aim(110), Aim(7)) if is_forked else (None, None)
            book.add(TREE.format(plan.at_once), contender.name, "MiB", [tree], tree_aim)
            book.add(JOB, contender.name, "MiB", of_jobs, job_aim)
            book.add("PSS, no job", contender.name, "MiB", [alone])
    with resident(*[known.runner] * plan.at_once) as process_ids:
        book.add(JOB, "floor", "MiB", map(pss_mib, process_ids))


async def _look(plan: Plan, contender: Contender) -> tuple[float, float, list[float]] | None:
    """MiB of a worker without jobs, of its tree with them, and of each job.

    None where a peer does not run them in time.
    """
    most = plan.at_once
    async with open_registry() as registry:
        opened = open_worker(contender, registry, plan.directory, idle=0, max_processes=most)
        async with opened as worker:
            alone = sum(map(pss_mib, tree_of(worker.pid)))
            with trio.move_on_after(JOBS_LIMIT_SECONDS):
                jobs = await start_jobs(worker, range(most))
                await trio.sleep(RUN_SECONDS)
                tree = sum(map(pss_mib, tree_of(worker.pid)))
                of_jobs = [pss_mib(pid) for pid in {pid for _, pid in jobs}]
                if contender.is_ours:
                    await worker.stop()  # else it would drain: its jobs stay
                return alone, tree, of_jobs
    if contender.is_ours:
        raise RuntimeError(f"the jobs of {contender.name} did not begin in time")
    return None


async def measure_idle(plan: Plan, book: Book) -> None:
    """With one idle process, all contenders at the same time: they do nothing."""
    async with trio.open_nursery() as nursery:
        for contender in plan.contenders:
            nursery.start_soon(_watch_idle, plan, book, contender)


async def _watch_idle(plan: Plan, book: Book, contender: Contender) -> None:
    async with open_registry() as registry:
        opened = open_worker(contender, registry, plan.directory, idle=1, max_processes=2)
        async with opened as worker:
            if contender.has_process_per_job:
                await worker.reports.processes_up(1)
            await trio.sleep(SETTLE_SECONDS)
            tree = tree_of(worker.pid)
            cpu, woken = sum(map(cpu_seconds, tree)), sum(map(wakeups, tree))
            await trio.sleep(plan.idle_seconds)
            cpu = sum(map(cpu_seconds, tree)) - cpu
            woken = sum(map(wakeups, tree)) - woken
    aim = Aim(0.03) if contender.is_ours else None
    book.add(IDLE_CPU, contender.name, "s", [cpu * 30 / plan.idle_seconds], aim)
    book.add(WAKEUPS, contender.name, "/s", [woken / plan.idle_seconds])


async def start_jobs(worker: WorkerProgram, numbers: range) -> list[tuple[int, int]]:
    """Start jobs that stay, one after the other: nanoseconds to the entrypoint, and the process."""
    jobs = []
    for number in numbers:
        job_id = f"stays-{number}"
        await worker.session.offer_until_taken(job_id, stay=True)
        sent_ns = await worker.session.assign(job_id, stay=True)
        entry = await worker.reports.entered(job_id)
        jobs.append((entry.at_ns - sent_ns, entry.pid))
    return jobs
