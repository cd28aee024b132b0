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
    """Whether somebody wants the end, and why; the first reason counts."""

    def __init__(self) -> None:
        self._requested = trio.Event()
        self._calls: list[Callable[[], object]] = []
        self._reason = ""

    @property
    def reason(self) -> str:
        """Why; empty while nobody has asked."""
        return self._reason

    @property
    def is_requested(self) -> bool:
        """Whether anybody has asked."""
        return self._requested.is_set()

    def request(self, reason: str) -> None:
        """Ask for the end. Asking again changes nothing."""
        if not self._requested.is_set():
            self._reason = reason
            self._requested.set()
            for call in self._calls:
                call()

    @contextmanager
    def calling(self, call: Callable[[], object]) -> Iterator[None]:
        """Call `call` once if the end is asked for before the body ends, or was before.

        It takes no task to wait for it, which would have to be started before a job can begin.
        """
        if self._requested.is_set():
            call()
        self._calls.append(call)
        try:
            yield
        finally:
            self._calls.remove(call)

    async def wait(self) -> str:
        """Wait for the request; returns the reason."""
        await self._requested.wait()
        return self._reason


logger = get_logger(__name__)

_T = TypeVar("_T")


class JobRun:
    """The live part of a job, between its entrypoint's first line and its end.

    Made by the task that runs the entrypoint, which it does inside `scope`, with the job's own
    tasks; `support` outlives those. `callback_seconds` bounds every goodbye.
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
        """Whether somebody outside was the first to want the job to end."""
        return self._end_asked_by == "outside"

    def note_shutdown(self) -> None:
        """The job asks for its own end."""
        self._end_asked_by = self._end_asked_by or "job"

    def stop(self) -> None:
        """Somebody outside wants the job to end: cancel the entrypoint and the job's tasks."""
        self._end_asked_by = self._end_asked_by or "outside"
        self.scope.cancel()
        self._ending.set()  # after the cancellation, which reaches first what can be cancelled

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
        """Mark the body as one in which the calling task waits for the shutdown."""
        is_entrypoint = trio.lowlevel.current_task() in self._entrypoint_tasks
        self._entrypoint_waits += is_entrypoint
        try:
            yield
        finally:
            self._entrypoint_waits -= is_entrypoint

    @contextmanager
    def standing_in(self) -> Iterator[None]:
        """During the body the calling task is one of the entrypoint's: what waits here, waits."""
        task = trio.lowlevel.current_task()
        self._entrypoint_tasks.add(task)
        try:
            yield
        finally:
            self._entrypoint_tasks.discard(task)

    def end_entrypoint(self) -> None:
        """The callbacks have run: end what still runs.

        An entrypoint that waits for this moment is about to return, perhaps after a few last
        lines, and gets a grace for them; one that waits for something else would wait for ever.
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
        """Enter `manager` in a task that outlives the entrypoint; returns what it yields.

        Cancelled while entering, it is not entered. What it raises later fails the job.
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
        """Let go of what is held; each has `callback_seconds` to say its goodbye."""
        self._ending.set()
        self._leaving.set()
        for scope in self._held:
            scope.deadline = trio.current_time() + self.callback_seconds
