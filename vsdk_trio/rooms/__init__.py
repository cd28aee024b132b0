"""Rooms: what an agent talks through. `open_room` is the one way to one.

Knows which kinds of room there are. Must not know jobs or the runner.
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager

from ..errors import RoomError
from ..room_options import TransportMode
from .base import Participant, Room, RoomFactory, RoomRequest

__all__ = [
    "Participant",
    "Room",
    "RoomFactory",
    "RoomRequest",
    "open_room",
    "require_transport",
]


def require_transport(mode: TransportMode) -> None:
    """Raise `RoomError`, with what to do, for a transport that `open_room` cannot open."""
    if mode is not TransportMode.LOOPBACK:
        raise RoomError(
            f"transport_mode {mode.value!r} is not available in this version of vsdk-trio: "
            "install a newer one (`python -m pip install --upgrade vsdk-trio`), or run offline "
            "with transport_mode='loopback' (or VSDK_TRIO_TRANSPORT=loopback in the environment)"
        )


def open_room(mode: TransportMode, request: RoomRequest) -> AbstractAsyncContextManager[Room]:
    """An async context manager: a room that is joined on entry and left on exit.

    Raises `RoomError` at once for a transport that is not installed.
    """
    require_transport(mode)
    from .loopback import open_loopback_room

    return open_loopback_room(request)
