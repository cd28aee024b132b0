"""Serves an ASGI application with hypercorn on a socket that was bound beforehand.

A leaf, used by the worker's status server and by the local registry. Binding comes first and by
itself, so that a port that is taken is found before anything else has begun; hypercorn is imported
only when serving starts.
"""

from __future__ import annotations

import errno
import socket
from typing import Any

import trio

from .errors import PortInUseError

# How long requests that are being answered may take once the server is told to stop.
REQUEST_GRACE_SECONDS = 1.0


def bind_listener(host: str, port: int) -> socket.socket:
    """A TCP socket bound to `host` and `port`; port 0 picks a free one.

    Raises `PortInUseError` with what to do about it where the address cannot be had.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=128)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            text = f"port {port} on {host} is taken; choose another one, or 0 for a free one"
        else:
            text = f"cannot listen on {host} port {port}: {error.strerror or error}"
        raise PortInUseError(text) from error


def url_of(listener: socket.socket) -> str:
    """The URL at which a bound socket is reached from this machine."""
    host, port = listener.getsockname()[:2]
    if host in ("0.0.0.0", "::"):
        host = "127.0.0.1" if host == "0.0.0.0" else "::1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


async def serve_app(
    app: Any,
    listener: socket.socket,
    stopping: trio.Event,
    *,
    websocket_max_message_size: int = 1 << 20,
    websocket_ping_interval: float | None = None,
    task_status: trio.TaskStatus[Any] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Service body: serve `app` until `stopping`; takes the listener over and closes it.

    Requests that are being answered may go on for `REQUEST_GRACE_SECONDS`.
    """
    from hypercorn.config import Config
    from hypercorn.trio import serve

    config = Config()
    config.bind = [f"fd://{listener.detach()}"]
    config.accesslog = None
    config.errorlog = None
    config.include_server_header = False
    config.graceful_timeout = REQUEST_GRACE_SECONDS
    config.shutdown_timeout = REQUEST_GRACE_SECONDS
    config.websocket_max_message_size = websocket_max_message_size
    config.websocket_ping_interval = websocket_ping_interval
    await serve(app, config, shutdown_trigger=stopping.wait, task_status=task_status, mode="asgi")
