"""One entrypoint, from its first line to its outcome: every way to end, and what runs when."""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from vsdk_trio.options.room import RoomOptions, TransportMode
from vsdk_trio.rooms import Room, RoomRequest
from vsdk_trio.rooms.loopback import open_loopback_room
from vsdk_trio.runner.execution import run_entrypoint
from vsdk_trio.runner.job_context import JobContext, get_current_job_context
from vsdk_trio.runner.job_run import StopRequest
from vsdk_trio.runner.outcome import Outcome

Entrypoint = Callable[[JobContext], Awaitable[object]]
COMPLETED = Outcome(status="completed")


def context(token: str = "") -> JobContext:
    return JobContext(room_options=RoomOptions(transport_mode="loopback"), token=token)


async def execute(
    entrypoint: Entrypoint,
    ctx: JobContext | None = None,
    *,
    stop: StopRequest | None = None,
    stop_after: float | None = None,
) -> tuple[Outcome, list[object]]:
    """Run it, with one callback that logs its reason."""
    reasons: list[object] = []
    ctx = ctx or context()
    stop = stop or StopRequest()
    ctx.add_shutdown_callback(lambda reason: reasons.append(reason))

    async def stop_later() -> None:
        if stop_after is not None:
            await trio.sleep(stop_after)
            stop.request("terminated")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(stop_later)
        outcome = await run_entrypoint(entrypoint, ctx, callback_seconds=10, stop=stop)
        nursery.cancel_scope.cancel()
    return outcome, reasons


async def test_returned_is_completed() -> None:
    seen: list[object] = []

    async def entrypoint(ctx: JobContext) -> None:
        seen.append(get_current_job_context() is ctx)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(in_a_child, ctx)

    async def in_a_child(ctx: JobContext) -> None:
        seen.append(get_current_job_context() is ctx)

    assert get_current_job_context() is None
    assert await execute(entrypoint) == (COMPLETED, ["the entrypoint returned"])
    assert seen == [True, True]
    assert get_current_job_context() is None


async def test_raised_is_failed_and_names_the_place() -> None:
    async def entrypoint(ctx: JobContext) -> None:
        raise ValueError("no such room")

    outcome, reasons = await execute(entrypoint)
    line = entrypoint.__code__.co_firstlineno + 1
    name = entrypoint.__qualname__
    expected = f"ValueError: no such room (test_execution.py:{line} in {name})"
    assert outcome == Outcome(status="failed", error=expected)
    assert isinstance(outcome.exception, ValueError)
    assert reasons == [expected]


async def test_the_token_is_masked() -> None:
    async def entrypoint(ctx: JobContext) -> None:
        raise ValueError(f"https://x/?token={ctx.videosdk_auth}")

    outcome, reasons = await execute(entrypoint, context(token="tok-12345678"))
    assert outcome.error is not None
    assert outcome.error.startswith("ValueError: https://x/?token=*** (")
    assert "tok-12345678" not in str(reasons)


@pytest.mark.parametrize(
    ("code", "outcome"),
    [
        (None, COMPLETED),
        (0, COMPLETED),
        (3, Outcome(status="failed", error="sys.exit(3)")),
        ("bad", Outcome(status="failed", error="sys.exit('bad')")),
    ],
)
async def test_sys_exit(code: int | str | None, outcome: Outcome) -> None:
    async def entrypoint(ctx: JobContext) -> None:
        sys.exit(code)

    ended, reasons = await execute(entrypoint)
    assert ended.status == outcome.status
    assert (ended.error or "").split(" (")[0] == (outcome.error or "")
    assert len(reasons) == 1


async def test_a_keyboard_interrupt_of_its_own_is_a_failure() -> None:
    async def entrypoint(ctx: JobContext) -> None:
        raise KeyboardInterrupt

    outcome, _ = await execute(entrypoint)
    assert outcome.status == "failed"
    assert str(outcome.error).startswith("KeyboardInterrupt (")


async def test_stopped_is_cancelled_with_the_reason(
    autojump_clock: trio.testing.MockClock,
) -> None:
    log: list[str] = []

    async def entrypoint(ctx: JobContext) -> None:
        try:
            await trio.sleep_forever()
        finally:
            log.append("finally")

    outcome, reasons = await execute(entrypoint, stop_after=1)
    assert outcome == Outcome(status="cancelled", error="terminated")
    assert reasons == ["terminated"]
    assert log == ["finally"]


async def test_stopped_before_it_started_it_never_runs() -> None:
    stop = StopRequest()
    stop.request("too late")
    stop.request("ignored")

    async def entrypoint(ctx: JobContext) -> None:
        raise AssertionError

    outcome, reasons = await execute(entrypoint, stop=stop)
    assert outcome == Outcome(status="cancelled", error="too late")
    assert reasons == []  # it added none of its own, either


async def test_returned_before_it_noticed_the_stop(autojump_clock: trio.testing.MockClock) -> None:
    async def entrypoint(ctx: JobContext) -> None:
        with trio.CancelScope(shield=True):
            await trio.sleep(2)

    outcome, reasons = await execute(entrypoint, stop_after=1)
    assert outcome == COMPLETED
    assert reasons == ["terminated"]


async def test_an_error_while_stopping_is_a_failure(autojump_clock: trio.testing.MockClock) -> None:
    async def entrypoint(ctx: JobContext) -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise OSError("disk full")

    outcome, _ = await execute(entrypoint, stop_after=1)
    assert outcome.status == "failed"
    assert str(outcome.error).startswith("OSError: disk full (")


async def test_an_interrupt_while_stopping_only_hurries(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def entrypoint(ctx: JobContext) -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise KeyboardInterrupt

    outcome, reasons = await execute(entrypoint, stop_after=1)
    assert outcome == Outcome(status="cancelled", error="terminated")
    assert reasons == ["terminated"]


async def test_background_tasks_end_with_the_entrypoint(
    autojump_clock: trio.testing.MockClock,
) -> None:
    log: list[str] = []

    async def background() -> None:
        try:
            await trio.sleep_forever()
        finally:
            log.append("background")

    async def entrypoint(ctx: JobContext) -> None:
        ctx.add_shutdown_callback(lambda: log.append("callback"))
        ctx.nursery.start_soon(background)
        await trio.sleep(1)
        log.append("entrypoint")

    ctx = context()
    assert (await execute(entrypoint, ctx))[0] == COMPLETED
    assert log == ["entrypoint", "background", "callback"]
    with pytest.raises(RuntimeError, match="nursery"):
        _ = ctx.nursery


async def test_an_error_in_the_background_fails_the_job() -> None:
    async def background() -> None:
        raise KeyError("x")

    async def entrypoint(ctx: JobContext) -> None:
        ctx.nursery.start_soon(background)
        await trio.sleep_forever()

    outcome, reasons = await execute(entrypoint)
    assert outcome.status == "failed"
    assert str(outcome.error).startswith("KeyError: 'x' (")
    assert len(reasons) == 1


async def test_several_errors_are_all_told() -> None:
    async def entrypoint(ctx: JobContext) -> None:
        async with trio.open_nursery():
            raise ExceptionGroup("both", [ValueError("a"), OSError("b")])

    outcome, _ = await execute(entrypoint)
    assert outcome.error == "2 errors: ValueError: a; OSError: b"
    assert isinstance(outcome.exception, ExceptionGroup)


async def test_shutdown_from_the_entrypoint_leaves_it_time_for_last_lines(
    autojump_clock: trio.testing.MockClock,
) -> None:
    log: list[str] = []

    async def entrypoint(ctx: JobContext) -> None:
        ctx.add_shutdown_callback(lambda: log.append("callback"))
        await ctx.shutdown("done")
        await ctx.shutdown("again")
        log.append("after")
        await trio.sleep(5)
        log.append("uploaded")

    assert await execute(entrypoint) == (COMPLETED, ["done"])
    assert log == ["callback", "after", "uploaded"]


async def test_after_a_shutdown_the_entrypoint_cannot_go_on_for_ever(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def entrypoint(ctx: JobContext) -> None:
        await ctx.shutdown("done")
        await trio.sleep_forever()

    start = trio.current_time()
    assert await execute(entrypoint) == (COMPLETED, ["done"])
    assert trio.current_time() == start + 10


async def test_shutdown_from_the_background_ends_a_busy_entrypoint(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def background(ctx: JobContext) -> None:
        await trio.sleep(1)
        await ctx.shutdown("hang up")

    async def entrypoint(ctx: JobContext) -> None:
        ctx.nursery.start_soon(background, ctx)
        await trio.sleep_forever()

    start = trio.current_time()
    assert await execute(entrypoint) == (COMPLETED, ["hang up"])
    assert trio.current_time() == start + 1


async def test_an_error_after_a_shutdown_is_a_failure() -> None:
    async def entrypoint(ctx: JobContext) -> None:
        await ctx.shutdown("done")
        raise ValueError("late")

    outcome, reasons = await execute(entrypoint)
    assert (outcome.status, reasons) == ("failed", ["done"])


async def test_a_stop_after_a_shutdown_changes_nothing(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def entrypoint(ctx: JobContext) -> None:
        await ctx.shutdown("done")
        await trio.sleep_forever()

    start = trio.current_time()
    assert await execute(entrypoint, stop_after=1) == (COMPLETED, ["done"])
    assert trio.current_time() == start + 1


async def test_a_shutdown_in_answer_to_a_stop_is_still_cancelled(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def entrypoint(ctx: JobContext) -> None:
        try:
            await trio.sleep_forever()
        finally:
            await ctx.shutdown("mine")

    outcome, reasons = await execute(entrypoint, stop_after=1)
    assert outcome == Outcome(status="cancelled", error="terminated")
    assert reasons == ["mine"]


async def test_a_callback_may_call_shutdown() -> None:
    ctx = context()
    ctx.add_shutdown_callback(lambda: ctx.shutdown("from a callback"))

    async def entrypoint(ctx: JobContext) -> None: ...

    assert await execute(entrypoint, ctx) == (COMPLETED, ["the entrypoint returned"])


async def test_cancelling_the_run_itself_runs_the_callbacks(
    autojump_clock: trio.testing.MockClock,
) -> None:
    log: list[object] = []

    async def slow(reason: str) -> None:
        await trio.sleep(3)
        log.append(reason)

    async def entrypoint(ctx: JobContext) -> None:
        ctx.add_shutdown_callback(slow)
        await ctx.connect()
        await trio.sleep_forever()

    ctx = context()
    with trio.move_on_after(1) as scope:
        await execute(entrypoint, ctx)
    assert scope.cancelled_caught
    assert log == ["cancelled"]


class RoomLog:
    """A room factory whose rooms log when they are left, and can break or hang."""

    def __init__(self, *, leaving_takes: float = 0, breaks_after: float | None = None) -> None:
        self.log: list[object] = []
        self._leaving_takes = leaving_takes
        self._breaks_after = breaks_after

    @asynccontextmanager
    async def __call__(
        self, mode: TransportMode, request: RoomRequest
    ) -> AsyncGenerator[Room, None]:
        async with trio.open_nursery() as nursery, open_loopback_room(request) as room:
            if self._breaks_after is not None:
                nursery.start_soon(self._break)
            try:
                yield room
                await trio.sleep(self._leaving_takes)
                nursery.cancel_scope.cancel()
            finally:
                self.log.append("left")

    async def _break(self) -> None:
        assert self._breaks_after is not None
        await trio.sleep(self._breaks_after)
        raise ConnectionResetError("the room is gone")


def context_with(room: RoomLog) -> JobContext:
    options = RoomOptions(transport_mode="loopback")
    ctx = JobContext(room_options=options, room_factory=room)
    ctx.add_shutdown_callback(lambda: room.log.append("callback"))
    return ctx


@pytest.mark.parametrize("way", ["return", "raise", "stop", "shutdown"])
async def test_the_room_is_left_after_the_callbacks_on_every_path(
    way: str, autojump_clock: trio.testing.MockClock
) -> None:
    room = RoomLog(leaving_takes=2)

    async def entrypoint(ctx: JobContext) -> None:
        await ctx.connect()
        if way == "raise":
            raise ValueError
        if way == "stop":
            await trio.sleep_forever()
        if way == "shutdown":
            await ctx.shutdown("done")
            room.log.append("still in the room")

    status = {"raise": "failed", "stop": "cancelled"}.get(way, "completed")
    outcome, _ = await execute(entrypoint, context_with(room), stop_after=1)
    assert outcome.status == status
    assert [entry for entry in room.log if entry != "still in the room"] == ["callback", "left"]
    assert room.log[-1] == "left"


async def test_a_room_that_hangs_when_it_is_left_costs_a_bounded_time(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async def entrypoint(ctx: JobContext) -> None:
        await ctx.connect()

    start = trio.current_time()
    outcome, _ = await execute(entrypoint, context_with(RoomLog(leaving_takes=1000)))
    assert outcome == COMPLETED
    assert trio.current_time() == start + 10
    assert "leaving the room was cut off after 10 s" in caplog.text


async def test_a_room_that_breaks_fails_the_job(autojump_clock: trio.testing.MockClock) -> None:
    room = RoomLog(breaks_after=1)

    async def entrypoint(ctx: JobContext) -> None:
        await ctx.connect()
        await trio.sleep_forever()

    outcome, reasons = await execute(entrypoint, context_with(room))
    assert outcome.status == "failed"
    assert str(outcome.error).startswith("ConnectionResetError: the room is gone (")
    assert room.log == ["left", "callback"]
    assert len(reasons) == 1


async def test_an_error_is_not_lost_in_a_cancellation_from_outside(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def background() -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise ValueError

    async def entrypoint(ctx: JobContext) -> None:
        ctx.nursery.start_soon(background)
        await trio.sleep_forever()

    with trio.move_on_after(1) as scope:
        await execute(entrypoint)
        raise AssertionError("the cancellation was lost")
    assert scope.cancelled_caught


async def test_the_order_is_always_the_same(autojump_clock: trio.testing.MockClock) -> None:
    """Trio shuffles its scheduler: many runs of one job must give one timeline."""
    timelines = set()
    for _ in range(50):
        room = RoomLog(leaving_takes=1)

        async def background(ctx: JobContext, room: RoomLog = room) -> None:
            try:
                await trio.sleep(2)
                await ctx.shutdown("hang up")
            finally:
                room.log.append("background")

        async def entrypoint(ctx: JobContext, room: RoomLog = room) -> None:
            await ctx.connect()
            ctx.nursery.start_soon(background, ctx)
            try:
                await trio.sleep_forever()
            finally:
                room.log.append("entrypoint")

        await execute(entrypoint, context_with(room))
        first, *middle, last = room.log
        timelines.add((first, *sorted(map(str, middle)), last))
    assert timelines == {("callback", "background", "entrypoint", "left")}


async def test_a_stop_at_the_very_moment_in_which_the_room_is_joined(
    autojump_clock: trio.testing.MockClock,
) -> None:
    stop, log = StopRequest(), []

    @asynccontextmanager
    async def joins_too_late(mode: TransportMode, request: RoomRequest) -> AsyncGenerator[Room]:
        async with open_loopback_room(request) as room:
            stop.request("terminated")
            try:
                yield room
            finally:
                log.append("left")

    options = RoomOptions(transport_mode="loopback")
    ctx = JobContext(room_options=options, room_factory=joins_too_late)
    with trio.fail_after(100):
        outcome, reasons = await execute(JobContext.connect, ctx, stop=stop)
    assert outcome == Outcome(status="cancelled", error="terminated")
    assert (reasons, log) == (["terminated"], ["left"])


@pytest.mark.parametrize("shielded", [False, True])
async def test_a_clean_up_that_runs_until_shutdown_costs_a_stop_no_time(
    shielded: bool, autojump_clock: trio.testing.MockClock
) -> None:
    async def entrypoint(ctx: JobContext) -> None:
        try:
            await ctx.connect()
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=shielded):
                await ctx.run_until_shutdown()

    start = trio.current_time()
    outcome, reasons = await execute(entrypoint, stop_after=1)
    assert outcome == Outcome(status="cancelled", error="terminated")
    assert reasons == ["terminated"]
    assert trio.current_time() == start + 1


async def test_a_shielded_wait_for_the_shutdown_is_let_go_by_a_stop(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def entrypoint(ctx: JobContext) -> None:
        with trio.CancelScope(shield=True):
            await ctx.run_until_shutdown()

    start = trio.current_time()
    outcome, _ = await execute(entrypoint, stop_after=1)
    assert outcome == COMPLETED  # it returned by itself
    assert trio.current_time() == start + 1
