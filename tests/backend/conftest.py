"""Fixtures for the tests of the backend: peers that are functions, simulated or on a real port."""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable
from functools import partial

import pytest
import trio

from vsdk_trio.testing.network import MemoryDialer, StreamHandler

MakeDialer = Callable[[StreamHandler], MemoryDialer]


@pytest.fixture
def dialer_to(nursery) -> MakeDialer:
    """Make a dialer whose every connection is served by the given function."""
    return lambda handler: MemoryDialer(handler, nursery)


@pytest.fixture
async def serve(nursery) -> Callable[..., Awaitable[int]]:
    """Serve a handler on a port of 127.0.0.1 (over TLS with a context); returns the port."""

    async def start(handler: StreamHandler, context: ssl.SSLContext | None = None) -> int:
        async def contained(stream) -> None:
            if context is not None:
                stream = trio.SSLStream(stream, context, server_side=True)
            try:
                await handler(stream)
            except* (trio.BrokenResourceError, EOFError):
                pass  # a peer that goes away while a handler talks to it fails no test

        listeners = await nursery.start(partial(trio.serve_tcp, contained, 0, host="127.0.0.1"))
        return listeners[0].socket.getsockname()[1]

    return start
