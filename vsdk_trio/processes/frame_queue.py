"""Frames on their way from the task that reads a job process to the one that consumes them.

Knows nothing of processes; somebody tells it when the last frame can be near.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator
from typing import Final

import trio

from ..control.frames import Frame

MAX_WAITING_FRAMES: Final = 64


class FrameQueue:
    """One producer, one consumer; bounded until `lift_bound`.

    Once a process is gone at most a pipe's worth can come, and nothing of it may be lost, so then
    the bound is off: the producer no longer waits for a consumer that may itself be gone.
    """

    def __init__(self) -> None:
        self._frames: deque[Frame] = deque()
        self._bounded = True
        self._closed = False
        self._room = trio.lowlevel.ParkingLot()
        self._more = trio.lowlevel.ParkingLot()

    async def put(self, frame: Frame) -> None:
        """Add a frame, once there is room. Cancelled while waiting, it has added nothing."""
        while self._bounded and len(self._frames) >= MAX_WAITING_FRAMES:
            await self._room.park()
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
