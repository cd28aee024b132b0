"""The registry is killed, stopped, and started again on its port; the worker outlives it."""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import psutil
import pytest
import trio

from ..system.conftest import eventually
from .soak import Soak, open_soak

pytestmark = [pytest.mark.real, pytest.mark.slow, pytest.mark.timeout(180)]


@asynccontextmanager
async def open_worker(directory: Path) -> AsyncGenerator[Soak]:
    """A worker between whose registry's lives the truth is held to; no faults but the test's."""
    async with open_soak(directory, seed=0) as soak:
        await soak.registry.worker_is_there()
        yield soak
        await soak.registry.dispatched(kind="returns", seconds=0)
        await soak.calm_down()
        assert await soak.finish() == []


async def dispatch(soak: Soak, kind: str, seconds: float) -> str:
    job_id = await soak.registry.dispatched(kind=kind, seconds=seconds)

    def has_entered() -> bool:
        soak.record.read()
        return "entered" in soak.record.stories[job_id].did

    await eventually(has_entered, "does not begin")
    return job_id


async def test_jobs_end_while_it_is_dead(tmp_path: Path) -> None:
    async with open_worker(tmp_path) as soak:
        for kind in ("returns", "raises", "exits", "crashes", "returns"):
            await dispatch(soak, kind, 1.0)
        await soak.registry.kill()
        await trio.sleep(2.0)
        await soak.registry.start()


async def test_jobs_that_go_on_can_be_ended_by_its_next_life(tmp_path: Path) -> None:
    async with open_worker(tmp_path) as soak:
        job_id = await dispatch(soak, "waits", 60)
        await soak.registry.kill()
        await soak.registry.start()
        await soak.registry.terminated(job_id)
        await soak.calm_down()
        assert [end for end, _ in soak.record.stories[job_id].ends][:1] == ["cancelled"]


async def test_killed_again_and_again(tmp_path: Path) -> None:
    async with open_worker(tmp_path) as soak:
        for n in range(4):
            await soak.registry.worker_is_there()
            for kind in ("returns", "raises"):
                await dispatch(soak, kind, n / 4)
            await soak.registry.kill()
            await soak.registry.start()


async def test_stopped_for_a_while(tmp_path: Path) -> None:
    """Longer than the worker waits for it: what was in its buffers is read twice, or never."""
    async with open_worker(tmp_path) as soak:
        for kind in ("returns", "raises"):
            await dispatch(soak, kind, 0.5)
        os.kill(soak.registry.pid, signal.SIGSTOP)
        await eventually(lambda: "no pong within" in soak.worker.output, "not found out")
        os.kill(soak.registry.pid, signal.SIGCONT)


async def test_stopped_for_ever_and_replaced(tmp_path: Path) -> None:
    async with open_worker(tmp_path) as soak:
        for kind in ("returns", "raises"):
            await dispatch(soak, kind, 0.5)
        os.kill(soak.registry.pid, signal.SIGSTOP)
        await trio.sleep(1.5)
        await soak.registry.kill()
        await soak.registry.start()


async def test_out_of_memory(tmp_path: Path) -> None:
    """It may fail at anything then; in the end it is killed, as the kernel would kill it."""
    async with open_worker(tmp_path) as soak:
        await dispatch(soak, "returns", 1.0)
        used = psutil.Process(soak.registry.pid).memory_info().vms
        limit = (used, resource.RLIM_INFINITY)
        resource.prlimit(soak.registry.pid, resource.RLIMIT_AS, limit)
        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(partial(soak.registry.dispatch, kind="returns", seconds=0))
            await trio.sleep(2)
            nursery.cancel_scope.cancel()
        await soak.registry.kill()
        await soak.registry.start()
