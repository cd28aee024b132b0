"""Entrypoints that misbehave: one truthful status each, and nothing left behind."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import psutil
import pytest
import trio

from .conftest import Program, System, all_is_told_of_flood, eventually, open_system

pytestmark = [
    pytest.mark.real,
    pytest.mark.slow,
    pytest.mark.usefixtures("each_start_method"),
]


async def still_serves(system: System, worker: Program, *, idle: int = 0) -> None:
    """The slot is free again, no process of the job is left; then it ends in order."""
    own = system.own + idle
    job = await system.run_job("returns")
    assert job.state.value == "completed"
    await eventually(lambda: len(system.processes()) == own, "a process is left")
    worker.signal(signal.SIGTERM)
    assert await worker.exit_code() == 0, worker.output
    assert system.processes() == []
    assert "Traceback" not in worker.output.rpartition("SIGTERM received")[2]


@pytest.mark.parametrize(
    ("kind", "metadata", "state", "said"),
    [
        ("returns", {}, "completed", None),
        ("prints", {}, "completed", None),
        ("raises", {}, "failed", "ValueError: the agent has a bug (agent.py:"),
        ("sys.exit", {"code": 0}, "completed", None),
        ("sys.exit", {"code": 3}, "failed", "sys.exit(3)"),
        ("os._exit", {"code": 0}, "failed", "the job process exited with code 0"),
        ("os._exit", {"code": 3}, "failed", "the job process exited with code 3"),
        ("signal", {"signum": signal.SIGKILL}, "failed", "killed by SIGKILL (out of memory?)"),
        ("signal", {"signum": signal.SIGSEGV}, "failed", "killed by SIGSEGV"),
        ("forks", {}, "completed", None),
        ("unheard of", {}, "failed", "LookupError: unheard of"),
    ],
)
async def test_how_it_ends_is_told_once(
    tmp_path: Path, kind: str, metadata: dict[str, Any], state: str, said: str | None
) -> None:
    async with open_system(tmp_path) as system:
        worker = await system.open_agent(num_idle_processes=0)
        job = await system.run_job(kind, **metadata)
        assert job.state.value == state
        assert (job.error is None) if said is None else (said in str(job.error)), job.error
        if kind not in ("os._exit", "signal"):
            assert system.notes(job.job_id)[-1].startswith("callback: ")
        await still_serves(system, worker)


async def test_prints_come_out_in_the_log_with_the_job(tmp_path: Path) -> None:
    async with open_system(tmp_path) as system:
        worker = await system.open_agent()
        job = await system.run_job("prints")
        assert job.state.value == "completed"
        # What has no newline is a line when the process is gone.
        await eventually(lambda: "no newline at the end" in worker.output, "not all of it")
        lines = worker.output.splitlines()
        (line,) = [line for line in lines if "printed by the job" in line]
        assert f"job_id={job.job_id}" in line


async def test_a_flood_on_stderr(tmp_path: Path) -> None:
    """100 MB: the worker answers all the while; its memory and its log hardly grow with it."""
    async with open_system(tmp_path) as system:
        worker = await system.open_agent(num_idle_processes=0, max_processes=2)
        await system.run_job("returns")
        before = psutil.Process(worker.pid).memory_info().rss
        flood = await system.dispatch("floods", megabytes=100)
        job = await system.run_job("returns")
        assert job.started is not None
        assert job.started - job.created < 15
        assert (await system.end_of(flood)).state.value == "completed"
        assert psutil.Process(worker.pid).memory_info().rss - before < 20 << 20
        assert worker.log.stat().st_size < 10 << 20
        await all_is_told_of_flood(worker, 100 << 10)
        await still_serves(system, worker)


@pytest.mark.parametrize("kind", ["sleeps", "spins", "ignores everything"])
async def test_it_blocks_and_is_terminated(tmp_path: Path, kind: str) -> None:
    async with open_system(tmp_path) as system:
        worker = await system.open_agent(
            num_idle_processes=0, close_timeout=0.3, termination_timeout=0.3
        )
        job_id = await system.dispatch(kind)
        system.registry.terminate(job_id, "enough")
        job = await system.end_of(job_id)
        assert job.state.value == "failed"
        said = "terminated: enough; the job process did not stop when asked and was killed"
        assert str(job.error).startswith(said)
        await eventually(lambda: len(system.processes()) == system.own, "a process is left")
        worker.signal(signal.SIGTERM)
        assert await worker.exit_code() == 0  # none had to be killed at its own end
        assert system.processes() == []


async def test_a_terminated_job_is_cancelled_with_the_reason(tmp_path: Path) -> None:
    async with open_system(tmp_path) as system:
        worker = await system.open_agent(num_idle_processes=0)
        job_id = await system.dispatch("forks", waits=True)
        await eventually(lambda: len(system.find("sleep")) == 2, "no grandchildren")
        system.registry.terminate(job_id, "enough")
        job = await system.end_of(job_id)
        assert (job.state.value, job.error) == ("cancelled", "terminated: enough")
        assert system.notes(job_id) == ["entered", "left", "callback: terminated: enough"]
        await eventually(lambda: not system.find("sleep"), "grandchildren are left")
        await still_serves(system, worker)


async def test_many_jobs_leave_no_descriptors_behind(tmp_path: Path) -> None:
    async with open_system(tmp_path) as system:
        worker = await system.open_agent(num_idle_processes=0, max_processes=4)
        process = psutil.Process(worker.pid)

        async def run(kind: str, **metadata: Any) -> None:
            await system.run_job(kind, **metadata)

        async def all_kinds() -> int:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(run, "returns")
                nursery.start_soon(run, "raises")
                nursery.start_soon(run, "forks")
                nursery.start_soon(lambda: run("signal", signum=signal.SIGKILL))
            await eventually(lambda: len(system.processes()) == system.own, "a process is left")
            return process.num_fds()

        first = await all_kinds()
        await all_kinds()
        # A pipe of the last process may be closed a moment after the process is gone.
        await eventually(lambda: process.num_fds() <= first, "descriptors are left")
        await still_serves(system, worker)
