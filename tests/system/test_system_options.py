"""Options that only the whole can show to work."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from vsdk_trio.registry.actions import DispatchError
from vsdk_trio.registry.placement import Policy

from .conftest import eventually, open_system

pytestmark = [
    pytest.mark.real,
    pytest.mark.slow,
    pytest.mark.usefixtures("each_start_method"),
]


async def test_what_the_initializer_stores_is_there_for_the_job(tmp_path: Path) -> None:
    async with open_system(tmp_path) as system:
        await system.open_agent(initialize_process_fnc="initialize")
        job = await system.run_job("userdata")
        assert job.state.value == "completed", job
        assert system.notes(job.job_id)[1:3] == ["loaded", "same process: True"]


async def test_an_initializer_that_fails_is_tried_again(tmp_path: Path) -> None:
    """Before the worker registers, and later on: what it needs may come."""
    async with open_system(tmp_path) as system:
        options = {"num_idle_processes": 0, "initialize_process_fnc": "initialize_with_the_model"}
        worker = await system.start_agent(**options)
        await eventually(lambda: "the model is missing" in worker.output, "it did not fail")
        assert not system.registry.workers()
        (tmp_path / "model").touch()
        await eventually(system.registry.workers, "it does not register")
        (tmp_path / "model").unlink()
        job = await system.run_job("returns")
        assert job.state.value == "failed"
        assert "RuntimeError: the model is missing" in str(job.error)
        assert worker.process.poll() is None


@pytest.mark.parametrize("function", ["refuse", "refuse_async"])
async def test_the_user_decides_about_offers(tmp_path: Path, function: str) -> None:
    async with open_system(tmp_path, policy=Policy()) as system:
        await system.open_agent(request_fnc=function)
        with pytest.raises(DispatchError, match=r"(?i)no workers"):
            await system.dispatch("returns", room_id="sunday")
        answers = [f for f in system.registry.frames if f["type"] == "availability_response"]
        expected = {"refuse": "not on Sundays", "refuse_async": "refused by request_fnc"}
        assert answers[-1]["error"] == expected[function]
        assert (await system.run_job("returns", room_id="monday")).state.value == "completed"


@pytest.mark.parametrize(
    ("option", "assigned"), [({"job_timeout": 0.5}, None), ({"job_timeout": 600}, 0.5)]
)
async def test_a_job_has_its_time(
    tmp_path: Path, option: dict[str, Any], assigned: float | None
) -> None:
    async with open_system(tmp_path) as system:
        await system.open_agent(**option)
        job = await system.end_of(await system.dispatch("waits", timeout=assigned))
        assert (job.state.value, job.error) == ("failed", "ran longer than 0.5 s")
        assert len(system.notes(job.job_id)) == 3


async def test_a_job_has_its_memory(tmp_path: Path) -> None:
    async with open_system(tmp_path) as system:
        worker = await system.open_agent(memory_warn_mb=50, memory_limit_mb=150, max_processes=2)
        modest = await system.dispatch("eats", megabytes=60)
        job = await system.run_job("eats", megabytes=200)
        assert job.state.value == "failed"
        assert "more than the limit of 150 MB" in str(job.error)
        assert not system.registry.job(modest).state.ended
        assert "more than 50 MB" in worker.output
