"""SIGTERM, SIGINT, a second signal: what the registry, the jobs and the process table see."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

import pytest
import trio

from .conftest import Program, System, eventually, open_system
from .test_system_status import ask

pytestmark = [pytest.mark.real, pytest.mark.usefixtures("each_start_method")]


async def ended(system: System, program: Program, *, code: int) -> None:
    assert await program.exit_code() == code, program.output
    await eventually(lambda: system.registry.story()[-1] == "closed", "no goodbye")
    # Looked at at once: a worker does not leave the cleaning up to others.
    assert system.processes() == []


async def test_sigterm_drains(tmp_path: Path) -> None:
    async with open_system(tmp_path) as system:
        worker = await system.open_agent(max_processes=2)
        job_id = await system.dispatch("goes on")
        worker.signal(signal.SIGTERM)
        await eventually(lambda: "draining" in system.registry.story(), "not draining")
        system.let_go()
        job = await system.end_of(job_id)
        assert (job.state.value, job.error) == ("completed", None)
        await ended(system, worker, code=0)
        assert system.notes(job_id) == ["entered", "left", "callback: the entrypoint returned"]
        story = system.registry.story()
        del story[story.index("completed") + 1 : story.index("offline")]  # one more "draining"?
        assert story[-4:] == ["draining", "completed", "offline", "closed"]


async def test_sigint_stops_politely(tmp_path: Path) -> None:
    async with open_system(tmp_path) as system:
        worker = await system.open_agent(max_processes=2)
        job_ids = [await system.dispatch("waits") for _ in range(2)]
        worker.signal(signal.SIGINT)
        for job_id in job_ids:
            job = await system.end_of(job_id)
            assert job.state.value == "cancelled"
            assert job.error == "worker is shutting down"
            assert system.notes(job_id) == [
                "entered",
                "left",
                "callback: worker is shutting down",
            ]
        await ended(system, worker, code=0)
        assert system.registry.story()[-2:] == ["offline", "closed"]
        assert "Traceback" not in worker.output


async def test_ctrl_c_reaches_the_worker_alone(tmp_path: Path) -> None:
    """The terminal signals the whole process group; the jobs hear of it from the worker."""
    async with open_system(tmp_path) as system:
        worker = await system.open_agent()
        job_id = await system.dispatch("waits")
        os.killpg(worker.pid, signal.SIGINT)
        assert (await system.end_of(job_id)).error == "worker is shutting down"
        assert system.notes(job_id)[-1] == "callback: worker is shutting down"
        await ended(system, worker, code=0)
        assert "KeyboardInterrupt" not in worker.output


@pytest.mark.parametrize("first", ["SIGTERM", "SIGHUP", "POST /drain"])
async def test_a_drain_asked_for_again_goes_on(tmp_path: Path, first: str) -> None:
    """As Kubernetes does with a preStop hook, supervisors and closing terminals do."""
    async with open_system(tmp_path) as system:
        worker = await system.open_agent()
        job_id = await system.dispatch("goes on")
        if first == "POST /drain":
            assert (await ask(worker, "/drain", "POST"))[0] == 202
        else:
            worker.signal(signal.Signals[first])
        await eventually(lambda: "draining" in system.registry.story(), "not draining")
        for signum in (signal.SIGTERM, signal.SIGHUP, signal.SIGTERM):
            worker.signal(signum)
        await eventually(lambda: "SIGTERM changes nothing: draining" in worker.output, "no line")
        system.let_go()
        job = await system.end_of(job_id)
        assert (job.state.value, job.error) == ("completed", None)
        await ended(system, worker, code=0)


@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_one_ctrl_c_that_comes_twice_is_one(tmp_path: Path, second: signal.Signals) -> None:
    """Hurried, the job would be killed: its callback takes longer than that grace."""
    async with open_system(tmp_path) as system:
        worker = await system.open_agent(termination_timeout=0.3)
        job_id = await system.dispatch("waits", goodbye_seconds=2)
        worker.signal(signal.SIGINT)
        worker.signal(second)
        assert (await system.end_of(job_id)).state.value == "cancelled"
        await ended(system, worker, code=0)


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
async def test_a_signal_to_the_processes_of_jobs_ends_none(
    tmp_path: Path, signum: signal.Signals
) -> None:
    """As a supervisor does that signals the whole tree; the worker decides about its jobs."""
    async with open_system(tmp_path) as system:
        worker = await system.open_agent(num_idle_processes=1, max_processes=2)
        job_id = await system.dispatch("goes on")
        await eventually(lambda: len(system.job_processes()) == 2, "no idle process")
        before = {process.pid for process in system.processes()}
        for process in system.processes():
            if process.pid != worker.pid:
                process.send_signal(signum)
        await eventually(lambda: f"{signum.name} ignored" in worker.output, "no line")
        system.let_go()
        job = await system.end_of(job_id)
        assert (job.state.value, job.error) == ("completed", None)
        # The job's own process is gone by now, and is replaced; of the others none is.
        assert len(before - {process.pid for process in system.processes()}) <= 1
        worker.signal(signal.SIGTERM)
        await ended(system, worker, code=0)


async def test_a_second_ctrl_c_hurries(tmp_path: Path) -> None:
    """The job would have five minutes to stop; then it has a second."""
    async with open_system(tmp_path) as system:
        worker = await system.open_agent(close_timeout=300.0)
        job_id = await system.dispatch("ignores everything")
        worker.signal(signal.SIGTERM)
        await eventually(lambda: "SIGTERM received: draining" in worker.output, "not draining")
        worker.signal(signal.SIGINT)
        await eventually(lambda: "SIGINT received: stopping" in worker.output, "not stopping")
        await trio.sleep(0.6)  # sooner, it is the same Ctrl-C
        worker.signal(signal.SIGINT)
        assert (await system.end_of(job_id)).state.value == "failed"
        assert "a second SIGINT: every grace is cut short" in worker.output
        await ended(system, worker, code=3)


@pytest.mark.parametrize("kind", ["sleeps", "spins", "holds the GIL", "ignores everything"])
async def test_a_job_that_does_not_stop_is_killed(tmp_path: Path, kind: str) -> None:
    async with open_system(tmp_path) as system:
        worker = await system.open_agent(close_timeout=300.0, termination_timeout=0.4)
        job_id = await system.dispatch(kind)
        worker.signal(signal.SIGINT)
        await eventually(lambda: "draining" in system.registry.story(), "not stopping")
        await trio.sleep(0.6)  # sooner, it is the same Ctrl-C
        worker.signal(signal.SIGINT)
        job = await system.end_of(job_id)
        assert job.state.value == "failed"
        assert job.error is not None
        assert job.error.startswith("worker is shutting down; the job process did not stop when")
        await ended(system, worker, code=3)
        assert worker.verdict == f"jobs that did not stop in time were killed: {job_id}"
        assert system.registry.story()[-2:] == ["offline", "closed"]


async def test_an_idle_worker_ends_at_once(tmp_path: Path) -> None:
    async with open_system(tmp_path) as system:
        worker = await system.open_agent(num_idle_processes=3, max_processes=3)
        await eventually(lambda: len(system.job_processes()) == 3, "no idle processes")
        started = trio.current_time()
        worker.signal(signal.SIGTERM)
        await ended(system, worker, code=0)
        assert trio.current_time() - started < 15  # of a close_timeout of 60
        assert system.registry.story()[-2:] == ["offline", "closed"]


async def test_a_signal_while_the_registry_is_away(tmp_path: Path) -> None:
    """Nobody to say goodbye to: it ends all the same, within the time of a flush."""
    async with open_system(tmp_path) as system:
        url = "http://127.0.0.1:9"  # the discard port: nobody listens
        worker = await system.start_agent(signaling_base_url=url, max_retry=1000)
        await eventually(lambda: "health at" in worker.output, "not started")
        worker.signal(signal.SIGTERM)
        code = await worker.exit_code()
        assert (code, "Traceback" in worker.output) == (0, False), worker.output
        assert system.processes() == []


@pytest.mark.usefixtures("unmeasured")
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
async def test_a_signal_at_any_moment_leaves_nothing(
    tmp_path: Path, signum: signal.Signals
) -> None:
    """From the first import to the first idle processes; several at once, to crowd the machine."""

    async def dropped(worker: Program) -> bool:
        """Whether Python has dropped the first SIGINT, which it says; else the worker has ended.

        It does so in callbacks of its own while the script's first imports are under way.
        """

        def says_so() -> bool:
            return signum == signal.SIGINT and bool(
                re.search(r"^Exception ignored in(.*\n)+KeyboardInterrupt", worker.output, re.M)
            )

        def has_ended() -> bool:
            return worker.process.poll() is not None

        await eventually(lambda: has_ended() or says_so(), "neither ended nor dropped")
        return not has_ended()

    async def cut(moment: float, number: int) -> None:
        directory = tmp_path / str(number)
        directory.mkdir()
        async with open_system(directory) as system:
            worker = await system.start_agent(num_idle_processes=2, max_processes=2)
            await trio.sleep(moment)
            worker.signal(signum)
            is_dropped = await dropped(worker)
            if is_dropped:
                worker.signal(signum)
            code = await worker.exit_code()
            # Before the worker listens to it, a signal does what it does to any Python program.
            if signum != signal.SIGKILL and "health at" in worker.output:
                is_traced = "Traceback" in worker.output and not is_dropped
                assert (code, is_traced) == (0, False), worker.output
            await system.nothing_left()

    async with trio.open_nursery() as nursery:
        for number in range(8):
            nursery.start_soon(cut, 0.1 + 0.15 * number, number)
