"""What the worker tells the registry: facts in, messages of the protocol out.

The one place where facts become words, by the vocabulary that the options name. It does not decide
anything, and posting never blocks: the connection's outbox takes it from here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from .._masking import cut
from ..jobs.admission import Admission
from ..jobs.lifecycle import Update
from ..protocol.messages import AvailabilityResponse, JobUpdate, WorkerMessage
from ..protocol.vocabulary import Vocabulary, WorkerFact
from ..system.stopping import Stage
from .load import Load
from .shutdown import Shutdown

# What a registry needs of a text is its beginning; an oversize message would break every
# session that it is sent on.
MAX_TEXT_CHARACTERS = 2000


class Reporter:
    """Builds messages; the caller posts them.

    Arguments: `worker_id`, asked anew for each message, because the registry may change it;
    `trouble`, why no job can be run at the moment: the worker looks full then, and fully loaded.
    """

    def __init__(
        self,
        *,
        agent_id: str,
        worker_id: Callable[[], str],
        vocabulary: Vocabulary,
        admission: Admission,
        load: Load,
        shutdown: Shutdown,
        trouble: Callable[[], str | None],
    ) -> None:
        self._agent_id = agent_id
        self._worker_id = worker_id
        self._vocabulary = vocabulary
        self._admission = admission
        self._load = load
        self._shutdown = shutdown
        self._trouble = trouble

    def fact(self) -> WorkerFact:
        """What the worker is doing, as a fact."""
        if self._shutdown.stage is not Stage.SERVING:
            return WorkerFact.DRAINING
        if self._admission.is_full or self._trouble() is not None:
            return WorkerFact.FULL
        return WorkerFact.BUSY if self._admission.running else WorkerFact.IDLE

    def status(self) -> WorkerMessage:
        """The worker's present status."""
        return WorkerMessage(
            type="status_update",
            worker_id=self._worker_id(),
            agent_name=self._agent_id,
            status=self._vocabulary.worker_word(self.fact()),
            load=1.0 if self._trouble() is not None else round(self._load.to_report(), 4),
            job_count=self._admission.running,
        )

    def update(self, job_id: str, update: Update) -> JobUpdate:
        """What is new about one job."""
        message = JobUpdate(
            job_id=job_id,
            status=self._vocabulary.job_word(update.fact),
            error=presentable(update.error),
        )
        if (participant := update.participant) is not None:
            message.participant_identity = presentable(participant.identity)
            message.participant_name = presentable(participant.name)
        return message

    def yes(self, job_id: str, token: str) -> AvailabilityResponse:
        """The worker takes the job, and this is the token it will join with."""
        return AvailabilityResponse(job_id=job_id, available=True, token=token)

    def no(self, job_id: str, reason: str) -> AvailabilityResponse:
        """The worker does not take the job."""
        return AvailabilityResponse(job_id=job_id, available=False, error=presentable(reason))

    def announcement(
        self, jobs: Iterable[tuple[str, Update | None]]
    ) -> list[WorkerMessage | JobUpdate]:
        """What a new session is told first: the worker's status, and which jobs run."""
        running = [self.update(job_id, update) for job_id, update in jobs if update is not None]
        return [self.status(), *running]


def presentable(text: str | None) -> str | None:
    """The text as a message, and a file, may carry it: Unicode, without secrets, and then cut."""
    if text is None:
        return None
    return cut(text.encode("utf-8", "backslashreplace").decode(), MAX_TEXT_CHARACTERS)
