"""A connection as hypercorn gets to see it, with the bounds that hypercorn does not set.

A leaf: knows bytes and trio, and of WebSocket no more than what the first byte of a close frame is.

hypercorn sends under a shield that has no deadline, so a peer that does not read would keep the
server from ever closing: here it has `UNREAD_SECONDS`. hypercorn refuses a message that is too big
with a close frame, and then keeps what follows of it in memory for as long as the peer likes: here,
nothing is passed on after a close frame has left, and reading ends `GOODBYE_SECONDS` later. And
hypercorn unpacks whatever was received in one go, a thousandfold at worst: here, that is little.
"""

from __future__ import annotations

import math
from typing import Final

import trio

UNREAD_SECONDS: float = 10.0
GOODBYE_SECONDS: float = 1.0
_MOST_AT_ONCE: Final = 16 * 1024
_SWITCHING: Final = b"HTTP/1.1 101"
_CLOSE_FRAME: Final = b"\x88"


class GuardedStream:
    """See the module. It has what hypercorn uses of a `trio.SocketStream`."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.socket = stream.socket
        self._stream = stream
        self._is_websocket = False
        self._end_of_goodbye = math.inf

    async def send_all(self, data: bytes) -> None:
        """Send; raises `trio.BrokenResourceError` also where the peer does not take it in time."""
        with trio.move_on_after(UNREAD_SECONDS) as limit:
            await self._stream.send_all(data)
        if limit.cancelled_caught:
            await trio.aclose_forcefully(self._stream)
            raise trio.BrokenResourceError("the peer does not read")
        if data.startswith(_SWITCHING):
            self._is_websocket = True
        elif self._is_websocket and data.startswith(_CLOSE_FRAME):
            self._end_of_goodbye = min(self._end_of_goodbye, trio.current_time() + GOODBYE_SECONDS)

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Return what has come, b"" at the end; after a close frame has left, only the end."""
        with trio.move_on_at(self._end_of_goodbye):
            while True:
                most = min(max_bytes or _MOST_AT_ONCE, _MOST_AT_ONCE)
                data = bytes(await self._stream.receive_some(most))
                if not data or self._end_of_goodbye == math.inf:
                    return data
        # hypercorn would get to it only once its next ping is due.
        await trio.aclose_forcefully(self._stream)
        return b""

    async def send_eof(self) -> None:
        """As of the stream."""
        await self._stream.send_eof()

    async def aclose(self) -> None:
        """As of the stream."""
        await self._stream.aclose()
