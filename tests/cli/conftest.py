"""The program as a process, with nothing of ours in its environment but what a test gives it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import attrs
import trio

PROGRAM = [sys.executable, "-m", "vsdk_trio"]
WIDE = {"COLUMNS": "100", "TERM": "xterm"}


def clean_environment(env: Mapping[str, str] | None = None) -> dict[str, str]:
    """This environment without what would change an outcome, and with `env`."""
    ours = ("VSDK_TRIO_", "VIDEOSDK_", "NO_COLOR", "FORCE_COLOR", "TTY_", "PY_COLORS")
    proxies = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(ours) and name.upper() not in proxies
    }
    return {**kept, **WIDE, **(env or {})}


@attrs.frozen
class Done:
    """How a program ended, and what it said."""

    code: int
    out: str
    err: str


async def run_cli(
    *args: str, env: Mapping[str, str] | None = None, cwd: Path | None = None
) -> Done:
    """Run `vsdk-trio *args` to its end."""
    with trio.fail_after(40):
        done = await trio.run_process(
            [*PROGRAM, *args],
            capture_stdout=True,
            capture_stderr=True,
            check=False,
            env=clean_environment(env),
            cwd=cwd,
        )
    return Done(done.returncode, done.stdout.decode(), done.stderr.decode())


@attrs.define
class RunningCli:
    """A program that runs; `text` is what it has said so far, on stdout and stderr."""

    process: trio.Process
    text: str = ""

    async def read_until(self, part: str, *, seconds: float = 30) -> None:
        """Read until `part` was said."""
        with trio.move_on_after(seconds):
            while part not in self.text:
                if not await self._read_some():
                    break
        assert part in self.text, self.text

    async def end(self) -> int:
        """Read to the end; returns the exit code."""
        with trio.fail_after(30):
            while await self._read_some():
                pass
            return await self.process.wait()

    async def _read_some(self) -> bool:
        assert self.process.stdout is not None
        chunk = await self.process.stdout.receive_some()
        self.text += chunk.decode()
        return bool(chunk)


async def _kill(process: trio.Process) -> None:
    process.kill()


@asynccontextmanager
async def open_cli(
    *args: str, env: Mapping[str, str] | None = None, cwd: Path | None = None
) -> AsyncGenerator[RunningCli]:
    """Run `vsdk-trio *args` around the body; it is killed where it outlives it."""
    async with trio.open_nursery() as nursery:
        start = partial(
            trio.run_process,
            [*PROGRAM, *args],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
            env=clean_environment(env),
            cwd=cwd,
            process_group=0,
            deliver_cancel=_kill,
        )
        process: trio.Process = await nursery.start(start)
        assert process.stdout is not None
        async with process.stdout:
            yield RunningCli(process)
        nursery.cancel_scope.cancel()
