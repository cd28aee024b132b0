"""The records of a journal, its contents, and how records make contents.

Pure. `JournalState` is the meaning of a journal; every store must come to the same contents.
No token is stored in any of it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, TypeAlias, assert_never

import attrs

from ..protocol.vocabulary import JobFact

# How many ended jobs are remembered, so that one that is assigned again does not run again.
REMEMBERED_JOBS: Final = 4096


@attrs.frozen
class WorkerIdGiven:
    """The registry knows this worker by this id."""

    worker_id: str


@attrs.frozen
class RunBegan:
    """A life of the worker begins; all its job processes carry cookies with this prefix."""

    cookie_prefix: str


@attrs.frozen
class RunsGone:
    """Of these lives no process is left."""

    cookie_prefixes: tuple[str, ...]


@attrs.frozen
class Accepted:
    """The worker has taken the job."""

    job_id: str


@attrs.frozen
class JobEnd:
    """How the job ended, for the registry, now or by a later worker. The first stands."""

    job_id: str
    fact: JobFact
    error: str | None = None


@attrs.frozen
class Acknowledged:
    """The registry has acknowledged the job's end; from now on it is only remembered."""

    job_id: str


Record: TypeAlias = WorkerIdGiven | RunBegan | RunsGone | Accepted | JobEnd | Acknowledged


@attrs.frozen
class JobEntry:
    """One job; `end` is None while it runs, as far as the journal knows."""

    job_id: str
    end: JobEnd | None = None
    is_acknowledged: bool = False


@attrs.frozen(kw_only=True)
class Contents:
    """All that a journal says. `jobs` are in the order in which they were accepted."""

    worker_id: str = ""
    cookie_prefixes: tuple[str, ...] = ()
    jobs: tuple[JobEntry, ...] = ()


NOTHING: Final = Contents()


class JournalState:
    """The meaning of a sequence of records.

    A job without an acknowledged end is never dropped.

    Args:
        contents: The contents to start from.
        remembered: For how many jobs accepted since an acknowledged end is kept.
    """

    def __init__(self, contents: Contents = NOTHING, *, remembered: int = REMEMBERED_JOBS) -> None:
        self._worker_id = contents.worker_id
        self._prefixes = dict.fromkeys(contents.cookie_prefixes)
        self._number = 0
        self._jobs: dict[str, tuple[int, JobEntry]] = {}
        self._remembered = remembered
        for entry in contents.jobs:
            self._put_last(entry)

    @property
    def contents(self) -> Contents:
        """All that has been recorded, and not dropped since."""
        return Contents(
            worker_id=self._worker_id,
            cookie_prefixes=tuple(self._prefixes),
            jobs=tuple(entry for _, entry in self._jobs.values()),
        )

    def apply(self, batch: Iterable[Record]) -> None:
        """Take in what was recorded since, in its order."""
        for record in batch:
            self._take(record)
        for job_id, (number, entry) in list(self._jobs.items()):
            if entry.is_acknowledged and number <= self._number - self._remembered:
                del self._jobs[job_id]

    def _take(self, record: Record) -> None:
        match record:
            case WorkerIdGiven(worker_id):
                self._worker_id = worker_id
            case RunBegan(prefix):
                self._prefixes[prefix] = None
            case RunsGone(prefixes):
                for prefix in prefixes:
                    self._prefixes.pop(prefix, None)
            case Accepted(job_id):
                self._jobs.pop(job_id, None)
                self._put_last(JobEntry(job_id))
            case JobEnd(job_id):
                self._end(job_id, record)
            case Acknowledged(job_id):
                number, entry = self._jobs.get(job_id, (0, None))
                if entry is not None and entry.end is not None:
                    self._jobs[job_id] = number, attrs.evolve(entry, is_acknowledged=True)
            case _:
                assert_never(record)

    def _end(self, job_id: str, end: JobEnd) -> None:
        number, entry = self._jobs.get(job_id, (0, None))
        if entry is None:
            self._put_last(JobEntry(job_id, end))
        elif entry.end is None:
            self._jobs[job_id] = number, attrs.evolve(entry, end=end)

    def _put_last(self, entry: JobEntry) -> None:
        self._number += 1
        self._jobs[entry.job_id] = self._number, entry
