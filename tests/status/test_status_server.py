"""The status server on a real socket: when it answers, and when it is gone."""

from __future__ import annotations

from functools import partial

import pytest
import trio

from vsdk_trio._service import open_service
from vsdk_trio.errors import PortInUseError
from vsdk_trio.http_server.server import bind_listeners, url_of
from vsdk_trio.status.server import serve_status

from .asking import a_view, get, sources

pytestmark = pytest.mark.real


async def test_health_says_what_is_true_at_each_request() -> None:
    listeners = await bind_listeners("127.0.0.1", 0)
    url = url_of(listeners) + "/health"
    view = a_view()
    async with open_service(partial(serve_status, listeners, sources(lambda: view)), grace=5):
        assert await get(url) == (200, "OK")
        view = a_view(problems=("not registered", "disk is full"))
        assert await get(url) == (503, "not registered\ndisk is full")
        view = a_view(problems=view.problems, warnings=("no journal",))
        expected = (503, "not registered\ndisk is full\nwarning: no journal")
        assert await get(url) == expected
        view = a_view(warnings=("no journal",))
        assert await get(url) == (200, "OK\nwarning: no journal")
        view = a_view()
        assert await get(url) == (200, "OK")
    with pytest.raises(OSError, match="refused"):
        await get(url)


async def test_nobody_asks() -> None:
    listeners = await bind_listeners("127.0.0.1", 0)
    async with open_service(partial(serve_status, listeners, sources(a_view)), grace=5):
        await trio.lowlevel.checkpoint()
    assert listeners[0].fileno() == -1


async def test_a_taken_port_is_a_clear_error() -> None:
    (listener,) = await bind_listeners("127.0.0.1", 0)
    with listener:
        port = listener.getsockname()[1]
        with pytest.raises(PortInUseError, match=f"port {port} on 127.0.0.1 is in use; choose"):
            await bind_listeners("127.0.0.1", port)


@pytest.mark.parametrize(
    ("host", "said"),
    [("192.0.2.1", "cannot listen on 192.0.2.1 port 0"), ("no such host", "cannot listen on")],
)
async def test_an_address_that_is_not_ours_is_a_clear_error(host: str, said: str) -> None:
    with pytest.raises(PortInUseError, match=said):
        await bind_listeners(host, 0)
