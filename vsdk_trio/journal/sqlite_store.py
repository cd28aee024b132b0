"""A journal in an SQLite file: each batch is one transaction, on disk when `apply` returns.

WAL, so that a commit is one write and one fsync. synchronous=FULL: with NORMAL a commit survives
the death of the worker but not a loss of power, and an outcome that was sent and then forgotten
could be sent differently later. The fsync (`python -m benchmarks --only journal`) does not delay
the event loop. locking_mode=EXCLUSIVE: the worker holds a lock anyway, and without shared memory
beside the file a full disk is an error and not a SIGBUS.

`JournalFiles` knows the names, the lock and the renaming of the files. Everything here blocks.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import sqlite3
import time
import urllib.parse
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, assert_never

from ..errors import JournalError, StateDirInUseError
from ..protocol.vocabulary import JobFact
from .records import (
    REMEMBERED_JOBS,
    Accepted,
    Acknowledged,
    Contents,
    JobEnd,
    JobEntry,
    Record,
    RunBegan,
    RunsGone,
    WorkerIdGiven,
)

_DIRECTORY_MODE: Final = 0o700
_FILE_MODE: Final = 0o600
_MAX_NAME_CHARACTERS: Final = 100  # a file name ends at 255 bytes; ours gets suffixes, too
_SUFFIXES: Final = ("", "-wal", "-shm", "-journal")


class JournalFiles:
    """One agent's place in a state directory, locked for this worker until `release`.

    The lock is the kernel's, so that it ends with the worker, however that ends. It is on a file
    of its own: the journal itself may be moved aside.

    Raises `StateDirInUseError` where another worker has it, `JournalError` where the directory
    cannot be used.
    """

    def __init__(self, directory: str, agent_id: str) -> None:
        self._directory = Path(os.path.abspath(directory))
        name = _file_name(agent_id)
        self.path = self._directory / f"{name}.journal"
        try:
            self._directory.mkdir(mode=_DIRECTORY_MODE, parents=True, exist_ok=True)
            self._lock = os.fdopen(_open(self._directory / f"{name}.lock"), "r+b", buffering=0)
        except OSError as error:
            raise JournalError(f"the state directory cannot be used: {error}") from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # For a person who looks for the holder of the lock; no code depends on it.
            self._lock.truncate(0)
            self._lock.write(b"%d\n" % os.getpid())
        except BlockingIOError:
            holder = self._lock.read(20).decode(errors="replace").strip() or "unknown"
            self._lock.close()
            raise StateDirInUseError(
                f"the state directory {directory!r} is in use by another worker of "
                f"{agent_id!r} (pid {holder}); every worker needs one of its own"
            ) from None
        except OSError as error:
            self._lock.close()
            raise JournalError(f"the state directory cannot be used: {error}") from error

    def prepare(self) -> None:
        """Make the journal's file if there is none, for its owner only. Raises `OSError`."""
        descriptor = _open(self.path)
        try:
            os.fchmod(descriptor, _FILE_MODE)
        finally:
            os.close(descriptor)
        self.sync()

    def move_aside(self, why: str) -> Path:
        """Rename the journal, and what belongs to it; returns the new name. Raises `OSError`."""
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        aside = self.path.with_name(f"{self.path.name}.{why}-{stamp}")
        number = 1
        while aside.exists():
            number += 1
            aside = self.path.with_name(f"{self.path.name}.{why}-{stamp}-{number}")
        for suffix in _SUFFIXES:
            with suppress(FileNotFoundError):
                os.rename(f"{self.path}{suffix}", f"{aside}{suffix}")
        self.sync()
        return aside

    def sync(self) -> None:
        """Make the names in the directory survive a loss of power. Raises `OSError`."""
        descriptor = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def release(self) -> None:
        """Let another worker have it. Idempotent."""
        self._lock.close()


def _open(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _FILE_MODE)


def _file_name(agent_id: str) -> str:
    """A name that no other agent's is, readable where it can be."""
    name = urllib.parse.quote(agent_id, safe=" ")
    if len(name) <= _MAX_NAME_CHARACTERS:
        return name
    digest = hashlib.sha256(agent_id.encode()).hexdigest()[:16]
    return f"{name[:_MAX_NAME_CHARACTERS]}~{digest}"


VERSION: Final = 1
# How long another program that reads the file may hold it, in seconds.
_BUSY_SECONDS: Final = 1.0
_SCHEMA: Final = {
    "identity": "CREATE TABLE identity (one INTEGER PRIMARY KEY, worker_id TEXT NOT NULL)",
    "runs": "CREATE TABLE runs (cookie_prefix TEXT PRIMARY KEY, began_at REAL)",
    "jobs": (
        "CREATE TABLE jobs (number INTEGER PRIMARY KEY, job_id TEXT NOT NULL UNIQUE, fact TEXT, "
        "error TEXT, is_proven INTEGER NOT NULL DEFAULT 0, accepted_at REAL, ended_at REAL)"
    ),
}
_ENDS: Final = {fact.name.lower(): fact for fact in JobFact if fact is not JobFact.RUNNING}
# The second is what becomes of an error whose text quotes a damaged schema.
_SQLITE_ERRORS: Final = (sqlite3.Error, UnicodeDecodeError)
# What SQLite says of a disk, not of a file that makes no sense.
_DISK_ERRORS: Final = frozenset(
    {
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_AUTH,
    }
)


def open_sqlite_store(
    directory: str, agent_id: str, *, remembered: int = REMEMBERED_JOBS
) -> SqliteStore:
    """See `Disk.open_store`."""
    return SqliteStore(JournalFiles(directory, agent_id), remembered=remembered)


class SqliteStore:
    """The `Store` in a file; see `Store` for what its methods promise."""

    def __init__(self, place: JournalFiles, *, remembered: int) -> None:
        self._place = place
        self._remembered = remembered
        self._connection: sqlite3.Connection | None = None
        self.notice = ""

    def load(self) -> Contents:
        try:
            try:
                return self._open()
            except (*_SQLITE_ERRORS, _NotAJournalError) as error:
                if _is_the_disks_fault(error):
                    raise
                aside = self._move_aside("corrupt")
                self.notice = f"the journal made no sense ({error}); it is kept as {aside}"
            return self._open()
        except (OSError, *_SQLITE_ERRORS, _NotAJournalError) as error:
            raise JournalError(f"cannot use {self._place.path}: {error}") from error

    def apply(self, batch: Sequence[Record]) -> None:
        connection = self._connection
        if connection is None:
            raise JournalError(f"cannot write {self._place.path}: it is closed")
        try:
            connection.execute("BEGIN IMMEDIATE")
            for record in batch:
                _write(connection, record, now=time.time())
            connection.execute(
                "DELETE FROM jobs WHERE is_proven AND number <= (SELECT max(number) FROM jobs) - ?",
                (self._remembered,),
            )
            connection.execute("COMMIT")
        except _SQLITE_ERRORS as error:
            with suppress(*_SQLITE_ERRORS):
                connection.execute("ROLLBACK")
            raise JournalError(f"cannot write {self._place.path}: {error}") from error

    def set_aside(self) -> None:
        try:
            self._move_aside("abandoned")
        except OSError as error:
            raise JournalError(f"cannot set {self._place.path} aside: {error}") from error

    def close(self) -> None:
        self._disconnect()
        self._place.release()

    def _open(self) -> Contents:
        self._place.prepare()
        self._connection = connection = sqlite3.connect(
            self._place.path,
            timeout=_BUSY_SECONDS,
            isolation_level=None,
            check_same_thread=False,  # one call at a time, but not all in one thread
        )
        for pragma in (
            "locking_mode=EXCLUSIVE",
            "journal_mode=WAL",
            "synchronous=FULL",
            "trusted_schema=OFF",
            "cell_size_check=ON",
        ):
            connection.execute(f"PRAGMA {pragma}").fetchall()
        _check(connection)
        return _read(connection)

    def _move_aside(self, why: str) -> str:
        self._disconnect()
        return str(self._place.move_aside(why))

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(sqlite3.Error):
                connection.close()


class _NotAJournalError(ValueError):
    """The file can be read, and is not what this program writes."""


def _is_the_disks_fault(error: Exception) -> bool:
    code: int | None = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & 0xFF in _DISK_ERRORS


def _check(connection: sqlite3.Connection) -> None:
    """See that the file is a sound journal; make an empty one one."""
    found = dict(connection.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL"))
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if not found and version == 0:
        connection.execute("BEGIN IMMEDIATE")
        for statement in _SCHEMA.values():
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version={VERSION}")
        connection.execute("COMMIT")
    elif version != VERSION or found != _SCHEMA:
        raise _NotAJournalError(f"not a journal of version {VERSION}")
    (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if verdict != "ok":
        raise _NotAJournalError(str(verdict))


def _read(connection: sqlite3.Connection) -> Contents:
    ids = [worker_id for (worker_id,) in connection.execute("SELECT worker_id FROM identity")]
    prefixes = connection.execute("SELECT cookie_prefix FROM runs ORDER BY rowid")
    jobs = connection.execute("SELECT job_id, fact, error, is_proven FROM jobs ORDER BY number")
    return Contents(
        worker_id=_text(ids[0]) if ids else "",
        cookie_prefixes=tuple(_prefix(prefix) for (prefix,) in prefixes),
        jobs=tuple(_entry(*row) for row in jobs),
    )


def _entry(job_id: object, fact: object, error: object, is_acknowledged: object) -> JobEntry:
    if fact is None:
        return JobEntry(_text(job_id))
    if fact not in _ENDS:
        raise _NotAJournalError("an end of no known kind")
    end = JobEnd(_text(job_id), _ENDS[_text(fact)], None if error is None else _text(error))
    return JobEntry(end.job_id, end, is_acknowledged=bool(is_acknowledged))


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise _NotAJournalError(f"a text was expected, not {type(value).__name__}")
    return value


def _prefix(value: object) -> str:
    # Processes are killed by it: an empty one would be everybody's.
    if not (prefix := _text(value)):
        raise _NotAJournalError("an empty cookie prefix")
    return prefix


def _write(connection: sqlite3.Connection, record: Record, *, now: float) -> None:
    """Write one record. `now` is the wall clock's, for a person who reads the file."""
    match record:
        case WorkerIdGiven(worker_id):
            connection.execute("INSERT OR REPLACE INTO identity VALUES (1, ?)", (worker_id,))
        case RunBegan(prefix):
            connection.execute("INSERT OR IGNORE INTO runs VALUES (?, ?)", (prefix, now))
        case RunsGone(prefixes):
            connection.executemany(
                "DELETE FROM runs WHERE cookie_prefix = ?", [(prefix,) for prefix in prefixes]
            )
        case Accepted(job_id):
            connection.execute(
                "INSERT OR REPLACE INTO jobs (job_id, accepted_at) VALUES (?, ?)", (job_id, now)
            )
        case JobEnd(job_id, fact, error):
            connection.execute(
                "INSERT INTO jobs (job_id, fact, error, ended_at) VALUES (?, ?, ?, ?) "
                "ON CONFLICT (job_id) DO UPDATE SET fact = excluded.fact, "
                "error = excluded.error, ended_at = excluded.ended_at WHERE fact IS NULL",
                (job_id, fact.name.lower(), error, now),
            )
        case Acknowledged(job_id):
            connection.execute(
                "UPDATE jobs SET is_proven = 1 WHERE job_id = ? AND fact IS NOT NULL", (job_id,)
            )
        case _:
            assert_never(record)
