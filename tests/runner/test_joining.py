"""Joining a room from a job: in time or not, whole or not at all, and what is asked of it."""

from __future__ import annotations

import io
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import attrs
import pytest
import trio
import trio.testing

from vsdk_trio.errors import OptionsError
from vsdk_trio.options.room import (
    ObservabilityOptions,
    RecordingOptions,
    RoomOptions,
    TransportMode,
)
from vsdk_trio.rooms import Room, RoomRequest
from vsdk_trio.rooms.base import check_transport
from vsdk_trio.rooms.hub import RoomHub
from vsdk_trio.rooms.joined import open_joined_room
from vsdk_trio.rooms.loopback import LoopbackTransport, open_loopback, open_loopback_room
from vsdk_trio.rooms.playground import show_playground
from vsdk_trio.runner.execution import run_entrypoint
from vsdk_trio.runner.job_context import JobContext
from vsdk_trio.runner.job_run import StopRequest
from vsdk_trio.runner.outcome import Outcome


async def run(ctx: JobContext, entrypoint: Callable[[JobContext], Awaitable[object]]) -> Outcome:
    return await run_entrypoint(entrypoint, ctx, callback_seconds=10, stop=StopRequest())


@attrs.define
class SlowRooms:
    """A room factory whose transport takes its time to join and to leave."""

    joins_after: float
    leaves_after: float = 0.0
    log: list[str] = attrs.field(factory=list)

    @asynccontextmanager
    async def __call__(
        self, mode: TransportMode, request: RoomRequest
    ) -> AsyncGenerator[Room, None]:
        async with open_joined_room(self._open, request) as room:
            yield room

    @asynccontextmanager
    async def _open(
        self, request: RoomRequest, hub: RoomHub
    ) -> AsyncGenerator[LoopbackTransport, None]:
        self.log.append("joining")
        try:
            await trio.sleep(self.joins_after)
            async with open_loopback(request, hub) as transport:
                self.log.append("joined")
                yield transport
                await trio.sleep(self.leaves_after)
                self.log.append("goodbye")
        finally:
            self.log.append("gone")


def context(rooms: SlowRooms, **options: Any) -> JobContext:
    return JobContext(
        room_options=RoomOptions(transport_mode="loopback", **options), room_factory=rooms
    )


async def test_a_room_that_is_not_joined_in_time_fails_the_job(
    autojump_clock: trio.testing.MockClock,
) -> None:
    for options, seconds in (({}, 30), ({"join_timeout_seconds": 2}, 2)):
        rooms = SlowRooms(joins_after=1000)
        started = trio.current_time()
        outcome = await run(context(rooms, room_id="r", **options), JobContext.connect)
        assert outcome.status == "failed"
        assert outcome.error is not None
        assert f"the room r was not joined within {seconds} s" in outcome.error
        assert trio.current_time() - started == seconds
        assert rooms.log == ["joining", "gone"]


async def test_no_time_limit_is_none(autojump_clock: trio.testing.MockClock) -> None:
    rooms = SlowRooms(joins_after=1000)
    outcome = await run(context(rooms, join_timeout_seconds=None), JobContext.connect)
    assert outcome == Outcome(status="completed")
    assert rooms.log == ["joining", "joined", "goodbye", "gone"]


async def test_cancelled_at_any_moment_a_room_is_joined_or_not(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Whatever the moment, what was begun is ended, and the room can be joined afterwards."""
    for tick in range(60):
        rooms = SlowRooms(joins_after=1)

        async def entrypoint(ctx: JobContext, after: float = 0.9 + tick / 300) -> None:
            with trio.move_on_after(after):
                await ctx.connect()
            await ctx.connect()
            assert ctx.room is not None
            assert await ctx.wait_for_participant() == "guest"

        assert await run(context(rooms), entrypoint) == Outcome(status="completed")
        assert rooms.log.count("gone") == rooms.log.count("joining")
        assert rooms.log[-2:] == ["goodbye", "gone"]


async def test_stopped_at_any_checkpoint_while_joining(
    autojump_clock: trio.testing.MockClock,
) -> None:
    for checkpoints in range(25):
        rooms, stop = SlowRooms(joins_after=0), StopRequest()
        ended: list[Outcome] = []

        async def go(
            rooms: SlowRooms = rooms, stop: StopRequest = stop, ended: list[Outcome] = ended
        ) -> None:
            async def entrypoint(ctx: JobContext) -> None:
                await ctx.connect()
                await trio.sleep_forever()

            ended.append(
                await run_entrypoint(entrypoint, context(rooms), callback_seconds=10, stop=stop)
            )

        with trio.fail_after(100):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(go)
                for _ in range(checkpoints):
                    await trio.lowlevel.checkpoint()
                stop.request("terminated")
        assert [outcome.status for outcome in ended] == ["cancelled"]
        assert rooms.log.count("gone") == rooms.log.count("joining")


async def test_what_a_transport_makes_of_being_called_off_is_no_failure(
    autojump_clock: trio.testing.MockClock,
) -> None:
    @asynccontextmanager
    async def rooms(mode: TransportMode, request: RoomRequest) -> AsyncGenerator[Room, None]:
        with pytest.raises(trio.Cancelled):
            await trio.sleep_forever()
        raise raised
        yield  # to be a generator

    async def stop_soon(stop: StopRequest) -> None:
        await trio.sleep(1)
        stop.request("terminated")

    for raised in (
        ConnectionError("aborted"),
        ExceptionGroup("several", [OSError("1"), ValueError("2")]),
        BaseExceptionGroup("both", [OSError("1"), KeyboardInterrupt()]),
    ):
        options = RoomOptions(transport_mode="loopback", room_id="r", join_timeout_seconds=5)
        late = await run(JobContext(room_options=options, room_factory=rooms), JobContext.connect)
        stop = StopRequest()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stop_soon, stop)
            ctx = JobContext(room_options=options, room_factory=rooms)
            stopped = await run_entrypoint(JobContext.connect, ctx, callback_seconds=10, stop=stop)
        if isinstance(raised, Exception):
            assert "the room r was not joined within 5 s" in (late.error or "")
            assert stopped == Outcome(status="cancelled", error="terminated")
        else:  # what somebody has pressed does not get lost
            assert "KeyboardInterrupt" in (late.error or "")
            assert "KeyboardInterrupt" in (stopped.error or "")


async def test_a_goodbye_that_hangs_is_cut_off(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    rooms = SlowRooms(joins_after=0, leaves_after=1000)
    started = trio.current_time()
    assert await run(context(rooms), JobContext.connect) == Outcome(status="completed")
    assert trio.current_time() - started == 5
    assert rooms.log == ["joining", "joined", "gone"]
    assert "leaving the room was cut off after 5 s" in caplog.text


async def test_a_room_that_is_lost_fails_the_job(autojump_clock: trio.testing.MockClock) -> None:
    log: list[str] = []

    class Session:
        async def start(self) -> None:
            log.append("start")
            await trio.lowlevel.checkpoint()

        def close(self) -> None:
            log.append("close")

    async def entrypoint(ctx: JobContext) -> None:
        ctx.add_shutdown_callback(lambda: log.append("callback"))
        await ctx.run_until_shutdown(Session(), wait_for_participant=True)

    script = [{"do": "join"}, {"do": "cut", "text": "the network is gone", "after": 3}]
    ctx = JobContext(
        room_options=RoomOptions(transport_mode="loopback"), metadata={"loopback": script}
    )
    outcome = await run(ctx, entrypoint)
    assert outcome.status == "failed"
    assert outcome.error is not None
    assert outcome.error.startswith("RoomError: the network is gone")
    assert log == ["start", "close", "callback"]


async def test_what_on_room_error_raises_fails_the_job(
    autojump_clock: trio.testing.MockClock,
) -> None:
    told: list[str] = []

    async def careful(error: Exception) -> None:
        await trio.sleep(1)
        told.append(str(error))

    def careless(error: Exception) -> None:
        raise LookupError("no such handler")

    script = [{"do": "join"}, {"do": "error", "text": "no signal"}, {"do": "end", "after": 2}]
    for callback, status in ((careful, "completed"), (careless, "failed")):
        ctx = JobContext(
            room_options=RoomOptions(transport_mode="loopback", on_room_error=callback),
            metadata={"loopback": script},
        )
        outcome = await run(ctx, JobContext.run_until_shutdown)
        assert outcome.status == status
    assert "no such handler" in (outcome.error or "")
    assert told == ["no signal"]


# What a transport cannot do.


@pytest.mark.parametrize(
    ("options", "mode", "text"),
    [
        ({"recording": True}, "websocket", r"RoomOptions\(recording=True\)"),
        ({"vision": True}, "webrtc", r"RoomOptions\(vision=True\)"),
        ({"audio_codec": "pcmu"}, "websocket", r"audio_codec='pcmu'"),
        (
            {"observability": ObservabilityOptions(recording=RecordingOptions(video=True))},
            "websocket",
            r"observability.recording",
        ),
        ({"recording": True, "vision": True}, "websocket", "recording=True, vision=True"),
    ],
)
def test_what_only_the_hosted_service_can_do_is_said(
    options: dict[str, Any], mode: str, text: str
) -> None:
    wanted = RoomOptions(**options)
    with pytest.raises(OptionsError, match=f"{mode}.*{text}.*needs transport_mode='videosdk'"):
        check_transport(wanted, TransportMode(mode))
    assert check_transport(wanted, TransportMode.VIDEOSDK) == ()
    [said, *_] = check_transport(wanted, TransportMode.LOOPBACK)
    assert "has no effect with transport_mode='loopback'" in said


def test_what_is_merely_nice_is_said_and_joined() -> None:
    options = RoomOptions(
        traces={"export_url": "http://t"},
        logs={"send_to_dashboard": True},
        send_logs_to_dashboard=True,
        observability={"metrics": {"export_url": "http://m"}},
    )
    assert check_transport(options, TransportMode.VIDEOSDK) == ()
    assert [text.partition(" has no")[0] for text in check_transport(options, WEBSOCKET)] == [
        "RoomOptions(send_logs_to_dashboard=True)",
        "RoomOptions(traces.export_url)",
        "RoomOptions(metrics.export_url)",
        "RoomOptions(logs.send_to_dashboard=True)",
    ]
    assert check_transport(RoomOptions(audio_codec="opus"), TransportMode.WEBRTC) == ()


WEBSOCKET = TransportMode.WEBSOCKET


async def test_it_is_said_before_anything_is_joined(caplog: pytest.LogCaptureFixture) -> None:
    options = RoomOptions(transport_mode="websocket", recording=True, websocket={"port": 0})
    outcome = await run(JobContext(room_options=options), JobContext.connect)
    assert isinstance(outcome.exception, OptionsError)
    options = RoomOptions(transport_mode="loopback", recording=True)
    assert (await run(JobContext(room_options=options), JobContext.connect)).status == "completed"
    assert "RoomOptions(recording=True) has no effect" in caplog.text


# The playground.


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_the_token_is_shown_on_a_terminal_only(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    terminal, pipe = Terminal(), io.StringIO()
    show_playground("room 1", "to/ken", stream=terminal)
    assert terminal.getvalue() == (
        "Talk to the agent at https://playground.videosdk.live/cli?token=to%2Fken&meetingId=room+1\n"
    )
    assert caplog.text == ""
    show_playground("room 1", "to/ken", stream=pipe)
    assert pipe.getvalue() == ""
    assert "cli?meetingId=room+1&token=..." in caplog.text
    assert "to/ken" not in caplog.text
    assert "to%2Fken" not in caplog.text


@pytest.mark.parametrize(
    ("options", "shown"),
    [
        ({"transport_mode": "videosdk"}, "r"),
        ({"transport_mode": "videosdk", "playground": False}, ""),
        ({"transport_mode": "videosdk", "join_meeting": False}, ""),
        ({"transport_mode": "loopback"}, ""),
    ],
)
async def test_when_there_is_a_playground(options: dict[str, Any], shown: str) -> None:
    rooms: list[str] = []

    async def entrypoint(ctx: JobContext) -> None:
        assert ctx._playground_room() == ""
        await ctx.connect()
        rooms.append(ctx._playground_room())

    ctx = JobContext(
        room_options=RoomOptions(room_id="r", **options),
        room_factory=lambda _mode, request: open_loopback_room(request),
    )
    await run(ctx, entrypoint)
    assert rooms == [shown]
