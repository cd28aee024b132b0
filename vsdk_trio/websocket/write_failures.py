"""Sees when a send was cut off half-way. A leaf: must not know what is sent."""

from __future__ import annotations

import trio
import trio.abc


class CutWatch(trio.abc.Stream):
    """Passes everything on; `is_cut` once a send was cut off or failed.

    Whatever was sent after that would be read as the rest of it.
    """

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream
        self.is_cut = False

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send, and note when that does not end well."""
        try:
            await self._stream.send_all(data)
        except BaseException:
            self.is_cut = True
            raise

    async def wait_send_all_might_not_block(self) -> None:
        """As the stream does it."""
        await self._stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        """As the stream does it."""
        return await self._stream.receive_some(max_bytes)

    async def aclose(self) -> None:
        """As the stream does it."""
        await self._stream.aclose()
