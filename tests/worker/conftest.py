"""A worker in a simulated world: a scripted registry, job processes in memory, a mock clock."""

from __future__ import annotations

import itertools
import random
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import attrs
import pytest
import trio
from trio.testing import MockClock

from vsdk_trio.options.worker import Options
from vsdk_trio.telemetry.events import Observation
from vsdk_trio.testing.fake_registry import FakeRegistry, FakeSession, open_fake_registry
from vsdk_trio.testing.processes import MemorySpawner, ScriptedRunner
from vsdk_trio.worker.environment import WorkerEnvironment
from vsdk_trio.worker.worker import Worker, WorkerHandle, WorkerReport

_T = TypeVar("_T")


async def entrypoint(ctx: object) -> None:
    """Never runs: simulated processes do what their script says."""


@attrs.define
class World:
    """A running worker and what is around it."""

    registry: FakeRegistry
    session: FakeSession
    worker: WorkerHandle
    runner: ScriptedRunner
    spawner: MemorySpawner
    reports: list[WorkerReport]
    ended: trio.Event
    observed: list[Observation] = attrs.field(factory=list)
    """What was observed since the worker has registered."""
    _numbers: Any = attrs.field(factory=lambda: itertools.count(1))

    def seen(self, kind: type[_T]) -> list[_T]:
        """The observations of one kind, in their order."""
        return [each for each in self.observed if isinstance(each, kind)]

    async def offer(self, job_id: str) -> dict[str, Any]:
        """Offer a job and return the worker's answer."""
        await self.session.send(
            {"type": "availability_request", "job_id": job_id, "room_id": "room"}
        )
        return await self.session.expect("availability_response", job_id=job_id)

    async def assign(
        self, job_id: str, *, fields: dict[str, Any] | None = None, **script: Any
    ) -> None:
        """Assign a job whose process follows the script."""
        await self.session.send(
            {
                "type": "job_assignment",
                "job_id": job_id,
                "room_id": "room",
                "token": "job-token",
                "metadata": script,
                **(fields or {}),
            }
        )

    async def run_job(self, **script: Any) -> str:
        """Offer and assign a job, and wait until it runs; returns its id."""
        job_id = f"job-{next(self._numbers)}"
        answer = await self.offer(job_id)
        assert answer["available"], answer
        await self.assign(job_id, **script)
        await self.session.expect("job_update", job_id=job_id, status="running")
        return job_id

    async def end_of(self, job_id: str) -> dict[str, Any]:
        """Wait for the terminal update of a job, or find it among what has come."""
        while True:
            for session in self.registry.sessions:
                for update in session.of_type("job_update"):
                    if update["job_id"] == job_id and update["status"] != "running":
                        return update
            await trio.sleep(0.01)

    def updates(self, job_id: str) -> list[tuple[str, str | None]]:
        """Every update of a job that the registry has seen, in all sessions: (status, error)."""
        return [
            (frame["status"], frame.get("error"))
            for session in self.registry.sessions
            for frame in session.of_type("job_update")
            if frame["job_id"] == job_id
        ]


@asynccontextmanager
async def open_world(**options: Any) -> AsyncGenerator[World]:
    """Run a worker until the body ends; then it is cancelled, and everything must be gone."""
    settings: dict[str, Any] = {
        "agent_id": "agent",
        "auth_token": "worker-token",
        "register": True,
        "backend_url": "ws://registry.test",
        "max_processes": 2,
        **options,
    }
    runner = settings.pop("runner", None) or ScriptedRunner()
    spawner = MemorySpawner(runner)
    reports: list[WorkerReport] = []
    ended = trio.Event()
    async with open_fake_registry() as registry:
        environment = WorkerEnvironment(
            dialer=registry.dialer, spawner=spawner, rng=random.Random(1), is_real=False
        )
        worker = Worker(Options(**settings), entrypoint=entrypoint, environment=environment)

        async def run(*, task_status: trio.TaskStatus[WorkerHandle]) -> None:
            try:
                reports.append(await worker.run(task_status=task_status))
            finally:
                ended.set()

        async with trio.open_nursery() as nursery:
            handle: WorkerHandle = await nursery.start(run)
            session = await registry.next_session()
            world = World(registry, session, handle, runner, spawner, reports, ended)
            handle.observers.add(world.observed.append)
            yield world
            nursery.cancel_scope.cancel()
    assert not handle.observers.dropped
    assert spawner.alive == 0


@pytest.fixture
async def world(autojump_clock: MockClock) -> AsyncGenerator[World]:
    """A worker with two slots and default options."""
    async with open_world() as world:
        yield world
