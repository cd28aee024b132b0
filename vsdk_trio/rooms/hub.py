"""The state of a room, and the interface between a room and the transport that carries it.

The hub keeps participants, subscriptions and the reason of the end. A transport joins, carries
sound and messages, and reports to the hub. Permissions, pacing, timeouts and bounds are the room's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol, TypeAlias, TypeVar

import trio

from ..errors import RoomError
from .audio import AudioFormat, AudioFrame
from .base import RoomCounts, RoomRequest
from .events import (
    AGENT_LEFT,
    Message,
    MessageReceived,
    Participant,
    ParticipantJoined,
    ParticipantLeft,
    Publisher,
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

EVENTS = 256
MESSAGES = 256
AUDIO_FRAMES = 100
"""How much a slow reader may be behind; of 20 ms frames this is two seconds."""


class RoomHub:
    """The state of one room. `counts` is what went through it, `address` where others find it."""

    def __init__(self, request: RoomRequest) -> None:
        self.request = request
        self.counts = RoomCounts()
        self.address = ""
        self._participants: dict[str, Participant] = {}
        self._has_had_participants = False
        self._streams: dict[tuple[str, StreamKind], StreamStarted] = {}
        self._events: Publisher[RoomEvent] = Publisher(EVENTS)
        self._audio: dict[str, Publisher[AudioFrame]] = {}
        self._messages: dict[str, Publisher[Message]] = {}
        self._end_reason: str | None = None
        self._end_callbacks: list[Callable[[str], object]] = []
        self._left = trio.Event()
        self._changed = trio.Event()

    # What a transport tells.

    def participant_joined(self, participant: Participant) -> None:
        """A participant is there. A second call replaces the details that are known."""
        if self._end_reason is None:
            self._has_had_participants = True
            is_new = participant.participant_id not in self._participants
            self._participants[participant.participant_id] = participant
            if is_new:
                self._emit(ParticipantJoined(participant=participant))

    def participant_left(self, participant_id: str) -> None:
        """A participant has left, and their streams end. Unknown ids are ignored."""
        if self._end_reason is not None:
            return
        if participant_id in self._participants:
            for key in [key for key in self._streams if key[0] == participant_id]:
                self.stream_stopped(*key)
            participant = self._participants.pop(participant_id)
            source = self._audio.pop(participant_id, None)
            if source is not None:
                source.close()
            self._emit(ParticipantLeft(participant=participant))

    def stream_started(self, participant_id: str, kind: StreamKind = StreamKind.AUDIO) -> None:
        """A participant that is there sends from now on."""
        key = participant_id, kind
        if (
            self._end_reason is None
            and participant_id in self._participants
            and key not in self._streams
        ):
            self._streams[key] = StreamStarted(participant_id=participant_id, kind=kind)
            self._emit(self._streams[key])

    def stream_stopped(self, participant_id: str, kind: StreamKind = StreamKind.AUDIO) -> None:
        """A participant no longer sends."""
        if self._end_reason is None and self._streams.pop((participant_id, kind), None) is not None:
            self._emit(StreamStopped(participant_id=participant_id, kind=kind))

    def audio(self, frame: AudioFrame) -> None:
        """A participant (`frame.participant_id`) is heard.

        Its audio stream must have started: frames that come late, after a mute, are ignored.
        """
        if self._end_reason is None and (frame.participant_id, StreamKind.AUDIO) in self._streams:
            self.counts.frames_heard += 1
            source = self._audio.get(frame.participant_id)
            if source is not None:
                self.counts.frames_dropped += source.put(frame)

    def message(self, message: Message) -> None:
        """A message was published; the agent's own and unsubscribed ones are ignored."""
        source = self._messages.get(message.topic)
        if (
            source is not None
            and self._end_reason is None
            and message.sender_id != self.request.participant_id
        ):
            self.counts.messages_dropped += source.put(message)
            self._emit(MessageReceived(message=message))

    def failed(self, error: RoomError) -> None:
        """Something went wrong that the session survives."""
        if self._end_reason is None:
            self._emit(RoomFailure(error=error))

    def ended(self, reason: str) -> None:
        """The session is over: nothing more will come. The first reason counts."""
        if self._end_reason is not None:
            return
        self._end_reason = reason
        for voice in self._audio.values():
            voice.close()
        for topic in self._messages.values():
            topic.close()
        self._emit(SessionEnded(reason=reason))
        callbacks, self._end_callbacks = self._end_callbacks, []
        for callback in callbacks:
            callback(reason)

    # What the room asks.

    @property
    def participants(self) -> Mapping[str, Participant]:
        """Who is there besides the agent, by id; a copy."""
        return dict(self._participants)

    @property
    def has_had_participants(self) -> bool:
        """Whether anybody else was ever there."""
        return self._has_had_participants

    @property
    def end_reason(self) -> str | None:
        """Why the session ended; None while it runs."""
        return self._end_reason

    @property
    def is_left(self) -> bool:
        """Whether the agent has left."""
        return self._left.is_set()

    async def wait_left(self) -> None:
        """Wait until the agent is out."""
        await self._left.wait()

    async def changed(self) -> None:
        """Wait for whatever happens next."""
        await self._changed.wait()

    def on_end(self, callback: Callable[[str], object]) -> None:
        """Have `callback(reason)` called at the end of the session; at once if it is over."""
        if self._end_reason is None:
            self._end_callbacks.append(callback)
        else:
            callback(self._end_reason)

    def events(self) -> Subscription[RoomEvent]:
        """Where the room stands, and then all that happens."""
        request = self.request
        first: list[RoomEvent] = [
            RoomJoined(room_id=request.room_id, participant_id=request.participant_id)
        ]
        first += [ParticipantJoined(participant=who) for who in self._participants.values()]
        first += self._streams.values()
        if self._end_reason is not None:
            first.append(SessionEnded(reason=self._end_reason))
        if self._left.is_set():
            first.append(RoomLeft())
        return self._events.feed(*first)

    def audio_of(self, participant_id: str) -> Subscription[AudioFrame]:
        """What a participant says from now on."""
        if self._end_reason is not None:
            return _ended_feed()
        return self._audio.setdefault(participant_id, Publisher(AUDIO_FRAMES)).feed()

    def messages_on(self, topic: str) -> Subscription[Message]:
        """What others publish on a topic from now on."""
        if self._end_reason is not None:
            return _ended_feed()
        return self._messages.setdefault(topic, Publisher(MESSAGES)).feed()

    def left(self) -> None:
        """The agent is out: the last thing that happens."""
        self.ended(AGENT_LEFT)
        if not self._left.is_set():
            self._left.set()
            self._emit(RoomLeft())
            self._events.close()

    def _emit(self, event: RoomEvent) -> None:
        self.counts.events_dropped += self._events.put(event)
        self._changed.set()
        self._changed = trio.Event()


def _ended_feed() -> Subscription[Any]:
    feed: Subscription[Any] = Subscription(1)
    feed.close()
    return feed


class Transport(Protocol):
    """A joined room's carrier. Each method belongs to the tasks of one Trio run.

    Errors that the session survives go to `hub.failed`; one that it does not survive is raised, as
    a `RoomError`, out of the context manager that opened the transport, and fails the job.
    """

    @property
    def playback(self) -> AudioFormat:
        """The format `send_audio` is given; everything else is converted before."""
        ...

    async def send_audio(self, frame: AudioFrame) -> None:
        """Send at most 20 ms of sound, in `playback` format; may wait, and may be cancelled.

        It is called at the speed of speech, at most 0.2 s ahead of what is heard. Where nobody is
        there to hear it, it returns.
        """
        ...

    def interrupt(self) -> None:
        """Drop what was sent and is not yet heard; never waits."""
        ...

    async def send_message(self, text: str, topic: str) -> None:
        """Publish a message. Raises `RoomError` for one that cannot be sent."""
        ...

    async def subscribe(self, topic: str) -> None:
        """Have messages on `topic` come to the hub from now on; called once for each topic."""
        ...

    async def update_metadata(self, metadata: str) -> None:
        """Set the metadata of the agent's participant; `RoomError` where that is not possible."""
        ...


TransportT_co = TypeVar("TransportT_co", bound=Transport, covariant=True)

TransportOpener: TypeAlias = Callable[
    [RoomRequest, RoomHub], AbstractAsyncContextManager[TransportT_co]
]
"""Joins on entry and leaves on exit. Cancelled while it joins, it leaves nothing behind. Raises
`RoomError` (or an `OptionsError`) where it cannot join, with the cause and what to do. What it
starts runs in its own nursery; its exit has 5 s to say goodbye, and is cancelled then."""
