"""A job that does nothing, run by the code that runs real ones, in a process that has none yet.

What the first runs of any code cost is paid so while nobody waits: memory that a forked process
shares becomes its own as it is touched, what is made on first use is made, and the interpreter has
put what is faster in place of what it runs often. Nothing is left behind, and nobody is told. Must
not know the user's code. What a template rehearses before it is forked is the whole process.
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
"""Until the interpreter knows the code: in 3.11, a function has been called eight times then."""


async def rehearse(times: int = TIMES) -> None:
    """Run so many such jobs, each in less than a millisecond; cut off after `MAX_SECONDS`.

    Where the system has no descriptors to spare, it does nothing.
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
