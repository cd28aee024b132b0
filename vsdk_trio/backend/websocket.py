"""A WebSocket to the registry that always ends.

Dials, handshakes TLS, upgrades; then text frames both ways and a goodbye. Must not know the
registry's messages, sessions or retries. What trio-websocket does wrong, and is made right here,
is listed with a test each in `tests/backend/test_websocket_faults.py`.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import asynccontextmanager

import trio
import trio.abc

from .._exceptions import without_own_group
from .._masking import hide, peer_text
from ..errors import ConnectError
from ..protocol.messages import MAX_MESSAGE_BYTES
from ..websocket.handshake import UpgradeFailedError, UpgradeRejectedError, upgrade_client
from ..websocket.link import Link, ReaderSupervisor
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

    Exceptions of the block come out as they are. The socket is closed in any case.

    Args:
        url: A `ws://` or `wss://` URL.
        dialer: Connects to the host.
        headers: Further headers of the request; a token in them is masked where the peer quotes it.
        ssl_context: Which certificates to trust; None for those of the system.
        connect_timeout: Time for dialling, TLS and the upgrade together, in seconds.
        goodbye_timeout: Time for the close handshake, in seconds, also after a cancellation.
        max_message_bytes: The largest message that is received, in bytes.
        note_date: Called with the `Date` header of the answer.

    Raises:
        ConnectRejected: The server answered with an HTTP error.
        ConnectError: The attempt failed in any other way.
    """
    target = split_target(url)
    hide((headers or {}).get("Authorization", "").removeprefix("Bearer "))
    # The supervisor lets no error out. So a group is what our nursery puts around an exception of
    # the block or of connecting; an interrupt may have hit the reader as well.
    with without_own_group():
        async with trio.open_nursery() as nursery:
            supervisor = ReaderSupervisor(nursery)
            async with _open_stream(target, dialer, ssl_context, connect_timeout) as opening:
                stream, deadline = opening
                link: Link | None = None
                try:
                    link = await _upgrade(
                        stream,
                        supervisor,
                        target,
                        headers or {},
                        deadline=deadline,
                        max_message_bytes=max_message_bytes,
                        note_date=note_date,
                    )
                    yield link
                finally:
                    with trio.move_on_after(goodbye_timeout, shield=True):
                        if link is not None:
                            await link.say_goodbye()
                    supervisor.stop()


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
    stream: trio.abc.Stream,
    supervisor: ReaderSupervisor,
    target: Target,
    headers: Mapping[str, str],
    *,
    deadline: float,
    max_message_bytes: int,
    note_date: NoteDate,
) -> Link:
    """Do the opening handshake, and turn its failure into an error that names the registry."""
    try:
        link, answered = await upgrade_client(
            stream,
            supervisor,
            host=target.host_header,
            resource=target.resource,
            headers=[(name.encode(), value.encode()) for name, value in headers.items()],
            deadline=deadline,
            queue_length=QUEUE_LENGTH,
            max_message_bytes=max_message_bytes,
            shown=_shown,
        )
    except UpgradeRejectedError as rejection:
        note_date(_fields(rejection.headers).get(b"date", b""))
        raise _rejected(rejection) from None
    except UpgradeFailedError as failure:
        # `from None`: the original may quote what the peer has quoted of our request.
        raise ConnectError(f"{target} {failure}") from None
    note_date(_fields(answered).get(b"date", b""))
    return link


def _rejected(rejection: UpgradeRejectedError) -> ConnectRejected:
    fields = _fields(rejection.headers)
    detail = rejection.body.decode("utf-8", "replace")
    if location := fields.get(b"location"):
        detail = f"it points to {location.decode('ascii', 'replace')}, which is not followed"
    return ConnectRejected(
        rejection.status,
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
