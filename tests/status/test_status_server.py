"""`/health` over a real socket."""

from __future__ import annotations

import urllib.error
import urllib.request
from functools import partial

import pytest
import trio

from vsdk_trio._asgi import bind_listener, url_of
from vsdk_trio._service import open_service
from vsdk_trio.errors import PortInUseError
from vsdk_trio.status.server import Health, serve_status

pytestmark = pytest.mark.real


def get(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


async def test_health_says_what_is_true_at_each_request() -> None:
    listener = await bind_listener("127.0.0.1", 0)
    url = url_of(listener) + "/health"
    problems: list[str] = []
    warnings: list[str] = []
    body = partial(serve_status, listener, lambda: Health(tuple(problems), tuple(warnings)))
    async with open_service(body, grace=5):
        assert await trio.to_thread.run_sync(get, url) == (200, "OK")
        problems += ["not registered", "disk is full"]
        expected = (503, "not registered\ndisk is full")
        assert await trio.to_thread.run_sync(get, url) == expected
        warnings.append("no journal")
        expected = (503, "not registered\ndisk is full\nwarning: no journal")
        assert await trio.to_thread.run_sync(get, url) == expected
        problems.clear()
        assert await trio.to_thread.run_sync(get, url) == (200, "OK\nwarning: no journal")
        warnings.clear()
        assert await trio.to_thread.run_sync(get, url) == (200, "OK")
    with pytest.raises(OSError, match="refused"):
        await trio.to_thread.run_sync(get, url)


async def test_nobody_asks() -> None:
    listener = await bind_listener("127.0.0.1", 0)
    async with open_service(partial(serve_status, listener, Health), grace=5):
        await trio.lowlevel.checkpoint()
    assert listener.fileno() == -1


async def test_a_taken_port_is_a_clear_error() -> None:
    with await bind_listener("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(PortInUseError, match=f"port {port} on 127.0.0.1 is in use; choose"):
            await bind_listener("127.0.0.1", port)


@pytest.mark.parametrize(
    ("host", "said"),
    [("192.0.2.1", "cannot listen on 192.0.2.1 port 0"), ("no such host", "cannot listen on")],
)
async def test_an_address_that_is_not_ours_is_a_clear_error(host: str, said: str) -> None:
    with pytest.raises(PortInUseError, match=said):
        await bind_listener(host, 0)
