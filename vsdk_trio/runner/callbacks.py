"""Shutdown callbacks: last added first, each under its own deadline, on every path, once.

Code of the user runs here, so this is one of the two places with broad handlers: a callback that
raises or hangs does not affect the others. Knows neither rooms nor frames nor jobs.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

import trio

from ..telemetry.logs.loggers import get_logger
from .outcome import describe_error

logger = get_logger(__name__)

ShutdownCallback: TypeAlias = Callable[..., object]
"""Sync or async; called with the reason if it takes one."""


class CallbackStack:
    """The callbacks of one job."""

    def __init__(self) -> None:
        self._callbacks: list[tuple[Callable[[str], object], float | None]] = []
        self._runner: trio.lowlevel.Task | None = None
        self._done = trio.Event()

    def add(self, callback: ShutdownCallback, *, seconds: float | None = None) -> None:
        """Add a callback, also while the others are running.

        Args:
            callback: Called with nothing or with the reason.
            seconds: Its own deadline; None: the deadline of all of them.

        Raises:
            TypeError: It takes other arguments.
            RuntimeError: All callbacks have run.
        """
        if self._done.is_set():
            raise RuntimeError("the job has shut down already: the callback would never run")
        self._callbacks.append((taking_the_reason(callback), seconds))

    async def run(self, reason: str, *, seconds_each: float) -> None:
        """Run the callbacks. A second caller waits for the first run.

        Cancellation does not reach a callback; its deadline does. The first caller is not cancelled
        here either, because it may be in the `finally` of an exception.

        Args:
            reason: For callbacks that take it.
            seconds_each: Seconds that each may take.
        """
        if self._runner is None:
            self._runner = trio.lowlevel.current_task()
            await trio.lowlevel.cancel_shielded_checkpoint()
            while self._callbacks:
                callback, seconds = self._callbacks.pop()
                await _run_one(callback, reason, seconds_each if seconds is None else seconds)
            self._done.set()
        elif self._runner is not trio.lowlevel.current_task():
            await self._done.wait()
        else:
            # A callback that requests the shutdown that runs it must not wait for itself.
            await trio.lowlevel.cancel_shielded_checkpoint()


async def _run_one(callback: Callable[[str], object], reason: str, seconds: float) -> None:
    name = getattr(callback, "__qualname__", repr(callback))
    try:
        with trio.move_on_after(seconds, shield=True) as scope:
            result = callback(reason)
            if inspect.isawaitable(result):
                await result
    except BaseException as error:  # a cancellation cannot be: the shield lets none in
        logger.error("shutdown callback %s failed: %s", name, describe_error(error), exc_info=error)
    else:
        if scope.cancelled_caught:
            logger.error("shutdown callback %s was cut off after %g s", name, seconds)


def taking_the_reason(callback: ShutdownCallback) -> Callable[[str], object]:
    """Return `callback` as a function of the reason.

    It gets the reason if it has a parameter of that name, or a required one. An optional parameter
    of another name is the callback's own: `lambda call=call: call.end()`.

    Raises:
        TypeError: It takes other arguments.
    """
    if not callable(callback):
        raise TypeError(f"a shutdown callback must be callable, got {type(callback).__name__}")
    try:
        signature = inspect.signature(callback)
    except ValueError:  # a built-in that does not tell
        return _ignoring_the_reason(callback)
    named = signature.parameters.get("reason")
    if named is not None and named.kind is not inspect.Parameter.POSITIONAL_ONLY:
        return _named_after(callback, lambda reason: callback(reason=reason))
    if _accepts(signature):
        return _ignoring_the_reason(callback)
    if _accepts(signature, ""):
        return _named_after(callback, lambda reason: callback(reason))
    raise TypeError(f"a shutdown callback takes nothing or the reason, not {signature}")


def _accepts(signature: inspect.Signature, *arguments: str) -> bool:
    try:
        signature.bind(*arguments)
    except TypeError:
        return False
    return True


def _ignoring_the_reason(callback: ShutdownCallback) -> Callable[[str], object]:
    return _named_after(callback, lambda _reason: callback())


def _named_after(original: Any, adapted: Callable[[str], object]) -> Callable[[str], object]:
    adapted.__qualname__ = getattr(original, "__qualname__", repr(original))
    return adapted


async def call(function: Callable[..., object], *arguments: object) -> object:
    """Call a sync or async function of the user, and return its result."""
    result = function(*arguments)
    if inspect.isawaitable(result):
        awaitable: Awaitable[object] = result
        return await awaitable
    await trio.lowlevel.checkpoint()
    return result
