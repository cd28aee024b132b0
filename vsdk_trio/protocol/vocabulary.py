"""Our facts in the words of the wire, and back: the one table of status words.

Two vocabularies: `deployed` is what the published client sends, so what the hosted registry is
known to receive; `documented` is that of the reference's enums. Knows nothing of messages.
"""

from __future__ import annotations

import enum
from typing import Final, Literal, TypeAlias, assert_never

import attrs

VocabularyName: TypeAlias = Literal["deployed", "documented"]


class WorkerFact(enum.Enum):
    """The state of a worker, before it is put into a word of the wire."""

    IDLE = enum.auto()
    BUSY = enum.auto()
    FULL = enum.auto()
    DRAINING = enum.auto()
    OFFLINE = enum.auto()
    ERROR = enum.auto()


class JobFact(enum.Enum):
    """The state of an assigned job; NOT_BEGUN was stopped before its entrypoint began."""

    RUNNING = enum.auto()
    COMPLETED = enum.auto()
    FAILED = enum.auto()
    CANCELLED = enum.auto()
    NOT_BEGUN = enum.auto()


@attrs.frozen(kw_only=True)
class Vocabulary:
    """One way to put our facts into words."""

    name: VocabularyName
    _worker_words: dict[WorkerFact, str] = attrs.field(alias="worker_words", repr=False)
    _job_words: dict[JobFact, str] = attrs.field(alias="job_words", repr=False)

    def worker_word(self, fact: WorkerFact) -> str:
        """Return the `status` of a `status_update` that says `fact`."""
        return self._worker_words[fact]

    def job_word(self, fact: JobFact) -> str:
        """Return the `status` of a `job_update` that says `fact`.

        In `deployed`, CANCELLED differs from COMPLETED only by an `error` that says why, so an
        update of a cancelled job always carries one. NOT_BEGUN is `failed` there: `completed` would
        say that a call took place, and the caller has had no agent. `documented` has a word for a
        job that ended on request, and NOT_BEGUN is one of those.
        """
        return self._job_words[fact]


_DEPLOYED: Final = Vocabulary(
    name="deployed",
    worker_words={
        WorkerFact.IDLE: "available",
        WorkerFact.BUSY: "available",
        WorkerFact.FULL: "available",
        WorkerFact.DRAINING: "draining",
        WorkerFact.OFFLINE: "offline",
        WorkerFact.ERROR: "offline",  # has no word of its own; this one takes no jobs either
    },
    job_words={
        JobFact.RUNNING: "running",
        JobFact.COMPLETED: "completed",
        JobFact.FAILED: "failed",
        JobFact.CANCELLED: "completed",
        JobFact.NOT_BEGUN: "failed",
    },
)
_DOCUMENTED: Final = Vocabulary(
    name="documented",
    worker_words={
        WorkerFact.IDLE: "idle",
        WorkerFact.BUSY: "busy",
        WorkerFact.FULL: "busy",
        WorkerFact.DRAINING: "busy",
        WorkerFact.OFFLINE: "offline",
        WorkerFact.ERROR: "error",
    },
    job_words={
        JobFact.RUNNING: "running",
        JobFact.COMPLETED: "completed",
        JobFact.FAILED: "failed",
        JobFact.CANCELLED: "cancelled",
        JobFact.NOT_BEGUN: "cancelled",
    },
)


def vocabulary(name: VocabularyName) -> Vocabulary:
    """Return the vocabulary `name`."""
    match name:
        case "deployed":
            return _DEPLOYED
        case "documented":
            return _DOCUMENTED
        case _:
            assert_never(name)


def read_job_status(status: str, error: str | None) -> JobFact | None:
    """Return what a worker's `job_update` says, in either vocabulary; None for an unknown word."""
    match status:
        case "running":
            return JobFact.RUNNING
        case "completed":
            return JobFact.CANCELLED if error else JobFact.COMPLETED
        case "failed":
            return JobFact.FAILED
        case "cancelled":
            return JobFact.CANCELLED
        case _:
            return None
