"""The registry: serves workers over any link, dispatches jobs, follows them to their end.

Knows trio; nothing of HTTP, sockets or the wall clock. Time is `trio.current_time()`,
ids come from the `random.Random` it is given, so that it runs as well on a mock clock with memory
links. Every frame is decided on synchronously: the dispatcher returns actions, and carrying one out
is putting a frame into a worker's queue or waking a waiting task.
"""

from __future__ import annotations

import hmac
import random
import uuid
from collections import deque
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final, assert_never

import attrs
import trio

from .._masking import cut, hide
from .._service import ResettableDeadline, open_service
from ..jobs.short_ids import find_ids, name_candidates
from ..telemetry.events import Observers
from ..telemetry.events import registry as seen
from ..telemetry.logs.loggers import get_logger
from ..telemetry.metrics.tallies import Reading
from . import wire
from .actions import (
    Action,
    AmbiguousJobError,
    Assign,
    DispatchError,
    DispatchFailure,
    Ended,
    Offer,
    Settled,
    Terminate,
    UnknownJobError,
)
from .dispatcher import Dispatcher
from .ledger import DispatchRequest, Job, Ledger, LedgerState, RecordedUpdate
from .metrics import RegistryTallies, ended, read_registry, settled
from .placement import Policy
from .roster import RegisteredWorker, Roster
from .switchboard import (
    GOING_AWAY,
    MAX_TEXT,
    POLICY_VIOLATION,
    Switchboard,
    WorkerLink,
    WorkerSession,
)

_log = get_logger("vsdk_trio.registry")

_CLOSE_SECONDS: Final = 5.0


@attrs.define(eq=False)
class _PendingResult:
    """A task waits for a job; `outcome` is there once `event` is set."""

    event: trio.Event = attrs.field(factory=trio.Event)
    outcome: Settled | Ended | None = None

    def wake(self, outcome: Settled | Ended) -> None:
        self.outcome = outcome
        self.event.set()


class Registry:
    """See the module. Build it with `open_registry_core`, or with `open_registry` to serve HTTP.

    Args:
        policy: The rules of the dispatcher.
        auth_token: The token that workers and callers must present; None accepts all of them.
        rng: The source of ids; None for that of the system.
        registration_timeout: Time for a worker's `register`, in seconds.
        max_links: How many workers are served at once.
        history: How many ended jobs are kept.
        room_options: The defaults for the room options of each dispatch.
    """

    def __init__(
        self,
        *,
        policy: Policy | None = None,
        auth_token: str | None = None,
        rng: random.Random | None = None,
        registration_timeout: float = 10.0,
        max_links: int = 1_000,
        history: int = 1_000,
        room_options: Mapping[str, Any] | None = None,
    ) -> None:
        self._room_options = dict(room_options or {})
        self.observers: Observers[seen.RegistryObservation] = Observers()
        """Called with everything that an operator counts; see `telemetry.events`."""
        self._tallies = RegistryTallies()
        self.observers.add(self._tallies)
        hide(auth_token)
        self._auth_token = auth_token
        self._rng = rng if rng is not None else random.SystemRandom()
        self._registration_timeout = registration_timeout
        self._max_links = max_links
        self._ledger = Ledger(max_ended=history, max_updates=10 * history)
        self._roster = Roster()
        self._dispatcher = Dispatcher(policy or Policy(), self._ledger, self._roster)
        self._switchboard = Switchboard(
            self._dispatcher,
            self._roster,
            is_authorized=self.is_authorized,
            new_id=self._new_uuid,
            observe=self.observers,
        )
        self._links: dict[WorkerSession, None] = {}
        self._dispatches: dict[str, _PendingResult] = {}
        self._end_watchers: dict[str, list[_PendingResult]] = {}
        self._closing = False
        self._due = ResettableDeadline()
        self._link_gone = trio.Event()

    # -- for callers -----------------------------------------------------------------------------

    def is_authorized(self, token: str | None) -> bool:
        """Whether this token, with or without `Bearer `, grants access. In constant time."""
        if self._auth_token is None:
            return True
        presented = (token or "").removeprefix("Bearer ")
        return hmac.compare_digest(presented.encode(), self._auth_token.encode())

    async def dispatch(self, request: DispatchRequest) -> Job:
        """Bring a job to a worker; return it as assigned.

        Raises `DispatchError` where no worker takes it, `WireError` where its payload does not fit
        into a frame. A cancelled dispatch withdraws the job unless it is assigned already.
        """
        if self._room_options:
            options = {**self._room_options, **(request.room_options or {})}
            request = attrs.evolve(request, room_options=options)
        job_id = self._new_uuid()
        wire.assignment(job_id, request)
        if self._closing:
            self.observers(settled(DispatchFailure.CLOSING, None, trio.current_time()))
            raise DispatchError(DispatchFailure.CLOSING)
        waiter = self._dispatches[job_id] = _PendingResult()
        try:
            self._perform(self._decide(job_id, request))
            await waiter.event.wait()
        finally:
            del self._dispatches[job_id]
            self._withdraw(job_id, "dispatch withdrawn", DispatchFailure.TERMINATED)
        assert isinstance(waiter.outcome, Settled)  # that is what woke us
        if waiter.outcome.failure is not None:
            raise DispatchError(waiter.outcome.failure, waiter.outcome.job)
        return waiter.outcome.job

    def terminate(self, job_id: str, reason: str = "terminated on request") -> Job:
        """Ask for the end of a job and return its present record; see `Dispatcher.terminate`.

        Raises `UnknownJobError`, `WireError` where the reason is no text.
        """
        reason = cut(reason, MAX_TEXT)
        wire.termination(job_id, reason)  # raises before anything has changed
        self._perform(self._dispatcher.terminate(job_id, reason, trio.current_time()))
        return self.job(job_id)

    async def wait_ended(self, job_id: str) -> Job:
        """Return the job once it has ended. Raises `UnknownJobError`."""
        job = self.job(job_id)
        if job.state.ended:
            await trio.lowlevel.checkpoint()
            return job
        waiter = _PendingResult()
        watchers = self._end_watchers.setdefault(job_id, [])
        watchers.append(waiter)
        try:
            await waiter.event.wait()
        finally:
            watchers.remove(waiter)
            if not watchers:
                self._end_watchers.pop(job_id, None)
        assert isinstance(waiter.outcome, Ended)  # that is what woke us
        return waiter.outcome.job

    def create_room(self) -> str:
        """Return the id of a new room; there is nothing behind it but the name."""
        letters = "".join(self._rng.choices("abcdefghijklmnopqrstuvwxyz0123456789", k=12))
        return f"{letters[:4]}-{letters[4:8]}-{letters[8:]}"

    def job(self, job_id: str) -> Job:
        """The present record of the job. Raises `UnknownJobError`."""
        job = self._ledger.get(job_id)
        if job is None:
            raise UnknownJobError(f"no job {job_id!r}")
        return job

    def find_job(self, typed: str) -> Job:
        """The job of that id, or the only one whose id begins so: pages and commands shorten ids.

        Raises `UnknownJobError`; `AmbiguousJobError`, which names them, where there are several.
        """
        if (exact := self._ledger.get(typed)) is not None:
            return exact
        match find_ids(typed, (job.job_id for job in self._ledger.jobs())):
            case [job_id]:
                return self.job(job_id)
            case []:
                return self.job(typed)
            case several:
                raise AmbiguousJobError(name_candidates(typed, several))

    def jobs(self) -> tuple[Job, ...]:
        """Every job known, oldest first."""
        return self._ledger.jobs()

    def updates(self, job_id: str | None = None) -> tuple[RecordedUpdate, ...]:
        """Every `job_update` seen, oldest first; of one job where `job_id` is given."""
        return self._ledger.updates(job_id)

    def workers(self) -> tuple[RegisteredWorker, ...]:
        """Every worker that has a link, or jobs that wait for it."""
        return self._roster.all()

    def measure(self) -> tuple[Reading, ...]:
        """What `/metrics` shows, but for the figures of the process itself."""
        return (*read_registry(self.workers(), self.jobs()), *self._tallies.read())

    # -- for the program that runs it ------------------------------------------------------------

    async def run(
        self,
        stopping: trio.Event,
        *,
        task_status: trio.TaskStatus[Registry] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Keep time until `stopping`; then close every session with 1001 and see it gone."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._keep_time)
            task_status.started(self)
            await stopping.wait()
            self._closing = True
            for job_id in tuple(self._dispatches):
                self._withdraw(job_id, "registry closing", DispatchFailure.CLOSING)
            for session in tuple(self._links):
                session.close(GOING_AWAY, "registry closing")
            while self._links:
                self._link_gone = trio.Event()
                await self._link_gone.wait()
            nursery.cancel_scope.cancel()

    async def serve_worker(self, link: WorkerLink) -> None:
        """Serve one worker until either side closes the link; returns then.

        Cancelling it counts as the loss of the link.
        """
        session = WorkerSession(link)
        self._links[session] = None
        if self._closing:
            session.close(GOING_AWAY, "registry closing")
        elif len(self._links) > self._max_links:
            session.close(POLICY_VIOLATION, "too many workers")
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._time_registration, session)
                await session.run(
                    lambda frame: self._perform(self._switchboard.handle(session, frame))
                )
                nursery.cancel_scope.cancel()
        finally:
            del self._links[session]
            self._link_gone.set()
            self._perform(self._switchboard.session_ended(session))

    # -- inside ----------------------------------------------------------------------------------

    async def _keep_time(self) -> None:
        while True:
            await self._due.wait()
            self._perform(self._dispatcher.tick(trio.current_time()))

    async def _time_registration(self, session: WorkerSession) -> None:
        await trio.sleep(self._registration_timeout)
        if not session.worker_id:
            session.close(POLICY_VIOLATION, "no register in time")

    def _decide(self, job_id: str, request: DispatchRequest) -> list[Action]:
        now = trio.current_time()
        try:
            return self._dispatcher.dispatch(job_id, request, now)
        except DispatchError as error:
            self.observers(settled(error.failure, None, now))
            raise

    def _withdraw(self, job_id: str, reason: str, failure: DispatchFailure) -> None:
        """End a job that no worker has taken yet; leave any other alone."""
        job = self._ledger.get(job_id)
        if job is not None and job.state in (LedgerState.PENDING, LedgerState.OFFERED):
            now = trio.current_time()
            self._perform(self._dispatcher.terminate(job_id, reason, now, failure=failure))

    def _perform(self, actions: Iterable[Action]) -> None:
        """Carry out what was decided. Never waits, and never fails because of a worker."""
        decided = deque(actions)
        while decided:
            match action := decided.popleft():
                case Offer() | Assign() | Terminate():
                    decided += self._switchboard.send(action)
                case Settled(job, failure):
                    self.observers(settled(failure, job, trio.current_time()))
                    if (waiter := self._dispatches.get(job.job_id)) is not None:
                        waiter.wake(action)
                case Ended(job):
                    self.observers(ended(job, trio.current_time()))
                    _log.info("job ended", extra={"job_id": job.job_id, "state": job.state.value})
                    for watcher in self._end_watchers.get(job.job_id, ()):
                        watcher.wake(action)
                case _:
                    assert_never(action)
        # Every frame comes by here, and hardly any brings a deadline nearer.
        if (deadline := self._dispatcher.next_deadline()) is not None:
            self._due.expire_at(deadline)

    def _new_uuid(self) -> str:
        return str(uuid.UUID(int=self._rng.getrandbits(128), version=4))


@asynccontextmanager
async def open_registry_core(registry: Registry) -> AsyncGenerator[Registry]:
    """Run a registry around the body; at the end its sessions are closed with 1001.

    `serve_worker` is to be called in a nursery that outlives this context.
    """
    async with open_service(registry.run, grace=_CLOSE_SECONDS):
        yield registry
