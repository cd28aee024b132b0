"""Streams of events: bounded, alive, and no burden to who ends."""

from __future__ import annotations

import json
import math
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from vsdk_trio._service import open_service
from vsdk_trio.http_server.answers import KEEP_ALIVE_SECONDS, Entry, Push, Streams, make_application
from vsdk_trio.http_server.server import REQUEST_GRACE_SECONDS, bind_listeners, serve_app


class Client:
    """The other end of an ASGI application: what it was sent, and when it leaves."""

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []
        self.left = trio.Event()

    async def receive(self) -> dict[str, Any]:
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: dict[str, Any]) -> None:
        self.sent.append(message)

    @property
    def text(self) -> str:
        return b"".join(message.get("body", b"") for message in self.sent).decode()


async def ask(app: Any, client: Client, method: str = "GET") -> None:
    await app({"type": "http", "method": method}, client.receive, client.send)


async def test_events_and_signs_of_life(autojump_clock: MockClock) -> None:
    streams, client = Streams(trio.Event()), Client()

    async def follow(push: Push) -> None:
        await push("state", {"text": "two\nlines"})
        await push("list", [1, "Bearer s3cret-s3cret"])
        await trio.sleep(KEEP_ALIVE_SECONDS * 2.5)
        await push("late", 1)

    await ask(streams.answer(follow), client)
    first = json.dumps({"text": "two\nlines"}, separators=(",", ":"))
    assert client.text == (
        f'event: state\ndata: {first}\n\nevent: list\ndata: [1,"Bearer ***"]\n\n'
        ":\n\n:\n\nevent: late\ndata: 1\n\n"
    )
    assert client.sent[-1]["more_body"] is False


async def sleep(push: Push) -> None:
    await trio.sleep(math.inf)


async def test_it_ends_with_the_client_and_with_the_server(autojump_clock: MockClock) -> None:
    stopping = trio.Event()
    streams, clients = Streams(stopping), [Client(), Client()]
    async with trio.open_nursery() as nursery:
        for client in clients:
            nursery.start_soon(ask, streams.answer(sleep), client)
        await trio.testing.wait_all_tasks_blocked()
        clients[0].left.set()
        await trio.testing.wait_all_tasks_blocked()
        assert clients[0].sent[-1]["more_body"] is False
        assert clients[1].sent[-1]["type"] == "http.response.start"
        stopping.set()
    assert clients[1].sent[-1]["more_body"] is False


async def test_a_look_at_the_headers_opens_no_stream(autojump_clock: MockClock) -> None:
    client = Client()
    await ask(Streams(trio.Event()).answer(sleep), client, "HEAD")
    assert [message["type"] for message in client.sent] == [
        "http.response.start",
        "http.response.body",
    ]


async def test_so_many_at_most(autojump_clock: MockClock) -> None:
    streams, clients = Streams(trio.Event(), limit=2), [Client(), Client(), Client()]
    async with trio.open_nursery() as nursery:
        for client in clients[:2]:
            nursery.start_soon(ask, streams.answer(sleep), client)
        await trio.testing.wait_all_tasks_blocked()
        await ask(streams.answer(sleep), clients[2])
        assert clients[2].sent[0]["status"] == 503
        clients[0].left.set()
        await trio.testing.wait_all_tasks_blocked()
        again = Client()
        nursery.start_soon(ask, streams.answer(sleep), again)
        await trio.testing.wait_all_tasks_blocked()
        assert again.sent[0]["status"] == 200
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def serving(follow: Any) -> AsyncGenerator[int]:
    """A server with one stream, at this port."""
    listeners = await bind_listeners("127.0.0.1", 0)
    port = listeners[0].getsockname()[1]
    stopping = trio.Event()
    streams = Streams(stopping)

    async def handler(_: Any) -> Any:
        return streams.answer(follow)

    app = make_application([Entry(path="/events", handler=handler, guard=None)])

    async def serve(stop: trio.Event, *, task_status: trio.TaskStatus[None]) -> None:
        async with trio.open_nursery() as nursery:
            await nursery.start(partial(serve_app, app, listeners, stopping))
            task_status.started()
            await stop.wait()
            stopping.set()

    async with open_service(serve, grace=30):
        yield port


async def flood(push: Push) -> None:
    while True:
        await push("much", "x" * 100_000)


@pytest.mark.real
@pytest.mark.parametrize("follow", [sleep, flood])
async def test_open_streams_do_not_hold_up_the_end(follow: Any) -> None:
    """Neither one that is silent, nor one whose client does not read."""
    async with serving(follow) as port:
        stream = await trio.open_tcp_stream("127.0.0.1", port)
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        await stream.send_all(b"GET /events HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n")
        assert (await stream.receive_some(12)) == b"HTTP/1.1 200"
        await trio.sleep(0.5)  # until the buffers are full
        began = trio.current_time()
    assert trio.current_time() - began < REQUEST_GRACE_SECONDS + 2
    await trio.aclose_forcefully(stream)


@pytest.mark.real
async def test_who_does_not_read_is_hung_up_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vsdk_trio.http_server.server.UNREAD_SECONDS", 0.3)
    over = trio.Event()

    async def follow(push: Push) -> None:
        try:
            await flood(push)
        finally:
            over.set()

    async with serving(follow) as port:
        stream = await trio.open_tcp_stream("127.0.0.1", port)
        await stream.send_all(b"GET /events HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n")
        with trio.fail_after(10):
            await over.wait()
        await trio.aclose_forcefully(stream)
