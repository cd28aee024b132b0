"""A runner for simulated processes: speaks the control channel, does what the job's script says.

The script is the job's metadata: `seconds` (how long it runs, default 1), `end` ("completed",
"failed", "exit" without a word, "signal"), `error`, `joins` (seconds until its room is joined),
`on_stop` ("obey", "ignore" the stop frame and EOF, "stuck": ignore SIGTERM as well), `deaf` (from
which second to which one it answers no ping, as if something blocked its loop).
"""

from __future__ import annotations

import signal
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Any

import attrs
import trio

from .._service import first_of
from ..control.channel import ControlChannel
from ..control.frames import (
    Finished,
    Hello,
    InitFailed,
    JobInfo,
    Joined,
    Ping,
    Pong,
    Ready,
    Running,
    Start,
    Stop,
)
from .processes import InsideProcess, ProcessExit


@attrs.define
class ScriptedRunner:
    """A program for `MemorySpawner`.

    `started` lists every job that was started, as (time, job); `callbacks_run` the jobs whose
    shutdown callbacks ran. `init_seconds` is how long a process takes to become ready, and
    `init_error` makes it fail to; `init_passes`, whether that is said to pass.
    """

    init_seconds: float = 0.1
    init_error: str | None = None
    init_passes: bool = False
    participant_name: str = "Agent"
    started: list[tuple[float, JobInfo]] = attrs.field(factory=list)
    callbacks_run: list[str] = attrs.field(factory=list)

    async def __call__(self, inside: InsideProcess) -> None:
        """Be one job process, from its hello to its exit."""
        channel = ControlChannel(inside.stdout, inside.stdin)
        async with trio.open_nursery() as nursery:
            process = _Process(self, inside, channel)
            nursery.start_soon(process.heed_signals)
            await process.live()
            nursery.cancel_scope.cancel()


class _Process:
    def __init__(
        self, script: ScriptedRunner, inside: InsideProcess, channel: ControlChannel
    ) -> None:
        self._script = script
        self._inside = inside
        self._channel = channel
        self._stop = trio.Event()
        self._terminate = trio.Event()
        self._reason = "the worker is gone"
        self._deaf = (0.0, 0.0)

    async def heed_signals(self) -> None:
        async for _ in self._inside.signals:
            self._terminate.set()

    async def live(self) -> None:
        if not isinstance(await anext(self._channel, None), Hello):
            return
        await trio.sleep(self._script.init_seconds)
        script = self._script
        if script.init_error is not None:
            await self._say(InitFailed(error=script.init_error, passes=script.init_passes))
            raise ProcessExit(1)
        await self._say(Ready(pid=self._inside.pid))
        async with trio.open_nursery() as nursery:
            job_sender, jobs = trio.open_memory_channel[JobInfo](1)
            nursery.start_soon(self._read, job_sender)
            job = await self._first_job(jobs)
            if job is not None:
                self._script.started.append((trio.current_time(), job))
                await self._run(job)
            nursery.cancel_scope.cancel()

    async def _first_job(self, jobs: trio.MemoryReceiveChannel[JobInfo]) -> JobInfo | None:
        found: list[JobInfo] = []

        async def wait_for_job() -> None:
            found.extend([job async for job in jobs][:1])

        await first_of(wait_for_job, self._stop.wait, self._terminate.wait)
        return found[0] if found else None

    async def _read(self, jobs: trio.MemorySendChannel[JobInfo]) -> None:
        async for frame in self._channel:
            match frame:
                case Start():
                    job = JobInfo.from_dict(frame.job)
                    begin, end = job.metadata.get("deaf", (0, 0))
                    now = trio.current_time()
                    self._deaf = (now + begin, now + end)
                    jobs.send_nowait(job)
                    jobs.close()
                case Stop():
                    self._reason = frame.reason
                    self._stop.set()
                case Ping():
                    begin, end = self._deaf
                    if begin <= trio.current_time() < end:
                        await trio.sleep_until(end)
                    await self._say(Pong(seq=frame.seq))
                case _:
                    pass
        self._stop.set()

    async def _run(self, job: JobInfo) -> None:
        script = job.metadata
        await self._say(Running())
        if "joins" in script:
            await trio.sleep(float(script["joins"]))
            name = self._script.participant_name
            await self._say(Joined(participant_id="agent", participant_name=name))
        on_stop = script.get("on_stop", "obey")
        waits: list[Callable[[], Awaitable[object]]] = [
            partial(trio.sleep, float(script.get("seconds", 1)))
        ]
        if on_stop == "obey":
            waits.append(self._stop.wait)
        if on_stop != "stuck":
            waits.append(self._terminate.wait)
        await first_of(*waits)
        if on_stop != "obey" and self._terminate.is_set():
            raise ProcessExit(-signal.SIGTERM)
        end = script.get("end", "completed")
        if end == "exit":
            raise ProcessExit(int(script.get("code", 3)))
        if end == "signal":
            raise ProcessExit(-signal.SIGSEGV)
        self._script.callbacks_run.append(job.job_id)
        if self._stop.is_set() and on_stop == "obey":
            await self._say(Finished(status="cancelled", error=self._reason))
        else:
            await self._say(Finished(status=end, error=script.get("error")))

    async def _say(self, frame: Any) -> None:
        # Where the worker is gone, what it would have been told is lost with it.
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            await self._channel.send(frame)
