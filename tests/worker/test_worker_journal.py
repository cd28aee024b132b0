"""A worker with a state directory, and the next one after its death; simulated world.

A crash: its connection, its disk and its processes are gone at one moment. What is left of it in
the test goes on as a ghost that reaches nobody, and is cancelled at the end.
"""

from __future__ import annotations

import logging
import math
import random
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from typing import Any

import attrs
import pytest
import trio
from opentelemetry.context import Context
from opentelemetry.sdk.trace import Span, SpanProcessor, TracerProvider
from trio.testing import MockClock

from vsdk_trio.errors import RegistryUnreachableError, StateDirInUseError
from vsdk_trio.journal.records import JobEntry, RunBegan
from vsdk_trio.options.worker import Options
from vsdk_trio.telemetry.traces import worker_traces
from vsdk_trio.testing.disk import MemoryDisk, MemoryFile
from vsdk_trio.testing.fake_registry import FakeRegistry, FakeSession, open_fake_registry
from vsdk_trio.testing.network import MemoryDialer
from vsdk_trio.testing.processes import MemoryProcessTable, MemorySpawner, ScriptedRunner
from vsdk_trio.worker.environment import WorkerEnvironment
from vsdk_trio.worker.worker import Worker, WorkerHandle

from .conftest import entrypoint

RESTARTED = ("failed", "worker was restarted")


@attrs.define
class Life:
    """One life of the worker."""

    dialer: MemoryDialer
    spawner: MemorySpawner
    runner: ScriptedRunner
    handle: WorkerHandle
    session: FakeSession

    @property
    def warnings(self) -> tuple[str, ...]:
        return self.handle._driver.health().warnings


@attrs.define
class Place:
    """A machine with a disk and a process table, a registry, and workers that come and go."""

    registry: FakeRegistry
    nursery: trio.Nursery
    disk: MemoryDisk
    table: MemoryProcessTable = attrs.field(factory=MemoryProcessTable)
    lives: int = 0

    @property
    def file(self) -> MemoryFile:
        return self.disk.file("state", "agent")

    def worker(self, spawner: MemorySpawner, dialer: MemoryDialer, **options: Any) -> Worker:
        settings: dict[str, Any] = {
            "agent_id": "agent",
            "auth_token": "worker-token",
            "register": True,
            "backend_url": "ws://registry.test",
            "max_processes": 4,
            "state_dir": "state",
            **options,
        }
        self.lives += 1
        environment = WorkerEnvironment(
            dialer=dialer,
            spawner=spawner,
            rng=random.Random(self.lives),
            disk=self.disk,
            process_table=self.table,
            is_real=False,
        )
        return Worker(Options(**settings), entrypoint=entrypoint, environment=environment)

    async def start(self, **options: Any) -> Life:
        """A worker that has registered."""
        runner = options.pop("runner", None) or ScriptedRunner()
        spawner = MemorySpawner(runner)
        dialer = MemoryDialer(self.registry.serve_stream, self.nursery)
        worker = self.worker(spawner, dialer, **options)
        self.table.spawners.append(spawner)

        async def live(*, task_status: trio.TaskStatus[WorkerHandle]) -> None:
            # A ghost finds no registry any more.
            with suppress(RegistryUnreachableError):
                await worker.run(task_status=task_status)

        handle: WorkerHandle = await self.nursery.start(live)
        return Life(dialer, spawner, runner, handle, await self.registry.next_session())

    async def crash(self, life: Life, *, processes_live_on: bool = False) -> None:
        """The worker is gone, from one moment to the next."""
        self.disk.crash()
        life.dialer.is_up = False
        if not processes_live_on:
            for process in life.spawner.processes:
                process.end(-9)
        await life.session.drop()

    async def run_job(self, life: Life, job_id: str, **script: Any) -> None:
        await self.assign(life, job_id, **script)
        await life.session.expect("job_update", job_id=job_id, status="running")

    async def assign(self, life: Life, job_id: str, **script: Any) -> None:
        await life.session.send(
            {
                "type": "job_assignment",
                "job_id": job_id,
                "room_id": "room",
                "token": "job-token",
                "metadata": script,
            }
        )

    def updates(self, job_id: str) -> list[tuple[str, str | None]]:
        return [
            (frame["status"], frame.get("error"))
            for session in self.registry.sessions
            for frame in session.of_type("job_update")
            if frame["job_id"] == job_id
        ]

    def ends(self, job_id: str) -> list[tuple[str, str | None]]:
        return [update for update in self.updates(job_id) if update[0] != "running"]

    async def end_of(self, job_id: str) -> tuple[str, str | None]:
        for _ in range(10_000):
            if ends := self.ends(job_id):
                return ends[0]
            await trio.sleep(0.01)
        raise AssertionError(f"the end of {job_id} was not told: {self.updates(job_id)}")


@asynccontextmanager
async def open_place(disk: MemoryDisk | None = None) -> AsyncGenerator[Place]:
    async with open_fake_registry() as registry, trio.open_nursery() as nursery:
        yield Place(registry, nursery, disk or MemoryDisk(delay=lambda: 0.01))
        nursery.cancel_scope.cancel()


async def test_a_job_is_written_down_before_it_is_told_of(autojump_clock: MockClock) -> None:
    async with open_place(MemoryDisk(delay=lambda: 1.0)) as place:
        life = await place.start()
        await trio.sleep(5)
        began = trio.current_time()
        await place.run_job(life, "a", seconds=10)
        # The process was found meanwhile.
        assert trio.current_time() - began == pytest.approx(2, abs=0.2)
        assert place.file.contents.jobs == (JobEntry("a"),)
        assert await place.end_of("a") == ("completed", None)
        (entry,) = place.file.contents.jobs
        assert entry.end is not None
        # 2 s before it began, and 2 s before its end was told.
        assert trio.current_time() - began == pytest.approx(14, abs=0.5)
        await trio.sleep(5)
        (entry,) = place.file.contents.jobs
        assert entry.is_acknowledged


async def test_the_next_one_is_the_same_worker_and_tells_the_truth(
    autojump_clock: MockClock,
) -> None:
    async with open_place() as place:
        first = await place.start()
        await place.run_job(first, "proven", seconds=1)
        await place.run_job(first, "long", seconds=500)
        await trio.sleep(10)
        place.registry.answer_pings = False
        await place.run_job(first, "unproven", seconds=1)
        assert await place.end_of("unproven") == ("completed", None)
        await place.crash(first)
        place.registry.answer_pings = True
        second = await place.start()
        register = await second.session.expect("register")
        assert register["worker_id"] == "worker-1"
        assert await place.end_of("long") == RESTARTED
        await trio.sleep(10)
        assert place.updates("long") == [("running", None), RESTARTED]
        assert place.ends("unproven") == [("completed", None)] * 2
        assert place.ends("proven") == [("completed", None)]
        assert all(entry.is_acknowledged for entry in place.file.contents.jobs)
        # And the one after that has nothing left to say.
        await place.crash(second)
        third = await place.start()
        await trio.sleep(100)
        assert third.session.of_type("job_update") == []


async def test_what_has_ended_does_not_run_again(autojump_clock: MockClock) -> None:
    async with open_place() as place:
        first = await place.start()
        await place.run_job(first, "done", seconds=1)
        await place.run_job(first, "cut", seconds=500)
        await place.end_of("done")
        await trio.sleep(10)
        await place.crash(first)
        second = await place.start()
        for job_id in ("done", "cut"):
            await place.assign(second, job_id)
        await trio.sleep(10)
        assert place.ends("done") == [("completed", None)] * 2
        assert place.ends("cut") == [RESTARTED] * 2
        assert second.runner.started == []


async def test_what_was_refused_does_not_run_after_all(autojump_clock: MockClock) -> None:
    async with open_place() as place:
        life = await place.start(max_processes=1)
        await place.run_job(life, "job-1")
        await place.assign(life, "job-2")
        refusal = ("failed", "at capacity: 1 running and 0 promised of 1")
        assert await place.end_of("job-2") == refusal
        await place.crash(life)
        life = await place.start(max_processes=1)
        await place.assign(life, "job-2")
        await trio.sleep(30)
        assert set(place.updates("job-2")) == {refusal}


async def test_a_refusal_is_written_down_before_it_is_told(autojump_clock: MockClock) -> None:
    seconds = [0.01]
    async with open_place(MemoryDisk(delay=lambda: seconds[0])) as place:
        life = await place.start(max_processes=1)
        await place.run_job(life, "job-1", seconds=100)
        seconds[0] = 2.0
        for _ in range(2):  # the one answer is for both
            await place.assign(life, "job-2")
        await trio.sleep(1)
        assert place.updates("job-2") == []
        assert place.file.contents.jobs == (JobEntry("job-1"),)
        refusal = await place.end_of("job-2")
        assert refusal == ("failed", "at capacity: 1 running and 0 promised of 1")
        assert place.file.contents.jobs[-1].end is not None
        await trio.sleep(10)
        assert place.updates("job-2") == [refusal]
        await place.assign(life, "job-2")
        await trio.sleep(1)
        assert place.updates("job-2") == [refusal] * 2


async def test_what_is_not_written_down_has_not_begun(autojump_clock: MockClock) -> None:
    async with open_place(MemoryDisk(delay=lambda: 1.0)) as place:
        first = await place.start()
        await trio.sleep(5)
        await place.assign(first, "a", seconds=10)
        await trio.sleep(0.9)
        await place.crash(first)
        assert place.file.contents.jobs == ()
        assert first.runner.started == []
        second = await place.start()
        await place.run_job(second, "a", seconds=10)
        assert await place.end_of("a") == ("completed", None)


async def test_a_job_stopped_before_it_is_written_down(autojump_clock: MockClock) -> None:
    async with open_place(MemoryDisk(delay=lambda: 1.0)) as place:
        life = await place.start()
        await trio.sleep(5)
        await place.assign(life, "a", seconds=10)
        await life.session.send({"type": "job_termination", "job_id": "a", "reason": "enough"})
        assert await place.end_of("a") == ("failed", "terminated: enough; the job had not begun")
        assert life.runner.started == []


async def test_a_crash_before_the_end_is_written_is_told_by_the_next_one_only(
    autojump_clock: MockClock,
) -> None:
    seconds = [0.01]
    async with open_place(MemoryDisk(delay=lambda: seconds[0])) as place:
        first = await place.start()
        await place.run_job(first, "a", seconds=5)
        seconds[0] = 1.0
        await trio.sleep(5.5)  # the job has ended, and is being written down
        assert place.ends("a") == []
        await place.crash(first)
        seconds[0] = 0.01
        await place.start()
        await trio.sleep(10)
        assert place.ends("a") == [RESTARTED]


async def test_a_crash_after_the_end_is_written_is_told_as_it_was(
    autojump_clock: MockClock,
) -> None:
    seconds = [0.01]
    async with open_place(MemoryDisk(delay=lambda: seconds[0])) as place:
        first = await place.start()
        await place.run_job(first, "a", seconds=5, end="failed", error="ValueError: no")
        seconds[0] = 1.0
        await trio.sleep(6.5)  # on the disk, but the worker does not know yet
        assert place.file.contents.jobs[0].end is not None
        assert place.ends("a") == []
        await place.crash(first)
        seconds[0] = 0.01
        await place.start()
        await trio.sleep(10)
        assert place.ends("a") == [("failed", "ValueError: no")]


async def test_all_ends_are_equal_whenever_it_dies(autojump_clock: MockClock) -> None:
    for tenth in range(0, 80, 3):
        async with open_place(MemoryDisk(delay=lambda: 0.3)) as place:
            first = await place.start()
            await place.assign(first, "a", seconds=2)
            await place.assign(first, "b", seconds=4, end="failed", error="no")
            await trio.sleep(tenth / 10)
            await place.crash(first)
            await place.start()
            await trio.sleep(30)
            for job_id in ("a", "b"):
                told = place.updates(job_id)
                assert len(set(place.ends(job_id))) == (1 if told else 0), (tenth, told)


async def test_nothing_of_the_dead_one_is_left_when_it_registers(
    autojump_clock: MockClock,
) -> None:
    async with open_place() as place:
        first = await place.start(num_idle_processes=2)
        await place.run_job(first, "a", seconds=500)
        await trio.sleep(5)
        await place.crash(first, processes_live_on=True)
        assert first.spawner.alive == 3
        began = trio.current_time()
        second = await place.start(close_timeout=20)
        assert first.spawner.alive == 0
        assert place.table.killed == 3
        assert second.session.received[0][0] - began == pytest.approx(20, abs=1)
        (prefix,) = place.file.contents.cookie_prefixes
        assert second.handle._driver.cookie_prefix == prefix


async def test_being_told_to_end_meanwhile(autojump_clock: MockClock) -> None:
    """What was to be done then is done by the next one."""
    async with open_place() as place:
        first = await place.start()
        await place.run_job(first, "a", seconds=500)
        await place.crash(first, processes_live_on=True)
        with trio.move_on_after(5):
            await place.start(close_timeout=60)
        assert len(place.registry.sessions) == 1
        assert len(place.file.contents.cookie_prefixes) == 1
        assert place.file.contents.jobs == (JobEntry("a"),)


async def test_a_second_worker_is_refused_before_it_registers(autojump_clock: MockClock) -> None:
    async with open_place() as place:
        first = await place.start()
        with pytest.raises(StateDirInUseError, match="in use by another worker of 'agent'"):
            await place.worker(first.spawner, first.dialer).run()
        assert len(place.registry.sessions) == 1
        await place.start(agent_id="another")


async def test_an_id_is_kept_also_over_an_orderly_end(autojump_clock: MockClock) -> None:
    async with open_place() as place:
        first = await place.start()
        await place.run_job(first, "a", seconds=1)
        first.handle.drain()
        await first.session.wait_closed()
        await trio.sleep(1)
        # The proof of its last words came with the connection's goodbye.
        assert [entry.is_acknowledged for entry in place.file.contents.jobs] == [True]
        second = await place.start()
        assert second.handle.worker_id == "worker-1"
        assert second.warnings == ()


async def test_outcomes_are_written_and_told_in_an_orderly_end(autojump_clock: MockClock) -> None:
    async with open_place(MemoryDisk(delay=lambda: 0.5)) as place:
        life = await place.start()
        for job_id in ("a", "b"):
            await place.run_job(life, job_id, seconds=500)
        life.handle.stop()
        await life.session.wait_closed()
        assert life.session.received[-1][1]["status"] == "offline"
        for job_id in ("a", "b"):
            assert place.ends(job_id) == [("completed", "worker is shutting down")]


async def test_a_disk_that_fails_costs_no_job(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_place() as place:
        life = await place.start()
        await place.run_job(life, "a", seconds=5)
        place.disk.failure = "database or disk is full"
        await place.run_job(life, "b", seconds=5)
        assert await place.end_of("a") == ("completed", None)
        assert await place.end_of("b") == ("completed", None)
        (warning,) = life.warnings
        assert "database or disk is full" in warning
        errors = [r for r in caplog.records if r.levelno >= logging.ERROR]
        assert [record.getMessage() for record in errors] == [warning]
        assert life.handle._driver.health().problems == ()
        # The next one does not tell another story than was told.
        await place.crash(life)
        place.disk.failure = None
        await place.start()
        await trio.sleep(30)
        assert place.ends("a") == [("completed", None)]


async def test_a_disk_that_hangs_holds_an_end_up_only_so_long(autojump_clock: MockClock) -> None:
    seconds = [0.01]
    async with open_place(MemoryDisk(delay=lambda: seconds[0])) as place:
        life = await place.start()
        await place.run_job(life, "a", seconds=5)
        seconds[0] = math.inf
        began = trio.current_time()
        assert await place.end_of("a") == ("completed", None)
        assert trio.current_time() - began == pytest.approx(5 + 5, abs=0.5)
        await place.run_job(life, "b", seconds=5)
        assert trio.current_time() - began == pytest.approx(10, abs=1)


async def test_without_a_usable_directory_it_works_all_the_same(
    autojump_clock: MockClock,
) -> None:
    async with open_place() as place:
        place.disk.open_failure = "the state directory cannot be used: Not a directory"
        life = await place.start()
        await place.run_job(life, "a", seconds=1)
        assert await place.end_of("a") == ("completed", None)
        assert "Not a directory" in life.warnings[0]


async def test_what_is_known_is_told_though_it_cannot_be_written(
    autojump_clock: MockClock,
) -> None:
    async with open_place() as place:
        first = await place.start()
        await place.run_job(first, "a", seconds=500)
        await place.crash(first)
        place.disk.failure = "disk full"
        second = await place.start()
        assert second.handle.worker_id == "worker-1"
        assert await place.end_of("a") == RESTARTED


async def test_outcomes_owed_from_before_do_not_keep_it_from_giving_up(
    autojump_clock: MockClock,
) -> None:
    async with open_place() as place:
        first = await place.start()
        await place.run_job(first, "a", seconds=500)
        await place.crash(first)
        dead = MemoryDialer(place.registry.serve_stream, place.nursery)
        dead.is_up = False
        with pytest.raises(RegistryUnreachableError):
            await place.worker(MemorySpawner(ScriptedRunner()), dead, max_retry=2).run()
        await place.start()
        assert await place.end_of("a") == RESTARTED


async def test_a_job_assigned_again_while_its_end_is_written(autojump_clock: MockClock) -> None:
    """It is told what it was told before, and then the end."""
    seconds = [0.01]
    async with open_place(MemoryDisk(delay=lambda: seconds[0])) as place:
        life = await place.start()
        await place.run_job(life, "a", seconds=5)
        seconds[0] = 2.0
        await trio.sleep(6)
        await place.assign(life, "a")
        await trio.sleep(10)
        await place.assign(life, "a")
        await trio.sleep(1)
        assert place.updates("a") == [
            ("running", None),
            ("running", None),
            ("completed", None),
            ("completed", None),
        ]
        assert len(life.runner.started) == 1


async def test_a_new_session_is_not_told_of_an_end_that_is_not_written(
    autojump_clock: MockClock,
) -> None:
    seconds = [0.01]
    async with open_place(MemoryDisk(delay=lambda: seconds[0])) as place:
        life = await place.start()
        await place.run_job(life, "a", seconds=5)
        seconds[0] = 2.4
        await trio.sleep(5)
        await life.session.drop()
        session = await place.registry.next_session()
        await session.expect("job_update", status="running")
        assert await place.end_of("a") == ("completed", None)


async def test_no_token_is_written(autojump_clock: MockClock) -> None:
    async with open_place() as place:
        life = await place.start()
        await place.run_job(
            life, "a", seconds=1, end="failed", error="refused: job-token and worker-token"
        )
        error = "refused: *** and ***"
        assert await place.end_of("a") == ("failed", error)
        (entry,) = place.file.contents.jobs
        assert entry.end is not None
        assert entry.end.error == error
        batches = place.file.holder.batches if place.file.holder else []
        assert "token" not in repr(batches)
        assert any(isinstance(record, RunBegan) for batch in batches for record in batch)


class _Raises(SpanProcessor):
    """As an agent's own may: for one job."""

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        if (span.attributes or {}).get("vsdk_trio.job_id") == "bad":
            raise RuntimeError("a span processor that raises")


async def test_a_job_that_cannot_begin_leaves_the_journal_on(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    provider = TracerProvider()
    provider.add_span_processor(_Raises())
    monkeypatch.setattr(worker_traces, "find_provider", lambda agent_id: provider)
    disk = MemoryDisk(delay=lambda: 0.01)
    with pytest.RaisesGroup(
        pytest.RaisesExc(RuntimeError, match="a span processor that raises"),
        flatten_subgroups=True,
    ):
        async with open_place(disk) as place:
            life = await place.start(traces=True)
            await place.run_job(life, "good", seconds=100)
            await place.assign(life, "bad")
            assert await place.end_of("bad") == ("failed", "the worker failed")
            assert (await place.end_of("good"))[0] == "completed"  # it was stopped politely
            await trio.sleep_forever()  # until the worker has ended
    ends = {entry.job_id: entry.end for entry in disk.file("state", "agent").contents.jobs}
    assert ends.keys() == {"good", "bad"}
    assert None not in ends.values()
