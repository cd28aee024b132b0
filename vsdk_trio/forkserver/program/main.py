"""A template from its first line to its last: load, check that forking is safe, freeze, serve.

A forked process then runs the runner, as under start method "spawn".
"""

from __future__ import annotations

import gc
import importlib
import os
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
from .child import live
from .environment_marker import find_marker
from .fork_safety import (
    SourceFiles,
    UnforkableError,
    check_fork_safety,
    open_channels,
    reason_to_decline,
)
from .rehearsal import rehearse
from .server import ControlSocket, ForkServer

_STDERR = 2
# What nearly every job loads when it runs.
_NEEDED_BY_JOBS = ("vsdk_trio.rooms.loopback", "vsdk_trio.worker_job")


def main(fd: int) -> NoReturn:
    """Run a template at the other end of the socket `fd`; in a fork, run a job process."""
    os.set_inheritable(fd, False)
    heed_ends_of_children()
    control = ControlSocket(socket.socket(fileno=fd))
    hide_environment(os.environ)
    log = job_log.install(_STDERR)
    write_stacks_to(_STDERR)
    server, ready, preloaded = _prepare(control, log)
    if server.serve(ready) is None:
        # Nothing is freed: forked processes may still use its shared memory.
        os._exit(0)
    started_at = time.perf_counter()
    inherited = process.Inherited(log=log, preloaded=preloaded)

    def run() -> int:
        receive_fd, send_fd = claim()
        ignore_while_the_worker_lives(receive_fd)
        return process.main(receive_fd, send_fd, started_at, inherited)

    live(run)


def _prepare(control: ControlSocket, log: RunnerLog) -> tuple[ForkServer, TemplateReady, Preloaded]:
    """Load the code that the worker names; does not return if it cannot be forked."""
    received = control.receive()
    if received is None:
        os._exit(0)
    brief, _ = received
    assert isinstance(brief, Brief), "the brief comes first"
    started = time.perf_counter()
    job_log.set_level(log, brief.log_level)
    try:
        marker = find_marker()
        before, since, channels = dict(sys.modules), time.time_ns(), open_channels()
        gc.disable()  # whatever is loaded stays
        preloaded = preload(*_references(brief), _run_initialize)
        warnings = _import_all(brief.preload)
        warnings += check_fork_safety(channels, cautious=brief.cautious)
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
    return ForkServer(control, marker, reason_to_decline(sources)), ready, preloaded


def _references(brief: Brief) -> tuple[EntrypointRef, EntrypointRef | None]:
    initialize = brief.initialize
    return (
        EntrypointRef.from_dict(brief.entrypoint),
        None if initialize is None else EntrypointRef.from_dict(initialize),
    )


def _give_up(control: ControlSocket, reason: str, *, lasting: bool) -> NoReturn:
    control.send(TemplateFailed(reason=reason, lasting=lasting))
    os._exit(0)


def _run_initialize(function: Callable[..., object]) -> dict[str, Any] | None:
    if not runs_before_fork(function):
        return None
    info = JobProcessInfo()
    function(info)
    return info.userdata


def _import_all(names: list[str]) -> list[str]:
    """Import `names`, and return the errors as texts for a person."""
    problems = []
    for name in (*_NEEDED_BY_JOBS, *names):
        try:
            importlib.import_module(name)
        except Exception as error:
            problems.append(f"cannot preload {name!r}: {describe_error(error)}")
    return problems
