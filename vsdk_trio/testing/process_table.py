"""The process table of a simulated machine: what its spawners have started."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence

import attrs
import trio

from .processes import MemoryProcess, MemorySpawner


@attrs.define
class MemoryProcessTable:
    """A `ProcessTable` over simulated processes. `killed` counts those that it had to kill."""

    spawners: list[MemorySpawner] = attrs.field(factory=list)
    killed: int = 0

    async def count(self, cookie_prefixes: Sequence[str]) -> int:
        """See `ProcessTable.count`."""
        await trio.lowlevel.checkpoint()
        return sum(1 for _ in self._marked(cookie_prefixes))

    async def kill(self, cookie_prefixes: Sequence[str]) -> int:
        """See `ProcessTable.kill`."""
        await trio.lowlevel.checkpoint()
        marked = list(self._marked(cookie_prefixes))
        for process in marked:
            process.end(-int(signal.SIGKILL))
        self.killed += len(marked)
        return len(marked)

    def _marked(self, cookie_prefixes: Sequence[str]) -> Iterator[MemoryProcess]:
        beginnings = tuple(f"{prefix}." for prefix in cookie_prefixes)
        for spawner in self.spawners:
            for process in spawner.processes:
                if process.returncode is None and process.inside.command.cookie.startswith(
                    beginnings
                ):
                    yield process
