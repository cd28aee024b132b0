"""The journal of a running worker: what waits for the disk, how long, and what a failure costs."""

from __future__ import annotations

import logging
import math
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial

import pytest
import trio
from trio.testing import MockClock

from vsdk_trio.errors import StateDirInUseError
from vsdk_trio.journal.disk import ThreadedDisk
from vsdk_trio.journal.journal import (
    DISK_TIMEOUT_SECONDS,
    LAZY_SECONDS,
    Journal,
    Ticket,
    open_journal,
)
from vsdk_trio.journal.records import Accepted, Acknowledged, Contents, JobEnd, JobEntry
from vsdk_trio.protocol.vocabulary import JobFact
from vsdk_trio.testing.disk import MemoryDisk, MemoryStore

DONE = JobEnd("a", JobFact.COMPLETED)


@asynccontextmanager
async def opened(disk: MemoryDisk) -> AsyncGenerator[Journal]:
    async with open_journal("state", "agent", disk) as journal:
        assert journal.is_on
        yield journal


def store_of(disk: MemoryDisk) -> MemoryStore:
    holder = disk.file("state", "agent").holder
    assert holder is not None
    return holder


async def settled(*tickets: Ticket) -> float:
    for ticket in tickets:
        await ticket.wait()
    return trio.current_time()


async def test_without_a_directory_it_costs_nothing(autojump_clock: MockClock) -> None:
    disk = MemoryDisk()
    async with open_journal(None, "agent", disk) as journal:
        called: list[str] = []
        ticket = journal.write(Accepted("a"))
        ticket.then(lambda: called.append("at once"))
        journal.note(Acknowledged("a"))
        assert ticket.is_settled
        assert called == ["at once"]
        assert not journal.is_on
        assert journal.warnings == []
    assert disk.files == {}


async def test_what_is_written_is_there(autojump_clock: MockClock) -> None:
    disk = MemoryDisk(delay=lambda: 0.5)
    async with opened(disk) as journal:
        began = trio.current_time()
        ticket = journal.write(Accepted("a"))
        assert not ticket.is_settled
        assert await settled(ticket) == began + 1
        assert disk.file("state", "agent").contents.jobs == (JobEntry("a"),)
    async with opened(disk) as journal:
        assert journal.contents == Contents(jobs=(JobEntry("a"),))


async def test_many_share_one_batch(autojump_clock: MockClock) -> None:
    disk = MemoryDisk(delay=lambda: 0.5)
    async with opened(disk) as journal:
        order: list[str] = []
        first = journal.write(Accepted("first"))
        await trio.sleep(0.1)
        for number in range(50):
            job_id = f"job-{number}"
            journal.write(Accepted(job_id)).then(partial(order.append, job_id))
        last = journal.write(Accepted("last"))
        assert await settled(first, last) == trio.current_time()
        assert [len(batch) for batch in store_of(disk).batches] == [1, 51]
        assert order == [f"job-{number}" for number in range(50)]


async def test_what_nobody_waits_for_goes_with_the_next(autojump_clock: MockClock) -> None:
    disk = MemoryDisk()
    async with opened(disk) as journal:
        await settled(journal.write(Accepted("a")), journal.write(DONE))
        journal.note(Acknowledged("a"))
        await trio.sleep(LAZY_SECONDS / 2)
        await settled(journal.write(Accepted("b")))
        assert store_of(disk).batches[1:] == [(Acknowledged("a"), Accepted("b"))]
        journal.note(Acknowledged("b"))
        await trio.sleep(LAZY_SECONDS * 1.1)
        assert store_of(disk).batches[2:] == [(Acknowledged("b"),)]


async def test_what_is_queued_at_the_end_is_written(autojump_clock: MockClock) -> None:
    disk = MemoryDisk(delay=lambda: 0.5)
    async with opened(disk) as journal:
        called: list[str] = []
        journal.write(Accepted("a")).then(lambda: called.append("a"))
        await trio.sleep(0.1)
        journal.write(Accepted("b")).then(lambda: called.append("b"))
        journal.note(Acknowledged("b"))
    assert called == ["a", "b"]
    assert len(disk.file("state", "agent").contents.jobs) == 2
    assert disk.file("state", "agent").holder is None
    assert journal.write(Accepted("late")).is_settled


async def test_a_cancellation_does_not_lose_what_is_queued(autojump_clock: MockClock) -> None:
    disk = MemoryDisk(delay=lambda: 0.5)
    with trio.CancelScope() as scope:
        async with opened(disk) as journal:
            journal.write(Accepted("a"))
            scope.cancel()
    assert disk.file("state", "agent").contents.jobs == (JobEntry("a"),)


async def test_a_disk_that_fails_is_given_up(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    disk = MemoryDisk(delay=lambda: 0.1)
    async with opened(disk) as journal:
        await settled(journal.write(Accepted("a")))
        disk.failure = "disk full"
        tickets = [journal.write(DONE), journal.write(Accepted("b"))]
        # Nobody is told before the old story is out of the next worker's way.
        tickets[0].then(lambda: aside.extend(disk.file("state", "agent").aside))
        aside: list[Contents] = []
        await settled(*tickets)
        assert aside == [Contents(jobs=(JobEntry("a"),))]
        assert not journal.is_on
        assert journal.write(Accepted("c")).is_settled
        (warning,) = journal.warnings
        assert "going on without a journal" in warning
        assert "disk full" in warning
        errors = [r for r in caplog.records if r.levelno == logging.ERROR]
        assert [record.getMessage() for record in errors] == [warning]
        with pytest.raises(StateDirInUseError):
            disk.open_store("state", "agent")  # still this worker's
    disk.failure = None
    async with opened(disk) as journal:
        assert journal.contents == Contents()


async def test_a_disk_that_keeps_its_files_is_complained_of(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    disk = MemoryDisk()
    async with opened(disk) as journal:
        disk.failure, disk.is_frozen = "read-only", True
        await settled(journal.write(Accepted("a")))
    assert "may be misled by an old journal" in caplog.text


async def test_a_disk_that_hangs_is_waited_for_only_so_long(autojump_clock: MockClock) -> None:
    seconds = [0.0]
    disk = MemoryDisk(delay=lambda: seconds[0])
    async with opened(disk) as journal:
        seconds[0] = math.inf
        first = journal.write(Accepted("a"))
        await trio.sleep(1)
        second = journal.write(Accepted("b"))
        began = trio.current_time() - 1
        assert await settled(first, second) == began + DISK_TIMEOUT_SECONDS
        assert f"did not take it within {DISK_TIMEOUT_SECONDS:g} s" in journal.warnings[0]
        ending = trio.current_time()
    assert trio.current_time() - ending <= 2 * DISK_TIMEOUT_SECONDS + 5


async def test_a_slow_disk_has_its_old_story_set_aside_later(autojump_clock: MockClock) -> None:
    seconds = [0.0]
    disk = MemoryDisk(delay=lambda: seconds[0])
    async with opened(disk) as journal:
        await settled(journal.write(Accepted("a")))
        seconds[0] = 60
        await settled(journal.write(DONE))
        assert disk.file("state", "agent").aside == []
        await trio.sleep(200)
        assert disk.file("state", "agent").aside == [Contents(jobs=(JobEntry("a"),))]


async def test_one_that_cannot_be_opened(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    disk = MemoryDisk()
    disk.open_failure = "not a directory"
    async with open_journal("state", "agent", disk) as journal:
        assert not journal.is_on
        assert "not a directory" in journal.warnings[0]
        assert journal.warnings[0] in caplog.text


async def test_one_that_does_not_open_in_time(autojump_clock: MockClock) -> None:
    disk = MemoryDisk(delay=lambda: math.inf)
    async with open_journal("state", "agent", disk) as journal:
        assert not journal.is_on
        assert "did not open it within" in journal.warnings[0]
        assert trio.current_time() == DISK_TIMEOUT_SECONDS


async def test_one_that_opens_too_late_is_closed(autojump_clock: MockClock) -> None:
    seconds = iter([0.0, 60.0])
    disk = MemoryDisk(delay=lambda: next(seconds))
    async with open_journal("state", "agent", disk) as journal:
        assert not journal.is_on
        assert disk.file("state", "agent").holder is None


async def test_one_that_makes_no_sense_is_said(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    disk = MemoryDisk()
    disk.file("state", "agent").is_corrupt = True
    async with opened(disk) as journal:
        assert journal.warnings == ["the journal made no sense; it is kept"]
    assert journal.warnings[0] in caplog.text


async def test_another_worker_s_is_refused(autojump_clock: MockClock) -> None:
    disk = MemoryDisk()
    async with opened(disk):
        with pytest.raises(StateDirInUseError, match="in use"):
            async with open_journal("state", "agent", disk):
                pass
        async with open_journal("state", "another agent", disk) as other:
            assert other.is_on


async def test_a_bug_in_a_callback_is_no_silence_and_costs_nobody_else(
    autojump_clock: MockClock,
) -> None:
    called: list[str] = []

    def fail() -> None:
        raise ZeroDivisionError

    with pytest.RaisesGroup(ZeroDivisionError, flatten_subgroups=True):
        async with opened(MemoryDisk()) as journal:
            journal.write(Accepted("a")).then(fail)
            journal.write(Accepted("b")).then(lambda: called.append("b"))
            await trio.sleep_forever()
    assert called == ["b"]


async def test_a_crash_loses_only_what_is_not_settled(autojump_clock: MockClock) -> None:
    """At any moment, with any delay: what somebody was told is there."""
    for tenth in range(1, 30):
        disk = MemoryDisk(delay=lambda: 0.3)
        told: list[str] = []
        async with opened(disk) as journal:
            crash_at = trio.current_time() + tenth / 10
            for number in range(15):
                job_id = f"job-{number}"
                journal.write(Accepted(job_id)).then(partial(told.append, job_id))
                await trio.sleep(0.2)
                if trio.current_time() > crash_at:
                    break
            disk.crash()
            told_before = list(told)
        found = [entry.job_id for entry in disk.file("state", "agent").contents.jobs]
        assert found[: len(told_before)] == told_before


@pytest.mark.real
async def test_on_a_real_disk(tmp_path: object) -> None:
    disk = ThreadedDisk()
    for _ in range(2):
        async with open_journal(str(tmp_path), "agent", disk) as journal:
            assert journal.is_on
            tickets = [journal.write(Accepted(f"job-{n}")) for n in range(100)]
            await settled(*tickets)
    async with open_journal(str(tmp_path), "agent", disk) as journal:
        assert len(journal.contents.jobs) == 100
        with pytest.raises(StateDirInUseError):
            async with open_journal(str(tmp_path), "agent", ThreadedDisk()):
                pass


@pytest.mark.real
def test_a_worker_without_a_state_directory_loads_no_sqlite() -> None:
    # By its name, because a tool that measures the tests may load SQLite for itself.
    module = "vsdk_trio.journal.sqlite_store"
    program = f"import sys, vsdk_trio.worker.worker; print({module!r} in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert done.stdout.split() == [b"False"]
