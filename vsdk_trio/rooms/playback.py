"""What the agent says: converted to the transport's format, mixed, and sent at the speed of speech.

At most `AHEAD_SECONDS` of sound are sent ahead, so an interruption takes effect at once. `Speech`
is the buffer between Trio's thread and an asyncio thread. Knows no transport.

Conversion uses the standard library's `audioop` (from Python 3.13 on, `audioop-lts`, the same
code). The first frame that needs it loads it. One second of sound costs well under a millisecond.
"""

from __future__ import annotations

import contextlib
import threading
import warnings
from collections.abc import AsyncGenerator, AsyncIterable, Iterable, Sequence
from contextlib import aclosing
from functools import cache
from inspect import isasyncgen
from types import ModuleType
from typing import Any

import attrs
import trio

from .audio import BYTES_PER_SAMPLE, CHUNK_SECONDS, AudioFormat, AudioFrame, split
from .hub import RoomHub, Transport


class Converter:
    """Converts the frames of one stream, in order, to `wanted`; keeps the filter's state."""

    def __init__(self, wanted: AudioFormat) -> None:
        self._wanted = wanted
        self._source: AudioFormat | None = None
        self._state: Any = None
        self._position = 0

    def convert(self, frame: AudioFrame) -> AudioFrame:
        """`frame` in the wanted format; itself where it is in it. Timestamps are converted, too."""
        if frame.audio_format == self._wanted:
            return frame
        audioop = _audioop()
        if frame.audio_format != self._source:
            self._source, self._state = frame.audio_format, None
        data, wanted = frame.data, self._wanted
        if frame.channels == 2 and wanted.channels == 1:
            data = audioop.tomono(data, BYTES_PER_SAMPLE, 0.5, 0.5)
        elif frame.channels == 1 and wanted.channels == 2:
            data = audioop.tostereo(data, BYTES_PER_SAMPLE, 1, 1)
        if frame.sample_rate != wanted.sample_rate:
            data, self._state = audioop.ratecv(
                data,
                BYTES_PER_SAMPLE,
                wanted.channels,
                frame.sample_rate,
                wanted.sample_rate,
                self._state,
            )
        return attrs.evolve(
            frame,
            data=data,
            sample_rate=wanted.sample_rate,
            channels=wanted.channels,
            timestamp=frame.timestamp * wanted.sample_rate // frame.sample_rate,
        )


def add(pieces: Sequence[bytes]) -> bytes:
    """The sum of pieces of one length and format; samples that are too loud are clipped."""
    total = pieces[0]
    for piece in pieces[1:]:
        total = _audioop().add(total, piece, BYTES_PER_SAMPLE)
    return total


@cache
def _audioop() -> ModuleType:
    with warnings.catch_warnings():
        # It is deprecated in 3.11 and 3.12, and gone from the standard library after that, where
        # its successor on the package index has the same name.
        warnings.simplefilter("ignore", DeprecationWarning)
        import audioop
    return audioop


AHEAD_SECONDS = 0.2


async def speak(
    frames: AsyncIterable[AudioFrame] | Iterable[AudioFrame], transport: Transport, hub: RoomHub
) -> None:
    """Send `frames`, and return when the last one has been heard, or the session has ended.

    If this ends in any other way, sound that was sent ahead is dropped.
    """
    converter = Converter(transport.playback)
    heard_until = trio.current_time()
    is_said = False
    try:
        async with aclosing(each_of(frames)) as each:
            async for frame in each:
                for piece in split(converter.convert(frame)):
                    heard_until = max(heard_until, trio.current_time())
                    await trio.sleep_until(heard_until - AHEAD_SECONDS)
                    if hub.end_reason is not None:
                        return
                    await transport.send_audio(piece)
                    hub.counts.frames_played += 1
                    heard_until += piece.seconds
        await trio.sleep_until(heard_until)
        is_said = True
    finally:
        if not is_said:
            transport.interrupt()


async def each_of(
    frames: AsyncIterable[AudioFrame] | Iterable[AudioFrame],
) -> AsyncGenerator[AudioFrame, None]:
    """The frames, of whatever kind their source is; an async generator is closed at the end."""
    if isinstance(frames, AsyncIterable):
        try:
            async for frame in frames:
                yield frame
        finally:
            if isasyncgen(frames):  # no other code can close it: it is usually made in the call
                await frames.aclose()
    else:
        for frame in frames:
            yield frame


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
        """As `speak`, mixed with the other speakers.

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


PLAYBACK = AudioFormat(48_000, 1)
"""What the SDK's encoders want, whichever codec it is."""
PIECE_SAMPLES = 960
_PIECE_BYTES = PIECE_SAMPLES * PLAYBACK.bytes_per_moment
_MOST_BYTES = 25 * _PIECE_BYTES  # half a second: only a thread that stands still fills it
_SILENCE = bytes(_PIECE_BYTES)


class Speech:
    """A bounded pipe of sound. Make it in Trio's thread, where `put` and `clear` belong."""

    def __init__(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        self._lock = threading.Lock()
        self._bytes = bytearray()
        self._taken = trio.Event()
        self._is_awaited = False

    async def put(self, data: bytes) -> None:
        """Add sound in `PLAYBACK` format; waits while there is no room."""
        await trio.lowlevel.checkpoint()
        while not self._added(data):
            await self._taken.wait()

    def clear(self) -> None:
        """Forget what has not been taken."""
        with self._lock:
            self._bytes.clear()
        self._wake()

    def take(self) -> bytes:
        """The next 20 ms, with silence where there is nothing to say; from the SDK's thread."""
        with self._lock:
            if not self._bytes:
                return _SILENCE
            piece = bytes(self._bytes[:_PIECE_BYTES])
            del self._bytes[:_PIECE_BYTES]
            wake, self._is_awaited = self._is_awaited, False
        if wake:
            with contextlib.suppress(trio.RunFinishedError):
                self._token.run_sync_soon(self._wake)
        return piece.ljust(_PIECE_BYTES, b"\0")

    def _added(self, data: bytes) -> bool:
        with self._lock:
            if len(self._bytes) + len(data) > _MOST_BYTES and self._bytes:
                self._is_awaited = True
                return False
            self._bytes += data
            return True

    def _wake(self) -> None:
        self._taken.set()
        self._taken = trio.Event()
