"""The proxy does what it says: else the tests behind it show nothing."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial

import pytest
import trio

from ..system.conftest import eventually
from .proxy import FaultyProxy, Weather, open_proxy

pytestmark = pytest.mark.real


async def echo(stream: trio.SocketStream) -> None:
    try:
        async for data in stream:
            await stream.send_all(data)
    except trio.BrokenResourceError:
        pass


@asynccontextmanager
async def open_echo() -> AsyncGenerator[tuple[FaultyProxy, trio.SocketStream]]:
    """A proxy, and a client on the other side of it."""
    serve = partial(trio.serve_tcp, echo, 0, host="127.0.0.1")
    async with trio.open_nursery() as nursery:
        (listener,) = await nursery.start(serve)
        async with (
            open_proxy(listener.socket.getsockname()[1]) as proxy,
            await trio.open_tcp_stream("127.0.0.1", proxy.port) as client,
        ):
            with trio.fail_after(20):
                yield proxy, client
        nursery.cancel_scope.cancel()


async def said(client: trio.SocketStream, text: bytes) -> bytes:
    await client.send_all(text)
    heard = b""
    while len(heard) < len(text):
        heard += await client.receive_some()
    return heard


async def test_it_forwards() -> None:
    async with open_echo() as (proxy, client):
        assert await said(client, b"x" * 100_000) == b"x" * 100_000
        await eventually(lambda: proxy.forwarded == 200_000, "not all of it")


async def test_reset() -> None:
    async with open_echo() as (proxy, client):
        await said(client, b"hello")
        assert proxy.reset() == 1
        with pytest.raises(trio.BrokenResourceError, match="reset by peer"):
            await client.receive_some()


async def test_close() -> None:
    async with open_echo() as (proxy, client):
        await said(client, b"hello")
        proxy.close()
        assert await client.receive_some() == b""


async def test_black_hole() -> None:
    async with open_echo() as (proxy, client):
        proxy.black_hole()
        with trio.move_on_after(0.2) as patience:
            await said(client, b"hello")
        assert patience.cancelled_caught
        proxy.heal()
        assert await client.receive_some() == b"hello"


async def test_slow() -> None:
    async with open_echo() as (proxy, client):
        proxy.weather = Weather(bytes_per_second=1000)
        began = trio.current_time()
        await said(client, b"x" * 100)
        assert trio.current_time() - began > 0.1


async def test_cut_after_some_bytes() -> None:
    async with open_echo() as (proxy, _):
        proxy.cut_after(7)
        async with await trio.open_tcp_stream("127.0.0.1", proxy.port) as client:
            with pytest.raises(trio.BrokenResourceError, match="reset by peer"):
                await said(client, b"longer than that")
        assert proxy.forwarded == 7


async def test_refuse() -> None:
    async with open_echo() as (proxy, _):
        proxy.refuse()
        async with await trio.open_tcp_stream("127.0.0.1", proxy.port) as client:
            with pytest.raises(trio.BrokenResourceError, match="reset by peer"):
                await said(client, b"hello")
