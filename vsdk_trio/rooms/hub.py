"""What a room knows: who is there, what happens, who is listening, and whether it has ended.

Transports tell it what they see, by methods that never wait, from the Trio thread (from another
one: `trio_token.run_sync_soon(hub.audio, ...)`). After the end it ignores what it is told. Must
not know any transport, nor what a room may be asked to do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import trio

from ..errors import RoomError
from .audio import AudioFrame
from .base import RoomCounts, RoomRequest
from .events import (
    AGENT_LEFT,
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
)
from .feed import Feed, Source

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
        self._events: Source[RoomEvent] = Source(EVENTS)
        self._audio: dict[str, Source[AudioFrame]] = {}
        self._messages: dict[str, Source[Message]] = {}
        self._end_reason: str | None = None
        self._end_callbacks: list[Callable[[str], object]] = []
        self._left = trio.Event()
        self._changed = trio.Event()

    # What a transport tells.

    def participant_joined(self, participant: Participant) -> None:
        """Somebody else is there. Told again, with other details, it replaces what was known."""
        if self._end_reason is None:
            self._has_had_participants = True
            is_new = participant.participant_id not in self._participants
            self._participants[participant.participant_id] = participant
            if is_new:
                self._emit(ParticipantJoined(participant=participant))

    def participant_left(self, participant_id: str) -> None:
        """Somebody is gone, and with them their streams. Nobody, if they were not there."""
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
        """Somebody published something; of the agent itself, and where nobody asked, ignored."""
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

    def events(self) -> Feed[RoomEvent]:
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

    def audio_of(self, participant_id: str) -> Feed[AudioFrame]:
        """What a participant says from now on."""
        if self._end_reason is not None:
            return _ended_feed()
        return self._audio.setdefault(participant_id, Source(AUDIO_FRAMES)).feed()

    def messages_on(self, topic: str) -> Feed[Message]:
        """What others publish on a topic from now on."""
        if self._end_reason is not None:
            return _ended_feed()
        return self._messages.setdefault(topic, Source(MESSAGES)).feed()

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


def _ended_feed() -> Feed[Any]:
    feed: Feed[Any] = Feed(1)
    feed.close()
    return feed
