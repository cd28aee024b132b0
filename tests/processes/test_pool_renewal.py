"""A pool that is renewed gives jobs nothing that was started before."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import trio
import trio.testing

from vsdk_trio._service import open_service
from vsdk_trio.control.frames import Hello
from vsdk_trio.jobs.prewarm import Prewarm
from vsdk_trio.processes.pool import Pool, PoolSettings
from vsdk_trio.processes.stop_ladder import Graces


@asynccontextmanager
async def _open(spawner: Any, *, idle: int = 2, most: int = 4) -> AsyncGenerator[Pool]:
    pool = Pool(
        spawner,
        lambda cookie: Hello(entrypoint={}, cookie=cookie),
        PoolSettings(argv=("python",), cookie_prefix="w", initialize_timeout=10),
        Prewarm(num_idle=idle, max_processes=most),
        graces=Graces(close_timeout=60, termination_timeout=3),
    )
    async with open_service(pool.run, grace=60):
        yield pool
    assert spawner.alive == []


async def test_idle_processes_are_replaced_and_a_running_job_is_left_alone(
    spawner: Any, autojump_clock: trio.testing.MockClock
) -> None:
    async with _open(spawner) as pool:
        await trio.sleep(5)
        async with pool.acquire() as running:
            await trio.sleep(5)
            old = {process.pid for process, _ in pool.processes()}
            pool.renew()
            assert pool.idle == 0
            async with pool.acquire() as fresh:
                assert fresh.pid not in old
            await trio.sleep(5)
            assert pool.idle == 2
            assert {p.pid for p, _ in pool.processes()} & old == {running.pid}
            assert not running.exited.is_set()


async def test_what_was_starting_is_not_given_away(
    spawner: Any, autojump_clock: trio.testing.MockClock
) -> None:
    async with _open(spawner, idle=0) as pool, trio.open_nursery() as nursery:
        got: list[int] = []

        async def take() -> None:
            async with pool.acquire() as process:
                got.append(process.pid)

        nursery.start_soon(take)
        await trio.testing.wait_all_tasks_blocked()
        assert pool.starting == 1
        (old,) = (process.pid for process in spawner.processes)
        pool.renew()
        await trio.sleep(5)
        assert got
        assert got != [old]


async def test_an_outdated_start_that_fails_is_no_failure_for_the_job_that_waits(
    spawner: Any, init_failure: Any, autojump_clock: trio.testing.MockClock
) -> None:
    good = spawner.program

    async def late_failure(process: Any) -> int:
        await trio.sleep(1)
        code: int = await init_failure(process)
        return code

    spawner.program = late_failure
    async with _open(spawner, idle=0) as pool, trio.open_nursery() as nursery:
        got: list[int] = []

        async def take() -> None:
            async with pool.acquire() as process:
                got.append(process.pid)

        nursery.start_soon(take)
        await trio.testing.wait_all_tasks_blocked()
        pool.renew()
        spawner.program = good
        await trio.sleep(5)
        assert got == [spawner.processes[1].pid]


async def test_new_code_is_tried_at_once_however_often_the_old_has_failed(
    spawner: Any, init_failure: Any, autojump_clock: trio.testing.MockClock
) -> None:
    good, spawner.program = spawner.program, init_failure
    async with _open(spawner) as pool:
        await trio.sleep(100)
        assert pool.idle == 0
        spawner.program = good
        pool.renew()
        await trio.sleep(1)
        assert pool.idle == 2
