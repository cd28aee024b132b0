"""The life of a job process on one control channel: initialize, say so, run one job, say how.

Works on any pair of streams, so that it is tested without a process. Foreign code meets ours in
`_initialize`. Knows frames and jobs; must not know descriptors, or who is at the other end.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable
from contextlib import asynccontextmanager
from signal import Signals
from typing import Any

import attrs
import trio

from ..control.channel import ControlChannel
from ..control.frames import (
    Finished,
    InitFailed,
    Joined,
    Ping,
    Pong,
    Ready,
    Running,
    SendableFrame,
    Start,
    Stop,
)
from ..control.job import JobInfo
from ..errors import FrameError, OptionsError
from ..room_options import RoomOptions
from ..traces.job_span import entrypoint_span, flush_spans
from .callbacks import call
from .execution import run_entrypoint
from .job_context import JobContext, JobProcessInfo
from .loader import Loaded
from .outcome import Outcome, describe_error, without_cancelled
from .stacks import stack_signal
from .stop import StopRequest
from .vitals import LongestStep, memory_mb

logger = logging.getLogger(__name__)

EXIT_OK = 0
EXIT_INIT_FAILED = 1

Hide = Callable[[Iterable[str]], object]


@attrs.define(kw_only=True)
class _Desk:
    """What the worker has said so far, and the way to answer."""

    channel: ControlChannel
    news: trio.Event = attrs.field(factory=trio.Event)
    """There is a job, or a request to stop. One event, so that waiting takes no nursery: it is
    left on the way to the job's first line."""
    stop: StopRequest = attrs.field(factory=StopRequest)
    job: dict[str, Any] | None = attrs.field(default=None, repr=False)  # holds a token
    trace: dict[str, Any] = attrs.field(factory=dict)
    joining_told: trio.Event = attrs.field(factory=trio.Event)
    """The worker was told that the room is joined."""

    async def tell(self, frame: SendableFrame) -> None:
        """Send a frame; to nobody if the worker is gone, which the reader finds out as well."""
        try:
            await self.channel.send(frame)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            self.stop.request("the worker is gone")

    @asynccontextmanager
    async def until_stopped(self) -> AsyncGenerator[None, None]:
        """Cancel the body when a stop is requested."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._cancel_on_stop, nursery.cancel_scope)
            yield
            nursery.cancel_scope.cancel()

    async def _cancel_on_stop(self, scope: trio.CancelScope) -> None:
        await self.stop.wait()
        scope.cancel()


async def run_runner(
    receive_stream: trio.abc.ReceiveStream,
    send_stream: trio.abc.SendStream,
    loaded: Loaded,
    *,
    already_read: bytes = b"",
    signals: AsyncIterable[int] | None = None,
    hide: Hide = list,
) -> int:
    """Initialize, then run the one job that the other end of the streams starts.

    A `Stop` frame, EOF and each of `signals` end whatever is going on politely: the shutdown
    callbacks run. `already_read` are bytes of the incoming stream; `hide` is given the job's
    tokens before anything of the job can be logged.

    Returns the exit code: 0, or 1 if initializing failed. How the job ended is said by the
    `Finished` frame alone. A worker that is gone is no error.
    """
    desk = _Desk(
        channel=ControlChannel(
            send_stream, receive_stream, already_read=already_read, on_junk=_log_junk
        )
    )
    steps = LongestStep()
    trio.lowlevel.add_instrument(steps)
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_read_frames, desk, steps)
            if signals is not None:
                nursery.start_soon(_read_signals, signals, desk.stop)
            code = await _serve(desk, loaded, hide, nursery)
            nursery.cancel_scope.cancel()
    finally:
        trio.lowlevel.remove_instrument(steps)
    return code


def _log_junk(reason: str) -> None:
    logger.warning("ignored a line on the control channel: %s", reason)


async def _read_frames(desk: _Desk, steps: LongestStep) -> None:
    async for frame in desk.channel:
        match frame:
            case Start() if desk.job is None:
                steps.take_ms()  # what came before is none of the job's doing
                desk.job, desk.trace = frame.job, frame.trace
                desk.news.set()
            case Stop():
                desk.stop.request(frame.reason or "stopped")
            case Ping():
                pong = Pong(seq=frame.seq, memory_mb=memory_mb(), lag_ms=steps.take_ms())
                await desk.tell(pong)
            case _:
                logger.warning("ignored an unexpected frame: %s", type(frame).__name__)
    desk.stop.request("the worker is gone")


async def _read_signals(signals: AsyncIterable[int], stop: StopRequest) -> None:
    async for number in signals:
        stop.request(f"received {Signals(number).name}")


async def _serve(desk: _Desk, loaded: Loaded, hide: Hide, nursery: trio.Nursery) -> int:
    process = JobProcessInfo(userdata=loaded.userdata)
    options = _room_options(loaded)
    error: str | None = None
    async with desk.until_stopped():
        error = await _initialize(loaded, process)
    if error is not None:
        await desk.tell(InitFailed(error=error))
        return EXIT_INIT_FAILED
    if not desk.stop.is_requested:
        seconds = time.perf_counter() - loaded.started_at
        ready = Ready(
            pid=os.getpid(),
            recorded=loaded.recorded,
            seconds=seconds,
            stack_signal=stack_signal(),
        )
        await desk.tell(ready)
        with desk.stop.calling(desk.news.set):
            await desk.news.wait()
    # A job that came together with the request to stop still gets its answer.
    if desk.job is not None:
        try:
            ctx = _context(desk.job, options, process)
        except (FrameError, OptionsError) as fault:
            outcome = Outcome(status="failed", error=f"the job is not understood: {fault}")
        else:
            hide(ctx._secrets())
            ctx._when_joined.append(lambda: nursery.start_soon(_tell_of_joining, desk, ctx))
            outcome = await _run_job(desk, ctx, loaded)
        await desk.tell(Finished(status=outcome.status, error=outcome.error))
        if desk.trace:  # after the last word: whoever waits for that waits for no collector
            await flush_spans()
    return EXIT_OK


async def _initialize(loaded: Loaded, process: JobProcessInfo) -> str | None:
    """Run `initialize_process_fnc`; returns what went wrong."""
    if loaded.initialize is None:
        return None
    try:
        await call(loaded.initialize, process)
    except (Exception, SystemExit, KeyboardInterrupt, BaseExceptionGroup) as error:
        if without_cancelled(error) is None:
            raise
        logger.error("initialize_process_fnc failed", exc_info=error)
        return f"initialize_process_fnc: {describe_error(error)}"
    return None


async def _run_job(desk: _Desk, ctx: JobContext, loaded: Loaded) -> Outcome:
    if not desk.stop.is_requested:
        await desk.tell(Running())
    with entrypoint_span(loaded.entrypoint, desk.trace) as span:
        outcome = await run_entrypoint(
            loaded.entrypoint, ctx, callback_seconds=loaded.callback_seconds, stop=desk.stop
        )
        span.status, span.error = outcome.status, outcome.error
    if ctx._joined.is_set():
        await desk.joining_told.wait()
    if outcome.status == "failed":
        logger.error("the job failed: %s", outcome.error, exc_info=outcome.exception)
    return outcome


def _room_options(loaded: Loaded) -> RoomOptions:
    """What the job's own options are laid over; made while no job waits for it."""
    options = RoomOptions()
    if loaded.live_options is not None:
        options.avatar = loaded.live_options.avatar
        options.on_room_error = loaded.live_options.on_room_error
    return options


def _context(wire: dict[str, Any], options: RoomOptions, process: JobProcessInfo) -> JobContext:
    job = JobInfo.from_dict(wire)
    options.assign(job.room_options)
    return JobContext(room_options=options, metadata=job.metadata, job=job, process=process)


async def _tell_of_joining(desk: _Desk, ctx: JobContext) -> None:
    if ctx.room is None:  # the user's code has joined something by itself
        await desk.tell(Joined())
    else:
        room = ctx.room
        await desk.tell(
            Joined(
                participant_id=room.participant_id,
                participant_name=room.name,
                playground=ctx._playground_room(),
            )
        )
    desk.joining_told.set()
