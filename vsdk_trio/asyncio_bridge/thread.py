"""An asyncio event loop in a thread of its own, driven from Trio.

Asyncio code may block, swallow cancellation or raise anything: Trio's thread never waits for it
without a deadline. The loop closes what was opened on it, because code that is cancelled at the
wrong moment forgets sockets. It also sets signal handlers, which Python allows in the main thread
only.

A leaf: knows trio, asyncio and threads, and of the project only its errors. Importing this starts
nothing, so a forkserver may import it.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
import inspect
import signal
import sys
import threading
import traceback
import weakref
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from types import FrameType
from typing import Any, Generic, TypeAlias, TypeVar, TypeVarTuple

import trio

from ..errors import AioThreadError, ShortageError
from ..system.threads import start_thread
from ..telemetry.logs.loggers import get_logger

_Ts = TypeVarTuple("_Ts")
SetHandler: TypeAlias = Callable[[int, Any], Any]
"""The type of `signal.signal`: takes a number and a handler, returns the handler before."""


class TidyLoop(asyncio.SelectorEventLoop):
    """A selector loop; `abort_connections()` closes the connections and sockets opened on it.

    Args:
        in_main_thread: Calls `signal.signal` in the main thread while the loop's thread waits.
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

    async def abort_connections(self) -> None:
        """Close the connections that are still open, without a goodbye."""
        for transport in list(self._opened):
            if not transport.is_closing():
                transport.abort()
        await asyncio.sleep(0)  # in which asyncio closes the sockets


logger = get_logger(__name__)

_T = TypeVar("_T")

CANCEL_SECONDS = 5.0
CLOSE_SECONDS = 5.0
_SLACK_SECONDS = 1.0  # for the thread itself to come to its end, after its tasks had their time


@asynccontextmanager
async def open_aio_thread(
    *,
    name: str = "asyncio",
    cancel_seconds: float = CANCEL_SECONDS,
    close_seconds: float = CLOSE_SECONDS,
) -> AsyncGenerator[AioThread, None]:
    """Run an asyncio event loop in a thread around the body.

    At the end every task is cancelled and awaited. Open sockets and the loop are closed. A task
    that does not end is logged and dropped. A thread that is blocked is logged with its place and
    left behind. It is a daemon, and ends by itself once it is unblocked.

    Args:
        name: The name of the thread.
        cancel_seconds: Seconds that a coroutine has to end once it is cancelled.
        close_seconds: Seconds that all tasks together have at the end of the body.

    Yields:
        The thread.
    """
    thread = AioThread(name, cancel_seconds, close_seconds)
    thread._start()
    try:
        yield thread
    finally:
        await thread._close()


class AioThread:
    """A running event loop in another thread. Open one with `open_aio_thread`.

    `loop` is for `asyncio` functions that want it; only its thread-safe methods may be called here.
    """

    def __init__(self, name: str, cancel_seconds: float, close_seconds: float) -> None:
        self._token = trio.lowlevel.current_trio_token()
        self.loop = TidyLoop(self._set_signal_handler)
        self._thread = threading.Thread(target=self._main, name=name, daemon=True)
        self._cancel_seconds = cancel_seconds
        self._close_seconds = close_seconds
        self._calls: set[_Call[Any]] = set()  # of Trio's thread
        self._stopping = False  # of the loop's thread
        self._ended = trio.Event()

    @property
    def ident(self) -> int:
        """The thread's number, as `threading.get_ident()` gives it there."""
        return self._thread.ident or 0

    def __repr__(self) -> str:
        return f"<AioThread {self._thread.name!r} with {len(self._calls)} calls>"

    async def run(self, fn: Callable[..., Awaitable[_T]], /, *args: Any) -> _T:
        """Run `await fn(*args)` in the asyncio thread, and return or raise what it does.

        The coroutine sees a copy of the caller's context variables. Cancelled, this cancels the
        coroutine and waits for it, at most `cancel_seconds`; a coroutine that has not ended by then
        is logged. Then it raises the cancellation, or the exception of the coroutine.

        Raises:
            AioThreadError: The thread has ended, or asyncio code has cancelled the coroutine.
        """
        call: _Call[_T] = _Call(getattr(fn, "__qualname__", repr(fn)))
        start = contextvars.copy_context()
        self._tell(self._begin, call, fn, args, start)
        self._calls.add(call)
        try:
            await call.ended.wait()
        except BaseException:
            await self._cancel(call)
            raise
        finally:
            self._calls.discard(call)
        return call.result()

    def call_soon(self, fn: Callable[..., object], /, *args: Any) -> None:
        """Call `fn(*args)` in the asyncio thread, soon; from any thread.

        The loop's exception handler logs what `fn` raises.

        Raises:
            AioThreadError: The thread has ended.
        """
        self._tell(fn, *args)

    def _tell(self, fn: Callable[..., object], *args: Any) -> None:
        try:
            self.loop.call_soon_threadsafe(fn, *args)
        except RuntimeError:
            raise AioThreadError(f"the thread {self._thread.name!r} has ended") from None

    async def _cancel(self, call: _Call[Any]) -> None:
        """Cancel the coroutine of `call` and wait for it; raises what it raised."""
        with contextlib.suppress(AioThreadError):
            self._tell(call.cancel)
        with trio.move_on_after(self._cancel_seconds, shield=True):
            await call.ended.wait()
        if not call.ended.is_set():
            logger.warning(
                "%s has not ended %g s after it was cancelled; the thread %r is %s",
                call.name,
                self._cancel_seconds,
                self._thread.name,
                self._place(),
            )
        elif call.error is not None and not isinstance(call.error, AioThreadError):
            raise call.error

    # -- in the loop's thread --------------------------------------------------------------------

    def _begin(
        self,
        call: _Call[_T],
        fn: Callable[..., Awaitable[_T]],
        args: tuple[Any, ...],
        context: contextvars.Context,
    ) -> None:
        task = self.loop.create_task(call.work(fn, args), name=call.name, context=context)
        call.task = task
        task.add_done_callback(lambda _: self._report(call.end))

    def _report(self, fn: Callable[..., object]) -> None:
        with contextlib.suppress(trio.RunFinishedError):  # Trio has ended, and its callers with it
            self._token.run_sync_soon(fn)

    def _set_signal_handler(self, signum: int, handler: Any) -> Any:
        set_it = partial(signal.signal, signum, handler)
        with contextlib.suppress(trio.RunFinishedError):  # left behind, and nothing to put back
            return trio.from_thread.run_sync(set_it, trio_token=self._token)
        return None

    def _main(self) -> None:
        asyncio.set_event_loop(self.loop)
        try:
            while not self._stopping:
                self._guarded(self.loop.run_forever)
            ending = self.loop.create_task(self._end_tasks(), name="the end")
            while not ending.done():
                self._guarded(self.loop.run_until_complete, ending)
        finally:
            self.loop.close()
            self._report(self._ended.set)

    def _guarded(self, run: Callable[..., object], *args: Any) -> None:
        """Run the loop. asyncio lets these two escape from it, whichever task raised them."""
        try:
            run(*args)
        except (SystemExit, KeyboardInterrupt) as error:
            logger.error("a task of the thread %r raised %r", self._thread.name, error)

    def _stop(self) -> None:
        self._stopping = True
        self.loop.stop()

    async def _end_tasks(self) -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        if tasks:
            ended, stubborn = await asyncio.wait(tasks, timeout=self._close_seconds)
            for task in ended:
                _log_failure(task, self._thread.name)
            for task in stubborn:
                _throw_away(task, self._thread.name, self._close_seconds)
        await self.loop.abort_connections()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.loop.shutdown_asyncgens(), self._close_seconds)

    # -- in Trio's thread ------------------------------------------------------------------------

    def _start(self) -> None:
        try:
            start_thread(self._thread)
        except ShortageError:
            self.loop.close()
            raise

    async def _close(self) -> None:
        self._tell(self._stop)
        seconds = self._close_seconds + _SLACK_SECONDS
        with trio.move_on_after(seconds, shield=True):
            await self._ended.wait()
        if self._ended.is_set():
            self._thread.join()  # its last act was to say so
        else:
            logger.error(
                "the thread %r has not ended within %g s and is left behind, %s",
                self._thread.name,
                seconds,
                self._place(),
            )
        for call in self._calls:
            call.error = call.error or AioThreadError(f"{call.name}: its thread has ended")
            call.end()

    def _place(self) -> str:
        """Where the thread is, for a person: what blocks it, or that it waits."""
        frame = sys._current_frames().get(self._thread.ident or 0)
        if frame is None:
            return "ended"
        where = traceback.extract_stack(frame)
        ours = [entry for entry in where if "/asyncio/" not in entry.filename.replace("\\", "/")]
        if where[-1].name == "select" and where[-1].filename.endswith("selectors.py"):
            return "waiting for events"
        return "busy in " + " < ".join(
            f"{entry.name} ({entry.filename.rpartition('/')[2]}:{entry.lineno})"
            for entry in reversed(ours[-3:])
        )


class _Call(Generic[_T]):
    """One coroutine that Trio waits for."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.ended = trio.Event()
        self.error: BaseException | None = None
        self.task: asyncio.Task[None] | None = None  # made in the other thread
        self._value: list[_T] = []

    async def work(self, fn: Callable[..., Awaitable[_T]], args: tuple[Any, ...]) -> None:
        try:
            self._value.append(await fn(*args))
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # all of it belongs to the caller, `SystemExit` too
            self.error = error

    def cancel(self) -> None:
        # It exists: this is called in the order of the calls, and after `_begin`.
        assert self.task is not None
        self.task.cancel()

    def end(self) -> None:
        self.ended.set()

    def result(self) -> _T:
        if self.error is not None:
            raise self.error
        if not self._value:
            raise AioThreadError(f"{self.name} was cancelled inside asyncio")
        return self._value[0]


def _log_failure(task: asyncio.Task[Any], thread: str) -> None:
    """Log the exception of a task that was cancelled at the end: no other code asks for it."""
    error = None if task.cancelled() else task.exception()
    if error is not None:
        text = f"{task.get_name()} failed while the thread {thread!r} was ending"
        logger.error("%s: %r", text, error, exc_info=error)


def _throw_away(task: asyncio.Task[Any], thread: str, seconds: float) -> None:
    """Log that a task does not end, and close its coroutine.

    Otherwise the garbage collector would close it, in any thread.
    """
    coroutine: Any = task.get_coro()
    name = task.get_name()
    if name.startswith("Task-"):  # which is no name
        name = getattr(coroutine, "__qualname__", name)
    logger.error("%s in the thread %r would not end within %g s", name, thread, seconds)
    task._log_destroy_pending = False  # type: ignore[attr-defined]  # said above
    try:
        coroutine.close()
    except BaseException as error:  # foreign code, which has had every chance
        logger.error("%s raised %r when it was thrown away", name, error)
