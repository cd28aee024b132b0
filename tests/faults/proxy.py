"""A TCP proxy that does to a connection what networks do: for tests, on loopback.

It forwards bytes and knows nothing of what they mean. Faults hold for the connections that are open
and for those that come, until `heal`.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from functools import partial

import attrs
import trio

_CHUNK_BYTES = 16 << 10
_BROKEN = (OSError, trio.BrokenResourceError, trio.ClosedResourceError)


@attrs.frozen(kw_only=True)
class Weather:
    """What becomes of the bytes. Seconds and bytes; the limit holds for each direction."""

    bytes_per_second: float | None = None
    delay: float = 0.0


CLEAR = Weather()


@attrs.define(eq=False)
class _Connection:
    client: trio.SocketStream
    server: trio.SocketStream | None = None
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    is_reset: bool = False
    forwarded: int = 0

    def end(self) -> None:
        """Close both ends: with RST, so without lingering or what is unsent, or with FIN."""
        for stream in filter(None, (self.client, self.server)):
            if self.is_reset:
                with suppress(OSError):
                    linger = struct.pack("ii", 1, 0)
                    stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            stream.socket.close()


@attrs.define(eq=False)
class FaultyProxy:
    """Between the clients of `port` and whatever serves at `target` (a port) at the moment."""

    target: int
    port: int = 0
    weather: Weather = CLEAR
    accepted: int = 0
    """How many connections have come."""
    forwarded: int = 0
    """How many bytes have gone through."""
    _cut_after: int | None = None
    _refuses: bool = False
    _flowing: trio.Event = attrs.field(factory=trio.Event)
    _open: set[_Connection] = attrs.field(factory=set)

    def __attrs_post_init__(self) -> None:
        self._flowing.set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def reset(self) -> int:
        """Break every connection with RST, to both sides; return how many there were."""
        for connection in (broken := list(self._open)):
            connection.is_reset = True
            connection.scope.cancel()
        return len(broken)

    def close(self) -> None:
        """End every connection with FIN, to both sides."""
        for connection in list(self._open):
            connection.scope.cancel()

    def black_hole(self) -> None:
        """From now on nothing arrives any more, and nobody is told."""
        if self._flowing.is_set():
            self._flowing = trio.Event()

    def refuse(self) -> None:
        """Reset what is open, and everything that comes."""
        self._refuses = True
        self.reset()

    def cut_after(self, count: int) -> None:
        """Reset each connection that comes once `count` bytes of it were forwarded."""
        self._cut_after = count

    def heal(self) -> None:
        """End every fault; what the black hole has held back arrives now."""
        self.weather = CLEAR
        self._cut_after = None
        self._refuses = False
        self._flowing.set()

    async def _serve(self, client: trio.SocketStream) -> None:
        self.accepted += 1
        connection = _Connection(client, is_reset=True)
        cut_after = self._cut_after
        self._open.add(connection)
        try:
            with connection.scope, suppress(OSError):
                if self._refuses:
                    return
                connection.server = server = await trio.open_tcp_stream("127.0.0.1", self.target)
                connection.is_reset = False
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._pump, connection, client, server, cut_after)
                    nursery.start_soon(self._pump, connection, server, client, cut_after)
        finally:
            self._open.discard(connection)
            connection.end()

    async def _pump(
        self,
        connection: _Connection,
        source: trio.SocketStream,
        sink: trio.SocketStream,
        cut_after: int | None,
    ) -> None:
        try:
            while data := await source.receive_some(_CHUNK_BYTES):
                if cut_after is not None and connection.forwarded + len(data) >= cut_after:
                    data = data[: max(0, cut_after - connection.forwarded)]
                    connection.is_reset = True
                await self._forward(connection, sink, data)
                if connection.is_reset:
                    break
            else:
                await self._flowing.wait()
        except _BROKEN:
            connection.is_reset = True
        connection.scope.cancel()

    async def _forward(self, connection: _Connection, sink: trio.SocketStream, data: bytes) -> None:
        while data:
            weather = self.weather
            size = len(data)
            if weather.bytes_per_second is not None:
                size = max(1, int(weather.bytes_per_second / 20))
            piece, data = data[:size], data[size:]
            await self._flowing.wait()
            if weather.delay:
                await trio.sleep(weather.delay)
            if weather.bytes_per_second is not None:
                await trio.sleep(len(piece) / weather.bytes_per_second)
            # What was on its way when the hole opened is in it.
            await self._flowing.wait()
            await sink.send_all(piece)
            connection.forwarded += len(piece)
            self.forwarded += len(piece)


@asynccontextmanager
async def open_proxy(target: int) -> AsyncGenerator[FaultyProxy]:
    """Run a proxy to port `target` of this machine for the length of the block."""
    proxy = FaultyProxy(target)
    async with trio.open_nursery() as nursery:
        serve = partial(trio.serve_tcp, proxy._serve, 0, host="127.0.0.1")
        (listener,) = await nursery.start(serve)
        proxy.port = listener.socket.getsockname()[1]
        yield proxy
        nursery.cancel_scope.cancel()
