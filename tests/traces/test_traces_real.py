"""Traces through real processes: one trace from worker to job, and a dead collector."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.system.conftest import System, eventually, open_system
from vsdk_trio.registry.ledger import DispatchRequest, Job
from vsdk_trio.telemetry.traces.provider import JOB_FLUSH_SECONDS, WORKER_FLUSH_SECONDS

pytestmark = [pytest.mark.real, pytest.mark.slow]

AGENT = Path(__file__).with_name("agents") / "traced.py"
TRACE = "0af7651916cd43dd8448eb211c80319c"


async def start_agent(system: System, **environ: str) -> Any:
    program = await system.start(
        str(AGENT), env={"VSDK_TRIO_SIGNALING_BASE_URL": system.url, **environ}
    )
    await eventually(system.registry.workers, "no worker")
    return program


async def run_job(system: System, **metadata: Any) -> Job:
    request = DispatchRequest(agent_id="agent", room_id="room", metadata=metadata)
    with trio.fail_after(60):
        job = await system.registry.dispatch(request)
        return await system.registry.wait_ended(job.job_id)


async def test_a_job_process_without_traces_loads_nothing_for_them() -> None:
    program = (
        "import sys, vsdk_trio.runner.process;"
        "heavy = {'opentelemetry', 'importlib.metadata', 'vsdk_trio.telemetry.events'};"
        "print(sorted(heavy & sys.modules.keys()))"
    )
    run = await trio.run_process([sys.executable, "-c", program], capture_stdout=True)
    assert run.stdout.decode().strip() == "[]"


async def test_one_trace_from_the_caller_to_the_agents_own_spans(tmp_path: Path) -> None:
    async with open_system(tmp_path) as system:
        program = await start_agent(system)
        job = await run_job(system, traceparent=f"00-{TRACE}-b7ad6b7169203331-01", fails=True)
        assert job.state.value == "failed"
        await eventually(lambda: len(system.job_processes()) <= 1, "the job's process stays")
        program.signal(signal.SIGTERM)
        assert await program.exit_code() == 0
        await system.nothing_left()
    lines = (tmp_path / "spans.jsonl").read_text().splitlines()
    spans = {span["name"]: span for span in map(json.loads, lines)}
    assert {span["context"]["trace_id"] for span in spans.values()} == {f"0x{TRACE}"}
    root, inside = spans["job agent"], spans["entrypoint entrypoint"]
    assert root["parent_id"] == "0xb7ad6b7169203331"
    assert inside["parent_id"] == root["context"]["span_id"]
    assert spans["thinking"]["parent_id"] == inside["context"]["span_id"]
    assert spans["offer to answer"]["parent_id"] == root["context"]["span_id"]
    for span in (root, inside):
        assert span["status"]["status_code"] == "ERROR"
        assert "ValueError: as asked" in span["status"]["description"]


async def test_a_dead_collector_delays_a_slot_and_an_end_by_no_more_than_it_says(
    tmp_path: Path,
) -> None:
    async with open_system(tmp_path) as system:
        program = await start_agent(system, COLLECTOR="dead", VSDK_TRIO_NUM_IDLE_PROCESSES="0")
        job = await run_job(system)
        assert job.state.value == "completed"
        began = trio.current_time()
        await eventually(lambda: not system.job_processes(), "the job's process stays")
        # The rest is for a machine that is busy.
        assert trio.current_time() - began < JOB_FLUSH_SECONDS + 3
        program.signal(signal.SIGTERM)
        began = trio.current_time()
        assert await program.exit_code() == 0, program.output
        assert trio.current_time() - began < WORKER_FLUSH_SECONDS + 5
        assert "not sent within" in program.output
        await system.nothing_left()
