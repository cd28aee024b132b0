"""A registry that does as little as possible: it speaks the protocol and reads the clock.

Lean on purpose, so that what is measured is the worker. It serves one worker at a time, does not
choose, retry or remember, and speaks as the worker does that comes. Times are
`time.monotonic_ns()`, which is the same clock in every process of the machine.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import trio
from trio_websocket import (
    ConnectionClosed,
    WebSocketConnection,
    WebSocketRequest,
    WebSocketServer,
    serve_websocket,
)

from .dialects import END_WORDS, Answer, Dialect, JsonDialect, Query, Update
from .mailbox import Mailbox

RETRY_SECONDS = 0.002


class Session:
    """A registered worker, from the registry's side."""

    def __init__(
        self, websocket: WebSocketConnection, dialect: Dialect, registered_ns: int
    ) -> None:
        self._websocket = websocket
        self._dialect = dialect
        self._answers: Mailbox[tuple[int, bool]] = Mailbox()
        self._runs: Mailbox[int] = Mailbox()
        self._ends: Mailbox[tuple[int, str]] = Mailbox()
        self.registered_ns = registered_ns
        """When the worker's `register` frame had arrived."""

    async def offer(self, job_id: str, *, stay: bool = False) -> tuple[int, bool]:
        """Offer a job; returns the nanoseconds until the answer, and the answer."""
        frame = self._dialect.offer(job_id, stay=stay)
        sent_ns = time.monotonic_ns()
        await self._websocket.send_message(frame)
        answered_ns, taken = await self._answers.take(job_id)
        return answered_ns - sent_ns, taken

    async def offer_until_taken(self, job_id: str, *, stay: bool = False) -> int:
        """Offer a job until there is a slot for it; nanoseconds of the answer that was a yes.

        A process takes a moment to be gone after its job has ended.
        """
        while True:
            took_ns, taken = await self.offer(job_id, stay=stay)
            if taken:
                return took_ns
            await trio.sleep(RETRY_SECONDS)

    async def assign(self, job_id: str, *, stay: bool = False) -> int:
        """Assign a job that was offered so; returns when the frame was sent.

        With `stay`, it runs until the worker is stopped.
        """
        frame = self._dialect.assignment(job_id, stay=stay)
        sent_ns = time.monotonic_ns()
        await self._websocket.send_message(frame)
        return sent_ns

    async def runs(self, job_id: str) -> int:
        """Wait until the job is said to run; returns when that was said."""
        return await self._runs.take(job_id)

    async def ended(self, job_id: str) -> int:
        """Wait for the job's end; returns when it was told.

        Raises `RuntimeError` where it failed: then nothing is valid.
        """
        told_ns, status = await self._ends.take(job_id)
        if status == "failed":
            raise RuntimeError(f"job {job_id} failed")
        return told_ns

    async def outcome(self, job_id: str) -> str:
        """Wait for the job's end; returns its word."""
        return (await self._ends.take(job_id))[1]

    async def serve(self) -> None:
        """Read until the worker closes."""
        try:
            while True:
                message = await self._websocket.get_message()
                await self._handle(time.monotonic_ns(), message)
        except ConnectionClosed:
            return

    async def _handle(self, arrived_ns: int, message: str | bytes) -> None:
        match self._dialect.read(message):
            case Answer(job_id, taken):
                self._answers.put(job_id, (arrived_ns, taken))
            case Update(job_id, status) if status in END_WORDS:
                self._ends.put(job_id, (arrived_ns, status))
            case Update(job_id):
                self._runs.put(job_id, arrived_ns)
            case Query(answer):
                await self._websocket.send_message(answer)


class Registry:
    """Where workers register; see `open_registry`."""

    def __init__(self) -> None:
        self._arrivals, self._to_come = trio.open_memory_channel[Session](1)
        self.url = ""

    async def next_session(self) -> Session:
        """Wait for the next worker that registers."""
        return await self._to_come.receive()

    async def serve(self, request: WebSocketRequest) -> None:
        websocket = await request.accept()
        register = await websocket.get_message()
        registered_ns = time.monotonic_ns()
        dialect = _dialect_of(register)
        session = Session(websocket, dialect, registered_ns)
        await websocket.send_message(dialect.welcome())
        await self._arrivals.send(session)
        await session.serve()


@asynccontextmanager
async def open_registry() -> AsyncGenerator[Registry]:
    """Serve on a free port of 127.0.0.1 for the length of the block."""
    registry = Registry()
    async with trio.open_nursery() as nursery:
        server: WebSocketServer = await nursery.start(
            serve_websocket, registry.serve, "127.0.0.1", 0, None
        )
        registry.url = f"ws://127.0.0.1:{server.port}"
        yield registry
        nursery.cancel_scope.cancel()


def _dialect_of(register: str | bytes) -> Dialect:
    """Ours is in text, the other one is not."""
    if isinstance(register, str):
        return JsonDialect()
    from .livekit_dialect import LiveKitDialect

    return LiveKitDialect()
