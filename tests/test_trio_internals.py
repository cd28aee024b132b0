"""The private parts of trio that are used are still there, and still mean what they did."""

from __future__ import annotations

import re
import sys

import trio
from trio._core import _run as scheduler
from trio.testing import wait_all_tasks_blocked

from vsdk_trio.system.trio_internals import CORE_PATH, TRAPS_MODULE, scopes_below


async def test_a_task_runs_below_frames_of_the_core() -> None:
    frame, files = sys._getframe(), []
    while frame is not None:
        files.append(frame.f_code.co_filename)
        frame = frame.f_back
    assert any(re.search(CORE_PATH, file) for file in files)


async def test_a_wait_ends_in_the_traps() -> None:
    tasks: list[trio.lowlevel.Task] = []

    async def wait() -> None:
        tasks.append(trio.lowlevel.current_task())
        await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await wait_all_tasks_blocked()
        *_, (last, _) = tasks[0].iter_await_frames()
        assert last.f_globals["__name__"] == TRAPS_MODULE
        nursery.cancel_scope.cancel()


async def test_scopes_are_found_also_in_tasks_and_behind_shields() -> None:
    inner = trio.CancelScope(shield=True)

    async def wait() -> None:
        with inner:
            await trio.sleep_forever()

    with trio.CancelScope() as outer:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            await wait_all_tasks_blocked()
            found = list(scopes_below(outer))
            assert {nursery.cancel_scope, inner} <= set(found)
            inner.cancel()


def test_the_simulation_can_determine_the_order_of_tasks() -> None:
    assert isinstance(scheduler._ALLOW_DETERMINISTIC_SCHEDULING, bool)
    assert hasattr(scheduler._r, "random")
