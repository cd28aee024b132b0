"""Never from TLS to plain text: where TLS was meant, nothing else ever reads the token."""

from __future__ import annotations

import json
import ssl
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from functools import partial

import pytest
import trio
import trustme

from vsdk_trio.backend import open_backend_connection
from vsdk_trio.backend.urls import answered_room_api, answered_url
from vsdk_trio.errors import ConnectError, RegistryUnreachableError

TOKEN = "clear-token-0123456789"


@pytest.mark.parametrize(
    ("base", "answered", "wanted"),
    [
        # Over TLS already, or never meant to be.
        ("https://api.example", "wss://r.example", "wss://r.example"),
        ("https://api.example", "https://r.example/x", "https://r.example/x"),
        ("https://api.example", "r.example", "r.example"),
        ("api.example", "wss://r.example", "wss://r.example"),
        ("http://127.0.0.1:8080", "ws://127.0.0.1:8080", "ws://127.0.0.1:8080"),
        ("http://10.0.0.1", "ws://r.example", "ws://r.example"),
        # A proxy's mistake: the API's own host.
        ("https://api.example", "ws://api.example", "wss://api.example"),
        ("api.example", "http://API.example/p?q=1", "wss://api.example/p?q=1"),
        ("https://api.example:8443", "ws://api.example:8443/p", "wss://api.example:8443/p"),
        ("https://api.example:8443", "ws://api.example/p", "wss://api.example:8443/p"),
        ("https://[::1]:8443", "ws://[::1]:8443", "wss://[::1]:8443"),
    ],
)
def test_the_registry_is_reached_over_tls_where_the_api_is(
    base: str, answered: str, wanted: str
) -> None:
    assert answered_url(base, answered) == wanted


@pytest.mark.parametrize(
    ("base", "answered"),
    [
        ("https://api.example", "ws://r.example"),
        ("https://api.example", "http://r.example?token=t"),
        ("https://api.example", "ws://api.example:8080"),
        ("api.example:8443", "ws://api.example:80"),
    ],
)
def test_any_other_plain_address_is_refused_and_the_error_says_what_to_do(
    base: str, answered: str
) -> None:
    with pytest.raises(ConnectError, match=r"not sent in plain text.*--public-url.*backend_url"):
        answered_url(base, answered)


@pytest.mark.parametrize(
    ("base", "named", "wanted"),
    [
        ("https://api.example", "https://rooms.example", "https://rooms.example"),
        ("https://api.example", "rooms.example", "rooms.example"),
        ("http://api.example", "http://rooms.example", "http://rooms.example"),
        ("ws://127.0.0.1:8080", "http://rooms.example", "http://rooms.example"),
        ("http://api.example", "no url at all", "no url at all"),
        ("https://api.example", "http://api.example/p", "https://api.example/p"),
        ("wss://api.example:8443/x", "HTTP://api.example:8443", "https://api.example:8443"),
    ],
)
def test_the_api_of_rooms_is_reached_over_tls_where_the_registry_is(
    base: str, named: str, wanted: str
) -> None:
    assert answered_room_api(base, named) == wanted


@pytest.mark.parametrize("base", ["https://api.example", "api.example", "wss://r.example"])
@pytest.mark.parametrize(
    "named", ["http://rooms.example", " http://rooms.example", "HTTP://a@rooms.example", "ftp://x"]
)
def test_no_job_is_led_into_the_open(base: str, named: str) -> None:
    with pytest.raises(ConnectError):
        answered_room_api(base, named)


class World:
    """An API over TLS on this machine, and something that listens without."""

    def __init__(self) -> None:
        self.plain_port = 0
        self.api_port = 0
        self.heard = b""
        """What was said without TLS."""
        self.asked = b""
        """What was said over TLS, with the token in it."""
        self.trust = ssl.create_default_context()


@asynccontextmanager
async def open_world(answer: Callable[[World], bytes]) -> AsyncGenerator[World]:
    world, ca = World(), trustme.CA()
    ca.configure_trust(world.trust)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    ca.issue_cert("127.0.0.1").configure_cert(tls)

    async def api(stream: trio.abc.Stream) -> None:
        try:
            world.asked += await stream.receive_some(65536)
            await stream.send_all(answer(world))
        except trio.BrokenResourceError:
            pass
        await trio.aclose_forcefully(stream)

    async def plain(stream: trio.abc.Stream) -> None:
        world.heard += await stream.receive_some(65536)
        await stream.send_all(b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n")
        await stream.aclose()

    async with trio.open_nursery() as nursery:
        serve = partial(trio.serve_ssl_over_tcp, https_compatible=True, host="127.0.0.1")
        [over_tls] = await nursery.start(serve, api, 0, tls)
        [without] = await nursery.start(partial(trio.serve_tcp, host="127.0.0.1"), plain, 0)
        world.api_port = over_tls.transport_listener.socket.getsockname()[1]
        world.plain_port = without.socket.getsockname()[1]
        yield world
        nursery.cancel_scope.cancel()


def _names_plain(world: World) -> bytes:
    url = f"ws://127.0.0.1:{world.plain_port}"
    body = json.dumps({"success": True, "data": {"registryUrl": url}}).encode()
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


def _redirects(world: World) -> bytes:
    where = f"http://127.0.0.1:{world.plain_port}/v2/agent/init-config?token={TOKEN}"
    return b"HTTP/1.1 307 There\r\nLocation: %b\r\nContent-Length: 0\r\n\r\n" % where.encode()


async def _failure(world: World, **options: object) -> str:
    with trio.fail_after(20), pytest.raises(RegistryUnreachableError) as caught:
        async with open_backend_connection(
            TOKEN, "agent", ssl_context=world.trust, max_retry=0, **options
        ):
            pytest.fail("nothing there registers anybody")
    return str(caught.value)


@pytest.mark.real
@pytest.mark.parametrize("answer", [_names_plain, _redirects])
async def test_an_api_over_tls_leads_nobody_into_the_open(
    answer: Callable[[World], bytes],
) -> None:
    async with open_world(answer) as world:
        text = await _failure(world, signaling_base_url=f"https://127.0.0.1:{world.api_port}")
        assert TOKEN.encode() in world.asked
        assert not world.heard
        assert TOKEN not in text
        assert "plain text" in text or "answered 307" in text


@pytest.mark.real
async def test_a_registry_over_tls_leads_nobody_into_the_open() -> None:
    async with open_world(_redirects) as world:
        text = await _failure(world, backend_url=f"wss://127.0.0.1:{world.api_port}")
        assert TOKEN.encode() in world.asked
        assert not world.heard
        assert TOKEN not in text
        assert "not followed" in text


@pytest.mark.real
@pytest.mark.parametrize("way", ["signaling_base_url", "backend_url"])
@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_plain_proxy_is_asked_for_a_tunnel_and_told_nothing(way: str, scheme: str) -> None:
    """Also where the target has no TLS: whoever wants that has said so with its address."""
    async with open_world(_redirects) as world:
        options = {way: f"{scheme}://target.example:1"}
        await _failure(world, **options, http_proxy=f"http://127.0.0.1:{world.plain_port}")
        assert world.heard.startswith(b"CONNECT target.example:1 HTTP/1.1\r\n")
        assert TOKEN.encode() not in world.heard
