"""A simulated network: dialing it runs a handler at the other end of a pair of memory streams.

Works under a mock clock. Must not know what is spoken over the streams.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable

import trio
import trio.abc
import trio.testing

from ..errors import ConnectError

StreamHandler = Callable[[trio.abc.Stream], Awaitable[None]]


class MemoryDialer:
    """A `Dialer` whose every connection is served by `handler`, as a task of `nursery`.

    `dialed` lists what was dialed, as (time, host, port). `failures` are raised by the next dials,
    one each; `is_up = False` makes every dial fail, and `is_silent = True` makes it hang.
    """

    def __init__(self, handler: StreamHandler, nursery: trio.Nursery) -> None:
        self._handler = handler
        self._nursery = nursery
        self.dialed: list[tuple[float, str, int]] = []
        self.failures: deque[Exception] = deque()
        self.is_up = True
        self.is_silent = False

    async def dial(self, host: str, port: int) -> trio.abc.Stream:
        """Connect to the handler; raises `ConnectError` as scripted."""
        await trio.lowlevel.checkpoint()
        self.dialed.append((trio.current_time(), host, port))
        if self.failures:
            raise self.failures.popleft()
        if self.is_silent:
            await trio.sleep_forever()
        if not self.is_up:
            raise ConnectError(f"cannot connect to {host}:{port}: the simulated network is down")
        ours, theirs = trio.testing.memory_stream_pair()
        self._nursery.start_soon(self._serve, theirs)
        return ours

    async def _serve(self, stream: trio.abc.Stream) -> None:
        try:
            await self._handler(stream)
        except trio.BrokenResourceError:
            # The dialing side went away without reading: a fact of networks, not a failed test.
            pass
        finally:
            with trio.move_on_after(1, shield=True):
                await trio.aclose_forcefully(stream)
