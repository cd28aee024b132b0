"""`python -m benchmarks.timeline`: when a dispatch to an idle process gets where.

Prints the median time of each stage between an assignment's frame and the first line of its job,
and the page faults of the job process in it, by both start methods; jobs take turns.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TypeAlias

import attrs
import trio

from .contenders import PROGRAMS, Contender
from .registry import open_registry
from .worker_program import WorkerProgram, open_worker

SETTLE_SECONDS = 0.15
JOB_LIMIT_SECONDS = 30.0
METHODS = ("spawn", "forkserver")
STAGES = (
    "frame sent, until the worker has read it",
    "worker: until it writes the start frame",
    "pipe: until the job process has read it",
    "job process: until it writes `running`",
    "that write, where the worker may run first",
    "job process: until the first line",
)


@attrs.frozen
class Moment:
    """Something that happened in a process."""

    name: str
    at_ns: int
    faults: int


@attrs.frozen
class Job:
    """One dispatch, as its two ends saw it; times of `monotonic_ns`."""

    sent_ns: int
    entered_ns: int
    pid: int


_Dispatch: TypeAlias = tuple[list[Moment], list[Moment], Job]


async def _run_jobs(directory: Path, count: int) -> dict[str, list[_Dispatch]]:
    """For each method and job: the worker's moments, those of the job's process, and the job."""
    jobs: dict[str, list[Job]] = {method: [] for method in METHODS}
    workers: dict[str, WorkerProgram] = {}
    async with AsyncExitStack() as stack:
        for method in METHODS:
            timed = Contender(name=method, script=PROGRAMS / "timed_agent.py", start_method=method)
            registry = await stack.enter_async_context(open_registry())
            opened = open_worker(timed, registry, directory, idle=1, max_processes=2)
            workers[method] = await stack.enter_async_context(opened)
        for number in range(count):
            for method, worker in workers.items():
                jobs[method].append(await _run_job(worker, number))
        for worker in workers.values():
            await worker.stop()
    return {
        method: [
            (_read(directory, workers[method].pid), _read(directory, job.pid), job)
            for job in jobs[method]
        ]
        for method in METHODS
    }


async def _run_job(worker: WorkerProgram, number: int) -> Job:
    job_id = f"job-{number}"
    with trio.fail_after(JOB_LIMIT_SECONDS):
        await worker.reports.processes_up(number + 1)
        await trio.sleep(SETTLE_SECONDS)
        await worker.session.offer_until_taken(job_id)
        sent_ns = await worker.session.assign(job_id)
        entry = await worker.reports.entered(job_id)
        await worker.session.outcome(job_id)
    return Job(sent_ns, entry.at_ns, entry.pid)


def _read(directory: Path, pid: int) -> list[Moment]:
    lines = (directory / f"moments-{pid}").read_text(encoding="utf-8").splitlines()
    parts = (line.split("\t") for line in lines)
    return [Moment(name, int(at_ns), int(faults)) for name, at_ns, faults in parts]


def _after(moments: list[Moment], name: str, at_ns: int) -> Moment:
    return next(each for each in moments if each.name == name and each.at_ns >= at_ns)


def _stages(of_worker: list[Moment], of_process: list[Moment], job: Job) -> Iterator[Moment]:
    """The end of each stage; faults are those of the job process."""
    received = _after(of_worker, "received", job.sent_ns)
    start = _after(of_worker, "write", received.at_ns)
    read = _after(of_process, "read", start.at_ns)
    for moment in (received, start):
        yield Moment(moment.name, moment.at_ns, read.faults)
    yield read
    running = _after(of_process, "write", read.at_ns)
    yield running
    yield _after(of_process, "written", running.at_ns)
    yield _after(of_process, "entered", running.at_ns)


def _medians(jobs: list[_Dispatch]) -> tuple[list[float], list[float]]:
    """Of each stage: the microseconds, and the page faults; of the whole at the end."""
    times: list[list[float]] = [[] for _ in (*STAGES, "whole")]
    faults: list[list[float]] = [[] for _ in (*STAGES, "whole")]
    for of_worker, of_process, job in jobs:
        ends = list(_stages(of_worker, of_process, job))
        begins = [Moment("sent", job.sent_ns, ends[0].faults), *ends]
        for number, (begin, end) in enumerate(zip(begins, [*ends, ends[-1]], strict=True)):
            begin = begins[0] if number == len(STAGES) else begin
            times[number].append((end.at_ns - begin.at_ns) / 1000)
            faults[number].append(end.faults - begin.faults)
    return [statistics.median(each) for each in times], [statistics.median(each) for each in faults]


def main() -> None:
    """The program."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.timeline", description=__doc__)
    parser.add_argument("--jobs", type=int, default=60, help="for each method; 60 by default")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="vsdk-") as directory:
        found = trio.run(_run_jobs, Path(directory), arguments.jobs)
    spawned, _ = _medians(found["spawn"])
    forked, faults = _medians(found["forkserver"])
    print("| | spawn | forkserver | its page faults |")
    print("|---|---|---|---|")
    for name, *values in zip((*STAGES, "whole"), spawned, forked, faults, strict=True):
        print(f"| {name} | {values[0]:.0f} µs | {values[1]:.0f} µs | {values[2]:.0f} |")


if __name__ == "__main__":
    main()
