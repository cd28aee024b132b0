"""A template from its first line to its last: load, look for hazards, freeze, serve.

Assembles the template. What a forked process then does is the runner's, as under start method
"spawn".
"""

from __future__ import annotations

import gc
import importlib
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from typing import Any, NoReturn

from ..._masking import hide_environment
from ...jobs.entrypoint import EntrypointRef
from ...runner import job_log, process
from ...runner.early_signals import ignore_while_the_worker_lives
from ...runner.heartbeat import write_stacks_to
from ...runner.job_context import JobProcessInfo
from ...runner.job_log import RunnerLog
from ...runner.loader import Preloaded, preload
from ...runner.outcome import describe_error
from ...runner.stdio import claim
from ...system.signals import heed_ends_of_children
from ..before_fork import runs_before_fork
from ..orders import Brief, TemplateFailed, TemplateReady
from . import fork_safety as hazards
from .child import COOKIE_VARIABLE, Marks, live
from .marker import find_command_line, find_variable
from .rehearsal import rehearse
from .server import ControlSocket, ForkServer
from .sources import SourceFiles

_STDERR = 2
# What nearly every job loads when it runs.
_NEEDED_BY_JOBS = ("vsdk_trio.rooms.loopback", "vsdk_trio.worker_job")


class UnforkableError(Exception):
    """This process must not be forked, and why; a text for a person."""


def main(fd: int) -> NoReturn:
    """Be a template at the other end of the socket `fd`; or, forked, a job process."""
    os.set_inheritable(fd, False)
    heed_ends_of_children()
    control = ControlSocket(socket.socket(fileno=fd))
    hide_environment(os.environ)
    log = job_log.install(_STDERR)
    write_stacks_to(_STDERR)
    server, ready, preloaded = _prepare(control, log)
    if server.serve(ready) is None:
        # Nothing that was loaded is taken apart: what was forked may still use it.
        os._exit(0)
    started_at = time.perf_counter()
    inherited = process.Inherited(log=log, preloaded=preloaded)

    def run() -> int:
        receive_fd, send_fd = claim()
        ignore_while_the_worker_lives(receive_fd)
        return process.main(receive_fd, send_fd, started_at, inherited)

    live(run)


def _prepare(control: ControlSocket, log: RunnerLog) -> tuple[ForkServer, TemplateReady, Preloaded]:
    """Load what the worker wants loaded; does not return where that cannot be forked."""
    received = control.receive()
    if received is None:
        os._exit(0)
    brief, _ = received
    assert isinstance(brief, Brief), "the brief comes first"
    started = time.perf_counter()
    job_log.set_level(log, brief.log_level)
    try:
        marks = _find_marks()
        before, since, channels = dict(sys.modules), time.time_ns(), hazards.open_channels()
        gc.disable()  # whatever is loaded stays
        preloaded = preload(*_references(brief), _run_initialize)
        warnings = _import_all(brief.preload)
        warnings += _look_for_hazards(channels, cautious=brief.cautious)
    except UnforkableError as error:
        _give_up(control, str(error), lasting=True)
    except (Exception, SystemExit, KeyboardInterrupt, BaseExceptionGroup) as error:
        _give_up(control, f"its code cannot be loaded: {describe_error(error)}", lasting=False)
    try:
        rehearse(log, brief)
    except (Exception, SystemExit, KeyboardInterrupt, BaseExceptionGroup) as error:
        _give_up(control, f"no job can be run in it: {describe_error(error)}", lasting=False)
    sources = SourceFiles(before, since)
    gc.unfreeze()  # what the rehearsal has frozen
    gc.collect()
    gc.freeze()
    gc.enable()
    ready = TemplateReady(seconds=time.perf_counter() - started, warnings=warnings)
    return ForkServer(control, marks, _reason_to_decline(sources)), ready, preloaded


def _references(brief: Brief) -> tuple[EntrypointRef, EntrypointRef | None]:
    initialize = brief.initialize
    return (
        EntrypointRef.from_dict(brief.entrypoint),
        None if initialize is None else EntrypointRef.from_dict(initialize),
    )


def _give_up(control: ControlSocket, reason: str, *, lasting: bool) -> NoReturn:
    control.send(TemplateFailed(reason=reason, lasting=lasting))
    os._exit(0)


def _find_marks() -> Marks:
    try:
        marks = Marks(cookie=find_variable(COOKIE_VARIABLE), command_line=find_command_line())
        marks.cookie.write(os.environ[COOKIE_VARIABLE].encode())
    except (OSError, LookupError) as error:
        raise UnforkableError(f"forked processes could not be marked as a job's: {error}") from None
    return marks


def _run_initialize(function: Callable[..., object]) -> dict[str, Any] | None:
    if not runs_before_fork(function):
        return None
    info = JobProcessInfo()
    function(info)
    return info.userdata


def _import_all(names: list[str]) -> list[str]:
    """Import `names`; returns what could not be imported, as texts for a person."""
    problems = []
    for name in (*_NEEDED_BY_JOBS, *names):
        try:
            importlib.import_module(name)
        except Exception as error:
            problems.append(f"cannot preload {name!r}: {describe_error(error)}")
    return problems


def _look_for_hazards(before: dict[int, str], *, cautious: bool) -> list[str]:
    """Raise `UnforkableError`, or return what to warn of."""
    if threads := hazards.python_threads():
        raise UnforkableError(f"its code has started threads: {', '.join(threads)}")
    if signal.getsignal(signal.SIGCHLD) is None:
        raise UnforkableError("a library handles SIGCHLD, so that ends of processes go unseen")
    warnings = []
    if tasks := hazards.system_threads():
        warnings.append(
            f"libraries have started threads of their own ({', '.join(tasks)}), which job "
            "processes will not have; most know how to start them again, else use "
            "start_method='spawn'"
        )
    opened = [
        f"{fd} ({target})"
        for fd, target in sorted(hazards.open_channels().items())
        if before.get(fd) != target
    ]
    if opened:
        text = f"its code has opened what all jobs would share: descriptors {', '.join(opened)}"
        if cautious:
            raise UnforkableError(text)
        warnings.append(text)
    return warnings


def _reason_to_decline(sources: SourceFiles) -> Callable[[], str | None]:
    def look() -> str | None:
        if threads := hazards.python_threads():
            return f"it has threads: {', '.join(threads)}"
        if path := sources.changed():
            return f"its code has changed: {path}"
        return None

    return look
