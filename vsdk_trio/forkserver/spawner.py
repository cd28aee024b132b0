"""Job processes forked from a template: the `Spawner` of start method "forkserver".

It keeps one template ready, as a service, and replaces one that has died, hangs, or whose code has
changed. While there is none, it starts fresh interpreters.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from contextlib import suppress
from functools import partial
from itertools import count
from typing import Final

import attrs
import trio

from .._service import first_of
from ..errors import FrameError, Resource
from ..processes.edge import Command, DeliverCancel, OnStarted, ProcessHandle, Spawner
from ..processes.guardian import Guardian
from ..processes.program import see_to_its_end
from ..system.backoff import next_delay
from ..system.shortages import SHORTAGES, resource_of
from ..telemetry.logs.loggers import get_logger
from .forked import ForkedHandle
from .template import Template, TemplateSettings, run_template

FIRST_RETRY_SECONDS: Final = 0.5
SLOWEST_RETRY_SECONDS: Final = 30.0
_STEADY_SECONDS: Final = 60.0

logger = get_logger("vsdk_trio.forkserver")


def missing_for_forking() -> str | None:
    """Return what this platform lacks for a forkserver; None if it has everything.

    Forked processes are children of the template. Without pidfds the worker could not wait for
    them, and might signal another process. An old kernel has none, and some sandboxes forbid them.
    """
    if sys.platform != "linux":
        return f"it needs Linux, and this is {sys.platform}"
    try:
        pidfd = os.pidfd_open(os.getpid())
        try:
            signal.pidfd_send_signal(pidfd, 0)
        finally:
            os.close(pidfd)
    except (OSError, AttributeError) as error:
        if resource_of(error) is None:  # else it may pass, and costs the process that is wanted
            return f"the system has no pidfds, or a sandbox forbids them ({error})"
    return None


@attrs.define
class _Retries:
    """How long to wait before the next template, from how the last ones ended."""

    next_seconds: float = 0.0

    def delay(self, lived_seconds: float) -> float:
        delay = 0.0 if lived_seconds > _STEADY_SECONDS else self.next_seconds
        self.next_seconds = next_delay(
            delay, first=FIRST_RETRY_SECONDS, longest=SLOWEST_RETRY_SECONDS
        )
        return delay


class Forkserver:
    """Forks job processes, and starts them afresh if it cannot fork.

    Args:
        settings: The settings of the templates.
        fallback: Starts processes afresh.
        cookie_prefix: The beginning of the cookies of the worker's processes.
        guardian: Learns of every template.
        log_level: The level of the line that says why processes are started afresh, once for each
            reason.
    """

    def __init__(
        self,
        settings: TemplateSettings,
        fallback: Spawner,
        *,
        cookie_prefix: str,
        guardian: Guardian | None = None,
        log_level: int = logging.WARNING,
    ) -> None:
        self._settings = settings
        self._fallback = fallback
        self._cookie_prefix = cookie_prefix
        self._guardian = guardian
        self._log_level = log_level
        self._retries = _Retries()
        self._template: Template | None = None
        self._first_has_settled = trio.Event()
        self._is_wanted = trio.Event()
        self._said: set[str] = set()

    async def run(
        self,
        command: Command,
        *,
        deliver_cancel: DeliverCancel,
        task_status: trio.TaskStatus[ProcessHandle],
    ) -> int:
        """See `Spawner.run`. Waits for the first template, however long that takes to load."""
        if not self._first_has_settled.is_set():
            await self._first_has_settled.wait()
        template = self._template
        if template is not None and not template.over.is_set():
            with suppress(FrameError):  # too long for an order: start it afresh
                handle = await template.fork(command)
                if handle is not None:
                    SHORTAGES.over(Resource.PROCESSES, Resource.MEMORY, Resource.DESCRIPTORS)
                    return await _own(handle, template, deliver_cancel, task_status)
        self._is_wanted.set()
        return await self._fallback.run(
            command, deliver_cancel=deliver_cancel, task_status=task_status
        )

    async def serve(
        self,
        stopping: trio.Event,
        *,
        task_status: trio.TaskStatus[Forkserver] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Keep a template until `stopping`; a service body."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._keep_one, nursery)
            task_status.started(self)
            await stopping.wait()
            nursery.cancel_scope.cancel()

    async def _keep_one(self, nursery: trio.Nursery) -> None:
        for number in count(1):
            started_at = trio.current_time()
            cookie = f"{self._cookie_prefix}.template-{number}"
            try:
                template: Template = await nursery.start(self._run_one, cookie)
            except OSError as error:
                self._say(f"a template cannot be started: {error}")
                self._first_has_settled.set()
                self._is_wanted = trio.Event()
                await trio.sleep(self._retries.delay(0))
                await self._is_wanted.wait()
                continue
            await first_of(template.ready.wait, template.over.wait)
            self._template = template if template.ready.is_set() else None
            self._first_has_settled.set()
            await template.over.wait()
            self._template = None
            self._is_wanted = trio.Event()
            if not template.ready.is_set():
                self._say(template.why)
            if template.lasting:
                await trio.sleep_forever()
            await trio.sleep(self._retries.delay(trio.current_time() - started_at))
            if not template.ready.is_set():
                # It cannot be seen when the code is mended. Try again with the next process.
                await self._is_wanted.wait()

    async def _run_one(self, cookie: str, *, task_status: trio.TaskStatus[Template]) -> None:
        watched: list[int] = []

        def adopt(template: Template) -> None:
            if self._guardian is not None:
                self._guardian.watch(template.pid)
                watched.append(template.pid)
            task_status.started(template)

        try:
            await run_template(self._settings, cookie, task_status=OnStarted(adopt))
        finally:
            if self._guardian is not None:
                for pid in watched:
                    self._guardian.forget(pid)

    def _say(self, why: str) -> None:
        if why not in self._said:
            self._said.add(why)
            logger.log(self._log_level, "job processes are started afresh and not forked: %s", why)


async def _own(
    handle: ForkedHandle,
    template: Template,
    deliver_cancel: DeliverCancel,
    task_status: trio.TaskStatus[ProcessHandle],
) -> int:
    """Own a forked process, as `run_program` owns its program."""
    try:
        return await see_to_its_end(
            partial(task_status.started, handle),
            partial(template.wait_child, handle),
            partial(_deliver, handle, deliver_cancel),
        )
    finally:
        handle.end_group()
        template.forget_child(handle)


async def _deliver(handle: ForkedHandle, deliver_cancel: DeliverCancel) -> None:
    try:
        await deliver_cancel(handle)
    finally:
        # If it raised or returned early, the wait for the process would never end.
        handle.signal_group(signal.SIGKILL)
