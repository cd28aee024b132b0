"""How a worker looks from outside while it lives, in a simulated world."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from vsdk_trio.worker.snapshot import LEAVING_SECONDS

from .conftest import World, open_world


async def test_an_idle_worker(world: World) -> None:
    await trio.sleep(1)
    view = world.worker.snapshot()
    assert view.worker_id == world.worker.worker_id
    assert (view.is_connected, view.sessions, view.state) == (True, 1, "idle")
    assert (view.load, view.promised, view.owed, view.jobs) == (0.0, 0, 0, ())
    assert (view.problems, view.warnings, view.drain) == ((), (), None)
    [process] = view.processes
    assert (process.state, process.job_id, process.memory_mb) == ("idle", None, 20.0)
    assert process.cpu_seconds == 0.1
    assert round(process.heard_at - process.started_at, 1) == 0.1  # it became ready then
    assert view.now - view.started_at == pytest.approx(1.0, abs=0.5)


async def test_jobs_and_their_processes(world: World) -> None:
    before = world.worker.snapshot().now
    job_id = await world.run_job(seconds=100)
    await trio.sleep(1)  # another one is made ready meanwhile
    view = world.worker.snapshot()
    assert (view.state, view.load, view.reasons_not_ready) == ("busy", 0.5, ())
    [job] = view.jobs
    assert (job.job_id, job.room_id, job.state) == (job_id, "room", "running")
    assert before <= job.accepted_at < view.now
    states = {process.state: process for process in view.processes}
    assert states.keys() == {"busy", "idle"}
    assert states["busy"].job_id == job_id
    assert states["busy"].pid == job.pid
    assert (await world.offer("promised"))["available"]
    assert world.worker.snapshot().promised == 1
    await trio.sleep(6)  # pings
    [busy] = [p for p in world.worker.snapshot().processes if p.state == "busy"]
    assert busy.lag_seconds == 0.0


async def test_full_is_ready(autojump_clock: MockClock) -> None:
    async with open_world(max_processes=1) as world:
        await world.run_job(seconds=100)
        view = world.worker.snapshot()
        assert (view.state, view.load, view.reasons_not_ready) == ("full", 1.0, ())


async def test_a_worker_without_its_registry_says_so(world: World) -> None:
    await world.session.close()
    await trio.testing.wait_all_tasks_blocked()
    view = world.worker.snapshot()
    assert view.problems == view.reasons_not_ready == ("not registered with the registry",)


async def test_draining_tells_what_it_waits_for_and_how_long(autojump_clock: MockClock) -> None:
    async with open_world(drain_timeout=100, close_timeout=10) as world:
        await world.run_job(seconds=1000, on_stop="ignore")
        assert (await world.offer("promised"))["available"]
        world.worker.drain("asked")
        await trio.sleep(5)
        drain = world.worker.snapshot().drain
        assert drain is not None
        assert (drain.stage, drain.reason) == ("draining", "asked")
        assert round(drain.jobs_may_run_seconds) == 95
        assert drain.at_most_seconds > 95 + 10 + LEAVING_SECONDS
        assert drain.waiting_for == ("1 job to end", "1 promised job to come")
        assert world.worker.snapshot().reasons_not_ready == ("draining: asked",)
        await trio.sleep(96)
        drain = world.worker.snapshot().drain
        assert drain is not None
        assert (drain.stage, drain.jobs_may_run_seconds) == ("stopping", 0.0)
        assert 0 < drain.at_most_seconds < 10 + 3 * 3 + 10 + LEAVING_SECONDS
        [job] = world.worker.snapshot().jobs
        assert (job.state, job.stopping_because) == ("stopping", "worker is shutting down")
        before = world.worker.snapshot().drain
        world.worker.drain("again")  # changes nothing
        assert world.worker.snapshot().drain == before


async def test_a_blocked_job_is_seen_from_the_moment_it_was_asked(
    world: World, autojump_clock: MockClock
) -> None:
    blocked_id = await world.run_job(seconds=100, deaf=[0, 50])
    well_id = await world.run_job(seconds=100)
    await trio.sleep(20)
    view = world.worker.snapshot()
    assert view.blocked.keys() == {blocked_id}
    assert 5 <= view.now - view.blocked[blocked_id] <= 20
    assert len(view.to_be_seen_to) == 1
    await trio.sleep(50)
    view = world.worker.snapshot()
    assert (view.blocked, view.to_be_seen_to) == ({}, ())
    assert {job.job_id for job in view.jobs} == {blocked_id, well_id}
