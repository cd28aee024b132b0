"""Observations of what a worker lives on: processes, the registry, the journal; and of its end.

Values only; see the package for what they may hold.
"""

from __future__ import annotations

import attrs

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
    """It had no job, and nobody had asked it to stop."""


# The registry


@attrs.frozen(kw_only=True)
class SessionOpened:
    """The worker is registered."""

    epoch: int
    worker_id: str


@attrs.frozen(kw_only=True)
class SessionEnded:
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
    """The registry is being told how the worker is: on every change, and now and then."""

    load: float


@attrs.frozen(kw_only=True)
class ShutdownAdvanced:
    """The worker is about to end: `stage` is draining, stopping or hurrying."""

    stage: str
    reason: str
