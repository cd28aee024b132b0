"""The messages of the registry protocol: the reference's classes, field for field.

Positional and mutable, as the reference has them. Knows nothing of JSON, of which message may
come when, or of how one is delivered; imports nothing but attrs.
"""

from __future__ import annotations

import enum
from typing import Any, Final, TypeAlias

import attrs

# The method `dict` hides the builtin from annotations inside the classes.
JsonObject: TypeAlias = dict[str, Any]

MAX_MESSAGE_BYTES: Final = 1 << 20
"""The largest text frame that either side accepts."""


# Not StrEnum: the reference's enums print as "JobStatus.RUNNING", and so do these.
class WorkerStatus(str, enum.Enum):  # noqa: UP042
    """The reference's words for the state of a worker."""

    IDLE = "idle"
    BUSY = "busy"
    OFFLINE = "offline"
    ERROR = "error"


class JobStatus(str, enum.Enum):  # noqa: UP042
    """The reference's words for the state of a job."""

    PENDING = "pending"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


@attrs.define
class WireMessage:
    """What all messages have in common."""

    def dict(self) -> JsonObject:
        """Return the fields by name, without those that are None; falsy ones stay.

        Shallow: a nested object is the one the message holds, not a copy.
        """
        return {
            field.name: value
            for field in attrs.fields(type(self))
            if (value := getattr(self, field.name)) is not None
        }


@attrs.define
class UpdateWorkerStatus(WireMessage):
    """A worker's state, as the reference's program code passes it around; not on the wire."""

    status: WorkerStatus | str
    load: float | None = None
    job_count: int | None = None
    error: str | None = None


@attrs.define
class UpdateJobStatus(WireMessage):
    """A job's state, as the reference's program code passes it around; not on the wire."""

    job_id: str
    status: JobStatus | str
    error: str | None = None
    participant_identity: str | None = None
    participant_name: str | None = None
    participant_metadata: str | None = None


@attrs.define
class WorkerMessage(WireMessage):
    """From a worker, of the type it names; `register` and `status_update` have no other class."""

    type: str
    worker_id: str | None = None
    agent_name: str | None = None
    namespace: str | None = None
    version: str | None = None
    capabilities: list[str] | None = None
    status: str | None = None
    load: float | None = None
    job_count: int | None = None
    job_id: str | None = None
    available: bool | None = None
    participant_identity: str | None = None
    participant_name: str | None = None
    participant_metadata: str | None = None
    error: str | None = None
    registry_uuid: str | None = None
    max_capacity: int | None = None
    current_load: float | None = None
    token: str | None = attrs.field(default=None, repr=False)
    load_threshold: float | None = None
    max_processes: int | None = None


@attrs.define
class ServerMessage(WireMessage):
    """From the registry, of the type it names; `register` has no other class.

    `payload` is of the published client, not of the reference.
    """

    type: str
    worker_id: str | None = None
    success: bool | None = None
    message: str | None = None
    job_id: str | None = None
    job_type: str | None = None
    room_id: str | None = None
    room_name: str | None = None
    agent_name: str | None = None
    namespace: str | None = None
    token: str | None = attrs.field(default=None, repr=False)
    url: str | None = None
    payload: JsonObject | None = attrs.field(default=None, repr=False)


@attrs.define
class AvailabilityRequest(WireMessage):
    """An offer: the registry asks whether the worker can take a job."""

    type: str = "availability_request"
    job_id: str = ""
    job_type: str = ""
    room_id: str = ""
    room_name: str = ""
    agent_name: str = ""
    namespace: str = ""


@attrs.define
class AvailabilityResponse(WireMessage):
    """The one answer to an offer; `token` is the worker's own, `error` says why not."""

    type: str = "availability_response"
    job_id: str = ""
    available: bool = False
    error: str | None = None
    token: str | None = attrs.field(default=None, repr=False)


@attrs.define
class JobAssignment(WireMessage):
    """The registry gives the worker a job.

    `token` "" means the worker's own. `wait` asks for `running` only once the room is joined, and
    `timeout` bounds the job, in seconds; both are of the published client, not of the reference.
    """

    type: str = "job_assignment"
    job_id: str = ""
    job_type: str = ""
    room_id: str = ""
    room_name: str = ""
    agent_name: str = ""
    namespace: str = ""
    token: str = attrs.field(default="", repr=False)
    url: str = ""
    # Whatever an application puts in there may be a secret: `auth_token` is a room option.
    room_options: JsonObject | None = attrs.field(default=None, repr=False)
    metadata: JsonObject | None = attrs.field(default=None, repr=False)
    wait: bool = False
    timeout: float | None = None


@attrs.define
class JobTermination(WireMessage):
    """The registry wants a job to stop."""

    type: str = "job_termination"
    job_id: str = ""
    reason: str | None = None


@attrs.define
class JobUpdate(WireMessage):
    """The worker says where a job stands; `vocabulary` has the status words."""

    type: str = "job_update"
    job_id: str = ""
    status: str = ""
    error: str | None = None
    participant_identity: str | None = None
    participant_name: str | None = None
    participant_metadata: str | None = None


@attrs.define
class WorkerPing(WireMessage):
    """The worker asks for a sign of life; `timestamp` is in milliseconds."""

    type: str = "ping"
    timestamp: int | None = None


@attrs.define
class WorkerPong(WireMessage):
    """The registry's answer to a ping, with the same `timestamp`."""

    type: str = "pong"
    timestamp: int | None = None
