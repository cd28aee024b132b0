"""The opening handshake of a WebSocket, as the client and as the server.

With `link`, this is the one place of the worker that knows trio-websocket. Names of it that are not
public are used here and nowhere else: the status of a rejection whose body never ends, and the host
that a client asked for. `tests/websocket/test_trio_websocket_contract.py` fails first when a
release changes what these two modules need.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, TypeAlias, cast

import trio
import trio.abc
from trio_websocket import (
    ConnectionClosed,
    ConnectionRejected,
    WebSocketConnection,
    WebSocketRequest,
    wrap_client_stream,
    wrap_server_stream,
)

from .link import Link, LinkLost, ReaderSupervisor, WriteFailureTracker

Headers: TypeAlias = Sequence[tuple[bytes, bytes]]

KNOWN_VERSIONS: Final = "trio-websocket>=0.12.2,<0.13"


class UpgradeFailedError(Exception):
    """The server did not upgrade the connection; the text says what it did instead."""


class UpgradeRejectedError(Exception):
    """The server answered the upgrade with an HTTP error."""

    def __init__(self, status: int, headers: Headers, body: bytes) -> None:
        super().__init__(status)
        self.status = status
        self.headers = headers
        self.body = body


async def upgrade_client(
    stream: trio.abc.Stream,
    supervisor: ReaderSupervisor,
    *,
    host: str,
    resource: str,
    headers: Headers,
    deadline: float,
    queue_length: int,
    max_message_bytes: int,
    shown: Callable[[str], str],
) -> tuple[Link, Headers]:
    """Ask a server for a WebSocket; return the link and the headers of the answer.

    It ends with the answer, the end of the reader, or the deadline. Cancelling it leaves the stream
    and the reader to the caller.

    Args:
        stream: A connected stream, after TLS.
        supervisor: Runs the reader of the connection.
        host: The `Host` header.
        resource: The path and query to ask for.
        headers: Further headers of the request.
        deadline: When to give up, on Trio's clock.
        queue_length: Messages that are read ahead of `Link.receive`.
        max_message_bytes: The largest message that is received, in bytes.
        shown: Makes of a peer's text what an error may quote.

    Raises:
        UpgradeRejectedError: The server answered with an HTTP error.
        UpgradeFailedError: There was no answer in time, or none of a WebSocket server.
    """
    ws: WebSocketConnection | None = None
    tracker = WriteFailureTracker(stream)
    with trio.move_on_at(deadline) as limit, supervisor.while_reading():
        ws = await wrap_client_stream(
            supervisor.as_nursery(),
            # Any stream will do; the library declares only the two that it opens itself.
            cast("trio.SocketStream", tracker),
            host,
            resource,
            extra_headers=list(headers),
            max_message_size=max_message_bytes,
            message_queue_size=queue_length,
            receive_buffer_size=None,
        )
    if ws is not None:
        return Link(ws, tracker, supervisor, shown), ws.handshake_headers
    fault = supervisor.error
    if isinstance(fault, ConnectionRejected):
        raise UpgradeRejectedError(fault.status_code, fault.headers, fault.body or b"")
    if (rejection := _rejection_without_end(supervisor.reader_of)) is not None:
        raise rejection
    if limit.cancelled_caught:
        raise UpgradeFailedError("did not answer the WebSocket upgrade in time")
    if fault is not None:
        raise UpgradeFailedError(f"does not answer like a WebSocket server ({shown(str(fault))})")
    raise UpgradeFailedError("closed the connection during the WebSocket upgrade")


def _rejection_without_end(connection: Any) -> UpgradeRejectedError | None:
    """A rejection whose body has no length: trio-websocket waits for its end and then forgets it.

    Without the private attributes there is no status, and the error says less.
    """
    status = getattr(connection, "_reject_status", 0)
    if not status:
        return None
    return UpgradeRejectedError(status, getattr(connection, "_reject_headers", ()), b"")


class UpgradeRequest:
    """A client's request for a WebSocket; answer it by `accept` or by `reject`."""

    def __init__(
        self, request: WebSocketRequest, tracker: WriteFailureTracker, supervisor: ReaderSupervisor
    ) -> None:
        self._request = request
        self._tracker = tracker
        self._supervisor = supervisor
        headers = {
            name.decode("latin-1"): value.decode("latin-1") for name, value in request.headers
        }
        self.path = request.path
        """The path and query that the client asks for."""
        self.host = _host_of(request)
        """The `Host` header."""
        self.origin: str | None = headers.get("origin")
        """The `Origin` header: the web page that asks, if it is one."""

    async def accept(self) -> Link:
        """Upgrade the connection. Raises `LinkLost` where the client has left."""
        try:
            return Link(await self._request.accept(), self._tracker, self._supervisor)
        except ConnectionClosed:
            raise LinkLost(1006, "the client has left") from None

    async def reject(self, status: int, message: str) -> None:
        """Answer with an HTTP error and a line of text. Raises `LinkLost`, as `accept` does."""
        try:
            await self._request.reject(
                status,
                extra_headers=[(b"Content-Type", b"text/plain; charset=utf-8")],
                body=message.encode() + b"\n",
            )
        except ConnectionClosed:
            raise LinkLost(1006, "the client has left") from None


async def receive_upgrade(
    stream: trio.abc.Stream,
    supervisor: ReaderSupervisor,
    *,
    queue_length: int,
    max_message_bytes: int,
) -> UpgradeRequest:
    """Wait for a client's request for a WebSocket. The caller sets the time limit.

    Args:
        stream: A connected stream.
        supervisor: Runs the reader of the connection.
        queue_length: Messages that are read ahead of `Link.receive`.
        max_message_bytes: The largest message that is received, in bytes.
    """
    tracker = WriteFailureTracker(stream)
    request = await wrap_server_stream(
        supervisor.as_nursery(),
        # Any stream will do; the library declares only the two that it opens itself.
        cast("trio.SocketStream", tracker),
        message_queue_size=queue_length,
        max_message_size=max_message_bytes,
        receive_buffer_size=None,
    )
    return UpgradeRequest(request, tracker, supervisor)


def _host_of(request: Any) -> str:
    """The host is in the library's event only, and decides whose web page may connect."""
    host = getattr(getattr(request, "_event", None), "host", None)
    if not isinstance(host, str):
        raise RuntimeError(
            "this trio-websocket does not give the host of a request where vsdk_trio looks for it; "
            f"install {KNOWN_VERSIONS}"
        )
    return host
