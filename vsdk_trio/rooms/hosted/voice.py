"""The SDK's tracks: the agent's voice, and what it hears. asyncio.

Imports the SDK's media stack: import it in the SDK's thread. Must not know Trio's side.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from vsaiortc.mediastreams import (  # pyright: ignore[reportMissingImports]
    MediaStreamError,
    MediaStreamTrack,
)

from ..audio import AudioFrame
from ..media import Voice, hear
from .speech import Speech


class AgentVoice(MediaStreamTrack):  # type: ignore[misc]  # the SDK's classes are not checked
    """The track that the SDK sends."""

    kind = "audio"

    def __init__(self, speech: Speech) -> None:
        super().__init__()
        self._voice = Voice(speech)

    async def recv(self) -> Any:
        """The next 20 ms."""
        if self.readyState != "live":
            raise MediaStreamError
        return await self._voice.next_frame()


async def listen(track: Any, participant_id: str, put: Callable[[AudioFrame], None]) -> None:
    """Hand over what comes on a track of somebody's, until it ends."""
    await hear(track, participant_id, put, MediaStreamError)
