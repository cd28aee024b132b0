"""The link to the registry, and every name of the reference's `agents.backend`.

Lazy (PEP 562): importing this package costs nothing before a name of it is used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vsdk_trio.backend.connection import BackendConnection
    from vsdk_trio.backend.events import BackendEvent, SessionLost
    from vsdk_trio.backend.open_connection import open_backend_connection
    from vsdk_trio.backend.token import TokenProvider
    from vsdk_trio.protocol.messages import (
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
    from vsdk_trio.protocol.session import Registered

__all__ = [
    "AvailabilityRequest",
    "AvailabilityResponse",
    "BackendConnection",
    "BackendEvent",
    "JobAssignment",
    "JobStatus",
    "JobTermination",
    "JobUpdate",
    "Registered",
    "ServerMessage",
    "SessionLost",
    "TokenProvider",
    "UpdateJobStatus",
    "UpdateWorkerStatus",
    "WorkerMessage",
    "WorkerPing",
    "WorkerPong",
    "WorkerStatus",
    "open_backend_connection",
]

_HOMES = {
    "BackendConnection": "vsdk_trio.backend.connection",
    "open_backend_connection": "vsdk_trio.backend.open_connection",
    "BackendEvent": "vsdk_trio.backend.events",
    "SessionLost": "vsdk_trio.backend.events",
    "TokenProvider": "vsdk_trio.backend.token",
    "Registered": "vsdk_trio.protocol.session",
}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES.get(name, "vsdk_trio.protocol.messages")), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
