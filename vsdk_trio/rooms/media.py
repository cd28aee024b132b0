"""Sound between media tracks and ours, for aiortc and what was made from it. asyncio.

Imports PyAV: import it in the thread that does the media. Must not know whose tracks they are.
"""

from __future__ import annotations

import asyncio
import fractions
from collections.abc import Callable
from typing import Any

from av import AudioFrame as MediaFrame  # pyright: ignore[reportMissingImports]
from av import AudioResampler  # pyright: ignore[reportMissingImports]

from .audio import CHUNK_SECONDS, AudioFrame
from .playback import PIECE_SAMPLES, PLAYBACK, Speech

_LATE_SECONDS = 1.0


class SpeechFrames:
    """What is in `speech`, else silence, as frames at the speed of time."""

    def __init__(self, speech: Speech) -> None:
        self._speech = speech
        self._due = 0.0
        self._position = 0

    async def next_frame(self) -> Any:
        """The next 20 ms, when it is time."""
        now = asyncio.get_running_loop().time()
        if now - self._due > _LATE_SECONDS:  # the first, or the first after standing still
            self._due = now
        await asyncio.sleep(max(0.0, self._due - now))
        self._due += CHUNK_SECONDS
        frame = MediaFrame(format="s16", layout="mono", samples=PIECE_SAMPLES)
        frame.planes[0].update(self._speech.take())
        frame.sample_rate = PLAYBACK.sample_rate
        frame.time_base = fractions.Fraction(1, PLAYBACK.sample_rate)
        frame.pts = self._position
        self._position += PIECE_SAMPLES
        return frame


async def hear(
    track: Any, participant_id: str, put: Callable[[AudioFrame], None], ended: type[Exception]
) -> None:
    """Pass the sound of a participant's track to `put`, until the track raises `ended`."""
    resampler: Any = None
    first: int | None = None
    position = 0
    while True:
        try:
            heard = await track.recv()
        except ended:
            return
        if heard.format.name != "s16" or heard.layout.nb_channels > 2:
            resampler = resampler or AudioResampler(format="s16", layout="mono")
            frames = resampler.resample(heard)
        else:
            frames = [heard]
        for frame in frames:
            channels = frame.layout.nb_channels
            if frame.pts is not None:
                first = frame.pts - position if first is None else first
                position = max(position, frame.pts - first)  # a jump is a gap
            put(
                AudioFrame(
                    data=bytes(frame.planes[0])[: 2 * channels * frame.samples],
                    sample_rate=frame.sample_rate,
                    channels=channels,
                    timestamp=position,
                    participant_id=participant_id,
                )
            )
            position += frame.samples
