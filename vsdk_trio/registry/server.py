"""The registry on a port: hypercorn around the app, started and stopped in order.

Closing, the sessions say 1001 first; then the server stops. The other way round they would stay
open until its `graceful_timeout` and end with 1006.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from typing import Final

import attrs
import trio

from ..http_server.server import bind_listeners, serve_app, url_of
from ..options.environment import AddressSource, address_options
from ..protocol.messages import MAX_MESSAGE_BYTES
from .core import Registry, open_registry_core
from .http_api import make_app

_PING_SECONDS: Final = 20.0
_HARD_LIMIT_FACTOR: Final = 4


@attrs.frozen
class RunningRegistry:
    """A registry that serves; `url` is for `signaling_base_url`, `registry` for programs inside."""

    url: str
    registry: Registry


@asynccontextmanager
async def open_registry(
    registry: Registry | None = None,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    public_url: str | None = None,
) -> AsyncGenerator[RunningRegistry]:
    """Serve a registry around the body.

    Leaving closes the sessions with 1001, then the server; requests under way have half a second.

    Args:
        registry: by default one that takes any token.
        host: where to listen.
        port: 0 takes any free one.
        public_url: the address in answers to workers, `http(s)://` or `ws(s)://`; None: the one
            by which they ask, or by which a proxy says that they did.

    Raises:
        PortInUseError: where the address is taken or cannot be had.
        OptionsError: for a `public_url` that is none.
    """
    address_options(AddressSource("public_url", public_url))
    registry = registry if registry is not None else Registry()
    listeners = await bind_listeners(host, port)
    url = url_of(listeners)
    stopping = trio.Event()
    serve = partial(
        serve_app,
        make_app(registry, stopping, public_url=(public_url or "").strip() or None),
        listeners,
        stopping,
        # Ours is the lower limit (http_api): past its own, hypercorn says 1009 and tells the app
        # nothing; the link then lives until the guarded stream hangs up.
        websocket_max_message_size=_HARD_LIMIT_FACTOR * MAX_MESSAGE_BYTES,
        websocket_ping_interval=_PING_SECONDS,
    )
    async with trio.open_nursery() as nursery:
        await nursery.start(serve)
        try:
            async with open_registry_core(registry):
                yield RunningRegistry(url, registry)
        finally:
            stopping.set()
