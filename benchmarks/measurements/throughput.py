"""How many jobs a worker gets through, and how many of them it calls failed that were not."""

from __future__ import annotations

import time
from collections.abc import Iterator

import attrs
import trio

from ..contenders import Contender
from ..figures import Aim, Book
from ..plan import Plan
from ..registry import Session, open_registry
from ..worker_program import open_worker

SUSTAINED = "jobs sustained, {} at once"
WRONG = "of them with a wrong outcome"
ONE_IDLE = ", one idle process"
AIM = Aim(90.0)
ROUND_LIMIT_SECONDS = 25.0


@attrs.define
class Round:
    """What became of the jobs of one round."""

    ended: int = 0
    wrong: int = 0


async def measure_throughput(plan: Plan, book: Book) -> None:
    """Jobs that return at once; contenders by turns.

    Once with as many idle processes as there are jobs at once, and once with one, so that most jobs
    find none, as in a burst.
    """
    for _ in range(plan.rounds):
        for idle, ending in ((plan.at_once, ""), (1, ONE_IDLE)):
            for contender in plan.contenders:
                rate, wrong = await _look(plan, contender, idle)
                aim = AIM if contender.start_method == "forkserver" and not ending else None
                name = SUSTAINED.format(plan.at_once) + ending
                book.add(name, contender.name, "/s", [rate], aim)
                book.add(WRONG + ending, contender.name, "%", [wrong])


async def _look(plan: Plan, contender: Contender, idle: int) -> tuple[float, float]:
    """Jobs per second that ended as they should, and the percentage of all that did not."""
    async with open_registry() as registry:
        opened = open_worker(
            contender, registry, plan.directory, idle=idle, max_processes=plan.at_once
        )
        async with opened as worker:
            if contender.has_process_per_job:
                with trio.fail_after(ROUND_LIMIT_SECONDS):
                    await worker.reports.processes_up(idle)
            await trio.sleep(1)
            return await _run(plan, worker.session)


async def _run(plan: Plan, session: Session) -> tuple[float, float]:
    result = Round()
    numbers = iter(range(plan.sustained_jobs))
    began = time.monotonic()
    # A contender that cannot keep up is measured by what it did in that time.
    with trio.move_on_after(ROUND_LIMIT_SECONDS):
        async with trio.open_nursery() as nursery:
            for _ in range(plan.at_once):
                nursery.start_soon(_do_all, session, numbers, result)
    rate = (result.ended - result.wrong) / (time.monotonic() - began)
    return rate, 100 * result.wrong / max(1, result.ended)


async def _do_all(session: Session, numbers: Iterator[int], result: Round) -> None:
    for number in numbers:
        job_id = f"job-{number}"
        await session.offer_until_taken(job_id)
        await session.assign(job_id)
        result.wrong += await session.outcome(job_id) != "completed"
        result.ended += 1
