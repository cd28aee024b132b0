"""The journal of a running worker: records are queued at once, tickets settle when they are safe.

One task writes; whatever is queued when it comes round goes into one batch, so that many jobs
share one fsync. It knows records and the seam to the disk; not what a worker or a registry is.

A journal that fails is given up: the worker's work does not depend on it. One line of the log says
so, and every waiting ticket settles.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import asynccontextmanager
from functools import partial
from typing import Final

import trio

from .._service import open_service
from ..errors import JournalError, ShortageError
from ..telemetry.events import JournalGivenUp, JournalWrote, Observe, unobserved
from ..telemetry.logs.loggers import get_logger
from .disk import Disk, Store
from .records import NOTHING, Contents, Record

logger = get_logger(__name__)

# How long a disk may take. After that the tickets settle, and the journal is given up.
DISK_TIMEOUT_SECONDS: Final = 5.0
# How long a record without a waiting task may stay queued, to share an fsync with others.
LAZY_SECONDS: Final = 1.0
_CLOSE_SECONDS: Final = 2.0


class Ticket:
    """One record on its way to the disk."""

    def __init__(self, record: Record | None) -> None:
        self.record = record
        self._calls: list[Callable[[], object]] | None = None if record is None else []

    @property
    def is_settled(self) -> bool:
        """Whether the record is safe, or will never be."""
        return self._calls is None

    def then(self, call: Callable[[], object]) -> None:
        """Call it once settled, at once if it is; in the order of the records."""
        if self._calls is None:
            call()
        else:
            self._calls.append(call)

    async def wait(self) -> None:
        """Wait until it is settled."""
        settled = trio.Event()
        self.then(settled.set)
        await settled.wait()

    def settle(self) -> None:
        """End the waiting: call what waits for the record."""
        calls, self._calls = self._calls, None
        for call in calls or ():
            call()


_SETTLED: Final = Ticket(None)


class Journal:
    """What a worker writes down; see `open_journal`.

    One without a `store` is off: it takes everything, keeps nothing, and costs nothing.
    """

    def __init__(
        self,
        disk: Disk | None = None,
        store: Store | None = None,
        contents: Contents = NOTHING,
        *,
        warnings: Iterable[str] = (),
        observe: Observe = unobserved,
    ) -> None:
        self._observe = observe
        self._disk = disk
        self._store = store
        self._is_on = store is not None
        self._queue: deque[Ticket] = deque()
        self._writing: deque[Ticket] = deque()
        self._has_something = trio.Event()
        self._is_urgent = trio.Event()
        self.contents = contents
        """Its contents when it was opened."""
        self.warnings = list(warnings)
        """What a person should know, in words; empty while all is well."""

    @property
    def is_on(self) -> bool:
        """Whether what goes in is written down."""
        return self._is_on

    def write(self, record: Record) -> Ticket:
        """Queue a record that a task waits for. Never blocks."""
        if not self._is_on:
            return _SETTLED
        self._is_urgent.set()
        return self._put(record)

    def note(self, record: Record) -> None:
        """Queue a record that no task waits for: it goes with the next, or within a second."""
        if self._is_on:
            self._put(record)

    def _put(self, record: Record) -> Ticket:
        ticket = Ticket(record)
        self._queue.append(ticket)
        self._has_something.set()
        return ticket

    async def run(self, stopping: trio.Event, *, task_status: trio.TaskStatus[None]) -> None:
        """Service body: write until `stopping`, then write the rest, and close the store."""
        assert self._disk is not None, "one that is off is not run"
        assert self._store is not None, "it comes with its disk"
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._hurry_when, stopping)
                task_status.started()
                while self._queue or not stopping.is_set():
                    await self._next_batch(stopping)
                    if self._writing:
                        await self._write_batch(self._disk, self._store)
        finally:
            self._is_on = False
            # A task that still waits would never return.
            self._let_go()
            with trio.move_on_after(_CLOSE_SECONDS, shield=True):
                await self._disk.run(self._store.close)

    async def _hurry_when(self, stopping: trio.Event) -> None:
        await stopping.wait()
        self._has_something.set()
        self._is_urgent.set()

    async def _next_batch(self, stopping: trio.Event) -> None:
        await self._has_something.wait()
        if not self._is_urgent.is_set():  # a job waits: not even for a turn of the others
            with trio.move_on_after(LAZY_SECONDS):
                await self._is_urgent.wait()
        self._writing, self._queue = self._queue, deque()
        if not stopping.is_set():
            self._has_something, self._is_urgent = trio.Event(), trio.Event()

    async def _write_batch(self, disk: Disk, store: Store) -> None:
        records = [ticket.record for ticket in self._writing if ticket.record is not None]
        problem = f"the disk did not take it within {DISK_TIMEOUT_SECONDS:g} s"
        is_set_aside = False
        began = trio.current_time()
        with trio.move_on_after(DISK_TIMEOUT_SECONDS):
            try:
                await disk.run(partial(store.apply, records))
            except JournalError as error:
                problem = str(error)
                # Before any end is sent that it lacks: the next worker would believe the journal.
                await self._set_aside(disk, store)
                is_set_aside = True
            else:
                seconds = trio.current_time() - began
                self._observe(JournalWrote(records=len(records), seconds=seconds))
                self._settle_written()
                return
        self._give_up(problem)
        if not is_set_aside:
            await self._set_aside(disk, store)

    async def _set_aside(self, disk: Disk, store: Store) -> None:
        try:
            await disk.run(store.set_aside)
        except JournalError as error:
            logger.error("the next worker may be misled by an old journal: %s", error)

    def _settle_written(self) -> None:
        while self._writing:
            self._writing.popleft().settle()

    def _give_up(self, problem: str) -> None:
        self._is_on = False
        self._observe(JournalGivenUp(problem=problem))
        self.warnings.append(_without(problem))
        logger.error("%s", _without(problem))
        self._let_go()

    def _let_go(self) -> None:
        self._settle_written()
        while self._queue:
            self._queue.popleft().settle()


def _without(problem: str) -> str:
    return f"going on without a journal, jobs will not survive a crash in it: {problem}"


class _Opening:
    """Opens a store in another thread; closes it where the caller has given up meanwhile."""

    def __init__(self, disk: Disk, directory: str, agent_id: str) -> None:
        self._disk = disk
        self._directory = directory
        self._agent_id = agent_id
        self._is_unwanted = False
        self._opened: Store | None = None

    def __call__(self) -> tuple[Store, Contents]:
        store = self._disk.open_store(self._directory, self._agent_id)
        try:
            contents = store.load()
        except BaseException:
            store.close()
            raise
        self._opened = store
        if self._is_unwanted:
            store.close()
        return store, contents

    def no_longer_wanted(self) -> None:
        # Either thread may be the first here; the second one closes it, or both do.
        self._is_unwanted = True
        if self._opened is not None:
            self._opened.close()


@asynccontextmanager
async def open_journal(
    directory: str | None, agent_id: str, disk: Disk, observe: Observe = unobserved
) -> AsyncGenerator[Journal]:
    """Keep the journal of that agent in that directory for the length of the block.

    Without a directory it is off. Where there cannot be one, it is off as well, says so in the log
    and in its `warnings`. Raises `StateDirInUseError` where another worker has it. When the block
    ends, what has been queued is written, within a few seconds.
    """
    if directory is None:
        yield Journal()
        return
    opening = _Opening(disk, directory, agent_id)
    problem = f"the disk did not open it within {DISK_TIMEOUT_SECONDS:g} s"
    opened: tuple[Store, Contents] | None = None
    try:
        with trio.move_on_after(DISK_TIMEOUT_SECONDS):
            opened = await disk.run(opening)
    except (JournalError, ShortageError) as error:
        problem = str(error)
    finally:
        if opened is None:
            opening.no_longer_wanted()
    if opened is None:
        logger.error("%s", _without(problem))
        observe(JournalGivenUp(problem=problem))
        yield Journal(warnings=[_without(problem)])
        return
    store, contents = opened
    if store.notice:
        logger.error("%s", store.notice)
    warnings = filter(None, [store.notice])
    journal = Journal(disk, store, contents, warnings=warnings, observe=observe)
    async with open_service(journal.run, grace=2 * DISK_TIMEOUT_SECONDS + _CLOSE_SECONDS):
        yield journal
