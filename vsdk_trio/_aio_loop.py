"""An asyncio event loop that knows what was opened on it, so that it can be closed.

A leaf: knows asyncio. Foreign code that is cancelled at the wrong moment forgets sockets, which
then stay open until the garbage collector finds them.
"""

from __future__ import annotations

import asyncio
import weakref
from typing import Any


class TidyLoop(asyncio.SelectorEventLoop):
    """A selector loop; `abort_leftovers()` closes the connections and sockets opened on it."""

    def __init__(self) -> None:
        super().__init__()
        self._opened: weakref.WeakSet[Any] = weakref.WeakSet()

    async def create_connection(self, *args: Any, **options: Any) -> Any:
        """As asyncio's."""
        transport, protocol = await super().create_connection(*args, **options)
        self._opened.add(transport)
        return transport, protocol

    async def create_datagram_endpoint(self, *args: Any, **options: Any) -> Any:
        """As asyncio's."""
        transport, protocol = await super().create_datagram_endpoint(*args, **options)
        self._opened.add(transport)
        return transport, protocol

    async def abort_leftovers(self) -> None:
        """Close what is still open, without a goodbye."""
        for transport in list(self._opened):
            if not transport.is_closing():
                transport.abort()
        await asyncio.sleep(0)  # in which asyncio closes the sockets
