"""Threads have one way in, and a lack of them is a shortage, wherever one is wanted."""

from __future__ import annotations

import ast
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trio
from starlette.requests import Request
from starlette.responses import Response

from vsdk_trio.asyncio_bridge.thread import open_aio_thread
from vsdk_trio.backend.dialer import DirectDialer, ProxyDialer
from vsdk_trio.errors import ConnectError, PortInUseError, Resource, ShortageError
from vsdk_trio.http_server.answers import Entry, make_application
from vsdk_trio.http_server.server import bind_listeners
from vsdk_trio.system.threads import run_in_thread, start_thread, starting_threads
from vsdk_trio.telemetry.logs.outlet import LineWriter
from vsdk_trio.worker.loop_watch import watched_loop

PACKAGE = Path(__file__).parent.parent / "vsdk_trio"

STARTS_A_THREAD = {
    # threads themselves
    "Thread",
    "Timer",
    "start_new_thread",
    "start_thread_soon",
    "ThreadPoolExecutor",
    "run_in_executor",
    "to_thread",
    # what trio does in one
    "run_process",
    "open_process",
    "open_tcp_stream",
    "open_ssl_over_tcp_stream",
    "open_tcp_listeners",
    "serve_tcp",
    "getaddrinfo",
    "getnameinfo",
    "open_file",
    "wrap_file",
    # what a library does in one
    "awatch",
    "ProxyConnector",
}
"""Names, whatever they are called on."""

THROUGH_THE_SEAM = {
    "asyncio_bridge.thread: Thread": 1,
    "http_server.server: getaddrinfo": 1,
    "system.threads: to_thread": 1,
    "backend.dialer: open_tcp_stream": 1,
    "cli._dev: run_process": 1,
    "cli._dev: awatch": 1,
    "cli._doctor_checks: getaddrinfo": 1,
    "journal.disk: Thread": 1,
    "telemetry.logs.outlet: Thread": 1,
    "runner.process: Thread": 1,
    "status.server: open_tcp_stream": 1,
    "rooms.websocket.transport: open_tcp_listeners": 1,
    "worker.loop_watch: Thread": 1,
}
"""Every place that starts a thread, by module and name, and how often there."""

IS_THE_SEAM = ("run_in_thread", "start_thread", "could_start", "starting_threads")


def _uses(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        match node:
            case ast.Call(func=ast.Attribute(attr=name)) if name in STARTS_A_THREAD:
                yield name
            case ast.Call(func=ast.Name(id=name)) if name in STARTS_A_THREAD:
                yield name
            case ast.Attribute(attr="to_thread"):
                yield "to_thread"
            case _:
                pass


def test_every_place_that_starts_a_thread_is_known() -> None:
    found: dict[str, int] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        module = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
        for name in _uses(path):
            found[f"{module}: {name}"] = found.get(f"{module}: {name}", 0) + 1
    assert found == THROUGH_THE_SEAM, (
        "use `vsdk_trio.system.threads`, and add the place to the table"
    )


@pytest.mark.parametrize("place", sorted(THROUGH_THE_SEAM))
def test_each_place_goes_through_the_seam(place: str) -> None:
    module = place.partition(":")[0]
    text = PACKAGE.joinpath(*module.split(".")).with_suffix(".py").read_text(encoding="utf-8")
    assert any(f"{word}(" in text for word in IS_THE_SEAM)


@pytest.fixture
def no_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """No thread can be started, by the words of the interpreter; trio keeps none in its cache."""

    def start(self: object, *args: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    # Where trio starts its own; it may have an idle one left, which would do.
    monkeypatch.setattr("trio._core._thread_cache.WorkerThread.__init__", start)
    monkeypatch.setattr("trio._core._thread_cache.THREAD_CACHE._idle_workers", {})


async def test_a_call_in_a_thread(no_threads: None) -> None:
    with pytest.raises(ShortageError, match="out of threads: cannot count") as raised:
        await run_in_thread("count", len, [])
    assert raised.value.resource is Resource.THREADS
    assert isinstance(raised.value, OSError)


def test_a_thread_of_ours(no_threads: None) -> None:
    with pytest.raises(ShortageError, match="cannot start the thread 'x'"):
        start_thread(threading.Thread(name="x"))


async def test_a_name_to_be_looked_up(no_threads: None) -> None:
    with pytest.raises(ConnectError, match=r"out of threads: cannot look up registry\.test"):
        await DirectDialer().dial("registry.test", 80)
    proxy = ProxyDialer.from_url("socks5://proxy.test:1080")
    with pytest.raises(ConnectError, match=r"out of threads: cannot look up proxy\.test"):
        await proxy.dial("registry.test", 80)
    with pytest.raises(PortInUseError, match="out of threads"):
        await bind_listeners("localhost.test", 0)


async def test_an_event_loop_of_a_job(no_threads: None) -> None:
    with pytest.raises(ShortageError, match="out of threads"):
        async with open_aio_thread():
            pass


async def test_a_worker_without_its_watch(no_threads: None) -> None:
    with watched_loop():
        await trio.lowlevel.checkpoint()


def test_the_log_keeps_its_lines_and_tries_again(monkeypatch: pytest.MonkeyPatch) -> None:
    texts: list[str] = []
    log = LineWriter(texts.append, str)
    start = threading.Thread.start
    with monkeypatch.context() as patched:

        def refuse(self: threading.Thread) -> None:
            raise RuntimeError("can't start new thread")

        patched.setattr(threading.Thread, "start", refuse)
        log.put("kept")
    assert threading.Thread.start is start
    log.put("then written")
    assert log.flush(10)
    assert "".join(texts).splitlines() == ["kept", "then written"]


def test_the_log_of_a_program_that_ends_without_a_thread(no_threads: None) -> None:
    texts: list[str] = []
    log = LineWriter(texts.append, str)
    for number in range(3):
        log.put(str(number))
    assert log.flush(0.1)
    assert "".join(texts).splitlines() == ["0", "1", "2"]


async def test_a_request_that_cannot_be_answered_now(no_threads: None) -> None:
    async def count(_: Request) -> Response:
        await run_in_thread("count", len, [])
        raise AssertionError("there was a thread")

    app = make_application([Entry(path="/", handler=count, guard=None)])
    sent: list[dict[str, Any]] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> dict[str, Any]:
        return {"type": "http.request"}

    scope = {"type": "http", "method": "GET", "path": "/", "headers": [], "query_string": b""}
    await app(scope, receive, send)
    assert sent[0]["status"] == 503
    assert b"out of threads: cannot count" in sent[1]["body"]


async def test_another_runtime_error_stays_what_it_is() -> None:
    def fail() -> None:
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        await run_in_thread("fail", fail)
    with pytest.raises(RuntimeError, match="a bug"), starting_threads("fail"):
        fail()
