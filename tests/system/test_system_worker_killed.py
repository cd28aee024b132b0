"""The worker is killed where it stands: its jobs end politely, or are ended; nobody stays."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from .conftest import eventually, open_system

pytestmark = [pytest.mark.real, pytest.mark.usefixtures("each_start_method")]


async def test_jobs_run_their_callbacks_and_end(tmp_path: Path) -> None:
    async with open_system(tmp_path) as system:
        worker = await system.open_agent(max_processes=2, num_idle_processes=2)
        job_ids = [await system.dispatch("waits") for _ in range(2)]
        assert len(system.guardians()) == 1
        worker.signal(signal.SIGKILL)
        assert await worker.exit_code() == -signal.SIGKILL
        # Well before the guardian would lose its patience: close_timeout is a minute.
        await system.nothing_left(seconds=10)
        for job_id in job_ids:
            assert system.notes(job_id) == ["entered", "left", "callback: the worker is gone"]
        await eventually(lambda: system.registry.story()[-1] == "closed", "still connected")


@pytest.mark.parametrize("kind", ["sleeps", "spins", "holds the GIL", "ignores everything"])
async def test_what_does_not_end_is_killed_by_the_guardian(tmp_path: Path, kind: str) -> None:
    async with open_system(tmp_path) as system:
        worker = await system.open_agent(close_timeout=0.5)
        await system.dispatch(kind)
        worker.signal(signal.SIGKILL)
        await worker.exit_code()
        await system.nothing_left(seconds=10)


async def test_daemons_of_jobs_go_with_them(tmp_path: Path) -> None:
    async with open_system(tmp_path) as system:
        worker = await system.open_agent()
        await system.dispatch("forks", waits=True)
        await eventually(lambda: len(system.find("sleep")) == 2, "no grandchildren")
        worker.signal(signal.SIGKILL)
        await worker.exit_code()
        await system.nothing_left(seconds=10)


async def test_the_guardian_is_replaced_when_it_dies(tmp_path: Path) -> None:
    """And the new one knows of the jobs that were there before it."""
    async with open_system(tmp_path) as system:
        worker = await system.open_agent(close_timeout=0.5)
        await system.dispatch("sleeps")
        (first,) = system.guardians()
        first.kill()
        await eventually(
            lambda: [g for g in system.guardians() if g.pid != first.pid], "no new guardian"
        )
        worker.signal(signal.SIGKILL)
        await worker.exit_code()
        await system.nothing_left(seconds=10)
