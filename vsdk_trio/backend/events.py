"""What a connection delivers to its user, and the ways to get it.

The events are the registry's messages, and the beginning and end of sessions. One consumer takes
them: the iteration, the reference's callbacks, or a synchronous handler. This module knows neither
links nor sessions, nor what is sent.
"""

from __future__ import annotations

import inspect
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final, TypeAlias

import attrs
import trio

from ..protocol.messages import (
    AvailabilityRequest,
    JobAssignment,
    JobTermination,
    WorkerPong,
)
from ..protocol.session import Registered


@attrs.frozen
class SessionLost:
    """The registered session has ended without our doing; the connection makes a new one."""

    reason: str


BackendEvent: TypeAlias = (
    Registered | AvailabilityRequest | JobAssignment | JobTermination | WorkerPong | SessionLost
)


QUEUE_LENGTH: Final = 1024
_EARLY_ASSIGNMENTS: Final = 64

Callback = Callable[..., object | Awaitable[object]]
"""Sync or async; what it raises ends the connection."""


class _EventHandler:
    """A handler that takes events at once; `broke` is what it has raised, if it did."""

    def __init__(self, handler: Callable[[BackendEvent], None]) -> None:
        self._handler_nowler = handler
        self.broke: Exception | None = None
        self.is_done = trio.Event()

    def take(self, event: BackendEvent) -> None:
        """Hand the event over; an error of the handler does not come out here."""
        try:
            self._handler_nowler(event)
        except Exception as error:  # raised again by `Inbox.hand_to`, where the handler belongs
            self.broke = error
            self.is_done.set()


class Inbox:
    """The events of one connection, in order. One consumer: iteration, callbacks or a handler."""

    def __init__(self) -> None:
        self._handler_now: _EventHandler | None = None
        self._send, self._receive = trio.open_memory_channel[BackendEvent](QUEUE_LENGTH)
        self._callbacks: dict[type[Any], Callback] = {}
        self._first_callback = trio.Event()
        self._is_iterated = False
        self._is_closed = False

    @property
    def has_callbacks(self) -> bool:
        """Whether the callbacks are the consumer."""
        return bool(self._callbacks)

    def set_callback(self, event_type: type[Any], callback: Callback) -> None:
        """Register the callback for a type of event; the last one counts."""
        if self._is_iterated:
            raise RuntimeError("this connection is iterated over: it cannot have callbacks too")
        self._callbacks[event_type] = callback
        self._first_callback.set()

    def events(self) -> trio.MemoryReceiveChannel[BackendEvent]:
        """Become the consumer."""
        if self._callbacks:
            raise RuntimeError("this connection has callbacks: it cannot be iterated over too")
        self._is_iterated = True
        return self._receive

    async def hand_to(self, handler: Callable[[BackendEvent], None]) -> None:
        """Be the consumer, until closed: each task that brings an event calls `handler`.

        What it raises comes out here, and what comes after that is queued again.
        """
        events = self.events()
        current = _EventHandler(handler)
        if self._is_closed:
            current.is_done.set()
        while events.statistics().current_buffer_used and current.broke is None:
            current.take(events.receive_nowait())
        self._handler_now = current
        try:
            await current.is_done.wait()
        finally:
            self._handler_now = None
        if current.broke is not None:
            raise current.broke

    def offer(self, event: BackendEvent) -> bool:
        """Hand an event over, or queue it if there is room for it; returns whether it could."""
        if self._handler_now is not None and self._handler_now.broke is None:
            self._handler_now.take(event)
            return True
        try:
            self._send.send_nowait(event)
        except (trio.WouldBlock, trio.BrokenResourceError):
            return False
        return True

    async def deliver(self, event: BackendEvent, *, may_drop: bool) -> bool:
        """Queue an event; returns whether it was.

        Where the queue is full this waits for the consumer, unless there is none or `may_drop`
        says that the event is not needed any more.
        """
        if self.offer(event):
            return True
        if may_drop or not (self._is_iterated or self._callbacks):
            return False
        try:
            await self._send.send(event)
        except trio.BrokenResourceError:
            return False  # the consumer has closed its end: it wants nothing more
        return True

    def close(self) -> None:
        """No more events: the iteration ends after what is queued."""
        self._is_closed = True
        self._send.close()
        if self._handler_now is not None:
            self._handler_now.is_done.set()

    async def run_callbacks(self) -> None:
        """Call the callbacks, one event at a time, until closed. What one raises comes out.

        Waits for the first one to be set: what came before it is kept for it.
        """
        await self._first_callback.wait()
        async for event in self._receive:
            callback = self._callbacks.get(type(event))
            if callback is None:
                continue
            result = callback(*_arguments(event))
            if inspect.isawaitable(result):
                await result


def _arguments(event: BackendEvent) -> tuple[object, ...]:
    """What the reference's callbacks are given."""
    match event:
        case Registered(worker_id, payload):
            return (worker_id, payload)
        case AvailabilityRequest() | JobAssignment() | JobTermination() | WorkerPong():
            return (event,)
        case SessionLost():
            return (event,)


class Assignments:
    """Assignments by job, for tasks that wait for one; remembers the latest without a waiter."""

    def __init__(self) -> None:
        self._early: OrderedDict[str, JobAssignment] = OrderedDict()
        self._waiting: dict[str, list[trio.Event]] = {}

    def arrived(self, assignment: JobAssignment) -> None:
        """Note an assignment; wakes its waiters."""
        self._early[assignment.job_id] = assignment
        self._early.move_to_end(assignment.job_id)
        while len(self._early) > _EARLY_ASSIGNMENTS:
            self._early.popitem(last=False)
        for event in self._waiting.get(assignment.job_id, ()):
            event.set()

    async def wait(self, job_id: str) -> JobAssignment:
        """Wait for the assignment of a job, or take the one that came first."""
        if job_id in self._early:
            await trio.lowlevel.cancel_shielded_checkpoint()  # here it is, whatever the time limit
        while job_id not in self._early:
            arrived = trio.Event()
            waiters = self._waiting.setdefault(job_id, [])
            waiters.append(arrived)
            try:
                await arrived.wait()
            finally:
                waiters.remove(arrived)
                if not waiters:
                    self._waiting.pop(job_id, None)
        return self._early[job_id]


class EventSource:
    """The events of an inbox: to iterate over, to be called back with, or to be handed.

    Callbacks may be sync or async and are called one at a time, in the order of the events; what
    one raises ends the connection and comes out where that runs. The first one to be set gets
    what has come before; what has no callback is passed over.
    """

    def __init__(self, inbox: Inbox) -> None:
        self._inbox = inbox

    def __aiter__(self) -> AsyncIterator[BackendEvent]:
        """Iterate over the events, until the connection has ended."""
        return self._inbox.events()

    async def hand_events_to(self, handler: Callable[[BackendEvent], None]) -> None:
        """Call `handler` with each event as soon as it is read, until the connection ends.

        The shortest way to a decision: no task has to wake up for it. The handler runs inside of
        the connection's own tasks and must not call back into it but to post. What it raises ends
        this call and comes out of it; the connection lives on, and keeps the events that follow.
        """
        await self._inbox.hand_to(handler)

    def on_availability(self, callback: Callable[[AvailabilityRequest], Any]) -> None:
        """Call back with each offer."""
        self._on(AvailabilityRequest, callback)

    def on_assignment(self, callback: Callable[[JobAssignment], Any]) -> None:
        """Call back with each assignment."""
        self._on(JobAssignment, callback)

    def on_termination(self, callback: Callable[[JobTermination], Any]) -> None:
        """Call back with each termination."""
        self._on(JobTermination, callback)

    def on_register(self, callback: Callable[[str, dict[str, Any]], Any]) -> None:
        """Call back with worker id and payload of each registration."""
        self._on(Registered, callback)

    def on_pong(self, callback: Callable[[WorkerPong], Any]) -> None:
        """Call back with each answer to a JSON ping."""
        self._on(WorkerPong, callback)

    def _on(self, event_type: type[Any], callback: Callback) -> None:
        self._inbox.set_callback(event_type, callback)
