"""The worker and its guardian are killed, stopped and starved: jobs end, and the truth is told."""

from __future__ import annotations

import itertools
import os
import random
import resource
import signal
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import trio

from vsdk_trio.registry.actions import DispatchError

from ..system.conftest import Program, System, eventually, open_system
from .aftermath import all_is_well, calm, end_of, health, run_one, taken

pytestmark = [pytest.mark.real, pytest.mark.slow, pytest.mark.timeout(180)]

AGENT = str(Path(__file__).with_name("agents") / "faulty_agent.py")


async def open_worker(system: System, **options: Any) -> Program:
    return await system.open_agent(
        **{"max_processes": 4, "max_retry": 1000, "close_timeout": 2.0, **options}
    )


async def ended(system: System, worker: Program, *, code: int = 0) -> None:
    worker.signal(signal.SIGTERM)
    assert await worker.exit_code() == code, worker.output
    assert system.processes() == []


async def test_killed_at_random_moments(tmp_path: Path) -> None:
    """Each life takes jobs until it is killed; what they did is told, or that nobody can know."""
    rng = random.Random(1)
    async with open_system(tmp_path) as system:
        lives: list[Program] = []

        async def life() -> None:
            settings = {"state_dir": str(tmp_path / "state"), "close_timeout": 1.0}
            lives.append(await system.start_agent(max_processes=4, max_retry=1000, **settings))
            await eventually(lambda: not away(system), "not registered")

        async def dispatch_for_ever() -> None:
            for n in itertools.count():
                with trio.move_on_after(5):
                    await system.dispatch("returns", seconds=n % 3 / 5)

        await life()
        for _ in range(5):
            with trio.move_on_after(rng.uniform(0.3, 2.0)):
                await dispatch_for_ever()
            lives[-1].process.kill()
            await lives[-1].exit_code()
            await eventually(lambda: away(system), "still connected")
            await life()
        jobs = {job_id for life in lives for job_id in taken(life)}
        assert jobs
        for job_id in jobs:
            status, error = await end_of(system, job_id)
            if status == "completed":
                assert "left" in system.notes(job_id)
            else:
                assert (status, error) == ("failed", "worker was restarted")
        await ended(system, lives[-1])


def away(system: System) -> bool:
    return all(worker.away for worker in system.registry.workers())


async def test_stopped_for_a_while(tmp_path: Path) -> None:
    """As by Ctrl-Z, or on a machine that sleeps; jobs go on and end meanwhile."""
    async with open_system(tmp_path) as system:
        worker = await open_worker(system)
        before = await calm(system, worker)
        jobs = [await system.dispatch("returns", seconds=n) for n in (0.2, 0.5, 3)]
        os.kill(worker.pid, signal.SIGSTOP)
        await trio.sleep(2)
        os.kill(worker.pid, signal.SIGCONT)
        for job_id in jobs:
            assert await end_of(system, job_id) == ("completed", "")
        await all_is_well(system, worker, before)
        await ended(system, worker)


async def test_stopped_and_then_killed(tmp_path: Path) -> None:
    async with open_system(tmp_path) as system:
        worker = await open_worker(system)
        jobs = [await system.dispatch("waits") for _ in range(2)]
        os.kill(worker.pid, signal.SIGSTOP)
        await trio.sleep(0.5)
        os.kill(worker.pid, signal.SIGKILL)
        await worker.exit_code()
        await system.nothing_left()
        for job_id in jobs:
            assert system.notes(job_id) == ["entered", "left", "callback: the worker is gone"]


async def test_a_guardian_that_is_stopped_for_ever(tmp_path: Path) -> None:
    """It holds nothing up, not even the end."""
    async with open_system(tmp_path) as system:
        worker = await open_worker(system)
        before = await calm(system, worker)
        (guardian,) = system.guardians()
        guardian.suspend()
        jobs = [await system.dispatch("forks") for _ in range(6)]
        for job_id in jobs:
            assert await end_of(system, job_id) == ("completed", "")
        await all_is_well(system, worker, before)
        await ended(system, worker)


async def test_guardian_and_worker_are_killed_together(tmp_path: Path) -> None:
    """Then nobody can kill what blocks; what can end politely does."""
    async with open_system(tmp_path) as system:
        worker = await open_worker(system)
        jobs = [await system.dispatch("waits") for _ in range(2)]
        for guardian in system.guardians():
            guardian.kill()
        worker.process.kill()
        await worker.exit_code()
        await system.nothing_left()
        for job_id in jobs:
            assert system.notes(job_id) == ["entered", "left", "callback: the worker is gone"]


def limit(worker: Program, kind: int, soft: int) -> None:
    """Set a limit of the running worker, and of the processes that it starts from then on."""
    (_, hard) = resource.prlimit(worker.pid, kind)
    resource.prlimit(worker.pid, kind, (soft if soft >= 0 else hard, hard))


NO_LIMIT = -1


async def until_refused(system: System) -> list[tuple[str, str]]:
    """How jobs end that the worker takes, until it has learnt that it can run none."""
    found: list[tuple[str, str]] = []
    for _ in range(3):
        try:
            job_id = await system.dispatch("returns")
        except DispatchError:
            assert found, "it refuses what it has not tried"
            return found
        found.append(await end_of(system, job_id))
    raise AssertionError("it goes on taking what it cannot run")


async def can_run_jobs_again(worker: Program) -> None:
    """By itself: it tries up to every 30 s."""
    await eventually(lambda: "jobs can be run again" in worker.output, "it did not try", seconds=40)


async def test_no_file_descriptors_are_left(tmp_path: Path) -> None:
    async with open_system(tmp_path) as system:
        worker = await open_worker(system, num_idle_processes=0)
        before = await calm(system, worker)
        running = await system.dispatch("returns", seconds=2.0)
        limit(worker, resource.RLIMIT_NOFILE, before.fds)
        for status, error in await until_refused(system):
            assert status == "failed"
            assert "Too many open files" in error
        # A job that has its process does not notice.
        assert await end_of(system, running) == ("completed", "")
        limit(worker, resource.RLIMIT_NOFILE, NO_LIMIT)
        await can_run_jobs_again(worker)
        await all_is_well(system, worker, before)
        await ended(system, worker)


async def test_no_file_descriptors_are_left_and_the_link_is_lost(tmp_path: Path) -> None:
    """It cannot connect, nor answer `/health`, nor look for daemons: it does as soon as it can."""
    async with open_system(tmp_path) as system:
        worker = await open_worker(system)
        before = await calm(system, worker)
        forking = await system.dispatch("forks", waits=True)
        running = await system.dispatch("returns", seconds=1.0)
        await eventually(lambda: len(system.find("sleep")) == 2, "no grandchildren")
        limit(worker, resource.RLIMIT_NOFILE, 5)
        system.registry.terminate(forking, "enough")
        assert await end_of(system, forking) == ("cancelled", "terminated: enough")
        assert await end_of(system, running) == ("completed", "")
        for link in list(system.registry._links):
            await link._link.close(1011, "lost")  # type: ignore[attr-defined]
        await eventually(lambda: "no session with the registry" in worker.output, "not lost")
        with suppress(OSError):  # nobody can accept the connection
            await health(worker, seconds=1)
        limit(worker, resource.RLIMIT_NOFILE, NO_LIMIT)
        await eventually(lambda: not away(system), "not back")
        await all_is_well(system, worker, before)
        await eventually(lambda: system.find("sleep") == [], "a daemon is left")
        await ended(system, worker)


async def test_a_guardian_without_file_descriptors(tmp_path: Path) -> None:
    """As where the whole machine has none left: it kills as soon as it can look."""
    async with open_system(tmp_path) as system:
        worker = await open_worker(system, close_timeout=0.5)
        await system.dispatch("ignores everything")
        (guardian,) = system.guardians()
        (soft, hard) = resource.prlimit(guardian.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(guardian.pid, resource.RLIMIT_NOFILE, (3, hard))
        worker.process.kill()
        await worker.exit_code()
        await trio.sleep(4)
        assert guardian.is_running()
        resource.prlimit(guardian.pid, resource.RLIMIT_NOFILE, (soft, hard))
        await system.nothing_left()


SHORT_OF_MEMORY = """
import os, resource
if os.path.exists({there!r}):
    (_, hard) = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (16 << 20, hard))
"""


async def test_no_memory_is_left_for_job_processes(tmp_path: Path) -> None:
    """They have a limit from their first line on and cannot start: jobs fail, then are refused."""
    site, there = tmp_path / "site", tmp_path / "there is a limit"
    site.mkdir()
    (site / "sitecustomize.py").write_text(SHORT_OF_MEMORY.format(there=str(there)))
    async with open_system(tmp_path) as system:
        # What is forked from a template has the template's limits.
        worker = await open_worker(
            system, num_idle_processes=0, start_method="spawn", env={"PYTHONPATH": str(site)}
        )
        before = await calm(system, worker)
        running = await system.dispatch("returns", seconds=2.0)
        there.touch()
        found = await until_refused(system)
        there.unlink()
        assert {status for status, _ in found} == {"failed"}, found
        assert await end_of(system, running) == ("completed", "")
        await can_run_jobs_again(worker)
        await all_is_well(system, worker, before)
        await ended(system, worker)


async def test_the_disk_is_full_under_the_log(tmp_path: Path) -> None:
    """What cannot be logged is lost, and nothing else."""
    async with open_system(tmp_path) as system:
        worker = await open_worker(system)
        before = await calm(system, worker)
        await system.run_job("floods", megabytes=1)  # the limit is meant for this file alone
        limit(worker, resource.RLIMIT_FSIZE, worker.log.stat().st_size)
        jobs = [await system.dispatch(kind) for kind in ("returns", "raises", "prints")]
        statuses = [(await end_of(system, job_id))[0] for job_id in jobs]
        assert statuses == ["completed", "failed", "completed"]
        limit(worker, resource.RLIMIT_FSIZE, NO_LIMIT)
        await all_is_well(system, worker, before)
        await ended(system, worker)


async def test_the_clock_is_set_back_again_and_again(tmp_path: Path) -> None:
    """By an hour at each look, in the worker and in its jobs: nothing depends on the wall clock."""
    (tmp_path / "odd_clock").touch()
    async with open_system(tmp_path) as system:
        worker = await open_worker(
            system, script=AGENT, state_dir=str(tmp_path / "state"), heartbeat_interval=1.0
        )
        before = await calm(system, worker)
        timed = await system.dispatch("waits", timeout=1.5)
        jobs = [await system.dispatch("returns", seconds=n / 2) for n in range(3)]
        for job_id in jobs:
            assert await end_of(system, job_id) == ("completed", "")
        assert await end_of(system, timed) == ("failed", "ran longer than 1.5 s")
        await trio.sleep(2.5)  # through some heartbeats
        await all_is_well(system, worker, before)
        assert sum(frame["type"] == "register" for frame in system.registry.frames) == 1
        # A life that is killed is remembered, whatever time it thought it was.
        staying = await system.dispatch("waits")
        worker.process.kill()
        await worker.exit_code()
        await eventually(lambda: away(system), "still connected")
        worker = await open_worker(system, script=AGENT, state_dir=str(tmp_path / "state"))
        assert await end_of(system, staying) == ("failed", "worker was restarted")
        await run_one(system)
        await ended(system, worker)
