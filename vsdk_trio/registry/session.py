"""One link to a worker: frames out through a bounded queue, frames in to a sync handler.

Knows nothing of what frames mean. Because the handler is synchronous and sending goes through the
queue, a worker that does not read cannot hold up the reading of its own frames or of anybody
else's: its queue fills, and its link is closed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Final, Protocol

import trio

# RFC 6455, and one of the private range; ABNORMAL is never sent, it says that nothing was.
ABNORMAL: Final = 1006
GOING_AWAY: Final = 1001
POLICY_VIOLATION: Final = 1008
MESSAGE_TOO_BIG: Final = 1009
TOO_SLOW: Final = 1013
TAKEN_OVER: Final = 4001

_QUEUE_FRAMES: Final = 256
_SEND_SECONDS: Final = 10.0
_FLUSH_SECONDS: Final = 3.0
_GOODBYE_SECONDS: Final = 1.0


class LinkClosed(Exception):
    """The other end of the link is gone."""


class WorkerLink(Protocol):
    """What carries text frames to and from one worker: a WebSocket, or two memory channels."""

    async def receive(self) -> str | bytes:
        """The next frame. Raises `LinkClosed` when there is none to come."""
        ...

    async def send(self, text: str) -> None:
        """Send a frame. Raises `LinkClosed`."""
        ...

    async def close(self, code: int, reason: str) -> None:
        """Say goodbye with a WebSocket close code. Never raises for a link that is gone."""
        ...


class Session:
    """A link while it is served. `worker_id` is "" until the worker has registered.

    `ignored` counts frames that changed nothing, by kind.
    """

    def __init__(self, link: WorkerLink) -> None:
        self.worker_id = ""
        self.short_offers = False
        self.ignored: Counter[str] = Counter()
        self._link = link
        self._queue_in, self._queue_out = trio.open_memory_channel[str](_QUEUE_FRAMES)
        self._goodbye: tuple[int, str] | None = None
        self._sending = trio.CancelScope()

    @property
    def is_closing(self) -> bool:
        """True once `close` was called, the queue ran over, or the link is gone."""
        return self._goodbye is not None

    def post(self, frame: str) -> None:
        """Send a frame soon, in order; nothing is sent after `close`."""
        if self._goodbye is not None:
            return
        try:
            self._queue_in.send_nowait(frame)
        except trio.WouldBlock:
            self.close(TOO_SLOW, "too many frames unread")
            self._sending.cancel()

    def close(self, code: int, reason: str) -> None:
        """End the session after the frames that are queued; the first call counts.

        They have a few seconds together: a peer that reads one now and then is not waited for.
        """
        if self._goodbye is None:
            self._goodbye = (code, reason)
            self._queue_in.close()
            self._sending.deadline = trio.current_time() + _FLUSH_SECONDS

    async def run(self, handle: Callable[[str | bytes], None]) -> None:
        """Pass every frame to `handle` until either side closes. Cancelling it says no goodbye."""
        with self._queue_out:
            try:
                await self._run(handle)
            finally:
                # Whoever posts before its owner has heard of the end must not stumble over it.
                self.close(ABNORMAL, "the link is gone")

    async def _run(self, handle: Callable[[str | bytes], None]) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._send_all, nursery.cancel_scope)
            try:
                while True:
                    handle(await self._link.receive())
            except LinkClosed:
                nursery.cancel_scope.cancel()

    async def _send_all(self, session_scope: trio.CancelScope) -> None:
        try:
            with self._sending:
                async for frame in self._queue_out:
                    with trio.fail_after(_SEND_SECONDS):
                        await self._link.send(frame)
            assert self._goodbye is not None  # that is what ended the sending
            with trio.move_on_after(_GOODBYE_SECONDS):
                await self._link.close(*self._goodbye)
        except (LinkClosed, trio.TooSlowError):
            pass
        session_scope.cancel()
