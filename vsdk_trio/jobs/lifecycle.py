"""How one job goes from its assignment to its end: the only producer of job updates.

Pure: events in, at most one `Update` out. It does not know how a job is run, what a status is
called on the wire, or that there is a wire. An event that has no place in the present state raises
`IllegalTransitionError` and changes nothing.
"""

from __future__ import annotations

from enum import StrEnum, auto

import attrs

from ..errors import IllegalTransitionError
from ..protocol.vocabulary import JobFact


class JobState(StrEnum):
    """Where a job is; JOINING is one that waits for its room; the last three are ends.

    As a text, the word that operators read: `str(JobState.RUNNING)` is `"running"`.
    """

    ASSIGNED = auto()
    STARTING = auto()
    JOINING = auto()
    RUNNING = auto()
    STOPPING = auto()
    COMPLETED = auto()
    FAILED = auto()
    CANCELLED = auto()

    @property
    def is_end(self) -> bool:
        return self in _ENDS


_ENDS = frozenset({JobState.COMPLETED, JobState.FAILED, JobState.CANCELLED})
_STATE_OF = {
    JobFact.RUNNING: JobState.RUNNING,
    JobFact.COMPLETED: JobState.COMPLETED,
    JobFact.FAILED: JobState.FAILED,
    JobFact.CANCELLED: JobState.CANCELLED,
    JobFact.NOT_BEGUN: JobState.CANCELLED,
}


class EndCause(StrEnum):
    """What made a job end; the words of counters and logs."""

    RETURNED = "returned"
    RAISED = "raised"
    TERMINATED = "terminated"
    WORKER_STOPS = "worker stops"
    TIME_LIMIT = "time limit"
    MEMORY_LIMIT = "memory limit"
    STOPPED = "stopped"  # by something that has no word of its own here
    NO_PROCESS = "no process"
    BAD_ASSIGNMENT = "bad assignment"
    PROCESS_DIED = "process died"
    PROCESS_KILLED = "process killed"  # by us: it did not stop when asked
    WORKER_FAILED = "worker failed"


@attrs.frozen
class StopCause:
    """Why a job is made to stop; `is_fault` when the job itself is to blame (time, memory).

    `cause` is the reason's class, to count by.
    """

    reason: str
    is_fault: bool = False
    cause: EndCause = EndCause.STOPPED


@attrs.frozen
class AgentParticipant:
    """Who the job is in its room."""

    identity: str
    name: str


@attrs.frozen
class Update:
    """A message for the registry about the job."""

    fact: JobFact
    error: str | None = None
    participant: AgentParticipant | None = None

    @property
    def is_terminal(self) -> bool:
        return self.fact is not JobFact.RUNNING

    @property
    def state(self) -> JobState:
        """Where the job is by this; its text is the word for logs, metrics and traces."""
        return _STATE_OF[self.fact]


_CAUSE_OF = {JobFact.COMPLETED: EndCause.RETURNED, JobFact.FAILED: EndCause.RAISED}


class JobLifecycle:
    """One job's state; `wait` holds `running` back until the room is joined."""

    def __init__(self, *, wait: bool = False) -> None:
        self._wait = wait
        self.state = JobState.ASSIGNED
        """Where the job is; only events move it."""
        self._has_begun = False
        self._stop_cause: StopCause | None = None
        self._end_cause: EndCause | None = None

    def __repr__(self) -> str:
        return f"<JobLifecycle {self.state}>"

    @property
    def stop_cause(self) -> StopCause | None:
        """Why the job was asked to stop; None if it was not."""
        return self._stop_cause

    @property
    def end_cause(self) -> EndCause | None:
        """What made the job stop or end; None before."""
        if self._end_cause is None and self._stop_cause is not None:
            return self._stop_cause.cause
        return self._end_cause

    def start(self) -> None:
        """A process was found and gets the job."""
        self._require("start", JobState.ASSIGNED)
        self.state = JobState.STARTING

    def lose(self) -> None:
        """The process is gone before the entrypoint has begun; another one may get the job."""
        self._require("lose its process", JobState.STARTING)
        self.state = JobState.ASSIGNED

    def enter(self) -> Update | None:
        """The entrypoint has begun; RUNNING, unless the job waits for its room."""
        self._require("enter", JobState.STARTING, JobState.STOPPING)
        self._has_begun = True
        if self.state is JobState.STOPPING:
            return None
        if self._wait:
            self.state = JobState.JOINING
            return None
        return self._run(None)

    def join(self, participant: AgentParticipant) -> Update | None:
        """The room is joined; RUNNING, if the job waited for that."""
        self._require("join", JobState.JOINING, JobState.RUNNING, JobState.STOPPING)
        if self.state is not JobState.JOINING:
            return None
        return self._run(participant)

    def stop(self, cause: StopCause) -> bool:
        """The job is asked to stop. Return whether that changes its state."""
        if self.state.is_end or self.state is JobState.STOPPING:
            return False
        self._stop_cause = cause
        self.state = JobState.STOPPING
        return True

    def finish(self, fact: JobFact, error: str | None = None) -> Update:
        """The job process has reported how the job ended.

        A job that was cancelled for a fault of its own has failed with that fault.
        """
        self._require(
            "finish", JobState.STARTING, JobState.JOINING, JobState.RUNNING, JobState.STOPPING
        )
        if fact is JobFact.CANCELLED:
            # Without a cause its process was signalled, and not by the worker.
            return self._end_as_asked(self._stop_cause or StopCause(error or "stopped"))
        if fact not in _CAUSE_OF:
            raise IllegalTransitionError(f"a job cannot finish as {fact.name.lower()}")
        return self._end(fact, error, _CAUSE_OF[fact])

    def abandon(self) -> Update:
        """The job was stopped before a process had it.

        Legal only while it is stopping: what ends without being asked to, ends by `exit`.
        """
        self._require("abandon", JobState.STOPPING)
        cause = self._stop_cause
        assert cause is not None  # STOPPING is entered with a cause only
        return self._end_as_asked(cause)

    def exit(self, how: str, cause: EndCause = EndCause.PROCESS_DIED) -> Update | None:
        """The job's process is gone; this ends every state. None if the job had ended before.

        A job whose process has not reported its end has failed.

        Args:
            how: How the process ended, for a person.
            cause: The class of this end.
        """
        if self.state.is_end:
            return None
        if self._stop_cause is not None:
            how = f"{self._stop_cause.reason}; {how}"
        return self._end(JobFact.FAILED, how, cause)

    def _run(self, participant: AgentParticipant | None) -> Update:
        self.state = JobState.RUNNING
        return Update(JobFact.RUNNING, participant=participant)

    def _end_as_asked(self, cause: StopCause) -> Update:
        if cause.is_fault:
            return self._end(JobFact.FAILED, cause.reason, cause.cause)
        if self._has_begun:
            return self._end(JobFact.CANCELLED, cause.reason, cause.cause)
        text = f"{cause.reason}; the job had not begun"
        return self._end(JobFact.NOT_BEGUN, text, cause.cause)

    def _end(self, fact: JobFact, error: str | None, cause: EndCause) -> Update:
        self.state = _STATE_OF[fact]
        self._end_cause = cause
        return Update(fact, error)

    def _require(self, event: str, *allowed: JobState) -> None:
        if self.state not in allowed:
            raise IllegalTransitionError(f"a job that is {self.state} cannot {event}")
