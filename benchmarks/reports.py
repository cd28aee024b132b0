"""What job processes report of themselves, over a datagram socket."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import trio

from .mailbox import Mailbox


@attrs.frozen
class Entry:
    """A job's first line, and the process that reached it."""

    at_ns: int
    pid: int


class Reports:
    """The reports of one worker's job processes; see `open_reports`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.process_ids: list[int] = []
        """The job processes that have come up, in order."""
        self._came_up = trio.Event()
        self._entries: Mailbox[Entry] = Mailbox()

    async def processes_up(self, count: int) -> None:
        """Wait until so many job processes have come up since the worker's start."""
        while len(self.process_ids) < count:
            await self._came_up.wait()

    async def entered(self, job_id: str) -> Entry:
        """Wait for the job's first line."""
        return await self._entries.take(job_id)

    async def receive(self, receiver: trio.socket.SocketType) -> None:
        while True:
            facts = json.loads(await receiver.recv(1 << 16))
            match facts:
                case {"kind": "process", "pid": pid}:
                    self.process_ids.append(pid)
                    self._came_up.set()
                    self._came_up = trio.Event()
                case {"kind": "entered", "pid": pid, "job_id": job_id, "at_ns": at_ns}:
                    self._entries.put(job_id, Entry(at_ns, pid))


@asynccontextmanager
async def open_reports(path: Path) -> AsyncGenerator[Reports]:
    """Receive at `path` for the length of the block.

    The socket's file stays, in a directory that is short-lived: its name is not used again.
    """
    with trio.socket.socket(trio.socket.AF_UNIX, trio.socket.SOCK_DGRAM) as receiver:
        await receiver.bind(str(path))
        reports = Reports(path)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(reports.receive, receiver)
            yield reports
            nursery.cancel_scope.cancel()
