"""The jobs that a worker has: from the claim of a slot to the end of the job's process.

Knows who is there and that each has one supervising task; not how a job is run (that is passed in)
and not what is said about it on the wire.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator, Mapping
from typing import Any

import attrs
import trio

from .._service import Notifier
from ..jobs.lifecycle import EndCause, JobLifecycle, StopCause, Update
from ..journal.journal import Journal, Ticket
from ..journal.records import REMEMBERED_JOBS, Accepted
from ..protocol.messages import JobAssignment
from ..telemetry.events import Observe, unobserved
from .job_progress import JobProgress


def _nothing_to_stop(reason: str) -> None:
    """The job has had no process yet."""


@attrs.define(eq=False, kw_only=True)
class LiveJob:
    """One job of this worker, and the way to ask it to stop."""

    job_id: str
    assignment: JobAssignment
    lifecycle: JobLifecycle
    progress: JobProgress
    """To be told when the lifecycle may have moved."""
    accepted: Ticket
    """Settled once it is written down that the worker has the job: the job waits for it."""
    log_fields: Mapping[str, str]
    """What every record about the job carries."""
    accepted_at: float
    """When the job was assigned, on Trio's clock."""
    stop_requested: trio.Event = attrs.field(factory=trio.Event)
    stop_process: Callable[[str], None] = attrs.field(default=_nothing_to_stop, repr=False)
    """Asks the process that has the job, or whoever gets it one; who is gone does not mind."""
    has_joined: bool = False
    """Whether it is, or was, in its room."""
    told: Update | None = None
    """The newest update that the registry is told. The lifecycle may be ahead of it, by the time
    that it takes to write an end down."""
    end_told: trio.Event = attrs.field(factory=trio.Event)

    @property
    def announcement(self) -> Update | None:
        """What a new session is told of the job: that it runs, if it does and was told so."""
        return None if self.end_told.is_set() else self.told

    def note_told(self, update: Update) -> None:
        """The registry is being told this."""
        self.told = update
        if update.is_terminal:
            self.end_told.set()

    def stop(self, cause: StopCause) -> bool:
        """Ask the job to stop; its supervisor does it. False when that changes nothing."""
        if not self.lifecycle.stop(cause):
            return False
        self.progress.follow()
        self.stop_requested.set()
        self.stop_process(cause.reason)
        return True


class LiveJobs:
    """Every live job by its id, each supervised in a task of its own.

    Arguments: `supervise(job)`, which may begin with the job at once, without raising, and returns
    what that task awaits; `agent_id`, for the log; `change`, notified whenever a job comes or goes;
    `journal`, where a job is noted as accepted; `ended`, jobs that ended before this worker began,
    oldest first; `on_bug`, called with what a supervisor raises; `observe`, told of every move.
    """

    def __init__(
        self,
        supervise: Callable[[LiveJob], Coroutine[Any, Any, None]],
        *,
        agent_id: str,
        change: Notifier,
        journal: Journal,
        ended: Mapping[str, Update],
        on_bug: Callable[[Exception], None],
        observe: Observe = unobserved,
    ) -> None:
        self._observe = observe
        self._supervise = supervise
        self._agent_id = agent_id
        self._on_bug = on_bug
        self._bugs: list[Exception] = []
        self._change = change
        self._journal = journal
        self._live: dict[str, LiveJob] = {}
        self._ended = dict(ended)
        # Until `run` has begun, jobs wait for it; from then on each begins at once.
        self._early: list[LiveJob] = []
        self._begin: Callable[[LiveJob], None] = self._early.append

    def __len__(self) -> int:
        return len(self._live)

    def __iter__(self) -> Iterator[LiveJob]:
        return iter(tuple(self._live.values()))

    def get(self, job_id: str) -> LiveJob | None:
        """The live job of that id, if there is one."""
        return self._live.get(job_id)

    def last_word(self, job_id: str) -> Update | None:
        """How the job ended that had this id, as far as that is remembered."""
        return self._ended.get(job_id)

    def remember(self, job_id: str, end: Update) -> None:
        """This is how the job ended, and so it will be told whenever the job is assigned again."""
        self._ended[job_id] = end
        if len(self._ended) > REMEMBERED_JOBS:
            del self._ended[next(iter(self._ended))]

    def log_fields(self, job_id: str, room_id: str) -> dict[str, str]:
        """What every record about such a job carries, here or not."""
        return {"job_id": job_id, "room_id": room_id, "agent_id": self._agent_id}

    def accept(self, assignment: JobAssignment, log_fields: Mapping[str, str]) -> None:
        """Make the job live and hand it to a supervisor; its slot has been claimed before."""
        job_id, now = assignment.job_id, trio.current_time()
        lifecycle = JobLifecycle(wait=assignment.wait)
        job = LiveJob(
            job_id=job_id,
            assignment=assignment,
            lifecycle=lifecycle,
            progress=JobProgress(
                lifecycle,
                job_id=job_id,
                room_id=assignment.room_id,
                accepted_at=now,
                observe=self._observe,
            ),
            accepted=self._journal.write(Accepted(job_id)),
            log_fields=log_fields,
            accepted_at=now,
        )
        self._live[job_id] = job
        self._begin(job)
        job.progress.follow()
        self._change.notify()

    async def wait_until_none(self) -> None:
        """Wait until no job is live."""
        while self._live:
            await self._change.wait()

    async def run(self, stopping: trio.Event, *, task_status: trio.TaskStatus[None]) -> None:
        """Service body: supervise what is accepted; at `stopping`, stop all of it and wait.

        A supervisor raises only for a bug of ours. The other jobs are no part of it: they end in
        order before it comes out, at `stopping`, which `on_bug` is to bring about.
        """
        async with trio.open_nursery() as nursery:

            def begin(job: LiveJob) -> None:
                nursery.start_soon(self._supervise_to_the_end, job, self._supervise(job))

            self._begin = begin
            for job in self._early:
                begin(job)
            self._early.clear()
            task_status.started()
            try:
                await stopping.wait()
            finally:
                self._begin = _too_late
            for job in self:
                job.stop(StopCause("worker is shutting down", cause=EndCause.WORKER_STOPS))
        if self._bugs:
            raise ExceptionGroup("supervising a job failed", self._bugs)

    async def _supervise_to_the_end(
        self, job: LiveJob, supervision: Coroutine[Any, Any, None]
    ) -> None:
        try:
            await supervision
        except Exception as bug:  # raised again by `run`, once every job has ended
            self._bugs.append(bug)
            self._on_bug(bug)
        finally:
            del self._live[job.job_id]
            if (end := job.told) is not None and end.is_terminal:
                self.remember(job.job_id, end)
            self._change.notify()


def _too_late(job: LiveJob) -> None:
    raise RuntimeError(f"job {job.job_id} was accepted after the end: admission is to be closed")
