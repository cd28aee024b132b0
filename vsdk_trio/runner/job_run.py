"""One run of one job: its scopes, what outlives its entrypoint, and the requests to end it.

Knows trio and the order of an end; knows neither rooms nor frames.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from typing import TypeVar

import trio

from .._service import ShieldedStart
from ..telemetry.logs.loggers import get_logger


class StopRequest:
    """Whether the end was requested, and why. The first reason counts."""

    def __init__(self) -> None:
        self._requested = trio.Event()
        self._calls: list[Callable[[], object]] = []
        self._reason = ""

    @property
    def reason(self) -> str:
        """Why; empty before a request."""
        return self._reason

    @property
    def is_requested(self) -> bool:
        """Whether the end was requested."""
        return self._requested.is_set()

    def request(self, reason: str) -> None:
        """Request the end. A second request changes nothing."""
        if not self._requested.is_set():
            self._reason = reason
            self._requested.set()
            for call in self._calls:
                call()

    @contextmanager
    def calling(self, call: Callable[[], object]) -> Iterator[None]:
        """Call `call` once if the end is requested before the body ends, or was before.

        This needs no waiting task, which would have to be started before a job can begin.
        """
        if self._requested.is_set():
            call()
        self._calls.append(call)
        try:
            yield
        finally:
            self._calls.remove(call)

    async def wait(self) -> str:
        """Wait for the request, and return the reason."""
        await self._requested.wait()
        return self._reason


logger = get_logger(__name__)

_T = TypeVar("_T")


class JobRun:
    """The live part of a job, between its entrypoint's first line and its end.

    The task that runs the entrypoint makes it. It runs the entrypoint and the job's own tasks
    inside `scope`.

    Args:
        support: A nursery that outlives the job's tasks.
        callback_seconds: Seconds that each goodbye may take.
    """

    def __init__(self, *, support: trio.Nursery, callback_seconds: float) -> None:
        self.scope = trio.CancelScope()
        self.callback_seconds = callback_seconds
        self._support = support
        self._entrypoint_tasks = {trio.lowlevel.current_task()}
        self._entrypoint_waits = 0
        self._leaving = trio.Event()
        self._ending = trio.Event()
        self._held: list[trio.CancelScope] = []
        self._end_asked_by: str | None = None
        self._callbacks_ran = False

    @property
    def stopped(self) -> bool:
        """Whether the first request to end the job came from outside."""
        return self._end_asked_by == "outside"

    def note_shutdown(self) -> None:
        """The job has requested its own end."""
        self._end_asked_by = self._end_asked_by or "job"

    def stop(self) -> None:
        """End the job from outside: cancel the entrypoint and the job's tasks."""
        self._end_asked_by = self._end_asked_by or "outside"
        self.scope.cancel()
        self._ending.set()  # after the cancellation, so that it arrives first

    async def wait_for_the_end(self) -> None:
        """Wait until the shutdown callbacks have run, or the job is stopped from outside.

        A stopped job runs its callbacks after its entrypoint, which may wait here, shielded.
        """
        await self._ending.wait()
        # A stop cancels the entrypoint's task in the next step. One more step, and that task has
        # passed the cancellation on to asyncio, so that it arrives there before this returns.
        await trio.lowlevel.checkpoint()

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """During the body the calling task waits for the shutdown."""
        is_entrypoint = trio.lowlevel.current_task() in self._entrypoint_tasks
        self._entrypoint_waits += is_entrypoint
        try:
            yield
        finally:
            self._entrypoint_waits -= is_entrypoint

    @contextmanager
    def standing_in(self) -> Iterator[None]:
        """During the body the calling task counts as a task of the entrypoint."""
        task = trio.lowlevel.current_task()
        self._entrypoint_tasks.add(task)
        try:
            yield
        finally:
            self._entrypoint_tasks.discard(task)

    def end_entrypoint(self) -> None:
        """End what still runs; the callbacks have run.

        An entrypoint that waits for this moment is about to return, perhaps after a few last
        lines, and gets a grace for them. One that waits for something else is cancelled.
        """
        if self._callbacks_ran:
            return
        self._callbacks_ran = True
        self._ending.set()
        if self._entrypoint_waits:
            self.scope.deadline = trio.current_time() + self.callback_seconds
        else:
            self.scope.cancel()

    async def hold(self, manager: AbstractAsyncContextManager[_T]) -> _T:
        """Enter a context manager in a task that outlives the entrypoint, and return its value.

        Cancelled while entering, the manager is not entered. An error that it raises later fails
        the job.
        """
        value: _T = await self._support.start(self._hold, manager)
        return value

    async def _hold(
        self,
        manager: AbstractAsyncContextManager[_T],
        *,
        task_status: trio.TaskStatus[_T],
    ) -> None:
        with trio.CancelScope() as scope:
            status = ShieldedStart(task_status, scope, self._support)
            async with manager as value:
                self._held.append(scope)
                status.started(value)
                await self._leaving.wait()
        if scope.cancelled_caught:
            logger.warning("leaving the room was cut off after %g s", self.callback_seconds)

    def release(self) -> None:
        """Leave what `hold` has entered, each within `callback_seconds`."""
        self._ending.set()
        self._leaving.set()
        for scope in self._held:
            scope.deadline = trio.current_time() + self.callback_seconds
