"""Entrypoints that need asyncio, with a context of ours: every way to end, and what runs when."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio

import vsdk_trio
from vsdk_trio import aio
from vsdk_trio.control.frames import JobInfo
from vsdk_trio.errors import EntrypointError, RoomPermissionError, TokenError
from vsdk_trio.jobs.entrypoint import describe
from vsdk_trio.options.room import RoomOptions
from vsdk_trio.rooms.audio import AudioFrame
from vsdk_trio.runner.aio.context import AsyncioJobContext
from vsdk_trio.runner.execution import run_entrypoint
from vsdk_trio.runner.job_context import JobContext, get_current_job_context
from vsdk_trio.runner.job_run import StopRequest
from vsdk_trio.runner.outcome import Outcome

from ..http_answers import Handler, answering, serving

pytestmark = pytest.mark.real

COMPLETED = Outcome(status="completed")
JOIN = [{"do": "join", "participant": "ann", "name": "Ann"}]


@aio.entrypoint
async def marked(ctx: AsyncioJobContext) -> None:
    """Known by its name, as an entrypoint of a job process has to be."""


def context(**metadata: Any) -> JobContext:
    options = RoomOptions(transport_mode="loopback", room_id="room")
    return JobContext(room_options=options, metadata=metadata)


async def execute(
    function: Callable[[AsyncioJobContext], Awaitable[None]],
    ctx: JobContext | None = None,
    *,
    stop_when: threading.Event | None = None,
    callback_seconds: float = 5,
) -> Outcome:
    """Run it as a job; `stop_when` is set by it when it wants to be stopped."""
    stop = StopRequest()

    async def watch(asked: threading.Event) -> None:
        await trio.to_thread.run_sync(asked.wait, 10)
        stop.request("terminated")

    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            if stop_when is not None:
                nursery.start_soon(watch, stop_when)
            outcome = await run_entrypoint(
                aio.entrypoint(function),
                ctx or context(),
                callback_seconds=callback_seconds,
                stop=stop,
            )
            nursery.cancel_scope.cancel()
    return outcome


@pytest.mark.parametrize("way", ["run", "run_until_complete"])
async def test_a_loop_in_the_entrypoint_says_to_await_instead(way: str) -> None:
    async def work() -> None: ...

    async def entrypoint(ctx: AsyncioJobContext) -> None:
        coroutine = work()
        with contextlib.closing(coroutine):
            if way == "run":
                asyncio.run(coroutine)
            else:
                asyncio.get_running_loop().run_until_complete(coroutine)

    outcome = await execute(entrypoint)
    assert outcome.error is not None
    assert "await the coroutine instead" in outcome.error


async def test_it_runs_under_asyncio_with_the_context_of_its_job() -> None:
    seen: list[object] = []

    async def entrypoint(ctx: AsyncioJobContext) -> None:
        await asyncio.sleep(0)
        seen.append(threading.current_thread() is threading.main_thread())
        seen.append(get_current_job_context() is ctx)
        seen.append(await asyncio.create_task(in_a_task()) is ctx)
        seen.append(ctx.metadata)

    async def in_a_task() -> object:
        return get_current_job_context()

    assert await execute(entrypoint, context(k="v")) == COMPLETED
    assert seen == [False, True, True, {"k": "v"}]
    assert get_current_job_context() is None


@pytest.mark.parametrize("way", ["signal.signal", "add_signal_handler"])
async def test_signal_handlers_work_as_in_the_main_thread(way: str) -> None:
    """Agents of the published client set them in their entrypoint."""
    before = signal.getsignal(signal.SIGUSR2)
    seen: list[object] = []

    async def entrypoint(ctx: AsyncioJobContext) -> None:
        came = asyncio.Event()

        def handle(*arguments: object) -> None:
            seen.append((arguments, threading.current_thread().name))
            seen.append(get_current_job_context() is ctx)
            asyncio.get_running_loop().call_soon(came.set)

        if way == "signal.signal":
            assert signal.signal(signal.SIGUSR2, handle) is before
        else:
            asyncio.get_running_loop().add_signal_handler(signal.SIGUSR2, handle, "arg")
        os.kill(os.getpid(), signal.SIGUSR2)
        await came.wait()

    assert await execute(entrypoint) == COMPLETED
    arguments = (signal.SIGUSR2, None) if way == "signal.signal" else ("arg",)
    assert seen == [(arguments, "agent"), True]
    assert signal.getsignal(signal.SIGUSR2) is before


async def test_signal_handlers_can_be_put_back() -> None:
    before = signal.getsignal(signal.SIGUSR2)
    seen: list[object] = []

    async def entrypoint(ctx: AsyncioJobContext) -> None:
        loop = asyncio.get_running_loop()
        seen.append(loop.remove_signal_handler(signal.SIGUSR2))
        loop.add_signal_handler(signal.SIGUSR2, seen.append, "never")
        seen.append(loop.remove_signal_handler(signal.SIGUSR2))
        seen.append(signal.getsignal(signal.SIGUSR2) is before)
        old = signal.signal(signal.SIGUSR2, signal.SIG_IGN)
        os.kill(os.getpid(), signal.SIGUSR2)
        signal.signal(signal.SIGUSR2, old)
        seen.append(signal.getsignal(signal.SIGUSR2) is before)
        with pytest.raises(RuntimeError, match="cannot be caught"):
            loop.add_signal_handler(signal.SIGKILL, seen.append, "never")
        with pytest.raises(TypeError):
            loop.add_signal_handler(signal.SIGUSR2, entrypoint, ctx)

    assert await execute(entrypoint) == COMPLETED
    assert seen == [False, True, True, True]


async def test_a_signal_function_from_before_says_what_to_write() -> None:
    imported_before = signal.signal

    async def entrypoint(ctx: AsyncioJobContext) -> None:
        imported_before(signal.SIGUSR2, signal.SIG_IGN)

    outcome = await execute(entrypoint)
    assert outcome.status == "failed"
    assert "add_signal_handler(...); what is to run" in (outcome.error or "")
    assert signal.signal is imported_before


async def test_what_it_raises_fails_the_job() -> None:
    async def entrypoint(ctx: AsyncioJobContext) -> None:
        raise ValueError("no such thing")

    outcome = await execute(entrypoint)
    assert outcome.status == "failed"
    assert outcome.error is not None
    assert outcome.error.startswith("ValueError: no such thing (test_asyncio_jobs.py:")


async def test_stopped_it_is_cancelled_and_its_callbacks_run_there() -> None:
    seen: list[str] = []
    started = threading.Event()

    async def entrypoint(ctx: AsyncioJobContext) -> None:
        async def last(reason: str) -> None:
            await asyncio.sleep(0.01)
            seen.append(f"last callback: {reason} in {threading.current_thread().name}")

        ctx.add_shutdown_callback(last)
        ctx.add_shutdown_callback(lambda: seen.append("first callback"))
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.01)
            seen.append("finally")

    outcome = await execute(entrypoint, stop_when=started)
    assert outcome == Outcome(status="cancelled", error="terminated")
    assert seen == ["finally", "first callback", "last callback: terminated in agent"]


async def test_one_that_swallows_its_cancellation_is_left_behind_in_time(
    caplog: pytest.LogCaptureFixture,
) -> None:
    started = threading.Event()

    async def entrypoint(ctx: AsyncioJobContext) -> None:
        started.set()
        while True:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(0.05)

    outcome = await execute(entrypoint, stop_when=started, callback_seconds=0.3)
    assert outcome == Outcome(status="cancelled", error="terminated")
    assert "has not ended 0.3 s after it was cancelled" in caplog.text


async def test_it_joins_a_room_talks_and_waits_for_the_end() -> None:
    seen: list[Any] = []
    script = [*JOIN, {"do": "say", "participant": "ann", "text": "hello", "after": 0.2}]
    script += [{"do": "end", "text": "over", "after": 0.2}]

    class Session:
        async def start(self) -> None:
            await asyncio.sleep(0)
            seen.append("start")

        async def close(self) -> None:
            await asyncio.sleep(0)
            seen.append("close")

    async def entrypoint(ctx: AsyncioJobContext) -> None:
        await ctx.connect()
        assert await ctx.wait_for_meeting_joined(1)
        room = ctx.room
        assert room is not None
        room.setup_session_end_callback(lambda reason: seen.append(f"callback: {reason}"))
        seen.append(await ctx.wait_for_participant())
        heard = await room.messages()
        await room.send_message("hi")
        async for message in heard:
            seen.append(message.text)
            break
        await ctx.run_until_shutdown(session=Session(), wait_for_participant=True)
        seen.append(f"returned: {room.end_reason}")

    assert await execute(entrypoint, context(loopback=script)) == COMPLETED
    assert seen == ["ann", "hello", "start", "callback: over", "close", "returned: over"]


async def test_audio_crosses_both_ways() -> None:
    frame = AudioFrame(data=b"\1\2" * 480, sample_rate=48000, channels=1, timestamp=0)
    heard: list[AudioFrame] = []
    events: list[str] = []

    async def entrypoint(ctx: AsyncioJobContext) -> None:
        await ctx.connect()
        room = ctx.room
        assert room is not None
        listening = asyncio.create_task(listen(room.audio("ann")))

        async def frames() -> Any:
            for _ in range(3):
                await asyncio.sleep(0)
                yield frame

        async for event in room.events():
            events.append(type(event).__name__)
            if len(events) == 2:
                break
        await room.play(frames())
        await room.play([frame])
        await listening
        assert room.counts.frames_played == 4

    async def listen(source: Any) -> None:
        async for item in source:
            heard.append(item)
            if len(heard) == 2:
                return

    script = [*JOIN, {"do": "speak", "participant": "ann", "seconds": 0.5}]
    assert await execute(entrypoint, context(loopback=script)) == COMPLETED
    assert len(heard) == 2
    assert events[0] == "RoomJoined"


async def test_play_is_silent_once_it_is_cancelled() -> None:
    counts: list[int] = []
    closed: list[bool] = []

    async def entrypoint(ctx: AsyncioJobContext) -> None:
        await ctx.connect()
        room = ctx.room
        assert room is not None

        async def endless() -> Any:
            silence = AudioFrame(data=bytes(1920), sample_rate=48000, channels=1, timestamp=0)
            try:
                while True:
                    yield silence
            finally:
                closed.append(True)

        playing = asyncio.create_task(room.play(endless()))
        await asyncio.sleep(0.3)
        playing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await playing
        await asyncio.sleep(0.1)
        counts.append(room.counts.frames_played)
        await asyncio.sleep(0.2)
        counts.append(room.counts.frames_played)

    assert await execute(entrypoint) == COMPLETED
    assert 0 < counts[0] == counts[1]
    assert closed == [True]


async def test_errors_of_the_room_come_across() -> None:
    async def entrypoint(ctx: AsyncioJobContext) -> None:
        with pytest.raises(ValueError, match="there is no room"):
            await ctx.wait_for_participant()
        await ctx.connect()
        room = ctx.room
        assert room is not None
        with pytest.raises(RoomPermissionError):
            room.audio("ann")
        with pytest.raises(RoomPermissionError):
            await room.send_message("hi")

    ctx = context()
    ctx.job = JobInfo(job_id="job", permissions={"can_subscribe": False, "can_publish_data": False})
    assert await execute(entrypoint, ctx) == COMPLETED


async def test_shutdown_lets_the_entrypoint_return() -> None:
    seen: list[str] = []

    async def entrypoint(ctx: AsyncioJobContext) -> None:
        ctx.add_shutdown_callback(lambda reason: seen.append(reason))
        await ctx.shutdown("enough")
        await asyncio.sleep(0.05)
        seen.append("returned")

    assert await execute(entrypoint) == COMPLETED
    assert seen == ["enough", "returned"]


async def test_a_shutdown_from_elsewhere_ends_an_entrypoint_that_waits_for_something_else() -> None:
    seen: list[str] = []

    async def entrypoint(ctx: AsyncioJobContext) -> None:
        ender = asyncio.create_task(ctx.shutdown("enough"))
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise
        finally:
            await ender

    assert await execute(entrypoint) == COMPLETED
    assert seen == ["cancelled"]


def test_the_mark_keeps_the_name_and_refuses_what_is_no_coroutine_function() -> None:
    assert describe(marked).qualname == "marked"
    assert vsdk_trio.aio is aio
    with pytest.raises(EntrypointError, match="is for an `async def` function"):
        aio.entrypoint(lambda ctx: None)  # type: ignore[arg-type, return-value]  # what is refused


async def test_it_creates_a_room_with_the_jobs_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VIDEOSDK_AUTH_TOKEN", raising=False)
    asked: list[tuple[str, str | None]] = []
    rooms: list[str] = []

    def answer(handler: Handler) -> None:
        asked.append((handler.path, handler.headers["Authorization"]))
        answering(200, b'{"roomId": "abcd-efgh"}')(handler)

    async def entrypoint(ctx: AsyncioJobContext) -> None:
        rooms.append(ctx.get_room_id())
        rooms.append(ctx.create_room_static("own", ctx.room_options.signaling_base_url or ""))

    with serving() as serve:
        options = RoomOptions(transport_mode="loopback", signaling_base_url=serve(answer))
        assert await execute(entrypoint, JobContext(room_options=options, token="t")) == COMPLETED
        assert rooms == ["abcd-efgh"] * 2
        assert asked == [("/v2/rooms", "t"), ("/v2/rooms", "own")]
        outcome = await execute(entrypoint, JobContext(room_options=options))
        assert isinstance(outcome.exception, TokenError)
        assert "VIDEOSDK_AUTH_TOKEN" in (outcome.error or "")
    assert len(asked) == 2


async def test_a_clean_up_that_runs_until_shutdown_is_let_go_when_the_job_is_stopped() -> None:
    running = threading.Event()
    seen: list[str] = []

    async def entrypoint(ctx: AsyncioJobContext) -> None:
        ctx.add_shutdown_callback(lambda: seen.append("callback"))
        try:
            await ctx.connect()
            running.set()
            await asyncio.Event().wait()
        finally:
            await ctx.run_until_shutdown()
            seen.append("cleaned up")

    started = trio.current_time()
    outcome = await execute(entrypoint, stop_when=running, callback_seconds=15)
    assert outcome == Outcome(status="cancelled", error="terminated")
    assert seen == ["cleaned up", "callback"]
    assert trio.current_time() - started < 10


async def test_what_waits_until_shutdown_is_let_go_once_by_a_stop() -> None:
    running = threading.Event()
    seen: list[str] = []

    async def entrypoint(ctx: AsyncioJobContext) -> None:
        await ctx.connect()
        asyncio.get_running_loop().call_soon(running.set)
        try:
            await ctx.run_until_shutdown()
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise
        seen.append("returned")

    for _ in range(10):
        running.clear()
        await execute(entrypoint, stop_when=running)
    # The job's end and the cancellation come together; either may be first.
    assert len(seen) == 10
