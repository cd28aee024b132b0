"""Frames on their way from the task that reads a job process to whoever consumes them.

Knows nothing of processes; somebody tells it when the last frame can be near.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Final

import trio

from ..control.frames import Frame

MAX_WAITING_FRAMES: Final = 64


class FrameQueue:
    """One producer, one consumer, which iterates or is handed frames; bounded until `lift_bound`.

    Once a process is gone at most a pipe's worth can come, and nothing of it may be lost, so then
    the bound is off: the producer no longer waits for a consumer that may itself be gone.
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
        """From now on `put` never waits for room."""
        self._bounded = False
        self._room.unpark_all()

    def close(self) -> None:
        """The iteration ends after the frames that are there. Idempotent."""
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
        except (
            Exception
        ) as error:  # `hand_to` raises it: the task that brings frames is not to blame
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
