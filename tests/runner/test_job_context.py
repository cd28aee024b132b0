"""JobContext: what it offers inside a job, and what it says outside of one."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest
import trio
import trio.testing

from vsdk_trio.control.frames import JobInfo
from vsdk_trio.errors import OptionsError, RoomError, TokenError
from vsdk_trio.options.room import RecordingOptions, RoomOptions, TransportMode
from vsdk_trio.options.worker import WorkerPermissions
from vsdk_trio.rooms import Room, RoomRequest
from vsdk_trio.rooms.loopback import open_loopback_room
from vsdk_trio.runner import job_context
from vsdk_trio.runner.execution import run_entrypoint
from vsdk_trio.runner.job_context import JobContext, JobProcessInfo
from vsdk_trio.runner.job_run import StopRequest
from vsdk_trio.runner.outcome import Outcome


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("VIDEOSDK_AUTH_TOKEN", "VIDEOSDK_ROOM_ID", "VSDK_TRIO_TRANSPORT"):
        monkeypatch.delenv(name, raising=False)


def context(
    *script: dict[str, Any], options: dict[str, Any] | None = None, **keywords: Any
) -> JobContext:
    room_options = RoomOptions(**{"transport_mode": "loopback", **(options or {})})
    metadata = {"loopback": list(script)} if script else {}
    return JobContext(room_options=room_options, metadata=metadata, **keywords)


async def run(ctx: JobContext, entrypoint: Callable[[JobContext], Awaitable[object]]) -> Outcome:
    return await run_entrypoint(entrypoint, ctx, callback_seconds=10, stop=StopRequest())


def test_it_can_be_built_anywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    options = RoomOptions()
    ctx = JobContext(room_options=options)
    assert ctx.room_options is options
    assert (ctx.metadata, ctx.room, ctx.videosdk_auth) == ({}, None, None)
    assert ctx.job.job_id.startswith("local-")
    assert ctx.process == JobProcessInfo()
    assert ctx.permissions == WorkerPermissions()
    assert ctx.want_console is False
    loop = asyncio.new_event_loop()
    loop.close()
    monkeypatch.setattr(sys, "argv", ["app.py", "console"])
    assert JobContext(room_options=options, loop=loop).want_console is True


def test_what_the_worker_said_about_the_job() -> None:
    job = JobInfo(job_id="j1", token="job-token", permissions={"can_publish": False})
    process = JobProcessInfo(userdata={"model": 1})
    ctx = JobContext(room_options=RoomOptions(), metadata={"a": 1}, job=job, process=process)
    assert ctx.job is job
    assert ctx.permissions == WorkerPermissions(can_publish=False)
    assert ctx.process.userdata == {"model": 1}
    assert ctx.metadata == {"a": 1}
    assert repr(ctx) == "<JobContext job_id='j1' room=None>"


@pytest.mark.parametrize(
    ("given", "token"),
    [
        ({}, None),
        ({"environment": " env "}, "env"),
        ({"environment": "env", "options": "opt"}, "opt"),
        ({"environment": "env", "options": "opt", "job": "job"}, "job"),
        ({"environment": "env", "options": "opt", "job": "job", "token": "own"}, "own"),
    ],
)
def test_where_the_token_comes_from(
    given: dict[str, str], token: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VIDEOSDK_AUTH_TOKEN", given.get("environment", ""))
    ctx = JobContext(
        room_options=RoomOptions(auth_token=given.get("options")),
        job=JobInfo(job_id="j", token=given.get("job", "")),
        token=given.get("token", ""),
    )
    assert ctx.videosdk_auth == token


async def test_outside_a_job_it_says_so() -> None:
    ctx = context()
    for attempt in (ctx.connect, ctx.shutdown, ctx.run_until_shutdown):
        with pytest.raises(RuntimeError, match="works while the job runs"):
            await attempt()
    with pytest.raises(RuntimeError, match="nursery exists while the entrypoint runs"):
        _ = ctx.nursery
    with pytest.raises(ValueError, match="no room"):
        await ctx.wait_for_participant()


async def test_connect_joins_the_room_once(autojump_clock: trio.testing.MockClock) -> None:
    async def entrypoint(ctx: JobContext) -> None:
        assert await ctx.wait_for_meeting_joined(timeout=3) is False
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ctx.connect)
            nursery.start_soon(ctx.connect)
        room = ctx.room
        await ctx.connect()
        assert ctx.room is room is not None
        assert await ctx.wait_for_meeting_joined() is True
        assert await ctx.wait_for_participant() == "guest"
        assert await ctx.wait_for_participant("guest") == "guest"
        assert (room.name, room.participant_id) == ("Bot", "bot-1")

    ctx = context(options={"name": "Bot", "agent_participant_id": "bot-1"})
    assert await run(ctx, entrypoint) == Outcome(status="completed")


@pytest.mark.parametrize(
    ("options", "job_room", "environment", "expected"),
    [
        ({"room_id": "mine"}, "job", "env", "mine"),
        ({}, "job", "env", "job"),
        ({}, "", " env ", "env"),
        ({}, "", "", "loopback-j"),
        ({"name": None}, "", "", "loopback-j"),
    ],
)
async def test_which_room(
    options: dict[str, Any],
    job_room: str,
    environment: str,
    expected: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("VIDEOSDK_ROOM_ID", environment)
    seen: list[str] = []

    async def entrypoint(ctx: JobContext) -> None:
        await ctx.connect()
        assert ctx.room is not None
        seen.append(ctx.room.room_id)
        assert ctx.room_options.room_id == expected

    await run(context(options=options, job=JobInfo(job_id="j", room_id=job_room)), entrypoint)
    assert seen == [expected]


async def test_the_environment_can_choose_the_transport(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VSDK_TRIO_TRANSPORT", "loopback")
    ctx = JobContext(room_options=RoomOptions())
    assert await run(ctx, JobContext.connect) == Outcome(status="completed")
    assert repr(ctx.room).startswith("<JoinedRoom 'loopback-local-")


async def test_not_joining_leaves_no_room() -> None:
    async def entrypoint(ctx: JobContext) -> None:
        await ctx.connect()
        assert ctx.room is None
        await ctx.shutdown()

    assert (await run(context(options={"join_meeting": False}), entrypoint)).status == "completed"


def own_factory(mode: TransportMode, request: RoomRequest) -> AbstractAsyncContextManager[Room]:
    """What a program passes that brings a transport of its own."""
    return open_loopback_room(request)


async def test_a_room_is_created_where_there_is_none() -> None:
    asked: list[tuple[str, str]] = []

    async def creator(token: str, base_url: str) -> str:
        asked.append((token, base_url))
        return "new-room"

    options = RoomOptions(auth_token="tok", signaling_base_url="http://here")
    ctx = JobContext(room_options=options, room_creator=creator, room_factory=own_factory)
    joined: list[str] = []

    async def entrypoint(ctx: JobContext) -> None:
        await ctx.connect()
        assert ctx.room is not None
        joined.append(ctx.room.room_id)

    assert (await run(ctx, entrypoint)).status == "completed"
    assert asked == [("tok", "http://here")]
    assert joined == [options.room_id] == ["new-room"]


async def test_a_room_is_not_created_without_a_token() -> None:
    with pytest.raises(TokenError, match="VIDEOSDK_AUTH_TOKEN"):
        await JobContext(room_options=RoomOptions()).get_room_id()


async def test_no_room_is_created_for_a_transport_that_is_not_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def missing(mode: TransportMode) -> None:
        raise RoomError(f"install what {mode.value} needs")

    monkeypatch.setattr(job_context, "require_transport", missing)
    created: list[str] = []

    async def creator(token: str, base_url: str) -> str:
        created.append(base_url)
        return "room"

    for token in (None, "t"):
        options = RoomOptions(auth_token=token, transport_mode="videosdk")
        ctx = JobContext(room_options=options, room_creator=creator)
        outcome = await run(ctx, JobContext.connect)
        assert outcome.error is not None
        assert "install what videosdk needs" in outcome.error
    assert created == []


async def test_create_room_static(monkeypatch: pytest.MonkeyPatch) -> None:
    async def creator(token: str, base_url: str) -> str:
        return f"{token}@{base_url}"

    monkeypatch.setattr(job_context, "create_room", creator)
    assert await JobContext.create_room_static("t") == "t@api.videosdk.live"


@pytest.mark.parametrize("wrong", ["script", "recording", "transport"])
async def test_what_cannot_be_joined_says_why(wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ctx = context({"do": "dance"}) if wrong == "script" else context()
    if wrong == "recording":
        ctx.room_options.recording = True
        ctx.room_options.recording_options = RecordingOptions(screen_share=True)
    if wrong == "transport":
        ctx = JobContext(room_options=RoomOptions())
        monkeypatch.setenv("VSDK_TRIO_TRANSPORT", "pigeon")
    outcome = await run(ctx, JobContext.connect)
    assert isinstance(outcome.exception, RoomError if wrong == "script" else OptionsError)
    assert ctx.room is None


async def test_connecting_can_be_cancelled(autojump_clock: trio.testing.MockClock) -> None:
    async def never(token: str, base_url: str) -> str:
        await trio.sleep_forever()
        raise AssertionError

    async def entrypoint(ctx: JobContext) -> None:
        with trio.move_on_after(1):
            await ctx.connect()
        assert ctx.room is None

    options = RoomOptions(auth_token="t")
    ctx = JobContext(room_options=options, room_creator=never, room_factory=own_factory)
    assert await run(ctx, entrypoint) == Outcome(status="completed")


class Session:
    def __init__(self, log: list[str], fails: bool = False) -> None:
        self.log = log
        self.fails = fails

    async def start(self) -> None:
        await trio.lowlevel.checkpoint()
        self.log.append("start")
        if self.fails:
            raise ValueError("no microphone")

    async def close(self) -> None:
        await trio.sleep(1)
        self.log.append("close")


def entrypoint_with(log: list[str], **keywords: Any) -> Callable[[JobContext], Awaitable[object]]:
    async def entrypoint(ctx: JobContext) -> None:
        ctx.add_shutdown_callback(lambda reason: log.append(f"callback {reason}"))
        await ctx.run_until_shutdown(session=Session(log, **keywords), wait_for_participant=True)
        log.append("returned")
        await trio.sleep(1)
        log.append("last line")

    return entrypoint


async def test_a_session_from_start_to_end(autojump_clock: trio.testing.MockClock) -> None:
    log: list[str] = []
    ctx = context({"do": "join", "after": 2}, {"do": "end", "text": "bye", "after": 3})
    assert await run(ctx, entrypoint_with(log)) == Outcome(status="completed")
    assert log == ["start", "close", "callback bye", "returned", "last line"]


async def test_nobody_came(autojump_clock: trio.testing.MockClock) -> None:
    log: list[str] = []
    start = trio.current_time()
    ctx = context({"do": "leave"}, options={"no_participant_timeout_seconds": 7})
    assert await run(ctx, entrypoint_with(log)) == Outcome(status="completed")
    assert log == ["close", "callback no_participant_joined", "returned", "last line"]
    assert trio.current_time() == start + 7 + 1 + 1


async def test_a_session_that_cannot_start(autojump_clock: trio.testing.MockClock) -> None:
    log: list[str] = []
    outcome = await run(context(), entrypoint_with(log, fails=True))
    assert outcome.status == "failed"
    assert log[:2] == ["start", "close"]
    assert log[2].startswith("callback ValueError: no microphone (")
    assert len(log) == 3


async def test_a_stop_closes_the_session_once(autojump_clock: trio.testing.MockClock) -> None:
    log: list[str] = []
    stop = StopRequest()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(stop_after, stop, 5)
        outcome = await run_entrypoint(
            entrypoint_with(log), context(), callback_seconds=10, stop=stop
        )
    assert outcome == Outcome(status="cancelled", error="terminated")
    assert log == ["start", "close", "callback terminated"]


async def stop_after(stop: StopRequest, seconds: float) -> None:
    await trio.sleep(seconds)
    stop.request("terminated")


async def test_without_a_session_and_without_a_room(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def entrypoint(ctx: JobContext) -> None:
        ctx.nursery.start_soon(hang_up, ctx)
        await ctx.run_until_shutdown(wait_for_participant=True)

    async def hang_up(ctx: JobContext) -> None:
        await trio.sleep(3)
        await ctx.shutdown("hang up")

    start = trio.current_time()
    ctx = context(options={"join_meeting": False})
    assert await run(ctx, entrypoint) == Outcome(status="completed")
    assert trio.current_time() == start + 3


async def test_a_synchronous_session(autojump_clock: trio.testing.MockClock) -> None:
    log: list[str] = []

    class Plain:
        def start(self) -> None:
            log.append("start")

        def close(self) -> None:
            log.append("close")

    async def entrypoint(ctx: JobContext) -> None:
        await ctx.run_until_shutdown(Plain())

    await run(context({"do": "join"}, {"do": "leave", "after": 1}), entrypoint)
    assert log == ["start", "close"]
