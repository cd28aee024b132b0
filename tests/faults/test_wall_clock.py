"""Nothing that is decided depends on the wall clock: it is read in a few places, for others."""

from __future__ import annotations

import ast
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "vsdk_trio"

# Who may read it, and why that decides nothing.
READERS = {
    "backend/live_session.py": "the timestamp in a ping; what counts is that it grows",
    "backend/token.py": "`exp` of a token, which the registry holds against its own wall clock",
    "journal/place.py": "the name of a file that is put aside; one that is taken gets another",
    "journal/sqlite_store.py": "times in the journal, for people; nothing reads them",
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
