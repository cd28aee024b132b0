"""Round trips with nothing in them: over a pipe, and over a WebSocket on loopback."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import TypeAlias

import attrs
import trio
from trio_websocket import WebSocketConnection, open_websocket

PROGRAMS = Path(__file__).parent / "programs"
PipeTrip: TypeAlias = Callable[[], int]


@attrs.frozen
class WebSocketEcho:
    """A connection to an echo server in another process."""

    websocket: WebSocketConnection
    message: str

    async def round_trip(self) -> int:
        """Nanoseconds there and back."""
        started_ns = time.monotonic_ns()
        await self.websocket.send_message(self.message)
        await self.websocket.get_message()
        return time.monotonic_ns() - started_ns


@asynccontextmanager
async def open_websocket_echo(message: str) -> AsyncGenerator[WebSocketEcho]:
    """Run an echo server in a process of its own; trio-websocket at both ends."""
    command = [sys.executable, str(PROGRAMS / "websocket_echo.py")]
    async with trio.open_nursery() as nursery:
        process: trio.Process = await nursery.start(
            partial(
                trio.run_process,
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                start_new_session=True,
            )
        )
        assert process.stdout is not None, "asked for with PIPE"
        port = int(await process.stdout.receive_some())
        async with open_websocket("127.0.0.1", port, "/", use_ssl=False) as websocket:
            yield WebSocketEcho(websocket, message)
        nursery.cancel_scope.cancel()


@contextmanager
def open_pipe_echo(message: str) -> Iterator[PipeTrip]:
    """Run a bare interpreter that echoes; yields a function that measures one round trip."""
    line = message.encode() + b"\n"
    command = [sys.executable, "-I", "-S", str(PROGRAMS / "pipe_echo.py")]
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        bufsize=0,
        start_new_session=True,
    ) as process:
        assert process.stdin is not None, "asked for with PIPE"
        assert process.stdout is not None, "asked for with PIPE"
        sender, receiver = process.stdin, process.stdout

        def round_trip() -> int:
            started_ns = time.monotonic_ns()
            sender.write(line)
            received = 0
            while received < len(line):
                received += len(receiver.read(1 << 16))
            return time.monotonic_ns() - started_ns

        yield round_trip
        process.kill()
