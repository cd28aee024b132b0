"""The registry on a port: hypercorn around the app, started and stopped in order.

Closing, the sessions say 1001 first; then the server stops. The other way round they would stay
open until its `graceful_timeout` and end with 1006.
"""

from __future__ import annotations

import errno
import logging
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final, cast

import attrs
import trio
from hypercorn.config import Config
from hypercorn.trio import serve

from ..errors import PortInUseError
from ..protocol.codec import MAX_MESSAGE_BYTES
from .core import Registry, open_registry_core
from .http_api import make_app

_PING_SECONDS: Final = 20.0
_REQUEST_GRACE_SECONDS: Final = 0.5
_HARD_LIMIT_FACTOR: Final = 4
_UNREAD_SECONDS: Final = 10.0


@attrs.frozen
class RunningRegistry:
    """A registry that serves; `url` is for `signaling_base_url`, `registry` for programs inside."""

    url: str
    registry: Registry


@asynccontextmanager
async def open_registry(
    registry: Registry | None = None, *, host: str = "127.0.0.1", port: int = 0
) -> AsyncGenerator[RunningRegistry]:
    """Serve a registry on `host` and `port` (0: any free one) around the body.

    Raises `PortInUseError` where the address is taken or cannot be had. Leaving closes the sessions
    with 1001, then the server; requests under way have half a second.
    """
    registry = registry if registry is not None else Registry()
    listener = await _bind(host, port)
    bound_host, bound_port = listener.getsockname()[:2]
    shown_host = f"[{bound_host}]" if ":" in bound_host else bound_host
    stopping = trio.Event()
    async with trio.open_nursery() as nursery:
        # hypercorn's type for an application is its own; starlette's is the same by structure.
        app = cast("Any", make_app(registry))
        run_server = partial(serve, app, _config(listener), shutdown_trigger=stopping.wait)
        await nursery.start(partial(run_server, mode="asgi"))
        try:
            async with open_registry_core(registry):
                yield RunningRegistry(f"http://{shown_host}:{bound_port}", registry)
        finally:
            stopping.set()


def _config(listener: socket.socket) -> Config:
    config = Config()
    config.bind = [f"fd://{listener.detach()}"]
    config.graceful_timeout = _REQUEST_GRACE_SECONDS
    # Ours is the lower limit (http_api): past its own, hypercorn says 1009 but leaves the
    # connection open and tells the app nothing: the link would live until the peer hangs up.
    config.websocket_max_message_size = _HARD_LIMIT_FACTOR * MAX_MESSAGE_BYTES
    config.websocket_ping_interval = _PING_SECONDS
    config.include_server_header = False
    config.errorlog = logging.getLogger("vsdk_trio.registry.http")
    config.loglevel = "WARNING"
    return config


async def _bind(host: str, port: int) -> socket.socket:
    """A bound socket. Ours and not hypercorn's, so that a taken port is a plain error here."""
    try:
        found = await trio.socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except OSError as error:
        raise PortInUseError(f"cannot listen on {host}: {error.strerror}") from None
    family, kind, protocol, _, address = found[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # hypercorn sends under a shield that has no deadline: a peer that stops reading would keep
        # the server from ever closing. The kernel gives up on it instead; connections inherit this.
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            unread_ms = int(_UNREAD_SECONDS * 1000)
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, unread_ms)
        listener.bind(address)
    except OSError as error:
        listener.close()
        why = "is in use" if error.errno == errno.EADDRINUSE else f"cannot be had: {error.strerror}"
        raise PortInUseError(f"the address {host}:{port} {why}") from None
    return listener
