"""Tokens: what the process table, the log and the registry's record must not show."""

from __future__ import annotations

import signal
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
import trio

from vsdk_trio.registry.ledger import DispatchRequest

from .conftest import System, eventually, open_system

pytestmark = [pytest.mark.real, pytest.mark.usefixtures("each_start_method")]

WORKER_TOKEN = "w0rker-t0ken-in-the-options"
JOB_TOKEN = "j0b-t0ken-in-the-assignment"


def assert_hidden(text: str) -> None:
    assert WORKER_TOKEN not in text
    assert JOB_TOKEN not in text


def look_at_processes(system: System) -> int:
    """Look at everything that anybody on the machine may see; returns how many there were."""
    seen = 0
    for process in system.processes():
        with suppress(psutil.Error):
            assert_hidden(repr(process.cmdline()))
            assert_hidden(repr(process.environ()))
            seen += 1
    return seen


@pytest.mark.parametrize("log_level", ["DEBUG", "INFO"])
async def test_tokens_stay_where_they_belong(tmp_path: Path, log_level: str) -> None:
    async with open_system(tmp_path, auth_token=WORKER_TOKEN) as system:
        worker = await system.open_agent(
            auth_token=WORKER_TOKEN, max_processes=2, log_level=log_level
        )

        async def dispatch(kind: str) -> str:
            request = DispatchRequest(
                agent_id="agent",
                room_id="room",
                room_options={"auth_token": JOB_TOKEN},
                metadata={"kind": kind},
            )
            with trio.fail_after(20):
                return (await system.registry.dispatch(request)).job_id

        waiting = await dispatch("waits")
        await eventually(lambda: system.notes(waiting), "not begun")
        # With the job, and the next idle process.
        every = system.own + 2
        await eventually(lambda: look_at_processes(system) == every, "not all are there")
        telling = await system.end_of(await dispatch("tells"))
        assert telling.state.value == "failed"
        assert str(telling.error).startswith("RuntimeError: cannot use ")
        assert_hidden(str(telling.error))
        worker.signal(signal.SIGINT)
        assert await worker.exit_code() == 0, worker.output
        assert "cannot use " in worker.output
        assert_hidden(worker.output)
