"""Nothing that is decided depends on the wall clock: it is read in a few places, for others."""

from __future__ import annotations

import ast
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "vsdk_trio"

# Who may read it, and why that decides nothing.
READERS = {
    "backend/session_loop.py": "the timestamp in a ping; what counts is that it grows",
    "cli/_doctor_checks.py": "`exp` of a token and of a certificate; times for people",
    "cli/_watch.py": "how long ago a process was heard of, for people",
    "registry/page.py": "the times on a page, for people",
    "forkserver/program/main.py": "compared with the times of files: see sources.py there",
    "forkserver/program/fork_safety.py": "times of files are wall clock; a wrong one costs little",
    "testing/videosdk/room.py": "the timestamp in a message of a stand-in",
    "telemetry/traces/job_traces.py": "the times in a trace, for people",
    "worker/snapshot.py": "the times on a page and in status routes, for people",
    "backend/token.py": "`exp` of a token, compared with the clock of the registry's answers",
    "journal/sqlite_store.py": "times in the journal and in names of files set aside, for people",
}
WALL_CLOCKS = {"time", "time_ns", "now", "utcnow", "today", "localtime", "gmtime"}


def reads_the_wall_clock(path: Path) -> bool:
    return any(
        isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id in {"time", "datetime", "date"}
        and node.attr in WALL_CLOCKS
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    )


def test_who_reads_the_wall_clock() -> None:
    readers = {
        str(path.relative_to(PACKAGE))
        for path in PACKAGE.rglob("*.py")
        if reads_the_wall_clock(path)
    }
    assert readers == set(READERS)
