"""What `vsdk_trio.http_server.server` needs of hypercorn, nearly all of it undocumented.

A release that changes one of these fails here first, and says which module to look at.
"""

from __future__ import annotations

import inspect
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from vsdk_trio.http_server.server import KNOWN_VERSIONS, load_hypercorn

LOOK = "hypercorn has changed, look at vsdk_trio/http_server/server.py: "
PROJECT = Path(__file__).parents[2] / "pyproject.toml"


def parameters(call: Any) -> list[str]:
    return list(inspect.signature(call).parameters)


def test_the_bound_in_the_project_is_the_one_that_errors_name() -> None:
    dependencies = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]["dependencies"]
    assert KNOWN_VERSIONS.replace("hypercorn", "hypercorn[trio]") in dependencies


def test_a_connection_is_served_by_awaiting_a_tcp_server() -> None:
    server = load_hypercorn().TCPServer
    wanted = ["app", "config", "context", "state", "stream"]
    assert parameters(server) == wanted, LOOK + f"TCPServer{parameters(server)}"
    assert hasattr(server, "__await__"), LOOK + "a TCPServer is no longer awaited"


def test_a_connection_needs_this_of_its_stream() -> None:
    source = inspect.getsource(load_hypercorn().TCPServer)
    used = {"socket", "send_all", "receive_some", "send_eof", "aclose"}
    found = {name for name in used if f"self.stream.{name}" in source}
    assert found == used, LOOK + f"GuardedStream lacks something, or has too much: {found}"


async def test_the_context_tells_connections_to_end() -> None:
    context = load_hypercorn().WorkerContext(None)
    assert not context.terminated.is_set()
    await context.terminated.set()
    assert context.terminated.is_set(), LOOK + "WorkerContext.terminated"


def test_an_application_is_wrapped_with_these_arguments() -> None:
    hypercorn = load_hypercorn()
    assert parameters(hypercorn.wrap_app) == ["app", "wsgi_max_body_size", "mode"], LOOK
    assert hypercorn.ConnectionState({}) == {}, LOOK + "ConnectionState"
    names = ("errorlog", "include_server_header", "wsgi_max_body_size")
    for name in (*names, "websocket_max_message_size", "websocket_ping_interval"):
        assert hasattr(hypercorn.Config(), name), LOOK + f"Config.{name}"


def test_a_hypercorn_without_these_names_is_one_clear_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "hypercorn.trio.tcp_server", None)
    with pytest.raises(RuntimeError, match="install hypercorn>="):
        load_hypercorn()
