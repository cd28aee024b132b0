"""What the worker needs of its connection to the registry, and nothing more.

`BackendConnection` provides it; so does a list of events in a test.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol

from ..backend.events import BackendEvent
from ..protocol.messages import Message


class RegistryLink(Protocol):
    """Events in, messages out."""

    def post(self, message: Message, *, epoch: int | None = None) -> bool:
        """Put the message into the outbox; an answer names the session that it belongs to.

        Returns whether it will be sent, as far as that is known: an answer to a session that is
        over will not.
        """
        ...

    def __aiter__(self) -> AsyncIterator[BackendEvent]:
        """The events in the order in which they came; `Registered` opens each session."""
        ...
