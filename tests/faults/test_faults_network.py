"""Between worker and registry things get lost: no end of a job is lost, told twice or invented."""

from __future__ import annotations

import random
import signal
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from ..system.conftest import Program, System, eventually, open_system
from .aftermath import all_is_well, calm, end_of, taken
from .figures import Figures
from .proxy import FaultyProxy, Weather, open_proxy

pytestmark = [pytest.mark.real, pytest.mark.slow, pytest.mark.timeout(180)]

# Whom nobody ever answers again is given up after one of these.
HEARTBEAT = 1.0


class Run:
    """A worker behind a proxy."""

    def __init__(self, system: System, proxy: FaultyProxy, worker: Program, calm: Figures) -> None:
        self.system, self.proxy, self.worker, self.calm = system, proxy, worker, calm


def port_of(system: System) -> int:
    return int(system.url.rpartition(":")[2])


@asynccontextmanager
async def open_run(directory: Path, **options: Any) -> AsyncGenerator[Run]:
    async with open_system(directory) as system, open_proxy(port_of(system)) as proxy:
        settings = {
            "signaling_base_url": proxy.url,
            "max_retry": 1000,
            "max_processes": 10,
            "heartbeat_interval": HEARTBEAT,
            "registration_timeout": 3.0,
        }
        worker = await system.open_agent(**{**settings, **options})
        run = Run(system, proxy, worker, await calm(system, worker))
        yield run
        proxy.heal()
        await all_is_well(system, worker, run.calm)
        worker.signal(signal.SIGTERM)
        assert await worker.exit_code() == 0, worker.output
        assert system.processes() == []


def sessions(system: System) -> int:
    return sum(frame["type"] == "register" for frame in system.registry.frames)


async def test_reset_while_jobs_run_and_end(tmp_path: Path) -> None:
    async with open_run(tmp_path) as run:
        system, rng = run.system, random.Random(0)
        staying = await system.dispatch("waits")
        jobs = [await system.dispatch("returns", seconds=n / 4) for n in range(8)]
        for _ in range(6):
            await trio.sleep(rng.uniform(0, 0.5))
            run.proxy.reset()
        for job_id in jobs:
            assert await end_of(system, job_id) == ("completed", "")
        await eventually(lambda: not system.registry.workers()[0].away, "not back")
        system.registry.terminate(staying, "enough")
        assert await end_of(system, staying) == ("cancelled", "terminated: enough")


async def test_ten_jobs_end_while_the_registry_cannot_be_reached(tmp_path: Path) -> None:
    async with open_run(tmp_path) as run:
        system = run.system
        jobs = [await system.dispatch("returns", seconds=1.5) for _ in range(8)]
        waiting = [await system.dispatch("waits", timeout=2) for _ in range(2)]
        run.proxy.refuse()
        await eventually(lambda: run.worker.output.count("job completed") >= 9, "they do not end")
        await trio.sleep(1)
        run.proxy.heal()
        for job_id in jobs:
            assert await end_of(system, job_id) == ("completed", "")
        for job_id in waiting:
            assert await end_of(system, job_id) == ("failed", "ran longer than 2 s")


async def test_a_black_hole(tmp_path: Path) -> None:
    """Nothing arrives and nobody is told: the heartbeat finds out, and what was said is resaid."""
    async with open_run(tmp_path) as run:
        system, before = run.system, sessions(run.system)
        jobs = [await system.dispatch("returns", seconds=0.5) for _ in range(3)]
        run.proxy.black_hole()
        await eventually(lambda: "no pong within" in run.worker.output, "not found out")
        run.proxy.heal()
        await eventually(lambda: sessions(system) > before, "not back")
        for job_id in jobs:
            assert await end_of(system, job_id) == ("completed", "")


async def test_a_black_hole_while_it_shuts_down(tmp_path: Path) -> None:
    """Nobody can be told; the shutdown ends all the same, within its patience."""
    async with open_system(tmp_path) as system, open_proxy(port_of(system)) as proxy:
        worker = await system.open_agent(signaling_base_url=proxy.url)
        job_id = await system.dispatch("waits")
        proxy.black_hole()
        worker.signal(signal.SIGINT)
        assert await worker.exit_code(seconds=30) in (0, 4)
        assert system.notes(job_id)[-1].startswith("callback: ")
        assert system.processes() == []


async def test_a_slow_link(tmp_path: Path) -> None:
    """Slow is not dead: neither the link nor a job is given up."""
    async with open_run(tmp_path, heartbeat_interval=4.0) as run:
        before = sessions(run.system)
        run.proxy.weather = Weather(bytes_per_second=4000, delay=0.02)
        jobs = [await run.system.dispatch("returns") for _ in range(3)]
        for job_id in jobs:
            assert await end_of(run.system, job_id) == ("completed", "")
        assert sessions(run.system) == before


@pytest.mark.parametrize("seed", range(2))
async def test_cut_after_some_bytes(tmp_path: Path, seed: int) -> None:
    """In the middle of the upgrade, of the registration, of a frame."""
    async with open_run(tmp_path) as run:
        system, rng = run.system, random.Random(seed)
        jobs = [await system.dispatch("returns", seconds=n / 3) for n in range(5)]
        for _ in range(4):
            connections = run.proxy.accepted
            run.proxy.cut_after(rng.randrange(1, 2500))
            run.proxy.reset()
            with trio.move_on_after(3):
                await eventually(lambda n=connections: run.proxy.accepted > n, "no attempt")
        run.proxy.heal()
        for job_id in jobs:
            assert await end_of(system, job_id) == ("completed", "")
        assert set(jobs) <= set(taken(run.worker))
