"""What a state directory costs.

First the journal by itself, beside the floor, which is a write and an fsync of as many bytes. Then
workers as programs, one with and one without, job by job in turn. The place for temporary files
must be on the same kind of disk as in production for this to say something.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import trio

from vsdk_trio.journal.disk import ThreadedDisk
from vsdk_trio.journal.journal import Journal, open_journal
from vsdk_trio.journal.records import Accepted, Acknowledged, JobEnd
from vsdk_trio.protocol.vocabulary import JobFact

from ..contenders import Contender
from ..figures import Book
from ..plan import Plan
from ..registry import open_registry
from ..worker_program import WorkerProgram, open_worker

AT_ONCE = (1, 10, 100)
SETTLE_SECONDS = 0.15
WAYS = ("assignment to entrypoint", "assignment to `running`", "`running` to the end")
# The journal by itself knows no start methods: any column of ours will do.
CONTENDER = "spawn"
# What SQLite writes for one small commit: a page with its header in the log.
COMMIT_BYTES = 4096 + 24


def fsyncs(directory: Path, count: int) -> Iterator[int]:
    """Nanoseconds of an append and its fsync, as the log of a database does it."""
    with (directory / "floor").open("wb", buffering=0) as file:
        for _ in range(count):
            began = time.perf_counter_ns()
            file.write(b"x" * COMMIT_BYTES)
            os.fdatasync(file.fileno())
            yield time.perf_counter_ns() - began


def commits(directory: Path, synchronous: str, count: int) -> Iterator[int]:
    """Nanoseconds of a commit of one row, by how hard SQLite is told to try."""
    connection = sqlite3.connect(directory / f"{synchronous}.db", isolation_level=None)
    for pragma in ("locking_mode=EXCLUSIVE", "journal_mode=WAL", f"synchronous={synchronous}"):
        connection.execute(f"PRAGMA {pragma}").fetchall()
    connection.execute("CREATE TABLE jobs (number INTEGER PRIMARY KEY, job_id TEXT UNIQUE)")
    for number in range(count):
        began = time.perf_counter_ns()
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("INSERT INTO jobs (job_id) VALUES (?)", (f"job-{number}",))
        connection.execute("COMMIT")
        yield time.perf_counter_ns() - began
    connection.close()


async def run_jobs(journal: Journal, count: int, at_once: int) -> tuple[float, list[int]]:
    """Write down `count` jobs, `at_once` at a time; jobs per second, and each wait for an end."""
    waits: list[int] = []
    numbers = iter(range(count))

    async def one_after_the_other() -> None:
        for number in numbers:
            job_id = f"job-{at_once}-{number}"
            await journal.write(Accepted(job_id)).wait()
            began = time.perf_counter_ns()
            await journal.write(JobEnd(job_id, JobFact.COMPLETED)).wait()
            waits.append(time.perf_counter_ns() - began)
            journal.note(Acknowledged(job_id))

    began = time.perf_counter()
    async with trio.open_nursery() as nursery:
        for _ in range(at_once):
            nursery.start_soon(one_after_the_other)
    return count / (time.perf_counter() - began), waits


async def measure_journal(plan: Plan, book: Book) -> None:
    """The journal by itself, and what a job waits for it."""
    directory = plan.directory / "journals"
    directory.mkdir()
    floor = list(fsyncs(directory, plan.records))
    for mode in ("FULL", "NORMAL"):
        name = f"journal: commit, synchronous={mode}"
        book.add_times(name, "floor", floor)
        book.add_times(name, CONTENDER, commits(directory, mode, plan.records))
    for at_once in AT_ONCE:
        async with open_journal(str(directory), f"agent-{at_once}", ThreadedDisk()) as journal:
            rate, waits = await run_jobs(journal, plan.records, at_once)
        book.add_times(f"journal: wait for an end, {at_once} at once", CONTENDER, waits)
        book.add(f"journal: jobs, {at_once} at once", CONTENDER, "/s", [rate])
    cost = measure_off(10_000) / 1e3
    book.add("journal: a record without a state directory", CONTENDER, "µs", [cost])
    for contender in plan.contenders:
        if contender.is_ours:
            await _measure_workers(plan, book, contender)


def measure_off(count: int) -> float:
    """Nanoseconds that a record costs a worker without a state directory."""
    journal = Journal()
    record = Accepted("job")
    began = time.perf_counter_ns()
    for _ in range(count):
        journal.write(record).then(int)
    return (time.perf_counter_ns() - began) / count


async def _measure_workers(plan: Plan, book: Book, contender: Contender) -> None:
    """From the assignment to the first line and to `running`, and to the end: with and without."""
    async with AsyncExitStack() as stack:
        workers = {}
        state = plan.directory / f"state-{contender.name}"
        for name, state_dir in (("with a journal", state), ("without", None)):
            registry = await stack.enter_async_context(open_registry())
            opened = open_worker(
                contender,
                registry,
                plan.directory,
                idle=1,
                max_processes=2,
                state_dir=state_dir,
            )
            workers[name] = await stack.enter_async_context(opened)
        for number in range(plan.cold_jobs):
            for name, worker in workers.items():
                for way, took in zip(WAYS, await _run_job(worker, number), strict=True):
                    book.add_times(f"{way}, {name}", contender.name, [took])


async def _run_job(worker: WorkerProgram, number: int) -> tuple[int, int, int]:
    """One job that returns at once, with an idle process ready."""
    job_id, session = f"job-{number}", worker.session
    with trio.fail_after(30):
        await worker.reports.processes_up(number + 1)
        await trio.sleep(SETTLE_SECONDS)
        await session.offer(job_id)
        assigned = await session.assign(job_id)
        runs, ended = await session.runs(job_id), await session.ended(job_id)
        entry = await worker.reports.entered(job_id)
    return entry.at_ns - assigned, runs - assigned, ended - runs
