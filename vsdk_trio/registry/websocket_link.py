"""A starlette WebSocket as the link that the core serves.

Knows frames as text and bytes, and how large one may be; nothing of what they mean.
"""

from __future__ import annotations

from contextlib import suppress

import trio
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from ..protocol.codec import MAX_MESSAGE_BYTES
from .session import MESSAGE_TOO_BIG, LinkClosed


class WebSocketLink:
    """A starlette WebSocket as the `WorkerLink` that the core serves."""

    def __init__(self, websocket: WebSocket) -> None:
        self._websocket = websocket

    async def receive(self) -> str | bytes:
        message = await self._websocket.receive()
        if message["type"] == "websocket.disconnect":
            raise LinkClosed
        text: str | None = message.get("text")
        frame = text if text is not None else bytes(message["bytes"])
        if len(frame) > MAX_MESSAGE_BYTES:
            await self.close(MESSAGE_TOO_BIG, "message too big")
            raise LinkClosed
        return frame

    async def send(self, text: str) -> None:
        # The reader closes it, too, and starlette takes a send after that for a bug.
        if self._websocket.application_state is WebSocketState.DISCONNECTED:
            await trio.lowlevel.checkpoint()
            raise LinkClosed
        try:
            await self._websocket.send_text(text)
        except WebSocketDisconnect:
            raise LinkClosed from None

    async def close(self, code: int, reason: str) -> None:
        if self._websocket.application_state is WebSocketState.DISCONNECTED:
            await trio.lowlevel.checkpoint()
            return
        # A close frame has room for 123 bytes of reason.
        short = reason.encode()[:120].decode(errors="ignore")
        with suppress(WebSocketDisconnect):
            await self._websocket.close(code, short)
