"""The Chrome DevTools Protocol on one WebSocket: calls with answers, and events.

Knows the protocol's envelope only; what a page is comes in `page.py`.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import attrs
import trio
import trio_websocket

CALL_SECONDS = 20.0
# A screenshot is one message.
MAX_MESSAGE_BYTES = 64 << 20

Event = Callable[[str, dict[str, Any]], None]


class CdpError(Exception):
    """The browser refused a call, or is gone."""


@attrs.define(eq=False)
class _Call:
    done: trio.Event = attrs.field(factory=trio.Event)
    answer: dict[str, Any] = attrs.field(factory=dict)


class Cdp:
    """A connection to a browser. Made by `open_cdp`, which owns its reader."""

    def __init__(self, websocket: trio_websocket.WebSocketConnection) -> None:
        self._websocket = websocket
        self._numbers = itertools.count(1)
        self._calls: dict[int, _Call] = {}
        self._listeners: dict[str, Event] = {}

    async def call(self, method: str, session: str = "", **parameters: Any) -> dict[str, Any]:
        """Call `method` of the browser, or of the page behind `session`; return its result.

        Raises `CdpError` for a refusal, and where no answer comes within `CALL_SECONDS`.
        """
        number = next(self._numbers)
        call = self._calls[number] = _Call()
        message = {"id": number, "method": method, "params": parameters}
        try:
            with trio.move_on_after(CALL_SECONDS) as waiting:
                await self._websocket.send_message(
                    json.dumps({**message, "sessionId": session} if session else message)
                )
                await call.done.wait()
            if waiting.cancelled_caught:
                raise CdpError(f"{method}: no answer within {CALL_SECONDS:g} s")
        finally:
            del self._calls[number]
        if (error := call.answer.get("error")) is not None:
            raise CdpError(f"{method}: {error.get('message')}")
        result: dict[str, Any] = call.answer["result"]
        return result

    def listen(self, session: str, on_event: Event) -> None:
        """Call `on_event(method, parameters)` for each event of a page, in order."""
        self._listeners[session] = on_event

    async def _read(self) -> None:
        gone = {"error": {"message": "the browser is gone"}}
        try:
            while True:
                message = json.loads(await self._websocket.get_message())
                if "id" in message:
                    # One that nobody waits for any more was cancelled.
                    if (call := self._calls.get(message["id"])) is not None:
                        call.answer = message
                        call.done.set()
                elif (listener := self._listeners.get(message.get("sessionId", ""))) is not None:
                    listener(message["method"], message["params"])
        except trio_websocket.ConnectionClosed:
            for call in self._calls.values():
                call.answer = gone
                call.done.set()


@asynccontextmanager
async def open_cdp(url: str) -> AsyncGenerator[Cdp]:
    """Connect to the browser at this WebSocket URL."""
    where = urlsplit(url)
    assert where.hostname is not None, url
    assert where.port is not None, url
    stream = await trio.open_tcp_stream(where.hostname, where.port)
    # Closed here, because the client does not, where the browser has hung up first.
    async with stream, trio.open_nursery() as nursery:
        websocket = await trio_websocket.wrap_client_stream(
            nursery,
            stream,
            where.netloc,
            where.path,
            max_message_size=MAX_MESSAGE_BYTES,
            message_queue_size=10_000,
        )
        cdp = Cdp(websocket)
        nursery.start_soon(cdp._read)
        yield cdp
        nursery.cancel_scope.cancel()
