"""A worker that writes down its Trio steps and the Python calls in each, as its job processes do.

`python counted_agent.py BACKEND_URL IDLE MAX_PROCESSES`. Each process writes a file beside the
socket for reports when it ends: a line for each step, the task's name and the functions called.
"""

from __future__ import annotations

import atexit
import os
import sys
import time
from pathlib import Path
from types import FrameType

import trio
from agent import read_options, report

from vsdk_trio import JobContext, RoomOptions
from vsdk_trio.worker.worker import Worker


class Calls(trio.abc.Instrument):
    """Counts nothing itself: what is done in a step is done, whatever it takes."""

    def __init__(self) -> None:
        self.steps: list[list[str]] = []

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        """Called by Trio."""
        step = [task.name]
        self.steps.append(step)

        def note(frame: FrameType, event: str, _: object) -> None:
            if event == "call":
                step.append(frame.f_code.co_qualname)

        sys.setprofile(note)

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        """Called by Trio."""
        sys.setprofile(None)

    def write(self) -> None:
        """One file for this process."""
        file = Path(os.environ["BENCHMARK_REPORTS"]).with_name(f"calls-{os.getpid()}")
        file.write_text("\n".join("\t".join(step) for step in self.steps), encoding="utf-8")


def count_calls(process: object) -> None:
    """Runs in each job process before a job comes."""
    calls = Calls()
    trio.lowlevel.add_instrument(calls)
    atexit.register(calls.write)
    report(kind="process")


async def entrypoint(ctx: JobContext) -> None:
    report(kind="entered", job_id=ctx.metadata["job_id"], at_ns=time.monotonic_ns())


def main(arguments: list[str]) -> None:
    """Run the worker."""
    options = read_options(arguments, count_calls)
    room_options = RoomOptions(transport_mode="loopback")
    calls = Calls()
    trio.run(
        Worker(options, entrypoint=entrypoint, room_options=room_options).run, instruments=[calls]
    )
    calls.write()


if __name__ == "__main__":
    main(sys.argv[1:])
