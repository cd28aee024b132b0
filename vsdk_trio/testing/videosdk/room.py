"""A room of the fake service: its members, what they send, and the faults that a test asks for."""

from __future__ import annotations

import secrets
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import attrs
import trio

from .messages import Json


@attrs.frozen
class RefusedError(Exception):
    """A no: `status` is an HTTP status, or the error code of the signaling; `message` says why."""

    status: int
    message: str


@attrs.define
class Faults:
    """What to do wrong, by the name of the request.

    Names are `rooms`, `recordings` and `server-init-config` (REST), `websocket` (the upgrade), and
    the methods of the signaling: `getRouterRtpCapabilities`, `createWebRtcTransport`, `join`,
    `produce`, ...
    `refuse` holds answers to give instead, `ignore` what is never answered, `delay` seconds to wait
    before anything else. They may be changed at any time.
    """

    refuse: dict[str, RefusedError] = attrs.field(factory=dict)
    ignore: set[str] = attrs.field(factory=set)
    delay: dict[str, float] = attrs.field(factory=dict)

    async def meet(self, name: str) -> None:
        """Apply the faults for the request `name`: wait, wait for ever, or raise."""
        await trio.sleep(self.delay.get(name, 0))
        if name in self.ignore:
            await trio.sleep_forever()
        if name in self.refuse:
            raise self.refuse[name]


Listener = Callable[[Any], Awaitable[None]]


class Track:
    """One source of packets, of a `kind` (audio, video) and in a codec, by its `mime_type`."""

    def __init__(self, kind: str, mime_type: str) -> None:
        self.id = secrets.token_hex(8)
        self.kind = kind
        self.mime_type = mime_type
        self.packets = 0
        self._listeners: dict[str, Listener] = {}

    def listen(self, key: str, listener: Listener) -> None:
        """Have `listener` called with every packet, until `forget(key)`."""
        self._listeners[key] = listener

    def forget(self, key: str) -> None:
        """Call it no longer."""
        self._listeners.pop(key, None)

    async def feed(self, packet: Any) -> None:
        """Give a packet to all who listen."""
        self.packets += 1
        for listener in list(self._listeners.values()):
            await listener(packet)


_MOST_NOTED = 1000


class Member(Protocol):
    """A member of a room: the SDK over a socket, or a simulated person."""

    @property
    def peer_id(self) -> str: ...

    @property
    def name(self) -> str: ...

    @property
    def info(self) -> Json:
        """The data by which the others learn of it."""
        ...

    def tell(self, method: str, data: Json) -> None:
        """Notify it."""
        ...

    def hear(self, track: Track, owner: str) -> None:
        """Have it receive a track of another member."""
        ...

    def unhear(self, track: Track) -> None:
        """A track that it receives is no more."""
        ...

    def throw_out(self, reason: str) -> None:
        """Have it leave."""
        ...


class FakeRoom:
    """A room, for tests to look into and to meddle with.

    `requests` is what members asked for that the fake does not do but agrees to (recordings,
    transcripts, an agent's state), as (peer id, method, data). `messages` is what was published,
    as (peer id, topic, text). Both keep the last thousand.
    """

    def __init__(self, room_id: str, make_person: Callable[..., Any]) -> None:
        self.room_id = room_id
        self.requests: deque[tuple[str, str, Any]] = deque(maxlen=_MOST_NOTED)
        self.messages: deque[tuple[str, str, str]] = deque(maxlen=_MOST_NOTED)
        self._make_person = make_person
        self._members: dict[str, Member] = {}
        self._tracks: dict[str, tuple[str, Track]] = {}
        self._topics: dict[str, set[str]] = {}
        self._changed = trio.Event()

    def __repr__(self) -> str:
        return f"<FakeRoom {self.room_id!r} with {sorted(self._members)}>"

    # For tests.

    @property
    def peer_ids(self) -> tuple[str, ...]:
        """Who is there, in the order of coming."""
        return tuple(self._members)

    @property
    def sending(self) -> frozenset[str]:
        """Who sends something."""
        return frozenset(owner for owner, _ in self._tracks.values())

    @property
    def codecs(self) -> dict[str, str]:
        """In which codec each member sends audio, by its id."""
        kinds = ((owner, track) for owner, track in self._tracks.values() if track.kind == "audio")
        return {owner: track.mime_type.lower() for owner, track in kinds}

    def tell_all(self, method: str, data: Json) -> None:
        """Notify every member of something; what is not in the protocol shows what it can take."""
        for member in self._members.values():
            member.tell(method, data)

    async def wait_for(self, peer_id: str | None = None) -> str:
        """Wait until this member is there, or any; returns its id."""
        while True:
            found = peer_id if peer_id in self._members else None
            if peer_id is None:
                found = next(iter(self._members), None)
            if found is not None:
                return found
            await self._changed.wait()

    async def wait_gone(self, peer_id: str) -> None:
        """Wait until this member is not there."""
        while peer_id in self._members:
            await self._changed.wait()

    def add_person(self, peer_id: str, name: str = "", metadata: Json | None = None) -> Any:
        """Add a simulated person, who speaks, hears, writes and leaves."""
        person = self._make_person(self, peer_id, name or peer_id, metadata)
        self.join(person)
        return person

    def remove(self, peer_id: str, reason: str = "removed") -> None:
        """Throw a member out."""
        self._members[peer_id].throw_out(reason)

    def end(self) -> None:
        """End the meeting for all members."""
        for member in list(self._members.values()):
            member.throw_out("the meeting was ended")

    # For members.

    def join(self, member: Member) -> None:
        """Let it in; one with the same id is thrown out."""
        before = self._members.pop(member.peer_id, None)
        if before is not None:
            self._forget(before)
            before.throw_out("somebody else joined with the same id")
        for other in self._members.values():
            other.tell("newPeer", member.info)
            member.tell("newPeer", other.info)
        self._members[member.peer_id] = member
        for owner, track in self._tracks.values():
            member.hear(track, owner)
        self._notify()

    def leave(self, member: Member) -> None:
        """The member has left; the others are notified once."""
        if self._members.get(member.peer_id) is member:
            del self._members[member.peer_id]
            self._forget(member)

    def _forget(self, member: Member) -> None:
        for track in [track for owner, track in self._tracks.values() if owner == member.peer_id]:
            self.stop_track(track.id)
        for subscribers in self._topics.values():
            subscribers.discard(member.peer_id)
        for other in self._members.values():
            other.tell("peerClosed", {"peerId": member.peer_id})
        self._notify()

    def start_track(self, member: Member, track: Track) -> None:
        """A member sends from now on."""
        self._tracks[track.id] = (member.peer_id, track)
        for other in self._members.values():
            if other is not member:
                other.hear(track, member.peer_id)
        self._tell_state(member.peer_id, track.kind, True)

    def stop_track(self, track_id: str) -> None:
        """A member sends this no longer."""
        if track_id in self._tracks:
            owner, track = self._tracks.pop(track_id)
            for other in self._members.values():
                if other.peer_id != owner:
                    other.unhear(track)
            self._tell_state(owner, track.kind, False)

    def _tell_state(self, owner: str, kind: str, is_on: bool) -> None:
        data = {"peerId": owner, "kind": kind, "newState": is_on}
        for member in self._members.values():
            member.tell("participantMediaStateChanged", data)
        self._notify()

    def subscribe(self, peer_id: str, topic: str) -> None:
        """Have a member told of messages on a topic."""
        self._topics.setdefault(topic, set()).add(peer_id)

    def publish(self, sender: Member, topic: str, text: str, payload: Json | None = None) -> None:
        """Notify all subscribers, the sender too."""
        self.messages.append((sender.peer_id, topic, text))
        message = {
            "id": secrets.token_hex(8),
            "topic": topic,
            "message": text,
            "senderId": sender.peer_id,
            "senderName": sender.name,
            "timestamp": int(time.time() * 1000),
            "payload": payload,
        }
        for peer_id in self._topics.get(topic, ()):
            self._members[peer_id].tell("pubsubMessage", message)

    def others(self, member: Member) -> list[Json]:
        """The data by which a member learns of all others."""
        return [other.info for other in self._members.values() if other is not member]

    def _notify(self) -> None:
        self._changed.set()
        self._changed = trio.Event()
