"""Values that arrive under a key, each waited for by one task."""

from __future__ import annotations

from typing import Generic, TypeVar

import trio

T = TypeVar("T")


class Mailbox(Generic[T]):
    """It does not matter whether the value or its taker comes first."""

    def __init__(self) -> None:
        self._values: dict[str, T] = {}
        self._awaited: dict[str, trio.Event] = {}

    def put(self, key: str, value: T) -> None:
        self._values[key] = value
        if (event := self._awaited.pop(key, None)) is not None:
            event.set()

    async def take(self, key: str) -> T:
        """Wait for the value of `key`. The task that put it has read its clock before."""
        if key not in self._values:
            await self._awaited.setdefault(key, trio.Event()).wait()
        return self._values.pop(key)
