"""A job that a worker has: what the engine keeps of it, and what may be shown and sent of it.

Pure, like the engine that owns it.
"""

from __future__ import annotations

import attrs

from .._masking import cut
from ..jobs.lifecycle import EndCause, JobLifecycle, JobState, StopCause, Update
from ..protocol.messages import JobAssignment, JobUpdate
from ..protocol.vocabulary import Vocabulary
from ..telemetry import events as seen
from .actions import Action, Emit, Log, LogLevel

# A registry needs the beginning of a text; an oversize message would break every session that it
# is sent on.
MAX_TEXT_CHARACTERS = 2000


def presentable(text: str | None) -> str | None:
    """The text as a message, and a file, may carry it: Unicode, without secrets, and then cut."""
    if text is None:
        return None
    return cut(text.encode("utf-8", "backslashreplace").decode(), MAX_TEXT_CHARACTERS)


def job_update(vocabulary: Vocabulary, job_id: str, update: Update) -> JobUpdate:
    """The message about a job, in the words of the registry."""
    message = JobUpdate(
        job_id=job_id,
        status=vocabulary.job_word(update.fact),
        error=presentable(update.error),
    )
    if (participant := update.participant) is not None:
        message.participant_identity = presentable(participant.identity)
        message.participant_name = presentable(participant.name)
    return message


def stage_took(job_id: str, stage: seen.DispatchStage, seconds: float) -> Emit:
    """The observation that a stage of a dispatch is done."""
    return Emit(seen.StageTook(job_id=job_id, stage=stage, seconds=seconds))


@attrs.frozen(kw_only=True)
class JobSnapshot:
    """A live job, for pages; times on the engine's clock."""

    job_id: str
    room_id: str
    url: str
    state: str
    accepted_at: float
    stopping_because: str | None


@attrs.define(eq=False, kw_only=True)
class LiveJob:
    """A job from its assignment until its end is sent and its process is gone."""

    assignment: JobAssignment
    lifecycle: JobLifecycle
    accepted_at: float
    is_started: bool = False
    """Between `StartJob` and `RunEnded`."""
    starts: int = 0
    has_joined: bool = False
    end: Update | None = None
    """The end, as it is written down and then sent."""
    sent: Update | None = None
    """The newest update that was sent. The lifecycle is ahead of it while an end is written."""
    _emitted: JobState | None = None
    _entered_state_at: float = attrs.field(init=False)
    _began_stage_at: float = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._entered_state_at = self._began_stage_at = self.accepted_at

    @property
    def job_id(self) -> str:
        return self.assignment.job_id

    @property
    def is_end_sent(self) -> bool:
        return self.sent is not None and self.sent.is_terminal

    def log(self, level: LogLevel, text: str) -> Log:
        """A line about the job."""
        return Log(level, text, self.job_id, self.assignment.room_id)

    def snapshot(self) -> JobSnapshot:
        """What pages show of the job."""
        cause = self.lifecycle.stop_cause
        return JobSnapshot(
            job_id=self.job_id,
            room_id=self.assignment.room_id,
            url=self.assignment.url,
            state=str(self.lifecycle.state),
            accepted_at=self.accepted_at,
            stopping_because=None if cause is None else cause.reason,
        )

    def moves(self, now: float) -> list[Action]:
        """Emit the states that the job has come into since the last call."""
        actions: list[Action] = []
        state = self.lifecycle.state
        if self._emitted is None:
            actions.append(self._moved(JobState.ASSIGNED, self.accepted_at))
        if state is not self._emitted:
            actions.append(self._moved(state, now))
            if state is JobState.STARTING:
                actions.append(self.stage(seen.DispatchStage.ASSIGNMENT_TO_PROCESS, now))
            elif state is JobState.RUNNING:
                actions.append(self.stage(seen.DispatchStage.ENTRYPOINT_TO_RUNNING, now))
        return actions

    def stage(self, stage: seen.DispatchStage, now: float) -> Emit:
        """Emit that a stage of the dispatch is done; the next one begins."""
        seconds, self._began_stage_at = now - self._began_stage_at, now
        return stage_took(self.job_id, stage, seconds)

    def _moved(self, state: JobState, now: float) -> Emit:
        previous, cause = self._emitted, self.lifecycle.end_cause
        seconds, self._entered_state_at = now - self._entered_state_at, now
        self._emitted = state
        return Emit(
            seen.JobMoved(
                job_id=self.job_id,
                room_id=self.assignment.room_id,
                previous=None if previous is None else str(previous),
                state=str(state),
                seconds=seconds,
                age_seconds=now - self.accepted_at,
                cause=None if cause is None or state is JobState.ASSIGNED else str(cause),
            )
        )


@attrs.frozen(eq=False)
class TimeLimit:
    """A time limit of one start of a job; `is_for_joining` ends as the room is joined."""

    job: LiveJob
    start: int
    text: str
    is_for_joining: bool = False

    @property
    def applies(self) -> bool:
        """Whether the start is not over, and the room not joined."""
        job = self.job
        if not job.is_started or job.starts != self.start or job.lifecycle.state.is_end:
            return False
        return not (self.is_for_joining and job.has_joined)

    @property
    def cause(self) -> StopCause:
        return StopCause(self.text, is_fault=True, cause=EndCause.TIME_LIMIT)
