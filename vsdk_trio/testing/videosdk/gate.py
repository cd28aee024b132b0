"""A stream that can be made to stand still, as one does whose network is cut."""

from __future__ import annotations

import trio


class GatedStream(trio.abc.Stream):
    """`stream` as it is, until `shut()`: from then on nothing comes, and what is sent is lost."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream
        self._shut = trio.Event()

    def shut(self) -> None:
        """Stand still from now on; the other side is not told."""
        self._shut.set()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        data = await self._stream.receive_some(max_bytes)
        if self._shut.is_set():
            await trio.sleep_forever()
        return data

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        if self._shut.is_set():
            await trio.lowlevel.checkpoint()
            return
        await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        await self._stream.aclose()
