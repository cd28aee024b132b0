"""The registry's page: what it is told, who may ask, and that no page from elsewhere may."""

from __future__ import annotations

import json
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from vsdk_trio.registry.actions import DispatchError
from vsdk_trio.registry.core import Registry, open_registry_core
from vsdk_trio.registry.http_api import make_app
from vsdk_trio.registry.ledger import DispatchRequest
from vsdk_trio.registry.page import MAX_ERROR_IN_TABLE, follow, follow_job
from vsdk_trio.registry.server import open_registry

from ..status.asking import ask

HTML = {"accept": "text/html"}
PRIVATE = [
    ("GET", "/events"),
    ("GET", "/events?job=x"),
    ("GET", "/v2/agent/jobs"),
    ("GET", "/v2/agent/jobs/x"),
    ("GET", "/v2/agent/workers"),
    ("POST", "/v2/agent/dispatch"),
    ("POST", "/v2/agent/jobs/x/terminate"),
    ("POST", "/v2/agent/init-config"),
    ("POST", "/v2/rooms"),
]


@pytest.mark.parametrize(("method", "path"), PRIVATE)
@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"host": "evil.example:8080"},
        {"host": "evil.example:8080", "origin": "http://evil.example:8080"},
        {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"},
    ],
)
async def test_no_page_from_elsewhere(method: str, path: str, headers: dict[str, str]) -> None:
    app = make_app(Registry(), trio.Event())
    answer = await ask(app, path, method=method, headers=headers)
    assert (answer.status, answer.json["success"]) == (403, False)


@pytest.mark.parametrize(("method", "path"), PRIVATE)
async def test_with_a_token_only_whoever_has_it(method: str, path: str) -> None:
    app = make_app(Registry(auth_token="secret"), trio.Event())
    answer = await ask(app, path, method=method, headers={"authorization": "Bearer wrong"})
    assert answer.status == 401


async def test_the_page_itself_is_for_everybody() -> None:
    app = make_app(Registry(auth_token="secret"), trio.Event())
    page = await ask(app, "/", headers=HTML, peer="192.0.2.1")
    assert (page.status, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert (await ask(app, "/static/registry.js")).status == 200
    page = await ask(app, "/jobs/x", headers=HTML, peer="192.0.2.1")
    assert (page.status, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert (await ask(app, "/static/worker.js")).status == 404


async def test_nobody_poses_as_a_worker_from_a_web_page() -> None:
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "websocket.connect"}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope = {
        "type": "websocket",
        "http_version": "1.1",
        "scheme": "ws",
        "path": "/agent",
        "root_path": "",
        "query_string": b"",
        "headers": [(b"host", b"127.0.0.1:8080"), (b"origin", b"http://evil.example")],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 8080),
        "extensions": {"websocket.http.response": {}},
        "subprotocols": [],
    }
    await make_app(Registry(), trio.Event())(scope, receive, send)
    assert sent[0]["status"] == 403


async def test_the_page_is_told_of_workers_and_jobs(autojump_clock: MockClock) -> None:
    registry = Registry()
    pushed: list[dict[str, Any]] = []

    async def push(name: str, value: Any) -> None:
        await trio.lowlevel.checkpoint()
        pushed.append(value)

    async with trio.open_nursery() as nursery, open_registry_core(registry):
        nursery.start_soon(follow, registry, push)
        await trio.sleep(3.5)
        assert len(pushed) == 1  # nothing new since
        assert (pushed[0]["workers"], pushed[0]["jobs"]) == ([], [])
        link = _Link()
        nursery.start_soon(registry.serve_worker, link)
        await link.say(type="register", agent_name="agent", max_processes=3, token="t")
        await trio.sleep(0.2)
        [worker] = pushed[-1]["workers"]
        assert (worker["agent_id"], worker["max_processes"]) == ("agent", 3)
        assert pushed[-1]["agents"] == ["agent"]
        nursery.start_soon(_dispatch, registry)
        await trio.sleep(0.2)
        [job] = pushed[-1]["jobs"]
        assert (job["state"], job["is_open"], job["offers"]) == ("offered", True, 1)
        await link.say(type="availability_response", job_id=job["job_id"], available=True)
        await link.say(type="job_update", job_id=job["job_id"], status="running")
        await trio.sleep(1.2)
        [job] = pushed[-1]["jobs"]
        assert (job["state"], list(job["moments"])) == (
            "running",
            ["dispatched", "assigned", "running"],
        )
        registry.terminate(job["job_id"], "enough")
        await link.say(type="job_update", job_id=job["job_id"], status="cancelled")
        await trio.sleep(0.2)
        [job] = pushed[-1]["jobs"]
        assert (job["is_open"], job["terminating"]) == (False, "enough")
        assert pushed[-1]["counts"][job["state"]] == 1
        assert len(registry.observers._listeners) == 2
        nursery.cancel_scope.cancel()
    assert len(registry.observers._listeners) == 1  # nobody looks any more


async def test_a_full_worker_looks_full_and_a_job_has_a_page(autojump_clock: MockClock) -> None:
    registry = Registry()
    app = make_app(registry, trio.Event())
    pushed: list[dict[str, Any]] = []
    of_job: list[dict[str, Any]] = []

    async def push(name: str, value: Any) -> None:
        await trio.lowlevel.checkpoint()
        pushed.append(value)

    async def push_job(name: str, value: Any) -> None:
        await trio.lowlevel.checkpoint()
        of_job.append(value)

    async with trio.open_nursery() as nursery, open_registry_core(registry):
        nursery.start_soon(follow, registry, push)
        link = _Link()
        nursery.start_soon(registry.serve_worker, link)
        await link.say(type="register", agent_name="agent", max_processes=1, token="t")
        await trio.sleep(0.5)  # a page is told of a change once it has settled, after 0.2 s
        assert (pushed[-1]["full_agents"], pushed[-1]["workers"][0]["status"]) == ([], "registered")
        nursery.start_soon(_dispatch, registry)
        await trio.sleep(0.5)
        job_id = pushed[-1]["jobs"][0]["job_id"]
        await link.say(type="availability_response", job_id=job_id, available=True)
        await trio.sleep(1.2)
        assert (pushed[-1]["full_agents"], pushed[-1]["workers"][0]["status"]) == (
            ["agent"],
            "full",
        )
        health = (await ask(app, "/health")).json
        assert (health["workers"], health["full_workers"]) == (1, 1)
        [worker] = (await ask(app, "/v2/agent/workers")).json["workers"]
        assert worker["is_full"]

        nursery.start_soon(follow_job, registry, job_id[:8], push_job)
        error = "the model said no\n" + "and why " * 100
        await link.say(type="job_update", job_id=job_id, status="failed", error=error)
        await trio.sleep(1.2)
        assert (pushed[-1]["full_agents"], pushed[-1]["workers"][0]["status"]) == ([], "registered")
        assert len(pushed[-1]["jobs"][0]["error"]) == MAX_ERROR_IN_TABLE
        assert of_job[-1]["job"]["error"] == error
        assert [update["status"] for update in of_job[-1]["updates"]] == ["failed"]
        nursery.cancel_scope.cancel()


async def _dispatch(registry: Registry) -> None:
    try:
        await registry.dispatch(DispatchRequest(agent_id="agent", room_id="room"))
    except DispatchError as error:
        raise AssertionError("somebody takes it") from error


class _Link:
    """A worker's link in memory."""

    def __init__(self) -> None:
        self._send, self._receive = trio.open_memory_channel[str](10)

    async def say(self, **frame: Any) -> None:
        await self._send.send(json.dumps(frame))

    async def receive(self) -> str:
        return await self._receive.receive()

    async def send(self, text: str) -> None:
        await trio.lowlevel.checkpoint()

    async def close(self, code: int, reason: str) -> None:
        await trio.lowlevel.checkpoint()


@pytest.mark.real
async def test_a_page_that_looks_does_not_hold_up_the_end() -> None:
    async with open_registry() as running:
        host, port = running.url.removeprefix("http://").split(":")
        stream = await trio.open_tcp_stream(host, int(port))
        await stream.send_all(b"GET /events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        assert (await stream.receive_some(12)) == b"HTTP/1.1 200"
        began = trio.current_time()
    assert trio.current_time() - began < 3
    await stream.aclose()
