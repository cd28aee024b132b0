"""A WebSocket to the registry that always ends: trio-websocket with a guard around each fault.

Dials, handshakes TLS, upgrades; then text frames both ways and a goodbye. Must not know the
registry's messages, sessions or retries. What trio-websocket does wrong, and is made right here,
is listed with a test each in `tests/backend/test_websocket_faults.py`.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import cast

import trio
import trio.abc
from trio_websocket import ConnectionRejected, WebSocketConnection, wrap_client_stream

from .._exceptions import without_own_group
from .._masking import hide, peer_text
from ..errors import ConnectError
from ..protocol.messages import MAX_MESSAGE_BYTES
from ..websocket.link import Link, ReaderSupervisor, WriteFailureTracker
from .dialer import Dialer, default_ssl_context, secure
from .token import NoteDate, unnoted
from .urls import Target, split_target

QUEUE_LENGTH = 256
"""Frames read ahead. With one (the library's default) a slow consumer stops the reader, and with
it the answers to pings: a live link looks dead."""

GOODBYE_SECONDS = 2.0
_CLOSE_FORCEFULLY_SECONDS = 1.0
_SHOWN = 200


class ConnectRejected(ConnectError):
    """The upgrade was answered with an HTTP error: `status`, and `retry_after` seconds if given."""

    def __init__(self, status: int, detail: str = "", *, retry_after: float | None = None) -> None:
        text = f"the registry answered the WebSocket upgrade with {status}"
        super().__init__(f"{text}: {detail}" if detail else text)
        self.status = status
        self.retry_after = retry_after


@asynccontextmanager
async def open_link(
    url: str,
    *,
    dialer: Dialer,
    headers: Mapping[str, str] | None = None,
    ssl_context: ssl.SSLContext | None = None,
    connect_timeout: float = 10.0,
    goodbye_timeout: float = GOODBYE_SECONDS,
    max_message_bytes: int = MAX_MESSAGE_BYTES,
    note_date: NoteDate = unnoted,
) -> AsyncGenerator[Link]:
    """Open a WebSocket to `url` for the length of the block.

    Arguments: `connect_timeout`, seconds for all of dialling, TLS and the upgrade together;
    `goodbye_timeout`, seconds for the close handshake, also when the block is cancelled.
    A token in `headers` is masked where the peer quotes it. `note_date`: see `NoteDate`.

    Raises `ConnectRejected` for an HTTP answer, `ConnectError` for every other way in which the
    attempt fails. Exceptions of the block come out as they are. The socket is closed in any case.
    """
    target = split_target(url)
    hide((headers or {}).get("Authorization", "").removeprefix("Bearer "))
    # The guard lets no error out, so a group is what our nursery puts around an exception of the
    # block, or of connecting; an interrupt may have hit the reader besides.
    with without_own_group():
        async with trio.open_nursery() as nursery:
            guard = ReaderSupervisor(nursery)
            async with _open_stream(target, dialer, ssl_context, connect_timeout) as opening:
                stream, deadline = opening
                link: Link | None = None
                try:
                    link = await _upgrade(
                        guard,
                        stream,
                        target,
                        _header_list(headers),
                        deadline,
                        max_message_bytes,
                        note_date,
                    )
                    yield link
                finally:
                    with trio.move_on_after(goodbye_timeout, shield=True):
                        if link is not None:
                            await link.say_goodbye()
                    guard.stop()


@asynccontextmanager
async def _open_stream(
    target: Target, dialer: Dialer, ssl_context: ssl.SSLContext | None, connect_timeout: float
) -> AsyncGenerator[tuple[trio.abc.Stream, float]]:
    """Dial and handshake TLS; yields the stream and the deadline of connecting; always closes."""
    deadline = trio.current_time() + connect_timeout
    stream: trio.abc.Stream | None = None
    with trio.move_on_at(deadline) as limit:
        stream = await dialer.dial(target.host, target.port)
        if target.tls:
            # On failure and on cancellation it closes the stream that it was given.
            stream = await secure(stream, target.host, ssl_context or default_ssl_context())
    if stream is None or limit.cancelled_caught:
        raise ConnectError(f"{target} could not be reached within {connect_timeout:g} s")
    try:
        yield stream, deadline
    finally:
        # Shielded, or its Cancelled would take the place of the block's own exception; and always,
        # because after a remote close trio-websocket leaves the client's socket open.
        with trio.move_on_after(_CLOSE_FORCEFULLY_SECONDS, shield=True):
            await trio.aclose_forcefully(stream)


async def _upgrade(
    guard: ReaderSupervisor,
    stream: trio.abc.Stream,
    target: Target,
    headers: Sequence[tuple[bytes, bytes]],
    deadline: float,
    max_message_bytes: int,
    note_date: NoteDate,
) -> Link:
    """Do the opening handshake. Its end comes from the answer, the reader's end or the deadline."""
    ws: WebSocketConnection | None = None
    watched = WriteFailureTracker(stream)
    with trio.move_on_at(deadline) as limit, guard.while_reading():
        ws = await wrap_client_stream(
            guard.as_nursery(),
            # Any stream will do; the library declares only the two that it opens itself.
            cast("trio.SocketStream", watched),
            target.host_header,
            target.resource,
            extra_headers=list(headers),
            max_message_size=max_message_bytes,
            message_queue_size=QUEUE_LENGTH,
            receive_buffer_size=None,
        )
    if ws is not None:
        note_date(_fields(ws.handshake_headers).get(b"date", b""))
        return Link(ws, watched, guard, _shown)
    if isinstance(guard.error, ConnectionRejected):
        note_date(_fields(guard.error.headers).get(b"date", b""))
        raise _rejection(guard.error.status_code, guard.error.headers, guard.error.body or b"")
    if status := getattr(guard.reader_of, "_reject_status", 0):
        # Rejected with a body that has no length: trio-websocket waits for its end, and then
        # forgets what it has read. The status is worth a look at a private attribute.
        raise _rejection(status, getattr(guard.reader_of, "_reject_headers", ()), b"")
    if limit.cancelled_caught:
        raise ConnectError(f"{target} did not answer the WebSocket upgrade in time")
    if guard.error is not None:
        fault = _shown(str(guard.error))
        # `from None`: the original may quote what the peer has quoted of our request.
        raise ConnectError(f"{target} does not answer like a WebSocket server ({fault})") from None
    raise ConnectError(f"{target} closed the connection during the WebSocket upgrade")


def _rejection(
    status: int,
    headers: Sequence[tuple[bytes, bytes]],
    body: bytes,
) -> ConnectRejected:
    fields = _fields(headers)
    detail = body.decode("utf-8", "replace")
    if location := fields.get(b"location"):
        detail = f"it points to {location.decode('ascii', 'replace')}, which is not followed"
    return ConnectRejected(
        status,
        _shown(detail),
        retry_after=parse_retry_after(fields.get(b"retry-after", b"")),
    )


def _fields(headers: Iterable[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    return {name.lower(): value for name, value in headers}


def _shown(text: str) -> str:
    return peer_text(text, most=_SHOWN)


def parse_retry_after(value: bytes) -> float | None:
    """Read a Retry-After header given in seconds (a date is not worth a clock comparison)."""
    text = value.strip()
    return float(text) if text.isdigit() and len(text) <= 9 else None


def _header_list(headers: Mapping[str, str] | None) -> list[tuple[bytes, bytes]]:
    return [(name.encode(), value.encode()) for name, value in (headers or {}).items()]
