"""What the agent says, on its way from Trio's thread to the SDK's: a short buffer of PCM.

Knows bytes, locks and Trio. Must not know the SDK.
"""

from __future__ import annotations

import contextlib
import threading

import trio

from ..audio import AudioFormat

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
