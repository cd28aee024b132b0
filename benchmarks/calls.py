"""`python -m benchmarks.calls`: what is done between an assignment and a job's first line.

Prints the scheduling steps of the worker, from those that read the assignment to the one that
writes the start frame, and those of the job process until the entrypoint, with the number of Python
calls in each. Counts are the same on every machine, however busy; the first job of a worker does
more than the others, and is left out.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import attrs
import trio

from .contenders import PROGRAMS, Contender
from .measurements.dispatch import run_job
from .registry import open_registry
from .worker_program import open_worker

JOBS = 4
UNFRAME = "WSConnection.receive_data"
GIVE = "JobProcess.give_now"
WRITE = "write_what_fits"
SETTLE_SECONDS = 0.5


@attrs.frozen
class Step:
    """One turn of one task."""

    task: str
    calls: list[str]

    def until(self, function: str) -> int:
        """How many calls there were before that of `function`, or in all."""
        return self.calls.index(function) if function in self.calls else len(self.calls)


async def record(directory: Path) -> tuple[list[Step], list[list[Step]]]:
    """Run the jobs; returns the steps of the worker, and of each process that had a job."""
    counted = Contender(name="counted", script=PROGRAMS / "counted_agent.py", start_method="spawn")
    async with (
        open_registry() as registry,
        open_worker(counted, registry, directory, idle=1, max_processes=2) as worker,
    ):
        for number in range(JOBS):
            await worker.reports.processes_up(number + 1)
            await trio.sleep(SETTLE_SECONDS)
            if await run_job(worker, f"job-{number}") is None:
                raise RuntimeError(f"job {number} did not begin and end in time")
        await worker.stop()
        of_worker = _read(directory / f"calls-{worker.pid}")
        others = [_read(directory / f"calls-{pid}") for pid in worker.reports.process_ids[:JOBS]]
    return of_worker, others


def _read(file: Path) -> list[Step]:
    lines = (line.split("\t") for line in file.read_text(encoding="utf-8").splitlines())
    return [Step(task.rpartition("vsdk_trio.")[2], calls) for task, *calls in lines]


def in_worker(steps: list[Step]) -> list[list[tuple[str, int]]]:
    """For each job but the first: from the WebSocket's reader to the write of the start frame."""
    found = []
    unframes = reads = 0
    for number, step in enumerate(steps):
        if UNFRAME in step.calls:
            unframes = number
        if "decode_from_registry" in step.calls:
            reads = number
        if GIVE in step.calls:
            way = [(each.task, len(each.calls)) for each in (steps[unframes], *steps[reads:number])]
            found.append([*way, (step.task, step.until(WRITE))])
    return found[1:]


def in_process(steps: list[Step]) -> list[tuple[str, int]]:
    """From the step that reads the start frame to the first line of the entrypoint."""
    end = next(number for number, step in enumerate(steps) if "entrypoint" in step.calls)
    begin = max(n for n, step in enumerate(steps[: end + 1]) if "decode_frame" in step.calls)
    way = [(each.task, len(each.calls)) for each in steps[begin:end]]
    return [*way, (steps[end].task, steps[end].until("entrypoint"))]


def main() -> None:
    """The program."""
    with tempfile.TemporaryDirectory(prefix="vsdk-") as directory:
        of_worker, others = trio.run(record, Path(directory))
    for number, way in enumerate(in_worker(of_worker), start=1):
        print(f"job {number}, in the worker:")
        print(*(f"  {calls:4} {task}" for task, calls in way), sep="\n")
        print(f"job {number}, in its process:")
        print(*(f"  {calls:4} {task}" for task, calls in in_process(others[number])), sep="\n")


if __name__ == "__main__":
    main()
