"""Sounds made of arithmetic, for scripts, tests and beeps. Must not know rooms."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterator

from .audio import CHUNK_SECONDS, AudioFrame

_LOUDEST = 32767


def tone(
    frequency: float, seconds: float, *, sample_rate: int = 48000, level: float = 0.3
) -> Iterator[AudioFrame]:
    """A sine of `frequency` Hz, mono, in frames of 20 ms; `level` 1.0 is as loud as it gets."""
    samples = round(seconds * sample_rate)
    step = round(CHUNK_SECONDS * sample_rate)
    for start in range(0, samples, step):
        end = min(start + step, samples)
        phases = (math.tau * frequency * n / sample_rate for n in range(start, end))
        wave = array("h", (round(_LOUDEST * level * math.sin(phase)) for phase in phases))
        yield AudioFrame(data=little_endian(wave), sample_rate=sample_rate, timestamp=start)


def little_endian(wave: array[int]) -> bytes:
    """The bytes of 16-bit samples, as rooms carry them."""
    import sys

    if sys.byteorder == "big":
        wave = array("h", wave)
        wave.byteswap()
    return wave.tobytes()
