"""Sound between the SDK's tracks and ours: the agent's voice, and what it hears. asyncio.

Imports the SDK's media stack: import it in the SDK's thread. Must not know Trio's side.
"""

from __future__ import annotations

import asyncio
import fractions
from collections.abc import Callable
from typing import Any

from av import AudioFrame as SdkFrame  # pyright: ignore[reportMissingImports]
from av import AudioResampler  # pyright: ignore[reportMissingImports]
from vsaiortc.mediastreams import (  # pyright: ignore[reportMissingImports]
    MediaStreamError,
    MediaStreamTrack,
)

from ..audio import CHUNK_SECONDS, AudioFrame
from .speech import PIECE_SAMPLES, PLAYBACK, Speech

_LATE_SECONDS = 1.0


class AgentVoice(MediaStreamTrack):  # type: ignore[misc]  # the SDK's classes are not checked
    """The track that the SDK sends: what is in `speech`, else silence, at the speed of time."""

    kind = "audio"

    def __init__(self, speech: Speech) -> None:
        super().__init__()
        self._speech = speech
        self._due = 0.0
        self._position = 0

    async def recv(self) -> Any:
        """The next 20 ms."""
        if self.readyState != "live":
            raise MediaStreamError
        now = asyncio.get_running_loop().time()
        if now - self._due > _LATE_SECONDS:  # the first, or the first after standing still
            self._due = now
        await asyncio.sleep(max(0.0, self._due - now))
        self._due += CHUNK_SECONDS
        frame = SdkFrame(format="s16", layout="mono", samples=PIECE_SAMPLES)
        frame.planes[0].update(self._speech.take())
        frame.sample_rate = PLAYBACK.sample_rate
        frame.time_base = fractions.Fraction(1, PLAYBACK.sample_rate)
        frame.pts = self._position
        self._position += PIECE_SAMPLES
        return frame


async def listen(track: Any, participant_id: str, put: Callable[[AudioFrame], None]) -> None:
    """Hand over what comes on a track of somebody's, until it ends."""
    resampler: Any = None
    first: int | None = None
    position = 0
    while True:
        try:
            heard = await track.recv()
        except MediaStreamError:
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
