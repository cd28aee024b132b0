"""What a member of a room sends: packets come in, and go to everybody who listens.

Lives in the asyncio thread, but is light. Must not know what is in a packet, nor who is who.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from typing import Any

Listener = Callable[[Any], Awaitable[None]]


class Track:
    """One source of packets, of a `kind` (audio, video) and in a codec, by its `mime_type`."""

    def __init__(self, kind: str, mime_type: str) -> None:
        self.id = secrets.token_hex(8)
        self.kind = kind
        self.mime_type = mime_type
        self.packets = 0
        self._listeners: dict[str, Listener] = {}

    def listen(self, key: str, listener: Listener) -> None:
        """Have `listener` called with every packet, until `forget(key)`."""
        self._listeners[key] = listener

    def forget(self, key: str) -> None:
        """Call it no longer."""
        self._listeners.pop(key, None)

    async def feed(self, packet: Any) -> None:
        """Give a packet to all who listen."""
        self.packets += 1
        for listener in list(self._listeners.values()):
            await listener(packet)
