"""A moment that is waited for, and that others bring nearer."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from vsdk_trio._service import ResettableDeadline


async def test_it_expires_at_the_earliest_moment_that_was_said(autojump_clock: MockClock) -> None:
    deadline, expired_at = ResettableDeadline(), list[float]()

    async def listen() -> None:
        await deadline.wait()
        expired_at.append(trio.current_time())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(listen)
        await wait_all_tasks_blocked()
        for moment in (3.0, 2.0, 4.0):
            deadline.expire_at(moment)
    assert expired_at == [2.0]


async def test_what_is_said_while_nobody_waits_is_kept_for_the_next_wait(
    autojump_clock: MockClock,
) -> None:
    deadline = ResettableDeadline()
    deadline.expire_at(1.0)
    await trio.sleep(0.5)
    await deadline.wait()
    assert trio.current_time() == 1.0
    deadline.expire()
    with trio.testing.assert_checkpoints():
        await deadline.wait()
    assert trio.current_time() == 1.0


async def test_it_expires_once_for_each_time_it_is_set(autojump_clock: MockClock) -> None:
    deadline = ResettableDeadline()
    deadline.expire()
    await deadline.wait()
    with trio.move_on_after(10) as patience:
        await deadline.wait()
    assert patience.cancelled_caught
    deadline.expire_at(20.0)
    await deadline.wait()
    assert trio.current_time() == 20.0


async def test_it_can_be_called_off(autojump_clock: MockClock) -> None:
    deadline = ResettableDeadline()
    deadline.expire_at(5.0)
    with pytest.raises(trio.TooSlowError), trio.fail_after(1):
        await deadline.wait()
