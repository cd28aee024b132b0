"""What a change of the agent's files means: new code for new jobs, or an error to be shown.

Whether the code can be loaded is tried in a process of its own first, so that what is idle and
works is not thrown away for what does not. Must not know how jobs get their code.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import IO, Any, Final

import attrs
import trio

from ..system.shortages import shortage_among
from ..system.threads import starting_threads
from ..telemetry.logs.loggers import get_logger
from ..worker.worker import WorkerHandle
from ._dev_watch import Watch

logger: Final = get_logger("vsdk_trio.dev")

CHECK_SECONDS: Final = 30.0
_LOOKING: Final = "look at what has changed"
# Of what a program says that cannot load the agent: the end counts.
_MOST_SAID: Final = 1 << 16


def _resolved(paths: Sequence[Path]) -> list[Path]:
    return [path.resolve() for path in paths]  # as the changes will be told


@attrs.frozen
class Changes:
    """Watches the files around `agent`, and those below `watched`."""

    agent: str
    watched: Sequence[Path] = attrs.field(converter=_resolved)
    _cwd: Path = attrs.field(factory=Path.cwd, init=False)
    """By its name, as the directory itself may be made anew."""

    async def watch(self, handle: WorkerHandle) -> None:
        """Until cancelled: after each change, have new jobs load the code anew if they can."""
        paths = [_directory_of(self.agent), *self.watched]
        async with aclosing(Watch(paths, self.watched).bursts()) as bursts:
            await anext(bursts)  # from here on no change is missed
            known = await self._look()
            logger.info("watching %s", ", ".join(str(path) for path in paths))
            async for burst in bursts:
                logger.info("changed: %s", _names(burst, self._cwd))
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

    async def _look(self) -> dict[str, Any] | None:
        """What the worker would be made of; None, and an error in the log, where it cannot be."""
        with trio.move_on_after(CHECK_SECONDS):
            try:
                # Files, because what the agent starts may keep a pipe open for as long as it runs.
                with tempfile.TemporaryFile() as answer, tempfile.TemporaryFile() as said:
                    code = await self._run_look(answer, said)
                    answer.seek(0)
                    if code == 0 and (text := answer.read()):
                        found: dict[str, Any] = json.loads(text)
                        return found
                    why = _end_of(said) or f"{self.agent} ended its process ({code}) while loading"
            except OSError as error:
                logger.error(
                    "%s; the next change tries again",
                    shortage_among(error, _LOOKING) or f"cannot {_LOOKING}: {error}",
                )
                return None
            logger.error("%s\nuntil the next change, idle processes keep the code they have", why)
            return None
        logger.error("%s was not loaded within %g s", self.agent, CHECK_SECONDS)
        return None

    async def _run_look(self, answer: IO[bytes], said: IO[bytes]) -> int:
        """Load the agent in a process of its own; returns its exit code."""
        fd = answer.fileno()
        with starting_threads(_LOOKING):
            done = await trio.run_process(
                [sys.executable, "-m", "vsdk_trio.cli._dev_look", str(fd), self.agent],
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                pass_fds=[fd],
                cwd=self._cwd,
                check=False,
            )
        return done.returncode


def _end_of(said: IO[bytes]) -> str:
    size = said.seek(0, os.SEEK_END)
    said.seek(max(0, size - _MOST_SAID))
    return said.read().decode(errors="replace").rstrip()


def _directory_of(agent: str) -> Path:
    target = agent.rpartition(":")[0] or agent
    is_path = target.endswith(".py") or os.sep in target
    return Path(target).resolve().parent if is_path else Path.cwd()


def _names(paths: Iterable[str], start: Path) -> str:
    names = sorted({os.path.relpath(path, start) for path in paths})
    return ", ".join(names[:5]) + (" ..." if names[5:] else "")


def _differences(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    return sorted(
        name for name in before.keys() | after.keys() if before.get(name) != after.get(name)
    )
