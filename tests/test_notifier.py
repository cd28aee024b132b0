"""Waiting for changes: each waiter once."""

from __future__ import annotations

import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from vsdk_trio._service import Notifier


async def test_a_change_wakes_all_who_wait_and_nobody_later(autojump_clock: MockClock) -> None:
    change, woken = Notifier(), []

    async def wait(name: str) -> None:
        await change.wait()
        woken.append(name)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait, "a")
        nursery.start_soon(wait, "b")
        await wait_all_tasks_blocked()
        change.notify()
        nursery.start_soon(wait, "late")
        await trio.sleep(1)
        assert sorted(woken) == ["a", "b"]
        nursery.cancel_scope.cancel()
