"""What was heard, as numbers: how loud, and how high. For checking audio by ear, without one.

Knows frames of audio. Must not know rooms.
"""

from __future__ import annotations

import math
import sys
from array import array
from collections.abc import Iterable
from itertools import pairwise

from ..rooms.audio import AudioFrame

_SILENCE = 0.01


def samples_of(frames: Iterable[AudioFrame]) -> array[int]:
    """The 16-bit samples of `frames`, one after the other; of two channels, the first."""
    wave = array("h")
    for frame in frames:
        part = array("h", frame.data)
        if sys.byteorder == "big":
            part.byteswap()
        wave.extend(part[:: frame.channels])
    return wave


def loudness(frames: Iterable[AudioFrame]) -> float:
    """The root mean square, from 0.0 (silence) to 1.0."""
    wave = samples_of(frames)
    return math.sqrt(sum(n * n for n in wave) / len(wave)) / 32768 if wave else 0.0


def pitch(frames: Iterable[AudioFrame]) -> float:
    """The frequency of a pure tone, in Hz, by counting its waves where it is loud; 0.0 for none.

    Silence around it does not matter; all frames must have one sample rate.
    """
    frames = list(frames)
    rates = {frame.sample_rate for frame in frames}
    if not frames:
        return 0.0
    (rate,) = rates
    wave = samples_of(frames)
    threshold = max(max(wave, default=0) // 4, round(_SILENCE * 32768))
    rising: list[int] = []
    is_low = False
    for place, sample in enumerate(wave):
        if sample < -threshold:
            is_low = True
        elif is_low and sample > threshold:
            is_low = False
            rising.append(place)
    distances = sorted(b - a for a, b in pairwise(rising))
    if not distances:
        return 0.0
    # Their mean, but for the odd ones: a gap in the sound, or a click.
    usual = distances[len(distances) // 2]
    waves = [distance for distance in distances if 0.7 * usual < distance < 1.3 * usual]
    return rate * len(waves) / sum(waves)
