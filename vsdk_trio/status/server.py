"""The worker's HTTP server: `/health`, answered honestly.

Knows how to answer; what is true about the worker is asked of `health` at each request.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable
from functools import partial
from typing import Any

import attrs
import trio

from .._asgi import serve_app, url_of
from .._wait import first_of

logger = logging.getLogger(__name__)


@attrs.frozen
class Health:
    """Whether the worker does its work; `problems` says why not, in words for a person.

    `warnings` are what a person should see to although it does.
    """

    problems: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


async def serve_status(
    listener: socket.socket,
    health: Callable[[], Health],
    stopping: trio.Event,
    *,
    task_status: trio.TaskStatus[None],
) -> None:
    """Service body: answer on `listener` (bound and listening) until `stopping`.

    `GET /health` is 200 with `OK` while the worker does its work, else 503 with the problems, one
    a line. Warnings follow in lines of their own and leave the status as it is. The HTTP stack is
    loaded when the first client connects: it would otherwise delay the registration, and cost
    memory where nobody asks.
    """
    logger.info("health at %s/health", url_of(listener))
    task_status.started()
    with listener:
        await first_of(stopping.wait, partial(trio.lowlevel.wait_readable, listener))
        if stopping.is_set():
            return
        app = await trio.to_thread.run_sync(_make_app, health)
        await serve_app(app, listener, stopping)


def _make_app(health: Callable[[], Health]) -> Any:
    # Loads what serving needs as well: this function runs in a thread, so the loop goes on.
    import hypercorn.trio  # noqa: F401
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import PlainTextResponse, Response
    from starlette.routing import Route

    async def answer_health(request: Request) -> Response:
        now = health()
        lines = [*(now.problems or ("OK",)), *(f"warning: {text}" for text in now.warnings)]
        return PlainTextResponse("\n".join(lines), status_code=503 if now.problems else 200)

    return Starlette(routes=[Route("/health", answer_health)])
