"""Fixtures of the tests of job processes: real children, simulated ones, and a look around."""

from __future__ import annotations

import os
import secrets
import signal
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import trio
import trio.testing

from vsdk_trio.control.channel import ControlChannel
from vsdk_trio.control.frames import Finished, Hello, InitFailed, Ready, Running, Start, Stop
from vsdk_trio.processes.edge import Command, DeliverCancel, ProcessHandle, Spawner

from .forking import START_METHODS, open_spawner

CHILD = Path(__file__).with_name("child_program.py")


@pytest.fixture
def child() -> Callable[..., Command]:
    """Builds a `Command` for the child program with the given modes."""

    def build(*modes: str, **env_extra: str) -> Command:
        return Command(
            argv=(sys.executable, "-I", "-S", str(CHILD), *modes),
            cookie=f"test-{secrets.token_hex(8)}",
            env_extra=env_extra,
        )

    return build


@pytest.fixture
def nothing_left() -> Iterator[None]:
    """After the test there is no child process, zombie or open fd that was not there before."""
    before = _open_fds()
    yield
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)
    assert _open_fds() <= before


def _open_fds() -> set[str]:
    fds = set()
    for fd in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):  # the directory's own
            fds.add(f"{fd} {os.readlink(f'/proc/self/fd/{fd}')}")
    return fds


@pytest.fixture(params=START_METHODS)
async def real_spawner(request: pytest.FixtureRequest) -> AsyncGenerator[Spawner]:
    """A spawner of real processes, by each start method."""
    async with open_spawner(request.param) as spawner:
        yield spawner


class SimulatedProcess:
    """A `ProcessHandle` over memory streams, and the process behind it."""

    def __init__(self, pid: int, command: Command) -> None:
        self.pid = pid
        self.command = command
        self.started_at = trio.current_time()
        self.stdin, self.own_stdin = trio.testing.memory_stream_one_way_pair()
        self.own_stdout, self.stdout = trio.testing.memory_stream_one_way_pair()
        self.own_stderr, self.stderr = trio.testing.memory_stream_one_way_pair()
        self.channel = ControlChannel(self.own_stdout, self.own_stdin)
        self.returncode: int | None = None
        self.gone = trio.Event()
        self.closed = False
        self.ignores: set[int] = set()
        self.signals: list[tuple[float, int]] = []

    def end(self, returncode: int) -> None:
        if self.returncode is None:
            self.returncode = returncode
            for stream in (self.own_stdin, self.own_stdout, self.own_stderr):
                stream.close()
            self.gone.set()

    def signal_group(self, signum: int) -> None:
        if self.returncode is None:
            self.signals.append((trio.current_time() - self.started_at, signum))
            if signum == signal.SIGKILL or signum not in self.ignores:
                self.end(-signum)

    def ask_for_stacks(self, signum: int) -> bool:
        return False

    def memory_mb(self) -> float | None:
        return 1.0 if self.returncode is None else None

    def cpu_seconds(self) -> float | None:
        return 1.0 if self.returncode is None else None

    def close(self) -> None:
        self.closed = True
        self.stdin.close()
        self.stdout.close()
        self.stderr.close()


Program = Callable[[SimulatedProcess], Awaitable[int]]


class SimulatedSpawner:
    """A `Spawner` whose processes are tasks: each runs `program`, on the test's clock."""

    def __init__(self) -> None:
        self.program: Program = well_behaved
        self.error: OSError | None = None
        self.processes: list[SimulatedProcess] = []
        self.most_at_once = 0

    @property
    def alive(self) -> list[SimulatedProcess]:
        return [process for process in self.processes if process.returncode is None]

    async def run(
        self,
        command: Command,
        *,
        deliver_cancel: DeliverCancel,
        task_status: trio.TaskStatus[ProcessHandle],
    ) -> int:
        await trio.lowlevel.checkpoint()
        if self.error is not None:
            raise self.error
        process = SimulatedProcess(1000 + len(self.processes), command)
        self.processes.append(process)
        self.most_at_once = max(self.most_at_once, len(self.alive))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._execute, process)
            try:
                task_status.started(process)
                await process.gone.wait()
            except trio.Cancelled:
                with trio.CancelScope(shield=True):
                    async with trio.open_nursery() as killers:
                        killers.start_soon(deliver_cancel, process)
                        await process.gone.wait()
                        killers.cancel_scope.cancel()
                raise
        assert process.returncode is not None
        return process.returncode

    async def _execute(self, process: SimulatedProcess) -> None:
        with trio.CancelScope(shield=True) as scope:
            async with trio.open_nursery() as nursery:

                async def until_gone() -> None:
                    await process.gone.wait()
                    scope.cancel()

                nursery.start_soon(until_gone)
                try:
                    process.end(await self.program(process))
                except (trio.BrokenResourceError, trio.ClosedResourceError):
                    process.end(1)


async def well_behaved(process: SimulatedProcess) -> int:
    """Ready after 0.1 s; a job takes 1 s; a stop frame is obeyed within 0.1 s."""
    async for frame in process.channel:
        match frame:
            case Hello():
                await trio.sleep(0.1)
                await process.channel.send(Ready(pid=process.pid))
            case Start():
                await process.channel.send(Running())
                await trio.sleep(1)
                await process.channel.send(Finished(status="completed"))
                return 0
            case Stop():
                await trio.sleep(0.1)
                return 0
            case _:
                pass
    return 0


async def fails_to_initialize(process: SimulatedProcess) -> int:
    """Says why on stderr and in a frame, and exits."""
    await process.own_stderr.send_all(b"Traceback: no such module\n")
    await process.channel.send(InitFailed(error="ImportError"))
    return 1


@pytest.fixture
def spawner(request: pytest.FixtureRequest) -> SimulatedSpawner:
    return SimulatedSpawner()


@pytest.fixture
def init_failure() -> Program:
    return fails_to_initialize
