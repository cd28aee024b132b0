"""Forkservers for tests, over the template of `template_program.py`."""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from vsdk_trio._service import open_service
from vsdk_trio.forkserver.orders import Brief
from vsdk_trio.forkserver.spawner import Forkserver
from vsdk_trio.forkserver.template import TemplateSettings
from vsdk_trio.processes.edge import Command, Spawner
from vsdk_trio.processes.program import SubprocessSpawner

PROGRAM = Path(__file__).with_name("template_program.py")
START_METHODS = ("spawn", "forkserver")


class NoSpawner(SubprocessSpawner):
    """A fall-back that starts nothing, for tests in which everything must be forked."""

    async def run(self, *_: object, **__: object) -> int:
        raise AssertionError("was not forked")


class CountingSpawner(SubprocessSpawner):
    """A fall-back that counts what it had to start."""

    def __init__(self) -> None:
        self.started = 0

    async def run(self, command: Command, **keywords: Any) -> int:
        self.started += 1
        return await super().run(command, **keywords)


@asynccontextmanager
async def open_forkserver(
    *, fallback: Spawner | None = None, argv: tuple[str, ...] = (sys.executable, str(PROGRAM))
) -> AsyncGenerator[Forkserver]:
    settings = TemplateSettings(argv=argv, brief=Brief(entrypoint={}), load_seconds=20)
    forkserver = Forkserver(settings, fallback or NoSpawner(), cookie_prefix="test")
    async with open_service(forkserver.serve, grace=10):
        yield forkserver


@asynccontextmanager
async def open_spawner(start_method: str) -> AsyncGenerator[Spawner]:
    """The real spawner of `start_method`."""
    if start_method == "spawn":
        yield SubprocessSpawner()
    else:
        async with open_forkserver() as forkserver:
            yield forkserver
