"""A registry for tests: speaks the wire protocol, does what the test tells it, records all it sees.

It decides nothing by itself beyond answering `register` and `ping`, and serves any stream: those
of a `MemoryDialer` (the default, for virtual time) or accepted sockets. It must not share code
with the side it is there to test, so it has its JSON from the standard library.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from typing import Any

import attrs
import trio
import trio.abc
from trio_websocket import ConnectionClosed, WebSocketConnection, wrap_server_stream

from .._exceptions import without_own_group
from ..websocket.link import ReaderSupervisor
from .network import MemoryDialer

JsonObject = dict[str, Any]
_QUEUE_LENGTH = 1000
_CLOSING_SECONDS = 1.0


@attrs.frozen(kw_only=True)
class Rejection:
    """How the registry answers an upgrade that it does not want."""

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""


class FakeSession:
    """One accepted WebSocket, seen from the registry.

    `received` is every frame as (time, object); `path` and `headers` are those of the upgrade.
    """

    def __init__(
        self,
        registry: FakeRegistry,
        ws: WebSocketConnection,
        guard: ReaderSupervisor,
        headers: dict[str, str],
    ) -> None:
        self._registry = registry
        self._ws = ws
        self._guard = guard
        self._arrived = trio.Event()
        self._expected = 0
        self._closed = trio.Event()
        self.path = ws.path or ""
        self.headers = headers
        self.received: list[tuple[float, JsonObject]] = []
        self.worker_id = ""

    @property
    def types(self) -> list[str]:
        """The types of the received frames, in order."""
        return [str(frame.get("type")) for _, frame in self.received]

    def of_type(self, type_: str) -> list[JsonObject]:
        """All received frames of one type, in order."""
        return [frame for _, frame in self.received if frame.get("type") == type_]

    async def expect(self, type_: str, **fields: object) -> JsonObject:
        """Wait for the next frame of this type (with these fields); frames before it are skipped.

        Raises `ConnectionClosed` where the session ends without one.
        """
        while True:
            while self._expected < len(self.received):
                _, frame = self.received[self._expected]
                self._expected += 1
                if frame.get("type") == type_ and fields.items() <= frame.items():
                    await trio.lowlevel.checkpoint()
                    return frame
            if self._closed.is_set():
                raise ConnectionClosed(self._ws.closed)
            await self._arrived.wait()

    async def send(self, message: JsonObject | str | bytes) -> None:
        """Send an object as JSON, or a text or binary frame as it is."""
        await self._ws.send_message(json.dumps(message) if isinstance(message, dict) else message)

    async def register(self, worker_id: str | None = None, **fields: object) -> None:
        """Answer `register` (where `auto_register` is off) with success, or as `fields` say."""
        answer = {"success": True, "worker_id": worker_id or self.worker_id, **fields}
        await self.send({"type": "register", **answer})

    async def close(self, code: int = 1000, reason: str | None = None) -> None:
        """Close in order, with a close frame."""
        with self._guard.while_reading():
            await self._ws.aclose(code, reason)

    async def drop(self) -> None:
        """Cut the connection: no close frame."""
        await trio.aclose_forcefully(self._ws._stream)

    async def wait_closed(self) -> int:
        """Wait for the end of the session; return the close code (1006: there was none)."""
        await self._closed.wait()
        return self._ws.closed.code if self._ws.closed else 1006

    async def serve(self) -> None:
        """Receive until the end; answer what the registry's options say."""
        try:
            while True:
                frame = json.loads(await self._ws.get_message())
                self.received.append((trio.current_time(), frame))
                arrived, self._arrived = self._arrived, trio.Event()
                arrived.set()
                await self._answer(frame)
        except ConnectionClosed:
            pass
        finally:
            self._closed.set()
            self._arrived.set()

    async def _answer(self, frame: JsonObject) -> None:
        match frame.get("type"):
            case "register":
                self.worker_id = frame.get("worker_id") or self._registry.new_worker_id()
                if self._registry.auto_register:
                    await self.register()
            case "ping" if self._registry.answer_pings:
                await self.send({"type": "pong", "timestamp": frame.get("timestamp")})


class FakeRegistry:
    """What `open_fake_registry` gives: sessions as they come, and switches for what goes wrong.

    `rejections` answer the next upgrades, one each. `auto_register` and `answer_pings` may be
    switched at any time. `is_deaf = True` makes accepted connections stay without any answer
    (a half-open peer, from then on), new ones included.
    """

    def __init__(self, *, auto_register: bool, answer_pings: bool) -> None:
        self.auto_register = auto_register
        self.answer_pings = answer_pings
        self.is_deaf = False
        self.rejections: deque[Rejection] = deque()
        self.sessions: list[FakeSession] = []
        self.dialer: MemoryDialer
        self._new, self._sessions_to_come = trio.open_memory_channel[FakeSession](_QUEUE_LENGTH)
        self._worker_ids = 0

    def new_worker_id(self) -> str:
        """The next worker id: worker-1, worker-2, ..."""
        self._worker_ids += 1
        return f"worker-{self._worker_ids}"

    async def next_session(self) -> FakeSession:
        """Wait for the next accepted WebSocket."""
        return await self._sessions_to_come.receive()

    async def serve_stream(self, stream: trio.abc.Stream) -> None:
        """Serve one connection, of the simulated network or a real one (`trio.serve_tcp`)."""
        async with trio.open_nursery() as nursery:
            guard = ReaderSupervisor(nursery)
            try:
                await self._serve_websocket(guard, _Deafening(stream, self))
            finally:
                guard.stop()
                with trio.move_on_after(_CLOSING_SECONDS, shield=True):
                    await trio.aclose_forcefully(stream)

    async def _serve_websocket(self, guard: ReaderSupervisor, stream: trio.abc.Stream) -> None:
        with guard.while_reading():
            request = await wrap_server_stream(
                guard.as_nursery(), stream, message_queue_size=_QUEUE_LENGTH
            )
            if self.rejections:
                answer = self.rejections.popleft()
                headers = [(name.encode(), value.encode()) for name, value in answer.headers]
                with suppress(ConnectionClosed):  # the client has left
                    await request.reject(answer.status, extra_headers=headers, body=answer.body)
                return
            headers_of = {name.decode(): value.decode() for name, value in request.headers}
            try:
                ws = await request.accept()
            except ConnectionClosed:
                return
            session = FakeSession(self, ws, guard, headers_of)
            self.sessions.append(session)
            self._new.send_nowait(session)
            try:
                await session.serve()
            finally:
                with trio.move_on_after(_CLOSING_SECONDS, shield=True):
                    await ws.aclose(1001)
                    await guard.wait_ended()  # the close handshake may be under way


class _Deafening(trio.abc.Stream):
    """Passes everything on, until the registry is made deaf: then nothing, in either direction."""

    def __init__(self, stream: trio.abc.Stream, registry: FakeRegistry) -> None:
        self._stream = stream
        self._registry = registry

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        if self._registry.is_deaf:
            await trio.sleep_forever()
        await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        data = await self._stream.receive_some(max_bytes)
        if self._registry.is_deaf:
            await trio.sleep_forever()
        return data

    async def aclose(self) -> None:
        await self._stream.aclose()


@asynccontextmanager
async def open_fake_registry(
    *, auto_register: bool = True, answer_pings: bool = True
) -> AsyncGenerator[FakeRegistry]:
    """Run a fake registry on a simulated network (`registry.dialer`) for the length of the block.

    Its end closes every session with 1001. A single exception of the block comes out as it is.
    """
    registry = FakeRegistry(auto_register=auto_register, answer_pings=answer_pings)
    with without_own_group():
        async with trio.open_nursery() as nursery:
            registry.dialer = MemoryDialer(registry.serve_stream, nursery)
            yield registry
            nursery.cancel_scope.cancel()
