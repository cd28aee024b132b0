"""Dialers over real sockets: HTTP CONNECT and SOCKS5 proxies with credentials, and who uses one."""

from __future__ import annotations

import base64
import socket
import ssl
import struct

import pytest
import trio
import trustme

from vsdk_trio.backend.dialer import DirectDialer, ProxyDialer, choose_dialer
from vsdk_trio.errors import ConnectError, OptionsError
from vsdk_trio.testing.raw_websocket import read_head

LOGIN = base64.b64encode(b"us er:p@ss")


async def _pump(source, sink) -> None:
    async for chunk in source:
        await sink.send_all(chunk)
    await sink.send_eof()


async def _splice(one, host: str, port: int) -> None:
    async with await trio.open_tcp_stream(host, port) as other, trio.open_nursery() as nursery:
        nursery.start_soon(_pump, one, other)
        nursery.start_soon(_pump, other, one)


async def _echo(stream) -> None:
    async for chunk in stream:
        await stream.send_all(chunk)


async def _http_proxy(stream) -> None:
    head = await read_head(stream)
    if b"Proxy-Authorization: Basic " + LOGIN not in head:
        await stream.send_all(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")
        return
    host, _, port = head.split()[1].decode().rpartition(":")
    # In two packets: what follows the status line must not be taken for the target's words.
    await stream.send_all(b"HTTP/1.1 200 Conn")
    await trio.sleep(0.02)
    await stream.send_all(b"ection established\r\nVia: a proxy\r\n\r\n")
    await _splice(stream, host, int(port))


async def _socks5_proxy(stream) -> None:
    greeting = await stream.receive_some()
    assert 2 in greeting[2:]
    await stream.send_all(b"\x05\x02")
    login = await stream.receive_some()
    user = login[2 : 2 + login[1]]
    password = login[3 + login[1] :]
    if (user, password) != (b"us er", b"p@ss"):
        await stream.send_all(b"\x01\x01")
        return
    await stream.send_all(b"\x01\x00")
    request = await stream.receive_some()
    assert request[3] == 3  # a name: the proxy resolves it
    host = request[5 : 5 + request[4]].decode()
    port = int.from_bytes(request[-2:], "big")
    await stream.send_all(b"\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00")
    await _splice(stream, host, port)


@pytest.mark.real
@pytest.mark.parametrize(
    ("scheme", "proxy"),
    [("http", _http_proxy), ("socks5", _socks5_proxy), ("socks5h", _socks5_proxy)],
)
async def test_through_a_proxy_with_credentials(serve, scheme, proxy):
    target, port = await serve(_echo), await serve(proxy)
    dialer = ProxyDialer.from_url(f"{scheme}://us%20er:p%40ss@127.0.0.1:{port}")
    async with await dialer.dial("localhost", target) as stream:
        await stream.send_all(b"hello")
        assert await stream.receive_some() == b"hello"
    assert "p@ss" not in repr(dialer)
    assert "us er" not in repr(dialer)


@pytest.mark.real
@pytest.mark.parametrize(
    ("scheme", "proxy", "match"),
    [("http", _http_proxy, "407 Proxy Auth"), ("socks5", _socks5_proxy, "auth")],
)
async def test_wrong_credentials_are_said_and_not_quoted(serve, scheme, proxy, match):
    port = await serve(proxy)
    with pytest.raises(ConnectError, match=match) as caught:
        await ProxyDialer.from_url(f"{scheme}://us:hush@127.0.0.1:{port}").dial("localhost", 1)
    assert "hush" not in str(caught.value)
    assert "hush" not in repr(caught.value.__cause__)


async def _closes(stream) -> None:
    await stream.receive_some()


async def _answers_junk(stream) -> None:
    await stream.receive_some()
    await stream.send_all(b"\x00\xff junk\r\n\r\n")


@pytest.mark.real
@pytest.mark.parametrize("scheme", ["http", "socks5"])
@pytest.mark.parametrize("proxy", [_closes, _answers_junk])
async def test_a_broken_proxy_is_one_error(serve, scheme, proxy):
    port = await serve(proxy)
    with pytest.raises(ConnectError, match=f"proxy {scheme}://127"):
        await ProxyDialer.from_url(f"{scheme}://u:p@127.0.0.1:{port}").dial("localhost", 1)


@pytest.mark.real
@pytest.mark.parametrize("scheme", ["http", "https", "socks5"])
async def test_a_proxy_that_is_away(scheme):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(ConnectError, match=str(port)):
        await ProxyDialer.from_url(f"{scheme}://127.0.0.1:{port}").dial("localhost", 1)


@pytest.mark.real
async def test_a_port_where_nobody_listens():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(ConnectError, match=f"cannot connect to 127.0.0.1:{port}"):
        await DirectDialer().dial("127.0.0.1", port)


@pytest.mark.parametrize(
    ("url", "match"),
    [
        ("ftp://proxy", "not ftp"),
        ("http://", "no host"),
        ("http://user:hush@proxy:port", "not a URL"),
    ],
)
def test_what_is_no_proxy(url, match):
    with pytest.raises(OptionsError, match=match) as caught:
        ProxyDialer.from_url(url)
    assert "hush" not in str(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


@pytest.mark.real
async def test_credentials_that_fit_no_header_are_not_quoted(serve):
    port = await serve(_http_proxy)
    with pytest.raises(ConnectError, match="cannot stand in a header") as caught:
        await ProxyDialer.from_url(f"http://127.0.0.1:{port}").dial("bad host\r\n", 1)
    assert caught.value.__cause__ is None


async def _resets_midway(stream) -> None:
    await stream.send_all(b"HTTP/1.1 200")
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    stream.socket.close()


@pytest.mark.real
@pytest.mark.parametrize("scheme", ["http", "socks5"])
async def test_a_proxy_that_resets(serve, scheme):
    port = await serve(_resets_midway)
    with pytest.raises(ConnectError, match=f"proxy {scheme}://127"):
        await ProxyDialer.from_url(f"{scheme}://u:p@127.0.0.1:{port}").dial("localhost", 1)


@pytest.mark.real
async def test_an_https_proxy(serve, monkeypatch):
    authority = trustme.CA()
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    client = ssl.create_default_context()
    authority.issue_cert("127.0.0.1").configure_cert(server)
    authority.configure_trust(client)
    monkeypatch.setattr("vsdk_trio.backend.dialer.default_ssl_context", lambda: client)

    async def proxy(stream) -> None:
        await read_head(stream)
        await stream.send_all(b"HTTP/1.1 200 OK\r\n\r\n")
        await _echo(stream)

    port = await serve(proxy, server)
    dialer = ProxyDialer.from_url(f"https://127.0.0.1:{port}")
    async with await dialer.dial("r.example", 443) as stream:
        await stream.send_all(b"hello")
        assert await stream.receive_some() == b"hello"


def test_a_proxy_url_has_defaults():
    assert ProxyDialer.from_url("proxy") == ProxyDialer("http", "proxy", 3128)
    assert ProxyDialer.from_url("socks5://u@proxy") == ProxyDialer("socks5", "proxy", 1080, "u")


ENVIRON = {
    "HTTPS_PROXY": "http://secure:1",
    "http_proxy": "http://plain:2",
    "NO_PROXY": "internal.example, .sub.example,10.0.0.0/8,[fd00::1]:443,odd.example:8443,bad/cidr",
}


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("wss://r.example/agent", "secure"),
        ("r.example", "secure"),
        ("ws://r.example", "plain"),
        ("ws://127.0.0.1:8080", None),
        ("ws://[::1]:8080", None),
        ("ws://localhost", None),
        ("wss://internal.example", None),
        ("wss://a.internal.example", None),
        ("wss://notinternal.example", "secure"),
        ("wss://a.sub.example", None),
        ("wss://10.1.2.3", None),
        ("wss://11.1.2.3", "secure"),
        ("wss://[fd00::1]", None),
        ("wss://[fd00::2]", "secure"),
        ("wss://odd.example:8443", None),
        ("wss://odd.example", "secure"),
    ],
)
def test_the_environment_chooses(url, host):
    dialer = choose_dialer(None, url, ENVIRON)
    assert (dialer.host if isinstance(dialer, ProxyDialer) else None) == host


def test_what_wins():
    everything = {"all_proxy": "socks5://all", "no_proxy": "*"}
    assert choose_dialer(None, "wss://r", {}) == DirectDialer()
    assert choose_dialer(None, "wss://r", everything) == DirectDialer()
    del everything["no_proxy"]
    assert choose_dialer(None, "wss://r", everything) == ProxyDialer("socks5", "all", 1080)
    assert choose_dialer("", "wss://r", everything) == DirectDialer()
    explicit = choose_dialer("http://mine:3", "ws://localhost", everything)
    assert explicit == ProxyDialer("http", "mine", 3)
