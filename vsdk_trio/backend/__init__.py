"""The link to the registry, and every name of the reference's `agents.backend`.

Lazy (PEP 562): importing this package costs nothing before a name of it is used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
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
    from ..protocol.session import Registered
    from .connection import BackendConnection, open_backend_connection
    from .events import BackendEvent, SessionLost
    from .token import TokenProvider

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
    "BackendConnection": ".connection",
    "open_backend_connection": ".connection",
    "BackendEvent": ".events",
    "SessionLost": ".events",
    "TokenProvider": ".token",
    "Registered": "..protocol.session",
}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = _HOMES.get(name, "..protocol.messages")
    value = getattr(importlib.import_module(home, __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
