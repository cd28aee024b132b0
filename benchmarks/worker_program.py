"""Runs the measured worker as the program that it is, in a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from itertools import count
from pathlib import Path

import attrs
import trio

from .contenders import Contender
from .registry import Registry, Session
from .reports import Reports, open_reports

START_LIMIT_SECONDS = 60.0
STOP_LIMIT_SECONDS = 60.0
_NUMBERS = count()


@attrs.frozen(kw_only=True)
class WorkerProgram:
    """A registered worker, and what is known of it."""

    pid: int
    started_ns: int
    session: Session
    reports: Reports
    process: trio.Process

    async def stop(self) -> float:
        """Have it stop its jobs and end, as after Ctrl-C; returns the seconds that took."""
        began = time.monotonic()
        self.process.send_signal(signal.SIGINT)
        with trio.fail_after(STOP_LIMIT_SECONDS):
            await self.process.wait()
        return time.monotonic() - began


@asynccontextmanager
async def open_worker(
    contender: Contender,
    registry: Registry,
    directory: Path,
    *,
    idle: int,
    max_processes: int,
    state_dir: Path | None = None,
) -> AsyncGenerator[WorkerProgram]:
    """Run a worker for the length of the block; it is registered when the block begins.

    Ends with SIGTERM, and with SIGKILL where that is not enough: what is measured is over then.
    Raises `trio.TooSlowError` where it does not register.
    """
    command = [contender.python, str(contender.script), registry.url, str(idle), str(max_processes)]
    async with open_reports(directory / f"reports-{next(_NUMBERS)}") as reports:
        environment = {**os.environ, "BENCHMARK_REPORTS": str(reports.path)}
        environment |= {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
        environment["BENCHMARK_START_METHOD"] = contender.start_method
        if state_dir is not None:
            environment["BENCHMARK_STATE_DIR"] = str(state_dir)
        async with trio.open_nursery() as nursery:
            started_ns = time.monotonic_ns()
            process: trio.Process = await nursery.start(
                partial(
                    trio.run_process,
                    command,
                    env=environment,
                    start_new_session=True,
                    check=False,
                    stdout=None if contender.is_ours else subprocess.DEVNULL,
                    stderr=None if contender.is_ours else subprocess.DEVNULL,
                )
            )
            with trio.fail_after(START_LIMIT_SECONDS):
                session = await registry.next_session()
            yield WorkerProgram(
                pid=process.pid,
                started_ns=started_ns,
                session=session,
                reports=reports,
                process=process,
            )
            if not contender.is_ours:
                # A peer's processes may outlive it; what they hold open would be waited for.
                os.killpg(process.pid, signal.SIGKILL)
            nursery.cancel_scope.cancel()
