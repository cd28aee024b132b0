"""A simulated person: a member of a fake room without a socket.

Speaks and hears PCM; the media thread turns it into Opus and back. Must not know the signaling.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Any

import trio

from ...asyncio_bridge.thread_channel import ThreadChannel
from ...rooms.audio import AudioFrame
from . import messages
from .messages import Json
from .plane import MediaPlane
from .room import FakeRoom, Track

_MOST_HEARD = 10_000
_OPUS = "audio/opus"
_PIECE_SECONDS = 0.02


class Person:
    """Make one with `FakeRoom.add_person`."""

    def __init__(
        self, plane: MediaPlane, room: FakeRoom, peer_id: str, name: str, metadata: Json | None
    ) -> None:
        self.peer_id = peer_id
        self.name = name
        self.messages: list[tuple[str, str]] = []
        """Topic and text of what others published on topics that `subscribe` was called for."""
        self._metadata = metadata
        self._room = room
        self._plane = plane
        self._voice: Any = None
        self._track = Track("audio", _OPUS)
        self._is_unmuted = False
        self._ears: ThreadChannel[tuple[str, bytes]] = ThreadChannel(_MOST_HEARD)
        self._heard: deque[AudioFrame] = deque(maxlen=_MOST_HEARD)

    @property
    def info(self) -> Json:
        """See `Member`."""
        return messages.peer(self.peer_id, self.name, self._metadata, "normal")

    @property
    def heard(self) -> list[AudioFrame]:
        """All that it has heard so far; 48000 Hz, two channels."""
        while True:
            try:
                owner, data = self._ears.receive.receive_nowait()
            except (trio.WouldBlock, trio.EndOfChannel):
                return list(self._heard)
            frame = AudioFrame(data=data, sample_rate=48000, channels=2, participant_id=owner)
            self._heard.append(frame)

    def unmute(self) -> None:
        """Send from now on; the others are notified."""
        if not self._is_unmuted:
            self._is_unmuted = True
            self._room.start_track(self, self._track)

    def mute(self) -> None:
        """Stop sending; the others are notified."""
        if self._is_unmuted:
            self._is_unmuted = False
            self._room.stop_track(self._track.id)
            self._track = Track("audio", _OPUS)
            self._voice = None

    async def speak(self, frames: Iterable[AudioFrame]) -> None:
        """Say `frames` (16 bits, mono or stereo, any rate), at the speed of speech; unmutes it."""
        self.unmute()
        if self._voice is None:
            self._voice = await self._plane.make("media", "SyntheticVoice", self._track)
        due = trio.current_time()
        for frame in frames:
            args = (frame.data, frame.sample_rate, frame.channels)
            await self._plane.run(self._voice.say, *args)
            due += frame.seconds
            await trio.sleep_until(due)

    def subscribe(self, topic: str) -> None:
        """Get messages on `topic`."""
        self._room.subscribe(self.peer_id, topic)

    def publish(self, topic: str, text: str, payload: Json | None = None) -> None:
        """Write a message."""
        self._room.publish(self, topic, text, payload)

    def leave(self) -> None:
        """Be gone."""
        self._room.leave(self)

    def tell(self, method: str, data: Json) -> None:
        """See `Member`."""
        if method == "pubsubMessage" and data["senderId"] != self.peer_id:
            self.messages.append((data["topic"], data["message"]))

    def hear(self, track: Track, owner: str) -> None:
        """See `Member`."""
        if track.mime_type.lower() != _OPUS:
            return  # it has ears for Opus only

        async def listen() -> None:
            from .media import Ear

            ear = Ear(lambda data: self._ears.put((owner, data)))
            track.listen(self.peer_id, ear.packet)

        self._plane.call_soon(listen)

    def unhear(self, track: Track) -> None:
        """See `Member`."""

        async def stop() -> None:
            track.forget(self.peer_id)

        self._plane.call_soon(stop)

    def throw_out(self, reason: str) -> None:
        """See `Member`."""
        self.leave()
