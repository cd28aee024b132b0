"""What a job occupies is measured of all its processes, in shares, and not too often."""

from __future__ import annotations

import builtins
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from vsdk_trio.processes import memory
from vsdk_trio.processes.memory import GroupMemory
from vsdk_trio.system import proc

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not os.path.exists("/proc/self/smaps_rollup"), reason="no PSS here"),
]

LEADER = """
import os, subprocess, sys
hoard = b"x" * (int(sys.argv[1]) << 20)
for how in sys.argv[2:]:
    code = "hoard = b'x' * (40 << 20)\\nprint('ready', flush=True)\\nimport time; time.sleep(600)"
    if how == "orphan":
        code = "import os\\nif os.fork(): os._exit(0)\\n" + code
    child = subprocess.Popen([sys.executable, "-I", "-S", "-c", code],
        stdout=subprocess.PIPE, start_new_session=how == "session")
    child.stdout.readline()
    if how == "orphan":
        child.wait()
    if how == "gone":
        child.kill()
        child.wait()
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def fresh_table(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a table tells is a moment old, and a test may be younger."""
    monkeypatch.setattr(memory, "_FAMILIES", memory._Families())


@contextmanager
def group(megabytes: int, *children: str) -> Iterator[int]:
    """A process that leads a group with these children; its pid."""
    with subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", LEADER, str(megabytes), *children],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        try:
            yield process.pid
        finally:
            for pid in memory._Families().members(process.pid):
                os.kill(pid, 9)


@pytest.mark.parametrize(
    ("children", "expected"),
    [
        ([], 20),
        (["child"], 60),
        (["session"], 60),  # its child, wherever it has gone
        (["orphan"], 60),  # no child any more, but in the group
        (["gone"], 20),
        (["child", "session", "orphan"], 140),
    ],
)
def test_all_of_the_group_counts(children: list[str], expected: int) -> None:
    with group(20, *children) as pid:
        used = GroupMemory(pid).look()
        assert used is not None
        # An interpreter has a few of its own, which they share.
        assert expected < used < expected + 10 * (len(children) + 1)


def test_what_is_gone_occupies_nothing() -> None:
    with group(1) as pid:
        group_memory = GroupMemory(pid)
        assert group_memory.look() is not None
    assert group_memory.look() is None


def test_shared_pages_are_charged_in_shares() -> None:
    read, write = os.pipe()
    hoard = b"x" * (60 << 20)
    child = os.fork() if sys.version_info < (3, 12) else _fork_quietly()
    if child == 0:
        os.read(read, 1)
        os._exit(len(hoard) * 0)
    try:
        resident = proc.resident_bytes(child)
        assert resident > 60 << 20
        assert proc.proportional_bytes(child) < 0.75 * resident
    finally:
        os.write(write, b"x")
        os.waitpid(child, 0)
        os.close(read)
        os.close(write)


def _fork_quietly() -> int:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


def count_reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    counted: list[int] = []
    real = proc.proportional_bytes

    def counting(pid: int) -> int:
        counted.append(pid)
        return real(pid)

    monkeypatch.setattr(proc, "proportional_bytes", counting)
    return counted


def test_page_tables_are_walked_only_when_something_has_changed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [1000.0]
    monkeypatch.setattr(memory.time, "monotonic", lambda: now[0])
    reads = count_reads(monkeypatch)
    resident = [100 << 20]
    monkeypatch.setattr(proc, "resident_bytes", lambda pid: resident[0])
    group_memory = GroupMemory(os.getpid())
    group_memory._leader = os.getpid()
    monkeypatch.setattr(proc, "may_have_children", lambda pid: False)
    for seconds, megabytes, read in [
        (0, 100, True),
        (5, 100, False),
        (5, 103, False),
        (5, 120, True),
        (5, 112, True),
        (5, 112, False),
        (30, 112, True),
    ]:
        now[0] += seconds
        resident[0] = megabytes << 20
        reads.clear()
        group_memory.look()
        assert bool(reads) is read, (seconds, megabytes)


def test_where_there_is_no_pss_what_is_resident_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    real: Callable[..., Any] = builtins.open

    def without(path: Any, *arguments: Any, **keywords: Any) -> Any:
        if str(path).endswith("smaps_rollup"):
            raise PermissionError
        return real(path, *arguments, **keywords)

    monkeypatch.setattr(builtins, "open", without)
    used = GroupMemory(os.getpid()).look()
    assert used is not None
    assert used > 10


def test_without_proc_psutil_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proc, "HAS_PROC", False)
    with group(20, "child") as pid:
        group_memory = GroupMemory(pid)
        used = group_memory.look()
        assert used is not None
        assert 60 < used < 90
    assert group_memory.look() is None
