"""An open WebSocket of either side, over trio-websocket with its known faults contained.

`Link` is what the project uses. Its reader task runs in a `ReaderSupervisor`, because
trio-websocket lets every error of its reader out into the nursery that it was given: one frame of a
peer could end the program. Its stream is a `WriteFailureTracker`, because a send that was cut off
leaves half a frame on the wire. This module knows neither how the link was opened nor what is said
over it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from typing import Any, cast

import trio
import trio.abc
from trio_websocket import ConnectionClosed, WebSocketConnection

from ..errors import ConnectError


class WriteFailureTracker(trio.abc.Stream):
    """Passes everything on; `is_cut` once a send was cut off or failed.

    The peer would read anything sent after that as the rest of the frame.
    """

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream
        self.is_cut = False

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send, and note when that does not end well."""
        try:
            await self._stream.send_all(data)
        except BaseException:
            self.is_cut = True
            raise

    async def wait_send_all_might_not_block(self) -> None:
        """As the stream does it."""
        await self._stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        """As the stream does it."""
        return await self._stream.receive_some(max_bytes)

    async def aclose(self) -> None:
        """As the stream does it."""
        await self._stream.aclose()


class ReaderSupervisor:
    """Runs one reader task: contains its crash, outlives cancellation, tells when it has ended.

    The reader is shielded, because the close handshake needs it after a cancellation. The owner of
    a supervisor must call `stop()` in a `finally`.
    """

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        self._scope = trio.CancelScope(shield=True)
        self._waiting: set[trio.CancelScope] = set()
        self._ended = trio.Event()
        self.error: Exception | None = None
        self.reader_of: Any = None

    def as_nursery(self) -> trio.Nursery:
        """What trio-websocket takes for a nursery: it uses nothing but `start_soon`."""
        return cast("trio.Nursery", self)

    def start_soon(self, reader: Callable[[], Awaitable[object]]) -> None:
        """Called by trio-websocket, once, with the bound reader method of its connection."""
        self.reader_of = getattr(reader, "__self__", None)
        self._nursery.start_soon(self._run, reader)

    async def _run(self, reader: Callable[[], Awaitable[object]]) -> None:
        try:
            with self._scope:
                await reader()
        except Exception as error:
            # The boundary to foreign code that is fed by the network: whatever a peer's bytes
            # provoke in there is the end of this link, and of nothing else.
            self.error = error
        finally:
            self._ended.set()
            for scope in self._waiting:
                scope.cancel()

    def stop(self) -> None:
        """End the reader."""
        self._scope.cancel()

    async def wait_ended(self) -> None:
        """Wait for the end of the reader."""
        await self._ended.wait()

    @contextmanager
    def while_reading(self) -> Generator[trio.CancelScope]:
        """Bound a wait for something that only the reader can bring about: its end cancels it."""
        with trio.CancelScope() as scope:
            if self._ended.is_set():
                scope.cancel()
            self._waiting.add(scope)
            try:
                yield scope
            finally:
                self._waiting.discard(scope)


class LinkLost(ConnectError):
    """The link is gone: `code` is the WebSocket close code (1006: without a close frame)."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"the link was lost ({code}{': ' if reason else ''}{reason})")
        self.code = code
        self.reason = reason


class Link:
    """An open WebSocket. `send` belongs to one task; `receive` to one task; `ping` to one task.

    Args:
        ws: The connection of trio-websocket.
        stream: Its stream.
        guard: Runs its reader.
        shown: Makes of a peer's text what an error may quote.
    """

    def __init__(
        self,
        ws: WebSocketConnection,
        stream: WriteFailureTracker,
        guard: ReaderSupervisor,
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
        """Declare the link dead, without a close frame; return the error to raise."""
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
