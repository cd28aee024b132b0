"""The whole thing for real: a registry in the test's loop, the worker as a program, job processes.

A `System` records what each of them saw: the registry every frame, the jobs their notes, and the
process table whatever carries the system's mark in its environment.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import attrs
import psutil
import trio

from vsdk_trio.registry.core import Registry
from vsdk_trio.registry.ledger import DispatchRequest, Job
from vsdk_trio.registry.placement import Policy
from vsdk_trio.registry.server import open_registry
from vsdk_trio.registry.switchboard import WorkerLink

from ..start_methods import start_method, templates

AGENTS = Path(__file__).with_name("agents")
# The patience of every wait. Nothing takes this long, not even on a loaded machine.
PATIENCE_SECONDS = 20.0
MARK = "SYSTEM_TEST_MARK"
# A dispatch waits for a slot to become free.
PATIENT = Policy(queue_timeout=PATIENCE_SECONDS)

T = TypeVar("T")


async def eventually(look: Callable[[], T], what: str, *, seconds: float = PATIENCE_SECONDS) -> T:
    """Look again and again until there is something true, and return it."""
    with trio.move_on_after(seconds):
        while not (found := look()):  # noqa: ASYNC110  # the kernel sets no events
            await trio.sleep(0.02)
        return found
    raise AssertionError(f"not within {seconds:g} s: {what}")


class RecordingRegistry(Registry):
    """Keeps what comes in from workers, in order, and when a session was closed."""

    def __init__(self, *, policy: Policy = PATIENT, **arguments: Any) -> None:
        super().__init__(policy=policy, **arguments)
        self.frames: list[dict[str, Any]] = []

    async def serve_worker(self, link: WorkerLink) -> None:
        websocket = link._websocket  # type: ignore[attr-defined]  # the frames as they came
        receive = websocket.receive

        async def recording() -> Any:
            message = await receive()
            if message["type"] == "websocket.disconnect":
                self.frames.append({"type": "closed"})  # hypercorn does not tell the code
            elif message.get("text") is not None:
                self.frames.append(json.loads(message["text"]))
            return message

        websocket.receive = recording
        await super().serve_worker(link)

    def story(self) -> list[str]:
        """What came, in words, without heartbeats, offers and repetitions."""
        told: list[str] = []
        for frame in self.frames:
            match frame["type"]:
                case "job_update" | "status_update":
                    told.append(frame["status"])
                case "closed":
                    told.append("closed")
        return [word for n, word in enumerate(told) if n == 0 or word != told[n - 1]]


@attrs.define
class Program:
    """A started program, and what it has written to stdout and stderr so far."""

    process: trio.Process
    log: Path

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def output(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")

    @property
    def verdict(self) -> str:
        """The one line that says why it ended; fails where there are several, or a traceback."""
        assert "Traceback" not in self.output, self.output
        lines = [line for line in self.output.splitlines() if line.startswith("vsdk_trio: ")]
        assert len(lines) == 1, self.output
        return lines[0].removeprefix("vsdk_trio: ")

    def signal(self, signum: signal.Signals) -> None:
        self.process.send_signal(signum)

    async def exit_code(self, *, seconds: float = PATIENCE_SECONDS) -> int:
        """Wait for its end."""
        with trio.move_on_after(seconds):
            return await self.process.wait()
        raise AssertionError(f"did not end within {seconds:g} s:\n{self.output}")


async def all_is_told_of_flood(worker: Program, lines: int) -> None:
    """Wait until each of so many lines of x, one job's, was logged or is said to be dropped.

    What came too fast is told of within a second, or when the process is gone: later than the
    end of the job. Some must have come too fast: all would take minutes.
    """

    def told() -> tuple[int, int, int]:
        text = worker.output
        dropped = re.findall(r" job: (\d+) lines came too fast and were dropped", text)
        unread = re.findall(r" (\d+) lines of this log were dropped", text)  # any lines
        logged = len(re.findall(r" INFO +job: x{100}", text))
        return logged, sum(map(int, dropped)), sum(map(int, unread))

    try:
        await eventually(lambda: sum(told()) >= lines, "")
    except AssertionError:
        raise AssertionError(f"of {lines} lines: logged, dropped, unread: {told()}") from None
    logged, dropped, unread = told()
    assert dropped > 0
    assert logged + dropped <= lines
    assert lines - logged - dropped <= unread


@attrs.define
class Programs:
    """Programs that carry one mark, and the look at them from outside."""

    directory: Path
    mark: str = attrs.field(factory=lambda: secrets.token_hex(8), kw_only=True)
    programs: list[Program] = attrs.field(factory=list, kw_only=True)

    async def start(
        self,
        *argv: str,
        cwd: Path | None = None,
        env: dict[str, str] | None = None,
        stderr: int = subprocess.STDOUT,
        executable: str = sys.executable,
        user: int | None = None,
    ) -> Program:
        """Start `python *argv` with nothing of ours in its environment but the mark and `env`.

        It leads a process group, as a program does that was started from a terminal.
        """
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("VIDEOSDK", "VSDK"))}
        log = self.directory / f"output-{len(self.programs)}.txt"
        with log.open("wb") as file:
            process = await trio.lowlevel.open_process(
                [executable, *argv],
                cwd=cwd or self.directory,
                env={**clean, **(env or {}), MARK: self.mark},
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=stderr,
                process_group=0,
                user=user,
            )
        program = Program(process, log)
        self.programs.append(program)
        return program

    def notes(self, job_id: str = "") -> list[str]:
        """What a job has noted, or all jobs have."""
        with suppress(FileNotFoundError):
            text = (self.directory / "notes.txt").read_text(encoding="utf-8")
            return [line.partition(" ")[2] for line in text.splitlines() if line.startswith(job_id)]
        return []

    def processes(self) -> list[psutil.Process]:
        """Every living process of this system, wherever it has gone."""
        return list(self._marked())

    def _marked(self) -> Iterator[psutil.Process]:
        for process in psutil.process_iter():
            with suppress(psutil.Error, OSError):
                if (
                    process.environ().get(MARK) == self.mark
                    and process.status() != psutil.STATUS_ZOMBIE
                ):
                    yield process

    def find(self, word: str) -> list[psutil.Process]:
        """Its processes that have `word` in their command line."""
        found = []
        for process in self.processes():
            with suppress(psutil.Error):
                if any(word in argument for argument in process.cmdline()):
                    found.append(process)
        return found

    def job_processes(self) -> list[psutil.Process]:
        return self.find("vsdk_trio.runner")

    def templates(self) -> list[psutil.Process]:
        """Without their forks, which have a template's command line for a moment."""
        found = self.find("vsdk_trio.forkserver.program")
        pids = {process.pid for process in found}
        templates = []
        for process in found:
            with suppress(psutil.Error):
                if process.ppid() not in pids:
                    templates.append(process)
        return templates

    @property
    def own(self) -> int:
        """How many processes a worker has when it has no job: itself, guardian, template."""
        return 2 + templates()

    def guardians(self) -> list[psutil.Process]:
        return self.find("guardian_main.py")

    async def nothing_left(self, *, seconds: float = PATIENCE_SECONDS) -> None:
        """Wait until no process of it is left."""
        try:
            await eventually(lambda: not self.processes(), "", seconds=seconds)
        except AssertionError:
            left = [(p.pid, p.cmdline()) for p in self.processes()]
            raise AssertionError(f"left in the process table: {left}") from None

    async def end(self) -> None:
        """Kill what is left, and reap the programs."""
        for process in self.processes():
            with suppress(psutil.Error):
                process.kill()
        for program in self.programs:
            with trio.CancelScope(shield=True):
                await program.process.wait()


@attrs.define
class System(Programs):
    """A registry, the programs around it, and the look from outside."""

    registry: RecordingRegistry
    url: str

    async def start_agent(
        self,
        *,
        script: str = "agent.py",
        arguments: tuple[str, ...] = (),
        before: tuple[str, ...] = (),
        stderr: int = subprocess.STDOUT,
        prefix: tuple[str, ...] | None = None,
        env: dict[str, str] | None = None,
        executable: str = sys.executable,
        user: int | None = None,
        **options: Any,
    ) -> Program:
        """Start the agent with these options, without waiting for it.

        `before`: a launcher; `prefix`: other arguments for Python than the script;
        `executable`: another Python; `user`: whose program it is.
        """
        defaults = {
            "agent_id": "agent",
            "auth_token": "worker-token",
            "register": True,
            "signaling_base_url": self.url,
            "host": "127.0.0.1",
            "port": 0,
            "termination_timeout": 1.0,
            "max_retry": 1,
            "log_format": "console",
            "start_method": start_method(),
        }
        settings = json.dumps({**defaults, **options})
        (self.directory / "options.json").write_text(settings, encoding="utf-8")
        argv = (*before, str(AGENTS / script), *arguments) if prefix is None else prefix
        return await self.start(*argv, stderr=stderr, env=env, executable=executable, user=user)

    async def open_agent(self, **options: Any) -> Program:
        """Start the agent and wait until it is registered, and guarded."""
        program = await self.start_agent(**options)

        def is_up() -> bool:
            return bool(self.guardians() and self.registry.workers())

        await eventually(lambda: is_up() or program.process.poll() is not None, "no worker")
        assert is_up(), program.output
        return program

    async def dispatch(self, kind: str, *, timeout: float | None = None, **metadata: Any) -> str:
        """Dispatch a job, and wait until its entrypoint runs (or it has ended); returns its id."""
        request = DispatchRequest(
            agent_id="agent",
            room_id=str(metadata.pop("room_id", "room")),
            metadata={"kind": kind, **metadata},
            timeout=timeout,
        )
        with trio.fail_after(2 * PATIENCE_SECONDS):
            job = await self.registry.dispatch(request)

        def has_begun() -> bool:
            now = self.registry.job(job.job_id)
            return now.state.ended or (now.started is not None and bool(self.notes(job.job_id)))

        await eventually(has_begun, f"no beginning of a job that {kind}")
        return job.job_id

    def let_go(self) -> None:
        """Let jobs return that go on until then."""
        (self.directory / "let-go").touch()

    async def end_of(self, job_id: str) -> Job:
        """Wait for the end of a job; it must have been told truthfully once."""
        with trio.fail_after(PATIENCE_SECONDS):
            job = await self.registry.wait_ended(job_id)
        assert not job.presumed, job
        ends = [u for u in self.registry.updates(job_id) if u.status != "running"]
        assert len(ends) == 1, ends
        return job

    async def run_job(self, kind: str, **metadata: Any) -> Job:
        """Run a job to its end."""
        return await self.end_of(await self.dispatch(kind, **metadata))


@asynccontextmanager
async def open_system(directory: Path, **registry_arguments: Any) -> AsyncGenerator[System]:
    """A system without programs yet. At the end there must be nothing of it left."""
    registry = RecordingRegistry(**registry_arguments)
    async with open_registry(registry) as running:
        system = System(directory, registry, running.url)
        try:
            yield system
        except BaseException:
            for program in system.programs:
                print(f"--- {program.process.args}\n{program.output[-20_000:]}")
            raise
        finally:
            await system.end()
