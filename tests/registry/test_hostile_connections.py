"""Bytes that no client of ours would send: each costs its own connection, and nobody else's."""

from __future__ import annotations

import struct
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial

import pytest
import trio

from tests.status.asking import sources
from vsdk_trio._service import open_service
from vsdk_trio.http_server import server as _asgi
from vsdk_trio.http_server import server as http_server
from vsdk_trio.registry.core import Registry
from vsdk_trio.registry.server import open_registry
from vsdk_trio.status.server import serve_status

pytestmark = pytest.mark.real

TEXT = 1
COMPRESSED = 0x40
DEFLATE = b"Sec-WebSocket-Extensions: permessage-deflate\r\n"
HEALTH = b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


def upgrade(extra: bytes = b"") -> bytes:
    return (
        b"GET /agent HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n"
        + extra
        + b"\r\n"
    )


def frame(opcode: int, data: bytes, *, flags: int = 0x80) -> bytes:
    """A masked frame; the mask is zero."""
    return bytes([flags | opcode, 0x80 | 127]) + struct.pack("!Q", len(data)) + bytes(4) + data


@asynccontextmanager
async def open_stream(url: str) -> AsyncIterator[trio.SocketStream]:
    port = int(url.rpartition(":")[2])
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        yield stream


async def upgrade_now(stream: trio.SocketStream, extra: bytes = b"") -> None:
    await stream.send_all(upgrade(extra))
    answer = b""
    while b"\r\n\r\n" not in answer:
        answer += await stream.receive_some()
    assert answer.startswith(b"HTTP/1.1 101")


async def read_all(stream: trio.SocketStream) -> bytes:
    """What comes until the other side ends it, however it does."""
    got = bytearray()
    try:
        async for chunk in stream:
            got += chunk
    except trio.BrokenResourceError:
        pass
    return bytes(got)


async def is_well(url: str) -> bool:
    async with open_stream(url) as stream:
        await stream.send_all(HEALTH)
        return (await read_all(stream)).startswith(b"HTTP/1.1 200")


# Each of them makes hypercorn 0.18 raise from the task that reads the connection.
BREAKING = {
    "a body with the upgrade": [upgrade(b"Content-Length: 5\r\n") + b"hello"],
    "frames before the answer": [upgrade() + frame(TEXT, b"{}")],
    "an extension that makes no sense": [
        upgrade(DEFLATE[:-2] + b"; client_max_window_bits=abc\r\n"),
        frame(TEXT, b"{}"),
    ],
}


@pytest.mark.parametrize("token", [None, "s3cret"])
@pytest.mark.parametrize("parts", BREAKING.values(), ids=BREAKING)
async def test_what_breaks_hypercorn_breaks_one_connection(
    parts: list[bytes], token: str | None
) -> None:
    with trio.fail_after(20):
        async with open_registry(Registry(auth_token=token)) as running:
            async with open_stream(running.url) as stream:
                for part in parts:
                    await stream.send_all(part)
                    await trio.sleep(0.05)
                await read_all(stream)
            assert await is_well(running.url)


@pytest.mark.parametrize("parts", BREAKING.values(), ids=BREAKING)
async def test_the_health_of_a_worker_survives_them_too(parts: list[bytes]) -> None:
    listeners = await _asgi.bind_listeners("127.0.0.1", 0)
    url = _asgi.url_of(listeners)
    with trio.fail_after(20):
        async with open_service(partial(serve_status, listeners, sources()), grace=5):
            async with open_stream(url) as stream:
                for part in parts:
                    await stream.send_all(part)
                    await trio.sleep(0.05)
                await read_all(stream)
            assert await is_well(url)


async def test_a_message_without_end_is_refused_and_not_kept() -> None:
    chunk = frame(TEXT, b"x" * (1 << 20), flags=0)
    sent = 0
    with trio.fail_after(20):
        async with open_registry() as running:
            async with open_stream(running.url) as stream, trio.open_nursery() as nursery:
                await upgrade_now(stream)
                answers: list[bytes] = []

                async def listen() -> None:
                    answers.append(await read_all(stream))
                    nursery.cancel_scope.cancel()

                nursery.start_soon(listen)
                with suppress(trio.BrokenResourceError):
                    while True:
                        await stream.send_all(chunk)
                        sent += 1
                        chunk = b"\x00" + chunk[1:]
                        await trio.sleep(0.05)
                await trio.sleep_forever()
            assert await is_well(running.url)
    # It said 1009, waited for a goodbye, and hung up.
    assert struct.pack("!H", 1009) in answers[0]
    assert sent < 60


async def test_a_bomb_is_unpacked_no_further_than_the_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    unpacked: list[int] = []
    real = zlib.decompressobj

    class Counting:
        def __init__(self, *args: int) -> None:
            self._real = real(*args)

        def decompress(self, data: bytes) -> bytes:
            out = self._real.decompress(data)
            unpacked.append(len(out))
            return out

        def flush(self) -> bytes:
            return self._real.flush()

    monkeypatch.setattr(zlib, "decompressobj", Counting)
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    bomb = packer.compress(b"x" * (200 << 20)) + packer.flush(zlib.Z_SYNC_FLUSH)
    with trio.fail_after(20):
        async with open_registry() as running:
            async with open_stream(running.url) as stream:
                await upgrade_now(stream, DEFLATE)
                await stream.send_all(frame(TEXT, bomb, flags=0x80 | COMPRESSED))
                assert struct.pack("!H", 1009) in await read_all(stream)
            assert await is_well(running.url)
    assert 0 < sum(unpacked) < 40 << 20


async def test_a_worker_over_http2_is_turned_away() -> None:
    """There, the guard could not see what hypercorn tells the peer."""
    with trio.fail_after(20):
        async with open_registry() as running, open_stream(running.url) as stream:
            import h2.config
            import h2.connection
            import h2.events

            http2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
            http2.initiate_connection()
            await stream.send_all(http2.data_to_send())
            http2.receive_data(await stream.receive_some())
            pseudo = {":method": "CONNECT", ":protocol": "websocket", ":scheme": "http"}
            headers = pseudo | {":path": "/agent", ":authority": "x", "sec-websocket-version": "13"}
            http2.send_headers(1, list(headers.items()))
            await stream.send_all(http2.data_to_send())
            status = None
            while status is None:
                for event in http2.receive_data(await stream.receive_some()):
                    if isinstance(event, h2.events.ResponseReceived):
                        status = dict(event.headers)[b":status"]
            assert status == b"400"


async def test_what_a_deaf_peer_does_not_take_breaks_its_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(http_server, "UNREAD_SECONDS", 0.2)
    (listener,) = await _asgi.bind_listeners("127.0.0.1", 0)
    with trio.fail_after(10), listener:
        accepting = trio.SocketListener(trio.socket.from_stdlib_socket(listener))
        async with open_stream(_asgi.url_of((listener,))), await accepting.accept() as plain:
            guarded = http_server.GuardedStream(plain)
            with trio.CancelScope(shield=True), pytest.raises(trio.BrokenResourceError):  # noqa: PT012
                while True:
                    await guarded.send_all(bytes(1 << 20))
