"""The life of a job process on one control channel: initialize, run one job, report how it ended.

Works on any pair of streams, so it is tested without a process. Code of the user runs in
`_initialize`. Knows frames and jobs, but no descriptors.
"""

from __future__ import annotations

import inspect
import os
import time
from collections.abc import AsyncIterable, Awaitable, Callable
from contextlib import ExitStack
from functools import partial
from signal import Signals
from typing import Any

import attrs
import trio

from .._masking import hide_passing
from ..control.channel import ControlChannel
from ..control.frames import (
    Finished,
    Frame,
    InitFailed,
    JobInfo,
    Joined,
    Ping,
    Pong,
    Ready,
    Running,
    SendableFrame,
    Start,
    Stop,
)
from ..errors import FrameError, OptionsError
from ..jobs.starting import initializing_passes
from ..options.room import RoomOptions
from ..telemetry.logs.loggers import get_logger
from ..telemetry.traces.job_span import Ending, entrypoint_span, flush_spans
from .execution import run_when_it_comes
from .heartbeat import LongestStep, memory_mb, stack_signal
from .job_context import JobContext, JobProcessInfo
from .job_run import StopRequest
from .loader import Loaded
from .outcome import Outcome, describe_error, from_the_agent_on, without_cancelled

logger = get_logger(__name__)


@attrs.define(kw_only=True)
class ControlClient:
    """The job process's end of the control channel: what has come so far, and the way to answer."""

    channel: ControlChannel
    steps: LongestStep
    stop: StopRequest = attrs.field(factory=StopRequest)
    job: dict[str, Any] | None = attrs.field(default=None, repr=False)  # holds a token
    trace: dict[str, Any] = attrs.field(factory=dict)
    not_understood: str | None = None
    """The error in the job's start message, if it has one."""
    busy: trio.Event = attrs.field(factory=trio.Event)
    """Set when the task that runs the job reads no more frames, so that another task has to."""
    joining_reported: trio.Event = attrs.field(factory=trio.Event)
    """Set when the worker knows that the room is joined."""

    async def tell(self, frame: SendableFrame) -> None:
        """Send a frame. If the worker is gone, request a stop, as the reader does as well."""
        try:
            await self.channel.send(frame)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            self.stop.request("the worker is gone")

    async def read(self) -> None:
        """Handle frames until the worker is gone."""
        async for frame in self.channel:
            await self._take(frame)
        self.stop.request("the worker is gone")

    async def read_until_job(self) -> None:
        """Handle frames until there is a job or the worker is gone.

        Frames that came together with the job are handled as well: one may be a request to stop.
        """
        if self._may_begin():
            return
        async for frame in self.channel:
            await self._take(frame)
            if self._may_begin():
                return
        self.stop.request("the worker is gone")

    def _may_begin(self) -> bool:
        return self.job is not None and not self.channel.has_more

    async def _take(self, frame: Frame) -> None:
        match frame:
            case Start() if self.job is None:
                self.steps.take_ms()  # the job is not to blame for steps before it
                self.job, self.trace = frame.job, frame.trace
            case Stop():
                self.stop.request(frame.reason or "stopped")
            case Ping():
                lag_ms = self.steps.take_ms()
                await self.tell(Pong(seq=frame.seq, memory_mb=memory_mb(), lag_ms=lag_ms))
            case _:
                logger.warning("ignored an unexpected frame: %s", type(frame).__name__)


EXIT_OK = 0
EXIT_INIT_FAILED = 1

_WHAT_FOREIGN_CODE_RAISES = (Exception, SystemExit, KeyboardInterrupt, BaseExceptionGroup)
IDLE_SECONDS = 0.05
"""A process that has waited so long for a job can use the time: none is on its way."""

Rehearse = Callable[[], Awaitable[object]]


async def run_runner(
    receive_stream: trio.abc.ReceiveStream,
    send_stream: trio.abc.SendStream,
    loaded: Loaded,
    *,
    already_read: bytes = b"",
    signals: AsyncIterable[int] | None = None,
    rehearse: Rehearse | None = None,
) -> int:
    """Initialize, then run the one job that the other end of the streams starts.

    A `Stop` frame and EOF end the job politely: the shutdown callbacks run. Only the `Finished`
    frame says how the job ended. A worker that is gone is no error.

    Args:
        receive_stream: Brings frames of the worker.
        send_stream: Takes frames to the worker.
        loaded: The user's code.
        already_read: Bytes that were read from `receive_stream` before.
        signals: Signals that came. They are logged and end nothing, because a signal to the whole
            process tree must not end calls.
        rehearse: Awaited once no job has come for `IDLE_SECONDS`.

    Returns:
        The exit code: 0, or 1 if initializing failed.
    """
    steps = LongestStep()
    channel = ControlChannel(
        send_stream, receive_stream, already_read=already_read, on_junk=_log_junk
    )
    client = ControlClient(channel=channel, steps=steps)
    trio.lowlevel.add_instrument(steps)
    try:
        async with trio.open_nursery() as nursery:
            if signals is not None:
                nursery.start_soon(_note_signals, signals, client)
            receiver = JobReceiver(
                client=client,
                loaded=loaded,
                rehearse=rehearse,
                start_soon=nursery.start_soon,
                process=JobProcessInfo(userdata=loaded.userdata),
            )
            code = await _serve(client, receiver)
            nursery.cancel_scope.cancel()
    finally:
        trio.lowlevel.remove_instrument(steps)
    return code


def _log_junk(reason: str) -> None:
    logger.warning("ignored a line on the control channel: %s", reason)


async def _stand_by(client: ControlClient, rehearse: Rehearse | None) -> None:
    """Rehearse until there is a job, then read the frames that follow."""
    if rehearse is not None:
        with trio.move_on_after(IDLE_SECONDS):
            await client.busy.wait()
        if not client.busy.is_set():
            async with trio.open_nursery() as nursery:
                nursery.start_soon(rehearse)
                await client.busy.wait()
                nursery.cancel_scope.cancel()
    await client.busy.wait()
    await client.read()


async def _note_signals(signals: AsyncIterable[int], client: ControlClient) -> None:
    """Log a signal that is not from the worker, which sends `Stop` before it signals."""
    said: set[int] = set()
    async for number in signals:
        if client.job is not None and not client.stop.is_requested and number not in said:
            said.add(number)
            text = "%s ignored: only the worker stops this job (see vsdk-trio terminate)"
            logger.warning(text, Signals(number).name)


async def _serve(client: ControlClient, receiver: JobReceiver) -> int:
    error = await _initialize(client, receiver.loaded, receiver.process)
    if error is not None:
        await client.tell(error)
        return EXIT_INIT_FAILED
    outcome = await _run_job(client, receiver)
    # A job that came together with the request to stop still gets its answer.
    if client.job is not None:
        await client.tell(Finished(status=outcome.status, error=outcome.error))
        if client.trace:  # after the last frame, which must not wait for a collector
            await flush_spans()
    return EXIT_OK


async def _initialize(
    client: ControlClient, loaded: Loaded, process: JobProcessInfo
) -> InitFailed | None:
    """Run `initialize_process_fnc` and return its error; a stop ends it without one."""
    if loaded.initialize is None:
        return None
    try:
        rest = loaded.initialize(process)
    except _WHAT_FOREIGN_CODE_RAISES as error:
        return _failure_to_initialize(error)
    # A plain function has ended here. No frame could be read meanwhile.
    return await _initialize_further(client, rest) if inspect.isawaitable(rest) else None


async def _initialize_further(client: ControlClient, rest: Awaitable[object]) -> InitFailed | None:
    error: InitFailed | None = None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(client.read)
        with client.stop.calling(nursery.cancel_scope.cancel):
            try:
                await rest
            except _WHAT_FOREIGN_CODE_RAISES as raised:
                if without_cancelled(raised) is None:
                    raise
                error = _failure_to_initialize(raised)
        nursery.cancel_scope.cancel()
    return error


def _failure_to_initialize(error: BaseException) -> InitFailed:
    error = from_the_agent_on(error)
    logger.error("initialize_process_fnc failed", exc_info=error)
    text = f"initialize_process_fnc: {describe_error(error)}"
    return InitFailed(error=text, passes=initializing_passes(error))


@attrs.define(kw_only=True)
class JobReceiver:
    """Reports that the process is ready, waits for a job, and reports that it begins.

    No other task runs between the frame and the job's first line.
    """

    client: ControlClient
    loaded: Loaded
    rehearse: Rehearse | None
    start_soon: Callable[..., None]
    """That of the nursery around everything."""
    process: JobProcessInfo
    spans: ExitStack = attrs.field(factory=ExitStack, init=False)
    ctx: JobContext | None = None
    """Of the job that has begun."""
    ending: Ending = attrs.field(factory=Ending)

    async def __call__(self) -> JobContext | None:
        client = self.client
        await client.tell(_ready(self.loaded))
        self.start_soon(_stand_by, client, self.rehearse)
        options = _room_options(self.loaded)  # while the worker reads that
        await client.read_until_job()
        if client.job is None or client.stop.is_requested:
            return None
        client.busy.set()
        try:
            ctx = _context(client.job, options, self.process)
        except (FrameError, OptionsError) as fault:
            client.not_understood = f"the job is not understood: {fault}"
            return None
        hide_passing(*ctx._secrets())  # before anything of the job can be logged
        ctx._when_joined.append(partial(self.start_soon, _tell_of_joining, client, ctx))
        if not client.channel.send_now(Running()):
            await client.tell(Running())
        if client.trace:
            span = entrypoint_span(self.loaded.entrypoint, client.trace)
            self.ending = self.spans.enter_context(span)
        self.ctx = ctx
        return ctx


async def _run_job(client: ControlClient, receiver: JobReceiver) -> Outcome:
    loaded = receiver.loaded
    with receiver.spans:
        outcome = await run_when_it_comes(
            loaded.entrypoint, receiver, callback_seconds=loaded.callback_seconds, stop=client.stop
        )
        receiver.ending.status, receiver.ending.error = outcome.status, outcome.error
    if client.not_understood is not None:
        return Outcome(status="failed", error=client.not_understood)
    if receiver.ctx is not None and receiver.ctx._joined.is_set():
        await client.joining_reported.wait()
    if outcome.status == "failed":
        logger.error("the job failed: %s", outcome.error, exc_info=outcome.exception)
    return outcome


def _ready(loaded: Loaded) -> Ready:
    seconds = time.perf_counter() - loaded.started_at
    return Ready(
        pid=os.getpid(), recorded=loaded.recorded, seconds=seconds, stack_signal=stack_signal()
    )


def _room_options(loaded: Loaded) -> RoomOptions:
    """Return the defaults for the job's own options."""
    options = RoomOptions()
    if loaded.live_options is not None:
        options.avatar = loaded.live_options.avatar
        options.on_room_error = loaded.live_options.on_room_error
    return options


def _context(wire: dict[str, Any], options: RoomOptions, process: JobProcessInfo) -> JobContext:
    job = JobInfo.from_dict(wire)
    options.assign(job.room_options)
    return JobContext(room_options=options, metadata=job.metadata, job=job, process=process)


async def _tell_of_joining(client: ControlClient, ctx: JobContext) -> None:
    if ctx.room is None:  # the user's code has joined something by itself
        await client.tell(Joined())
    else:
        room = ctx.room
        await client.tell(
            Joined(
                participant_id=room.participant_id,
                participant_name=room.name,
                playground=ctx._playground_room(),
            )
        )
    client.joining_reported.set()
