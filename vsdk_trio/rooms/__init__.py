"""Rooms: what an agent talks through. `open_room` is the one way to one.

Knows which kinds of room there are, and loads the one that is used. Must not know jobs or the
runner.
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager

from ..options.room import TransportMode
from .audio import AudioFormat, AudioFrame
from .base import Room, RoomCounts, RoomFactory, RoomRequest
from .events import (
    Message,
    MessageReceived,
    Participant,
    ParticipantJoined,
    ParticipantLeft,
    RoomEvent,
    RoomFailure,
    RoomJoined,
    RoomLeft,
    SessionEnded,
    StreamKind,
    StreamStarted,
    StreamStopped,
    Subscription,
)

__all__ = [
    "AudioFormat",
    "AudioFrame",
    "Message",
    "MessageReceived",
    "Participant",
    "ParticipantJoined",
    "ParticipantLeft",
    "Room",
    "RoomCounts",
    "RoomEvent",
    "RoomFactory",
    "RoomFailure",
    "RoomJoined",
    "RoomLeft",
    "RoomRequest",
    "SessionEnded",
    "StreamKind",
    "StreamStarted",
    "StreamStopped",
    "Subscription",
    "open_room",
    "require_transport",
]


def require_transport(mode: TransportMode) -> None:
    """Raise `RoomError`, with what to do, for a transport that `open_room` cannot open."""
    if mode is TransportMode.VIDEOSDK:
        from .hosted import require_videosdk

        require_videosdk()
    elif mode is TransportMode.WEBRTC:
        from .webrtc import require_webrtc

        require_webrtc()


def open_room(mode: TransportMode, request: RoomRequest) -> AbstractAsyncContextManager[Room]:
    """An async context manager: a room that is joined on entry and left on exit.

    Raises `RoomError` at once for a transport that is not installed.
    """
    require_transport(mode)
    from .joined import open_joined_room

    if mode is TransportMode.WEBSOCKET:
        from .websocket import open_websocket

        return open_joined_room(open_websocket, request)
    if mode is TransportMode.VIDEOSDK:
        from .hosted import open_videosdk

        return open_joined_room(open_videosdk, request)
    if mode is TransportMode.WEBRTC:
        from .webrtc.transport import open_webrtc

        return open_joined_room(open_webrtc, request)
    from .loopback import open_loopback

    return open_joined_room(open_loopback, request)
