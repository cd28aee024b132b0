"""The seam between the journal and what it is written on.

Two protocols: a `Store` is one worker's journal, a `Disk` is where stores are and how to wait for
one. SQLite in a thread fits behind them, and so does a simulated disk on a mock clock.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from .records import Contents, Record

T = TypeVar("T")


class Store(Protocol):
    """One worker's journal, held by one worker at a time. Synchronous; one call at a time.

    Where a call raises `JournalError`, the store is of no more use but for `set_aside` and `close`.
    """

    @property
    def notice(self) -> str:
        """What a person should know about it although it works; "" for nothing."""
        ...

    def load(self) -> Contents:
        """Read everything; called once, first. What makes no sense is set aside, never deleted."""
        ...

    def apply(self, batch: Sequence[Record]) -> None:
        """Write all of it or nothing; it has survived whatever comes once this returns."""
        ...

    def set_aside(self) -> None:
        """Keep what it holds from the next worker: it is no longer the truth."""
        ...

    def close(self) -> None:
        """Let another worker have it. Idempotent, never raises."""
        ...


class Disk(Protocol):
    """Where stores are."""

    def open_store(self, directory: str, agent_id: str) -> Store:
        """The store of that agent in that directory, made if there is none.

        Raises `StateDirInUseError` where another worker holds it, `JournalError` where there
        cannot be one.
        """
        ...

    async def run(self, call: Callable[[], T]) -> T:
        """Call something of the above without holding up the event loop.

        Cancelled, it leaves the call behind, which may still happen. One call after the other.
        """
        ...
