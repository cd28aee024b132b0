"""Simulated processes, spawned and forked ones keep one contract: `Spawner` and `ProcessHandle`."""

from __future__ import annotations

import signal
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

import attrs
import pytest
import trio

from vsdk_trio.processes.edge import Command, ProcessHandle, Spawner
from vsdk_trio.processes.program import SubprocessSpawner
from vsdk_trio.testing.processes import InsideProcess, MemorySpawner, ProcessExit

from ..processes.forking import START_METHODS as REAL
from ..processes.forking import open_spawner

CHILD = """
import os, signal, sys, time
def say(text): os.write(1, text)
if "stubborn" in sys.argv: signal.signal(signal.SIGTERM, signal.SIG_IGN)
else: signal.signal(signal.SIGTERM, lambda *_: os._exit(15))
signal.pthread_sigmask(signal.SIG_SETMASK, ())  # they are held back while a program loads
say(b"ready\\n")
if "talks" in sys.argv: os.write(2, b"last words"); say(b"x" * 10_000); sys.exit(3)
if "crashes" in sys.argv: os.kill(os.getpid(), signal.SIGSEGV)
while chunk := os.read(0, 1000): say(chunk.upper())
if "stubborn" in sys.argv: time.sleep(1000)
"""


async def program(inside: InsideProcess) -> None:
    """What `CHILD` does, in a simulated process."""

    async def heed() -> None:
        async for _ in inside.signals:
            if "stubborn" not in inside.command.argv:
                raise ProcessExit(15)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(heed)
        await inside.stdout.send_all(b"ready\n")
        if "talks" in inside.command.argv:
            await inside.stderr.send_all(b"last words")
            await inside.stdout.send_all(b"x" * 10_000)
            raise ProcessExit(3)
        if "crashes" in inside.command.argv:
            raise ProcessExit(-signal.SIGSEGV)
        while chunk := await inside.stdin.receive_some(1000):
            await inside.stdout.send_all(chunk.upper())
        if "stubborn" in inside.command.argv:
            with trio.CancelScope(shield=True):
                await trio.sleep(1000)
        nursery.cancel_scope.cancel()


@attrs.define
class Life:
    """A running process, and in the end its return code."""

    handle: ProcessHandle
    scope: trio.CancelScope
    delivered: list[ProcessHandle]
    returncodes: list[int] = attrs.field(factory=list)
    done: trio.Event = attrs.field(factory=trio.Event)

    async def read(self) -> bytes:
        found = b""
        while chunk := await self.handle.stdout.receive_some(4096):
            found += chunk
        return found

    async def wait_ready(self) -> None:
        assert await self.handle.stdout.receive_some(6) == b"ready\n"


@pytest.fixture(params=["simulated", *(pytest.param(m, marks=pytest.mark.real) for m in REAL)])
async def spawner(request: pytest.FixtureRequest, clock: None) -> AsyncGenerator[Spawner]:
    if request.param == "simulated":
        yield MemorySpawner(program)
    else:
        async with open_spawner(request.param) as spawner:
            yield spawner


@pytest.fixture
def clock(request: pytest.FixtureRequest) -> None:
    """Simulated processes run on a clock of their own."""
    if "simulated" in request.node.callspec.id:
        request.getfixturevalue("autojump_clock")


Deliver = Callable[[ProcessHandle], Awaitable[None]]


async def _do_nothing(handle: ProcessHandle) -> None:
    await trio.lowlevel.checkpoint()


@asynccontextmanager
async def running(
    spawner: Spawner, *modes: str, deliver: Deliver = _do_nothing
) -> AsyncGenerator[Life]:
    command = Command(argv=(sys.executable, "-I", "-S", "-c", CHILD, *modes), cookie="contract")
    delivered: list[ProcessHandle] = []

    async def deliver_cancel(handle: ProcessHandle) -> None:
        delivered.append(handle)
        await deliver(handle)

    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            scope = trio.CancelScope()
            lives: list[Life] = []

            async def run(*, task_status: trio.TaskStatus[ProcessHandle]) -> None:
                with scope:
                    code = await spawner.run(
                        command, deliver_cancel=deliver_cancel, task_status=task_status
                    )
                    lives[0].returncodes.append(code)
                    lives[0].done.set()

            handle: ProcessHandle = await nursery.start(run)
            lives.append(Life(handle, scope, delivered))
            yield lives[0]
        assert handle.returncode is not None
        assert handle.memory_mb() is None
        assert handle.cpu_seconds() is None
        handle.signal_group(signal.SIGTERM)
        handle.close()
        handle.close()


async def test_eof_is_seen_and_the_end_too(spawner: Spawner) -> None:
    async with running(spawner) as life:
        assert life.handle.returncode is None
        assert (life.handle.memory_mb() or 0) > 0
        assert isinstance(life.handle.cpu_seconds(), float)
        assert life.handle.pid > 1
        await life.handle.stdin.send_all(b"hello")
        await life.handle.stdin.aclose()
        assert await life.read() == b"ready\nHELLO"
    assert life.returncodes == [0]
    assert life.delivered == []


async def test_what_was_written_before_the_end_can_be_read_after_it(spawner: Spawner) -> None:
    async with running(spawner, "talks") as life:
        await life.done.wait()
        assert await life.read() == b"ready\n" + b"x" * 10_000
        assert await life.handle.stderr.receive_some() == b"last words"
        assert await life.handle.stderr.receive_some() == b""
        with pytest.raises(trio.BrokenResourceError):
            await life.handle.stdin.send_all(b"too late")
    assert life.returncodes == [3]


async def test_a_signal_ends_it(spawner: Spawner) -> None:
    async with running(spawner) as life:
        await life.wait_ready()
        life.handle.signal_group(signal.SIGTERM)
    assert life.returncodes == [15]


async def test_a_crash_is_a_negative_code(spawner: Spawner) -> None:
    async with running(spawner, "crashes") as life:
        assert await life.read() == b"ready\n"
    assert life.returncodes == [-signal.SIGSEGV]


async def test_sigkill_ends_what_ignores_everything(spawner: Spawner) -> None:
    async with running(spawner, "stubborn") as life:
        await life.wait_ready()
        await life.handle.stdin.aclose()
        life.handle.signal_group(signal.SIGTERM)
        await trio.sleep(0.1)
        assert life.handle.returncode is None
        life.handle.signal_group(signal.SIGKILL)
    assert life.returncodes == [-signal.SIGKILL]


async def test_a_cancellation_goes_down_the_ladder(spawner: Spawner) -> None:
    async def ladder(handle: ProcessHandle) -> None:
        await trio.sleep(0.05)
        handle.signal_group(signal.SIGTERM)
        await trio.sleep_forever()

    async with running(spawner, deliver=ladder) as life:
        await life.wait_ready()
        life.scope.cancel()
    assert life.delivered == [life.handle]
    assert life.handle.returncode == 15
    assert life.returncodes == []


@pytest.mark.parametrize("fails", [False, True], ids=["returns", "raises"])
async def test_a_ladder_that_ends_early_leaves_nothing(spawner: Spawner, fails: bool) -> None:
    async def ladder(handle: ProcessHandle) -> None:
        await trio.lowlevel.checkpoint()
        if fails:
            raise ValueError("a bug")

    async def live() -> int | None:
        async with running(spawner, "stubborn", deliver=ladder) as life:
            await life.wait_ready()
            life.scope.cancel()
        return life.handle.returncode

    if fails:
        with pytest.RaisesGroup(ValueError, flatten_subgroups=True):
            await live()
    else:
        assert await live() == -signal.SIGKILL


async def test_what_cannot_start_raises_oserror() -> None:
    for spawner in (SubprocessSpawner(), _failing()):
        with pytest.raises(OSError, match="nothing-here"):
            await spawner.run(
                Command(argv=("/nothing-here",), cookie="contract"),
                deliver_cancel=_do_nothing,
                task_status=trio.TASK_STATUS_IGNORED,
            )


def _failing() -> MemorySpawner:
    spawner = MemorySpawner(program)
    spawner.failures.append(FileNotFoundError(2, "No such file", "/nothing-here"))
    return spawner
