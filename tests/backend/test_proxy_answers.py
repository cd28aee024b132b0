"""What a proxy says of a refusal, which may be what it was asked with, or a book."""

from __future__ import annotations

import base64

import pytest
import trio
import trio.testing

from vsdk_trio.backend.dialer import ProxyDialer
from vsdk_trio.errors import ConnectError
from vsdk_trio.testing.raw_websocket import read_head

LOGIN = base64.b64encode(b"user:t0p-s3cret")


async def refused_with(reason: bytes, monkeypatch, nursery) -> str:
    ours, theirs = trio.testing.memory_stream_pair()

    async def dial(_self, host: str, port: int) -> trio.abc.Stream:
        await trio.lowlevel.checkpoint()
        return ours

    async def serve() -> None:
        assert b"Basic " + LOGIN in await read_head(theirs)
        await theirs.send_all(b"HTTP/1.1 407 " + reason + b"\r\nContent-Length: 0\r\n\r\n")

    monkeypatch.setattr("vsdk_trio.backend.dialer.DirectDialer.dial", dial)
    nursery.start_soon(serve)
    proxy = ProxyDialer.from_url("http://user:t0p-s3cret@proxy.test")
    with pytest.raises(ConnectError, match="it answered 407") as caught:
        await proxy.dial("registry.test", 443)
    return str(caught.value)


@pytest.mark.parametrize("secret", [b"t0p-s3cret", LOGIN])
async def test_it_quotes_the_credentials(monkeypatch, nursery, secret):
    text = await refused_with(b"bad: " + secret, monkeypatch, nursery)
    assert text.endswith("it answered 407 bad: ***")


async def test_it_has_much_to_say(monkeypatch, nursery):
    assert len(await refused_with(b"x" * 10_000, monkeypatch, nursery)) < 300
