"""The journal's file: who may read it, what it survives, and what it does not hold."""

from __future__ import annotations

import os
import resource
import sqlite3
import stat
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vsdk_trio.errors import JournalError, StateDirInUseError
from vsdk_trio.journal.records import Accepted, Acknowledged, Contents, JobEnd, JobEntry, RunBegan
from vsdk_trio.journal.sqlite_store import VERSION, SqliteStore, open_sqlite_store
from vsdk_trio.protocol.vocabulary import JobFact

from .conftest import FAST

DONE = JobEnd("a", JobFact.COMPLETED)


def filled(directory: Path, agent_id: str = "agent") -> SqliteStore:
    store = open_sqlite_store(str(directory), agent_id)
    store.load()
    store.apply([RunBegan("vsdk-1"), Accepted("a"), DONE, Accepted("b")])
    return store


def loaded(directory: Path) -> tuple[Contents, str]:
    """What the next worker finds, and what it is told about it."""
    store = open_sqlite_store(str(directory), "agent")
    try:
        return store.load(), store.notice
    finally:
        store.close()


def modes(directory: Path) -> dict[str, int]:
    return {path.name: stat.S_IMODE(path.stat().st_mode) for path in directory.iterdir()}


def test_nobody_else_may_read_it(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        store = filled(tmp_path / "new" / "state")
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "new" / "state").stat().st_mode) == 0o700
    assert modes(tmp_path / "new" / "state") == {
        "agent.journal": 0o600,
        "agent.journal-wal": 0o600,
        "agent.lock": 0o600,
    }
    store.close()


def test_a_file_that_others_could_read_is_closed_to_them(tmp_path: Path) -> None:
    filled(tmp_path).close()
    (tmp_path / "agent.journal").chmod(0o644)
    loaded(tmp_path)
    assert modes(tmp_path)["agent.journal"] == 0o600


def test_each_agent_has_its_own(tmp_path: Path) -> None:
    names = ["agent", "Agent/../x", "..", "a b", "x" * 300, "x" * 301]
    stores = [filled(tmp_path, name) for name in names]
    for store in stores:
        store.close()
    journals = list(tmp_path.glob("*.journal"))
    assert len(journals) == len(names)
    assert {path.parent for path in journals} == {tmp_path}


def test_whoever_has_it_is_named(tmp_path: Path) -> None:
    store = filled(tmp_path)
    with pytest.raises(StateDirInUseError, match=rf"pid {os.getpid()}\)"):
        open_sqlite_store(str(tmp_path), "agent")
    store.close()


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.write_bytes(b"not a database at all"),
        lambda path: path.write_bytes(path.read_bytes()[:5000]),
        lambda path: path.write_bytes(path.read_bytes()[:4096] + os.urandom(12288)),
        lambda path: path.write_bytes(b"\0" * 8192),
    ],
    ids=["text", "cut off", "page lost", "zeros"],
)
def test_a_file_that_makes_no_sense_is_moved_aside(
    tmp_path: Path, spoil: Callable[[Path], None]
) -> None:
    filled(tmp_path).close()
    path = tmp_path / "agent.journal"
    spoil(path)
    spoilt = path.read_bytes()
    contents, notice = loaded(tmp_path)
    assert contents == Contents()
    (aside,) = tmp_path.glob("agent.journal.corrupt-*")
    assert aside.read_bytes() == spoilt
    assert str(aside) in notice
    assert loaded(tmp_path) == (Contents(), "")


@pytest.mark.parametrize(
    "change",
    [
        f"PRAGMA user_version={VERSION + 1}",
        "CREATE TABLE other (x)",
        "CREATE TRIGGER t AFTER INSERT ON jobs BEGIN DELETE FROM jobs; END",
        "DROP TABLE runs",
        "UPDATE jobs SET fact = 'running'",
        "UPDATE jobs SET fact = x'00'",
        "UPDATE jobs SET job_id = x'ff'",
        "UPDATE jobs SET error = 3.5",
        "UPDATE jobs SET error = CAST(x'ff' AS TEXT)",
        "UPDATE runs SET cookie_prefix = ''",
        "UPDATE runs SET cookie_prefix = NULL",
    ],
)
def test_a_file_of_another_kind_is_moved_aside(tmp_path: Path, change: str) -> None:
    filled(tmp_path).close()
    connection = sqlite3.connect(tmp_path / "agent.journal")
    if "job_id" in change or "fact" in change or "error" in change:
        connection.execute("DELETE FROM jobs WHERE job_id = 'b'")
    connection.execute(change)
    connection.commit()
    connection.close()
    contents, notice = loaded(tmp_path)
    if "error = 3.5" in change:  # a column of texts makes it one
        assert (contents.jobs[0].end, notice) == (JobEnd("a", JobFact.COMPLETED, "3.5"), "")
    else:
        assert contents == Contents()
        assert "is kept as" in notice


def test_two_of_one_second_are_both_kept(tmp_path: Path) -> None:
    for _ in range(3):
        filled(tmp_path).close()
        (tmp_path / "agent.journal").write_bytes(b"spoilt")
        loaded(tmp_path)
    assert len(list(tmp_path.glob("agent.journal.corrupt-*"))) == 3


@settings(deadline=None, max_examples=300)
@given(data=st.data())
def test_any_bytes_are_survived(data: st.DataObject) -> None:
    """Whatever is changed in the files: the next worker starts, and can write."""
    with tempfile.TemporaryDirectory(dir=FAST) as directory:
        survive(Path(directory), data)


def survive(directory: Path, data: st.DataObject) -> None:
    store = filled(directory)
    files = {p.name: p.read_bytes() for p in directory.iterdir() if p.name != "agent.lock"}
    store.close()
    name = data.draw(st.sampled_from(sorted(files)))
    content = bytearray(files[name])
    for _ in range(data.draw(st.integers(1, 20))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    files[name] = bytes(content[: data.draw(st.integers(0, len(content)))])
    for file_name, file_content in files.items():
        (directory / file_name).write_bytes(file_content)
    store = open_sqlite_store(str(directory), "agent")
    store.load()
    store.apply([Accepted("c"), JobEnd("c", JobFact.FAILED, "why"), Acknowledged("c")])
    store.close()
    contents, notice = loaded(directory)
    assert notice == ""
    assert contents.jobs[-1] == JobEntry(
        "c", JobEnd("c", JobFact.FAILED, "why"), is_acknowledged=True
    )


def test_where_there_cannot_be_one(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(JournalError, match="cannot be used"):
        open_sqlite_store(str(tmp_path / "file"), "agent")
    with pytest.raises(JournalError, match="cannot be used"):
        open_sqlite_store(str(tmp_path / "file" / "below"), "agent")
    (tmp_path / "state" / "agent.journal").mkdir(parents=True)
    store = open_sqlite_store(str(tmp_path / "state"), "agent")
    with pytest.raises(JournalError, match="cannot use"):
        store.load()
    store.close()


def test_while_somebody_else_writes_it_is_no_journal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not taken for a corrupt one."""
    monkeypatch.setattr("vsdk_trio.journal.sqlite_store._BUSY_SECONDS", 0.0)
    filled(tmp_path).close()
    other = sqlite3.connect(tmp_path / "agent.journal", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    store = open_sqlite_store(str(tmp_path), "agent")
    with pytest.raises(JournalError, match="locked"):
        store.load()
    store.close()
    other.close()
    assert len(loaded(tmp_path)[0].jobs) == 2


@pytest.mark.real
def test_a_full_disk_is_an_error_and_what_was_there_stays(tmp_path: Path) -> None:
    """In a process of its own, whose files may not grow."""
    program = textwrap.dedent(
        f"""
        import resource
        from vsdk_trio.errors import JournalError
        from vsdk_trio.journal.records import *
        from vsdk_trio.journal.sqlite_store import open_sqlite_store
        store = open_sqlite_store({str(tmp_path)!r}, "agent")
        store.load()
        store.apply([Accepted("a")])
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, {resource.RLIM_INFINITY}))
        written = 0
        try:
            while True:
                store.apply([Accepted(f"job-{{written}}-" + "x" * 1000)])
                written += 1
        except JournalError as error:
            print(error)
        import os
        print(written, flush=True)
        os._exit(0)
        """
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    said, written = done.stdout.splitlines()
    assert "cannot write" in said
    assert int(written) > 0
    contents, notice = loaded(tmp_path)
    assert len(contents.jobs) == int(written) + 1
    assert notice == ""


@pytest.mark.real
def test_no_memory_is_shared_beside_the_file(tmp_path: Path) -> None:
    """On a full disk, its pages would be a SIGBUS."""
    store = filled(tmp_path)
    assert not (tmp_path / "agent.journal-shm").exists()
    store.close()


def test_a_damaged_schema_that_is_no_text_is_set_aside(tmp_path):
    store = open_sqlite_store(str(tmp_path), "agent")
    store.load()
    store.close()
    path = tmp_path / "agent.journal"
    # SQLite quotes the name in its error, and Python cannot make a text of that.
    damaged = path.read_bytes().replace(b"CREATE TABLE jobs", b"CREATE TABLX jobs")
    path.write_bytes(damaged.replace(b"jobsjobs", b"j\xed\xb8sjobs"))
    store = open_sqlite_store(str(tmp_path), "agent")
    try:
        assert store.load() == Contents()
        assert "made no sense" in store.notice
    finally:
        store.close()
    assert list(tmp_path.glob("agent.journal.corrupt-*"))
