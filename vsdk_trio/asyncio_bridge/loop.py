"""An asyncio event loop for a thread: what was opened on it can be closed, and signals reach it.

A leaf: knows asyncio. Foreign code that is cancelled at the wrong moment forgets sockets, which
then stay open until the garbage collector finds them. And it sets signal handlers, which Python
allows in the main thread only.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import inspect
import signal
import weakref
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import Any, TypeAlias, TypeVarTuple

_Ts = TypeVarTuple("_Ts")
SetHandler: TypeAlias = Callable[[int, Any], Any]
"""What `signal.signal` is: takes a number and a handler, returns the one before."""


class TidyLoop(asyncio.SelectorEventLoop):
    """A selector loop; `abort_leftovers()` closes the connections and sockets opened on it.

    `in_main_thread` is `signal.signal`, done in the main thread, while the loop's thread waits.
    """

    def __init__(self, in_main_thread: SetHandler = signal.signal) -> None:
        super().__init__()
        self._opened: weakref.WeakSet[Any] = weakref.WeakSet()
        self._in_main_thread = in_main_thread
        self._before: dict[int, Any] = {}

    def set_signal_handler(self, signum: int, handler: Any) -> Any:
        """As `signal.signal`, for the loop's thread: `handler` is called there, without a frame."""
        before = self._in_main_thread(signum, self._called_here(handler))
        self._before.setdefault(signum, before)
        return before

    def _called_here(self, handler: Any) -> Any:
        # One that was there before knows its thread; SIG_IGN and SIG_DFL cannot be called.
        if not callable(handler) or handler in self._before.values():
            return handler
        context = contextvars.copy_context()

        @functools.wraps(handler)
        def call(signum: int, frame: FrameType | None) -> None:
            with suppress(RuntimeError):  # the loop has been closed
                self.call_soon_threadsafe(handler, signum, None, context=context)

        return call

    def add_signal_handler(self, sig: int, callback: Callable[[*_Ts], object], *args: *_Ts) -> None:
        """As asyncio's, which has it in the main thread only."""
        if inspect.iscoroutine(callback) or inspect.iscoroutinefunction(callback):
            raise TypeError("coroutines cannot be used with add_signal_handler()")
        try:
            self.set_signal_handler(sig, lambda *_: callback(*args))
        except OSError as error:
            raise RuntimeError(f"sig {sig} cannot be caught") from error

    def remove_signal_handler(self, sig: int) -> bool:
        """As asyncio's, but what was there before is put back."""
        if sig not in self._before:
            return False
        self._in_main_thread(sig, self._before.pop(sig))
        return True

    def close(self) -> None:
        """As asyncio's."""
        for sig in list(self._before):
            self.remove_signal_handler(sig)
        super().close()

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
