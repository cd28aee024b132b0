"""The Trio tasks of this process: which task owns which, and what each is waiting in.

Knows trio's introspection only. Shows names, files and lines of code, and never a value: a local
variable may be a token.
"""

from __future__ import annotations

import linecache
from collections.abc import Iterator
from typing import Any

import attrs
import trio

from ..system.trio_internals import TRAPS_MODULE


@attrs.frozen
class CodeLocation:
    """Where a task is, in one of the functions that it is in."""

    file: str
    line: int
    function: str

    @property
    def code(self) -> str:
        """The line itself; read from the file, so not to be asked for in the event loop."""
        return linecache.getline(self.file, self.line).strip()


@attrs.frozen
class TaskView:
    """One task: its stack, outermost function first, and its nurseries with their tasks."""

    name: str
    stack: tuple[CodeLocation, ...]
    nurseries: tuple[tuple[TaskView, ...], ...]

    def count(self) -> int:
        """How many tasks there are, this one included."""
        return 1 + sum(task.count() for nursery in self.nurseries for task in nursery)


def look_at_tasks() -> TaskView:
    """Every task of this Trio run, as it stands."""
    root = trio.lowlevel.current_root_task()
    assert root is not None, "called from a task, so there is a root"
    return _look_at(root)


def as_json(task: TaskView) -> dict[str, Any]:
    """The tree as a value; reads files."""
    return {
        "name": task.name,
        "stack": [
            {"file": at.file, "line": at.line, "function": at.function, "code": at.code}
            for at in task.stack
        ],
        "nurseries": [[as_json(child) for child in nursery] for nursery in task.nurseries],
    }


def as_text(task: TaskView, indent: str = "") -> Iterator[str]:
    """The tree as lines for a terminal; reads files."""
    yield f"{indent}{task.name}"
    for at in task.stack:
        yield f"{indent}    {at.file}:{at.line} in {at.function}: {at.code}"
    for number, nursery in enumerate(task.nurseries, 1):
        yield f"{indent}  nursery {number} of {len(task.nurseries)}, {len(nursery)} tasks"
        for child in nursery:
            yield from as_text(child, indent + "  | ")


def _look_at(task: trio.lowlevel.Task) -> TaskView:
    stack = tuple(
        CodeLocation(frame.f_code.co_filename, line, frame.f_code.co_qualname)
        for frame, line in task.iter_await_frames()
        # Every wait ends in trio's own machinery, which says nothing of what is waited for.
        if frame.f_globals.get("__name__") != TRAPS_MODULE
    )
    nurseries = tuple(
        tuple(sorted(map(_look_at, nursery.child_tasks), key=lambda child: child.name))
        for nursery in task.child_nurseries
    )
    return TaskView(task.name, stack, nurseries)
