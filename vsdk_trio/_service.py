"""Services, and small synchronisation: a deadline, a notifier, the first of several waits.

A service is background work that outlives the cancellation of its users, by at most a grace. In a
plain nursery a cancellation reaches the helper and its users at the same time, so the helper is
gone before its users have said goodbye. A service stops after its users, and within a deadline.

A leaf: knows trio and nothing of the project.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Protocol

import attrs
import trio


class ServiceBody(Protocol):
    """What `open_service` runs: calls `task_status.started(value)`, returns after `stopping`."""

    async def __call__(
        self, stopping: trio.Event, *, task_status: trio.TaskStatus[Any]
    ) -> None: ...


class ServiceStoppedError(RuntimeError):
    """A service ended before `stopping` was set. That is a bug in the service."""


@attrs.frozen
class ShieldedStart:
    """A task status that shields `scope` at the moment at which `nursery` takes over the task.

    The task that is being started makes it, and runs inside `scope`. A shield that is set later
    could hide a cancellation from a task that is about to raise it, and trio fails with "this
    should never happen". If a cancellation calls off the start, trio leaves the task where it was
    started from. The task then stays unshielded, because nothing else would end it.
    """

    _task_status: trio.TaskStatus[Any]
    _scope: trio.CancelScope
    _nursery: trio.Nursery
    _task: trio.lowlevel.Task = attrs.field(factory=trio.lowlevel.current_task, init=False)

    def started(self, value: Any = None) -> None:
        """See `trio.TaskStatus`."""
        self._scope.shield = True
        self._task_status.started(value)
        self._scope.shield = self._task.parent_nursery is self._nursery


@asynccontextmanager
async def open_service(run: ServiceBody, *, grace: float) -> AsyncGenerator[Any, None]:
    """Run a service around the body.

    Starting is not shielded, so a cancellation while it starts takes effect at once. Afterwards the
    service is shielded from cancellation until the body has ended, however it ended. Then
    `stopping` is set and the grace begins.

    Args:
        run: The service; called as `run(stopping, task_status=...)`.
        grace: Seconds that `run` may take after `stopping` is set.

    Yields:
        What `run` passed to `task_status.started()`.

    Raises:
        ServiceStoppedError: `run` returned before `stopping` was set.
        ExceptionGroup: `run` raised; this cancels the body, as in a nursery.
    """
    stopping = trio.Event()
    scope = trio.CancelScope()
    name = _name_of(run)

    async def serve(*, task_status: trio.TaskStatus[Any]) -> None:
        with scope:
            await run(stopping, task_status=ShieldedStart(task_status, scope, nursery))
            if not stopping.is_set():
                # A cancellation that has called off the start is not an early end.
                await trio.lowlevel.checkpoint_if_cancelled()
                raise ServiceStoppedError(f"the service {name} ended before it was asked to stop")

    async with trio.open_nursery() as nursery:
        value = await nursery.start(serve, name=name)  # as the task is called in /debug/tasks
        try:
            yield value
        finally:
            stopping.set()
            scope.deadline = trio.current_time() + grace


def _name_of(run: ServiceBody) -> str:
    body = run.func if isinstance(run, partial) else run
    return f"{getattr(body, '__module__', '')}.{getattr(body, '__qualname__', repr(body))}"


class ResettableDeadline:
    """Lets one task wait for a deadline that others bring nearer without waking the task.

    There is no deadline at first, and again after each wait. It can also be set while no task
    waits; the next wait then ends at that time.
    """

    def __init__(self) -> None:
        self._pause = trio.CancelScope()

    def expire(self) -> None:
        """End the wait now."""
        self.expire_at(float("-inf"))

    def expire_at(self, moment: float) -> None:
        """End the wait at `moment` of Trio's clock, unless it ends sooner already."""
        if moment < self._pause.deadline:
            self._pause.deadline = moment

    async def wait(self) -> None:
        """Wait for the deadline. Cancellation clears it."""
        try:
            with self._pause:
                await trio.sleep_forever()
        finally:
            self._pause = trio.CancelScope()


class Notifier:
    """Wakes all tasks that wait; a task that waits later waits for the next notification.

    Look at the state first and then wait, with no checkpoint in between, and no change is missed.
    """

    def __init__(self) -> None:
        # Made by the first task that waits: most notifications wake no task and cost next to
        # nothing.
        self._next: trio.Event | None = None

    def notify(self) -> None:
        """Something has changed."""
        if self._next is not None:
            self._next.set()
            self._next = None

    async def wait(self) -> None:
        """Wait for the next notification."""
        if self._next is None:
            self._next = trio.Event()
        await self._next.wait()


async def first_of(*waits: Callable[[], Awaitable[object]]) -> None:
    """Wait until one of `waits` returns, and cancel the others."""
    async with trio.open_nursery() as nursery:

        async def wait_and_end(wait: Callable[[], Awaitable[object]]) -> None:
            await wait()
            nursery.cancel_scope.cancel()

        for wait in waits:
            nursery.start_soon(wait_and_end, wait)
