"""The server's end of ICE: answers checks, knows no candidates of its own ("lite"). asyncio.

Stands under vsaiortc's DTLS transport in the place of its ICE transport. Heavy: import it in the
asyncio thread. Must not know rooms.
"""

from __future__ import annotations

import asyncio
import secrets
from typing import Any, cast

from aioice import stun  # pyright: ignore[reportMissingImports]

_MOST_WAITING = 1000


class IceLite(asyncio.DatagramProtocol):
    """One UDP socket on `host`. `is_silent` makes it deaf and mute, as a cut network is."""

    role = "controlled"  # the SDK's side controls
    state = "completed"

    def __init__(self, host: str) -> None:
        self.host = host
        self.port = 0
        self.user = secrets.token_hex(4)
        self.password = secrets.token_hex(12)
        self.is_silent = False
        self.found = asyncio.Event()
        self._peer: tuple[str, int] | None = None
        self._arrived: asyncio.Queue[bytes | None] = asyncio.Queue(_MOST_WAITING)
        self._socket: asyncio.DatagramTransport | None = None

    async def listen(self) -> None:
        """Bind the socket."""
        loop = asyncio.get_running_loop()
        await loop.create_datagram_endpoint(lambda: self, local_addr=(self.host, 0))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._socket = cast(asyncio.DatagramTransport, transport)
        self.port = transport.get_extra_info("sockname")[1]

    def datagram_received(self, data: bytes, addr: tuple[str | Any, int]) -> None:
        if self.is_silent or not data:
            return
        if data[0] >= 4:  # not STUN
            if not self._arrived.full():
                self._arrived.put_nowait(data)
            return
        try:
            message = stun.parse_message(data)
        except ValueError:
            return
        if message.message_class == stun.Class.REQUEST:
            self._answer(message, addr)

    def _answer(self, check: Any, addr: tuple[str | Any, int]) -> None:
        answer = stun.Message(
            message_method=stun.Method.BINDING,
            message_class=stun.Class.RESPONSE,
            transaction_id=check.transaction_id,
        )
        answer.attributes["XOR-MAPPED-ADDRESS"] = addr
        answer.add_message_integrity(self.password.encode())
        if self._peer is None or "USE-CANDIDATE" in check.attributes:
            self._peer = addr
            self.found.set()
        self._put_out(bytes(answer), addr)

    def _put_out(self, data: bytes, addr: tuple[str | Any, int]) -> None:
        if self._socket is not None and not self._socket.is_closing():
            self._socket.sendto(data, addr)

    # What vsaiortc's DTLS transport asks of what is below it.

    async def _recv(self) -> bytes:
        data = await self._arrived.get()
        if data is None:
            raise ConnectionError
        return data

    async def _send(self, data: bytes) -> None:
        if self._peer is not None and not self.is_silent:
            self._put_out(data, self._peer)

    def close(self) -> None:
        """Close the socket; whoever reads gets a `ConnectionError`."""
        if self._arrived.full():
            self._arrived.get_nowait()
        self._arrived.put_nowait(None)
        if self._socket is not None:
            self._socket.close()
