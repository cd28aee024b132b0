"""From a registry's frame to what the worker makes of it: one job at a time, by turns."""

from __future__ import annotations

import json
from contextlib import AsyncExitStack

import attrs
import trio

from ..contenders import UPSTREAM, Contender
from ..dialects import assignment
from ..echoes import open_pipe_echo, open_websocket_echo
from ..figures import Aim, Book
from ..interpreters import KnownImports, time_start
from ..plan import Plan
from ..registry import open_registry
from ..worker_program import WorkerProgram, open_worker

OFFER = "offer to answer"
WARM = "assignment to entrypoint, idle process"
COLD = "assignment to entrypoint, none idle"
ENDED = "entrypoint returned to its end told"
WARM_AIM = Aim(1.0, 3.0)
COLD_AIM_MS = 10.0
OFFER_AIM_RATIO = 1.3
COLD_AIM_RATIO = 1.5
"""With `spawn`: how many times an interpreter that imports what the runner imports."""
# Between a job process' last step of coming up and the next job: the status update that follows
# a job is sent after 50 ms, and must not be what is measured.
SETTLE_SECONDS = 0.15
# Until a process has come up that does not tell.
START_SECONDS = 3.0
JOB_LIMIT_SECONDS = 30.0


@attrs.frozen
class JobTimes:
    """Nanoseconds of one job."""

    answer: int
    entry: int


async def measure_warm(plan: Plan, book: Book) -> None:
    """With an idle process ready. The floor is one way of each: a WebSocket, then a pipe."""
    message = json.dumps(assignment("job-0"))
    async with AsyncExitStack() as stack:
        websocket = await stack.enter_async_context(open_websocket_echo(message))
        pipe = stack.enter_context(open_pipe_echo(message))
        workers = await _open_all(plan, stack, idle=1)
        await _idle_processes_up(workers, 1)
        await trio.sleep(START_SECONDS)
        for number in range(plan.jobs):
            for contender, worker in tuple(workers):
                await trio.sleep(SETTLE_SECONDS)
                # Right before each job: the machine is as awake as for the job itself.
                round_trip = await websocket.round_trip()
                book.add_times(OFFER, "floor", [round_trip])
                book.add_times(WARM, "floor", [(round_trip + pipe()) / 2])
                times = await run_job(worker, f"job-{number}")
                if times is None:
                    _give_up(book, workers, contender, "warm")
                    continue
                book.add_times(OFFER, contender.name, [times.answer], _offer_aim(book, contender))
                aim = WARM_AIM if contender.is_ours else None
                book.add_times(WARM, contender.name, [times.entry], aim)
                # What comes up must neither be late for its own job, nor in the way of the next.
                await _idle_processes_up([(contender, worker)], number + 2)


async def _idle_processes_up(workers: list[tuple[Contender, WorkerProgram]], count: int) -> None:
    """Wait until each has started so many processes, where each job has one of its own."""
    for contender, worker in workers:
        if contender.has_process_per_job:
            with trio.fail_after(JOB_LIMIT_SECONDS):
                await worker.reports.processes_up(count)


def _offer_aim(book: Book, contender: Contender) -> Aim | None:
    """At most 1.3 times what the published client takes, where that is measured as well."""
    theirs = book.figures[OFFER].get(UPSTREAM)
    return Aim(round(OFFER_AIM_RATIO * theirs.p50, 2)) if contender.is_ours and theirs else None


async def measure_cold(plan: Plan, book: Book, known: KnownImports) -> None:
    """With no idle process: one is started for each job.

    Where processes are used again, jobs stay, so that the next one needs a new one; only so many as
    the memory is for.
    """
    async with AsyncExitStack() as stack:
        workers = await _open_all(plan, stack, idle=0)
        for number in range(plan.cold_jobs):
            book.add_times(COLD, "floor", [time_start(known.runner)])
            for contender, worker in tuple(workers):
                stay = not contender.has_process_per_job
                if stay and number >= plan.at_once:
                    continue
                await trio.sleep(SETTLE_SECONDS)
                times = await run_job(worker, f"job-{number}", stay=stay)
                if times is None:
                    _give_up(book, workers, contender, "cold")
                    continue
                book.add_times(COLD, contender.name, [times.entry])
    floor = book.figures[COLD]["floor"].p50
    book.aims[COLD, "forkserver"] = Aim(COLD_AIM_MS)
    book.aims[COLD, "spawn"] = Aim(round(COLD_AIM_RATIO * floor))


async def _open_all(
    plan: Plan, stack: AsyncExitStack, *, idle: int
) -> list[tuple[Contender, WorkerProgram]]:
    workers = []
    for contender in plan.contenders:
        registry = await stack.enter_async_context(open_registry())
        most = 2 if contender.has_process_per_job else plan.at_once
        opened = open_worker(contender, registry, plan.directory, idle=idle, max_processes=most)
        workers.append((contender, await stack.enter_async_context(opened)))
    return workers


def _give_up(
    book: Book,
    workers: list[tuple[Contender, WorkerProgram]],
    contender: Contender,
    section: str,
) -> None:
    """Go on without a peer that does not do its job; one of ours that does not is an error."""
    text = f"{section}: a job of {contender.name} did not begin and end in time"
    if contender.is_ours:
        raise RuntimeError(text)
    book.notes.append(text)
    workers[:] = [each for each in workers if each[0] is not contender]


async def run_job(worker: WorkerProgram, job_id: str, *, stay: bool = False) -> JobTimes | None:
    """Offer a job and assign it; it returns at once, and is seen to, unless it shall stay.

    None where it is too late.
    """
    session = worker.session
    with trio.move_on_after(JOB_LIMIT_SECONDS):
        answered_ns = await session.offer_until_taken(job_id, stay=stay)
        sent_ns = await session.assign(job_id, stay=stay)
        entry = await worker.reports.entered(job_id)
        if not stay:
            await session.outcome(job_id)
        return JobTimes(answered_ns, entry.at_ns - sent_ns)
    return None
