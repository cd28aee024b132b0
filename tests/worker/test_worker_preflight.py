"""Before and after a worker registers: what it does while no job process comes up; simulated."""

from __future__ import annotations

import errno
import random
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import attrs
import pytest
import trio
from trio.testing import MockClock

from vsdk_trio.errors import PreflightError
from vsdk_trio.options.worker import Options
from vsdk_trio.telemetry.events import ProcessFailed
from vsdk_trio.testing.fake_registry import FakeRegistry, open_fake_registry
from vsdk_trio.testing.processes import MemorySpawner, ScriptedRunner
from vsdk_trio.worker.environment import WorkerEnvironment
from vsdk_trio.worker.worker import Worker

from .conftest import World, entrypoint, open_world


@attrs.define
class Unregistered:
    """A worker that is about to start, and what is around it."""

    registry: FakeRegistry
    runner: ScriptedRunner
    spawner: MemorySpawner
    worker: Worker

    async def is_refused(self) -> str:
        with pytest.raises(PreflightError) as caught:
            await self.worker.run()
        assert self.registry.sessions == []
        assert self.spawner.alive == 0
        return str(caught.value)


@asynccontextmanager
async def unregistered(*, idle: int = 1) -> AsyncGenerator[Unregistered]:
    runner = ScriptedRunner()
    spawner = MemorySpawner(runner)
    async with open_fake_registry() as registry:
        environment = WorkerEnvironment(
            dialer=registry.dialer, spawner=spawner, rng=random.Random(1), is_real=False
        )
        options = Options(
            agent_id="agent",
            auth_token="worker-token",
            register=True,
            backend_url="ws://registry.test",
            num_idle_processes=idle,
        )
        worker = Worker(options, entrypoint=entrypoint, environment=environment)
        yield Unregistered(registry, runner, spawner, worker)


@pytest.mark.parametrize("idle", [0, 1, 3])
async def test_what_fails_for_good_ends_it_at_once(autojump_clock: MockClock, idle: int) -> None:
    async with unregistered(idle=idle) as scene:
        scene.runner.init_error = "ImportError: no such module"
        text = await scene.is_refused()
        assert "not registered, because no job could be run" in text
        assert text.endswith("ImportError: no such module")
        assert trio.current_time() < 1


async def test_a_program_that_cannot_be_started_ends_it_at_once(autojump_clock: MockClock) -> None:
    async with unregistered() as scene:
        scene.spawner.failures = [FileNotFoundError(errno.ENOENT, "No such file", "/no/python")]
        assert "No such file" in await scene.is_refused()
        assert trio.current_time() < 1


@pytest.mark.parametrize("idle", [0, 1, 3])
async def test_a_shortage_has_five_minutes(autojump_clock: MockClock, idle: int) -> None:
    async with unregistered(idle=idle) as scene:
        scene.runner.init_error, scene.runner.init_passes = "MemoryError", True
        text = await scene.is_refused()
        assert text.endswith("MemoryError; tried for 300 s")
        assert trio.current_time() == pytest.approx(300, abs=1)
        # It backs off: up to one attempt in 30 s.
        assert 10 < len(scene.spawner.processes) < 20


async def test_a_time_out_is_tried_again(autojump_clock: MockClock) -> None:
    async with unregistered() as scene:
        scene.runner.init_seconds = 999
        text = await scene.is_refused()
        assert text.endswith("was not ready within 10 s; tried for 300 s")
        assert trio.current_time() == pytest.approx(300, abs=15)


async def test_it_registers_when_a_shortage_is_over(autojump_clock: MockClock) -> None:
    async with unregistered(idle=0) as scene:
        scene.spawner.failures = [
            OSError(errno.EAGAIN, "Resource temporarily unavailable") for _ in range(5)
        ]
        async with trio.open_nursery() as nursery:
            await nursery.start(scene.worker.run)
            [session] = scene.registry.sessions
            # 0.5 + 1 + 2 + 4 + 8 s
            assert trio.current_time() == pytest.approx(15.5, abs=1)
            await session.expect("register")
            nursery.cancel_scope.cancel()


async def test_jobs_come_only_after_a_process_has_come_up(autojump_clock: MockClock) -> None:
    async with unregistered() as scene:
        scene.runner.init_seconds = 7
        async with trio.open_nursery() as nursery:
            await nursery.start(scene.worker.run)
            assert trio.current_time() == pytest.approx(7, abs=0.5)
            nursery.cancel_scope.cancel()


@pytest.mark.parametrize("passes", [False, True])
async def test_what_fails_later_stops_offers_until_it_is_better(
    autojump_clock: MockClock, passes: bool
) -> None:
    async with open_world(num_idle_processes=0) as world:
        world.runner.init_error, world.runner.init_passes = "OSError: gone", passes
        for number in range(2 if passes else 1):
            assert (await world.offer(f"lost-{number}"))["available"]
            await world.assign(f"lost-{number}")
            assert (await world.end_of(f"lost-{number}"))["status"] == "failed"
        answer = await world.offer("refused")
        assert not answer["available"]
        assert answer["error"].startswith("no job process comes up: ")
        assert "OSError: gone" in answer["error"]
        await world.session.expect("status_update", load=1.0, job_count=0)
        assert world.worker.snapshot().reasons_not_ready == (answer["error"],)
        await trio.sleep(600)
        # It looks by itself, up to every 30 s, and never ends for it.
        assert 20 < len(world.seen(ProcessFailed)) < 30
        assert not (await world.offer("refused"))["available"]
        world.runner.init_error = None
        await world.session.expect("status_update", load=0.0)
        assert world.worker.snapshot().reasons_not_ready == ()
        await world.run_job()


async def test_running_jobs_and_promises_survive_it(autojump_clock: MockClock) -> None:
    async with open_world(num_idle_processes=0, max_processes=3) as world:
        running = await world.run_job(seconds=100)
        await world.offer("promised")
        world.runner.init_error = "ImportError: no such module"
        await world.assign("lost")
        await world.end_of("lost")
        assert not (await world.offer("refused"))["available"]
        # A promise is kept, if it can be.
        world.runner.init_error = None
        await world.assign("promised")
        assert (await world.end_of("promised"))["status"] == "completed"
        assert (await world.end_of(running))["status"] == "completed"


async def test_a_worker_that_drains_does_not_try(autojump_clock: MockClock, world: World) -> None:
    world.runner.init_error = "ImportError: no such module"
    world.worker.drain()
    await world.ended.wait()
    assert world.reports[0].killed == ()
