"""The pool in virtual time, over simulated processes."""

from __future__ import annotations

import logging
import signal
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
import trio.testing

from vsdk_trio._service import open_service
from vsdk_trio.control.frames import Finished, Hello, Start
from vsdk_trio.errors import JobProcessError
from vsdk_trio.jobs.prewarm import AFTER_ANSWER_SECONDS, Prewarm
from vsdk_trio.processes.orphans import Sweeper
from vsdk_trio.processes.pool import Pool, PoolSettings
from vsdk_trio.processes.stop_ladder import Graces


@asynccontextmanager
async def _open(
    spawner: Any, *, idle: int = 1, most: int = 4, **kwargs: Any
) -> AsyncGenerator[Pool]:
    pool = Pool(
        spawner,
        lambda cookie: Hello(entrypoint={}, cookie=cookie),
        PoolSettings(argv=("python",), cookie_prefix="w", initialize_timeout=10),
        Prewarm(num_idle=idle, max_processes=most),
        graces=Graces(close_timeout=60, termination_timeout=3),
        **kwargs,
    )
    async with open_service(pool.run, grace=60):
        yield pool
    assert spawner.alive == []
    assert (pool.idle, pool.starting, pool.running) == (0, 0, 0)


async def _settle() -> None:
    await trio.sleep(5)


async def test_a_job_gets_the_idle_process_at_once_and_another_replaces_it(
    spawner: Any, autojump_clock: trio.testing.MockClock
) -> None:
    async with _open(spawner) as pool:
        await _settle()
        assert (pool.idle, pool.starting, pool.running) == (1, 0, 0)
        before = trio.current_time()
        async with pool.acquire() as process:
            assert trio.current_time() == before
            await process.send(Start(job={}))
            assert len(spawner.processes) == 1  # the refill comes later
            assert [frame async for frame in process.frames()][-1] == Finished(status="completed")
            assert (pool.idle, pool.running) == (1, 1)
        assert pool.running == 0
        assert process.exit.stop_reason is None
    assert len(spawner.processes) == 2


async def test_without_an_idle_one_a_job_waits_for_a_new_one(
    spawner: Any, autojump_clock: trio.testing.MockClock
) -> None:
    async with _open(spawner, idle=0) as pool:
        assert spawner.processes == []
        async with pool.acquire() as process:
            assert trio.current_time() == pytest.approx(0.1)
            assert process.cookie == "w.1"
        assert process.exit.returncode == 0
        assert process.exit.stop_reason == "the job is over"


async def test_each_job_has_a_process_of_its_own_and_never_are_there_too_many(
    spawner: Any, autojump_clock: trio.testing.MockClock
) -> None:
    used: list[str] = []

    async with _open(spawner, idle=2, most=4) as pool:
        slots = trio.CapacityLimiter(4)

        async def job() -> None:
            async with slots, pool.acquire() as process:
                used.append(process.cookie)
                await process.send(Start(job={}))
                async for _ in process.frames():
                    pass

        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(job)
        assert len(used) == len(set(used)) == 20
        assert spawner.most_at_once <= 4


async def test_a_failed_initialization_says_why_and_gives_the_last_words(
    spawner: Any, init_failure: Any, autojump_clock: trio.testing.MockClock
) -> None:
    spawner.program = init_failure
    async with _open(spawner, idle=0) as pool:
        with pytest.raises(JobProcessError, match=r"ImportError; stderr: Traceback: no such"):
            async with pool.acquire():
                raise AssertionError("there is no process to use")
        assert pool.running == 0


async def test_an_initialization_that_takes_too_long_is_given_up(
    spawner: Any, autojump_clock: trio.testing.MockClock
) -> None:
    async def slow(process: Any) -> int:
        await process.own_stderr.send_all(b"loading the model\n")
        await trio.sleep_forever()
        return 0

    spawner.program = slow
    async with _open(spawner, idle=0) as pool:
        with pytest.raises(JobProcessError, match="not ready within 10 s; stderr: loading the"):
            async with pool.acquire():
                raise AssertionError("there is no process to use")
        assert trio.current_time() == pytest.approx(10)
        assert spawner.alive != []  # the ladder takes its time; the job does not wait for it
        await trio.sleep(7)
        assert spawner.alive == []


@pytest.mark.parametrize("frames_first", [False, True])
async def test_a_process_that_dies_before_it_is_ready_is_an_error(
    spawner: Any, frames_first: bool, autojump_clock: trio.testing.MockClock
) -> None:
    async def dies(process: Any) -> int:
        if frames_first:
            await anext(process.channel)
        await process.own_stderr.send_all(b"Fatal Python error\n")
        return -11

    spawner.program = dies
    async with _open(spawner, idle=0) as pool:
        with pytest.raises(JobProcessError, match="by SIGSEGV; stderr: Fatal Python error"):
            async with pool.acquire():
                raise AssertionError("there is no process to use")


async def test_a_job_learns_of_the_one_start_that_failed_it_and_not_of_a_later_one(
    spawner: Any, autojump_clock: trio.testing.MockClock
) -> None:
    async def dies(process: Any) -> int:
        await trio.sleep(0.1)
        return 3

    spawner.program = dies
    async with _open(spawner, idle=0) as pool:
        for number in range(1, 30):  # which task comes first is a matter of chance
            with pytest.raises(JobProcessError, match="exited with code 3"):
                async with pool.acquire():
                    raise AssertionError("nobody can have got it")
            assert len(spawner.processes) == number


async def test_a_process_that_is_being_stopped_still_counts(
    spawner: Any, autojump_clock: trio.testing.MockClock
) -> None:
    async def hangs(process: Any) -> int:
        process.ignores.add(signal.SIGTERM)
        await trio.sleep_forever()
        raise AssertionError

    spawner.program = hangs
    async with _open(spawner, idle=1, most=1) as pool:
        for _ in range(3):
            with pytest.raises(JobProcessError, match="not ready within"):
                async with pool.acquire():
                    raise AssertionError("it never gets ready")
        assert len(spawner.processes) >= 3
    assert spawner.most_at_once == 1


async def test_what_cannot_be_spawned_is_an_error_for_the_job_and_no_more(
    spawner: Any, autojump_clock: trio.testing.MockClock
) -> None:
    async with _open(spawner, idle=0) as pool:
        spawner.error = BlockingIOError(11, "Resource temporarily unavailable")
        with pytest.raises(JobProcessError, match="temporarily unavailable"):
            async with pool.acquire():
                raise AssertionError("there is no process to use")
        spawner.error = None
        async with pool.acquire() as process:
            assert process.pid


async def test_a_hello_that_cannot_be_sent_is_an_error_for_the_job(
    spawner: Any, autojump_clock: trio.testing.MockClock
) -> None:
    pool = Pool(
        spawner,
        lambda cookie: Hello(entrypoint={"bad": object()}),
        PoolSettings(argv=("python",), cookie_prefix="w", initialize_timeout=10),
        Prewarm(num_idle=0, max_processes=1),
        graces=Graces(close_timeout=60, termination_timeout=3),
    )
    async with open_service(pool.run, grace=60):
        with pytest.raises(JobProcessError, match="cannot tell a job process what to do"):
            async with pool.acquire():
                raise AssertionError("there is no process to use")


async def test_idle_processes_that_fail_are_tried_again_ever_more_slowly(
    spawner: Any,
    init_failure: Any,
    autojump_clock: trio.testing.MockClock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    good, spawner.program = spawner.program, init_failure
    async with _open(spawner) as pool:
        await trio.sleep(100)
        assert 5 <= len(spawner.processes) <= 10
        warnings = [r.getMessage() for r in caplog.records if r.name == "vsdk_trio.pool"]
        assert warnings[0].startswith("no idle job process: a job process failed to init")
        spawner.program = good
        await trio.sleep(31)
        assert pool.idle == 1


async def test_an_idle_process_that_dies_is_replaced(
    spawner: Any, autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with _open(spawner) as pool:
        await _settle()
        with caplog.at_level(logging.WARNING):
            spawner.processes[0].end(-9)
            await _settle()
        assert pool.idle == 1
        assert len(spawner.processes) == 2
        assert "an idle job process died: the job process was killed by SIGKILL" in caplog.text


async def test_a_job_that_gives_up_waiting_leaves_its_process_to_the_next(
    spawner: Any, autojump_clock: trio.testing.MockClock
) -> None:
    async with _open(spawner, idle=0) as pool:
        with trio.move_on_after(0.05):
            async with pool.acquire():
                raise AssertionError("it is not ready yet")
        async with pool.acquire() as process:
            assert process.cookie == "w.1"
            assert trio.current_time() == pytest.approx(0.1)


async def test_cancelled_at_any_moment_of_acquiring_nothing_is_lost(
    spawner: Any, autojump_clock: trio.testing.MockClock
) -> None:
    """Also where the process comes in the very instant in which the job gives up."""
    async with _open(spawner, idle=0, most=2) as pool:
        for k in range(40):
            async with trio.open_nursery() as nursery:

                async def use() -> None:
                    async with pool.acquire() as process:
                        await process.send(Start(job={}))
                        await trio.sleep_forever()

                nursery.start_soon(use)
                if k % 2:
                    await trio.sleep(0.1)
                for _ in range(k):
                    await trio.lowlevel.checkpoint()
                nursery.cancel_scope.cancel()
            await _settle()
            assert (pool.starting, pool.running) == (0, 0)
            assert len(spawner.alive) == pool.idle == 0


async def test_a_job_that_raises_gets_its_process_stopped_first(
    spawner: Any, autojump_clock: trio.testing.MockClock
) -> None:
    async with _open(spawner, idle=0) as pool:
        with pytest.raises(ZeroDivisionError):
            async with pool.acquire() as process:
                raise ZeroDivisionError
        assert process.exited.is_set()


async def test_a_job_process_that_does_not_stop_is_waited_for_and_killed(
    spawner: Any, autojump_clock: trio.testing.MockClock
) -> None:
    good = spawner.program

    async def deaf(process: Any) -> int:
        process.ignores.add(15)
        with trio.move_on_after(1):
            await good(process)
        await trio.sleep_forever()
        return 0

    spawner.program = deaf
    async with _open(spawner, idle=0) as pool:
        with trio.move_on_after(2):
            async with pool.acquire() as process:
                await process.send(Start(job={}))
                await trio.sleep_forever()
        assert process.exit.killed
        assert trio.current_time() == pytest.approx(2 + 60 + 3 + 3)


async def test_a_closed_pool_gives_nothing_and_tells_those_who_wait(
    spawner: Any, autojump_clock: trio.testing.MockClock
) -> None:
    closed: list[str] = []

    async def wait(pool: Pool) -> None:
        try:
            async with pool.acquire():
                raise AssertionError("there is no process to use")
        except JobProcessError as error:
            closed.append(str(error))

    async with trio.open_nursery() as nursery:
        async with _open(spawner, idle=0) as pool:
            await wait_until_blocked(nursery, wait, pool)
        await wait(pool)
    assert closed == ["the pool is closed", "the pool is closed"]


async def wait_until_blocked(nursery: trio.Nursery, function: Any, pool: Pool) -> None:
    nursery.start_soon(function, pool)
    await trio.testing.wait_all_tasks_blocked()


async def test_closing_stops_idle_and_starting_ones_quickly(
    spawner: Any, autojump_clock: trio.testing.MockClock
) -> None:
    async with _open(spawner, idle=3) as pool:
        await trio.sleep(0.15)
        assert (pool.idle, pool.starting) == (2, 1)
        ending = trio.current_time()
    assert trio.current_time() - ending < 1


async def test_cancelled_at_once_and_at_any_moment_the_pool_leaves_nothing(
    spawner: Any, autojump_clock: trio.testing.MockClock
) -> None:
    for k in range(30):
        async with trio.open_nursery() as nursery:

            async def serve() -> None:
                async with _open(spawner, idle=2) as pool, pool.acquire():
                    await trio.sleep_forever()

            nursery.start_soon(serve)
            for _ in range(k):
                await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()
        assert spawner.alive == []


async def test_a_process_that_was_made_for_a_job_that_gave_up_is_let_go_if_not_needed(
    spawner: Any, autojump_clock: trio.testing.MockClock
) -> None:
    async with _open(spawner, idle=0) as pool:
        with trio.move_on_after(0.05):
            async with pool.acquire():
                raise AssertionError("it is not ready yet")
        await _settle()
        assert pool.idle == 0
        assert spawner.processes[0].returncode == 0


async def test_a_job_whose_start_fails_takes_over_another_that_was_for_nobody(
    spawner: Any, init_failure: Any, autojump_clock: trio.testing.MockClock
) -> None:
    """Only where no start is left for it does a job learn that one has failed."""
    good, first = spawner.program, True

    async def fails_once(process: Any) -> int:
        nonlocal first
        program, first = (init_failure if first else good), False
        result: int = await program(process)
        return result

    spawner.program = fails_once
    async with _open(spawner, idle=1) as pool, pool.acquire() as process:
        assert process.ready is not None


async def test_every_process_that_ended_is_swept_up_after(
    spawner: Any, autojump_clock: trio.testing.MockClock
) -> None:
    swept: list[frozenset[str]] = []

    def kill(cookies: frozenset[str]) -> int:
        swept.append(cookies)
        return 0

    sweeper = Sweeper(kill)
    autojump_clock.autojump_threshold = 0.02  # a thread is not on the clock
    async with (
        open_service(sweeper.run, grace=5),
        _open(spawner, sweeper=sweeper) as pool,
        pool.acquire() as process,
    ):
        assert process.ready is not None
    assert frozenset().union(*swept) == {
        simulated.command.cookie for simulated in spawner.processes
    }


@pytest.mark.parametrize("fails", [False, True])
async def test_what_comes_in_the_instant_in_which_the_job_gives_up_is_not_lost(
    spawner: Any,
    init_failure: Any,
    fails: bool,
    monkeypatch: pytest.MonkeyPatch,
    autojump_clock: trio.testing.MockClock,
) -> None:
    giving_up = trio.CancelScope()
    last_step = "failed" if fails else "became_ready"
    # The pool calls it just before it answers the job that waits.
    takes_the_step = getattr(Prewarm, last_step)

    def step(self: Prewarm, **now: float) -> None:
        takes_the_step(self, **now)
        giving_up.cancel()

    monkeypatch.setattr(Prewarm, last_step, step)
    if fails:
        spawner.program = init_failure
    async with _open(spawner, idle=0) as pool:
        with giving_up:
            async with pool.acquire():
                raise AssertionError("it has given up")
        assert giving_up.cancelled_caught
        await _settle()
        assert (pool.starting, pool.running) == (0, 0)
        assert spawner.alive == []


async def test_the_guardian_knows_each_process_for_as_long_as_it_lives(
    spawner: Any, autojump_clock: trio.testing.MockClock
) -> None:
    class Notes:
        def __init__(self) -> None:
            self.watched: list[int] = []

        def watch(self, pid: int) -> None:
            self.watched.append(pid)

        def forget(self, pid: int) -> None:
            assert spawner.processes[pid - 1000].returncode is not None
            self.watched.remove(pid)

    notes = Notes()
    async with _open(spawner, idle=2, guardian=notes) as pool:
        await _settle()
        assert len(notes.watched) == 2
        async with pool.acquire() as process:
            assert process.pid in notes.watched
    assert notes.watched == []


async def test_a_refill_that_fails_is_not_held_against_a_job_that_came_later(
    spawner: Any, autojump_clock: trio.testing.MockClock
) -> None:
    program, attempts = spawner.program, []

    async def dies_while_it_starts(process: Any) -> int:
        attempts.append(trio.current_time())
        if len(attempts) == 1:
            await trio.sleep(1)
            return -signal.SIGKILL
        result: int = await program(process)
        return result

    spawner.program = dies_while_it_starts
    async with _open(spawner, idle=1) as pool:
        await trio.sleep(0.5)
        assert (pool.idle, pool.starting) == (0, 1)
        async with pool.acquire() as process:
            assert process.cookie == "w.2"
    assert len(attempts) >= 2


async def test_a_burst_of_jobs_starts_a_few_at_a_time(
    spawner: Any, autojump_clock: trio.testing.MockClock
) -> None:
    starting: list[int] = []
    async with _open(spawner, idle=0, most=100) as pool:

        async def job() -> None:
            async with pool.acquire() as process:
                starting.append(pool.starting)
                await process.send(Start(job={}))
                async for _ in process.frames():
                    pass

        async with trio.open_nursery() as nursery:
            for _ in range(50):
                nursery.start_soon(job)
            await trio.testing.wait_all_tasks_blocked()
            assert pool.starting == 8
        assert len(starting) == 50
        assert max(starting) <= 8


async def test_a_refill_begins_as_soon_as_the_job_is_said_to_run(
    spawner: Any, autojump_clock: trio.testing.MockClock
) -> None:
    async with _open(spawner) as pool:
        await _settle()
        before = trio.current_time()
        process = pool.take_idle()
        assert process is not None
        assert pool.take_idle() is None
        pool.answered(process)
        await trio.sleep(0.01)
        assert pool.starting == 1
        await pool.give_back(process)
        assert trio.current_time() - before < 1


class _Steps(trio.abc.Instrument):
    """The names of the tasks that ran."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        """Called by Trio."""
        self.names.append(task.name)


async def test_nobody_is_woken_because_a_process_is_taken_or_its_job_runs(
    spawner: Any, autojump_clock: trio.testing.MockClock
) -> None:
    async with _open(spawner, idle=2) as pool:
        await _settle()
        trio.lowlevel.add_instrument(steps := _Steps())
        process = pool.take_idle()
        assert process is not None
        await trio.testing.wait_all_tasks_blocked()
        pool.answered(process)
        await trio.testing.wait_all_tasks_blocked()
        trio.lowlevel.remove_instrument(steps)
        assert [name for name in steps.names if name.startswith("vsdk_trio")] == []
        assert pool.starting == 0
        await trio.sleep(AFTER_ANSWER_SECONDS)
        await trio.testing.wait_all_tasks_blocked()
        assert pool.starting == 1
        await pool.give_back(process)


async def test_a_job_that_waits_is_not_held_up_for_one_that_has_just_begun(
    spawner: Any, autojump_clock: trio.testing.MockClock
) -> None:
    async with _open(spawner) as pool:
        await _settle()
        async with pool.acquire(), trio.open_nursery() as nursery:

            async def second() -> None:
                before = trio.current_time()
                async with pool.acquire():
                    assert trio.current_time() - before == pytest.approx(0.1)  # a start, no more

            nursery.start_soon(second)
