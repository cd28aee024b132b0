"""Calls between Trio's thread and the asyncio thread of a job, in both directions.

Knows neither jobs nor rooms.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Awaitable, Callable
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext, suppress
from typing import Any, TypeVar

import attrs
import trio

from ...asyncio_bridge.thread import AioThread, TidyLoop, open_aio_thread
from ...errors import AioThreadError

_T = TypeVar("_T")
StandIn = Callable[[], AbstractContextManager[None]]


@asynccontextmanager
async def open_bridge(*, seconds: float) -> AsyncGenerator[Bridge, None]:
    """Run an asyncio thread around the body, and yield the bridge to it.

    Args:
        seconds: How long a coroutine may take to end once it is cancelled, and how long all
            remaining ones may take at the end of the body.
    """
    # The errands are around the thread: what still runs there may call until it ends.
    async with trio.open_nursery() as errands:
        async with open_aio_thread(
            name="agent", cancel_seconds=seconds, close_seconds=seconds
        ) as thread:
            yield Bridge(thread, errands)
        errands.cancel_scope.cancel()


@attrs.define(eq=False)
class _Errand:
    """One call from asyncio, on its way through Trio."""

    call: Callable[[], Awaitable[Any]]
    future: asyncio.Future[Any]
    stand_in: StandIn
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)


class Bridge:
    """Both directions; `to_asyncio`, `soon_in_asyncio` and `items_of` are for Trio.

    What else it has is for the asyncio thread.

    `entrypoint_task` and `stand_in` tie the two halves of an entrypoint together: what its asyncio
    task calls runs in a Trio task inside of `stand_in()`.
    """

    def __init__(self, thread: AioThread, errands: trio.Nursery) -> None:
        self._thread = thread
        self._errands = errands
        self._token = trio.lowlevel.current_trio_token()
        self.entrypoint_task: asyncio.Task[Any] | None = None
        self.stand_in: StandIn = nullcontext

    @property
    def loop(self) -> TidyLoop:
        """The event loop of the thread."""
        return self._thread.loop

    # From Trio

    async def to_asyncio(self, fn: Callable[..., Awaitable[_T]], /, *args: Any) -> _T:
        """Await `fn(*args)` in the asyncio thread; see `AioThread.run`."""
        return await self._thread.run(fn, *args)

    def soon_in_asyncio(self, fn: Callable[..., object], /, *args: Any) -> None:
        """Call `fn(*args)` in the asyncio thread, soon; see `AioThread.call_soon`."""
        self._thread.call_soon(fn, *args)

    async def items_of(self, source: AsyncIterable[_T]) -> AsyncGenerator[_T, None]:
        """An asynchronous iterable of the asyncio thread, to iterate over in Trio. Close it."""
        iterator = source.__aiter__()
        end: Any = object()
        try:
            while (item := await self.to_asyncio(_next, iterator, end)) is not end:
                yield item
        finally:
            close = getattr(iterator, "aclose", None)
            if close is not None:
                with trio.move_on_after(1, shield=True), suppress(AioThreadError):
                    await self.to_asyncio(close)

    # From asyncio

    def soon(self, fn: Callable[..., object], /, *args: Any) -> None:
        """Call `fn(*args)` in Trio's thread, soon."""
        with suppress(trio.RunFinishedError):
            self._token.run_sync_soon(lambda: fn(*args))

    def now(self, fn: Callable[[], _T]) -> _T:
        """Call `fn()` in Trio's thread; returns or raises what it does.

        The asyncio thread waits for that. Trio never waits for it in turn.
        """
        return trio.from_thread.run_sync(fn, trio_token=self._token)

    async def to_trio(self, call: Callable[[], Awaitable[_T]]) -> _T:
        """Await `call()` in Trio; returns or raises what it does.

        Cancelled, it cancels the call there as well and does not wait for it. A call that Trio
        cancels is cancelled here.
        """
        future: asyncio.Future[_T] = asyncio.get_running_loop().create_future()
        is_entrypoint = asyncio.current_task() is self.entrypoint_task
        errand = _Errand(call, future, self.stand_in if is_entrypoint else nullcontext)
        self.soon(self._errands.start_soon, self._run, errand)
        try:
            return await future
        except asyncio.CancelledError:
            self.soon(errand.scope.cancel)
            raise

    async def stream(self, feed: AsyncIterable[_T]) -> AsyncIterator[_T]:
        """An asynchronous iterable of Trio, to iterate over in asyncio."""
        iterator = feed.__aiter__()
        end: Any = object()
        while (item := await self.to_trio(lambda: _next(iterator, end))) is not end:
            yield item

    async def _run(self, errand: _Errand) -> None:
        settle: Callable[[], object] = errand.future.cancel
        try:
            with errand.scope, errand.stand_in():
                try:
                    value = await errand.call()
                except Exception as error:  # it belongs to the caller
                    settle = _setter(errand.future.set_exception, error)
                else:
                    settle = _setter(errand.future.set_result, value)
        finally:
            with suppress(AioThreadError):  # the thread has ended, and its caller with it
                self._thread.call_soon(_settle, errand.future, settle)


def _setter(set_it: Callable[[Any], object], value: Any) -> Callable[[], object]:
    return lambda: set_it(value)


def _settle(future: asyncio.Future[Any], settle: Callable[[], object]) -> None:
    if not future.done():
        settle()


async def _next(iterator: AsyncIterator[_T], end: _T) -> _T:
    # Not `anext(iterator, end)`: that is no coroutine, and both sides want one.
    try:
        return await iterator.__anext__()
    except StopAsyncIteration:
        return end
