"""A template's process, from its start to its last word; what is asked of it meanwhile is not here.

Knows the program, its socket and its output; not when a template is wanted.
"""

from __future__ import annotations

import os
import socket
import subprocess
from contextlib import ExitStack
from typing import Final

import attrs
import trio

from ..processes.edge import Command, OnStarted, environment_of
from ..processes.job_log import JobLog
from ..processes.program import Program, run_program
from ..processes.stderr_pump import pump_stderr
from ..telemetry.logs.loggers import get_logger
from .orders import COOKIE_ROOM, Brief
from .template import Template
from .template_link import TemplateLink

_GOODBYE_SECONDS: Final = 1.0

logger = get_logger("vsdk_trio.forkserver.program")


@attrs.frozen(kw_only=True)
class TemplateSettings:
    """What every template of a worker has in common."""

    argv: tuple[str, ...]
    """How to start one; the number of its socket is added."""
    brief: Brief
    load_seconds: float
    """How long it may take to load what the brief names."""


async def run_template(
    settings: TemplateSettings,
    cookie: str,
    *,
    task_status: trio.TaskStatus[Template] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Own one template process to its end: start it, talk to it, log what it prints.

    Calls `task_status.started(template)` once it is there. Cancelled, it lets the process go, kills
    one that does not go, and goes on with the cancellation. Raises `OSError` where it cannot be
    started.
    """
    # The cookie comes last: those who stop reading at the null bytes that will fill its place have
    # read all the others by then.
    command = Command(argv=settings.argv, cookie=cookie.ljust(COOKIE_ROOM, "."))
    environ = environment_of(command, os.environ)
    failure: OSError | None = None
    with ExitStack() as stack:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        stack.callback(theirs.close)
        link = TemplateLink(ours)
        stack.callback(link.close)
        async with trio.open_nursery() as nursery:
            hearing = trio.CancelScope(shield=True)
            templates: list[Template] = []

            def adopt(process: Program) -> None:
                theirs.close()  # so that the end of the process is the end of the socket
                template = Template(process.pid, process.kill, link, environ)
                stack.callback(process.close)
                stack.callback(lambda: template.end(process.returncode or 0))
                nursery.start_soon(_listen, template, process, settings, hearing)
                nursery.start_soon(template.bound_loading, settings.load_seconds)
                templates.append(template)
                task_status.started(template)

            async def let_go(process: Program) -> None:
                try:
                    templates[0].retire("the worker is stopping")
                    link.close()  # which is what it waits for
                    await trio.sleep(_GOODBYE_SECONDS)
                finally:
                    process.kill()

            try:
                await run_program(
                    [*settings.argv, str(theirs.fileno())],
                    "start a template",
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    pass_fds=[theirs.fileno()],
                    env=environ,
                    deliver_cancel=let_go,
                    task_status=OnStarted(adopt),
                )
            except OSError as error:
                failure = error
            finally:
                # Its last words may be on their way still: of processes that it has forked.
                hearing.deadline = trio.current_time() + _GOODBYE_SECONDS
                nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure


async def _listen(
    template: Template, process: Program, settings: TemplateSettings, scope: trio.CancelScope
) -> None:
    assert process.stdout is not None, "asked for with PIPE"
    with scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pump_stderr, process.stdout, JobLog(logger, process.pid))
            await template.converse(settings.brief)
