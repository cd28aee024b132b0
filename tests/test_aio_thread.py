"""`open_aio_thread`: what it promises, also with asyncio code that breaks every rule."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
import threading
import time
from collections.abc import AsyncIterator

import pytest
import trio

from vsdk_trio.asyncio_bridge.thread import AioThread, open_aio_thread
from vsdk_trio.errors import AioThreadError

# Real threads, real time: this is where the two worlds meet.
pytestmark = pytest.mark.real

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")


async def add(a: int, b: int) -> int:
    await asyncio.sleep(0)
    return a + b


async def swallow_cancellation() -> None:
    while True:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(60)


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("test-")]


async def test_a_result_comes_back_and_the_thread_ends() -> None:
    async with open_aio_thread(name="test-result") as thread:
        assert await thread.run(add, 1, 2) == 3
        assert threads() == ["test-result"]
    assert threads() == []
    assert thread.loop.is_closed()


async def test_many_calls_run_at_once() -> None:
    results: list[int] = []

    async def call(number: int) -> None:
        results.append(await thread.run(add, number, 0))

    async with open_aio_thread() as thread, trio.open_nursery() as nursery:
        for number in range(200):
            nursery.start_soon(call, number)
    assert sorted(results) == list(range(200))


async def test_what_is_raised_comes_back() -> None:
    async def fail() -> None:
        raise KeyError("x")

    async with open_aio_thread() as thread:
        with pytest.raises(KeyError, match="x"):
            await thread.run(fail)
        assert await thread.run(add, 1, 1) == 2


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), GeneratorExit()])
async def test_base_exceptions_are_the_callers_and_not_the_loops(error: BaseException) -> None:
    async def fail() -> None:
        raise error

    async with open_aio_thread() as thread:
        with pytest.raises(type(error)):
            await thread.run(fail)
        assert await thread.run(add, 1, 1) == 2


async def test_a_stray_task_that_exits_does_not_end_the_loop(
    caplog: pytest.LogCaptureFixture,
) -> None:
    stray: list[asyncio.Task[None]] = []

    async def leave() -> None:
        raise SystemExit(4)

    async def start() -> None:
        stray.append(asyncio.ensure_future(leave()))

    async with open_aio_thread(name="test-stray") as thread:
        await thread.run(start)
        await trio.sleep(0.05)
        assert await thread.run(add, 1, 1) == 2
    assert "a task of the thread 'test-stray' raised SystemExit(4)" in caplog.text
    assert isinstance(stray[0].exception(), SystemExit)


async def test_cancellation_reaches_the_coroutine_and_waits_for_it() -> None:
    events: list[str] = []

    async def work() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.05)
            events.append("cleaned up")

    async with open_aio_thread() as thread:
        with trio.move_on_after(0.05) as scope:
            await thread.run(work)
        assert scope.cancelled_caught
        assert events == ["cleaned up"]


async def test_an_error_of_the_cleaning_up_is_not_lost() -> None:
    async def work() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            raise OSError("while cleaning up")

    async with open_aio_thread() as thread:
        with pytest.raises(OSError, match="while cleaning up"), trio.move_on_after(0.05):
            await thread.run(work)


async def test_swallowed_cancellation_costs_a_deadline_and_no_more(
    caplog: pytest.LogCaptureFixture,
) -> None:
    started = time.monotonic()
    async with open_aio_thread(cancel_seconds=0.1, close_seconds=0.1) as thread:
        with trio.move_on_after(0.05) as scope:
            await thread.run(swallow_cancellation)
        assert scope.cancelled_caught
        assert await thread.run(add, 1, 1) == 2
    assert time.monotonic() - started < 5
    assert "has not ended 0.1 s after it was cancelled" in caplog.text
    assert "swallow_cancellation in the thread 'asyncio' would not end within 0.1 s" in caplog.text


async def test_a_task_that_protests_when_it_is_thrown_away(
    caplog: pytest.LogCaptureFixture,
) -> None:
    kept: list[object] = []

    async def protest() -> None:
        try:
            await swallow_cancellation()
        except GeneratorExit:
            raise ValueError("no") from None

    async def start() -> None:
        kept.append(asyncio.ensure_future(protest()))
        await asyncio.sleep(0)

    async with open_aio_thread(close_seconds=0.05) as thread:
        await thread.run(start)
    assert "protest raised ValueError('no') when it was thrown away" in caplog.text
    assert thread.loop.is_closed()


async def test_a_blocking_call_does_not_stall_trio() -> None:
    async def block() -> None:
        time.sleep(0.5)  # noqa: ASYNC251 - what must not be done, but is

    lateness: list[float] = []

    async def tick() -> None:
        while True:
            before = time.perf_counter()
            await trio.sleep(0.01)
            lateness.append(time.perf_counter() - before - 0.01)

    async with open_aio_thread() as thread, trio.open_nursery() as nursery:
        nursery.start_soon(tick)
        await thread.run(block)
        nursery.cancel_scope.cancel()
    assert len(lateness) >= 10
    assert max(lateness) < 0.4


async def test_a_blocked_thread_is_named_and_left_behind(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vsdk_trio.asyncio_bridge.thread._SLACK_SECONDS", 0.1)
    go_on = threading.Event()

    async def block_for_long() -> None:
        go_on.wait(30)

    async with open_aio_thread(
        name="test-blocked", cancel_seconds=0.1, close_seconds=0.1
    ) as thread:
        with trio.move_on_after(0.05):
            await thread.run(block_for_long)
    assert "'test-blocked' has not ended within 0.2 s and is left behind, busy in" in caplog.text
    assert "block_for_long (test_aio_thread.py:" in caplog.text
    assert thread._thread.daemon
    go_on.set()
    await trio.to_thread.run_sync(thread._thread.join, 5)
    assert thread.loop.is_closed()  # it ends by itself, once it can


def test_a_thread_that_outlives_its_trio_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vsdk_trio.asyncio_bridge.thread._SLACK_SECONDS", 0.1)
    go_on = threading.Event()
    opened: list[AioThread] = []

    async def block() -> None:
        go_on.wait(30)

    async def main() -> None:
        async with open_aio_thread(cancel_seconds=0.05, close_seconds=0.05) as thread:
            opened.append(thread)
            with trio.move_on_after(0.05):
                await thread.run(block)

    trio.run(main)
    go_on.set()
    opened[0]._thread.join(5)
    assert opened[0].loop.is_closed()


async def test_context_variables_go_in_as_a_copy() -> None:
    async def read_and_set() -> str:
        before = variable.get()
        variable.set("changed in asyncio")
        return before

    async with open_aio_thread() as thread:
        variable.set("from Trio")
        assert await thread.run(read_and_set) == "from Trio"
        assert variable.get() == "from Trio"


async def test_background_tasks_are_ended_with_the_thread() -> None:
    events: list[str] = []
    kept: list[object] = []

    async def background() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            events.append("ended")

    async def start() -> None:
        kept.append(asyncio.ensure_future(background()))
        await asyncio.sleep(0)

    async with open_aio_thread() as thread:
        await thread.run(start)
    assert events == ["ended"]


async def test_a_background_task_that_fails_at_the_end_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    kept: list[object] = []

    async def background() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            raise ValueError("bad end")

    async def start() -> None:
        kept.append(asyncio.ensure_future(background()))
        await asyncio.sleep(0)

    async with open_aio_thread() as thread:
        await thread.run(start)
    assert "bad end" in caplog.text


async def test_asynchronous_generators_are_closed() -> None:
    events: list[str] = []
    kept: list[AsyncIterator[int]] = []

    async def numbers() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            events.append("closed")

    async def start() -> None:
        kept.append(numbers())
        await anext(kept[0])

    async with open_aio_thread() as thread:
        await thread.run(start)
    assert events == ["closed"]


async def test_forgotten_sockets_are_closed() -> None:
    async def forget(port: int) -> None:
        loop = asyncio.get_running_loop()
        await loop.create_datagram_endpoint(asyncio.DatagramProtocol, local_addr=("127.0.0.1", 0))
        await loop.create_connection(asyncio.Protocol, "127.0.0.1", port)

    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with listener:
        port = listener.socket.getsockname()[1]
        async with open_aio_thread() as thread:
            await thread.run(forget, port)
            stream = await listener.accept()
            opened = list(thread.loop._opened)
        async with stream:
            with trio.fail_after(5), contextlib.suppress(trio.BrokenResourceError):
                assert await stream.receive_some() == b""
    assert [transport.is_closing() for transport in opened] == [True, True]


async def test_after_the_end_a_call_is_an_error() -> None:
    async with open_aio_thread(name="test-gone") as thread:
        pass
    with pytest.raises(AioThreadError, match="'test-gone' has ended"):
        await thread.run(add, 1, 1)
    with pytest.raises(AioThreadError):
        thread.call_soon(print)


async def test_a_call_that_waits_at_the_end_gets_an_error() -> None:
    errors: list[BaseException] = []

    async def call(thread: AioThread) -> None:
        try:
            await thread.run(asyncio.sleep, 60)
        except AioThreadError as error:
            errors.append(error)

    async with trio.open_nursery() as nursery, open_aio_thread() as thread:
        nursery.start_soon(call, thread)
        await trio.sleep(0.05)
    assert len(errors) == 1


async def test_a_cancellation_from_inside_asyncio_is_an_error() -> None:
    async def cancel_itself() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(1)

    async with open_aio_thread() as thread:
        with pytest.raises(AioThreadError, match=r"cancel_itself was cancelled inside asyncio"):
            await thread.run(cancel_itself)


async def test_it_ends_when_its_user_is_cancelled() -> None:
    with trio.move_on_after(0.05):
        async with open_aio_thread(name="test-cancelled") as thread:
            await thread.run(asyncio.sleep, 60)
    assert threads() == []


async def test_calls_from_anywhere() -> None:
    done = threading.Event()
    async with open_aio_thread() as thread:
        thread.call_soon(done.set)
        assert await trio.to_thread.run_sync(done.wait, 5)


async def test_the_log_says_nothing_where_nothing_is_wrong(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING)
    async with open_aio_thread() as thread:
        await thread.run(add, 1, 1)
        with trio.move_on_after(0.02):
            await thread.run(asyncio.sleep, 60)
    assert caplog.records == []
