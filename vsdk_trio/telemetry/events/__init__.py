"""What happens in a worker that whoever operates it counts, as values; and who is told of it.

A leaf: knows nothing of metrics, pages or traces, nor of who emits. I/O code is handed an `Observe`
and calls it with one of the values below, in the moment it happens; pure machines return what
happened and emit nothing. A call never waits. Times are lengths in seconds; who wants to know when
it was asks trio's clock.

Words for a class (`cause`, `refusal`, `state`, `how`, `kind`) come from small closed sets and are
fit for labels. Ids and texts (`error`, `reason`, `detail`) are not; tokens are in none of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from .jobs import (
    AssignmentRefused,
    AssignmentRepeated,
    JobAnswered,
    JobMoved,
    JobRecovered,
    JobTold,
    LoopBlocked,
    LoopFreed,
    MemoryWarned,
    OfferAnswered,
    PromiseExpired,
    Stage,
    StageTook,
    TerminationReceived,
)
from .worker import (
    AttemptFailed,
    FrameIgnored,
    FrameReceived,
    JournalGivenUp,
    JournalWrote,
    LinkAnswered,
    MessageProven,
    MessageQueued,
    ProcessEnded,
    ProcessFailed,
    ProcessGiven,
    ProcessReady,
    ProcessStarted,
    SessionEnded,
    SessionOpened,
    ShutdownAdvanced,
    StatusReported,
)

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
    | SessionOpened
    | SessionEnded
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
    """Nobody is told: what parts do by default."""


__all__ = [
    "AssignmentRefused",
    "AssignmentRepeated",
    "AttemptFailed",
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
    "SessionEnded",
    "SessionOpened",
    "ShutdownAdvanced",
    "Stage",
    "StageTook",
    "StatusReported",
    "TerminationReceived",
    "unobserved",
]
