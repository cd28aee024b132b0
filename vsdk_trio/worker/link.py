"""What the worker needs of its connection to the registry, and nothing more.

`BackendConnection` provides it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from ..backend.events import BackendEvent
from ..protocol.messages import WireMessage


class RegistryLink(Protocol):
    """Events in, messages out."""

    def post(self, message: WireMessage, *, epoch: int | None = None) -> bool:
        """Put the message into the outbox; an answer names the session that it belongs to.

        Returns whether it will be sent, as far as that is known: an answer to a session that is
        over will not.
        """
        ...

    async def hand_events_to(self, handler: Callable[[BackendEvent], None]) -> None:
        """Call `handler` with each event in the order in which they come, until the last.

        `Registered` opens each session. What the handler raises comes out here.
        """
        ...
