"""Target: the journal's file, as a crash, a bad disk or somebody else may have left it."""

from __future__ import annotations

import os
import sqlite3
import tempfile
from pathlib import Path

from vsdk_trio.errors import JournalError
from vsdk_trio.journal.records import (
    Accepted,
    Acknowledged,
    Contents,
    JobEnd,
    RunBegan,
    WorkerIdGiven,
)
from vsdk_trio.journal.sqlite_store import open_sqlite_store
from vsdk_trio.protocol.vocabulary import JobFact

from ..base import Target, expect, only

_MARK = b"--wal--"
_MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
_BATCH = (
    WorkerIdGiven("worker-new"),
    RunBegan("cookie-new"),
    Accepted("job-new"),
    JobEnd("job-new", JobFact.FAILED, "worker was restarted"),
    Acknowledged("job-new"),
    Accepted("job-open"),
)


def _load(directory: str) -> tuple[Contents, bool]:
    """What the journal says, and whether it was set aside; it takes a batch afterwards."""
    store = open_sqlite_store(directory, "agent")
    try:
        contents = store.load()
        store.apply(_BATCH)
        return contents, bool(store.notice)
    finally:
        store.close()


def run_journal(data: bytes) -> None:
    """The file, and after a mark its WAL: read, or set aside whole, and written on."""
    main, _, wal = data.partition(_MARK)
    with tempfile.TemporaryDirectory(dir=_MEMORY) as directory:
        path = Path(directory) / "agent.journal"
        path.write_bytes(main)
        if wal:
            path.with_name("agent.journal-wal").write_bytes(wal)
        with only(JournalError):
            contents, was_set_aside = _load(directory)
            _check(contents)
            aside = list(Path(directory).glob("agent.journal.corrupt-*"))
            expect(bool(aside) == was_set_aside, "set aside and not said, or the other way round")
            again, is_set_aside_again = _load(directory)
            expect(not is_set_aside_again, "what it wrote itself makes no sense")
            _check(again)
            expect(again.worker_id == "worker-new", "the worker's id was not kept")
            entries = {entry.job_id: entry for entry in again.jobs}
            expect("job-open" in entries and "cookie-new" in again.cookie_prefixes, "a loss")
            kept = {entry.job_id for entry in contents.jobs if not entry.is_acknowledged}
            expect(set(entries) >= kept, "a job got lost")


def _check(contents: Contents) -> None:
    expect(isinstance(contents.worker_id, str), "an id that is no text")
    expect(all(contents.cookie_prefixes), "an empty prefix: everybody would be killed by it")
    ids = [entry.job_id for entry in contents.jobs]
    expect(len(ids) == len(set(ids)) and all(isinstance(each, str) for each in ids), "odd ids")
    for entry in contents.jobs:
        expect(entry.end is None or entry.end.job_id == entry.job_id, "another job's end")


def _made(page_size: int, *, with_wal: bool) -> bytes:
    """A journal with something in it, small where the pages are."""
    with tempfile.TemporaryDirectory(dir=_MEMORY) as directory:
        path = Path(directory) / "agent.journal"
        sqlite = sqlite3.connect(path)
        sqlite.execute(f"PRAGMA page_size={page_size}")
        sqlite.execute("VACUUM")
        sqlite.close()
        store = open_sqlite_store(directory, "agent")
        try:
            store.load()
            store.apply([WorkerIdGiven("worker"), RunBegan("cookie"), Accepted("a"), Accepted("b")])
            store.apply([JobEnd("b", JobFact.CANCELLED, "why"), Acknowledged("b")])
            if with_wal:
                wal = path.with_name("agent.journal-wal").read_bytes()
                return path.read_bytes() + _MARK + wal
        finally:
            store.close()
        return path.read_bytes()


def _foreign() -> bytes:
    with tempfile.TemporaryDirectory(dir=_MEMORY) as directory:
        path = Path(directory) / "other.db"
        sqlite = sqlite3.connect(path)
        sqlite.executescript("PRAGMA page_size=512; CREATE TABLE t (a); INSERT INTO t VALUES (1)")
        sqlite.close()
        return path.read_bytes()


TARGETS = (
    Target(
        name="journal",
        run=run_journal,
        seeds=(
            b"",
            b"not a database",
            _made(512, with_wal=False),
            _made(512, with_wal=True),
            _made(1024, with_wal=True),
            _foreign(),
        ),
        words=(
            b"\0" * 512,
            b"\xff" * 16,
            b"SQLite format 3\0",
            b"worker",
            b"cookie",
            b"completed",
            b"CREATE TABLE",
            b"CREATE VIEW",
            b"CREATE TRIGGER",
            _MARK,
        ),
        share=12,
        quick=500,
    ),
)
