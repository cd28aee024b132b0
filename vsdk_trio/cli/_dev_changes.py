"""What a change of the agent's files means: new code for new jobs, or an error to be shown.

Whether the code can be loaded is tried in a process of its own first, so that what is idle and
works is not thrown away for what does not. Must not know how jobs get their code.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import AsyncIterator, Iterable, Sequence
from pathlib import Path
from typing import Any, Final

import attrs
import trio
from watchfiles import Change, DefaultFilter, awatch

from .._loggers import get_logger
from .._shortages import shortage_among
from .._threads import starting_threads
from ..errors import ShortageError
from ..worker.worker import WorkerHandle

logger: Final = get_logger("vsdk_trio.dev")

CHECK_SECONDS: Final = 30.0
# How long watchfiles sleeps between two looks at what the kernel has told it.
_STEP_MS: Final = 100
_RETRY_SECONDS: Final = 1.0
_LOOKING: Final = "look at what has changed"


class _Filter(DefaultFilter):
    """Python files, and every file below a directory that was asked for."""

    def __init__(self, watched: Sequence[Path]) -> None:
        super().__init__()
        self._watched = tuple(os.path.join(path, "") for path in watched)

    def __call__(self, change: Change, path: str) -> bool:
        wanted = path.endswith(".py") or path.startswith(self._watched)
        return wanted and super().__call__(change, path)


def _resolved(paths: Sequence[Path]) -> list[Path]:
    return [path.resolve() for path in paths]  # as the changes will be told


@attrs.frozen
class Changes:
    """Watches the files around `agent`, and those below `watched`."""

    agent: str
    watched: Sequence[Path] = attrs.field(converter=_resolved)

    async def watch(self, handle: WorkerHandle) -> None:
        """Until cancelled: after each change, have new jobs load the code anew if they can."""
        paths = [_directory_of(self.agent), *self.watched]
        known = await self._look()
        logger.info("watching %s", ", ".join(str(path) for path in paths))
        async for change in self._changes(paths):
            logger.info("changed: %s", _names(path for _, path in change))
            found = await self._look()
            if found is None:
                continue
            running = handle.job_count
            handle.renew()
            finishing = f"; {running} running finish on the old code" if running else ""
            logger.info("new jobs get the new code%s", finishing)
            if known is not None and (other := _differences(known, found)):
                logger.warning(
                    "%s changed: the worker itself reads that once; restart dev to have it",
                    ", ".join(other),
                )

    async def _changes(self, paths: Sequence[Path]) -> AsyncIterator[set[tuple[Change, str]]]:
        """What `awatch` tells; where it has no thread to wait in, it is tried again."""
        while True:
            watching = awatch(*paths, watch_filter=_Filter(self.watched), step=_STEP_MS)
            try:
                with starting_threads("watch files"):
                    async for change in watching:
                        yield change
                return
            except ShortageError:
                await trio.sleep(_RETRY_SECONDS)

    async def _look(self) -> dict[str, Any] | None:
        """What the worker would be made of; None, and an error in the log, where it cannot be."""
        command = [sys.executable, "-m", "vsdk_trio.cli._dev_look", self.agent]
        with trio.move_on_after(CHECK_SECONDS):
            try:
                with starting_threads(_LOOKING):
                    done = await trio.run_process(
                        command, capture_stdout=True, capture_stderr=True, check=False
                    )
            except OSError as error:
                if (short := shortage_among(error, _LOOKING)) is None:
                    raise
                logger.error("%s; the next change tries again", short)
                return None
            if done.returncode == 0:
                found: dict[str, Any] = json.loads(done.stdout)
                return found
            text = done.stderr.decode(errors="replace").rstrip()
            logger.error("%s\nuntil the next change, idle processes keep the code they have", text)
            return None
        logger.error("%s was not loaded within %g s", self.agent, CHECK_SECONDS)
        return None


def _directory_of(agent: str) -> Path:
    target = agent.rpartition(":")[0] or agent
    is_path = target.endswith(".py") or os.sep in target
    return Path(target).resolve().parent if is_path else Path.cwd()


def _names(paths: Iterable[str]) -> str:
    names = sorted({os.path.relpath(path) for path in paths})
    return ", ".join(names[:5]) + (" ..." if names[5:] else "")


def _differences(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    return sorted(
        name for name in before.keys() | after.keys() if before.get(name) != after.get(name)
    )
