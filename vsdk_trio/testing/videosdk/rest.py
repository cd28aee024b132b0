"""The fake's REST: rooms and the configuration of a room's server, over TLS.

Knows HTTP and nothing of rooms. A request that is junk is answered 400 or not at all.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

import h11
import trio

from .faults import Refusal
from .messages import Json

Handler = Callable[[str, str, Json], Awaitable[Json]]
"""Called with path, token and body; returns the answer's body, or raises a `Refusal`."""

_REQUEST_SECONDS = 60.0
_MAX_BODY_BYTES = 1 << 16


async def serve_rest(stream: trio.abc.Stream, handler: Handler) -> None:
    """Answer one request and hang up."""
    connection = h11.Connection(h11.SERVER)
    async with stream:
        try:
            with trio.move_on_after(_REQUEST_SECONDS):
                status, body = await _answer(stream, connection, handler)
                await _send(stream, connection, status, body)
        except (h11.RemoteProtocolError, trio.BrokenResourceError):
            return  # it does not speak HTTP, or has hung up


async def _answer(
    stream: trio.abc.Stream, connection: h11.Connection, handler: Handler
) -> tuple[int, Json]:
    request, body = await _receive(stream, connection)
    token = dict(request.headers).get(b"authorization", b"").decode("latin-1")
    try:
        parsed = json.loads(body) if body else {}
    except ValueError:
        return 400, {"message": "the body is not JSON"}
    if request.method != b"POST" or not isinstance(parsed, dict):
        return 400, {"message": "expected a POST with an object"}
    try:
        return 200, await handler(request.target.decode("ascii", "replace"), token, parsed)
    except Refusal as no:
        return no.status, {"message": no.message}


async def _receive(
    stream: trio.abc.Stream, connection: h11.Connection
) -> tuple[h11.Request, bytes]:
    request: Any = None
    body = b""
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(bytes(await stream.receive_some(65536)))
        elif isinstance(event, h11.Request):
            request = event
        elif isinstance(event, h11.Data):
            body += event.data
            if len(body) > _MAX_BODY_BYTES:
                raise h11.RemoteProtocolError("too large", error_status_hint=413)
        elif isinstance(event, h11.EndOfMessage):
            return request, body
        else:
            raise h11.RemoteProtocolError("hung up")


async def _send(
    stream: trio.abc.Stream, connection: h11.Connection, status: int, body: Json
) -> None:
    data = json.dumps(body).encode()
    headers = [
        ("content-type", "application/json"),
        ("content-length", str(len(data))),
        ("connection", "close"),
    ]
    response = h11.Response(status_code=status, headers=headers)
    parts = (response, h11.Data(data=data), h11.EndOfMessage())
    await stream.send_all(b"".join(connection.send(part) or b"" for part in parts))
