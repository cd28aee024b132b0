"""Serving when the machine runs short: connections wait, and the log does not overflow."""

from __future__ import annotations

import errno
import logging
import os
import resource
from contextlib import suppress
from functools import partial
from typing import Any

import pytest
import trio
import trio.testing

from vsdk_trio import _asgi
from vsdk_trio._shortages import Shortages

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
    listener = await _asgi.bind_listener("127.0.0.1", 0)
    port = listener.getsockname()[1]
    stopping = trio.Event()
    with caplog.at_level(logging.WARNING):
        async with trio.open_nursery() as nursery:
            await nursery.start(partial(_asgi.serve_app, answer, listener, stopping))
            stream = await trio.open_tcp_stream("127.0.0.1", port)
            async with stream:
                await stream.send_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                assert b"served" in b"".join([chunk async for chunk in stream])
            stopping.set()
    assert not failures
    said = [record.getMessage() for record in caplog.records]
    assert said == [
        "out of file descriptors: cannot accept connections (Too many open files); "
        "raise ulimit -n (LimitNOFILE), or fs.file-max",
        "file descriptors can be had again (5 failures)",
    ]


async def test_without_descriptors_clients_are_served_one_by_one() -> None:
    """Who probes a worker must not find it dead because it is short of something."""
    listener = await _asgi.bind_listener("127.0.0.1", 0)
    stopping = trio.Event()
    clients = [trio.socket.socket() for _ in range(3)]
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken: list[int] = []
    async with trio.open_nursery() as nursery:
        await nursery.start(partial(_asgi.serve_app, answer, listener, stopping))
        await trio.testing.wait_all_tasks_blocked()
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (_highest() + 1, hard))
            with suppress(OSError):
                while True:
                    taken.append(os.dup(0))
            for client in clients:
                await client.connect(listener.getsockname())
                await client.send(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                with trio.fail_after(10):
                    while (chunk := await client.recv(4096)) and b"served" not in chunk:
                        pass
                client.close()
        finally:
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
    listener = await _asgi.bind_listener("127.0.0.1", 0)
    with pytest.raises(ExceptionGroup) as raised:
        await _asgi.serve_app(answer, listener, trio.Event())
    assert raised.group_contains(OSError, match="no socket at all")
