"""What the project uses of trio's private parts. Nothing else here names `trio._core`.

`tests/test_trio_internals.py` fails first when trio changes these parts; `pyproject.toml` bounds
the versions. If a path or a module has another name, a stack shows frames of trio that say nothing,
and nothing else happens. `scopes_below` is for simulated processes only.

A leaf.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import trio

CORE_PATH: Final = r"[/\\]trio[/\\]_core[/\\]"
"""A regular expression for the files of trio's scheduler: frames above them are the same for all
tasks."""

TRAPS_MODULE: Final = "trio._core._traps"
"""The module in which every wait of a task ends."""


def scopes_below(scope: trio.CancelScope) -> Iterator[trio.CancelScope]:
    """Iterate over the cancel scopes inside `scope`, those of its tasks included.

    trio cannot cancel what is shielded, for good reasons. A simulated SIGKILL has to.
    """
    statuses: list[Any] = [scope._cancel_status]
    while statuses:
        status = statuses.pop()
        if status is not None:
            for child in status._children:
                yield child._scope
                statuses.append(child)
