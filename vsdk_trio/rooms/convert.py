"""Audio from one rate and number of channels to another. Must not know rooms.

On the standard library's `audioop` (from 3.13 on: `audioop-lts`, the same code), loaded when the
first frame needs it: C, linear interpolation, good enough for voices and cheap enough to do in
passing (a second of sound takes well under a millisecond).
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import cache
from types import ModuleType
from typing import Any

import attrs

from .audio import BYTES_PER_SAMPLE, AudioFormat, AudioFrame


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
    """The sum of pieces of one length and format; what is too loud is cut off."""
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
