"""A worker that notes when it reads and writes what is on the way of a dispatch, as its jobs do.

`python timed_agent.py BACKEND_URL IDLE MAX_PROCESSES`. Each process writes a file beside the socket
for reports when it ends: a line for each moment, its name, the time and the page faults so far.
"""

from __future__ import annotations

import atexit
import os
import resource
import sys
import time
from pathlib import Path
from typing import Any

import trio
from agent import read_options, report

from vsdk_trio import JobContext, RoomOptions
from vsdk_trio.control import channel
from vsdk_trio.websocket.link import WriteFailureTracker
from vsdk_trio.worker.worker import Worker

moments: list[tuple[str, int, int]] = []


def note(name: str) -> None:
    """Now."""
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    moments.append((name, time.monotonic_ns(), faults))


def write_moments() -> None:
    """One file for this process."""
    file = Path(os.environ["BENCHMARK_REPORTS"]).with_name(f"moments-{os.getpid()}")
    lines = (f"{name}\t{at_ns}\t{faults}" for name, at_ns, faults in moments)
    file.write_text("\n".join(lines), encoding="utf-8")


def watch() -> None:
    """From now on, note what comes from the registry and what goes through pipes."""
    receive_some, read_some = WriteFailureTracker.receive_some, channel.read_some
    write_what_fits = channel.write_what_fits

    async def noted_receive(self: WriteFailureTracker, max_bytes: int | None = None) -> Any:
        data = await receive_some(self, max_bytes)
        note("received")
        return data

    async def noted_read(stream: trio.abc.ReceiveStream, max_bytes: int) -> Any:
        data = await read_some(stream, max_bytes)
        note("read")
        return data

    def noted_write(stream: trio.abc.SendStream, data: bytes) -> int:
        note("write")
        try:
            return write_what_fits(stream, data)
        finally:
            note("written")

    WriteFailureTracker.receive_some = noted_receive  # type: ignore[method-assign]  # that is the purpose
    channel.read_some = noted_read
    channel.write_what_fits = noted_write


def come_up(process: object) -> None:
    """Runs in each job process before a job comes."""
    moments.clear()
    atexit.register(write_moments)
    report(kind="process")


async def entrypoint(ctx: JobContext) -> None:
    """Say that this first line was reached."""
    note("entered")
    report(kind="entered", job_id=ctx.metadata["job_id"], at_ns=moments[-1][1])


def main(arguments: list[str]) -> None:
    """Run the worker."""
    options = read_options(arguments, come_up)
    room_options = RoomOptions(transport_mode="loopback")
    trio.run(Worker(options, entrypoint=entrypoint, room_options=room_options).run)
    write_moments()


watch()

if __name__ == "__main__":
    main(sys.argv[1:])
