"""An agent in a file, real templates that load it, and real job processes that run it."""

from __future__ import annotations

import os
import textwrap
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import attrs
import trio

from vsdk_trio._service import open_service
from vsdk_trio.control.frames import Finished, Hello, JobInfo, Start
from vsdk_trio.forkserver.orders import Brief
from vsdk_trio.forkserver.spawner import Forkserver
from vsdk_trio.forkserver.template import TemplateSettings
from vsdk_trio.jobs.entrypoint import parse
from vsdk_trio.processes.job_process import JobProcess, bring_up, run_job_process
from vsdk_trio.processes.program import SubprocessSpawner, command_line
from vsdk_trio.processes.stop_ladder import Graces

from .forking import CountingSpawner

RUNNER = command_line("vsdk_trio.runner")
TEMPLATE = command_line("vsdk_trio.forkserver.program")
GRACES = Graces(close_timeout=5, termination_timeout=5)
HEAD = """
import atexit, os, random, signal, socket, sys, threading, time, trio
from pathlib import Path
HERE = Path(__file__).parent
def note(*words):
    with open(HERE / "notes", "ab", buffering=0) as file:
        file.write((" ".join(map(str, words)) + "\\n").encode())
note("loaded", os.getpid())
"""


@attrs.define
class Agent:
    """`agent.py` in a directory of its own."""

    directory: Path
    initialize: str | None = None
    preload: list[str] = attrs.field(factory=list)
    cautious: bool = True
    numbers: Any = attrs.field(factory=count)

    @property
    def path(self) -> Path:
        return self.directory / "agent.py"

    def write(self, body: str) -> None:
        """The module, with what every one of them needs at its head."""
        new = self.directory / "agent.new"
        new.write_text(HEAD + textwrap.dedent(body), encoding="utf-8")
        new.replace(self.path)

    def notes(self) -> list[str]:
        path = self.directory / "notes"
        return path.read_text(encoding="utf-8").splitlines() if path.exists() else []

    def noted(self, word: str) -> list[str]:
        """What was noted after `word`."""
        return [
            rest for first, _, rest in (n.partition(" ") for n in self.notes()) if first == word
        ]

    def brief(self) -> Brief:
        hello = self.hello("")
        return Brief(
            entrypoint=hello.entrypoint,
            initialize=hello.initialize,
            preload=self.preload,
            cautious=self.cautious,
        )

    def hello(self, cookie: str) -> Hello:
        def reference(name: str) -> dict[str, Any]:
            return parse(f"{self.path}:{name}").to_dict()

        initialize = None if self.initialize is None else reference(self.initialize)
        return Hello(
            entrypoint=reference("entrypoint"),
            initialize=initialize,
            cookie=cookie,
            live_options=True,  # as of a context that has what cannot travel
        )

    @asynccontextmanager
    async def forkserver(
        self, *, load_seconds: float = 20, argv: tuple[str, ...] = TEMPLATE
    ) -> AsyncGenerator[Forkserver]:
        """One over this agent. Its fall-back starts real processes, and counts them."""
        settings = TemplateSettings(argv=argv, brief=self.brief(), load_seconds=load_seconds)
        forkserver = Forkserver(settings, CountingSpawner(), cookie_prefix=f"agent-{os.getpid()}")
        async with open_service(forkserver.serve, grace=10):
            yield forkserver

    @asynccontextmanager
    async def process(self, spawner: Forkserver | SubprocessSpawner) -> AsyncGenerator[JobProcess]:
        """A job process, ready; it has ended in the end."""
        from vsdk_trio.processes.edge import Command

        cookie = f"agent-{os.getpid()}.{next(self.numbers)}"
        command = Command(argv=RUNNER, cookie=cookie)
        async with trio.open_nursery() as nursery:
            process: JobProcess = await nursery.start(
                partial(run_job_process, spawner, command, graces=GRACES)
            )
            await bring_up(process, self.hello(cookie), 20)
            yield process
            process.request_stop("the test is over")

    async def give_job(self, process: JobProcess, **metadata: Any) -> None:
        options = {"transport_mode": "loopback"}
        job = JobInfo(job_id="j", metadata=metadata, room_options=options)
        await process.send(Start(job=job.to_dict()))

    async def run_job(
        self, spawner: Forkserver | SubprocessSpawner, **metadata: Any
    ) -> Finished | None:
        """Run one job in a process of its own; what it said in the end."""
        async with self.process(spawner) as process:
            await self.give_job(process, **metadata)
            frames = [frame async for frame in process.frames()]
            await process.exited.wait()
        return frames[-1] if isinstance(frames[-1], Finished) else None


async def until(look: Any, what: str) -> Any:
    """Look again and again until there is something true."""
    with trio.move_on_after(20):
        while not (found := look()):  # noqa: ASYNC110  # the kernel sets no events
            await trio.sleep(0.01)
        return found
    raise AssertionError(f"not within 20 s: {what}")
