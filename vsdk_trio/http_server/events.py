"""Server-sent events: an open answer through which a page hears what is new.

Knows how a stream is opened, bounded and ended; not what is told. Nothing is queued for a client:
what is pushed waits until it is taken, and whoever pushes looks anew afterwards. So a slow client
hears less often, and one that does not read at all is hung up on (see `_guarded_stream`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final

import orjson
import trio
from starlette.types import ASGIApp, Receive, Scope, Send

from .._masking import mask_answer
from .answers import NO_STORE, failure

MAX_STREAMS: Final = 16
# So that proxies do not hang up, and that a client that has vanished is noticed.
KEEP_ALIVE_SECONDS: Final = 15.0
_HEADERS: Final = {
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
        headers = [(name.encode(), value.encode()) for name, value in _HEADERS.items()]
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
