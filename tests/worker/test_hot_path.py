"""From an assignment to its process: which tasks run, and what happens to a process that is dead.

Scheduling steps are counted, not milliseconds: the same on every machine, however busy.
"""

from __future__ import annotations

import re
import signal
import sys
from collections import Counter
from typing import Any

import attrs
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from vsdk_trio.control.channel import ControlChannel
from vsdk_trio.control.frames import Ready, Running, Start
from vsdk_trio.protocol.messages import JobTermination
from vsdk_trio.telemetry import events as seen
from vsdk_trio.testing.processes import InsideProcess, ProcessExit, ScriptedRunner

from .conftest import World, open_world


class Steps(trio.abc.Instrument):
    """Counts the scheduling steps of the tasks whose code is the worker's."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        """Called by Trio."""
        # The simulated process waits with `first_of`.
        if task.name.startswith("vsdk_trio.") and not re.search("testing|first_of", task.name):
            self.counts[task.name.rpartition(".")[2]] += 1


async def _steps_until_started(world: World, job_id: str) -> Counter[str]:
    """From the moment an assignment arrives until its process has been told."""
    steps, before = Steps(), len(world.runner.started)
    assert (await world.offer(job_id))["available"]
    await trio.sleep(1)
    await world.assign(job_id, seconds=60)
    trio.lowlevel.add_instrument(steps)
    while len(world.runner.started) == before:
        await trio.lowlevel.checkpoint()
    trio.lowlevel.remove_instrument(steps)
    return steps.counts


async def test_an_assignment_wakes_nobody_who_is_not_on_its_way(
    autojump_clock: MockClock,
) -> None:
    async with open_world(num_idle_processes=1, max_processes=20) as world:
        for number in range(10):
            await trio.sleep(10)
            counts = await _steps_until_started(world, f"job-{number}")
            # The WebSocket's reader and the session's, which writes the start frame. What comes
            # after that may have begun: the job's own task, its process's reader, the sender.
            assert set(counts) <= {
                "_run",
                "_read",
                "_supervise",
                "_drain",
                "_stay_connected",
            }, counts
            assert counts["_read"] <= 2, counts
            assert counts["_supervise"] <= 1, counts
            await world.session.send({"type": "job_termination", "job_id": f"job-{number}"})


async def test_a_job_that_waits_for_a_process_has_no_tasks_that_only_wait_for_something_else(
    autojump_clock: MockClock,
) -> None:
    async with open_world(num_idle_processes=0) as world:
        await trio.sleep(10)
        assert (await world.offer("a"))["available"]
        await trio.sleep(1)
        await world.assign("a", seconds=60)
        trio.lowlevel.add_instrument(steps := Steps())
        await trio.sleep(0.5)
        assert world.runner.started
        trio.lowlevel.remove_instrument(steps)
        counts = steps.counts
        assert set(counts) <= {
            "_run",
            "_read",
            "_supervise",
            "_stay_connected",
            "keep_time",  # a start takes its time
            # Of the process: its life, the pipes' readers, and those who see to its end.
            "_run_process",
            "_attend",
            "_drain",
            "pump_stderr",
            "_cancel_on_request",
            "_lift_bound_at_exit",
        }, counts
        # It begins to wait, and it gets the process.
        assert counts["_supervise"] == 2, counts


async def test_a_job_is_terminated_in_the_moment_in_which_it_was_assigned(
    autojump_clock: MockClock,
) -> None:
    """Its process has been told of the job already, and no task of the job's has run."""
    async with open_world(num_idle_processes=1) as world:
        await trio.sleep(5)
        assert (await world.offer("a"))["available"]

        def stop_at_once(observation: object) -> None:
            if isinstance(observation, seen.JobMoved) and observation.state == "starting":
                terminate = JobTermination(job_id="a", reason="at once")
                world.worker._driver.receive(terminate)

        with world.worker.observers.listening(stop_at_once):
            await world.assign("a", seconds=500)
            end = await world.end_of("a")
        assert (end["status"], end["error"]) == ("completed", "terminated: at once")
        await wait_all_tasks_blocked()
        assert world.worker.job_count == 0


async def test_a_job_that_is_too_large_for_a_pipe_to_take_at_once_runs_as_any_other(
    autojump_clock: MockClock,
) -> None:
    async with open_world(num_idle_processes=1) as world:
        await trio.sleep(5)
        assert (await world.offer("a"))["available"]
        await world.assign("a", seconds=5, padding="x" * 100_000)
        assert (await world.end_of("a"))["status"] == "completed"
    assert world.updates("a") == [("running", None), ("completed", None)]


@attrs.define
class DyingRunner(ScriptedRunner):
    """The first processes end as soon as they are given a job: without a word, or with one."""

    deaths: int = 1
    says: tuple[Any, ...] = ()

    async def __call__(self, inside: InsideProcess) -> None:
        """Be one job process."""
        if not self.deaths:
            await super().__call__(inside)
            return
        channel = ControlChannel(inside.stdout, inside.stdin)
        async for frame in channel:
            if isinstance(frame, Start):
                self.deaths -= 1
                for word in self.says:
                    await channel.send(word)
                raise ProcessExit(-signal.SIGKILL)
            await channel.send(Ready(pid=inside.pid))


@pytest.mark.parametrize("idle", [0, 1, 2])
async def test_a_process_that_dies_before_the_job_begins_is_replaced(
    idle: int, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    runner = DyingRunner(deaths=2)
    async with open_world(runner=runner, num_idle_processes=idle) as world:
        await trio.sleep(5)
        job_id = await world.run_job(seconds=1)
        assert (await world.end_of(job_id))["status"] == "completed"
        assert world.updates(job_id) == [("running", None), ("completed", None)]
    assert [job.job_id for _, job in runner.started] == [job_id]
    warnings = [record for record in caplog.records if "gets another process" in record.message]
    assert len(warnings) == 2
    assert "SIGKILL" in warnings[0].message


async def test_a_job_that_kills_each_process_ends(autojump_clock: MockClock) -> None:
    runner = DyingRunner(deaths=100)
    async with open_world(runner=runner, num_idle_processes=2, max_processes=4) as world:
        await trio.sleep(5)
        assert (await world.offer("a"))["available"]
        await world.assign("a")
        end = await world.end_of("a")
        assert end["status"] == "failed"
        assert "SIGKILL" in end["error"]
    assert runner.deaths == 97


@pytest.mark.parametrize("wait", [False, True])
async def test_a_job_that_has_begun_is_never_run_again(
    wait: bool, autojump_clock: MockClock
) -> None:
    runner = DyingRunner(deaths=1, says=(Running(),))
    async with open_world(runner=runner, num_idle_processes=1) as world:
        await trio.sleep(5)
        assert (await world.offer("a"))["available"]
        await world.assign("a", fields={"wait": wait})
        end = await world.end_of("a")
        assert end["status"] == "failed"
        await trio.sleep(100)
    assert runner.started == []


async def test_a_job_that_is_stopped_as_its_process_dies_gets_no_other(
    autojump_clock: MockClock,
) -> None:
    runner = DyingRunner(deaths=1)
    async with open_world(runner=runner, num_idle_processes=1) as world:
        await trio.sleep(5)
        assert (await world.offer("a"))["available"]
        await world.assign("a")
        await world.session.send({"type": "job_termination", "job_id": "a", "reason": "late"})
        end = await world.end_of("a")
        assert end["status"] in ("failed", "cancelled")
        await wait_all_tasks_blocked()
    assert runner.started == []


def _count_calls(counts: Counter[str]) -> Any:
    def note(frame: Any, event: str, argument: object) -> None:
        path = frame.f_code.co_filename
        if event == "call" and "/vsdk_trio/" in path and "/testing/" not in path:
            counts[frame.f_code.co_qualname] += 1

    return note


async def test_little_is_done_between_an_assignment_and_the_start_frame(
    autojump_clock: MockClock,
) -> None:
    calls: list[str] = []

    def note(frame: Any, event: str, argument: object) -> None:
        if event == "call" and "/vsdk_trio/" in frame.f_code.co_filename:
            calls.append(frame.f_code.co_qualname)

    async with open_world(num_idle_processes=1) as world:
        for job_id in ("first", "second"):  # the first one does what is done once
            await trio.sleep(5)
            assert (await world.offer(job_id))["available"]
            calls.clear()
            before = sys.getprofile()
            sys.setprofile(note)
            try:
                await world.assign(job_id, fields={"room_options": {"recording": False}})
                await world.session.expect("job_update", job_id=job_id, status="running")
            finally:
                sys.setprofile(before)
            await world.end_of(job_id)
    taken, given = calls.index("WorkerDriver._take"), calls.index("JobProcess.give_now")
    written = calls.index("write_what_fits", given)
    # 48 as this was written; a copy of the room options was 45 more.
    assert written - taken < 65, calls[taken:written]


async def test_a_dispatch_does_no_more_among_many_jobs_than_among_few(
    autojump_clock: MockClock,
) -> None:
    found = []
    async with open_world(num_idle_processes=0, max_processes=1000) as world:
        for number_of_jobs in (20, 320):
            while world.worker.job_count < number_of_jobs:
                await world.run_job(seconds=100_000)
            await trio.sleep(0.5)
            counts: Counter[str] = Counter()
            before = sys.getprofile()
            sys.setprofile(_count_calls(counts))
            try:
                await world.run_job(seconds=100_000)
            finally:
                sys.setprofile(before)
            found.append(counts)
    few, many = found
    # A loop over all jobs would add 300; the looks at running jobs, now and then, add some.
    (name, more), *_ = (many - few).most_common(1)
    assert more < 150, name
