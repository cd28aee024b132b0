"""Runs a job that does nothing, by the code that runs real ones, in a process that waits for a job.

The first runs of any code are slow: memory that a forked process shares is copied when it is
touched, objects are made on first use, and the interpreter replaces code that it runs often. A
rehearsal pays for that while no call waits. It leaves nothing behind, and does not know the user's
code. A template rehearses the whole process before it is forked.
"""

from __future__ import annotations

import socket

import trio

from ..control.channel import ControlChannel
from ..control.frames import Finished, JobInfo, Ready, Start
from .job_context import JobContext
from .loader import Loaded
from .runner import run_runner

MAX_SECONDS = 1

TIMES = 10
"""Enough for the interpreter to specialize the code: Python 3.11 does so after eight calls."""


async def rehearse(times: int = TIMES) -> None:
    """Run jobs that do nothing, each in less than a millisecond, for at most `MAX_SECONDS`.

    It does nothing if the system has no descriptors left.

    Args:
        times: How many.
    """
    with trio.move_on_after(MAX_SECONDS):
        for _ in range(times):
            await _run_one()


async def _run_one() -> None:
    try:
        pair = socket.socketpair()
    except OSError:
        return
    # As streams of descriptors, which pipes are.
    ours, theirs = (trio.lowlevel.FdStream(end.detach()) for end in pair)
    async with ours, theirs, trio.open_nursery() as nursery:
        nursery.start_soon(_run, theirs)
        await _lead(ControlChannel(ours, ours))


async def _run(stream: trio.lowlevel.FdStream) -> None:
    await run_runner(stream, stream, Loaded(entrypoint=_do_nothing))


async def _do_nothing(ctx: JobContext) -> None:
    pass


async def _lead(channel: ControlChannel) -> None:
    """Be the worker."""
    job = JobInfo(job_id="rehearsal", room_options={"transport_mode": "loopback"})
    async for frame in channel:
        if isinstance(frame, Ready):
            await channel.send(Start(job=job.to_dict()))
        elif isinstance(frame, Finished):
            return
