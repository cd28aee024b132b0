"""A feed: what comes from now on, for one of several readers, in bounded memory.

What a slow reader has no room for costs it the oldest, which in a conversation is the least worth
having, and is counted. Knows trio; must not know what is in it.
"""

from __future__ import annotations

import weakref
from collections import deque
from types import TracebackType
from typing import Generic, Self, TypeVar

import trio

T = TypeVar("T")


class Feed(Generic[T]):
    """An async iterator with room for `capacity` items; `dropped` counts what it has lost.

    It ends when its source does, or when it is closed, after what is already in it. Closing it
    (it is a plain context manager) is polite, but one that nobody holds any more is forgotten.
    Waiting can be cancelled, and loses nothing.
    """

    def __init__(self, capacity: int) -> None:
        self._items: deque[T] = deque(maxlen=capacity)
        self._waiting = trio.lowlevel.ParkingLot()
        self._is_closed = False
        self.dropped = 0

    def put(self, item: T) -> bool:
        """For the source: add an item; False where that costs the oldest one."""
        if self._is_closed:
            return True
        is_full = len(self._items) == self._items.maxlen
        self.dropped += is_full
        self._items.append(item)
        self._waiting.unpark()
        return not is_full

    def close(self) -> None:
        """Take nothing more; readers get what is in it, and then the end."""
        self._is_closed = True
        self._waiting.unpark_all()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        await trio.lowlevel.checkpoint_if_cancelled()
        while not self._items:
            if self._is_closed:
                await trio.lowlevel.cancel_shielded_checkpoint()
                raise StopAsyncIteration
            await self._waiting.park()
        item = self._items.popleft()
        await trio.lowlevel.cancel_shielded_checkpoint()
        return item

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self._items.clear()
        self.close()


class Source(Generic[T]):
    """Where feeds come from: each gets everything that is put from then on."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._feeds: weakref.WeakSet[Feed[T]] = weakref.WeakSet()
        self._is_closed = False

    def feed(self, *first: T) -> Feed[T]:
        """A new feed, with `first` in it; it ends at once where the source has ended."""
        feed: Feed[T] = Feed(self._capacity + len(first))
        for item in first:
            feed.put(item)
        if self._is_closed:
            feed.close()
        else:
            self._feeds.add(feed)
        return feed

    def put(self, item: T) -> int:
        """Give `item` to every feed; returns how many had no room left and lost an older one."""
        return sum(not feed.put(item) for feed in list(self._feeds))

    def close(self) -> None:
        """End every feed, after what is in it."""
        self._is_closed = True
        for feed in list(self._feeds):
            feed.close()
        self._feeds.clear()
