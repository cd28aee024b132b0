"""Journals for tests: where they are kept, and what becomes of them in a crash."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import pytest

from vsdk_trio.journal.disk import Store
from vsdk_trio.journal.records import REMEMBERED_JOBS
from vsdk_trio.journal.sqlite_store import open_sqlite_store
from vsdk_trio.testing.disk import MemoryDisk

# Where an fsync costs nothing, for what is tried hundreds of times.
FAST = Path("/dev/shm") if os.access("/dev/shm", os.W_OK) else None


class Shelf(Protocol):
    """One place for a journal, and the accidents that may happen to it."""

    def open(self) -> Store: ...

    def crash(self) -> None:
        """Whoever holds it is gone without a word."""

    def spoil(self) -> None:
        """What is written there makes no sense any more; nobody holds it."""

    def aside(self) -> int:
        """How many journals were set aside."""
        ...


class MemoryShelf:
    def __init__(self, remembered: int) -> None:
        self.disk = MemoryDisk(remembered=remembered)

    def open(self) -> Store:
        return self.disk.open_store("state", "agent")

    def crash(self) -> None:
        self.disk.crash()

    def spoil(self) -> None:
        self.disk.file("state", "agent").is_corrupt = True

    def aside(self) -> int:
        return len(self.disk.file("state", "agent").aside)


class SqliteShelf:
    def __init__(self, directory: Path, remembered: int) -> None:
        self.root = directory
        self.directory = directory / "state-0"
        self._crashes = 0
        self._remembered = remembered

    def open(self) -> Store:
        return open_sqlite_store(str(self.directory), "agent", remembered=self._remembered)

    def crash(self) -> None:
        # What a process leaves when it is killed is what is in the files at that moment.
        self._crashes += 1
        left = self.directory
        self.directory = self.root / f"state-{self._crashes}"
        shutil.copytree(left, self.directory)

    def spoil(self) -> None:
        (self.directory / "agent.journal").write_bytes(b"no database" * 1000)

    def aside(self) -> int:
        return len(list(self.directory.glob("agent.journal.*Z")))


@contextmanager
def new_shelf(kind: str, directory: Path, *, remembered: int = REMEMBERED_JOBS) -> Iterator[Shelf]:
    """A shelf that sees to it that nothing stays open."""
    shelf = MemoryShelf(remembered) if kind == "memory" else SqliteShelf(directory, remembered)
    opened: list[Store] = []
    open_one = shelf.open

    def open_and_note() -> Store:
        opened.append(open_one())
        return opened[-1]

    shelf.open = open_and_note  # type: ignore[method-assign]  # to close what a test leaves open
    try:
        yield shelf
    finally:
        for store in opened:
            store.close()


@pytest.fixture(params=["memory", "sqlite"])
def shelf(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shelf]:
    with new_shelf(request.param, tmp_path) as shelf:
        yield shelf
