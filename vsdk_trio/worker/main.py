"""Runs a worker as a program: `trio.run`, the last line on stderr, the exit code."""

from __future__ import annotations

import gc
from collections.abc import Callable

import trio

from ..errors import VsdkTrioError
from ..system.stopping import ExitCode, exit_code_of
from ..telemetry.logs.setup import say_last
from .worker import Worker


def run_worker_program(make_worker: Callable[[], Worker]) -> None:
    """Run the worker until its end; returns after a clean one, else raises `SystemExit`.

    An error that is meant for a person becomes one line on stderr. Anything else is a bug, and
    comes out with its traceback.
    """
    try:
        worker = make_worker()
        # What is loaded by now stays: the collector need not look through it while a job waits.
        gc.freeze()
        report = trio.run(worker.run)
    except KeyboardInterrupt:
        # Before the worker listens to signals, or after: nothing runs that could be told.
        raise SystemExit(ExitCode.INTERRUPTED) from None
    except VsdkTrioError as error:
        say_last(f"vsdk_trio: {error}")
        raise SystemExit(exit_code_of(error)) from None
    if report.killed:
        names = ", ".join(report.killed)
        say_last(f"vsdk_trio: jobs that did not stop in time were killed: {names}")
        raise SystemExit(ExitCode.JOBS_KILLED)
