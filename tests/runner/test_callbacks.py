"""Shutdown callbacks: order, deadlines, reasons, once."""

from __future__ import annotations

import functools
import logging
import sys
from collections.abc import Callable

import pytest
import trio
import trio.testing

from vsdk_trio.runner.callbacks import CallbackStack, call

Log = list[object]


async def test_last_added_comes_first_sync_or_async() -> None:
    log: Log = []
    stack = CallbackStack()

    async def asynchronous() -> None:
        await trio.lowlevel.checkpoint()
        log.append("async")

    stack.add(lambda: log.append("sync"))
    stack.add(asynchronous)
    stack.add(functools.partial(log.append, "partial"))
    await stack.run("why", seconds_each=1)
    assert log == ["partial", "async", "sync"]


class CallableObject:
    def __init__(self, log: Log) -> None:
        self.log = log

    def __call__(self, why: str) -> None:
        self.log.append(why)

    def method(self, *, reason: str) -> None:
        self.log.append(reason)


def with_reason(log: Log) -> dict[str, Callable[..., object]]:
    async def coroutine(why: str) -> None:
        log.append(why)

    return {
        "required": lambda why: log.append(why),
        "coroutine": coroutine,
        "named and optional": lambda other=1, reason="": log.append(reason),
        "keyword only": CallableObject(log).method,
        "object": CallableObject(log),
        "built-in": log.append,
        "positional only": lambda reason, /: log.append(reason),
    }


@pytest.mark.parametrize("kind", with_reason([]))
async def test_the_reason_is_given_to_what_takes_it(kind: str) -> None:
    log: Log = []
    stack = CallbackStack()
    stack.add(with_reason(log)[kind])
    await stack.run("why", seconds_each=1)
    assert log == ["why"]


async def test_an_optional_parameter_is_the_callbacks_own() -> None:
    log: Log = []
    stack = CallbackStack()
    stack.add(lambda call="own": log.append(call))
    stack.add(lambda *anything: log.append(anything))
    stack.add(dict)  # a built-in without a signature
    await stack.run("why", seconds_each=1)
    assert log == [(), "own"]


@pytest.mark.parametrize("callback", [lambda a, b: None, lambda *, key: None, None, "close"])
def test_what_cannot_be_called_is_refused_when_it_is_added(callback: object) -> None:
    with pytest.raises(TypeError, match="a shutdown callback"):
        CallbackStack().add(callback)  # type: ignore[arg-type]


async def test_one_that_hangs_or_raises_costs_the_others_nothing(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    log: Log = []
    stack = CallbackStack()

    async def hangs() -> None:
        await trio.sleep_forever()

    async def raises_in_a_nursery() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            raise OSError("disk")

    def interrupted() -> None:
        raise KeyboardInterrupt

    stack.add(lambda: log.append(trio.current_time()))
    stack.add(hangs)
    stack.add(raises_in_a_nursery)
    stack.add(lambda: sys.exit(3))
    stack.add(interrupted)
    start = trio.current_time()
    with caplog.at_level(logging.ERROR):
        await stack.run("why", seconds_each=4)
    assert log == [start + 4]
    messages = [record.getMessage() for record in caplog.records]
    assert [
        message.split(" callback ")[1].split(" ")[0].rpartition(".")[2] for message in messages
    ] == ["interrupted", "<lambda>", "raises_in_a_nursery", "hangs"]
    assert messages[-1].endswith("was cut off after 4 s")


async def test_not_even_an_exception_of_another_family_keeps_the_others_from_running() -> None:
    class Foreign(BaseException):
        """As `asyncio.CancelledError` is one."""

    def raises() -> None:
        raise Foreign

    log: Log = []
    stack = CallbackStack()
    stack.add(lambda: log.append("ran"))
    stack.add(raises)
    await stack.run("why", seconds_each=1)
    assert log == ["ran"]


async def test_cancellation_does_not_reach_them(autojump_clock: trio.testing.MockClock) -> None:
    log: Log = []
    stack = CallbackStack()

    async def slow() -> None:
        await trio.sleep(3)
        log.append("done")

    stack.add(slow)
    with trio.CancelScope() as scope:
        scope.cancel()
        await stack.run("why", seconds_each=10)
        log.append("returned")
    assert log == ["done", "returned"]


async def test_all_callers_wait_for_the_one_run(autojump_clock: trio.testing.MockClock) -> None:
    log: Log = []
    stack = CallbackStack()

    async def slow(reason: str) -> None:
        await trio.sleep(3)
        log.append(reason)

    async def caller(reason: str) -> None:
        await stack.run(reason, seconds_each=10)
        log.append(trio.current_time())

    stack.add(slow)
    start = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(caller, "one")
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(caller, "two")
    await caller("three")
    assert log == ["one", start + 3, start + 3, start + 3]


async def test_a_callback_may_ask_for_the_shutdown_and_add_another() -> None:
    log: Log = []
    stack = CallbackStack()

    async def again() -> None:
        await stack.run("inner", seconds_each=1)
        stack.add(lambda: log.append("added late"))
        log.append("again")

    stack.add(lambda: log.append("first"))
    stack.add(again)
    await stack.run("outer", seconds_each=1)
    assert log == ["again", "added late", "first"]
    with pytest.raises(RuntimeError, match="has shut down already"):
        stack.add(print)


async def test_call_takes_sync_and_async() -> None:
    async def asynchronous(value: int) -> int:
        return value

    assert await call(asynchronous, 1) == 1
    with trio.testing.assert_checkpoints():
        assert await call(lambda value: value, 2) == 2
