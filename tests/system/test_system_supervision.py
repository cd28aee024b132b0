"""What the operator sees of a job that blocks, leaks or crashes, and of a blocked worker."""

from __future__ import annotations

import json
import os
import re
import signal
from pathlib import Path
from typing import Any

import pytest
import trio

from .conftest import Program, eventually, open_system

pytestmark = [pytest.mark.real, pytest.mark.slow]

IMPATIENT: dict[str, Any] = {
    "health_interval": 0.5,
    "loop_warn_after": 0.5,
    "close_timeout": 0.5,
    "num_idle_processes": 0,
    "log_format": "json",
}


def records(worker: Program, text: str) -> list[dict[str, Any]]:
    """The records of its log whose message begins with `text`."""
    lines = [line for line in worker.output.splitlines() if line.startswith("{")]
    entries: list[dict[str, Any]] = [json.loads(line) for line in lines]
    return [entry for entry in entries if entry["message"].startswith(text)]


async def record(worker: Program, text: str) -> dict[str, Any]:
    """Wait for the one record whose message begins with `text`."""
    (entry,) = await eventually(lambda: records(worker, text), f"nothing with {text!r}")
    return entry


@pytest.mark.parametrize(
    ("kind", "culprit"),
    [
        ("sleeps", "time.sleep"),
        ("spins", "while True"),
        ("holds the GIL", "ctypes"),
    ],
)
async def test_what_blocks_a_job_is_named(tmp_path: Path, kind: str, culprit: str) -> None:
    async with open_system(tmp_path) as system:
        worker = await system.open_agent(**IMPATIENT)
        job_id = await system.dispatch(kind)
        entry = await record(worker, "job blocks its event loop for")
        assert (entry["job_id"], entry["room_id"], entry["agent_id"]) == (job_id, "room", "agent")
        first, where, *_ = entry["exception"].splitlines()
        assert first.startswith("Current thread")
        assert "agent.py" in where
        assert where.endswith("in run")
        assert entry["level"] == "WARNING"
        # Said once, however long it goes on; and asking has not ended it.
        await eventually(lambda: system.job_processes(), "it is gone")
        assert len(records(worker, "job blocks its event loop")) == 1
        worker.signal(signal.SIGTERM)
        worker.signal(signal.SIGINT)
        await worker.exit_code()


async def test_a_job_that_goes_on_says_for_how_long_it_was_blocked(tmp_path: Path) -> None:
    async with open_system(tmp_path) as system:
        worker = await system.open_agent(**IMPATIENT)
        job_id = await system.dispatch("blocks", seconds=3)
        assert (await record(worker, "job blocks its event loop"))["job_id"] == job_id
        text = (await record(worker, "job answers again"))["message"]
        seconds = float(text.rpartition("for ")[2].removesuffix(" s"))
        assert 2 < seconds < 15
        assert not system.registry.job(job_id).state.ended


async def test_a_native_crash_is_one_record_with_its_stack(tmp_path: Path) -> None:
    async with open_system(tmp_path) as system:
        worker = await system.open_agent(**IMPATIENT)
        job = await system.run_job("crashes natively")
        assert "killed by SIGSEGV" in str(job.error)
        assert "in string_at" in str(job.error)
        entry = await record(worker, "the job process crashed: Segmentation fault")
        assert (entry["level"], entry["job_id"]) == ("CRITICAL", job.job_id)
        assert "in string_at" in entry["exception"].splitlines()[1]
        await record(worker, "job failed: the job process was killed by SIGSEGV")  # one
        assert not records(worker, "  File ")


async def test_a_leak_is_told_with_its_growth_and_ends_at_the_limit(tmp_path: Path) -> None:
    async with open_system(tmp_path) as system:
        options = {**IMPATIENT, "memory_warn_mb": 60, "memory_limit_mb": 200}
        worker = await system.open_agent(**options)
        job = await system.run_job("leaks", megabytes=10)
        assert str(job.error).startswith("used 2")
        assert "more than the limit of 200 MB" in str(job.error)
        text = (await record(worker, "job uses "))["message"]
        assert "more than 60 MB; " in text
        assert text.endswith("when it began")


async def test_what_blocks_the_worker_is_named(tmp_path: Path) -> None:
    async with open_system(tmp_path) as system:
        worker = await system.open_agent(**IMPATIENT, load_fnc="slow_load")
        await system.run_job("returns")  # its load is told again: one blocked turn may go unseen
        what = "something blocks the worker's event loop"
        [entry, *_] = await eventually(lambda: records(worker, what), "nothing blocks it")
        assert "in slow_load" in entry["exception"]
        assert "time.sleep" in entry["exception"]
        await eventually(
            lambda: records(worker, "the worker's event loop goes on"), "it does not go on"
        )


async def test_a_log_that_nobody_reads_holds_nobody_up(tmp_path: Path) -> None:
    read, write = os.pipe()
    try:
        async with open_system(tmp_path) as system:
            worker = await system.open_agent(stderr=write, max_processes=2, log_format="json")
            for _ in range(4):  # each more than a pipe holds, and together more than is kept
                job = await system.run_job("floods", megabytes=1)
                assert job.state.value == "completed"
            assert (await system.run_job("returns")).state.value == "completed"
            began = trio.current_time()
            worker.signal(signal.SIGTERM)
            assert await worker.exit_code() == 0
            assert trio.current_time() - began < 15
            assert len(os.read(read, 1 << 17)) >= 1 << 15  # it was full, all the while
    finally:
        os.close(read)
        os.close(write)


async def test_a_thread_that_keeps_the_process_of_a_job_that_is_over(tmp_path: Path) -> None:
    """The log names it, and its slot is free once the stop ladder is through."""
    async with open_system(tmp_path) as system:
        worker = await system.open_agent(max_processes=1, num_idle_processes=0)
        assert (await system.run_job("leaves a thread")).state.value == "completed"
        assert (await system.run_job("returns")).state.value == "completed"
        [line] = [line for line in worker.output.splitlines() if "no daemons" in line]
        assert re.search(r"'recorder' \(agent\.py:\d+ in record\)", line), line
