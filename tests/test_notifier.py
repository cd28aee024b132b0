"""Waiting for changes: each waiter once, bursts as one."""

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


async def test_a_burst_is_settled_once_and_wakes_nobody_meanwhile(
    autojump_clock: MockClock,
) -> None:
    change, settled, steps = Notifier(), [], []

    class Steps(trio.abc.Instrument):
        def before_task_step(self, task: trio.lowlevel.Task) -> None:
            steps.append(task.name)

    async def report() -> None:
        while True:
            await change.settle(0.5, at_most=10)
            settled.append(trio.current_time())

    began = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(report)
        await trio.sleep(1)
        trio.lowlevel.add_instrument(instrument := Steps())
        for _ in range(4):
            change.notify()
            await trio.sleep(0.1)
        assert not any("report" in name for name in steps)
        trio.lowlevel.remove_instrument(instrument)
        await trio.sleep(11)
        nursery.cancel_scope.cancel()
    assert [round(time - began, 3) for time in settled] == [1.5, 11.5]
