"""The workers of a world: started, watched, told to end, killed and started again as planned."""

from __future__ import annotations

import errno
import random
from functools import partial
from typing import TYPE_CHECKING, Any

import trio

from vsdk_trio.errors import VsdkTrioError
from vsdk_trio.jobs.admission import Admission
from vsdk_trio.options.room import RoomOptions
from vsdk_trio.options.worker import JobRequest as Offer
from vsdk_trio.options.worker import Options
from vsdk_trio.testing.disk import MemoryDisk
from vsdk_trio.testing.network import Connection, SimulatedDialer
from vsdk_trio.testing.processes import MemoryProcessTable, MemorySpawner, kill_tasks
from vsdk_trio.worker.driver import WorkerDriver
from vsdk_trio.worker.environment import WorkerEnvironment
from vsdk_trio.worker.worker import Worker, WorkerHandle

from .jobs import PlannedJobs
from .logs import TOKEN, speaker
from .schedule import WorkerPlan
from .trace import ProcessRecord, WorkerRecord
from .truth import settled_seconds

if TYPE_CHECKING:
    from .world import World

AGENT = "agent"


async def entrypoint(ctx: object) -> None:
    """Never runs: simulated processes have the program of `PlannedJobs`."""


class Life:
    """One worker from its start to its end; killed, it is started again."""

    def __init__(self, world: World, number: int, plan: WorkerPlan) -> None:
        self.world = world
        self.number = number
        self.plan = plan
        self.name = f"worker {number}"
        self.record = WorkerRecord(number=number, options=plan.options)
        world.trace.workers.append(self.record)
        delays = random.Random(world.rng.getrandbits(64))
        self.disk = MemoryDisk(delay=lambda: plan.disk_delay * delays.random())
        self.table = MemoryProcessTable()
        self.failures = [
            OSError(errno.EAGAIN, "no more processes") for _ in range(plan.spawn_failures)
        ]
        self.delays = list(plan.start_delays)
        self.body = Body(self)

    async def run(self) -> None:
        """Start the worker, end it as planned, write down how that went."""
        await trio.sleep_until(self.plan.starts_at)
        record = self.record
        record.started_at = trio.current_time()
        while (restart_after := await self.body.live()) is not None:
            await trio.sleep(restart_after)
            self.world.trace.note(self.name, "starts again")
            self.body = Body(self)
        record.ended_at = trio.current_time()
        record.alive_at_end = sum(spawner.alive for spawner in self.table.spawners)
        journal = self.disk.file("state", AGENT).contents
        record.owed_by_journal = {e.job_id for e in journal.jobs if not e.is_acknowledged}
        self.world.trace.note(self.name, f"ended: {record.error or 'in order'}")

    @property
    def dialer(self) -> SimulatedDialer:
        """The present one's."""
        return self.body.dialer

    @property
    def jobs(self) -> PlannedJobs:
        """The present one's."""
        return self.body.jobs

    def kill(self, restart_after: float) -> None:
        """SIGKILL for the worker; not without a journal, which is all that could outlive it.

        Nor where it has given its journal up: then it has said that jobs will not survive a crash.
        """
        given_up = bool(self.disk.file("state", AGENT).aside)
        if self.plan.has_journal and self.body.is_living and not given_up:
            self.body.die(restart_after)


class Body:
    """One worker process, from its first line to its exit or its death."""

    def __init__(self, life: Life) -> None:
        self.life = life
        self.world = world = life.world
        self.plan = life.plan
        self.number = life.number
        self.record = life.record
        self.name = life.name
        self.jobs = PlannedJobs(world.trace, world.agenda, life.number, life.plan, world.job_plan)
        first_pid = 1000 * (life.number + 1) + 100 * len(life.table.spawners)
        self.spawner = MemorySpawner(self.jobs, first_pid=first_pid, home=world.nursery)
        self.spawner.on_start = self.jobs.watch
        self.spawner.delays, self.spawner.failures = life.delays, life.failures
        life.table.spawners.append(self.spawner)
        self.dialer = SimulatedDialer(
            self._serve, world.nursery, world.agenda, world.rng, world.forecast
        )
        self.is_living = False
        self.is_dead = False
        self._is_registered = False
        self._restart_after: float | None = None
        self._death = trio.Event()

    async def live(self) -> float | None:
        """Be the worker to its end; where it was killed, how long until it is started again."""
        self.is_living = True
        unwinding = trio.CancelScope()
        with trio.CancelScope() as scope:
            self.world.nursery.start_soon(self._unwind, scope, unwinding)
            try:
                async with trio.open_nursery() as nursery:
                    speaker.set(self)
                    nursery.start_soon(self._conduct, self._worker(), nursery, scope)
            except* VsdkTrioError as group:
                self._raised(group)
            except* Exception as group:
                self._raised(group)
                if not self.is_dead:
                    self.world.trace.violation(f"{self.name} ended with a bug: {_leaf(group)!r}")
        unwinding.cancel()
        self.is_living = False
        return self._restart_after

    def _raised(self, group: BaseException) -> None:
        if not self.is_dead:
            self.record.error = _leaf(group)

    async def _unwind(self, scope: trio.CancelScope, unwinding: trio.CancelScope) -> None:
        with unwinding:
            await self._death.wait()
            await kill_tasks(scope)

    def die(self, restart_after: float) -> None:
        """From one moment to the next. What the kernel does then happens as well."""
        world = self.world
        world.trace.fault("kill_worker", f"{self.number}")
        self.is_dead = True
        self.record.killed_at.append(trio.current_time())
        kept = {entry.job_id for entry in self.life.disk.file("state", AGENT).contents.jobs}
        # What was accepted and not yet written down was not announced to anybody either.
        self.record.accepted = [job_id for job_id in self.record.accepted if job_id in kept]
        self.life.disk.crash()
        self.dialer.is_up = False
        for connection in self.dialer.connections:
            world.rng.choice((connection.reset, connection.finish))()
        orphans = self.jobs.orphan_all()
        grace = trio.current_time() + self.plan.options["close_timeout"]
        world.agenda.at(grace, partial(_guard, orphans))
        self._restart_after = restart_after
        self._death.set()

    def _worker(self) -> Worker:
        return Worker(
            Options(
                agent_id=AGENT,
                auth_token=TOKEN,
                register=True,
                backend_url="ws://registry.test",
                request_fnc=self._request_fnc(),
                **self.plan.options,
            ),
            entrypoint=entrypoint,
            room_options=RoomOptions(transport_mode="loopback", agent_participant_id="agent"),
            environment=WorkerEnvironment(
                dialer=self.dialer,
                spawner=self.spawner,
                disk=self.life.disk,
                process_table=self.life.table,
                rng=random.Random(self.world.rng.getrandbits(64)),
                is_real=False,
            ),
        )

    async def _conduct(
        self, worker: Worker, nursery: trio.Nursery, scope: trio.CancelScope
    ) -> None:
        ended = trio.Event()

        async def serve(*, task_status: trio.TaskStatus[WorkerHandle]) -> None:
            try:
                await worker.run(task_status=task_status)
            finally:
                ended.set()
                ending.cancel()

        ending = trio.CancelScope()
        async with trio.open_nursery() as serving:
            serving.start_soon(partial(self._end_before_registered, scope))
            handle: WorkerHandle = await serving.start(serve)
            self._is_registered = True
            self._watch_slots(handle._driver.engine.admission)
            with ending:
                await self._end(handle, scope)
                await ended.wait()
            serving.cancel_scope.cancel()

    async def _end_before_registered(self, scope: trio.CancelScope) -> None:
        await trio.sleep_until(self.world.schedule.ends_at)
        if not self._is_registered:
            self._ask("cancel")
            scope.cancel()

    async def _end(self, handle: WorkerHandle, scope: trio.CancelScope) -> None:
        plan, schedule = self.plan, self.world.schedule
        await trio.sleep_until(schedule.ends_at if plan.ends_at is None else plan.ends_at)
        if trio.current_time() >= schedule.heals_at + settled_seconds(schedule):
            await self._look_for_leaks(handle._driver)
        self._act(plan.ends_by, handle, scope)
        if plan.then is not None:
            seconds, what = plan.then
            await trio.sleep(seconds)
            self._act(what, handle, scope)

    async def _look_for_leaks(self, driver: WorkerDriver) -> None:
        """The world is in order again: so must the worker be.

        A leak is what stays: a job that has just said its last word is still being written down.
        """
        for _ in range(10):
            if not (leaks := self._leaks(driver)):
                return
            await trio.sleep(0.5)
        for leak in leaks:
            self.world.trace.violation(f"{self.name}: {leak}")

    def _leaks(self, driver: WorkerDriver) -> list[str]:
        found = {
            "slots in use": (driver.engine.admission.running, self.jobs.running),
            "live jobs": (driver.engine.job_count, self.jobs.running),
            "slots promised": (driver.engine.admission.reserved, 0),
            "updates not proven": (
                driver.connection.unacknowledged * self._has_had_time_to_prove(),
                0,
            ),
            "sessions": (driver.connection.is_connected, True),
        }
        return [
            f"{what}: {n}, should be {right}" for what, (n, right) in found.items() if n != right
        ]

    def _has_had_time_to_prove(self) -> bool:
        """Whether nothing was said of jobs lately: where pings go unanswered, proofs are slow."""
        latest = trio.current_time() - 3 * self.plan.options["heartbeat_interval"]
        return not any(
            time > latest
            for session in self.world.trace.sessions
            if session.worker == self.number
            for time, _ in session.received_of("job_update")
        )

    def _act(self, what: str, handle: WorkerHandle, scope: trio.CancelScope) -> None:
        self._ask(what)
        if what == "cancel":
            scope.cancel()
        else:
            getattr(handle, what)()

    def _ask(self, what: str) -> None:
        self.record.asked_to_end.append((trio.current_time(), what))
        self.world.trace.note(self.name, f"is told to {what}")

    async def _serve(self, connection: Connection) -> None:
        world = self.world
        if world.registries.has_luck(world.schedule.network.cut_share):
            pipe = world.rng.choice((connection.up, connection.down))
            how = world.rng.choice(("reset", "finish", "black_hole"))
            size = int(2 ** (world.rng.random() * 13))
            pipe.trip_at(size, partial(self._cut, connection, how, size))
        await world.registries.serve(self.number, connection)

    def _cut(self, connection: Connection, how: str, size: int) -> None:
        if self.world.is_healed:
            return
        self.world.trace.fault(how, f"for worker {self.number} after byte {size}")
        getattr(connection, how)()

    def _watch_slots(self, admission: Admission) -> None:
        """Look at the promise about slots each time that one is taken."""
        for name in ("offer", "claim"):
            setattr(admission, name, partial(self._checked, admission, getattr(admission, name)))

    def _checked(self, admission: Admission, method: Any, *args: Any, **kwargs: Any) -> Any:
        answer = method(*args, **kwargs)
        if admission.reserved + admission.running > admission.max_processes:
            self.world.trace.violation(f"{self.name} has given away too many slots: {admission}")
        return answer

    def _request_fnc(self) -> Any:
        kind = self.plan.request
        if kind is None:
            return None

        async def request_fnc(offer: Offer) -> bool | str:
            if kind == "late":
                await trio.sleep(self.world.rng.choice((0.1, 100.0)))
            elif kind == "slow":
                await trio.sleep(self.world.rng.random() * 3)
            if kind == "raises" and self.world.rng.random() < 0.5:
                raise ValueError("the plan says so")
            return "the plan says no" if kind == "no" and self.world.rng.random() < 0.5 else True

        return request_fnc


def _guard(orphans: list[ProcessRecord]) -> None:
    """What the guardian of a dead worker does once its grace is over."""
    for record in orphans:
        record.process.end(-9)


def _leaf(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
