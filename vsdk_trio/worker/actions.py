"""The values between the engine of a worker and its driver: events in, actions out.

Values only. The protocol's own messages (`JobAssignment`, `JobTermination`), `SessionLost` of the
connection and the frames of a job process are events as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypeAlias

import attrs

from ..backend.events import SessionLost
from ..control.frames import Frame
from ..jobs.admission import Refusal
from ..jobs.lifecycle import EndCause, StopCause, Update
from ..journal.records import Record
from ..protocol.messages import AvailabilityRequest, JobAssignment, JobTermination, WireMessage
from ..telemetry.events import Observation

# -- events ----------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class Conditions:
    """What the driver measures for each decision or message that depends on it."""

    worker_id: str
    """The id that the registry has given the worker."""
    load: float | None
    """What `load_fnc` returns, from 0 to 1; None without one."""
    trouble: str | None
    """Why no job can be run at the moment; None where one can."""


@attrs.frozen
class Offered:
    """The registry asks whether the worker takes a job."""

    request: AvailabilityRequest
    conditions: Conditions


@attrs.frozen
class Decided:
    """The user's `request_fnc` has decided about a job; `refusal` is None for a yes."""

    job_id: str
    refusal: Refusal | None


@attrs.frozen
class SessionOpened:
    """The registry has registered the worker; what comes next belongs to this session."""

    worker_id: str
    token: str = attrs.field(repr=False)


@attrs.frozen
class Delivered:
    """The registry has acknowledged a message."""

    message: WireMessage


@attrs.frozen
class Persisted:
    """The journal has written the record, or never will: it was given up, or there is none."""

    record: Record


@attrs.frozen
class Recovered:
    """The jobs of an earlier life whose ends the registry has not acknowledged."""

    ends: Mapping[str, Update]
    interrupted: frozenset[str]
    """Those that were running as that life ended."""


@attrs.frozen
class ProcessGiven:
    """A process has the job; `join_timeout` is in seconds, None where the job may take its time."""

    job_id: str
    join_timeout: float | None = None


@attrs.frozen
class ProcessSaid:
    """The job's process has sent a frame."""

    job_id: str
    frame: Frame


@attrs.frozen
class RunEnded:
    """What `StartJob` began is over: the process is gone, or there was none.

    `how` and `cause` say how; they are the job's end if the process has not said one.
    """

    job_id: str
    how: str
    cause: EndCause


@attrs.frozen
class FaultFound:
    """Something that watches the job wants it to stop."""

    job_id: str
    cause: StopCause


@attrs.frozen
class TroubleChanged:
    """Job processes come up no longer, or come up again where `trouble` is None."""

    trouble: str | None


@attrs.frozen
class Serving:
    """The worker is complete: promises and the status interval begin to count."""


@attrs.frozen
class DrainAsked:
    """Take nothing new; keep the promises that were made."""

    reason: str


@attrs.frozen
class PromisesRevoked:
    """From now on every offer and every assignment is refused, promised or not."""

    reason: str


@attrs.frozen
class StopAsked:
    """Every job is to stop."""


Event: TypeAlias = (
    Offered
    | Decided
    | JobAssignment
    | JobTermination
    | SessionOpened
    | SessionLost
    | Delivered
    | Persisted
    | Recovered
    | ProcessGiven
    | ProcessSaid
    | RunEnded
    | FaultFound
    | TroubleChanged
    | Serving
    | DrainAsked
    | PromisesRevoked
    | StopAsked
)

# -- actions ---------------------------------------------------------------------------------------


@attrs.frozen
class Send:
    """Put the message into the outbox; with `epoch`, only that session may carry it."""

    message: WireMessage
    epoch: int | None = None


@attrs.frozen
class SendStatus:
    """Measure, and send the worker's status."""


@attrs.frozen
class Persist:
    """Write the record into the journal; `Persisted` comes back. Without a journal, at once."""

    record: Record


@attrs.frozen
class Note:
    """Write the record at the next occasion; nothing waits for it."""

    record: Record


@attrs.frozen
class AskRequestFnc:
    """Call the user's `request_fnc`; `Decided` comes back."""

    request: AvailabilityRequest


@attrs.frozen
class StartJob:
    """Give the job to a process, to an idle one at once; `RunEnded` comes back in any case."""

    assignment: JobAssignment


@attrs.frozen
class StopJob:
    """Ask the job's process to stop, or stop waiting for one."""

    job_id: str
    reason: str


@attrs.frozen
class Emit:
    """Pass the observation to metrics, traces and pages."""

    observation: Observation


LogLevel: TypeAlias = Literal["info", "warning", "error"]


@attrs.frozen
class Log:
    """Write a line into the log; the fields of the job go with it."""

    level: LogLevel
    text: str
    job_id: str | None = None
    room_id: str | None = None


@attrs.frozen
class Changed:
    """Wake those who wait for a change of what `snapshot` shows."""


Action: TypeAlias = (
    Send | SendStatus | Persist | Note | AskRequestFnc | StartJob | StopJob | Emit | Log | Changed
)
