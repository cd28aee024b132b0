"""Idle processes that die, at the very moment in which a job comes as well, cost no job."""

from __future__ import annotations

from pathlib import Path

import pytest

from .conftest import eventually, open_system

pytestmark = [pytest.mark.real, pytest.mark.slow]


async def test_a_job_that_comes_as_the_idle_processes_are_killed_runs(tmp_path: Path) -> None:
    async with open_system(tmp_path) as system:
        await system.open_agent(num_idle_processes=2, max_processes=4)
        for _ in range(4):
            await eventually(lambda: len(system.job_processes()) == 2, "no two idle")
            for process in system.job_processes():
                process.kill()
            job = await system.run_job("returns")
            assert job.state.value == "completed", job
            assert [u.status for u in system.registry.updates(job.job_id)] == [
                "running",
                "completed",
            ]
