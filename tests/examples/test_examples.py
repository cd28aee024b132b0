"""Every example runs, and so does the demo, as a person would run them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import trio

from vsdk_trio.registry.core import Registry
from vsdk_trio.registry.ledger import DispatchRequest, LedgerState
from vsdk_trio.registry.server import open_registry

EXAMPLES = Path(__file__).parents[2] / "examples"
FINISHED = {
    "direct_mode.py": ["guest has joined", "done", "callback: goodbye"],
    "connection_only.py": ["registered as .+", "offered room-1", "assigned room-1", ".*completed"],
    "embedded_worker.py": ["dispatched .*", "dispatched .*", "a job is completed"],
}
# Those that serve a registry until they are stopped, and the agents that they are.
SERVING = {"agent.py": "MyAgent", "asyncio_agent.py": "AsyncioAgent"}

pytestmark = pytest.mark.real


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, capture_output=True, text=True, timeout=50, check=False, stdin=subprocess.DEVNULL
    )


def test_no_example_is_forgotten() -> None:
    # The trouble is that of tests/system/test_system_supervision.py.
    tested = {*FINISHED, *SERVING, "trouble.py"}
    assert {path.name for path in EXAMPLES.glob("*.py")} == tested


@pytest.mark.parametrize("name", FINISHED)
def test_an_example_that_ends_by_itself(name: str) -> None:
    done = run(sys.executable, str(EXAMPLES / name))
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    for expected in FINISHED[name]:
        assert any(re.fullmatch(expected, line) for line in lines), (expected, lines)


@pytest.mark.parametrize("name", SERVING)
async def test_an_agent_serves_a_registry(name: str) -> None:
    async with open_registry(Registry(auth_token="local-token")) as running:
        environ = {
            **os.environ,
            "VSDK_TRIO_TRANSPORT": "loopback",
            "VSDK_TRIO_SIGNALING_BASE_URL": running.url,
            "VSDK_TRIO_HOST": "127.0.0.1",
            "VSDK_TRIO_PORT": "0",
            "VIDEOSDK_AUTH_TOKEN": "local-token",
        }
        command = [sys.executable, str(EXAMPLES / name)]
        async with trio.open_nursery() as nursery:
            with trio.fail_after(50):
                start = partial(trio.run_process, command, env=environ, capture_stderr=True)
                process: trio.Process = await nursery.start(start)
                while not running.registry.workers():  # noqa: ASYNC110 - another process' doing
                    await trio.sleep(0.02)
                job = await running.registry.dispatch(
                    DispatchRequest(agent_id=SERVING[name], room_id="r")
                )
                while running.registry.job(job.job_id).state is not LedgerState.RUNNING:  # noqa: ASYNC110
                    await trio.sleep(0.02)
                running.registry.terminate(job.job_id, "seen enough")
                ended = await running.registry.wait_ended(job.job_id)
                process.terminate()
                await process.wait()
    assert (ended.state, ended.error) == (LedgerState.CANCELLED, "terminated: seen enough")
    assert process.returncode == 0


def test_the_demo_in_plain_lines() -> None:
    done = run(sys.executable, "-m", "vsdk_trio", "demo")
    assert (done.returncode, done.stderr) == (0, "")
    *jobs, outcomes, latency, processes = done.stdout.splitlines()
    assert outcomes == "outcomes  1 cancelled, 3 completed, 2 failed of 6 jobs"
    assert re.fullmatch(r"latency   dispatch to running: median \d+ ms, .*\(6 jobs\)", latency)
    assert processes == "processes nothing left running"
    assert any("(crashes) failed: the job process was killed by SIGSEGV" in line for line in jobs)
    assert any("(raises) failed: RuntimeError: the agent has a bug" in line for line in jobs)
