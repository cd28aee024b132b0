"""A simulated disk for journals: slow, broken or full as told, and what it holds outlives a crash.

Works under a mock clock: what would block in a thread sleeps here. `MemoryDisk` fits where the
worker's edges have a disk.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import attrs
import trio

from ..errors import JournalError, StateDirInUseError
from ..journal.records import NOTHING, REMEMBERED_JOBS, Contents, JournalState, Record

T = TypeVar("T")


@attrs.define
class MemoryFile:
    """One agent's journal: what is committed, who holds it, and what was set aside."""

    picture: JournalState
    holder: MemoryStore | None = None
    is_corrupt: bool = False
    aside: list[Contents] = attrs.field(factory=list)

    @property
    def contents(self) -> Contents:
        """What a worker that opened it now would find."""
        return self.picture.contents

    def set_aside(self, new: JournalState) -> None:
        """Keep what it holds, and begin a new one in its place."""
        self.aside.append(self.contents)
        self.picture = new


class MemoryStore:
    """A `Store` in memory; see `MemoryDisk`. `batches` are those that it has committed."""

    def __init__(self, disk: MemoryDisk, file: MemoryFile) -> None:
        self._disk = disk
        self._file = file
        self._is_over = False
        self.notice = ""
        self.batches: list[tuple[Record, ...]] = []

    @property
    def _is_dead(self) -> bool:
        return self._file.holder is not self

    def load(self) -> Contents:
        """See `Store.load`."""
        if self._file.is_corrupt:
            self._file.is_corrupt = False
            self._file.set_aside(self._disk.new_picture())
            self.notice = "the journal made no sense; it is kept"
        return self._file.contents

    def apply(self, batch: Sequence[Record]) -> None:
        """See `Store.apply`. What a dead worker writes goes nowhere."""
        if self._is_dead:
            return
        if self._is_over or self._disk.failure is not None:
            raise JournalError(self._disk.failure or "it is set aside")
        self._file.picture.apply(batch)
        self.batches.append(tuple(batch))

    def set_aside(self) -> None:
        """See `Store.set_aside`."""
        if self._is_dead:
            return
        if self._disk.is_frozen:
            raise JournalError("the simulated disk is read-only")
        self._is_over = True
        self._file.set_aside(self._disk.new_picture())

    def close(self) -> None:
        """See `Store.close`."""
        if not self._is_dead:
            self._file.holder = None


class MemoryDisk:
    """A `Disk` whose files survive the workers that write them.

    Arguments: `delay`, seconds, asked twice for each call: before it takes effect and after, so
    that a crash in between finds it done and nobody told; `remembered`, see `JournalState`.

    `failure`, while it is set, is what every write fails with, and `open_failure` every opening.
    `is_frozen` keeps files from being set aside as well. `crash()` is the death of every worker
    that has a file open, or of their machine: what is not committed is lost.
    """

    def __init__(
        self,
        *,
        delay: Callable[[], float] = lambda: 0.0,
        remembered: int = REMEMBERED_JOBS,
    ) -> None:
        self.delay = delay
        self.failure: str | None = None
        self.open_failure: str | None = None
        self.is_frozen = False
        self.files: dict[tuple[str, str], MemoryFile] = {}
        self._remembered = remembered

    def new_picture(self) -> JournalState:
        """An empty journal."""
        return JournalState(NOTHING, remembered=self._remembered)

    def file(self, directory: str, agent_id: str) -> MemoryFile:
        """The journal of that agent in that directory, made if there is none."""
        return self.files.setdefault((directory, agent_id), MemoryFile(self.new_picture()))

    def open_store(self, directory: str, agent_id: str) -> MemoryStore:
        """See `Disk.open_store`."""
        if self.open_failure is not None:
            raise JournalError(self.open_failure)
        file = self.file(directory, agent_id)
        if file.holder is not None:
            raise StateDirInUseError(
                f"the state directory {directory!r} is in use by another worker of {agent_id!r}"
            )
        file.holder = MemoryStore(self, file)
        return file.holder

    async def run(self, call: Callable[[], T]) -> T:
        """See `Disk.run`."""
        await trio.sleep(self.delay())
        result = call()
        await trio.sleep(self.delay())
        return result

    def crash(self) -> None:
        """Every worker that has a file open is dead: the next one may open it."""
        for file in self.files.values():
            file.holder = None
