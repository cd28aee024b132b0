"""From the `Start` frame to the entrypoint's first line, over pipes as a job process has them."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import attrs
import trio
import trio.testing

from tests.runner.test_runner import endless, start
from vsdk_trio.control.channel import ControlChannel
from vsdk_trio.control.frames import Finished, Frame, Ping, Pong, Ready, Running, Stop
from vsdk_trio.runner.job_context import JobContext
from vsdk_trio.runner.loader import Loaded
from vsdk_trio.runner.runner import run_runner

MAX_CALLS = 90


@asynccontextmanager
async def running_over_pipes(entrypoint: Any) -> AsyncGenerator[ControlChannel, None]:
    """A runner that is ready, at the other end of two pipes."""
    (to_read, to_write), (from_read, from_write) = os.pipe(), os.pipe()
    theirs = trio.lowlevel.FdStream(to_read), trio.lowlevel.FdStream(from_write)
    ours = trio.lowlevel.FdStream(from_read), trio.lowlevel.FdStream(to_write)
    async with trio.open_nursery() as nursery, ours[0], ours[1], theirs[0], theirs[1]:
        nursery.start_soon(run_runner, *theirs, Loaded(entrypoint=entrypoint))
        channel = ControlChannel(ours[1], ours[0])
        assert isinstance(await channel.__anext__(), Ready)
        await trio.testing.wait_all_tasks_blocked()
        with trio.fail_after(60):
            yield channel
            await channel.send(Stop())
            while not isinstance(await channel.__anext__(), Finished):
                pass


@attrs.define(eq=False)
class Steps(trio.abc.Instrument):
    """The steps of the runner's tasks, each with the functions that were called in it."""

    steps: list[list[str]] = attrs.field(factory=list)

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        """Called by Trio."""
        if task.name.startswith("vsdk_trio."):
            calls: list[str] = []
            self.steps.append(calls)

            def note(frame: Any, event: str, argument: object) -> None:
                if event == "call":
                    calls.append(frame.f_code.co_qualname)

            sys.setprofile(note)

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        """Called by Trio."""
        sys.setprofile(None)


async def test_the_step_that_reads_the_frame_is_the_one_that_calls_the_entrypoint() -> None:
    began = trio.Event()

    async def entrypoint(ctx: JobContext) -> None:
        began.set()
        await trio.sleep_forever()

    async with running_over_pipes(entrypoint) as channel:
        steps = Steps()
        before = sys.getprofile()
        trio.lowlevel.add_instrument(steps)
        await channel.send(start())
        await began.wait()
        trio.lowlevel.remove_instrument(steps)
        sys.setprofile(before)
        assert await channel.__anext__() == Running()
    first = steps.steps[0]
    calls = first[: first.index(entrypoint.__qualname__)]
    assert "decode_frame" in calls
    assert "write_what_fits" in calls  # `Running` is on its way
    assert len(calls) <= MAX_CALLS, calls


async def test_frames_are_answered_before_a_job_and_during_it() -> None:
    async with running_over_pipes(endless) as channel:
        seen: list[Frame] = []
        await channel.send(Ping(seq=1))
        seen.append(await channel.__anext__())
        await channel.send(start())
        seen.append(await channel.__anext__())
        await channel.send(Ping(seq=2))
        seen.append(await channel.__anext__())
    assert [type(frame) for frame in seen] == [Pong, Running, Pong]
