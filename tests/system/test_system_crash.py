"""A bug in the worker itself: jobs still end in order and truthfully, and the program says so."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from .conftest import System, eventually, open_system

pytestmark = [
    pytest.mark.real,
    pytest.mark.slow,
    pytest.mark.usefixtures("each_start_method"),
]

# Where the registry can still be told.
TASKS = [
    "vsdk_trio.worker.driver:WorkerDriver.hand_events",
    "vsdk_trio.worker.driver:WorkerDriver.keep_time",
    "vsdk_trio.worker.driver:WorkerDriver.watch_starts",
    "vsdk_trio.processes.pool:Pool._keep_filled",
    "vsdk_trio.processes.guardian:Guardian.run",
    "vsdk_trio.processes.orphans:Sweeper._sweep_for_ever",
]
CONNECTION = [
    "vsdk_trio.backend.session_loop:SessionLoop.keep",
    "vsdk_trio.backend.session_loop:LiveSession.run",
]
AROUND_IT = ["vsdk_trio.worker.worker:serve_status", "vsdk_trio.worker.worker:watch_signals"]


async def crash(system: System, target: str, *kinds: str, close_timeout: float = 20.0) -> list[str]:
    """Run jobs, crash the task, and see the worker and all that is its own gone."""
    worker = await system.open_agent(
        script="crashing.py", arguments=(target,), max_processes=2, close_timeout=close_timeout
    )
    job_ids = [await system.dispatch(kind) for kind in kinds]
    (system.directory / "crash").touch()
    assert await worker.exit_code() == 1, worker.output
    assert system.processes() == []
    assert "ZeroDivisionError: injected" in worker.output
    assert "Traceback" in worker.output
    return job_ids


@pytest.mark.parametrize("target", [*TASKS, *AROUND_IT])
async def test_jobs_end_in_order(tmp_path: Path, target: str) -> None:
    async with open_system(tmp_path) as system:
        for job_id in await crash(system, target, "waits", "waits"):
            job = await system.end_of(job_id)
            assert job.state.value == "cancelled", job
            assert job.error
            assert system.notes(job_id) == ["entered", "left", f"callback: {job.error}"]
        assert system.registry.story()[-2:] == ["offline", "closed"]


async def test_the_task_around_a_job_crashes(tmp_path: Path) -> None:
    """What it would have said is lost with it; that the worker is to blame is not."""
    async with open_system(tmp_path) as system:
        target = "vsdk_trio.worker.supervision:JobSupervisor._run_on"
        for job_id in await crash(system, target, "waits", "waits"):
            job = await system.end_of(job_id)
            assert job.state.value == "failed"
            assert (job.error or "").endswith("the worker failed")
            assert len(system.notes(job_id)) == 3
        assert system.registry.story()[-2:] == ["offline", "closed"]


@pytest.mark.parametrize("target", CONNECTION)
async def test_jobs_end_in_order_without_a_connection(tmp_path: Path, target: str) -> None:
    async with open_system(tmp_path) as system:
        for job_id in await crash(system, target, "waits", "waits"):
            entered, left, callback = system.notes(job_id)
            assert (entered, left) == ("entered", "left")
            assert callback.startswith("callback: ")
        await eventually(lambda: system.registry.story()[-1] == "closed", "still connected")


async def test_a_job_that_blocks_does_not_hold_up_the_crash(tmp_path: Path) -> None:
    async with open_system(tmp_path) as system:
        with trio.fail_after(30):
            target = "vsdk_trio.worker.driver:WorkerDriver.keep_time"
            (job_id,) = await crash(system, target, "sleeps", close_timeout=1.0)
        job = await system.end_of(job_id)
        assert job.state.value == "failed"
        assert "was killed" in str(job.error)
