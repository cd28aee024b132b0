"""The voice and the ears of somebody made up: PCM to packets of Opus, and back. asyncio.

Heavy: import it in the asyncio thread. Must not know rooms.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any

from av import AudioFrame  # pyright: ignore[reportMissingImports]
from vsaiortc.codecs.opus import (  # pyright: ignore[reportMissingImports]
    OpusDecoder,
    OpusEncoder,
)
from vsaiortc.jitterbuffer import JitterFrame  # pyright: ignore[reportMissingImports]
from vsaiortc.rtp import RtpPacket  # pyright: ignore[reportMissingImports]

from .tracks import Track

_PACKET_SAMPLES = 960


class Voice:
    """Says PCM on a track."""

    def __init__(self, track: Track) -> None:
        self._track = track
        self._encoder = OpusEncoder()
        self._number = secrets.randbits(15)
        self._timestamp = secrets.randbits(31)
        self._samples = 0

    async def say(self, data: bytes, sample_rate: int, channels: int) -> None:
        """Send a piece of sound, once there is enough of it for a packet."""
        samples = len(data) // (2 * channels)
        layout = "mono" if channels == 1 else "stereo"
        frame = AudioFrame(format="s16", layout=layout, samples=samples)
        frame.planes[0].update(data.ljust(frame.planes[0].buffer_size, b"\0"))
        frame.sample_rate = sample_rate
        frame.pts = self._samples
        self._samples += samples
        payloads, _ = self._encoder.encode(frame)
        for payload in payloads:
            packet = RtpPacket(
                sequence_number=self._number, timestamp=self._timestamp, payload=payload
            )
            self._number = (self._number + 1) & 0xFFFF
            self._timestamp = (self._timestamp + _PACKET_SAMPLES) & 0xFFFFFFFF
            await self._track.feed(packet)


class Ear:
    """Hears packets of a track as PCM: 48000 Hz, two channels, 16 bits."""

    def __init__(self, put: Callable[[bytes], object]) -> None:
        self._put = put
        self._decoder = OpusDecoder()

    async def packet(self, packet: Any) -> None:
        """One more packet."""
        frames: list[Any] = self._decoder.decode(JitterFrame(packet.payload, packet.timestamp))
        for frame in frames:
            self._put(bytes(frame.planes[0])[: frame.samples * 4])
