"""`python -m benchmarks.journal`: what a state directory costs.

First the journal by itself, in the directory that is given: beside the floor, which is a write and
an fsync of as many bytes. Then workers as programs, one with and one without, job by job in turn:
the journal must be on the same kind of disk as in production for this to say something.
"""

from __future__ import annotations

import argparse
import os
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

import trio

from vsdk_trio.journal.journal import Journal, open_journal
from vsdk_trio.journal.records import Accepted, Ended, Proven
from vsdk_trio.journal.threaded_disk import ThreadedDisk
from vsdk_trio.protocol.vocabulary import JobFact

from .figures import Figure, Samples, milliseconds
from .output import Results, as_table
from .registry import open_registry
from .worker_program import WorkerProgram, open_worker

JOBS, QUICK_JOBS = 200, 60
RECORDS, QUICK_RECORDS = 2000, 200
AT_ONCE = (1, 10, 100)
SETTLE_SECONDS = 0.15
WAYS = {
    "entry": "assignment to entrypoint",
    "running": "assignment to `running`",
    "end": "`running` to the end",
}
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
            await journal.write(Ended(job_id, JobFact.COMPLETED)).wait()
            waits.append(time.perf_counter_ns() - began)
            journal.note(Proven(job_id))

    began = time.perf_counter()
    async with trio.open_nursery() as nursery:
        for _ in range(at_once):
            nursery.start_soon(one_after_the_other)
    return count / (time.perf_counter() - began), waits


async def measure_journal(directory: Path, count: int) -> tuple[list[Figure], list[Samples]]:
    """The journal by itself: waits, and jobs per second."""
    floor = milliseconds("append and fdatasync", fsyncs(directory, count))
    figures = [
        Figure(measured=milliseconds(f"commit, synchronous={mode}", times), floor=floor)
        for mode in ("FULL", "NORMAL")
        for times in [commits(directory, mode, count)]
    ]
    rates = []
    for at_once in AT_ONCE:
        async with open_journal(str(directory), f"agent-{at_once}", ThreadedDisk()) as journal:
            rate, waits = await run_jobs(journal, count, at_once)
        waited = milliseconds(f"wait for an end, {at_once} at once", waits)
        figures.append(Figure(measured=waited, floor=floor))
        rates.append(Samples(f"jobs accepted and ended, {at_once} at once", "/s", [rate]))
    return figures, rates


def measure_off(count: int) -> float:
    """Nanoseconds that a record costs a worker without a state directory."""
    journal = Journal()
    record = Accepted("job")
    began = time.perf_counter_ns()
    for _ in range(count):
        journal.write(record).then(int)
    return (time.perf_counter_ns() - began) / count


async def run_job(worker: WorkerProgram, number: int, times: dict[str, list[int]]) -> None:
    """One job that returns at once, with an idle process ready."""
    job_id, session = f"job-{number}", worker.session
    with trio.fail_after(30):
        await worker.reports.processes_up(number + 1)
        await trio.sleep(SETTLE_SECONDS)
        await session.offer(job_id)
        assigned = await session.assign(job_id)
        runs, ended = await session.runs(job_id), await session.ended(job_id)
        entry = await worker.reports.entered(job_id)
    times["entry"].append(entry.at_ns - assigned)
    times["running"].append(runs - assigned)
    times["end"].append(ended - runs)


async def measure_workers(directory: Path, jobs: int) -> list[Figure]:
    """From the assignment to the first line and to `running`, and to the end: with and without."""
    times: dict[str, dict[str, list[int]]] = {
        name: {key: [] for key in WAYS} for name in ("with", "without")
    }
    async with AsyncExitStack() as stack:
        workers = {}
        for name, state_dir in (("with", directory / "state"), ("without", None)):
            registry = await stack.enter_async_context(open_registry())
            start = partial(open_worker, registry, directory, idle=1, max_processes=2)
            workers[name] = await stack.enter_async_context(start(state_dir=state_dir))
        for number in range(jobs):
            for name, worker in workers.items():
                await run_job(worker, number, times[name])
    return [
        Figure(
            measured=milliseconds(f"{what}, with a journal", times["with"][key]),
            floor=milliseconds("without", times["without"][key]),
        )
        for key, what in WAYS.items()
    ]


async def measure(directory: Path, *, jobs: int, records: int) -> Results:
    figures, rates = await measure_journal(directory, records)
    return Results([*figures, *await measure_workers(directory, jobs)], rates)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.journal", description=__doc__)
    parser.add_argument("--directory", help="where to write (the place for temporary files)")
    parser.add_argument("--quick", action="store_true", help="a few of each, for a first look")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="vsdk-", dir=arguments.directory) as directory:
        results = trio.run(
            partial(
                measure,
                Path(directory),
                jobs=QUICK_JOBS if arguments.quick else JOBS,
                records=QUICK_RECORDS if arguments.quick else RECORDS,
            )
        )
    print(as_table(results))
    print(f"\nwithout a state directory, a record costs {measure_off(100_000):.0f} ns")


if __name__ == "__main__":
    main()
