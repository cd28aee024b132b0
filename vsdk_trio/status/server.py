"""Serves a worker's routes on a port that was bound beforehand.

Knows when to load the HTTP stack and when to stop; not which routes there are.
"""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from typing import Any, Final

import trio

from .._service import first_of
from ..http_server.server import Listeners, serve_app, url_of
from ..system.shortages import shortage_among
from ..system.threads import run_in_thread
from ..telemetry.logs.loggers import get_logger
from .sources import Sources

_LOADING: Final = "load the HTTP server"
# After a shortage; whoever has connected waits meanwhile.
_RETRY_SECONDS: Final = 1.0

logger = get_logger(__name__)


async def serve_status(
    listeners: Listeners,
    sources: Sources,
    stopping: trio.Event,
    *,
    task_status: trio.TaskStatus[None],
) -> None:
    """Service body: answer on `listeners` (bound and listening) until `stopping`.

    The HTTP stack is loaded when the first client connects: it would otherwise delay the
    registration, and cost memory where nobody asks.
    """
    logger.info("%s", _address(listeners, has_token=sources.debug_token is not None))
    task_status.started()
    with ExitStack() as stack:
        for listener in listeners:
            stack.enter_context(listener)
        asked = (partial(trio.lowlevel.wait_readable, listener) for listener in listeners)
        await first_of(stopping.wait, *asked)
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
                await serve_app(app, listeners, stopping)


def _address(listeners: Listeners, *, has_token: bool) -> str:
    """Where it is, and who may see what: for whoever starts it on an address that others reach."""
    url = url_of(listeners)
    hosts = " and ".join(str(listener.getsockname()[0]) for listener in listeners)
    others = "and to holders of debug_token" if has_token else "only (to others with a debug_token)"
    return (
        f"dashboard at {url}, health at {url}/health (listens on {hosts}; probes and counts are "
        f"open, jobs are shown to this machine {others})"
    )


def _make_app(sources: Sources, stopping: trio.Event) -> Any:
    # Loads what serving needs as well: this function runs in a thread, so the loop goes on.
    import hypercorn.trio  # noqa: F401

    from .app import make_app

    return make_app(sources, stopping)
