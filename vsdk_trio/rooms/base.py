"""What every room offers, and what it takes to open one.

Knows the options and permissions of a job's participant. Must not know any one transport.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol, TypeAlias

import attrs
import trio

from ..errors import RoomError
from ..options import WorkerPermissions
from ..room_options import RoomOptions, TransportMode


@attrs.frozen(kw_only=True)
class Participant:
    """Somebody in a room other than the agent itself."""

    participant_id: str
    name: str = ""


@attrs.frozen(kw_only=True)
class Message:
    """What somebody published: `data` on a `topic`; media tracks are topics, too."""

    topic: str
    data: bytes
    sender: str


@attrs.frozen(kw_only=True)
class RoomRequest:
    """Which room to join, as whom, and with which rights."""

    room_id: str
    participant_id: str
    name: str = "Agent"
    token: str = attrs.field(default="", repr=False)
    permissions: WorkerPermissions = attrs.field(factory=WorkerPermissions)
    options: RoomOptions = attrs.field(factory=RoomOptions)
    metadata: Mapping[str, Any] = attrs.field(factory=dict)
    """The job's metadata; the loopback room finds its script there."""


class Room(Protocol):
    """A joined room. What the permissions forbid raises `RoomPermissionError`."""

    @property
    def room_id(self) -> str: ...

    @property
    def participant_id(self) -> str:
        """The agent's own."""
        ...

    @property
    def name(self) -> str:
        """The agent's own."""
        ...

    @property
    def participants(self) -> Mapping[str, Participant]:
        """Who else is there, by participant id."""
        ...

    def setup_session_end_callback(self, callback: Callable[[str], object]) -> None:
        """Have `callback(reason)` called once when the session ends, also if it has ended.

        It is called synchronously; callbacks that were set up before stay.
        """
        ...

    async def wait_for_participant(self, participant_id: str | None = None) -> str | None:
        """The id of a participant (this one, or any), as soon as it is there.

        None if the session ends first.
        """
        ...

    async def publish(self, track: str, data: bytes) -> None:
        """Publish one frame of media; needs `can_publish`."""
        ...

    async def send_data(self, data: bytes | str, topic: str = "") -> None:
        """Send a message to the others; needs `can_publish_data`."""
        ...

    async def update_metadata(self, metadata: str) -> None:
        """Set the metadata of the agent's participant; needs `can_update_metadata`."""
        ...

    def subscribe(self, topic: str = "") -> trio.MemoryReceiveChannel[Message]:
        """What is published on `topic` from now on; needs `can_subscribe`.

        The channel is bounded: what a slow reader leaves no room for is dropped and counted. It
        ends when the room is left.
        """
        ...


RoomFactory: TypeAlias = Callable[[TransportMode, RoomRequest], AbstractAsyncContextManager[Room]]


def read_permissions(wire: Mapping[str, Any]) -> WorkerPermissions:
    """Permissions from JSON. Unknown names are ignored, one that is no boolean is a `RoomError`."""
    known = {f.name: wire[f.name] for f in attrs.fields(WorkerPermissions) if f.name in wire}
    for name, value in known.items():
        if not isinstance(value, bool):
            raise RoomError(f"permission {name!r} must be a bool, got {type(value).__name__}")
    return WorkerPermissions(**known)
