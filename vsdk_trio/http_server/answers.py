"""Answers of the HTTP servers: JSON, text, event streams, page files, and a table of routes.

Imports starlette, so it is itself imported only when a client has connected. Knows how a route is
looked up, refused and answered, not which routes there are.

A stream of server-sent events queues nothing: a push waits until the client has taken it, and the
caller takes a new look afterwards. A slow client hears less often. The server hangs up on a client
that does not read at all (see `GuardedStream`). Page files come from the package, are read once,
and hold no data, so any client may have them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import cache, partial
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any, Final

import attrs
import orjson
import trio
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from .._masking import cut, mask, mask_answer
from ..errors import ShortageError
from ..system.threads import run_in_thread
from ..telemetry.metrics.exposition import render
from ..telemetry.metrics.own_process import read_own_process
from ..telemetry.metrics.tallies import Reading
from .access import AccessDenial, Requester

Handler = Callable[[Request], Awaitable[ASGIApp]]
Guard = Callable[[Requester], AccessDenial | None]

_MAX_PATH: Final = 100
# An answer is true for a moment, and meant for one client.
NO_STORE: Final = {"cache-control": "no-store", "x-content-type-options": "nosniff"}


@attrs.frozen(kw_only=True)
class Entry:
    """One line of a table of routes; `guard` None: open to everybody."""

    path: str
    handler: Handler
    guard: Guard | None
    method: str = "GET"


class JSONAnswer(Response):
    """A value as JSON, masked, and indented: people read it, too."""

    media_type = "application/json"

    def __init__(
        self, value: Any, status_code: int = 200, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(value, status_code, {**NO_STORE, **(headers or {})})

    def render(self, content: Any) -> bytes:
        """The bytes; with a newline, for terminals."""
        return orjson.dumps(
            mask_answer(content), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
        )


class TextAnswer(Response):
    """Lines of text, masked."""

    media_type = "text/plain"

    def __init__(self, lines: Iterable[str], status_code: int = 200) -> None:
        super().__init__(mask("\n".join(lines)), status_code, dict(NO_STORE))


async def answer_scrape(readings: Iterable[Reading], request: Request) -> Response:
    """The readings, and what this process uses, in the form that Prometheus asks for."""
    accept = request.headers.get("accept", "")
    # In a thread: the first one loads a library, and each has many lines to write.
    content_type, body = await run_in_thread(
        "write metrics", lambda: render([*readings, *read_own_process()], accept)
    )
    return Response(body, headers={**NO_STORE, "content-type": content_type})


def failure(status: int, message: str, headers: dict[str, str] | None = None) -> JSONAnswer:
    """Why a request was not answered, in the one form that all failures have."""
    return JSONAnswer({"success": False, "message": message}, status, headers)


def denied(denial: AccessDenial) -> JSONAnswer:
    """The answer to a requester without access."""
    challenge = {"www-authenticate": "Bearer"} if denial.status == 401 else None
    return failure(denial.status, denial.message, challenge)


def requester_of(connection: HTTPConnection) -> Requester:
    """The sender of a request, for `access`."""
    peer = connection.client.host if connection.client is not None else ""
    scheme = {"ws": "http", "wss": "https"}.get(connection.url.scheme, connection.url.scheme)
    method = connection.scope.get("method", "GET")
    return Requester.of(peer, scheme, method, connection.headers)


def make_application(entries: Sequence[Entry], *, more: Sequence[BaseRoute] = ()) -> Starlette:
    """The application that answers by the table; `more` are routes that need no table.

    Paths and methods that it does not have are failures in JSON.
    """
    routes = [_route(entry) for entry in entries]
    handlers = {HTTPException: _http_failure, ShortageError: _shortage}
    return Starlette(routes=[*routes, *more], exception_handlers=handlers)


def _route(entry: Entry) -> Route:
    async def endpoint(request: Request) -> ASGIApp:
        if entry.guard is not None and (denial := entry.guard(requester_of(request))) is not None:
            return denied(denial)
        return await entry.handler(request)

    return Route(entry.path, endpoint, methods=[entry.method])


async def _shortage(request: Request, error: Exception) -> Response:
    """What cannot be answered now can be later; nothing is broken."""
    return failure(503, str(error), {"retry-after": "5"})


async def _http_failure(request: Request, error: Exception) -> Response:
    """A coroutine, because starlette runs a plain function in a thread, and any peer can ask."""
    assert isinstance(error, HTTPException)
    headers = dict(error.headers) if error.headers is not None else {}
    match error.status_code:
        case 404:
            text = f"there is nothing at {cut(request.url.path, _MAX_PATH)!r}"
        case 405:
            text = f"{request.method} is not answered here; {headers.get('Allow')} is"
        case _:
            text = error.detail
    return failure(error.status_code, text, headers)


MAX_STREAMS: Final = 16
# So that proxies do not hang up, and that a client that has vanished is noticed.
KEEP_ALIVE_SECONDS: Final = 15.0
_STREAM_HEADERS: Final = {
    **NO_STORE,
    "content-type": "text/event-stream; charset=utf-8",
    # nginx would collect it into bigger pieces.
    "x-accel-buffering": "no",
}

Push = Callable[[str, Any], Awaitable[None]]
"""Sends one event, named, with a value, masked; returns once it is taken."""


class Streams:
    """The open streams of one server: so many at most, and all of them ended at `stopping`."""

    def __init__(self, stopping: trio.Event, *, limit: int = MAX_STREAMS) -> None:
        self._stopping = stopping
        self._limit = limit
        self._open = 0

    def answer(self, follow: Callable[[Push], Awaitable[None]]) -> ASGIApp:
        """The answer in which `follow(push)` runs, until the client or the server leaves."""
        if self._open >= self._limit:
            text = f"{self._limit} pages are watching already; close one"
            return failure(503, text, {"retry-after": "10"})
        return partial(self._stream, follow)

    async def _stream(
        self,
        follow: Callable[[Push], Awaitable[None]],
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> None:
        headers = [(name.encode(), value.encode()) for name, value in _STREAM_HEADERS.items()]
        self._open += 1
        try:
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            if scope["method"] != "HEAD":
                await self._follow(follow, receive, send)
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            self._open -= 1

    async def _follow(
        self, follow: Callable[[Push], Awaitable[None]], receive: Receive, send: Send
    ) -> None:
        pushed = trio.Lock()
        last = trio.current_time()

        async def write(text: bytes) -> None:
            nonlocal last
            async with pushed:
                last = trio.current_time()
                await send({"type": "http.response.body", "body": text, "more_body": True})

        async def push(name: str, value: Any) -> None:
            # JSON has no line breaks of its own, so one data line will do.
            data = orjson.dumps(mask_answer(value))
            await write(b"event: %b\ndata: %b\n\n" % (name.encode(), data))

        async def keep_alive() -> None:
            while True:
                await trio.sleep_until(last + KEEP_ALIVE_SECONDS)
                if trio.current_time() >= last + KEEP_ALIVE_SECONDS:
                    await write(b":\n\n")

        async with trio.open_nursery() as nursery:

            async def until(wait: Callable[[], Awaitable[object]]) -> None:
                await wait()
                nursery.cancel_scope.cancel()

            nursery.start_soon(until, self._stopping.wait)
            nursery.start_soon(until, partial(_disconnected, receive))
            nursery.start_soon(keep_alive)
            await until(partial(follow, push))


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


_TYPES: Final = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
_PAGE_HEADERS: Final = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    # A browser asks each time; the file is sent again only when it has changed.
    "cache-control": "no-cache",
}


@attrs.frozen
class _File:
    body: bytes
    media_type: str
    etag: str


class Pages:
    """The files below `static` in these packages, by name; a later package's file wins."""

    def __init__(self, *packages: str) -> None:
        self._files: dict[str, _File] = {}
        for package in packages:
            for entry in files(package).joinpath("static").iterdir():
                self._add(entry)

    def _add(self, entry: Traversable) -> None:
        media_type = _TYPES.get(entry.name.rpartition(".")[2])
        if media_type is not None:
            body = entry.read_bytes()
            etag = f'"{hashlib.sha256(body).hexdigest()[:16]}"'
            self._files[entry.name] = _File(body, media_type, etag)

    def answer(self, name: str, request: Request) -> ASGIApp:
        """The file of this name; 304 where the client has it already."""
        if (file := self._files.get(name)) is None:
            return failure(404, f"there is no {name[:50]!r}")
        headers = {**_PAGE_HEADERS, "etag": file.etag, "vary": "accept"}
        if request.headers.get("if-none-match") == file.etag:
            return Response(status_code=304, headers=headers)
        return Response(file.body, headers=headers, media_type=file.media_type)


@cache
def load_pages(*packages: str) -> Pages:
    """The pages of these packages, read once."""
    return Pages(*packages)


def wants_page(request: Request) -> bool:
    """Is it a browser that asks, and not a program?"""
    return "text/html" in request.headers.get("accept", "")
