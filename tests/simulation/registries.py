"""The registry's side of a world: the real registry core behind simulated connections.

Records every frame, and plays the tricks of a bad registry: frames twice, late, made up. Must not
know how the worker works.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import trio
import trio.abc
from trio_websocket import ConnectionClosed, WebSocketConnection, wrap_server_stream

from vsdk_trio.registry.core import Registry, open_registry_core
from vsdk_trio.registry.placement import Policy
from vsdk_trio.registry.switchboard import LinkClosed
from vsdk_trio.testing.network import Connection
from vsdk_trio.websocket.link import ReaderSupervisor

from .schedule import Network
from .trace import JsonObject, SessionRecord, Trace, frame_text

# In answer to a registration these two are refusals; at any other time they are junk, too.
_REFUSALS = (
    '{"type": "register", "success": false, "message": "no"}',
    '{"type": "register"}',
)
JUNK: tuple[str | bytes, ...] = (
    "",
    "null",
    "[]",
    "{}",
    "not json",
    '{"type": 5}',
    '{"type": "tea"}',
    *_REFUSALS,
    '{"type": "availability_request"}',
    '{"type": "availability_request", "job_id": 5}',
    '{"type": "job_assignment", "job_id": ["x"]}',
    '{"type": "job_assignment", "job_id": "", "room_id": "r"}',
    '{"type": "job_assignment", "job_id": "x", "metadata": "text"}',
    '{"type": "job_termination"}',
    '{"type": "job_termination", "job_id": null}',
    '{"type": "pong"}',
    '{"type": "pong", "timestamp": "now"}',
    '{"type": "pong", "timestamp": 1e400}',
    '{"type": "pong", "timestamp": 99999999999999999999}',
    "[" * 1000 + "]" * 1000,
    "\x00",
    b"\xff\xfe",
    b"{}",
    '{"type": "job_update", "job_id": "x", "status": "completed"}',
)
_TRICKED = ("availability_request", "job_assignment", "job_termination", "pong")
_CLOSING_SECONDS = 1.0


class Registries:
    """One registry after the other, at one address.

    `history` is every frame that a worker was ever sent, to be repeated at a bad moment.
    `rejects` answers upgrades with a status; `at_next_update` is called once, by worker, when the
    next news of a job has come.
    """

    def __init__(self, trace: Trace, network: Network, rng: random.Random) -> None:
        self._trace = trace
        self._network = network
        self._rng = rng
        self._links: dict[Link, trio.CancelScope] = {}
        self._leave = trio.Event()
        self._number = 0
        self._is_healed = False
        self.rejects: int | None = None
        self.at_next_update: dict[int, Callable[[], object]] = {}
        self.history: list[tuple[int, str]] = []
        self.registry = self._new()

    def heal(self) -> None:
        """From now on a registry as it should be."""
        self._is_healed = True
        self.rejects = None

    def _new(self) -> Registry:
        self._number += 1
        return Registry(
            policy=Policy(queue_timeout=self._rng.choice((0.0, 5.0))),
            rng=random.Random(self._rng.getrandbits(64)),
        )

    async def run(self, *, task_status: trio.TaskStatus[None]) -> None:
        """Run a registry until cancelled; another one after each `replace`."""
        while True:
            async with open_registry_core(self.registry):
                task_status.started()
                task_status = trio.TASK_STATUS_IGNORED
                await self._leave.wait()
            self._leave = trio.Event()
            self.registry = self._new()

    def replace(self) -> None:
        """Close the registry in order; the next one knows nothing of it."""
        for link in self._links:
            link.record.ended_by_registry = True
        self._leave.set()

    def crash(self) -> None:
        """All connections are gone, with what was on its way."""
        for link, scope in self._links.items():
            link.record.connection.reset()
            scope.cancel()

    def links_of(self, worker: int) -> list[Link]:
        """The open links of a worker, oldest first."""
        return [link for link in self._links if link.record.worker == worker]

    async def serve(self, worker: int, connection: Connection) -> None:
        """Serve one connection to its end."""
        stream = connection.serving_end
        try:
            async with trio.open_nursery() as nursery:
                guard = ReaderSupervisor(nursery)
                try:
                    await self._serve_websocket(worker, connection, guard)
                finally:
                    guard.stop()
                    with trio.move_on_after(_CLOSING_SECONDS, shield=True):
                        await trio.aclose_forcefully(stream)
        except* (trio.BrokenResourceError, trio.ClosedResourceError, ConnectionClosed):
            pass  # the worker's side has gone away in the middle of the upgrade

    async def _serve_websocket(
        self, worker: int, connection: Connection, guard: ReaderSupervisor
    ) -> None:
        with guard.while_reading():
            request = await wrap_server_stream(
                guard.as_nursery(),
                connection.serving_end,  # type: ignore[arg-type]
                message_queue_size=1000,
            )
            if self.rejects is not None:
                await request.reject(self.rejects, body=b"no")
                return
            try:
                ws = await request.accept()
            except ConnectionClosed:
                return
            record = SessionRecord(
                number=len(self._trace.sessions) + 1,
                worker=worker,
                connection=connection,
                registry=self._number,
                opened_at=trio.current_time(),
            )
            self._trace.sessions.append(record)
            async with trio.open_nursery() as nursery:
                link = Link(self, record, ws, guard, nursery)
                scope = nursery.cancel_scope
                self._links[link] = scope
                try:
                    await self.registry.serve_worker(link)
                finally:
                    del self._links[link]
                    record.ended_at = trio.current_time()
                    record.end_code = ws.closed.code if ws.closed else None
                    self._trace.note(link.name, f"ended ({record.end_code})")
                    with trio.move_on_after(_CLOSING_SECONDS, shield=True):
                        await ws.aclose(1001)
                        await guard.wait_ended()
                    scope.cancel()

    def has_luck(self, share: float) -> bool:
        """Chance, before the world is healed."""
        return not self._is_healed and share > 0 and self._rng.random() < share


class Link:
    """A `WorkerLink` of the registry core that writes everything down."""

    def __init__(
        self,
        registries: Registries,
        record: SessionRecord,
        ws: WebSocketConnection,
        guard: ReaderSupervisor,
        nursery: trio.Nursery,
    ) -> None:
        self._registries = registries
        self._trace = registries._trace
        self._network = registries._network
        self._rng = registries._rng
        self._ws = ws
        self._guard = guard
        self._nursery = nursery
        self.record = record
        self.name = f"session {record.number}"

    async def receive(self) -> str | bytes:
        """See `WorkerLink`."""
        try:
            text = await self._ws.get_message()
        except ConnectionClosed:
            raise LinkClosed from None
        frame = json.loads(text)
        self.record.received.append((trio.current_time(), frame))
        if frame["type"] == "job_update":
            self._registries.at_next_update.pop(self.record.worker, lambda: None)()
        if frame["type"] != "ping":
            self._trace.note(self.name, f"worker {self.record.worker} says {frame_text(frame)}")
        return text

    async def send(self, text: str) -> None:
        """See `WorkerLink`; may send more, or later."""
        frame = json.loads(text)
        kind, registries = frame["type"], self._registries
        if kind == "pong" and not self._network.answers_pings:
            return
        registries.history.append((self.record.worker, text))
        if registries.has_luck(self._network.junk_share):
            await self.send_junk(self._rng.randrange(len(JUNK)))
        if kind in _TRICKED and registries.has_luck(self._network.late_share):
            seconds = self._rng.choice((0.2, 3.0, 12.0)) * self._rng.random()
            self._trace.fault("late frame", kind)
            self._nursery.start_soon(self._send_later, text, seconds)
            return
        await self._send(text, frame)
        if kind == "register":
            self.record.registered_at = trio.current_time()
        if registries.has_luck(self._network.duplicate_share):
            self._trace.fault("duplicate frame", kind)
            self._nursery.start_soon(
                self._send_later, text, self._rng.choice((0.0, 1.0, 12.0)) * self._rng.random()
            )

    async def send_junk(self, choice: int) -> None:
        """A frame that means nothing."""
        self._trace.fault("junk frame", repr(JUNK[choice])[:60])
        if JUNK[choice] in _REFUSALS and self.record.registered_at is None:
            self._trace.fault("refuse")
            self.record.ended_by_registry = True
        await self._send(JUNK[choice], None)

    async def send_junk_later(self, choice: int) -> None:
        """The same, as a task."""
        with suppress(LinkClosed):
            await self.send_junk(choice)

    def post(self, text: str) -> None:
        """Send a frame that the registry did not mean to send."""
        self._registries.history.append((self.record.worker, text))
        self._nursery.start_soon(self._send_later, text, 0.0)

    async def _send_later(self, text: str, seconds: float) -> None:
        await trio.sleep(seconds)
        with suppress(LinkClosed):
            await self._send(text, json.loads(text))

    async def _send(self, text: str | bytes, frame: JsonObject | None) -> None:
        with self._guard.while_reading() as scope:
            try:
                await self._ws.send_message(text)
            except ConnectionClosed:
                raise LinkClosed from None
        if scope.cancelled_caught:
            raise LinkClosed
        if frame is not None:
            self.record.sent.append((trio.current_time(), frame))
            if frame["type"] != "pong":
                self._trace.note(self.name, f"told {self.record.worker}: {frame_text(frame)}")

    async def close(self, code: int, reason: str) -> None:
        """See `WorkerLink`."""
        self.record.ended_by_registry = True
        with self._guard.while_reading():
            await self._ws.aclose(code, reason)


def stray(kind: str, job_id: str, plan: int) -> str:
    """A frame that no registry core has sent."""
    frame: dict[str, Any] = {"type": kind, "job_id": job_id}
    if kind == "job_assignment":
        frame |= {"room_id": "stray", "metadata": {"plan": plan}, "room_options": {}}
    return json.dumps(frame)
