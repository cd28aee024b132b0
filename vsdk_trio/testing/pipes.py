"""Simulated byte pipes: bounded, one way, with delays, splits and breaks as a test wants them.

The `Agenda` calls functions at given times of trio's clock.
"""

from __future__ import annotations

import heapq
import operator
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol, TypeAlias

import trio
import trio.abc

from ..control.channel import SimulatedPipe


class Agenda:
    """Calls functions at given times; what is due at the same time is called in order.

    `run` must run as a task for as long as anything is to happen.
    """

    def __init__(self) -> None:
        self._due: list[tuple[float, int, Callable[[], object]]] = []
        self._number = 0
        self._waiting: trio.CancelScope | None = None

    def at(self, when: float, call: Callable[[], object]) -> None:
        """Have `call()` called at `when`, in seconds on trio's clock."""
        self._number += 1
        heapq.heappush(self._due, (when, self._number, call))
        if self._waiting is not None and when < self._waiting.deadline:
            self._waiting.deadline = when

    async def run(self) -> None:
        """Keep the agenda, until cancelled."""
        while True:
            now = trio.current_time()
            while self._due and self._due[0][0] <= now:
                heapq.heappop(self._due)[2]()
            with trio.CancelScope() as self._waiting:
                if self._due:
                    self._waiting.deadline = self._due[0][0]
                await trio.sleep_forever()


CAPACITY_BYTES = 1 << 16


class Shape(Protocol):
    """How bytes travel."""

    def pieces(self, data: bytes) -> Sequence[tuple[float, bytes]]:
        """`data` in pieces, each with the seconds that it takes; the order is kept in any case."""
        ...


Tripwire: TypeAlias = tuple[int, Callable[[], object]]


class Pipe:
    """One direction. Without a `shape`, bytes arrive as they are sent.

    Arguments: `capacity`, the bytes that may be on their way or unread before a send waits.
    """

    def __init__(
        self,
        agenda: Agenda | None = None,
        shape: Shape | None = None,
        *,
        capacity: int = CAPACITY_BYTES,
    ) -> None:
        if shape is not None and agenda is None:
            raise ValueError("a pipe with a shape needs an agenda")
        self._agenda = agenda
        self._shape = shape
        self._capacity = capacity
        self._held = 0
        self._arrived: deque[bytes] = deque()
        self._last_arrival = 0.0
        self._is_ended = False
        self._is_broken = False
        self._is_swallowing = False
        self._is_stalled = False
        self._send_closed = False
        self._receive_closed = False
        self._sending = trio.lowlevel.ParkingLot()
        self._receiving = trio.lowlevel.ParkingLot()
        self._tripwires: list[Tripwire] = []
        self.sent_bytes = 0
        """How many bytes were taken from the sender so far."""
        self.tap: Callable[[bytes], object] | None = None
        """Called with all that is sent, as it is sent."""
        self.sender = PipeSender(self)
        self.receiver = PipeReceiver(self)

    # Faults

    def trip_at(self, sent_bytes: int, call: Callable[[], object]) -> None:
        """Call `call()` right after byte number `sent_bytes` was taken, and before the next."""
        self._tripwires.append((sent_bytes, call))
        self._tripwires.sort(key=lambda wire: wire[0])

    def break_off(self) -> None:
        """Both ends get `BrokenResourceError` from now on; what is on its way is lost."""
        self._is_broken = True
        self._wake()

    def end(self) -> None:
        """The sender is gone: the receiver gets what was sent, then EOF."""
        self._send_closed = True
        self._sending.unpark_all()
        self._after_the_rest(self._arrive_end)

    def swallow(self) -> None:
        """A black hole from now on: what is sent is taken, as far as it fits, and never arrives."""
        self._is_swallowing = True

    def stall(self) -> None:
        """The receiver gets nothing any more, although it is there."""
        self._is_stalled = True

    def inject(self, data: bytes) -> None:
        """Let bytes arrive that were never sent."""
        self._held += len(data)
        self._after_the_rest(lambda: self._arrive(data))

    # The two ends

    async def _send(self, data: bytes) -> None:
        await trio.lowlevel.checkpoint()
        self._check_sendable()
        while data:
            room = self._capacity - self._held
            if room <= 0:
                await self._sending.park()
            else:
                size = min(room, self._until_tripwire(), len(data))
                piece, data = data[:size], data[size:]
                if piece:
                    self._launch(piece)
                self._trip()
            self._check_sendable()

    def _send_now(self, data: bytes) -> int:
        """How many bytes were sent: all of them, or none where that must wait, or cannot be."""
        is_open = not (self._send_closed or self._is_broken or self._receive_closed)
        room = min(self._capacity - self._held, self._until_tripwire())
        if not is_open or len(data) > room:
            return 0
        self._launch(data)
        self._trip()
        return len(data)

    def _check_sendable(self) -> None:
        if self._send_closed:
            raise trio.ClosedResourceError("this end of the pipe is closed")
        if self._is_broken or self._receive_closed:
            raise trio.BrokenResourceError("the other end of the pipe is gone")

    def _until_tripwire(self) -> int:
        return self._tripwires[0][0] - self.sent_bytes if self._tripwires else CAPACITY_BYTES

    def _trip(self) -> None:
        while self._tripwires and self._tripwires[0][0] <= self.sent_bytes:
            self._tripwires.pop(0)[1]()

    def _launch(self, data: bytes) -> None:
        self.sent_bytes += len(data)
        self._held += len(data)
        if self.tap is not None:
            self.tap(data)
        if self._is_swallowing:
            return
        if self._shape is None or self._agenda is None:
            self._arrive(data)
            return
        now = trio.current_time()
        for delay, piece in self._shape.pieces(data):
            when = self._last_arrival = max(now + delay, self._last_arrival)
            self._agenda.at(when, partial(self._arrive, piece))

    def _after_the_rest(self, call: Callable[[], object]) -> None:
        if self._agenda is None or self._last_arrival <= trio.current_time():
            call()
        else:
            self._agenda.at(self._last_arrival, call)

    def _arrive(self, data: bytes) -> None:
        self._arrived.append(data)
        self._receiving.unpark_all()

    def _arrive_end(self) -> None:
        if not self._is_swallowing:
            self._is_ended = True
            self._receiving.unpark_all()

    async def _receive(self, max_bytes: int | None) -> bytes:
        if max_bytes is not None and operator.index(max_bytes) < 1:
            raise ValueError("max_bytes must be at least 1")
        await trio.lowlevel.checkpoint()
        while True:
            if self._receive_closed:
                raise trio.ClosedResourceError("this end of the pipe is closed")
            if self._is_broken:
                raise trio.BrokenResourceError("the connection was reset")
            if self._arrived and not self._is_stalled:
                return self._take(max_bytes)
            if self._is_ended and not self._is_stalled:
                return b""
            await self._receiving.park()

    def _take(self, max_bytes: int | None) -> bytes:
        data = self._arrived.popleft()
        if max_bytes is not None and len(data) > max_bytes:
            self._arrived.appendleft(data[max_bytes:])
            data = data[:max_bytes]
        self._held -= len(data)
        self._sending.unpark_all()
        return data

    def _close_sender(self) -> None:
        if not self._send_closed:
            self.end()

    def _close_receiver(self) -> None:
        self._receive_closed = True
        self._wake()

    def _wake(self) -> None:
        self._sending.unpark_all()
        self._receiving.unpark_all()

    async def _wait_for_room(self) -> None:
        await trio.lowlevel.checkpoint()
        while True:
            if self._send_closed:
                raise trio.ClosedResourceError("this end of the pipe is closed")
            if self._is_broken or self._receive_closed or self._held < self._capacity:
                return
            await self._sending.park()


class PipeSender(SimulatedPipe):
    """The end that is written to."""

    def __init__(self, pipe: Pipe) -> None:
        self.pipe = pipe
        self._busy = _Conflicts("another task is sending")

    def write_what_fits(self, data: bytes) -> int:
        """See `SimulatedPipe`: all of `data`, or nothing."""
        return self.pipe._send_now(data)

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """See `trio.abc.SendStream`. Cancelled half-way, a part of `data` was sent."""
        with self._busy:
            await self.pipe._send(bytes(data))

    async def wait_send_all_might_not_block(self) -> None:
        """See `trio.abc.SendStream`."""
        with self._busy:
            await self.pipe._wait_for_room()

    def close(self) -> None:
        """Close without waiting; idempotent."""
        self.pipe._close_sender()

    async def aclose(self) -> None:
        """See `trio.abc.AsyncResource`."""
        self.close()
        await trio.lowlevel.checkpoint()


class PipeReceiver(trio.abc.ReceiveStream):
    """The end that is read from."""

    def __init__(self, pipe: Pipe) -> None:
        self.pipe = pipe
        self._busy = _Conflicts("another task is receiving")

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """See `trio.abc.ReceiveStream`."""
        with self._busy:
            return await self.pipe._receive(max_bytes)

    def close(self) -> None:
        """Close without waiting; idempotent."""
        self.pipe._close_receiver()

    async def aclose(self) -> None:
        """See `trio.abc.AsyncResource`."""
        self.close()
        await trio.lowlevel.checkpoint()


class _Conflicts:
    """At most one task at a time."""

    def __init__(self, message: str) -> None:
        self._message = message
        self._is_taken = False

    def __enter__(self) -> None:
        if self._is_taken:
            raise trio.BusyResourceError(self._message)
        self._is_taken = True

    def __exit__(self, *_: object) -> None:
        self._is_taken = False
