"""Says what the agent wants to say, at the speed of speech. Must not know any transport.

A transport that is handed everything at once could not be interrupted: so at most `AHEAD_SECONDS`
are on their way, enough to ride out a busy moment.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Iterable
from contextlib import aclosing
from inspect import isasyncgen

import trio

from .audio import AudioFrame, split
from .convert import Converter
from .hub import RoomHub
from .transport import Transport

AHEAD_SECONDS = 0.2


async def speak(
    frames: AsyncIterable[AudioFrame] | Iterable[AudioFrame], transport: Transport, hub: RoomHub
) -> None:
    """Send `frames`, and return when the last one has been heard, or the session has ended.

    However else this ends, what is on its way is dropped.
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
            if isasyncgen(frames):  # nobody else can close it: it is usually made in the call
                await frames.aclose()
    else:
        for frame in frames:
            yield frame
