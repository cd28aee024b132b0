"""The registry as a program that may be killed: it writes down every frame before it handles it.

`python registry_program.py <port> <file>`; port 0 is any free one. Prints its URL when it serves.
What is in the file outlives the program, so that all its lives together have one record.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import trio

from vsdk_trio.registry.core import Registry
from vsdk_trio.registry.placement import Policy
from vsdk_trio.registry.server import open_registry
from vsdk_trio.registry.switchboard import WorkerLink


class _RecordedLink:
    def __init__(self, link: WorkerLink, record: int) -> None:
        self._link = link
        self._record = record

    async def receive(self) -> str | bytes:
        text = await self._link.receive()
        self._write("worker", json.loads(text))
        return text

    async def send(self, text: str) -> None:
        self._write("registry", json.loads(text))
        await self._link.send(text)

    async def close(self, code: int, reason: str) -> None:
        await self._link.close(code, reason)

    def _write(self, sender: str, frame: Any) -> None:
        if frame.get("type") not in ("ping", "pong"):
            # One write for one line, which no death of the program can halve.
            os.write(self._record, json.dumps({"from": sender, **frame}).encode() + b"\n")


class RecordedRegistry(Registry):
    """Appends what workers say, and are told, to the file descriptor `record`."""

    def __init__(self, record: int, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._record = record

    async def serve_worker(self, link: WorkerLink) -> None:
        await super().serve_worker(_RecordedLink(link, self._record))


async def main(port: int, record: int) -> None:
    registry = RecordedRegistry(record, policy=Policy(queue_timeout=20.0))
    async with open_registry(registry, port=port) as running:
        print(running.url, flush=True)
        await trio.sleep_forever()


if __name__ == "__main__":
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    trio.run(main, int(sys.argv[1]), os.open(sys.argv[2], flags, 0o600))
