"""Frames between the task that reads a job process and the task that consumes them.

Knows no processes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Final

import trio

from ..control.frames import Frame

MAX_WAITING_FRAMES: Final = 64


class FrameQueue:
    """A queue with one producer and one consumer, which iterates or sets a handler.

    It is bounded until `lift_bound`. Once a process is gone, at most the content of a pipe can
    still come, and none of it may be lost. The producer must then not wait for a consumer that may
    be gone, too.
    """

    def __init__(self) -> None:
        self._frames: deque[Frame] = deque()
        self._bounded = True
        self._closed = False
        self._handler: Callable[[Frame], bool] | None = None
        self._handler_done = trio.Event()
        self._handler_error: Exception | None = None
        self._room = trio.lowlevel.ParkingLot()
        self._more = trio.lowlevel.ParkingLot()

    async def put(self, frame: Frame) -> None:
        """Add a frame, once there is room. Cancelled while waiting, it has added nothing."""
        while self._bounded and len(self._frames) >= MAX_WAITING_FRAMES:
            await self._room.park()
        if self._handler is not None:
            self._handle(self._handler, frame)
        else:
            self._frames.append(frame)
            self._more.unpark()

    def lift_bound(self) -> None:
        """Let `put` never wait for room from now on."""
        self._bounded = False
        self._room.unpark_all()

    def close(self) -> None:
        """End the iteration after the frames that have come. Idempotent."""
        self._closed = True
        self._more.unpark_all()
        self._handler_done.set()

    async def hand_to(self, handler: Callable[[Frame], bool]) -> None:
        """Call `handler` with each frame in the step that brings it: no task has to wake up.

        Cancelled, no frame is lost: the next consumer gets what follows.

        Args:
            handler: Returns True when it wants no more frames. This call returns then, and at the
                end of the frames.

        Raises:
            Exception: What `handler` raised.
        """
        self._handler_error, self._handler_done = None, trio.Event()
        self._handler = handler
        try:
            while self._frames and self._handler is not None:
                self._room.unpark()
                self._handle(handler, self._frames.popleft())
            if not self._closed:
                await self._handler_done.wait()
            else:
                await trio.lowlevel.checkpoint()
        finally:
            self._handler = None
        if self._handler_error is not None:
            raise self._handler_error

    def _handle(self, handler: Callable[[Frame], bool], frame: Frame) -> None:
        try:
            is_enough = handler(frame)
        except Exception as error:  # `hand_to` raises it, in the task of the consumer
            self._handler_error, is_enough = error, True
        if is_enough:
            self._handler = None
            self._handler_done.set()

    def __aiter__(self) -> AsyncIterator[Frame]:
        return self

    async def __anext__(self) -> Frame:
        if self._frames or self._closed:
            await trio.lowlevel.checkpoint()
        while not self._frames:
            if self._closed:
                raise StopAsyncIteration
            await self._more.park()
        self._room.unpark()
        return self._frames.popleft()
