"""Targets: a worker's connection, REST client and proxy tunnel at the hands of a hostile peer."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import random
import zlib
from collections.abc import Awaitable, Callable

import trio
import trio.abc
import trio.testing

from vsdk_trio.backend.api import DispatchResult, RegistryApi
from vsdk_trio.backend.connection import BackendConnection
from vsdk_trio.backend.dialer import ProxyDialer
from vsdk_trio.backend.websocket import open_link
from vsdk_trio.errors import ApiError, ConnectError
from vsdk_trio.protocol.messages import MAX_MESSAGE_BYTES, JobTermination
from vsdk_trio.testing.network import MemoryDialer
from vsdk_trio.testing.raw_websocket import (
    CLOSE,
    PING,
    PONG,
    TEXT,
    accept_upgrade,
    close_frame,
    frame,
    read_head,
)

from ..base import TOKEN, Target, expect, json_lines, only, send_chunks, simulate
from . import codec

_SECRET = TOKEN.encode()
_LINGER_SECONDS = 30.0
_SWITCH = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: @ACCEPT@\r\n\r\n"
)
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


async def _drain(stream: trio.abc.ReceiveStream) -> None:
    """Read what the other side has to say, for a while."""
    with trio.move_on_after(_LINGER_SECONDS):
        try:
            while await stream.receive_some():
                pass
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass


async def _with_peer(
    serve: Callable[[trio.abc.Stream], Awaitable[None]],
    use: Callable[[MemoryDialer], Awaitable[None]],
) -> None:
    async def contained(stream: trio.abc.Stream) -> None:
        with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError, EOFError):
            await serve(stream)

    async with trio.open_nursery() as nursery:
        await use(MemoryDialer(contained, nursery))
        nursery.cancel_scope.cancel()


def run_websocket(data: bytes) -> None:
    """What follows the request of an upgrade, byte for byte; then silence, then the end."""

    async def serve(stream: trio.abc.Stream) -> None:
        head = await read_head(stream)
        key = head.split(b"Sec-WebSocket-Key: ")[1].split(b"\r\n")[0]
        accept = base64.b64encode(hashlib.sha1(key + _GUID).digest())
        await send_chunks(stream, data.replace(b"@ACCEPT@", accept))
        await _drain(stream)

    async def use(dialer: MemoryDialer) -> None:
        with only(ConnectError):
            async with open_link(
                "ws://registry.test/agent",
                dialer=dialer,
                headers={"Authorization": f"Bearer {TOKEN}"},
            ) as link:
                await link.send("hello")
                with trio.move_on_after(5):
                    await link.ping()
                while True:
                    message = await link.receive()
                    expect(len(message) <= MAX_MESSAGE_BYTES, "a message that is too big")

    simulate(lambda: _with_peer(serve, use))


def run_connection(data: bytes) -> None:
    """Each line is a frame in a registered session; the next session is as if nothing had been."""
    lines = data.split(b"\n")
    sessions = 0

    async def serve(stream: trio.abc.Stream) -> None:
        nonlocal sessions
        sessions += 1
        await accept_upgrade(stream)
        await stream.send_all(frame(TEXT, b'{"type":"register","success":true,"worker_id":"w"}'))
        if sessions == 1:
            await send_chunks(stream, b"".join(frame(TEXT, line) for line in lines))
        else:
            await stream.send_all(frame(TEXT, b'{"type":"job_termination","job_id":"sentinel"}'))
            await _drain(stream)

    async def use(dialer: MemoryDialer) -> None:
        connection = BackendConnection(
            TOKEN,
            "agent",
            backend_url="ws://registry.test",
            dialer=dialer,
            rng=random.Random(0),
        )
        async with connection:
            async for event in connection:
                # Not the one that a mutation may have made of the hostile frames.
                if sessions > 1 and event == JobTermination(job_id="sentinel"):
                    break

    simulate(lambda: _with_peer(serve, use))


def run_api(data: bytes) -> None:
    """The answer to a REST call, byte for byte."""

    async def serve(stream: trio.abc.Stream) -> None:
        await read_head(stream)
        await send_chunks(stream, data)
        if zlib.crc32(data) & 8:
            await _drain(stream)

    async def use(dialer: MemoryDialer) -> None:
        api = RegistryApi("http://api.test", lambda url: dialer)
        with only(ApiError), trio.move_on_after(60):
            match zlib.crc32(data) % 3:
                case 0:
                    expect(isinstance(await api.init_config(TOKEN), str), "no URL")
                case 1:
                    expect(isinstance(await api.create_room(TOKEN), str), "no id")
                case _:
                    result = await api.dispatch(TOKEN, "room", "agent", {"a": 1})
                    expect(isinstance(result, DispatchResult), "no result")

    simulate(lambda: _with_peer(serve, use))


def run_proxy(data: bytes) -> None:
    """The answer to CONNECT, byte for byte."""
    proxy = ProxyDialer("http", "proxy.test", 3128, "user", TOKEN)

    async def main() -> None:
        ours, theirs = trio.testing.memory_stream_pair()
        async with trio.open_nursery() as nursery:

            async def serve() -> None:
                await read_head(theirs)
                await send_chunks(theirs, data)
                await theirs.aclose()

            nursery.start_soon(serve)
            with only(ConnectError):
                await proxy._http_connect(ours, "registry.test", 443)

    simulate(main)


def _answer(status: bytes, body: bytes, *headers: bytes) -> bytes:
    length = b"Content-Length: %d" % len(body)
    return b"\r\n".join((b"HTTP/1.1 " + status, length, *headers, b"", body))


_ANSWERS = (
    _answer(b"200 OK", b'{"success":true,"data":{"registryUrl":"https://r.test"},"roomId":"r"}'),
    _answer(b"200 OK", b'{"data":{"success":true,"status":"assigned","roomId":"r","agentId":"a"}}'),
    _answer(b"401 No", b'{"message":"bad token ' + _SECRET + b'"}', b"Retry-After: 5"),
    _answer(b"503 " + _SECRET, b'{"error":{"a":1}}'),
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n{}\n\r\n0\r\n\r\n",
    b"HTTP/1.0 200 OK\r\n\r\n{}",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 \r\n\r\n",
    b"HTTP/1.1 200 OK\r\nAuthorization " + _SECRET + b"\r\n\r\n",
    _SECRET + b"\r\n\r\n",
)
_WORDS = (b"\r\n", b": ", b"HTTP/1.1 ", b"HTTP/1.0 ", b"Content-Length: ", b"chunked", b"gzip",
          b"Transfer-Encoding: ", b"Connection: close", b"Retry-After: ", b"Location: ", _SECRET,
          b"Content-Encoding: ", b"Set-Cookie: a", b"101", b"204", b"304")  # fmt: skip
_FRAMES = tuple(frame(TEXT, seed) for seed in codec.SEEDS[:6])
_LINES = b"\n".join(codec.SEEDS[2:6])

TARGETS = (
    Target(
        name="websocket",
        run=run_websocket,
        seeds=(
            _SWITCH + b"".join(_FRAMES) + close_frame(1000, "bye"),
            _SWITCH + frame(TEXT, b"a", final=False) + frame(PING, b"p") + frame(0, b"b"),
            _SWITCH + frame(PONG, b"x") + frame(2, b"\0") + frame(CLOSE, b""),
            _SWITCH + close_frame(4001, TOKEN),
            _SWITCH.replace(
                b"\r\n\r\n", b"\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n"
            ),
            *_ANSWERS,
        ),
        words=(
            *_WORDS,
            b"Sec-WebSocket-Accept: @ACCEPT@",
            b"Sec-WebSocket-Protocol: ",
            _SWITCH,
            frame(CLOSE, b""),
            frame(PING, b"x" * 130),
            b"\x81\x7f",
            b"\x88\x02\x03\xe8",
            b"\x81\x7e\xff\xff",
            b"\xc1\x01",
            b"\x89\x7e",
        ),
        built=json_lines(codec.TYPES, codec.NAMES, most=3).map(
            lambda lines: _SWITCH + b"".join(frame(TEXT, line) for line in lines.split(b"\n"))
        ),
        share=14,
        quick=800,
    ),
    Target(
        name="connection",
        run=run_connection,
        seeds=(_LINES, *codec.SEEDS[:6]),
        words=codec.WORDS,
        built=json_lines(codec.TYPES, codec.NAMES, most=4),
        share=4,
        quick=200,
    ),
    Target(
        name="api",
        run=run_api,
        seeds=_ANSWERS,
        words=_WORDS,
        built=json_lines((), ("success", "data", "registryUrl", "roomId", "message", "error")).map(
            lambda body: _answer(b"200 OK", body)
        ),
        share=15,
        quick=800,
    ),
    Target(
        name="proxy",
        run=run_proxy,
        seeds=(
            b"HTTP/1.1 200 Connection established\r\n\r\n",
            b"HTTP/1.1 407 " + _SECRET + b"\r\nContent-Length: 0\r\n\r\n",
            b"HTTP/1.1 407 " + base64.b64encode(b"user:" + _SECRET) + b"\r\n\r\n",
            *_ANSWERS,
        ),
        words=_WORDS,
        share=100,
        quick=1000,
    ),
)
