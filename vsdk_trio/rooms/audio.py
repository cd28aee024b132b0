"""Audio as rooms carry it: frames of PCM, each of which says what it is.

Knows samples and their arithmetic. Must not know rooms, clocks or transports.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, TypeAlias

import attrs

SampleFormat: TypeAlias = Literal["s16le"]
"""Signed 16-bit samples, little-endian, the channels of one moment side by side."""

BYTES_PER_SAMPLE = 2
CHUNK_SECONDS = 0.02
"""What is played goes out in pieces of this length: the codecs' own, and what an interruption
may cost."""


@attrs.frozen
class AudioFormat:
    """How the bytes of a frame are read: `sample_rate` in Hz, `channels` interleaved, s16le."""

    sample_rate: int = attrs.field(validator=attrs.validators.in_(range(1000, 384_001)))
    channels: int = attrs.field(default=1, validator=attrs.validators.in_((1, 2)))

    @property
    def bytes_per_moment(self) -> int:
        """Bytes of one sample of every channel."""
        return BYTES_PER_SAMPLE * self.channels


def _whole_moments(frame: AudioFrame, _field: attrs.Attribute[bytes], data: bytes) -> None:
    if len(data) % (BYTES_PER_SAMPLE * frame.channels):
        raise ValueError(
            f"{len(data)} bytes are no whole number of 16-bit samples of {frame.channels} channel"
            f"{'s' * (frame.channels != 1)}"
        )


@attrs.frozen(kw_only=True)
class AudioFrame:
    """A piece of sound: raw PCM in `data`, read as `format`, `sample_rate` and `channels` say.

    `sample_rate` is in Hz. `timestamp` is the place of the first sample in its stream, counted in
    samples per channel since the stream began, so that a gap can be seen; what the agent plays
    needs none. `participant_id` is who is heard, empty in what the agent plays.

    Raises `ValueError` where the bytes are not whole samples, or a format makes no sense.
    """

    data: bytes = attrs.field(repr=lambda data: f"<{len(data)} bytes>", validator=_whole_moments)
    sample_rate: int = attrs.field(validator=attrs.validators.in_(range(1000, 384_001)))
    channels: int = attrs.field(default=1, validator=attrs.validators.in_((1, 2)))
    timestamp: int = 0
    participant_id: str = ""
    format: SampleFormat = "s16le"

    @property
    def samples(self) -> int:
        """Samples per channel."""
        return len(self.data) // (BYTES_PER_SAMPLE * self.channels)

    @property
    def seconds(self) -> float:
        """How long it sounds, in seconds."""
        return self.samples / self.sample_rate

    @property
    def audio_format(self) -> AudioFormat:
        """Rate and channels as one value."""
        return AudioFormat(self.sample_rate, self.channels)


def split(frame: AudioFrame, seconds: float = CHUNK_SECONDS) -> Iterator[AudioFrame]:
    """`frame` in pieces of at most `seconds`, with their timestamps; itself where it is short."""
    most = max(1, round(seconds * frame.sample_rate))
    if frame.samples <= most:
        yield frame
        return
    width = frame.audio_format.bytes_per_moment
    for start in range(0, frame.samples, most):
        data = frame.data[start * width : (start + most) * width]
        yield attrs.evolve(frame, data=data, timestamp=frame.timestamp + start)
