"""The one client of a WebSocket room, from its first frame to its last.

Knows the link and the wire; tells the hub what it hears. Must not know who may come in.
"""

from __future__ import annotations

from collections import deque
from typing import assert_never

import trio

from ..._exceptions import leaves
from ...telemetry.logs.loggers import get_logger
from ...websocket.link import Link, LinkLost
from ..audio import BYTES_PER_SAMPLE, AudioFrame, split
from ..events import Message, Participant
from ..hub import RoomHub
from . import wire

logger = get_logger(__name__)

CLIENT_ID = "ws_client"
"""The published client's id for the participant that connects."""

PING_SECONDS = 15.0
PONG_SECONDS = 10.0
UNREAD_SECONDS = 10.0
"""How long a client may go without reading, in seconds."""

QUEUED_FRAMES = 50
QUEUED_TEXTS = 256


class Visitor:
    """A connected client."""

    def __init__(self, link: Link, hub: RoomHub, name: str) -> None:
        self._link = link
        self._hub = hub
        self._name = name
        self._format = wire.CLIENT_FORMAT
        self._position = 0
        self._has_said_hello = False
        self._is_gone = False
        self._sound: deque[bytes] = deque()
        self._texts: deque[str] = deque()
        self._changed = trio.Event()

    async def stay(self) -> None:
        """Be in the room until the link is lost."""
        self._hub.participant_joined(Participant(participant_id=CLIENT_ID, name=self._name))
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._send)
                nursery.start_soon(self._ping)
                await self._listen()
        except* LinkLost as losses:
            # One loss, seen by up to three tasks.
            logger.info("the room's client is gone: %s", next(leaves(losses)))
        finally:
            self._is_gone = True
            self._notify()  # wakes tasks that wait for it to read or hear
            self._hub.participant_left(CLIENT_ID)

    async def hear(self, data: bytes) -> None:
        """Queue sound for it; waits while much is queued."""
        await trio.lowlevel.checkpoint()
        while len(self._sound) >= QUEUED_FRAMES and not self._is_gone:
            await self._changed.wait()
        self._sound.append(data)
        self._notify()

    def interrupt(self) -> None:
        """Drop the sound that is queued, here and there."""
        self._sound.clear()
        if wire.INTERRUPT not in self._texts:
            self._texts.append(wire.INTERRUPT)
        self._notify()

    async def read(self, text: str) -> None:
        """Queue a text for it, where it understands them; waits while many are queued."""
        await trio.lowlevel.checkpoint()
        if not self._has_said_hello:
            return
        while len(self._texts) >= QUEUED_TEXTS and not self._is_gone:
            await self._changed.wait()
        self._texts.append(text)
        self._notify()

    async def _listen(self) -> None:
        while True:
            match await self._link.receive():
                case bytes() as data:
                    self._hear_sound(data)
                case str() as text:
                    await self._read_text(text)

    def _hear_sound(self, data: bytes) -> None:
        spoken = self._format
        if not data or len(data) % (BYTES_PER_SAMPLE * spoken.channels):
            self._hub.counts.junk_dropped += 1
            return
        self._hub.stream_started(CLIENT_ID)
        frame = AudioFrame(
            data=data,
            sample_rate=spoken.sample_rate,
            channels=spoken.channels,
            timestamp=self._position,
            participant_id=CLIENT_ID,
        )
        self._position += frame.samples
        for piece in split(frame):
            self._hub.audio(piece)

    async def _read_text(self, text: str) -> None:
        try:
            said = wire.read_text(text)
        except wire.JunkError as error:
            self._hub.counts.junk_dropped += 1
            await self.read(wire.problem(str(error)))
            return
        match said:
            case wire.ClientHello():
                await self._greet(said)
            case wire.Say():
                self._hub.message(
                    Message(
                        topic=said.topic,
                        text=said.text,
                        sender_id=CLIENT_ID,
                        sender_name=self._name,
                    )
                )
            case wire.Mute():
                self._hub.stream_stopped(CLIENT_ID)
            case wire.IgnoredText():
                pass
            case _:
                assert_never(said)

    async def _greet(self, hello: wire.ClientHello) -> None:
        if hello.format != self._format:
            self._format, self._position = hello.format, 0
        self._has_said_hello = True
        request = self._hub.request
        await self.read(wire.welcome(request.room_id, request.participant_id, request.name))

    async def _send(self) -> None:
        while True:
            while not (self._sound or self._texts):
                await self._changed.wait()
            data = self._texts.popleft() if self._texts else self._sound.popleft()
            self._notify()
            with trio.move_on_after(UNREAD_SECONDS) as limit:
                await self._link.send(data)
            if limit.cancelled_caught:
                raise self._link.condemn(f"it has read nothing for {UNREAD_SECONDS:g} s")

    async def _ping(self) -> None:
        while True:
            await trio.sleep(PING_SECONDS)
            with trio.move_on_after(PONG_SECONDS) as limit:
                await self._link.ping()
            if limit.cancelled_caught:
                raise self._link.condemn(f"it has not answered a ping for {PONG_SECONDS:g} s")

    def _notify(self) -> None:
        self._changed.set()
        self._changed = trio.Event()
