"""What happens in a worker, as values that operators count, and the fan-out to listeners.

A leaf: it knows no metrics, pages or traces. I/O code gets an `Observe` function and calls it with
one of these values at the moment the event happens. Pure machines return what happened and emit
nothing. A call never waits. Durations are in seconds; a listener that needs the time reads trio's
clock.

The fields `cause`, `refusal`, `state`, `how` and `kind` take values from small closed sets, so they
can be labels of metrics. Ids and texts (`error`, `reason`, `detail`) cannot. No field holds a
token.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from enum import StrEnum
from typing import Any, Generic, TypeAlias, TypeVar

import attrs

from ..logs.loggers import get_logger


class DispatchStage(StrEnum):
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
    """The reason in words, as sent to the registry."""


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
    """A job was assigned again that the worker already has; its status is sent again."""

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
    stage: DispatchStage
    seconds: float


@attrs.frozen(kw_only=True)
class JobTold:
    """A job update is sent to the registry: `running` or an end, its error masked."""

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


# Job processes


@attrs.frozen(kw_only=True)
class ProcessStarted:
    """A job process was started; it is not ready yet."""

    pid: int


@attrs.frozen(kw_only=True)
class ProcessReady:
    """A job process is ready for a job, `seconds` after its start."""

    pid: int
    seconds: float


@attrs.frozen(kw_only=True)
class ProcessFailed:
    """A job process could not be started, or made ready; `cause` is a `StartFailure`."""

    cause: str


@attrs.frozen(kw_only=True)
class ProcessGiven:
    """A job has its process: an idle one where `is_warm`, else it had to wait for it."""

    pid: int
    is_warm: bool


@attrs.frozen(kw_only=True)
class ProcessEnded:
    """A job process is gone; `how` is an `ExitKind`."""

    pid: int
    how: str
    was_idle: bool
    """It ended without a job and without a request to stop."""


# The registry


@attrs.frozen(kw_only=True)
class RegistrySessionOpened:
    """The worker is registered."""

    epoch: int
    worker_id: str


@attrs.frozen(kw_only=True)
class RegistrySessionEnded:
    """A registered session is over; `lost_because` is None where that was our doing."""

    epoch: int
    seconds: float
    lost_because: str | None


@attrs.frozen(kw_only=True)
class AttemptFailed:
    """There is no session: `cause` is lost, refused, unreachable or token. Next try in `delay`."""

    cause: str
    error: str
    delay: float


@attrs.frozen(kw_only=True)
class FrameReceived:
    """The registry sent a frame that means something; `kind` is its type."""

    kind: str


@attrs.frozen(kw_only=True)
class FrameIgnored:
    """The registry sent a frame that means nothing here; `kind` is one of a few words."""

    kind: str


@attrs.frozen(kw_only=True)
class MessageQueued:
    """A message for the registry was put into the outbox, or was too late for its session."""

    kind: str
    is_dropped: bool


@attrs.frozen(kw_only=True)
class MessageProven:
    """The registry is known to have a durable message."""

    kind: str


@attrs.frozen(kw_only=True)
class LinkAnswered:
    """The registry's end of the link answered a WebSocket ping."""

    seconds: float


# The worker itself


@attrs.frozen(kw_only=True)
class JournalWrote:
    """The journal has written a batch of records."""

    records: int
    seconds: float


@attrs.frozen(kw_only=True)
class JournalGivenUp:
    """The journal has failed: the worker goes on without."""

    problem: str


@attrs.frozen(kw_only=True)
class StatusReported:
    """The status of the worker is sent to the registry: on every change, and at intervals."""

    load: float


@attrs.frozen(kw_only=True)
class ShutdownAdvanced:
    """The worker is about to end: `stage` is draining, stopping or hurrying."""

    stage: str
    reason: str


Observation: TypeAlias = (
    OfferAnswered
    | PromiseExpired
    | AssignmentRefused
    | AssignmentRepeated
    | TerminationReceived
    | JobMoved
    | StageTook
    | JobTold
    | JobRecovered
    | JobAnswered
    | MemoryWarned
    | LoopBlocked
    | LoopFreed
    | ProcessStarted
    | ProcessReady
    | ProcessFailed
    | ProcessGiven
    | ProcessEnded
    | RegistrySessionOpened
    | RegistrySessionEnded
    | AttemptFailed
    | FrameReceived
    | FrameIgnored
    | MessageQueued
    | MessageProven
    | LinkAnswered
    | JournalWrote
    | JournalGivenUp
    | ShutdownAdvanced
    | StatusReported
)
Observe: TypeAlias = Callable[[Observation], None]


def unobserved(observation: Observation) -> None:
    """Drop the event: the default where no listener is given."""


__all__ = [
    "AssignmentRefused",
    "AssignmentRepeated",
    "AttemptFailed",
    "DispatchStage",
    "FrameIgnored",
    "FrameReceived",
    "JobAnswered",
    "JobMoved",
    "JobRecovered",
    "JobTold",
    "JournalGivenUp",
    "JournalWrote",
    "LinkAnswered",
    "LoopBlocked",
    "LoopFreed",
    "MemoryWarned",
    "MessageProven",
    "MessageQueued",
    "Observation",
    "Observe",
    "OfferAnswered",
    "ProcessEnded",
    "ProcessFailed",
    "ProcessGiven",
    "ProcessReady",
    "ProcessStarted",
    "PromiseExpired",
    "RegistrySessionEnded",
    "RegistrySessionOpened",
    "ShutdownAdvanced",
    "StageTook",
    "StatusReported",
    "TerminationReceived",
    "unobserved",
]


logger = get_logger(__name__)


_T = TypeVar("_T")

Handlers: TypeAlias = Mapping[type[Any], Callable[[Any], None]]
"""The function to call with each type of event."""


class Listener(Generic[_T]):
    """A listener to some types of events, with one function for each.

    `Observers` calls that at once, and nothing for the other kinds: a job is waiting meanwhile.
    """

    def __init__(self, handlers: Handlers) -> None:
        self.handlers = handlers

    def __call__(self, observation: _T) -> None:
        """Take one observation, if it is of a kind that is listened to."""
        if (handle := self.handlers.get(type(observation))) is not None:
            handle(observation)


_Told: TypeAlias = tuple[tuple[Callable[[_T], None], Callable[[_T], None]], ...]


class Observers(Generic[_T]):
    """Passes each event to all listeners, in the order in which they were added.

    A listener that raises has a bug, and the emitter is in the middle of a job: this is the one
    place where it is caught. It is not called again, since it would raise again or tell half of
    the truth; that is one error in the log, and in `dropped`, so that `/health` can say it.
    """

    def __init__(self) -> None:
        self._listeners: tuple[Callable[[_T], None], ...] = ()
        # For each type of event seen so far: its listeners and their functions.
        self._told: dict[type[Any], _Told[_T]] = {}
        self.dropped: list[str] = []
        """The listeners that failed and receive no more events, in words for a person."""

    def __call__(self, observation: _T) -> None:
        """Tell of it. Never raises for what a listener does."""
        kind = type(observation)
        for listener, handle in self._told.get(kind) or self._who_is_told(kind):
            try:
                handle(observation)
            except Exception as bug:  # see the class
                self.remove(listener)
                name = getattr(listener, "__qualname__", type(listener).__qualname__)
                self.dropped.append(f"{name} failed and receives no more events: {bug!r}")
                logger.error("%s", self.dropped[-1], exc_info=bug)

    def add(self, listener: Callable[[_T], None]) -> None:
        """Pass events to `listener` from now on. It must not block."""
        self._listeners = (*self._listeners, listener)
        self._told.clear()

    def remove(self, listener: Callable[[_T], None]) -> None:
        """From now on it is not. Does nothing for one that is not there."""
        self._listeners = tuple(kept for kept in self._listeners if kept != listener)
        self._told.clear()

    def _who_is_told(self, kind: type[Any]) -> _Told[_T]:
        told: list[tuple[Callable[[_T], None], Callable[[_T], None]]] = []
        for listener in self._listeners:
            if not isinstance(listener, Listener):
                told.append((listener, listener))
            elif (handle := listener.handlers.get(kind)) is not None:
                told.append((listener, handle))
        self._told[kind] = tuple(told)
        return self._told[kind]

    @contextmanager
    def listening(self, listener: Callable[[_T], None]) -> Iterator[None]:
        """Tell `listener` for the length of the block."""
        self.add(listener)
        try:
            yield
        finally:
            self.remove(listener)
