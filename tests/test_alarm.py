"""A moment that is waited for, and that others bring nearer."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from vsdk_trio._service import Alarm


async def test_it_rings_at_the_earliest_moment_that_was_said(autojump_clock: MockClock) -> None:
    alarm, rang_at = Alarm(), list[float]()

    async def listen() -> None:
        await alarm.wait()
        rang_at.append(trio.current_time())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(listen)
        await wait_all_tasks_blocked()
        for moment in (3.0, 2.0, 4.0):
            alarm.ring_at(moment)
    assert rang_at == [2.0]


async def test_what_is_said_while_nobody_waits_is_kept_for_the_next_wait(
    autojump_clock: MockClock,
) -> None:
    alarm = Alarm()
    alarm.ring_at(1.0)
    await trio.sleep(0.5)
    await alarm.wait()
    assert trio.current_time() == 1.0
    alarm.ring()
    with trio.testing.assert_checkpoints():
        await alarm.wait()
    assert trio.current_time() == 1.0


async def test_it_rings_once_for_each_time_it_is_set(autojump_clock: MockClock) -> None:
    alarm = Alarm()
    alarm.ring()
    await alarm.wait()
    with trio.move_on_after(10) as patience:
        await alarm.wait()
    assert patience.cancelled_caught
    alarm.ring_at(20.0)
    await alarm.wait()
    assert trio.current_time() == 20.0


async def test_it_can_be_called_off(autojump_clock: MockClock) -> None:
    alarm = Alarm()
    alarm.ring_at(5.0)
    with pytest.raises(trio.TooSlowError), trio.fail_after(1):
        await alarm.wait()
