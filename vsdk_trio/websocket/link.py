"""An open WebSocket, of either side, that says what became of it.

Over trio-websocket, whose reader is in a `ReaderGuard` and whose stream is in a `CutWatch`. A leaf:
must not know how it was opened, nor what is said over it.
"""

from __future__ import annotations

from collections.abc import Callable

import trio
from trio_websocket import ConnectionClosed, WebSocketConnection

from ..errors import ConnectError
from .reader_supervisor import ReaderGuard
from .write_failures import CutWatch


class LinkLost(ConnectError):
    """The link is gone: `code` is the WebSocket close code (1006: without a close frame)."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"the link was lost ({code}{': ' if reason else ''}{reason})")
        self.code = code
        self.reason = reason


class Link:
    """An open WebSocket. `send` belongs to one task; `receive` to one task; `ping` to one task.

    Argument: `shown`, what makes of a peer's text what an error may quote.
    """

    def __init__(
        self,
        ws: WebSocketConnection,
        stream: CutWatch,
        guard: ReaderGuard,
        shown: Callable[[str], str] = str,
    ) -> None:
        self._ws = ws
        self._stream = stream
        self._shown = shown
        self._guard = guard
        self._lost: LinkLost | None = None

    @property
    def is_usable(self) -> bool:
        """Whether a frame can still be sent."""
        return self._lost is None and self._ws.closed is None and not self._stream.is_cut

    async def send(self, data: str | bytes) -> None:
        """Send one text or binary frame; waits while the peer does not read. Raises `LinkLost`.

        Cancelling it while it waits for the peer costs the link: half a frame is on the wire, and
        the next one would be read as the rest of it.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        if self._lost is not None:
            raise self._lost
        try:
            if not self._stream.is_cut:
                await self._ws.send_message(data)
                return
        except ConnectionClosed:
            raise self._closed() from None
        raise self.condemn("a send was cut off")

    async def receive(self) -> str | bytes:
        """Wait for the next message. Raises `LinkLost` once the link is gone; cancel-safe."""
        try:
            return await self._ws.get_message()
        except ConnectionClosed:
            if self._ws.closed is None:
                await self._guard.wait_ended()  # its reader is crashing: let it say of what
            raise self._closed() from None

    async def ping(self) -> None:
        """Send a WebSocket ping and wait for its pong. Raises `LinkLost`; set a time limit.

        Cancelling it costs the link where `send` would.
        """
        try:
            with self._guard.while_reading() as scope:
                await self._ws.ping()
        except ConnectionClosed:
            raise self._closed() from None
        if scope.cancelled_caught:
            raise self._closed()

    def condemn(self, reason: str) -> LinkLost:
        """Declare the link dead (no goodbye will be said); return the error to raise."""
        if self._lost is None:
            self._lost = LinkLost(1006, reason)
        return self._lost

    def _closed(self) -> LinkLost:
        if self._lost is None:
            closed = self._ws.closed
            if closed is not None:
                self._lost = LinkLost(closed.code, self._shown(closed.reason or ""))
            else:
                fault = self._shown(str(self._guard.error))
                self._lost = LinkLost(1006, f"its reader has crashed ({fault})")
        return self._lost

    async def say_goodbye(self, code: int = 1000, reason: str | None = None) -> None:
        """Exchange close frames, if the link still can; ends when the reader does."""
        if self.is_usable:
            with self._guard.while_reading():
                await self._ws.aclose(code, reason)
