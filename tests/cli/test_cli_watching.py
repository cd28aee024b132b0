"""What looks on: dispatch --wait, jobs --watch, workers, top, drain; against a real worker."""

from __future__ import annotations

import json
import signal
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import pytest
import trio

from vsdk_trio.registry.core import Registry
from vsdk_trio.registry.ledger import DispatchRequest
from vsdk_trio.registry.server import RunningRegistry, open_registry

from .conftest import RunningCli, open_cli, run_cli

pytestmark = [pytest.mark.real, pytest.mark.usefixtures("unmeasured")]

COLUMNS = ["WORKER", "AGENT", "STATUS", "LOAD", "JOBS", "SLOTS"]
AGENT = """
import trio
async def entrypoint(ctx):
    await ctx.connect()
    if ctx.metadata.get("kind") == "raises":
        raise ValueError("boom \\x1b[2J")
    await trio.sleep(ctx.metadata.get("seconds", 0))
"""


@attrs.frozen
class Site:
    """A registry, and a worker of agent `a` on it."""

    running: RunningRegistry
    worker: RunningCli
    worker_url: str

    @property
    def url(self) -> str:
        return self.running.url

    async def start_job(self, seconds: float) -> str:
        request = DispatchRequest(agent_id="a", room_id="r", metadata={"seconds": seconds})
        return (await self.running.registry.dispatch(request)).job_id


@asynccontextmanager
async def open_site(directory: Path) -> AsyncGenerator[Site]:
    (directory / "agent.py").write_text(AGENT)
    async with open_registry(Registry()) as running:
        env = {
            "VSDK_TRIO_SIGNALING_BASE_URL": running.url,
            "VSDK_TRIO_TRANSPORT": "loopback",
            "VIDEOSDK_AUTH_TOKEN": "local",
            "VSDK_TRIO_LOG_FORMAT": "console",
        }
        args = ("run", "agent.py", "--agent-id", "a", "--port", "0", "--max-processes", "2")
        async with open_cli(*args, env=env, cwd=directory) as worker:
            await worker.read_until("registered with the registry")
            url = worker.text.partition("dashboard at ")[2].partition(",")[0]
            yield Site(running, worker, url)
            if worker.process.poll() is None:
                worker.process.send_signal(signal.SIGINT)
                assert await worker.end() == 0, worker.text


@pytest.mark.slow
async def test_the_end_of_a_job_is_the_exit_code(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site:
        wait = ("dispatch", "a", "--wait", "--registry", site.url)
        done = await run_cli(*wait)
        assert done.code == 0
        assert " completed after " in done.out
        done = await run_cli(*wait, "--metadata", '{"kind": "raises"}')
        assert done.code == 5
        assert " failed after " in done.out
        assert "ValueError: boom" in done.out
        assert "\x1b" not in done.out
        done = await run_cli(*wait, "--json")
        assert json.loads(done.out)["job"]["status"] == "completed"
        assert done.err.count("\n") <= 2  # a line for each change, and no more
        done = await run_cli(*wait, "--metadata", '{"seconds": 60}', "--timeout", "1")
        assert (done.code, done.out) == (1, "")
        assert "and goes on; `vsdk-trio terminate " in done.err
        async with open_cli(*wait, "--metadata", '{"seconds": 60}') as waiting:
            await waiting.read_until("running")
            job_id = waiting.text.split()[0]
            assert (await run_cli("terminate", job_id, "--registry", site.url)).code == 0
            assert await waiting.end() == 6


async def test_ctrl_c_ends_the_waiting_and_not_the_job(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site:
        args = ("dispatch", "a", "--wait", "--metadata", '{"seconds": 60}')
        async with open_cli(*args, "--registry", site.url) as waiting:
            await waiting.read_until("running")
            waiting.process.send_signal(signal.SIGINT)
            assert await waiting.end() == 130
        assert "Traceback" not in waiting.text
        (job,) = site.running.registry.jobs()
        assert not job.state.ended


async def test_workers_and_top_show_what_there_is(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site:
        job_id = await site.start_job(60)
        done = await run_cli("workers", "--registry", site.url)
        assert done.out.splitlines()[0].split() == [
            "WORKER",
            "AGENT",
            "STATUS",
            "LOAD",
            "JOBS",
            "SLOTS",
        ]
        assert done.out.splitlines()[1].split()[1] == "a"
        done = await run_cli("workers", "--json", "--registry", site.url)
        (worker,) = json.loads(done.out)["workers"]
        assert worker["jobs"] == [job_id]
        done = await run_cli("top", site.url, "--once")
        assert done.code == 0
        assert "workers 1  jobs open 1, ended 0" in done.out
        assert job_id in done.out
        done = await run_cli("top", site.worker_url, "--once")
        assert "jobs 1 of 2  registered  load 0.50" in done.out
        assert job_id in done.out
        assert " busy " in done.out
        assert "\x1b" not in done.out
        done = await run_cli("top", site.worker_url, "--once", "--json")
        assert json.loads(done.out)["current_jobs"] == 1


async def test_watching_goes_on_until_ctrl_c_also_while_nobody_is_there(tmp_path: Path) -> None:
    async with open_registry(Registry()) as running:
        every = ("--every", "0.5", "--json")
        async with open_cli("top", running.url, *every) as watching:
            await watching.read_until('"jobs": []}\n{"workers"')
            assert all(json.loads(line) for line in watching.text.splitlines())
            watching.process.send_signal(signal.SIGINT)
            assert await watching.end() == 130
            assert "Traceback" not in watching.text
        url = running.url
    done = await run_cli("jobs", "--watch", "--registry", url)
    assert done.code == 4  # away from the beginning
    async with jobs_that_outlive_it() as jobs:
        await jobs.read_until("trying again")
        jobs.process.send_signal(signal.SIGINT)
        assert await jobs.end() == 130


@asynccontextmanager
async def jobs_that_outlive_it() -> AsyncGenerator[RunningCli]:
    """`jobs --watch` on a registry that is gone by now."""
    async with trio.open_nursery() as nursery:
        gone = trio.Event()

        async def serve(*, task_status: trio.TaskStatus[str]) -> None:
            async with open_registry(Registry()) as running:
                task_status.started(running.url)
                await gone.wait()

        url = await nursery.start(serve)
        async with open_cli("jobs", "-w", "--registry", url, "--every", "0.5") as jobs:
            await jobs.read_until("STATUS")
            gone.set()
            yield jobs


async def test_a_worker_is_drained(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site:
        job_id = await site.start_job(60)
        done = await run_cli("drain", site.worker_url)
        assert (done.code, done.out) == (0, "draining; waiting for 1 job to end\n")
        done = await run_cli("drain", site.worker_url, "--wait", "--timeout", "1")
        assert done.code == 1
        assert "is still draining after 1 s" in done.err
        async with open_cli("drain", site.worker_url, "--wait") as draining:
            await draining.read_until("waiting for 1 job to end")
            site.running.registry.terminate(job_id, "enough")
            assert await draining.end() == 0
            assert f"{site.worker_url} has ended" in draining.text
        assert await site.worker.end() == 0
        done = await run_cli("drain", site.worker_url)
        assert done.code == 4
        assert "no worker answers at" in done.err
