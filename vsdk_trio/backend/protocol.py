"""The reference's `agents.backend.protocol`: its message classes and the names of their types.

Another address for `vsdk_trio.protocol.messages`, for code that imports from here. The words are
those that the classes have as their default `type`, or that a worker sends.
"""

from __future__ import annotations

from typing import Final

from ..protocol.messages import (
    AvailabilityRequest,
    AvailabilityResponse,
    JobAssignment,
    JobStatus,
    JobTermination,
    JobUpdate,
    ServerMessage,
    UpdateJobStatus,
    UpdateWorkerStatus,
    WorkerMessage,
    WorkerPing,
    WorkerPong,
    WorkerStatus,
)

MSG_TYPE_REGISTER: Final = "register"
MSG_TYPE_STATUS_UPDATE: Final = "status_update"
MSG_TYPE_AVAILABILITY_REQUEST: Final = "availability_request"
MSG_TYPE_AVAILABILITY_RESPONSE: Final = "availability_response"
MSG_TYPE_JOB_ASSIGNMENT: Final = "job_assignment"
MSG_TYPE_JOB_UPDATE: Final = "job_update"
MSG_TYPE_JOB_TERMINATION: Final = "job_termination"
MSG_TYPE_PING: Final = "ping"
MSG_TYPE_PONG: Final = "pong"

__all__ = [
    "MSG_TYPE_AVAILABILITY_REQUEST",
    "MSG_TYPE_AVAILABILITY_RESPONSE",
    "MSG_TYPE_JOB_ASSIGNMENT",
    "MSG_TYPE_JOB_TERMINATION",
    "MSG_TYPE_JOB_UPDATE",
    "MSG_TYPE_PING",
    "MSG_TYPE_PONG",
    "MSG_TYPE_REGISTER",
    "MSG_TYPE_STATUS_UPDATE",
    "AvailabilityRequest",
    "AvailabilityResponse",
    "JobAssignment",
    "JobStatus",
    "JobTermination",
    "JobUpdate",
    "ServerMessage",
    "UpdateJobStatus",
    "UpdateWorkerStatus",
    "WorkerMessage",
    "WorkerPing",
    "WorkerPong",
    "WorkerStatus",
]
