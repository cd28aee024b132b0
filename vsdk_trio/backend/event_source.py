"""How a user gets at what comes in: the iteration, and the reference's callbacks.

Must not know where the events come from.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

from ..protocol.messages import (
    AvailabilityRequest,
    JobAssignment,
    JobTermination,
    WorkerPong,
)
from ..protocol.session import Registered
from .events import BackendEvent
from .inbox import Callback, Inbox


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
        """Call `handler` with each event as soon as it has been read, until there are no more.

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
