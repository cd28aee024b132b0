"""Faults of the template that forks job processes: no job is lost, and none told wrong."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
import trio

from ..system.conftest import PATIENCE_SECONDS, Program, System, eventually, open_system
from .aftermath import all_is_well, calm, end_of, run_one

pytestmark = [pytest.mark.real, pytest.mark.slow, pytest.mark.timeout(180)]

AGENT = str(Path(__file__).with_name("agents") / "faulty_agent.py")
TEXT = Path(AGENT).read_text(encoding="utf-8")


@asynccontextmanager
async def open_worker(directory: Path, **options: Any) -> AsyncGenerator[tuple[System, Program]]:
    """A worker with a template, which at the end is what it was at the beginning."""
    async with open_system(directory) as system:
        settings = {"script": AGENT, "max_processes": 4, "start_method": "forkserver", **options}
        worker = await system.open_agent(**settings)
        before = await calm(system, worker)
        assert len(system.templates()) == 1
        yield system, worker
        await _one_template(system)
        await all_is_well(system, worker, before)
        worker.signal(signal.SIGTERM)
        await worker.exit_code()
        assert system.processes() == []


def _running(system: System) -> list[psutil.Process]:
    """The templates that are not stopped."""
    found = []
    for template in system.templates():
        with suppress(psutil.Error):
            if template.status() != psutil.STATUS_STOPPED:
                found.append(template)
    return found


async def _one_template(system: System) -> None:
    """Wait for one that runs. It is the start of a process that shows what is amiss with the last.

    One that is stopped is found out when it is asked to fork; one that could not load, because it
    was stopped or killed meanwhile, is replaced when the next process is wanted.
    """
    with trio.fail_after(3 * PATIENCE_SECONDS):
        while len(_running(system)) != 1:
            await run_one(system)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
async def test_at_random_moments_while_jobs_are_dispatched(
    tmp_path: Path, number: signal.Signals
) -> None:
    rng = random.Random(number)
    async with open_worker(tmp_path) as (system, _):
        jobs: list[str] = []
        over = trio.Event()

        async def trouble() -> None:
            while not over.is_set():
                await trio.sleep(rng.uniform(0, 0.7))
                for template in system.templates():
                    with suppress(ProcessLookupError):
                        os.kill(template.pid, number)

        async def run(seconds: float) -> None:
            jobs.append(await system.dispatch("returns", seconds=seconds))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(trouble)
            async with trio.open_nursery() as running:
                for n in range(16):
                    running.start_soon(run, n / 16)
            over.set()
        for job_id in jobs:
            assert await end_of(system, job_id) == ("completed", "")
            assert system.notes(job_id) == ["entered", "callback"]


async def test_a_job_outlives_its_template_and_its_crash_is_told(tmp_path: Path) -> None:
    async with open_worker(tmp_path, num_idle_processes=0) as (system, _):
        crashes = await system.dispatch("waits")
        waits = await system.dispatch("waits")
        (template,) = system.templates()
        processes = {process.pid: process for process in system.job_processes()}
        assert len(processes) == 2
        template.kill()
        await eventually(lambda: template not in system.templates(), "it lives")
        (first, *_) = (pid for pid in processes)
        processes[first].kill()
        ended = await eventually(
            lambda: [j for j in (crashes, waits) if system.registry.job(j).state.ended], "no end"
        )
        assert len(ended) == 1
        status, error = await end_of(system, ended[0])
        assert status == "failed"
        assert "killed by SIGKILL" in error or "it is not known how" in error
        for job_id in {crashes, waits} - set(ended):
            system.registry.terminate(job_id, "enough")
            assert await end_of(system, job_id) == ("cancelled", "terminated: enough")


async def test_a_stopped_template_does_not_outlive_its_killed_worker(tmp_path: Path) -> None:
    async with open_system(tmp_path) as system:
        worker = await system.open_agent(script=AGENT, start_method="forkserver", close_timeout=1.0)
        job_id = await system.dispatch("waits")
        (template,) = system.templates()
        template.suspend()
        worker.signal(signal.SIGKILL)
        await worker.exit_code()
        await system.nothing_left(seconds=15)
        assert system.notes(job_id) == ["entered", "callback"]


async def test_new_code_is_run_by_the_next_job_process(tmp_path: Path) -> None:
    agent = tmp_path / "agent_of_today.py"
    agent.write_text(TEXT, encoding="utf-8")
    async with open_worker(tmp_path, script=str(agent), num_idle_processes=0) as (system, worker):
        waits = await system.dispatch("waits")
        agent.write_text(TEXT.replace('} entered"', '} entered anew"'), encoding="utf-8")
        job_id = await system.dispatch("returns")
        assert await end_of(system, job_id) == ("completed", "")
        assert system.notes(job_id) == ["entered anew", "callback"]
        assert f"its code has changed: {agent}" in worker.output
        assert len(system.templates()) == 2
        system.registry.terminate(waits, "enough")
        assert await end_of(system, waits) == ("cancelled", "terminated: enough")
        await eventually(lambda: len(system.templates()) == 1, "the old template stays")
