"""What `vsdk_trio.websocket` needs of trio-websocket beyond its documentation.

A release that changes one of these fails here first, and says which module to look at. Its known
faults, and that they are contained, are in `tests/backend/test_websocket_faults.py`.
"""

from __future__ import annotations

import inspect
import tomllib
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
import trio_websocket
from trio_websocket import ConnectionRejected, WebSocketConnection, WebSocketRequest

from vsdk_trio.websocket.handshake import KNOWN_VERSIONS, receive_upgrade
from vsdk_trio.websocket.link import ReaderSupervisor

LOOK = "trio-websocket has changed, look at vsdk_trio/websocket/handshake.py and link.py: "
PROJECT = Path(__file__).parents[2] / "pyproject.toml"


def parameters(call: Any) -> list[str]:
    return list(inspect.signature(call).parameters)


class Starts:
    """Stands in for a nursery, as `ReaderSupervisor` does, and starts tasks in a real one."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        self.started: list[Any] = []

    def start_soon(self, task: Any, *args: Any) -> None:
        assert not args, LOOK + "the reader is started with arguments"
        self.started.append(task)
        self._nursery.start_soon(task)


def test_the_bound_in_the_project_is_the_one_that_errors_name() -> None:
    dependencies = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]["dependencies"]
    assert KNOWN_VERSIONS in dependencies


def test_the_streams_are_wrapped_with_these_arguments() -> None:
    client = parameters(trio_websocket.wrap_client_stream)
    assert client[:4] == ["nursery", "stream", "host", "resource"], LOOK + str(client)
    sizes = {"message_queue_size", "max_message_size", "receive_buffer_size"}
    assert {"extra_headers", *sizes} <= set(client), LOOK + str(client)
    server = parameters(trio_websocket.wrap_server_stream)
    assert server[:2] == ["nursery", "stream"], LOOK + str(server)
    assert sizes <= set(server), LOOK + str(server)


async def test_one_reader_is_started_as_a_method_of_its_connection() -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    async with trio.open_nursery() as nursery:
        server = Starts(nursery)

        async def serve() -> None:
            request = await trio_websocket.wrap_server_stream(server, theirs)  # type: ignore[arg-type]
            assert getattr(getattr(request, "_event", None), "host", None) == "room.test", (
                LOOK + "WebSocketRequest._event.host, the host that was asked for, is gone"
            )
            await request.accept()

        nursery.start_soon(serve)
        client = Starts(nursery)
        await trio_websocket.wrap_client_stream(client, ours, "room.test", "/")  # type: ignore[arg-type]
        for side in (client, server):
            assert len(side.started) == 1, LOOK + "the number of tasks of a connection"
            owner = getattr(side.started[0], "__self__", None)
            assert isinstance(owner, WebSocketConnection), LOOK + "the owner of the reader"
        nursery.cancel_scope.cancel()


async def test_a_rejection_leaves_its_status_at_the_connection() -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    connections: list[Any] = []
    with pytest.RaisesGroup(ConnectionRejected, allow_unwrapped=True, flatten_subgroups=True):
        async with trio.open_nursery() as nursery:
            client = Starts(nursery)

            async def answer() -> None:
                await theirs.receive_some()
                connections.append(client.started[0].__self__)
                await theirs.send_all(
                    b"HTTP/1.1 429 No\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n"
                )

            nursery.start_soon(answer)
            await trio_websocket.wrap_client_stream(client, ours, "h", "/")  # type: ignore[arg-type]
    (connection,) = connections
    assert connection._reject_status == 429, LOOK + "WebSocketConnection._reject_status"
    assert (b"retry-after", b"7") in connection._reject_headers, LOOK + "_reject_headers"


async def test_without_the_host_there_is_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    head = b"GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    key = b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    monkeypatch.setattr(WebSocketRequest, "_event", None, raising=False)
    monkeypatch.setattr(WebSocketRequest, "__init__", lambda self, *_: None)
    monkeypatch.setattr(WebSocketRequest, "headers", ())
    monkeypatch.setattr(WebSocketRequest, "path", "/")
    async with trio.open_nursery() as nursery:
        supervisor = ReaderSupervisor(nursery)
        await ours.send_all(head + key)
        with pytest.raises(RuntimeError, match="install trio-websocket>="):
            await receive_upgrade(theirs, supervisor, queue_length=1, max_message_bytes=100)
        supervisor.stop()
