"""Serves a worker's routes on a port that is bound in advance.

Where the port is taken, it asks the program there for `/worker`: another worker answers, and the
error names it.
"""

from __future__ import annotations

import json
from contextlib import ExitStack
from functools import partial
from typing import Any, Final

import trio

from .._masking import cut
from .._service import first_of
from ..http_server.server import Listeners, load_hypercorn, serve_app, url_from_here, url_of
from ..system.shortages import shortage_among
from ..system.threads import run_in_thread, starting_threads
from ..telemetry.logs.loggers import get_logger
from .sources import StatusSources

_LOADING: Final = "load the HTTP server"
# After a shortage; connected clients wait meanwhile.
_RETRY_SECONDS: Final = 1.0

logger = get_logger(__name__)


async def serve_status(
    listeners: Listeners,
    sources: StatusSources,
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


def _make_app(sources: StatusSources, stopping: trio.Event) -> Any:
    # Loads what serving needs as well: this function runs in a thread, so the loop goes on.
    from .app import make_app

    load_hypercorn()

    return make_app(sources, stopping)


_SECONDS: Final = 1.0
_MAX_ANSWER_BYTES: Final = 1 << 16
_SHOWN: Final = 60


async def describe_occupant(host: str, port: int) -> str:
    """The worker that answers there, for an error's text; empty where there is none.

    The request goes to its `/worker`, which needs no token; it has one second to answer.
    """
    with trio.move_on_after(_SECONDS):
        try:
            answer = await _ask(host.strip("[]"), port)
        except (OSError, ValueError, trio.BrokenResourceError):
            return ""
        agent, worker = answer.get("agent_id"), answer.get("worker_id")
        if isinstance(agent, str) and isinstance(worker, str):
            which = f" ({cut(worker, _SHOWN)})" if worker else ""
            pid = f", pid {answer['pid']}" if isinstance(answer.get("pid"), int) else ""
            url = url_from_here(host, port)
            return f"a worker of agent {cut(agent, _SHOWN)!r}{which}{pid} is at {url}; "
    return ""


async def _ask(host: str, port: int) -> dict[str, Any]:
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    received = bytearray()
    with starting_threads(f"look up {host}"):
        stream = await trio.open_tcp_stream(host, port)
    async with stream:
        await stream.send_all(b"GET /worker HTTP/1.0\r\nHost: localhost\r\n\r\n")
        async for chunk in stream:
            received += chunk
            if len(received) > _MAX_ANSWER_BYTES:
                break
    answer = json.loads(received.partition(b"\r\n\r\n")[2])
    return answer if isinstance(answer, dict) else {}
