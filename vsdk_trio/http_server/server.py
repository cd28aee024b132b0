"""HTTP servers on sockets that were bound beforehand: the one module that knows hypercorn.

Used by the worker's status server and by the local registry. Binding comes first and by itself, so
that a port in use is found before anything else has begun. hypercorn is imported only when serving
starts.
"""

from __future__ import annotations

import errno
import logging
import math
import os
import socket
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack, closing, suppress
from typing import Any, Final, TypeAlias

import attrs
import trio

from .._exceptions import leaves
from ..errors import PortInUseError, Resource
from ..system.shortages import SHORTAGES, resource_of
from ..system.threads import starting_threads
from ..telemetry.logs.loggers import get_logger

UNREAD_SECONDS: float = 10.0
GOODBYE_SECONDS: float = 1.0
_MOST_AT_ONCE: Final = 16 * 1024
_SWITCHING: Final = b"HTTP/1.1 101"
_CLOSE_FRAME: Final = b"\x88"


class GuardedStream:
    """A `trio.SocketStream` as far as hypercorn uses one, with the bounds of this module."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.socket = stream.socket
        self._stream = stream
        self._is_websocket = False
        self._end_of_goodbye = math.inf

    async def send_all(self, data: bytes) -> None:
        """Send; raises `trio.BrokenResourceError` also where the peer does not take it in time."""
        with trio.move_on_after(UNREAD_SECONDS) as limit:
            await self._stream.send_all(data)
        if limit.cancelled_caught:
            await trio.aclose_forcefully(self._stream)
            raise trio.BrokenResourceError("the peer does not read")
        if data.startswith(_SWITCHING):
            self._is_websocket = True
        elif self._is_websocket and data.startswith(_CLOSE_FRAME):
            self._end_of_goodbye = min(self._end_of_goodbye, trio.current_time() + GOODBYE_SECONDS)

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Return received bytes, b"" at the end; after a close frame was sent, only the end."""
        with trio.move_on_at(self._end_of_goodbye):
            while True:
                most = min(max_bytes or _MOST_AT_ONCE, _MOST_AT_ONCE)
                data = bytes(await self._stream.receive_some(most))
                if not data or self._end_of_goodbye == math.inf:
                    return data
        # hypercorn would get to it only once its next ping is due.
        await trio.aclose_forcefully(self._stream)
        return b""

    async def send_eof(self) -> None:
        """As of the stream."""
        await self._stream.send_eof()

    async def aclose(self) -> None:
        """As of the stream."""
        await self._stream.aclose()


# How long requests under way may take once the server stops.
REQUEST_GRACE_SECONDS: Final = 0.5
_BACKLOG: Final = 128
KNOWN_VERSIONS: Final = "hypercorn>=0.17.3,<0.19"
# How often a free port is looked for that is free on each of several addresses.
_ATTEMPTS: Final = 16
# An address, or a family of addresses, that this machine does not have.
_NOT_HERE: Final = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)

Listeners: TypeAlias = tuple[socket.socket, ...]
"""Sockets that are bound and listen on one port. There is at least one."""
_Address: TypeAlias = tuple[int, tuple[Any, ...]]
# A shortage may pass, and those that wait can be served then.
_SHORTAGE_SECONDS: Final = 0.1
# How long a client is served by the last descriptor: others wait for it, probes among them.
_LAST_DESCRIPTOR_SECONDS: Final = 1.0

_log = get_logger("vsdk_trio.http")
_log.setLevel(logging.WARNING)  # the caller logs the address


async def bind_listeners(host: str, port: int) -> Listeners:
    """TCP sockets that listen on all addresses of `host` and on one `port`, the IPv4 one first.

    A name such as `localhost` may have several addresses, and a client takes any of them. One that
    this machine does not have, such as `::1` without IPv6, is left out where there is another.

    Args:
        host: a name or an address, IPv6 ones also in brackets.
        port: 0 picks a free one.

    Raises:
        PortInUseError: where an address cannot be had, with what to do about it.
    """
    addresses = await _addresses_of(host.strip("[]"), port)
    for attempt in range(_ATTEMPTS if port == 0 else 1):
        try:
            return _bind_all(addresses, port)
        except OSError as error:
            # Of a port that was free on the first address, and is not on the second.
            if error.errno == errno.EADDRINUSE and port == 0 and attempt < _ATTEMPTS - 1:
                continue
            if error.errno == errno.EADDRINUSE:
                text = f"port {port} on {host} is in use; choose another one, or 0 for any free one"
            else:
                text = f"cannot listen on {host} port {port}: {error.strerror}"
            raise PortInUseError(text) from None
    raise AssertionError("not reached")


async def _addresses_of(host: str, port: int) -> list[_Address]:
    try:
        with starting_threads(f"look up {host}"):
            found = await trio.socket.getaddrinfo(
                host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )
    except OSError as error:
        raise PortInUseError(f"cannot listen on {host}: {error.strerror}") from None
    addresses = dict.fromkeys((family, address) for family, _, _, _, address in found)
    return sorted(addresses, key=lambda found: found[0] is not socket.AF_INET)


def _bind_all(addresses: Sequence[_Address], port: int) -> Listeners:
    bound: list[socket.socket] = []
    missing: OSError | None = None
    with ExitStack() as stack:
        for family, address in addresses:
            try:
                listener = _bind(family, (address[0], port, *address[2:]), len(addresses) > 1)
            except OSError as error:
                if error.errno not in _NOT_HERE:
                    raise
                missing = error
                continue
            bound.append(stack.enter_context(listener))
            port = listener.getsockname()[1]
        if not bound and missing is not None:
            raise missing
        stack.pop_all()
    return tuple(bound)


def _bind(family: int, address: tuple[Any, ...], is_one_of_several: bool) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        if is_one_of_several and family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # A peer that has vanished without a word does not acknowledge our pings. The kernel then
        # gives up on it after a quarter of an hour, or after the time set here. Connections
        # inherit this.
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            unread_ms = int(UNREAD_SECONDS * 1000)
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, unread_ms)
        listener.bind(address)
        listener.listen(_BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


def url_of(listeners: Listeners) -> str:
    """The URL at which bound sockets are reached from this machine."""
    host, port = listeners[0].getsockname()[:2]
    return url_from_here(host, port)


def url_from_here(host: str, port: int) -> str:
    """The URL at which what listens on `host` is reached from this machine."""
    host = host.strip("[]")
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host).replace("%", "%25")
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


@attrs.frozen
class _Hypercorn:
    """What is used of hypercorn; only `Config` is public."""

    Config: Any
    TCPServer: Any
    WorkerContext: Any
    ConnectionState: Any
    wrap_app: Any


def load_hypercorn() -> _Hypercorn:
    """Import what `serve_app` uses of hypercorn; blocks for tenths of a second the first time.

    `tests/http_server/test_hypercorn_contract.py` fails first when a release changes it.

    Raises:
        RuntimeError: This hypercorn does not have the names that are used.
    """
    try:
        from hypercorn.config import Config
        from hypercorn.trio.tcp_server import TCPServer
        from hypercorn.trio.worker_context import WorkerContext
        from hypercorn.typing import ConnectionState
        from hypercorn.utils import wrap_app
    except ImportError as error:
        raise RuntimeError(
            f"vsdk_trio cannot serve HTTP with this hypercorn ({error}); install {KNOWN_VERSIONS}"
        ) from error
    return _Hypercorn(Config, TCPServer, WorkerContext, ConnectionState, wrap_app)


async def serve_app(
    app: Any,
    listeners: Listeners,
    stopping: trio.Event,
    *,
    websocket_max_message_size: int = 1 << 20,
    websocket_ping_interval: float | None = None,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Service body: serve `app` until `stopping`; takes the listeners over and closes them.

    Requests under way may go on for `REQUEST_GRACE_SECONDS`. Cancelling it cuts them off.

    Args:
        app: An ASGI application that needs no lifespan events.
        listeners: Where to listen; closed at the end.
        stopping: Ends the service.
        websocket_max_message_size: The largest message of a WebSocket, in bytes.
        websocket_ping_interval: Time between pings of a WebSocket, in seconds; None for none.
        task_status: Started once connections are accepted.

    The connections are accepted here, and only then given to hypercorn: its own `serve` ends when
    one connection fails, and an upgrade that has a body is enough for that.
    """
    hypercorn = load_hypercorn()
    config = hypercorn.Config()
    config.errorlog = _log
    config.include_server_header = False
    config.websocket_max_message_size = websocket_max_message_size
    config.websocket_ping_interval = websocket_ping_interval
    context = hypercorn.WorkerContext(None)
    wrapped = hypercorn.wrap_app(app, config.wsgi_max_body_size, "asgi")
    streams: set[trio.SocketStream] = set()

    async def serve_connection(stream: trio.SocketStream) -> None:
        guarded: Any = GuardedStream(stream)
        streams.add(stream)
        try:
            state = hypercorn.ConnectionState({})
            await hypercorn.TCPServer(wrapped, config, context, state, guarded)
        except* Exception as group:
            # hypercorn's, not ours: what the application raises does not come out here.
            _log.warning("a connection was given up: %r", next(leaves(group)))
        finally:
            streams.discard(stream)
            await trio.aclose_forcefully(stream)

    async with trio.open_nursery() as cutting_off:
        async with trio.open_nursery() as connections:
            async with trio.open_nursery() as accepting:
                for listener in listeners:
                    listening = trio.SocketListener(trio.socket.from_stdlib_socket(listener))
                    accepting.start_soon(
                        accept_connections, listening, serve_connection, connections
                    )
                task_status.started()
                await stopping.wait()
                accepting.cancel_scope.cancel()
            await context.terminated.set()
            connections.cancel_scope.deadline = trio.current_time() + REQUEST_GRACE_SECONDS
            cutting_off.start_soon(_cut_off, streams)
        cutting_off.cancel_scope.cancel()


async def _cut_off(streams: set[trio.SocketStream]) -> None:
    """End what a client does not read, once the grace is over.

    hypercorn sends under a shield, which only a closed socket ends.
    """
    await trio.sleep(REQUEST_GRACE_SECONDS)
    for stream in streams:
        stream.socket.close()


async def accept_connections(
    listening: trio.SocketListener,
    serve_connection: Callable[[trio.SocketStream], Awaitable[None]],
    connections: trio.Nursery,
) -> None:
    """Accept until cancelled; closes the listener.

    Args:
        listening: Where; it is bound and listening.
        serve_connection: Owns each stream.
        connections: Where that runs.

    Not `trio.serve_listeners`: that prints a traceback ten times a second while there are no file
    descriptors left. Here one is held back for that time, so that clients are served one by one,
    each for a moment: who probes the program must not take it for dead, and end what runs in it.
    """
    reserve = _SpareDescriptor()

    async def serve(stream: trio.SocketStream, seconds: float) -> None:
        try:
            with trio.move_on_after(seconds):
                await serve_connection(stream)
        finally:
            if reserve.take():
                SHORTAGES.over(Resource.DESCRIPTORS, Resource.MEMORY)

    with closing(reserve):
        async with listening:
            seconds = math.inf
            while True:
                try:
                    stream = await listening.accept()
                except OSError as error:
                    if (resource := resource_of(error)) is None:
                        raise
                    SHORTAGES.note(resource, "accept connections", error.strerror)
                    if reserve.give():
                        seconds = _LAST_DESCRIPTOR_SECONDS
                    else:
                        await trio.sleep(_SHORTAGE_SECONDS)
                    continue
                connections.start_soon(serve, stream, seconds)
                seconds = math.inf


class _SpareDescriptor:
    """A file descriptor that is kept for when there are no others."""

    def __init__(self) -> None:
        self._fd: int | None = None
        self.take()

    def take(self) -> bool:
        """Open one if the system has one left; return whether it is open."""
        if self._fd is None:
            with suppress(OSError):
                self._fd = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        return self._fd is not None

    def give(self) -> bool:
        """Close it, so that another connection can have it; return whether there was one."""
        if self._fd is None:
            return False
        os.close(self._fd)
        self._fd = None
        return True

    def close(self) -> None:
        """Close it for good."""
        self.give()
