"""Requests that lead nowhere cost the registry nothing but the answer."""

from __future__ import annotations

import anyio.to_thread
import pytest
import trio

from vsdk_trio.registry.core import Registry
from vsdk_trio.registry.http_api import make_app


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/x", 404), ("PUT", "/health", 405)]
)
async def test_no_thread_is_taken(monkeypatch, method, path, status):
    async def refuse(*_arguments: object, **_options: object) -> None:
        raise AssertionError("a thread for a stranger")

    monkeypatch.setattr(anyio.to_thread, "run_sync", refuse)
    sent = []

    async def receive() -> dict[str, object]:
        await trio.lowlevel.checkpoint()
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict[str, object]) -> None:
        await trio.lowlevel.checkpoint()
        sent.append(message)

    scope = {"type": "http", "method": method, "path": path, "headers": [], "query_string": b""}
    await make_app(Registry(), trio.Event())(scope, receive, send)
    assert sent[0]["status"] == status
