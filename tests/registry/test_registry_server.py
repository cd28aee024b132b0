"""The registry on a real port: REST, the WebSocket, what it refuses, and how it closes."""

from __future__ import annotations

import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import attrs
import httpcore
import pytest
import trio
import trio.testing
from starlette.websockets import WebSocket
from trio_websocket import (
    ConnectionClosed,
    ConnectionRejected,
    WebSocketConnection,
    wrap_client_stream,
)

from vsdk_trio.errors import PortInUseError
from vsdk_trio.http_server import server as http_server
from vsdk_trio.registry.core import Registry
from vsdk_trio.registry.http_api import WebSocketLink
from vsdk_trio.registry.server import RunningRegistry, open_registry
from vsdk_trio.registry.switchboard import LinkClosed

pytestmark = pytest.mark.real


@attrs.define
class Caller:
    """REST calls against one registry."""

    url: str
    pool: httpcore.AsyncConnectionPool

    async def __call__(
        self, method: str, path: str, body: Any = None, **headers: str
    ) -> tuple[int, dict[str, Any]]:
        content = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body)
        if isinstance(content, str):
            content = content.encode()
        response = await self.pool.request(
            method, self.url + path, headers=list(headers.items()), content=content
        )
        return response.status, json.loads(response.content)


@asynccontextmanager
async def open_caller(**options: Any) -> AsyncIterator[tuple[RunningRegistry, Caller]]:
    async with (
        open_registry(Registry(**options)) as running,
        httpcore.AsyncConnectionPool() as pool,
    ):
        yield running, Caller(running.url, pool)


@asynccontextmanager
async def open_socket(url: str, **headers: str) -> AsyncIterator[WebSocketConnection]:
    """A WebSocket on a stream of ours: trio-websocket leaks its own if the server closes first."""
    host, _, port = url.removeprefix("http://").rpartition(":")
    extra = [(name, value.encode()) for name, value in headers.items()]
    stream = await trio.open_tcp_stream(host, int(port))
    async with stream, trio.open_nursery() as nursery:
        yield await wrap_client_stream(nursery, stream, host, "/agent", extra_headers=extra)
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def open_worker(
    running: RunningRegistry, **fields: Any
) -> AsyncIterator[WebSocketConnection]:
    async with open_socket(running.url) as ws:
        register = {"type": "register", "agent_name": "a", "version": "1.0.0"} | fields
        await ws.send_message(json.dumps(register))
        assert json.loads(await ws.get_message())["success"]
        yield ws


async def accept(ws: WebSocketConnection) -> None:
    offer = json.loads(await ws.get_message())
    answer = {"type": "availability_response", "job_id": offer["job_id"], "available": True}
    await ws.send_message(json.dumps(answer))
    await ws.get_message()


async def test_a_job_over_rest_and_websocket() -> None:
    async with open_caller() as (running, call):
        status, config = await call("POST", "/v2/agent/init-config")
        assert (status, config["success"]) == (200, True)
        assert config["data"]["registryUrl"] == running.url.replace("http", "ws")
        room = (await call("POST", "/v2/rooms"))[1]["roomId"]
        body = {"agentId": "a", "meetingId": room, "metadata": {"k": 1}, "timeout": 9}
        status, answer = await call("POST", "/v2/agent/dispatch", body)
        assert (status, answer["message"]) == (404, "Agent Not Deployed")
        assert answer["data"]["success"] is False
        async with open_worker(running) as ws, trio.open_nursery() as nursery:
            nursery.start_soon(accept, ws)
            status, answer = await call("POST", "/v2/agent/dispatch", body)
            data = answer["data"]
            assert (status, data["status"], data["roomId"]) == (200, "assigned", room)
            path = f"/v2/agent/jobs/{data['jobId']}"
            assert (await call("POST", f"{path}/terminate", {"reason": "enough"}))[0] == 202
            assert json.loads(await ws.get_message())["reason"] == "enough"
            update = {"type": "job_update", "job_id": data["jobId"], "status": "cancelled"}
            await ws.send_message(json.dumps(update))
            await ws.send_message('{"type": "ping", "timestamp": 1}')
            await ws.get_message()
            status, answer = await call("GET", path)
            assert (status, answer["job"]["status"]) == (200, "cancelled")
            assert [u["status"] for u in answer["updates"]] == ["cancelled"]
            status, answer = await call("POST", f"{path}/terminate")
            assert (status, answer["job"]["status"]) == (409, "cancelled")
            # By the beginning that pages and commands show.
            status, answer = await call("GET", f"/v2/agent/jobs/{data['jobId'][:8]}")
            assert (status, answer["job"]["job_id"]) == (200, data["jobId"])
            assert (await call("GET", f"/v2/agent/jobs/{data['jobId'][:2]}"))[0] == 404
            workers = (await call("GET", "/v2/agent/workers"))[1]["workers"]
            assert [worker["agent_id"] for worker in workers] == ["a"]
        assert len((await call("GET", "/v2/agent/jobs"))[1]["jobs"]) == 1
        assert (await call("GET", "/health"))[1]["status"] == "ok"


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        (b"{", 400, "not JSON"),
        ([], 400, "must be an object"),
        ({}, 400, "agentId must have 1 to 256"),
        ({"agentId": 5}, 400, "agentId must be str, not int"),
        ({"agentId": "a" * 300}, 400, "agentId"),
        ({"agentId": "a", "metadata": []}, 400, "metadata must be dict, not list"),
        ({"agentId": "a", "wait": 1}, 400, "wait must be bool"),
        ({"agentId": "a", "timeout": True}, 400, "timeout must be a number of seconds"),
        ({"agentId": "a", "timeout": -1}, 400, "timeout must be a number of seconds"),
        (b" " * 300_000, 413, "larger than"),
        (b'{"agentId": "a", "metadata": {"a":' + b"[" * 60 + b"]" * 60 + b"}}", 400, "nesting"),
    ],
)
async def test_a_body_that_is_wrong_gets_one_clear_answer(
    body: Any, status: int, message: str
) -> None:
    async with open_caller() as (_, call):
        got, answer = await call("POST", "/v2/agent/dispatch", body)
        assert got == status
        assert message in answer["message"]
        assert (await call("GET", "/health"))[0] == 200


async def test_unknown_routes_methods_and_jobs_answer_in_json() -> None:
    async with open_caller() as (_, call):
        assert (await call("GET", "/nothing"))[0] == 404
        assert (await call("GET", "/v2/rooms"))[0] == 405
        assert (await call("GET", "/v2/agent/jobs/x"))[0] == 404


async def test_a_body_that_does_not_come_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vsdk_trio.registry.http_api._BODY_SECONDS", 0.05)
    async with open_registry() as running:
        port = int(running.url.rpartition(":")[2])
        async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
            head = b"POST /v2/agent/dispatch HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n"
            await stream.send_all(head)
            assert (await stream.receive_some()).startswith(b"HTTP/1.1 408")


async def test_without_the_token_there_is_no_way_in() -> None:
    async with open_caller(auth_token="s3cret") as (running, call):
        assert (await call("POST", "/v2/rooms"))[0] == 401
        assert (await call("POST", "/v2/rooms", None, Authorization="wrong"))[0] == 401
        assert (await call("POST", "/v2/rooms", None, Authorization="s3cret"))[0] == 200
        assert (await call("GET", "/health"))[0] == 200
        with pytest.RaisesGroup(ConnectionRejected, allow_unwrapped=True, flatten_subgroups=True):
            async with open_socket(running.url):
                pass
        async with open_socket(running.url, Authorization="Bearer s3cret") as ws:
            await ws.send_message('{"type": "register", "agent_name": "a", "token": "wrong"}')
            assert json.loads(await ws.get_message())["success"] is False


async def test_an_oversize_frame_costs_its_sender_the_link_and_nobody_else() -> None:
    async with open_caller() as (running, call):
        async with open_worker(running) as good:
            async with open_worker(running) as bad:
                await bad.send_message("x" * (2 << 20))
                with pytest.raises(ConnectionClosed) as closed:
                    await bad.get_message()
                assert closed.value.reason.code == 1009
            await good.send_message('{"type": "ping", "timestamp": 1}')
            assert json.loads(await good.get_message())["type"] == "pong"
            await good.send_message(b"\xff\x00")
            await good.send_message('{"type": "ping", "timestamp": 2}')
            assert json.loads(await good.get_message())["timestamp"] == 2
        assert (await call("GET", "/health"))[0] == 200


async def test_closing_tells_the_workers_first_and_frees_the_port() -> None:
    codes: list[int] = []
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery, open_registry() as running:
            registered = trio.Event()

            async def work() -> None:
                async with open_worker(running) as ws:
                    registered.set()
                    with pytest.raises(ConnectionClosed) as closed:
                        await ws.get_message()
                    codes.append(closed.value.reason.code)

            nursery.start_soon(work)
            await registered.wait()
    assert codes == [1001]
    port = int(running.url.rpartition(":")[2])
    async with open_registry(port=port) as again:
        assert again.url == running.url
        with pytest.raises(PortInUseError, match="is in use"):
            async with open_registry(port=port):
                pass


async def test_an_address_that_cannot_be_had() -> None:
    with pytest.raises(PortInUseError, match="cannot"):
        async with open_registry(host="192.0.2.1"):
            pass
    with pytest.raises(PortInUseError, match="cannot listen on"):
        async with open_registry(host="no such host.invalid"):
            pass


def _has_ipv6() -> bool:
    with suppress(OSError), socket.create_server(("::1", 0), family=socket.AF_INET6):
        return True
    return False


@pytest.mark.skipif(not _has_ipv6(), reason="no IPv6 here")
async def test_it_serves_ipv6_where_there_is_one() -> None:
    async with open_registry(host="::1") as running:
        assert running.url.startswith("http://[::1]:")


async def test_one_that_stops_reading_does_not_keep_it_from_closing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(http_server, "UNREAD_SECONDS", 0.5)
    with trio.fail_after(20):
        async with open_registry() as running:
            port = int(running.url.rpartition(":")[2])
            stream = await trio.open_tcp_stream("127.0.0.1", port)
            # Asks for an answer larger than all buffers on the way, many times, and reads none.
            path = b"/v2/" + b"x" * 8_000
            request = b"GET " + path + b" HTTP/1.1\r\nHost: x\r\n\r\n"
            # It may be hung up on before.
            with trio.move_on_after(1.0), suppress(trio.BrokenResourceError):
                while True:
                    await stream.send_all(request * 10)
        await stream.aclose()


class _Asgi:
    """The server's side of a starlette WebSocket, held up at every send until told."""

    def __init__(self) -> None:
        self.sent: list[str] = []
        self.go = trio.Event()
        self.messages = [{"type": "websocket.connect"}]

    async def receive(self) -> Any:
        await trio.lowlevel.checkpoint()
        return self.messages.pop(0)

    async def send(self, message: Any) -> None:
        self.sent.append(message["type"])
        if message["type"] != "websocket.accept":
            await self.go.wait()


async def test_a_link_bears_being_closed_twice_and_written_to_after_that() -> None:
    asgi = _Asgi()
    websocket = WebSocket({"type": "websocket"}, asgi.receive, asgi.send)
    await websocket.accept()
    link = WebSocketLink(websocket)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(link.close, 1009, "message too big")
        await trio.testing.wait_all_tasks_blocked()
        await link.close(1001, "registry closing")
        with pytest.raises(LinkClosed):
            await link.send("{}")
        asgi.go.set()
    assert asgi.sent == ["websocket.accept", "websocket.close"]
