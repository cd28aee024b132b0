"""Ask the status routes: an application without a socket, or a server with one; views to ask of."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

import attrs
import trio

from vsdk_trio.status.app import make_app
from vsdk_trio.status.history import History
from vsdk_trio.status.sources import StatusSources
from vsdk_trio.status.view import WorkerView
from vsdk_trio.telemetry.events import Observers

LOCAL = {"host": "127.0.0.1:8081"}


def a_view(**fields: Any) -> WorkerView:
    """A worker that is registered and idle, but for `fields`."""
    usual: dict[str, Any] = {
        "now": 1000.0,
        "started_at": 900.0,
        "agent_id": "agent",
        "worker_id": "worker-1",
        "host": "0.0.0.0",
        "port": 8081,
        "pid": 4711,
        "executor_type": "process",
        "log_level": "INFO",
        "register": True,
        "max_processes": 2,
        "num_idle_processes": 1,
        "load_threshold": 0.75,
        "is_connected": True,
        "sessions": 1,
        "owed": 0,
        "state": "idle",
        "load": 0.0,
        "promised": 0,
    }
    return WorkerView(**{**usual, **fields})


def sources(look: Callable[[], WorkerView] = a_view, **fields: Any) -> StatusSources:
    """What an application asks; draining does nothing, but for `fields`."""
    usual: dict[str, Any] = {
        "look": look,
        "drain": lambda reason: None,
        "history": History(lambda: 1000.0),
        "observers": Observers(),
    }
    return StatusSources(**{**usual, **fields})


def app_of(look: Callable[[], WorkerView] = a_view, **fields: Any) -> Any:
    """The application around them."""
    return make_app(sources(look, **fields), trio.Event())


@attrs.frozen
class Answer:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def json(self) -> Any:
        return json.loads(self.body)


async def ask(
    app: Any,
    path: str,
    *,
    method: str = "GET",
    headers: dict[str, str] | None = None,
    peer: str = "127.0.0.1",
) -> Answer:
    """One request to an ASGI application, as hypercorn would hand it over."""
    path, _, query = path.partition("?")
    sent: list[dict[str, Any]] = []
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": query.encode(),
        "headers": [(k.encode(), v.encode()) for k, v in {**LOCAL, **(headers or {})}.items()],
        "client": (peer, 50000),
        "server": ("127.0.0.1", 8081),
    }

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await app(scope, receive, send)
    start = sent[0]
    assert start["type"] == "http.response.start"
    return Answer(
        start["status"],
        {name.decode(): value.decode() for name, value in start["headers"]},
        b"".join(message.get("body", b"") for message in sent[1:]),
    )


def _get(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


async def get(url: str) -> tuple[int, str]:
    """Status and text of a real GET."""
    return await trio.to_thread.run_sync(_get, url)
