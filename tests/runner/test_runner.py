"""The runner over memory streams on a virtual clock: every frame it answers, every way it ends."""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from signal import SIGTERM
from typing import Any

import attrs
import pytest
import trio
import trio.testing

from vsdk_trio._masking import mask
from vsdk_trio.control.channel import ControlChannel
from vsdk_trio.control.frames import (
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
    encode_frame,
)
from vsdk_trio.options.room import RoomOptions
from vsdk_trio.runner.job_context import JobContext, JobProcessInfo
from vsdk_trio.runner.loader import Loaded
from vsdk_trio.runner.runner import run_runner


@attrs.define
class Worker:
    """The other end: what the runner said, what it is told, and how it exited."""

    channel: ControlChannel
    stream: trio.StapledStream[Any, Any]
    exited: trio.Event = attrs.field(factory=trio.Event)
    code: int | None = None

    async def send(self, *frames: SendableFrame) -> None:
        for frame in frames:
            await self.channel.send(frame)

    async def next(self) -> Frame:
        with trio.fail_after(1000):
            return await self.channel.__anext__()

    async def rest(self) -> list[Frame]:
        with trio.fail_after(1000):
            return [frame async for frame in self.channel]


async def quick(ctx: JobContext) -> None: ...


async def endless(ctx: JobContext) -> None:
    await trio.sleep_forever()


@asynccontextmanager
async def running(
    entrypoint: Callable[[JobContext], Awaitable[object]] = quick,
    *,
    initialize: Callable[[JobProcessInfo], object] | None = None,
    live_options: RoomOptions | None = None,
    already_read: bytes = b"",
    signals: AsyncIterator[int] | None = None,
) -> AsyncGenerator[Worker, None]:
    ours, theirs = trio.testing.memory_stream_pair()
    worker = Worker(ControlChannel(ours, ours), ours)
    loaded = Loaded(
        entrypoint=entrypoint,
        initialize=initialize,
        recorded=live_options is not None,
        live_options=live_options,
    )

    async def run() -> None:
        worker.code = await run_runner(
            theirs,
            theirs,
            loaded,
            already_read=already_read,
            signals=signals,
        )
        await theirs.aclose()
        worker.exited.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        yield worker
        with trio.fail_after(1000):
            await worker.exited.wait()


def start(**keywords: Any) -> Start:
    job = JobInfo(
        job_id="j",
        room_options={"transport_mode": "loopback"} | keywords.pop("room_options", {}),
        **keywords,
    )
    return Start(job=job.to_dict())


async def test_a_job_from_ready_to_finished(autojump_clock: trio.testing.MockClock) -> None:
    seen: list[Any] = []

    async def entrypoint(ctx: JobContext) -> None:
        await trio.sleep(1)
        options = ctx.room_options
        seen.append((ctx.job.job_id, ctx.metadata, options.name, ctx.videosdk_auth))

    async with running(entrypoint) as worker:
        ready = await worker.next()
        assert isinstance(ready, Ready)
        assert (ready.pid, ready.recorded, ready.seconds > 0) == (os.getpid(), False, True)
        await worker.send(
            start(token="tok-123456", metadata={"a": 1}, room_options={"name": "Bot"})
        )
        assert await worker.rest() == [Running(), Finished(status="completed")]
    assert worker.code == 0
    assert seen == [("j", {"a": 1}, "Bot", "tok-123456")]
    assert mask("by tok-123456") == "by ***"


async def test_a_job_that_raises(caplog: pytest.LogCaptureFixture) -> None:
    async def entrypoint(ctx: JobContext) -> None:
        raise ValueError(f"bad {ctx.videosdk_auth}")

    async with running(entrypoint) as worker:
        await worker.next()
        await worker.send(start(token="tok-123456"))
        running_frame, finished = await worker.rest()
    assert running_frame == Running()
    assert isinstance(finished, Finished)
    assert finished.status == "failed"
    assert str(finished.error).startswith("ValueError: bad *** (test_runner.py:")
    assert worker.code == 0
    assert [r.getMessage() for r in caplog.records] == [f"the job failed: {finished.error}"]


async def test_joined_comes_before_finished(autojump_clock: trio.testing.MockClock) -> None:
    async def entrypoint(ctx: JobContext) -> None:
        await ctx.connect()

    for _ in range(20):
        async with running(entrypoint) as worker:
            await worker.next()
            await worker.send(start(room_options={"agent_participant_id": "p", "name": "Bot"}))
            assert await worker.rest() == [
                Running(),
                Joined(participant_id="p", participant_name="Bot"),
                Finished(status="completed"),
            ]


async def test_joined_by_the_users_own_means() -> None:
    async def entrypoint(ctx: JobContext) -> None:
        ctx.notify_meeting_joined()

    async with running(entrypoint) as worker:
        await worker.next()
        await worker.send(start())
        assert await worker.rest() == [Running(), Joined(), Finished(status="completed")]


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("stop", "the registry wants it"),
        ("stop without a reason", "stopped"),
        ("eof", "the worker is gone"),
        ("signal, then stop", "stopped"),
    ],
)
async def test_every_polite_end_runs_the_callbacks(
    how: str, reason: str, autojump_clock: trio.testing.MockClock
) -> None:
    log: list[str] = []
    send_signal, signals = trio.open_memory_channel[int](1)

    async def entrypoint(ctx: JobContext) -> None:
        ctx.add_shutdown_callback(clean_up)
        await trio.sleep_forever()

    async def clean_up(why: str) -> None:
        await trio.sleep(3)
        log.append(why)

    with send_signal, signals:
        async with running(entrypoint, signals=signals) as worker:
            await worker.next()
            await worker.send(start())
            assert await worker.next() == Running()
            if how == "stop":
                await worker.send(Stop(reason="the registry wants it"), Stop(reason="again"))
            elif how == "stop without a reason":
                await worker.send(Stop())
            elif how == "signal, then stop":
                send_signal.send_nowait(SIGTERM)
                await trio.sleep(3600)
                await worker.send(Stop())
            else:
                await worker.stream.send_eof()
            assert await worker.rest() == [Finished(status="cancelled", error=reason)]
    assert log == [reason]
    assert worker.code == 0


async def test_a_worker_that_vanishes_altogether(autojump_clock: trio.testing.MockClock) -> None:
    log: list[str] = []

    async def entrypoint(ctx: JobContext) -> None:
        ctx.add_shutdown_callback(lambda reason: log.append(reason))
        await trio.sleep_forever()

    async with running(entrypoint) as worker:
        await worker.next()
        await worker.send(start())
        await worker.next()
        await trio.aclose_forcefully(worker.stream)
    assert worker.code == 0
    assert log == ["the worker is gone"]


@pytest.mark.parametrize("how", ["stop", "eof"])
async def test_an_idle_runner_just_ends(how: str) -> None:
    async with running() as worker:
        await worker.next()
        if how == "stop":
            await worker.send(Stop())
        else:
            await worker.stream.aclose()
            await worker.exited.wait()
            assert worker.code == 0
            return
        assert await worker.rest() == []
    assert worker.code == 0


async def test_a_job_that_is_stopped_as_it_comes_never_runs() -> None:
    ran: list[bool] = []

    async def entrypoint(ctx: JobContext) -> None:
        ran.append(True)

    both = encode_frame(start()) + encode_frame(Stop(reason="changed my mind"))
    async with running(entrypoint, already_read=both) as worker:
        frames = await worker.rest()
    assert frames[-1] == Finished(status="cancelled", error="changed my mind")
    assert Running() not in frames
    assert ran == []


async def test_frames_that_came_behind_hello_are_not_lost() -> None:
    async with running(already_read=encode_frame(Ping(seq=7))) as worker:
        frames = [await worker.next(), await worker.next()]
        assert {type(frame) for frame in frames} == {Ready, Pong}
        await worker.send(Stop())


async def test_pings_are_answered_while_a_job_runs(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with running(endless) as worker:
        await worker.next()
        await worker.send(start())
        await worker.next()
        for seq in (1, 2):
            await worker.send(Ping(seq=seq))
            pong = await worker.next()
            assert isinstance(pong, Pong)
            assert pong.seq == seq
            assert pong.lag_ms >= 0
            assert pong.memory_mb is None or pong.memory_mb > 1
        await worker.send(Stop())
        await worker.rest()


async def test_what_is_not_expected_is_ignored(
    caplog: pytest.LogCaptureFixture, autojump_clock: trio.testing.MockClock
) -> None:
    async with running(endless) as worker:
        await worker.next()
        await worker.stream.send_all(b'junk\n{"type": "new_thing"}\n')
        await worker.send(start(), start(), Running())
        assert await worker.next() == Running()
        await trio.testing.wait_all_tasks_blocked()
        await worker.send(Stop(reason="x"))
        assert await worker.rest() == [Finished(status="cancelled", error="x")]
    assert [record.getMessage() for record in caplog.records] == [
        "ignored a line on the control channel: not a line of JSON",
        "ignored an unexpected frame: UnknownFrame",
        "ignored an unexpected frame: Start",
        "ignored an unexpected frame: Running",
    ]


@pytest.mark.parametrize(
    ("job", "text"),
    [
        ({}, "the job is not understood: job: job_id is missing"),
        (
            {"job_id": "j", "room_options": {"vision": 1}},
            "the job is not understood: RoomOptions.vision must be bool, got int",
        ),
    ],
)
async def test_a_job_that_makes_no_sense(job: dict[str, Any], text: str) -> None:
    async with running() as worker:
        await worker.next()
        await worker.send(Start(job=job))
        assert await worker.rest() == [Finished(status="failed", error=text)]
    assert worker.code == 0


async def asynchronous(process: JobProcessInfo) -> None:
    await trio.sleep(2)
    process.userdata["model"] = "loaded"


def synchronous(process: JobProcessInfo) -> None:
    process.userdata["model"] = "loaded"


@pytest.mark.parametrize("initialize", [asynchronous, synchronous])
async def test_what_initialize_stores_is_there_for_the_job(
    initialize: Callable[[JobProcessInfo], object], autojump_clock: trio.testing.MockClock
) -> None:
    seen: list[Any] = []

    async def entrypoint(ctx: JobContext) -> None:
        seen.append((ctx.process.userdata, ctx.process.pid))

    async with running(entrypoint, initialize=initialize) as worker:
        assert isinstance(await worker.next(), Ready)
        await worker.send(start())
        await worker.rest()
    assert seen == [({"model": "loaded"}, os.getpid())]


async def raising_in_a_group(process: JobProcessInfo) -> None:
    async with trio.open_nursery():
        raise OSError("no model")


def exiting(process: JobProcessInfo) -> None:
    raise SystemExit(0)


@pytest.mark.parametrize(
    ("initialize", "text"),
    [
        (raising_in_a_group, "initialize_process_fnc: OSError: no model (test_runner.py:"),
        (exiting, "initialize_process_fnc: sys.exit(0)"),
    ],
)
async def test_an_initialize_that_fails_ends_the_process(
    initialize: Callable[[JobProcessInfo], object], text: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(initialize=initialize) as worker:
        (failed,) = await worker.rest()
    assert isinstance(failed, InitFailed)
    assert failed.error.startswith(text)
    assert worker.code == 1
    assert caplog.records[-1].getMessage() == "initialize_process_fnc failed"


async def test_a_stop_interrupts_initialize(autojump_clock: trio.testing.MockClock) -> None:
    async def forever(process: JobProcessInfo) -> None:
        async with trio.open_nursery():
            await trio.sleep_forever()

    async with running(initialize=forever) as worker:
        await worker.send(Ping(seq=1))
        assert isinstance(await worker.next(), Pong)
        await worker.send(Stop())
        assert await worker.rest() == []
    assert worker.code == 0


async def test_live_options_come_from_the_recorded_job() -> None:
    seen: list[Any] = []

    async def entrypoint(ctx: JobContext) -> None:
        options = ctx.room_options
        seen.append((options.avatar, options.on_room_error, options.name))

    live = RoomOptions(avatar="face", on_room_error=print, name="not this one")
    async with running(entrypoint, live_options=live) as worker:
        ready = await worker.next()
        assert isinstance(ready, Ready)
        assert ready.recorded
        await worker.send(start(room_options={"name": "Bot"}))
        await worker.rest()
    assert seen == [("face", print, "Bot")]


async def test_cut_at_every_frame(autojump_clock: trio.testing.MockClock) -> None:
    """Whenever the worker goes away, the runner ends by itself, and the callbacks have run.

    Several times: whether the room is just joined at that moment is up to Trio's scheduler.
    """
    for frames_read in (*range(4),) * 20:
        log: list[str] = []

        async def entrypoint(ctx: JobContext, log: list[str] = log) -> None:
            log.append("started")
            ctx.add_shutdown_callback(lambda: log.append("callback"))
            await ctx.connect()
            await trio.sleep(1)

        async with running(entrypoint) as worker:
            for number in range(frames_read):
                if number == 1:
                    await worker.send(start())
                await worker.next()
            await trio.aclose_forcefully(worker.stream)
        assert worker.code == 0
        assert log in ([], ["started", "callback"])


async def test_nothing_is_logged_about_a_job_that_goes_well(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.INFO):
        async with running() as worker:
            await worker.next()
            await worker.send(start())
            await worker.rest()
    assert caplog.records == []
