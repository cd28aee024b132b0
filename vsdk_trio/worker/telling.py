"""When the registry may be told what is new about a job, and what is written down for it.

`running` once it is written down that the worker has the job; an end, that of a job which was
refused included, once the end is: else a crash in between would let the next worker tell another
story. Without a journal, all at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import attrs
import trio

from ..jobs.lifecycle import Update
from ..journal.journal import Journal
from ..journal.records import Acknowledged, JobEnd, WorkerIdGiven
from ..protocol.messages import JobUpdate, WireMessage
from ..protocol.vocabulary import JobFact, read_job_status
from ..telemetry.events import DispatchStage, JobTold, Observe, StageTook
from .live_jobs import LiveJob
from .reporter import Reporter, presentable


class Teller:
    """Passes updates on to `post`, by way of the journal.

    Argument: `observe`, told of what is told, and of how long it takes an end to be proven.
    """

    def __init__(
        self,
        *,
        journal: Journal,
        reporter: Reporter,
        post: Callable[[WireMessage], object],
        observe: Observe,
    ) -> None:
        self._observe = observe
        # When the jobs ended whose end is not proven: as many as the outbox owes, and no more.
        self._ended_at: dict[str, float] = {}
        self._journal = journal
        self._reporter = reporter
        self._post = post
        self._worker_id = journal.contents.worker_id
        # Refused jobs whose refusal is not written down yet.
        self._refusing: set[str] = set()

    def tell(self, job: LiveJob, update: Update) -> None:
        """Tell of a live job, as soon as it may be told. Never blocks."""
        told = _presentable(update)

        def post() -> None:
            job.note_told(told)
            message = self._reporter.update(job.job_id, told)
            self._post(message)
            status = str(told.state)
            self._observe(JobTold(job_id=job.job_id, status=status, error=message.error))

        if told.is_terminal:
            self._ended_at[job.job_id] = trio.current_time()
            self._journal.write(JobEnd(job.job_id, told.fact, told.error)).then(post)
        else:
            job.accepted.then(post)

    def refuse(self, job_id: str, end: Update) -> None:
        """Tell that an assigned job will not run. Never blocks.

        Written down as well: a next worker that did not know could run it, and tell another end.
        """
        end = _presentable(end)
        self._refusing.add(job_id)

        def post() -> None:
            self._refusing.discard(job_id)
            self._post(self._reporter.update(job_id, end))

        self._journal.write(JobEnd(job_id, end.fact, end.error)).then(post)

    def repeat(self, job_id: str, update: Update) -> None:
        """Tell again what was told of a job, to a registry that has assigned it again."""
        # A refusal that is still being written answers this one, too, when it is told.
        if job_id not in self._refusing:
            self._post(self._reporter.update(job_id, update))

    def tell_again(self, ends: Mapping[str, Update]) -> None:
        """Tell how jobs ended in an earlier life, which is written down already."""
        for job_id, end in ends.items():
            self._post(self._reporter.update(job_id, end))

    def registered(self, worker_id: str) -> None:
        """The registry has given, or confirmed, this id."""
        if worker_id != self._worker_id:
            self._worker_id = worker_id
            self._journal.write(WorkerIdGiven(worker_id))

    def proven(self, message: WireMessage) -> None:
        """The registry is known to have the message."""
        if isinstance(message, JobUpdate):
            fact = read_job_status(message.status, message.error)
            if fact is not JobFact.RUNNING:
                self._journal.note(Acknowledged(message.job_id))
                self._note_latency(message.job_id)

    def _note_latency(self, job_id: str) -> None:
        ended_at = self._ended_at.pop(job_id, None)  # None: told again, or by an earlier life
        if ended_at is not None:
            seconds = trio.current_time() - ended_at
            self._observe(
                StageTook(job_id=job_id, stage=DispatchStage.END_TO_PROVEN, seconds=seconds)
            )


def _presentable(update: Update) -> Update:
    """As it may be told, and written down."""
    error = presentable(update.error)
    return update if error == update.error else attrs.evolve(update, error=error)
