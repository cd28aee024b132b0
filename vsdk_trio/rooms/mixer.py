"""Says several things at once: what the agent says, over the music (`background_audio`).

Speech and music are added up in pieces of 20 ms, and paced as `speaker` paces one speech. Must not
know any transport.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Iterable
from contextlib import aclosing

import trio

from .audio import CHUNK_SECONDS, AudioFormat, AudioFrame
from .convert import Converter, add
from .hub import RoomHub
from .speaker import AHEAD_SECONDS, each_of
from .transport import Transport

_QUEUED_PIECES = 10


class _Voice:
    """One of those that speak: whole pieces, and what is not a whole one yet."""

    def __init__(self, wanted: AudioFormat) -> None:
        self._converter = Converter(wanted)
        self._piece_bytes = round(CHUNK_SECONDS * wanted.sample_rate) * wanted.bytes_per_moment
        self._bytes = bytearray()

    @property
    def is_full(self) -> bool:
        return len(self._bytes) >= _QUEUED_PIECES * self._piece_bytes

    @property
    def has_piece(self) -> bool:
        return len(self._bytes) >= self._piece_bytes

    @property
    def is_empty(self) -> bool:
        return not self._bytes

    def put(self, frame: AudioFrame) -> None:
        self._bytes += self._converter.convert(frame).data

    def fill_up(self) -> None:
        """Nothing more will come: make the last piece a whole one."""
        self._bytes += bytes(-len(self._bytes) % self._piece_bytes)

    def take(self) -> bytes:
        piece = bytes(self._bytes[: self._piece_bytes])
        del self._bytes[: self._piece_bytes]
        return piece


class Mixer:
    """`run` it in a task; then any number of `speak` at once."""

    def __init__(self, transport: Transport, hub: RoomHub) -> None:
        self._transport = transport
        self._hub = hub
        self._voices: list[_Voice] = []
        self._changed = trio.Event()
        self._heard_until = 0.0
        hub.on_end(lambda _reason: self._notify())

    async def run(self) -> None:
        """Send the sum of all voices, until cancelled. Idle, it waits."""
        playback = self._transport.playback
        while True:
            while not any(voice.has_piece for voice in self._voices):
                await self._changed.wait()
            self._heard_until = max(self._heard_until, trio.current_time())
            await trio.sleep_until(self._heard_until - AHEAD_SECONDS)
            pieces = [voice.take() for voice in self._voices if voice.has_piece]
            self._notify()
            if not pieces:
                continue  # its speaker was interrupted meanwhile
            frame = AudioFrame(
                data=add(pieces), sample_rate=playback.sample_rate, channels=playback.channels
            )
            self._heard_until += frame.seconds
            await self._transport.send_audio(frame)
            self._hub.counts.frames_played += 1

    async def speak(self, frames: AsyncIterable[AudioFrame] | Iterable[AudioFrame]) -> None:
        """As `speaker.speak`, together with whoever else speaks.

        Cut off, it costs the others what is on its way, at most `AHEAD_SECONDS`.
        """
        voice = _Voice(self._transport.playback)
        self._voices.append(voice)
        is_said = False
        try:
            async with aclosing(each_of(frames)) as each:
                async for frame in each:
                    while voice.is_full and self._hub.end_reason is None:
                        await self._changed.wait()
                    if self._hub.end_reason is not None:
                        return
                    voice.put(frame)
                    self._notify()
            voice.fill_up()
            self._notify()
            while not voice.is_empty:
                if self._hub.end_reason is not None:
                    return
                await self._changed.wait()
            await trio.sleep_until(self._heard_until)
            is_said = True
        finally:
            self._voices.remove(voice)
            if not is_said:
                self._transport.interrupt()
                self._heard_until = 0.0

    def _notify(self) -> None:
        self._changed.set()
        self._changed = trio.Event()
