"""Serves a worker's routes on a port that was bound beforehand.

Knows when to load the HTTP stack and when to stop; not which routes there are.
"""

from __future__ import annotations

import socket
from functools import partial
from typing import Any, Final

import trio

from .._asgi import serve_app, url_of
from .._loggers import get_logger
from .._shortages import shortage_among
from .._threads import run_in_thread
from .._wait import first_of
from .sources import Sources

_LOADING: Final = "load the HTTP server"
# After a shortage; whoever has connected waits meanwhile.
_RETRY_SECONDS: Final = 1.0

logger = get_logger(__name__)


async def serve_status(
    listener: socket.socket,
    sources: Sources,
    stopping: trio.Event,
    *,
    task_status: trio.TaskStatus[None],
) -> None:
    """Service body: answer on `listener` (bound and listening) until `stopping`.

    The HTTP stack is loaded when the first client connects: it would otherwise delay the
    registration, and cost memory where nobody asks.
    """
    url = url_of(listener)
    logger.info("dashboard at %s, health at %s/health", url, url)
    task_status.started()
    with listener:
        await first_of(stopping.wait, partial(trio.lowlevel.wait_readable, listener))
        if stopping.is_set():
            return
        while not stopping.is_set():
            try:
                app = await run_in_thread(_LOADING, _make_app, sources, stopping)
            except (OSError, ImportError, MemoryError) as error:
                if shortage_among(error, _LOADING) is None:
                    raise
                await first_of(stopping.wait, partial(trio.sleep, _RETRY_SECONDS))
            else:
                await serve_app(app, listener, stopping)


def _make_app(sources: Sources, stopping: trio.Event) -> Any:
    # Loads what serving needs as well: this function runs in a thread, so the loop goes on.
    import hypercorn.trio  # noqa: F401

    from .app import make_app

    return make_app(sources, stopping)
