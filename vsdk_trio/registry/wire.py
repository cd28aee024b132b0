"""The registry's messages as text frames.

The one place that knows what the published client 1.0.30 cannot bear: one field more than it knows
in an `availability_request` tears its connection down. Its `register` shows it, which carries no
`version`. Knows no links and no state.
"""

from __future__ import annotations

from typing import Final

from .. import __version__
from ..protocol.codec import encode
from ..protocol.messages import (
    AvailabilityRequest,
    JobAssignment,
    JobTermination,
    ServerMessage,
    WorkerPong,
)
from .ledger import DispatchRequest, Job

_SHORT: Final = frozenset({"type", "job_id", "room_id", "agent_name"})
_NAMESPACE: Final = "default"


def registered(worker_id: str) -> str:
    """The answer to a `register` that is welcome."""
    payload = {"registry": "vsdk_trio", "version": __version__}
    return encode(ServerMessage("register", worker_id, True, payload=payload))


def refused(message: str) -> str:
    """The answer to a `register` that is not; `message` says why."""
    return encode(ServerMessage("register", success=False, message=message))


def offer(job: Job, *, short: bool) -> str:
    """The question whether a worker can take the job; `short` for the published client."""
    request = AvailabilityRequest(
        job_id=job.job_id,
        job_type=job.request.job_type,
        room_id=job.room_id,
        room_name=job.room_id,
        agent_name=job.agent_id,
        namespace=_NAMESPACE,
    )
    return encode(request, only=_SHORT if short else None)


def assignment(job_id: str, request: DispatchRequest) -> str:
    """The job itself. Raises `WireError` where its payload does not fit into a frame."""
    return encode(
        JobAssignment(
            job_id=job_id,
            job_type=request.job_type,
            room_id=request.room_id,
            room_name=request.room_id,
            agent_name=request.agent_id,
            namespace=_NAMESPACE,
            room_options=dict(request.room_options or {}),
            metadata=dict(request.metadata or {}),
            wait=request.wait,
            timeout=request.timeout,
        )
    )


def termination(job_id: str, reason: str) -> str:
    """The order to stop a job."""
    return encode(JobTermination(job_id=job_id, reason=reason))


def pong(timestamp: int | None) -> str:
    """The answer to a JSON ping."""
    return encode(WorkerPong(timestamp=timestamp))
