"""Answers in JSON, and a table of routes as a starlette application.

Imports starlette, so it is itself imported only when there is somebody to answer. Knows how a
route is looked up, refused and answered; not which routes there are.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Final

import attrs
import orjson
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp

from .._masking import cut, mask, mask_answer
from ..errors import ShortageError
from ..system.threads import run_in_thread
from ..telemetry.metrics.exposition import render
from ..telemetry.metrics.own_process import read_own_process
from ..telemetry.metrics.tallies import Reading
from .access import Asker, Denial

Handler = Callable[[Request], Awaitable[ASGIApp]]
Guard = Callable[[Asker], Denial | None]

_MAX_PATH: Final = 100
# What is true now is not true later, and is nobody else's business.
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


def denied(denial: Denial) -> JSONAnswer:
    """The answer to somebody who may not ask."""
    challenge = {"www-authenticate": "Bearer"} if denial.status == 401 else None
    return failure(denial.status, denial.message, challenge)


def asker_of(connection: HTTPConnection) -> Asker:
    """Who asks."""
    peer = connection.client.host if connection.client is not None else ""
    scheme = {"ws": "http", "wss": "https"}.get(connection.url.scheme, connection.url.scheme)
    method = connection.scope.get("method", "GET")
    return Asker.of(peer, scheme, method, connection.headers)


def make_application(entries: Sequence[Entry], *, more: Sequence[BaseRoute] = ()) -> Starlette:
    """The application that answers by the table; `more` are routes that need no table.

    Paths and methods that it does not have are failures in JSON.
    """
    routes = [_route(entry) for entry in entries]
    handlers = {HTTPException: _http_failure, ShortageError: _shortage}
    return Starlette(routes=[*routes, *more], exception_handlers=handlers)


def _route(entry: Entry) -> Route:
    async def endpoint(request: Request) -> ASGIApp:
        if entry.guard is not None and (denial := entry.guard(asker_of(request))) is not None:
            return denied(denial)
        return await entry.handler(request)

    return Route(entry.path, endpoint, methods=[entry.method])


async def _shortage(request: Request, error: Exception) -> Response:
    """What cannot be answered now can be later; nothing is broken."""
    return failure(503, str(error), {"retry-after": "5"})


async def _http_failure(request: Request, error: Exception) -> Response:
    """A coroutine, because starlette gives a plain function a thread, and anybody can ask."""
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
