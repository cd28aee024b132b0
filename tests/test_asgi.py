"""Serving when the machine runs short: connections wait, and the log does not overflow."""

from __future__ import annotations

import errno
import logging
import os
import resource
import socket
from contextlib import suppress
from functools import partial
from typing import Any

import pytest
import trio
import trio.testing

from vsdk_trio.errors import PortInUseError
from vsdk_trio.http_server import server as _asgi
from vsdk_trio.system.shortages import Shortages

pytestmark = pytest.mark.real


async def answer(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"served"})


async def test_a_shortage_is_said_once_and_outlived(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    failures = [errno.EMFILE] * 5
    accept = trio.SocketListener.accept

    async def short(self: trio.SocketListener) -> trio.SocketStream:
        if failures:
            raise OSError(number := failures.pop(), os.strerror(number))
        return await accept(self)

    monkeypatch.setattr(trio.SocketListener, "accept", short)
    monkeypatch.setattr(_asgi, "SHORTAGES", Shortages())
    listeners = await _asgi.bind_listeners("127.0.0.1", 0)
    port = listeners[0].getsockname()[1]
    stopping = trio.Event()
    with caplog.at_level(logging.WARNING):
        async with trio.open_nursery() as nursery:
            await nursery.start(partial(_asgi.serve_app, answer, listeners, stopping))
            stream = await trio.open_tcp_stream("127.0.0.1", port)
            async with stream:
                await stream.send_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                assert b"served" in b"".join([chunk async for chunk in stream])
            stopping.set()
    assert not failures
    # Of ours: a future that an earlier test has left may be collected now, and say so.
    said = [record.getMessage() for record in caplog.records if record.name.startswith("vsdk_trio")]
    assert said == [
        "out of file descriptors: cannot accept connections (Too many open files); "
        "raise ulimit -n (LimitNOFILE), or fs.file-max",
        "file descriptors can be had again (5 failures)",
    ]


async def answer_or_not(scope: Any, receive: Any, send: Any) -> None:
    if scope.get("path") == "/forever":
        await trio.sleep_forever()
    await answer(scope, receive, send)


async def test_without_descriptors_clients_are_served_one_by_one() -> None:
    """Who probes a worker must not find it dead because it is short of something."""
    listeners = await _asgi.bind_listeners("127.0.0.1", 0)
    stopping = trio.Event()
    clients = [trio.socket.socket() for _ in range(3)]
    greedy = trio.socket.socket()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken: list[int] = []
    async with trio.open_nursery() as nursery:
        await nursery.start(partial(_asgi.serve_app, answer_or_not, listeners, stopping))
        await trio.testing.wait_all_tasks_blocked()
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (_highest() + 1, hard))
            with suppress(OSError):
                while True:
                    taken.append(os.dup(0))
            # One that would keep it for ever is cut off.
            await greedy.connect(listeners[0].getsockname())
            await greedy.send(b"GET /forever HTTP/1.1\r\nHost: x\r\n\r\n")
            for client in clients:
                await client.connect(listeners[0].getsockname())
                await client.send(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                with trio.fail_after(10):
                    while (chunk := await client.recv(4096)) and b"served" not in chunk:
                        pass
                client.close()
        finally:
            greedy.close()
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            for fd in taken:
                os.close(fd)
        stopping.set()


def _highest() -> int:
    return max(map(int, os.listdir("/proc/self/fd")))


async def test_what_is_no_shortage_comes_out(monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(self: trio.SocketListener) -> trio.SocketStream:
        raise OSError(errno.EINVAL, "no socket at all")

    monkeypatch.setattr(trio.SocketListener, "accept", broken)
    listeners = await _asgi.bind_listeners("127.0.0.1", 0)
    with pytest.raises(ExceptionGroup) as raised:
        await _asgi.serve_app(answer, listeners, trio.Event())
    assert raised.group_contains(OSError, match="no socket at all")


# -- where it listens ----------------------------------------------------------------------------

V4, V6 = (socket.AF_INET, ("127.0.0.1", 0)), (socket.AF_INET6, ("::1", 0, 0, 0))


@pytest.fixture
def localhost(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give `localhost` two addresses, as most machines do; /etc/hosts may name one twice."""

    async def both(host: str, port: int, **_: Any) -> list[tuple[Any, ...]]:
        assert host == "localhost"
        return [(family, socket.SOCK_STREAM, 6, "", address) for family, address in (V6, V4, V4)]

    monkeypatch.setattr(trio.socket, "getaddrinfo", both)


def lacking(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Have every IPv6 socket fail as on a machine without."""
    real = socket.socket

    class Socket(real):  # type: ignore[misc,valid-type]  # a class is what it is
        def __init__(self, family: int = -1, *args: Any, **fields: Any) -> None:
            if family == socket.AF_INET6:
                raise OSError(number, os.strerror(number))
            super().__init__(family, *args, **fields)

    monkeypatch.setattr(_asgi.socket, "socket", Socket)


@pytest.mark.usefixtures("localhost")
async def test_a_name_is_listened_on_at_all_of_its_addresses() -> None:
    listeners = await _asgi.bind_listeners("localhost", 0)
    port = listeners[0].getsockname()[1]
    assert [listener.getsockname()[:2] for listener in listeners] == [
        ("127.0.0.1", port),
        ("::1", port),
    ]
    assert _asgi.url_of(listeners) == f"http://127.0.0.1:{port}"
    stopping = trio.Event()
    async with trio.open_nursery() as nursery:
        await nursery.start(partial(_asgi.serve_app, answer, listeners, stopping))
        for host in ("127.0.0.1", "::1"):
            async with await trio.open_tcp_stream(host, port) as stream:
                await stream.send_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                assert b"served" in b"".join([chunk async for chunk in stream])
        stopping.set()


@pytest.mark.usefixtures("localhost")
@pytest.mark.parametrize("number", [errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL])
async def test_an_address_that_this_machine_lacks_is_left_out(
    monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    lacking(monkeypatch, number)
    (listener,) = await _asgi.bind_listeners("localhost", 0)
    with listener:
        assert listener.getsockname()[0] == "127.0.0.1"


@pytest.mark.usefixtures("localhost")
async def test_a_port_that_is_taken_on_one_address_is_taken() -> None:
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(PortInUseError, match=f"port {port} on localhost is in use"):
            await _asgi.bind_listeners("localhost", port)
    with socket.create_server(("127.0.0.1", port)):
        pass  # what was bound before the error is closed


@pytest.mark.usefixtures("localhost")
async def test_a_free_port_is_free_on_each_address(monkeypatch: pytest.MonkeyPatch) -> None:
    bind = socket.socket.bind
    failures = [True, True]

    def unlucky(self: socket.socket, address: Any) -> None:
        if self.family == socket.AF_INET6 and failures:
            failures.pop()
            raise OSError(errno.EADDRINUSE, "in use")
        bind(self, address)

    monkeypatch.setattr(socket.socket, "bind", unlucky)
    listeners = await _asgi.bind_listeners("localhost", 0)
    assert not failures
    assert len({listener.getsockname()[1] for listener in listeners}) == 1
    for listener in listeners:
        listener.close()


async def test_a_family_that_the_kernel_lacks_is_one_clear_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lacking(monkeypatch, errno.EAFNOSUPPORT)
    with pytest.raises(PortInUseError, match="cannot listen on :: port 0: Address family not"):
        await _asgi.bind_listeners("::", 0)


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("0.0.0.0", "http://127.0.0.1:1"),
        ("::", "http://[::1]:1"),
        ("::1", "http://[::1]:1"),
        ("[::1]", "http://[::1]:1"),
        ("fe80::1%eth0", "http://[fe80::1%25eth0]:1"),
        ("192.0.2.1", "http://192.0.2.1:1"),
        ("localhost", "http://localhost:1"),
    ],
)
def test_addresses_in_urls(host: str, url: str) -> None:
    assert _asgi.url_from_here(host, 1) == url


@pytest.mark.parametrize("host", ["::1", "[::1]"])
async def test_brackets_around_an_address(host: str) -> None:
    listeners = await _asgi.bind_listeners(host, 0)
    with listeners[0]:
        assert _asgi.url_of(listeners).startswith("http://[::1]:")
