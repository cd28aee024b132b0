"""Requests to end that come twice, or from another side than the worker's: what jobs see of it."""

from __future__ import annotations

import os
import re
import signal
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
import trio

from vsdk_trio.registry.ledger import DispatchRequest
from vsdk_trio.registry.server import open_registry

from .conftest import RecordingRegistry, System, eventually, open_system

pytestmark = [pytest.mark.real, pytest.mark.usefixtures("each_start_method")]

TERM, HUP, INT = signal.SIGTERM, signal.SIGHUP, signal.SIGINT


async def test_a_hook_that_drains_and_the_sigterm_after_it(tmp_path: Path) -> None:
    """The hook is the command, as a preStop hook would call it."""
    async with open_system(tmp_path) as system:
        worker = await system.open_agent()
        job_id = await system.dispatch("goes on")
        (url,) = re.findall(r"(http://\S+)/health", worker.output)
        hook = await system.start("-m", "vsdk_trio", "drain", url)
        assert await hook.exit_code() == 0, hook.output
        worker.signal(TERM)
        await eventually(lambda: "SIGTERM changes nothing" in worker.output, "not said")
        system.let_go()
        assert (await system.end_of(job_id)).state.value == "completed"
        assert await worker.exit_code() == 0, worker.output


async def test_a_drain_keeps_its_first_deadline(tmp_path: Path) -> None:
    async with open_system(tmp_path) as system:
        worker = await system.open_agent(drain_timeout=3.0)
        job_id = await system.dispatch("waits")
        began = trio.current_time()
        for _ in range(2):
            worker.signal(TERM)
            await trio.sleep(1.5)
        assert (await system.end_of(job_id)).state.value == "cancelled"
        # The job ends at once when it is asked to: a second deadline would have added 1.5 s.
        assert 2.9 < trio.current_time() - began < 4.4
        assert await worker.exit_code() == 0


async def test_signals_after_the_registry_was_lost_change_nothing(tmp_path: Path) -> None:
    """The worker drains by itself then; the job runs to its end, and the exit code says why."""
    async with open_system(tmp_path) as system:
        lost = RecordingRegistry()
        async with open_registry(lost) as running:
            worker = await system.start_agent(signaling_base_url=running.url, max_retry=0)
            await eventually(lost.workers, "no worker")
            system.registry = lost
            job_id = await system.dispatch("goes on")
        await eventually(lambda: "draining: running jobs go on" in worker.output, "not given up")
        for signum in (TERM, HUP):
            worker.signal(signum)
            await eventually(lambda s=signum: f"{s.name} changes nothing" in worker.output, "")
        system.let_go()
        await eventually(lambda: len(system.notes(job_id)) == 3, "not ended")
        assert system.notes(job_id)[-1] == "callback: the entrypoint returned"
        worker.signal(INT)  # else it would go on telling the registry until its drain_timeout
        assert await worker.exit_code() == 4, worker.output


async def test_signals_to_everything_at_any_moment_of_the_start_end_nothing_that_serves(
    tmp_path: Path,
) -> None:
    """Templates and job processes that load, idle ones and one with a job; during a drain, too."""
    async with open_system(tmp_path) as system:
        worker = await system.open_agent(num_idle_processes=2, max_processes=3)
        job_id = await system.dispatch("goes on")
        await eventually(lambda: len(system.job_processes()) >= 3, "no idle processes")
        worker.signal(TERM)
        before = {process.pid for process in system.job_processes()}
        for signum in (HUP, TERM, INT, TERM):
            for process in system.processes():
                if process.pid != worker.pid:
                    process.send_signal(signum)
            await trio.sleep(0.1)
        # Nothing was replaced: a drain starts no new ones either.
        assert {process.pid for process in system.job_processes()} == before
        system.let_go()
        assert (await system.end_of(job_id)).state.value == "completed"
        assert worker.output.count("SIGTERM ignored") == 1
        assert await worker.exit_code() == 0, worker.output


@pytest.mark.parametrize("is_worker_last", [False, True])
@pytest.mark.parametrize(
    "signals",
    [(TERM, signal.SIGCONT), (TERM, HUP, signal.SIGCONT), (HUP,)],
    ids=["control-group", "SendSIGHUP", "hangup"],
)
async def test_what_a_supervisor_sends_to_everything_is_one_drain(
    tmp_path: Path, signals: tuple[signal.Signals, ...], is_worker_last: bool
) -> None:
    """As systemd does unless KillMode says otherwise, in any order of the processes."""
    async with open_system(tmp_path) as system:
        worker = await system.open_agent(num_idle_processes=1, max_processes=2)
        job_id = await system.dispatch("goes on")
        everything = sorted(system.processes(), key=lambda one: one.pid, reverse=is_worker_last)
        for signum in signals:
            for process in everything:
                with suppress(psutil.NoSuchProcess):  # an idle process that the drain has ended
                    process.send_signal(signum)
        await eventually(lambda: "draining" in worker.output, "not draining")
        system.let_go()
        assert (await system.end_of(job_id)).state.value == "completed"
        assert system.notes(job_id)[-1] == "callback: the entrypoint returned"
        assert await worker.exit_code() == 0, worker.output


FRAME = """
import json, multiprocessing, os, signal, time, trio
from pathlib import Path
from vsdk_trio import JobContext, Options, RoomOptions, WorkerJob
{body}
WorkerJob(
    entrypoint,
    lambda: JobContext(room_options=RoomOptions(transport_mode="loopback")),
    Options(**json.loads(Path("options.json").read_text())),
).start()
"""

LOADS_SLOWLY = """
async def entrypoint(ctx):
    await ctx.connect()

if __name__ != "__main__":
    Path("loading").touch()
    time.sleep(2)
"""


async def run_job(system: System) -> str:
    job = await system.registry.dispatch(DispatchRequest(agent_id="agent", room_id="room"))
    return (await system.end_of(job.job_id)).state.value


async def test_a_process_that_loads_is_not_ended_by_a_signal(tmp_path: Path) -> None:
    """The template, where there is one; else a job process."""
    async with open_system(tmp_path) as system:
        (tmp_path / "slow.py").write_text(FRAME.format(body=LOADS_SLOWLY))
        worker = await system.start_agent(script=str(tmp_path / "slow.py"), num_idle_processes=1)
        await eventually((tmp_path / "loading").exists, "not loading")
        loading = [*system.job_processes(), *system.templates()]
        for signum in (TERM, HUP, INT):
            for process in loading:
                process.send_signal(signum)
        await eventually(system.registry.workers, "no worker")
        assert await run_job(system) == "completed"
        worker.signal(TERM)
        assert await worker.exit_code() == 0, worker.output
        assert "SIGTERM" not in worker.output.partition("SIGTERM received: draining")[0]


HANDLERS = """
signal.signal(signal.SIGHUP, lambda *_: Path("own").touch())

def work():
    Path("working").touch()
    time.sleep(600)

async def entrypoint(ctx):
    await ctx.connect()
    child = multiprocessing.get_context("fork").Process(target=work)
    child.start()
    while not Path("working").exists():
        await trio.sleep(0.01)
    child.terminate()
    child.join(10)
    os.kill(os.getpid(), signal.SIGHUP)
    while not Path("own").exists():
        await trio.sleep(0.01)
    Path("code").write_text(str(child.exitcode))
"""


async def test_handlers_and_children_of_the_agents_work_as_everywhere(tmp_path: Path) -> None:
    async with open_system(tmp_path) as system:
        (tmp_path / "handlers.py").write_text(FRAME.format(body=HANDLERS))
        worker = await system.start_agent(script=str(tmp_path / "handlers.py"))
        await eventually(system.registry.workers, "no worker")
        assert await run_job(system) == "completed", worker.output
        assert (tmp_path / "code").read_text() == str(-TERM)
        worker.signal(TERM)
        assert await worker.exit_code() == 0, worker.output


ASYNCIO = """
import asyncio
from vsdk_trio import aio

@aio.entrypoint
async def entrypoint(ctx):
    loop = asyncio.get_running_loop()
    came = asyncio.Event()
    for signum in (signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(signum, came.set)
    signal.signal(signal.SIGINT, lambda *_: Path("interrupted").touch() or came.set())
    await ctx.connect()
    Path("pid").write_text(str(os.getpid()))
    await came.wait()
    print("the agent's own handler", flush=True)
"""


@pytest.mark.parametrize("signum", [TERM, INT])
async def test_an_asyncio_agent_sets_signal_handlers(
    tmp_path: Path, signum: signal.Signals
) -> None:
    """In its entrypoint, as agents of the published client do; they are called."""
    async with open_system(tmp_path) as system:
        (tmp_path / "handlers.py").write_text(FRAME.format(body=ASYNCIO))
        worker = await system.start_agent(script=str(tmp_path / "handlers.py"))
        await eventually(system.registry.workers, "no worker")
        job = await system.registry.dispatch(DispatchRequest(agent_id="agent", room_id="room"))
        await eventually(lambda: (tmp_path / "pid").exists() or job.state.ended, "not begun")
        os.kill(int((tmp_path / "pid").read_text()), signum)
        assert (await system.end_of(job.job_id)).state.value == "completed", worker.output
        await eventually(lambda: "the agent's own handler" in worker.output, "not called")
        assert (tmp_path / "interrupted").exists() is (signum is INT)
        worker.signal(TERM)
        assert await worker.exit_code() == 0, worker.output
