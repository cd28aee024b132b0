"""Services, and small synchronisation: an alarm, a change, the first of several waits.

A leaf: knows trio and nothing of the project. A service is background work that outlives the
cancellation of its users, by at most a grace. In a plain nursery, a cancellation reaches the
helper and its users at the same time, so the helper is dead before its users have said goodbye.
A service is told to stop only after its users are gone, and then has a deadline.
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
    """A service ended before it was told to stop: a bug in the service, never a silence."""


@attrs.frozen
class ShieldedStart:
    """A task status that shields `scope` in the moment in which `nursery` takes the task over.

    The task that makes it is the one that is being started, and runs in `scope`. A shield that
    came later could hide a cancellation from a task that is about to raise it: trio then fails
    with "this should never happen". Where a cancellation calls the start off, trio leaves the task
    where it was started from: it stays unshielded, or nobody would ever end it.
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
    """Run `run(stopping, task_status=...)` around the body; yield what it passed to `started()`.

    Arguments: `grace`, seconds that `run` may take after `stopping` is set.

    Starting is unshielded, so a cancellation while starting is prompt. Once started, the service
    is shielded from its surroundings until the body has ended, however it ended; then `stopping`
    is set and the deadline starts to count. Raises `ServiceStoppedError` where `run` returns
    before it was told to. An exception of `run` cancels the body and comes out in a group, as
    from a nursery.
    """
    stopping = trio.Event()
    scope = trio.CancelScope()
    name = _name_of(run)

    async def serve(*, task_status: trio.TaskStatus[Any]) -> None:
        with scope:
            await run(stopping, task_status=ShieldedStart(task_status, scope, nursery))
            if not stopping.is_set():
                # Where a cancellation has called the start off, it comes out as what it is.
                await trio.lowlevel.checkpoint_if_cancelled()
                raise ServiceStoppedError(f"the service {name} ended before it was told to")

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


class Alarm:
    """For one waiting task. It is silent until it is set, and again each time it has rung.

    Setting it also works while nobody waits: the next wait is over at that moment.
    """

    def __init__(self) -> None:
        self._pause = trio.CancelScope()

    def ring(self) -> None:
        """The wait is over now."""
        self.ring_at(float("-inf"))

    def ring_at(self, moment: float) -> None:
        """The wait is over at `moment` of Trio's clock, or sooner if that was said before."""
        if moment < self._pause.deadline:
            self._pause.deadline = moment

    async def wait(self) -> None:
        """Wait until it rings."""
        try:
            with self._pause:
                await trio.sleep_forever()
        finally:
            self._pause = trio.CancelScope()


class Change:
    """Wakes everybody who is waiting; whoever waits later waits for the next change.

    Look at the state first and wait then, with no checkpoint in between, and no change is missed.
    """

    def __init__(self) -> None:
        # Made by the first who waits: most changes are seen by nobody, and cost next to nothing.
        self._next: trio.Event | None = None
        self._settling: dict[trio.CancelScope, float] = {}

    def notify(self) -> None:
        """Something changed."""
        if self._next is not None:
            self._next.set()
            self._next = None
        for scope, seconds in self._settling.items():
            # In a burst the first change has moved it already; moving it again is not for free.
            if (settled_at := trio.current_time() + seconds) < scope.deadline:
                scope.deadline = settled_at

    async def wait(self) -> None:
        """Wait for the next change."""
        if self._next is None:
            self._next = trio.Event()
        await self._next.wait()

    async def settle(self, seconds: float, *, at_most: float) -> None:
        """Wait for the next change and `seconds` more, but `at_most` seconds in all.

        Changes come in bursts, in the middle of what somebody waits for: they wake nobody here.
        """
        with trio.move_on_after(at_most) as scope:
            self._settling[scope] = seconds
            try:
                await trio.sleep_forever()
            finally:
                del self._settling[scope]


async def first_of(*waits: Callable[[], Awaitable[object]]) -> None:
    """Wait until one of them returns; the others are cancelled."""
    async with trio.open_nursery() as nursery:

        async def wait_and_end(wait: Callable[[], Awaitable[object]]) -> None:
            await wait()
            nursery.cancel_scope.cancel()

        for wait in waits:
            nursery.start_soon(wait_and_end, wait)
