"""What happens in a room, as values: `async for event in room.events(): match event: ...`.

Knows participants, messages and errors. Must not know how any transport learns of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, unique
from typing import Any, TypeAlias

import attrs

from ..errors import RoomError


@attrs.frozen(kw_only=True)
class Participant:
    """Somebody in a room other than the agent itself; `metadata` is what it says of itself."""

    participant_id: str
    name: str = ""
    metadata: Mapping[str, Any] = attrs.field(factory=dict, eq=False, repr=False)


@unique
class StreamKind(Enum):
    """What a participant can send."""

    AUDIO = "audio"
    VIDEO = "video"
    SHARE = "share"


@attrs.frozen(kw_only=True)
class Message:
    """What somebody published on a `topic`; `payload` is what a program may have added to it."""

    topic: str
    text: str
    sender_id: str
    sender_name: str = ""
    payload: Mapping[str, Any] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class RoomJoined:
    """The agent is in the room: always the first event."""

    room_id: str
    participant_id: str


@attrs.frozen(kw_only=True)
class ParticipantJoined:
    """Somebody is there; those who came before the agent are told of after `RoomJoined`."""

    participant: Participant


@attrs.frozen(kw_only=True)
class ParticipantLeft:
    """Somebody is no longer there; their streams have stopped before."""

    participant: Participant


@attrs.frozen(kw_only=True)
class StreamStarted:
    """A participant sends from now on: unmuted, or a camera or screen switched on."""

    participant_id: str
    kind: StreamKind = StreamKind.AUDIO


@attrs.frozen(kw_only=True)
class StreamStopped:
    """A participant no longer sends."""

    participant_id: str
    kind: StreamKind = StreamKind.AUDIO


@attrs.frozen(kw_only=True)
class MessageReceived:
    """A message came on a topic that `room.messages(topic)` was called for."""

    message: Message


@attrs.frozen(kw_only=True)
class RoomFailure:
    """Something went wrong that the session survives; `on_room_error` gets the same error."""

    error: RoomError


@attrs.frozen(kw_only=True)
class SessionEnded:
    """Nobody will be heard here any more; `reason` is a word for programs, as below."""

    reason: str


@attrs.frozen(kw_only=True)
class RoomLeft:
    """The agent is out of the room: always the last event."""


RoomEvent: TypeAlias = (
    RoomJoined
    | ParticipantJoined
    | ParticipantLeft
    | StreamStarted
    | StreamStopped
    | MessageReceived
    | RoomFailure
    | SessionEnded
    | RoomLeft
)

# Reasons for the end of a session; a hosted room may give others.
NOBODY_CAME = "no_participant_joined"
ALL_LEFT = "all_participants_left"
MEETING_ENDED = "session_ended"
AGENT_LEFT = "agent_left"
AGENT_REMOVED = "agent_removed"
CONNECTION_LOST = "connection_lost"
