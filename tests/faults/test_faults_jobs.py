"""Jobs that misbehave as programs can: the truth is told, their slot is free, nothing is left."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
import trio

from ..system.conftest import Program, System, all_is_told_of_flood, eventually, open_system
from .aftermath import all_is_well, calm, end_of

pytestmark = [
    pytest.mark.real,
    pytest.mark.slow,
    pytest.mark.timeout(180),
    pytest.mark.usefixtures("each_start_method"),
]

AGENT = str(Path(__file__).with_name("agents") / "faulty_agent.py")
ENOUGH = ("cancelled", "terminated: enough")
KILLED = "the job process did not stop when asked and was killed"


@asynccontextmanager
async def open_worker(directory: Path, **options: Any) -> AsyncGenerator[tuple[System, Program]]:
    """A worker to which nothing may be different at the end from what it was at the beginning."""
    async with open_system(directory) as system:
        settings = {"script": AGENT, "max_processes": 2, "close_timeout": 2.0, **options}
        worker = await system.open_agent(**settings)
        before = await calm(system, worker)
        yield system, worker
        await all_is_well(system, worker, before)
        worker.signal(signal.SIGTERM)
        await worker.exit_code()
        assert system.processes() == []


async def terminated(system: System, job_id: str) -> tuple[str, str]:
    system.registry.terminate(job_id, "enough")
    return await end_of(system, job_id)


@pytest.mark.parametrize("waits", [False, True])
async def test_it_forks_daemons(tmp_path: Path, waits: bool) -> None:
    async with open_worker(tmp_path) as (system, _):
        job_id = await system.dispatch("forks daemons", waits=waits)
        if waits:
            await eventually(lambda: len(system.find("os.setsid")) == 3, "no daemons")
            status, error = await terminated(system, job_id)
            assert status == "failed"
            assert KILLED in error
        else:
            assert await end_of(system, job_id) == ("completed", "")


async def test_it_keeps_the_gil(tmp_path: Path) -> None:
    """It can neither be asked nor interrupted; the jobs beside it do not notice."""
    async with open_worker(tmp_path) as (system, worker):
        job_id = await system.dispatch("matches")
        assert (await system.run_job("returns")).state.value == "completed"
        said = "blocks its event loop"
        await eventually(lambda: said in worker.output, "nothing is said of it")
        status, error = await terminated(system, job_id)
        assert status == "failed"
        assert KILLED in error


async def test_it_writes_100_mb_to_both_outputs(tmp_path: Path) -> None:
    async with open_worker(tmp_path) as (system, worker):
        job_id = await system.dispatch("floods both", megabytes=100)
        assert (await system.run_job("returns")).state.value == "completed"
        assert await end_of(system, job_id, seconds=45) == ("completed", "")
        await all_is_told_of_flood(worker, 2 * 100 * 16)
        assert len(worker.output) < 20 << 20
        assert psutil.Process(worker.pid).memory_info().rss < 200 << 20


async def test_it_runs_out_of_address_space(tmp_path: Path) -> None:
    async with open_worker(tmp_path) as (system, _):
        job_id = await system.dispatch("hoards")
        status, error = await end_of(system, job_id)
        assert status == "failed"
        assert "MemoryError" in error
        assert system.notes(job_id) == ["entered", "callback"]


async def test_it_runs_out_of_file_descriptors(tmp_path: Path) -> None:
    async with open_worker(tmp_path) as (system, _):
        job_id = await system.dispatch("opens files")
        status, error = await end_of(system, job_id)
        assert status == "failed"
        assert "Too many open files" in error


async def test_it_is_killed_at_any_moment(tmp_path: Path) -> None:
    """While it starts, while it is idle, runs, or ends."""
    rng = random.Random(0)
    async with open_worker(tmp_path, max_processes=4, num_idle_processes=2) as (system, _):
        jobs: list[str] = []
        async with trio.open_nursery() as nursery:

            async def run(seconds: float) -> None:
                jobs.append(await system.dispatch("returns", seconds=seconds))

            for n in range(12):
                nursery.start_soon(run, n / 10)
            for _ in range(12):
                await trio.sleep(rng.uniform(0, 0.3))
                if processes := system.job_processes():
                    os.kill(rng.choice(processes).pid, signal.SIGKILL)
        for job_id in jobs:
            status, error = await end_of(system, job_id)
            if status == "failed":
                assert "killed by SIGKILL" in error
            else:
                assert (status, error) == ("completed", "")
                assert system.notes(job_id) == ["entered", "callback"]


async def test_it_is_stopped_for_a_while(tmp_path: Path) -> None:
    async with open_worker(tmp_path) as (system, _):
        job_id = await system.dispatch("returns", seconds=0.5)
        for process in system.job_processes():
            process.suspend()
        await trio.sleep(1.5)
        for process in system.job_processes():
            process.resume()
        assert await end_of(system, job_id) == ("completed", "")


async def test_it_is_stopped_for_ever(tmp_path: Path) -> None:
    async with open_worker(tmp_path) as (system, _):
        job_id = await system.dispatch("waits")
        for process in system.job_processes():
            process.suspend()
        status, error = await terminated(system, job_id)
        assert status == "failed"
        assert KILLED in error
        # The idle one was stopped, too; nobody can tell until a job has it.
        for process in (stopped := system.job_processes()):
            process.kill()
        gone = {process.pid for process in stopped}
        await eventually(
            lambda: (
                system.job_processes()
                and not gone & {process.pid for process in system.job_processes()}
            ),
            "not replaced",
        )
