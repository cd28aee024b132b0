"""The worker's side of the guardian: starts it, informs it, and starts it again if it dies.

Knows process ids and cookies; knows no jobs.
"""

from __future__ import annotations

import subprocess
import sys
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Final

import trio

from .._service import open_service
from ..errors import ShortageError
from ..telemetry.logs.loggers import get_logger
from .edge import OnStarted
from .guardian_main import start_time
from .program import Program, run_program

_PROGRAM: Final = Path(__file__).with_name("guardian_main.py")
# Imported, and not run by its path: then it is compiled already, and a third of a MiB smaller. The
# package is an empty stand-in, so nothing but two files of it is loaded.
_START: Final = (
    "import os, sys; package = sys.modules['vsdk_trio'] = type(sys)('vsdk_trio'); "
    "package.__path__ = [os.path.dirname(os.path.dirname(sys.argv.pop(1)))]; "
    "from vsdk_trio.processes.guardian_main import main; main()"
)
_RESTART_SECONDS: Final = 1.0
_GOODBYE_SECONDS: Final = 2.0

logger = get_logger("vsdk_trio.guardian")


def command(grace: float, cookie_prefix: str) -> list[str]:
    """Return the command line that starts a guardian."""
    program = [sys.executable, "-I", "-S", "-c", _START, str(_PROGRAM)]
    return [*program, str(grace), cookie_prefix]


class Guardian:
    """Knows every job process, and acts only when this process is dead. See `open_guardian`."""

    def __init__(self, grace: float, cookie_prefix: str) -> None:
        self._grace = grace
        self._cookie_prefix = cookie_prefix
        self._watched: dict[int, str] = {}
        self._news: deque[str] = deque()
        self._has_news = trio.Event()
        self.pid: int | None = None
        """The guardian's process id; None while there is none."""

    def watch(self, pid: int) -> None:
        """A job process was started that leads the group `pid`."""
        self._watched[pid] = f"+{pid} {start_time(pid)}\n"
        self._tell(self._watched[pid])

    def forget(self, pid: int) -> None:
        """The job process is gone, and so is its group."""
        if self._watched.pop(pid, None) is not None:
            self._tell(f"-{pid}\n")

    def _tell(self, line: str) -> None:
        if self.pid is not None:  # else the next guardian gets the whole list
            self._news.append(line)
            self._has_news.set()

    async def run(self, stopping: trio.Event, *, task_status: trio.TaskStatus[Guardian]) -> None:
        """Keep one guardian process running until `stopping`; a service body.

        Calls `started()` once the first one runs, or if a shortage prevents it; it is then tried
        again, and so are later ones.

        Raises:
            OSError: The first one cannot be started, and not for a shortage.
        """
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._cancel_when, stopping, nursery.cancel_scope)
            try:
                await self._run_once(partial(task_status.started, self))
            except ShortageError as error:
                logger.error("the guardian cannot be started: %s; trying on", error)
                task_status.started(self)
                await self._run_again()
            while True:
                logger.warning("the guardian ended and is started again")
                await self._run_again()

    async def _run_again(self) -> None:
        """Run another one as soon as one can be started. A failure is logged once."""
        is_logged = False
        while True:
            await trio.sleep(_RESTART_SECONDS)
            try:
                await self._run_once(lambda: None)
            except OSError as error:
                if not is_logged:
                    logger.error("the guardian cannot be started: %s; trying on", error)
                is_logged = True
            else:
                return

    async def _cancel_when(self, stopping: trio.Event, scope: trio.CancelScope) -> None:
        await stopping.wait()
        scope.cancel()

    async def _run_once(self, announce: Callable[[], None]) -> None:
        """Run one guardian process to its end; cancelled, let it go and wait for it."""
        failure: OSError | None = None
        async with trio.open_nursery() as nursery:

            def adopt(process: Program) -> None:
                self.pid = process.pid
                self._news = deque(self._watched.values())
                self._has_news.set()
                nursery.start_soon(self._pass_on, process)
                announce()

            try:
                await run_program(
                    command(self._grace, self._cookie_prefix),
                    "start the guardian",
                    stdin=subprocess.PIPE,
                    deliver_cancel=_let_go,
                    task_status=OnStarted(adopt),
                )
            except OSError as error:
                failure = error
            finally:
                self.pid = None
                nursery.cancel_scope.cancel()
        if failure is not None:
            raise failure

    async def _pass_on(self, process: Program) -> None:
        """Write the messages to the guardian; close its stdin at the end, however this ends."""
        assert process.stdin is not None, "asked for with PIPE"
        try:
            while True:
                await self._has_news.wait()
                self._has_news = trio.Event()
                lines = list(self._news)
                await process.stdin.send_all("".join(lines).encode())
                for _ in lines:
                    self._news.popleft()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # It is dead; the next one gets the whole list.
        finally:
            await trio.aclose_forcefully(process.stdin)


async def _let_go(process: Program) -> None:
    """End of stdin is what the guardian waits for; with nothing to guard, it ends at once."""
    try:
        assert process.stdin is not None, "asked for with PIPE"
        await trio.aclose_forcefully(process.stdin)
        await trio.sleep(_GOODBYE_SECONDS)
    finally:
        process.kill()


@asynccontextmanager
async def open_guardian(*, grace: float, cookie_prefix: str) -> AsyncGenerator[Guardian]:
    """Guard the job processes of this process until the body ends.

    When the body ends in order, all processes with such a cookie are killed at once.

    Args:
        grace: Seconds that job processes have to stop by themselves once this process is dead.
        cookie_prefix: The beginning of the cookies of all its job processes, and of no others.

    Raises:
        ExceptionGroup: With an `OSError`: the guardian cannot be started.
    """
    guardian = Guardian(grace, cookie_prefix)
    async with open_service(guardian.run, grace=2 * _GOODBYE_SECONDS):
        yield guardian
