"""What happens in a room, as values, and subscriptions to it in bounded memory."""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Mapping
from enum import Enum, unique
from types import TracebackType
from typing import Any, Generic, Self, TypeAlias, TypeVar

import attrs
import trio

from ..errors import RoomError


@attrs.frozen(kw_only=True)
class Participant:
    """A participant of a room other than the agent; `metadata` is its own description."""

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
    """A message on a `topic`; `payload` is data that a program may have added."""

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
    """A participant is there; for those before the agent, it follows `RoomJoined`."""

    participant: Participant


@attrs.frozen(kw_only=True)
class ParticipantLeft:
    """A participant has left; their streams have stopped before."""

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
    """The session has ended; `reason` is one of the words below, or the service's own."""

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


T = TypeVar("T")


class Subscription(Generic[T]):
    """An async iterator with room for `capacity` items; `dropped` counts what it has lost.

    It ends when its source does, or when it is closed, after what is already in it. Closing it
    (it is a plain context manager) is optional: an unreferenced one is garbage-collected.
    Waiting can be cancelled, and loses nothing.
    """

    def __init__(self, capacity: int) -> None:
        self._items: deque[T] = deque(maxlen=capacity)
        self._waiting = trio.lowlevel.ParkingLot()
        self._is_closed = False
        self.dropped = 0

    def put(self, item: T) -> bool:
        """For the source: add an item; False where that costs the oldest one."""
        if self._is_closed:
            return True
        is_full = len(self._items) == self._items.maxlen
        self.dropped += is_full
        self._items.append(item)
        self._waiting.unpark()
        return not is_full

    def close(self) -> None:
        """Accept no more items; readers get the remaining ones, and then the end."""
        self._is_closed = True
        self._waiting.unpark_all()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        await trio.lowlevel.checkpoint_if_cancelled()
        while not self._items:
            if self._is_closed:
                await trio.lowlevel.cancel_shielded_checkpoint()
                raise StopAsyncIteration
            await self._waiting.park()
        item = self._items.popleft()
        await trio.lowlevel.cancel_shielded_checkpoint()
        return item

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self._items.clear()
        self.close()


class Publisher(Generic[T]):
    """Makes subscriptions: each gets every item that is put from then on."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._feeds: weakref.WeakSet[Subscription[T]] = weakref.WeakSet()
        self._is_closed = False

    def feed(self, *first: T) -> Subscription[T]:
        """A new subscription that starts with `first`; it ends at once after `close`."""
        feed: Subscription[T] = Subscription(self._capacity + len(first))
        for item in first:
            feed.put(item)
        if self._is_closed:
            feed.close()
        else:
            self._feeds.add(feed)
        return feed

    def put(self, item: T) -> int:
        """Give `item` to every subscription; returns how many were full and lost an older one."""
        return sum(not feed.put(item) for feed in list(self._feeds))

    def close(self) -> None:
        """End every subscription after its remaining items."""
        self._is_closed = True
        for feed in list(self._feeds):
            feed.close()
        self._feeds.clear()
