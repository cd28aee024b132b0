"""The media plane's thread, as Trio sees it.

vsaiortc is asyncio, heavy, and imported in its thread, when the first transport is needed. Must
not know rooms or the signaling.
"""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from ...asyncio_bridge.thread import AioThread
from ...system.threads import run_in_thread

_T = TypeVar("_T")


class MediaPlane:
    """Where media live: `host` is the address that their sockets are bound to."""

    def __init__(self, thread: AioThread, host: str) -> None:
        self._thread = thread
        self._host = host
        self._background: set[asyncio.Task[Any]] = set()  # of the other thread

    async def run(self, fn: Callable[..., Awaitable[_T]], *args: Any) -> _T:
        """Run `await fn(*args)` there."""
        return await self._thread.run(fn, *args)

    def call_soon(self, fn: Callable[..., Coroutine[Any, Any, object]]) -> None:
        """Have `await fn()` run there, without waiting for it."""

        def start() -> None:
            task = asyncio.ensure_future(fn())
            self._background.add(task)
            task.add_done_callback(self._background.discard)

        self._thread.call_soon(start)

    async def open_transport(self) -> tuple[Any, dict[str, Any]]:
        """A new media transport, and what the SDK has to know of it."""
        transport = await self.make("media", "MediaTransport", self._host)
        return transport, await self.run(transport.open)

    async def make(self, module: str, name: str, *args: Any) -> Any:
        """An object of the class `name` of a heavy module beside this one, made there."""
        # The first import takes a second, in which the thread's loop would stand still.
        path = f"{__package__}.{module}"
        cls = getattr(await run_in_thread("load a module", importlib.import_module, path), name)

        async def make() -> Any:
            return cls(*args)

        return await self.run(make)
