"""Runs the measured worker as the program that it is, in a process of its own."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from itertools import count
from pathlib import Path

import attrs
import trio

from .registry import Registry, Session
from .reports import Reports, open_reports

AGENT = Path(__file__).parent / "programs" / "agent.py"
START_LIMIT_SECONDS = 30.0
_NUMBERS = count()


@attrs.frozen(kw_only=True)
class WorkerProgram:
    """A registered worker, and what is known of it."""

    pid: int
    started_ns: int
    session: Session
    reports: Reports


@asynccontextmanager
async def open_worker(
    registry: Registry,
    directory: Path,
    *,
    idle: int,
    max_processes: int,
    state_dir: Path | None = None,
) -> AsyncGenerator[WorkerProgram]:
    """Run a worker for the length of the block; it is registered when the block begins.

    Ends with SIGTERM. Raises `CalledProcessError` where the worker ends by itself, and
    `trio.TooSlowError` where it does not register.
    """
    command = [sys.executable, str(AGENT), registry.url, str(idle), str(max_processes)]
    async with (
        open_reports(directory / f"reports-{next(_NUMBERS)}") as reports,
        trio.open_nursery() as nursery,
    ):
        environment = {**os.environ, "BENCHMARK_REPORTS": str(reports.path)}
        environment |= {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
        if state_dir is not None:
            environment["BENCHMARK_STATE_DIR"] = str(state_dir)
        started_ns = time.monotonic_ns()
        process: trio.Process = await nursery.start(
            partial(trio.run_process, command, env=environment, start_new_session=True)
        )
        with trio.fail_after(START_LIMIT_SECONDS):
            session = await registry.next_session()
        yield WorkerProgram(
            pid=process.pid, started_ns=started_ns, session=session, reports=reports
        )
        nursery.cancel_scope.cancel()
