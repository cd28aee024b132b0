"""What a dead worker has left: waited for, then killed."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from functools import partial

import pytest
import trio
from trio.testing import MockClock

from vsdk_trio.processes.edge import COOKIE_VARIABLE, Command, OnStarted, ProcessHandle
from vsdk_trio.processes.orphans import KernelProcessTable, reap_orphans
from vsdk_trio.testing.processes import InsideProcess, MemoryProcessTable, MemorySpawner


async def lives(inside: InsideProcess, seconds: float) -> None:
    await trio.sleep(seconds)


async def start(nursery: trio.Nursery, spawner: MemorySpawner, cookie: str) -> None:
    async def never(handle: ProcessHandle) -> None:
        raise AssertionError("nobody cancels it")

    started = trio.Event()
    nursery.start_soon(
        partial(
            spawner.run,
            Command(argv=("job",), cookie=cookie),
            deliver_cancel=never,
            task_status=OnStarted(lambda handle: started.set()),
        )
    )
    await started.wait()


@pytest.mark.parametrize(("seconds", "until", "killed"), [(3, 3, 0), (100, 10, 2)])
async def test_they_get_their_grace(
    seconds: float, until: float, killed: int, autojump_clock: MockClock
) -> None:
    mine = MemorySpawner(partial(lives, seconds=seconds))
    others = MemorySpawner(partial(lives, seconds=1000))
    table = MemoryProcessTable([mine, others])
    async with trio.open_nursery() as nursery:
        await start(nursery, mine, "vsdk-1.1")
        await start(nursery, mine, "vsdk-2.1")
        await start(nursery, others, "vsdk-11.1")  # the first letters do not make it ours
        began = trio.current_time()
        assert await reap_orphans(table, ["vsdk-1", "vsdk-2"], grace_seconds=10)
        assert trio.current_time() - began == pytest.approx(until, abs=0.3)
        assert table.killed == killed
        assert (mine.alive, others.alive) == (0, 1)
        others.processes[0].end(0)


async def test_where_there_is_none(autojump_clock: MockClock) -> None:
    assert await reap_orphans(MemoryProcessTable(), ["vsdk-1"], grace_seconds=10)
    assert trio.current_time() == 0


class Immortal:
    async def count(self, cookie_prefixes: object) -> int:
        await trio.lowlevel.checkpoint()
        return 1

    async def kill(self, cookie_prefixes: object) -> int:
        return await self.count(cookie_prefixes)


async def test_what_cannot_be_killed_is_not_waited_for_for_ever(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    assert not await reap_orphans(Immortal(), ["vsdk-1"], grace_seconds=1)
    assert trio.current_time() < 10
    assert "cannot be killed" in caplog.text


@pytest.mark.real
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="nobody else may look")
async def test_in_the_real_table() -> None:
    table = KernelProcessTable()
    prefix = f"vsdk-test-{os.getpid()}"

    def sleeper(cookie: str) -> subprocess.Popen[bytes]:
        environ = {**os.environ, COOKIE_VARIABLE: cookie}
        return subprocess.Popen(["sleep", "600"], env=environ, start_new_session=True)

    mine, other = sleeper(f"{prefix}.1"), sleeper(f"{prefix}0.1")
    try:
        assert await table.count([]) == 0
        assert await table.count([""]) == 0
        assert await table.count([prefix, "vsdk-nobody"]) == 1
        assert await reap_orphans(table, [prefix], grace_seconds=0)
        assert mine.wait() == -9
        assert other.poll() is None
    finally:
        for process in (mine, other):
            process.kill()
            process.wait()


class Hidden:
    """A table that cannot be looked at."""

    async def count(self, cookie_prefixes: object) -> int:
        await trio.lowlevel.checkpoint()
        raise PermissionError(errno.EPERM, "Operation not permitted")

    async def kill(self, cookie_prefixes: object) -> int:
        return await self.count(cookie_prefixes)


async def test_a_table_that_cannot_be_looked_at_is_not_an_empty_one(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    assert not await reap_orphans(Hidden(), ["vsdk-1"], grace_seconds=1)
    assert trio.current_time() >= 1
    assert "cannot look" in caplog.text
