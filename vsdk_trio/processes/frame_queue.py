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


class _Hand:
    """Somebody who takes frames at once; `broke` is what that has raised, if it did."""

    def __init__(self, handler: Callable[[Frame], bool]) -> None:
        self._handler = handler
        self.broke: Exception | None = None
        self.is_full = trio.Event()

    def take(self, frame: Frame) -> None:
        """Hand a frame over; what that raises is not the giver's business."""
        try:
            if self._handler(frame):
                self.is_full.set()
        except Exception as error:  # raised again by `hand_to`, where the handler belongs
            self.broke = error
            self.is_full.set()


class FrameQueue:
    """One producer, one consumer, which iterates or is handed frames; bounded until `lift_bound`.

    Once a process is gone at most a pipe's worth can come, and nothing of it may be lost, so then
    the bound is off: the producer no longer waits for a consumer that may itself be gone.
    """

    def __init__(self) -> None:
        self._frames: deque[Frame] = deque()
        self._bounded = True
        self._closed = False
        self._hand: _Hand | None = None
        self._room = trio.lowlevel.ParkingLot()
        self._more = trio.lowlevel.ParkingLot()

    async def put(self, frame: Frame) -> None:
        """Add a frame, once there is room. Cancelled while waiting, it has added nothing."""
        while self._bounded and len(self._frames) >= MAX_WAITING_FRAMES:
            await self._room.park()
        if self._hand is not None and not self._hand.is_full.is_set():
            self._hand.take(frame)
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
        if self._hand is not None:
            self._hand.is_full.set()

    async def hand_to(self, handler: Callable[[Frame], bool]) -> None:
        """Have `handler` called with each frame by whoever brings it: no task has to wake up.

        Returns once it has said True, that this was enough, or there are no more frames. What it
        raises comes out here. Cancelled, no frame is lost: the next consumer gets what follows.
        """
        hand = _Hand(handler)
        while self._frames and not hand.is_full.is_set():
            self._room.unpark()
            hand.take(self._frames.popleft())
        if self._closed:
            hand.is_full.set()
        self._hand = hand
        try:
            await hand.is_full.wait()
        finally:
            self._hand = None
        if hand.broke is not None:
            raise hand.broke

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
