"""Observations of jobs: offers, assignments, every move, the stages of a dispatch.

Values only; see the package for what they may hold.
"""

from __future__ import annotations

from enum import StrEnum

import attrs


class Stage(StrEnum):
    """The stages of one dispatch, in their order."""

    OFFER_TO_ANSWER = "offer_to_answer"
    """The registry's offer has come, until its answer is queued; `request_fnc` is in it."""
    ASSIGNMENT_TO_PROCESS = "assignment_to_process"
    """The job is accepted, until a ready process is there for it."""
    PROCESS_TO_ENTRYPOINT = "process_to_entrypoint"
    """The process is given the job, until it says that its entrypoint begins."""
    ENTRYPOINT_TO_RUNNING = "entrypoint_to_running"
    """Until the job counts as running: at once, or with `wait` once its room is joined."""
    END_TO_PROVEN = "end_to_proven"
    """The job has ended, until the registry is known to know."""


# Offers and assignments


@attrs.frozen(kw_only=True)
class OfferAnswered:
    """An offer was answered: with a yes where `refusal` is None."""

    job_id: str
    room_id: str
    refusal: str | None = None
    """The class of the reason for a no, a `RefusalCause`."""
    reason: str | None = None
    """The reason in words, as the registry is told it."""


@attrs.frozen(kw_only=True)
class PromiseExpired:
    """No assignment came for a promised job: its slot is free again."""

    job_id: str


@attrs.frozen(kw_only=True)
class AssignmentRefused:
    """An assignment was answered with `failed`: there is no slot for it."""

    job_id: str
    refusal: str
    reason: str


@attrs.frozen(kw_only=True)
class AssignmentRepeated:
    """A job was assigned again that runs, or has ended, here: its status is told again."""

    job_id: str


@attrs.frozen(kw_only=True)
class TerminationReceived:
    """The registry wants a job to stop; `is_here` says whether there is one to stop."""

    job_id: str
    is_here: bool


# Jobs


@attrs.frozen(kw_only=True)
class JobMoved:
    """A job has come into `state`, a `JobState`."""

    job_id: str
    room_id: str
    previous: str | None
    """The state before; None for a job that has just been accepted."""
    state: str
    seconds: float
    """How long it was in `previous`."""
    age_seconds: float
    """How long ago it was accepted."""
    cause: str | None = None
    """Why it stops or has ended, an `EndCause`; None in other states."""


@attrs.frozen(kw_only=True)
class StageTook:
    """One stage of a job's dispatch is done."""

    job_id: str
    stage: Stage
    seconds: float


@attrs.frozen(kw_only=True)
class JobTold:
    """The registry is being told of a job: `running` or its end, error masked."""

    job_id: str
    status: str
    error: str | None


@attrs.frozen(kw_only=True)
class JobRecovered:
    """A job of an earlier life of this worker; `is_interrupted` where it was still running."""

    job_id: str
    is_interrupted: bool


@attrs.frozen(kw_only=True)
class JobAnswered:
    """A job process answered a ping: what it says of its memory and its event loop."""

    job_id: str
    memory_mb: float | None
    lag_seconds: float


@attrs.frozen(kw_only=True)
class MemoryWarned:
    """A job uses more memory than `memory_warn_mb`."""

    job_id: str
    memory_mb: float


@attrs.frozen(kw_only=True)
class LoopBlocked:
    """A job does not answer pings: something blocks its event loop."""

    job_id: str


@attrs.frozen(kw_only=True)
class LoopFreed:
    """A job answers again, after about `seconds`."""

    job_id: str
    seconds: float
