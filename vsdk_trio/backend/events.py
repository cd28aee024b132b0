"""What a connection tells its user: the registry's messages, and the fate of its sessions."""

from __future__ import annotations

from typing import TypeAlias

import attrs

from ..protocol.messages import (
    AvailabilityRequest,
    JobAssignment,
    JobTermination,
    WorkerPong,
)
from ..protocol.session import Registered


@attrs.frozen
class SessionLost:
    """The registered session has ended without our doing; the connection makes a new one."""

    reason: str


BackendEvent: TypeAlias = (
    Registered | AvailabilityRequest | JobAssignment | JobTermination | WorkerPong | SessionLost
)
