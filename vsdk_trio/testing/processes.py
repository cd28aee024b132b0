"""Simulated job processes: a `Spawner` whose processes are tasks with pipes in memory.

Works under a mock clock. What a process does is a *program*, an async function that is given the
inside of the process; a killed one is gone at once, whatever it shields, as with SIGKILL.
"""

from __future__ import annotations

import signal
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, TypeAlias

import trio

from ..processes.edge import Command, DeliverCancel, ProcessHandle
from .pipes import Pipe, PipeReceiver, PipeSender


class ProcessExit(Exception):
    """Raised by a program to end its process with this return code (negative: a signal)."""

    def __init__(self, returncode: int) -> None:
        super().__init__(returncode)
        self.returncode = returncode


class InsideProcess:
    """A simulated process as its program sees it.

    `signals` yields the signal numbers that reach it. A program that never reads them ignores
    them, except SIGKILL, which no program sees. `is_dead` tells code that still unwinds that
    nothing of what it does counts any more.
    """

    def __init__(self, command: Command, pid: int) -> None:
        self.command = command
        self.pid = pid
        self._pipes = (Pipe(), Pipe(), Pipe())
        stdin, stdout, stderr = self._pipes
        self.stdin: PipeReceiver = stdin.receiver
        self.stdout: PipeSender = stdout.sender
        self.stderr: PipeSender = stderr.sender
        self._signal, self.signals = trio.open_memory_channel[int](100)
        self.memory_mb: float = 20.0
        self.cpu_seconds: float = 0.1
        self.is_dead = False
        self.is_frozen = False

    def freeze(self) -> None:
        """Stop taking part, as a process does whose only thread is stuck in C code."""
        self.is_frozen = True
        self.stdin.pipe.stall()


Program: TypeAlias = Callable[[InsideProcess], Awaitable[None]]


class MemoryProcess:
    """The outside of a simulated process: a `ProcessHandle`, and the power to end it.

    `signals` are those it was sent, each with the time; `on_end` is called when it is gone.
    `stopping_since` is when its owner was cancelled, and so began to stop it.
    """

    def __init__(self, command: Command, pid: int) -> None:
        self.inside = InsideProcess(command, pid)
        self.gone = trio.Event()
        self.signals: list[tuple[float, int]] = []
        self.stopping_since: float | None = None
        self.on_end: Callable[[], object] = lambda: None
        self._life = trio.CancelScope(shield=True)
        self._returncode: int | None = None
        self._is_closed = False
        self._is_orphaned = False

    @property
    def pid(self) -> int:
        return self.inside.pid

    @property
    def stdin(self) -> trio.abc.SendStream:
        return self.inside.stdin.pipe.sender

    @property
    def stdout(self) -> trio.abc.ReceiveStream:
        return self.inside.stdout.pipe.receiver

    @property
    def stderr(self) -> trio.abc.ReceiveStream:
        return self.inside.stderr.pipe.receiver

    @property
    def returncode(self) -> int | None:
        return self._returncode

    @property
    def is_closed(self) -> bool:
        """Whether the worker's ends of the pipes are closed."""
        return self._is_closed

    def signal_group(self, signum: int) -> None:
        if self._returncode is not None or self._is_orphaned:
            return
        self.signals.append((trio.current_time(), int(signum)))
        if signum == signal.SIGKILL:
            self.end(-int(signal.SIGKILL))
        elif not self.inside.is_frozen:
            self.inside._signal.send_nowait(signum)

    def ask_for_stacks(self, signum: int) -> bool:
        return False  # a simulated process says so by a `Ready` that names no signal

    def memory_mb(self) -> float | None:
        return None if self._returncode is not None else self.inside.memory_mb

    def cpu_seconds(self) -> float | None:
        return None if self._returncode is not None else self.inside.cpu_seconds

    def close(self) -> None:
        self._is_closed = True
        self.inside.stdin.pipe.sender.close()
        self.inside.stdout.pipe.receiver.close()
        self.inside.stderr.pipe.receiver.close()

    def end(self, returncode: int) -> None:
        """The process is gone, from one moment to the next; what it has written can be read."""
        if self._returncode is not None:
            return
        self._returncode = returncode
        self.inside.is_dead = True
        self.inside.stdin.close()
        self.inside.stdout.close()
        self.inside.stderr.close()
        self._life.cancel()
        self.gone.set()
        self.on_end()

    def orphan(self) -> None:
        """Its worker is dead: its pipes lead nowhere, and nobody signals it any more."""
        self._is_orphaned = True
        self.close()

    async def live(self, program: Program) -> None:
        """Run the program to its end, which is that of the process; or the other way round."""
        unwinding = trio.CancelScope(shield=True)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._unwind, unwinding)
            with self._life:
                await self._run(program)
            unwinding.cancel()

    async def _run(self, program: Program) -> None:
        try:
            await program(self.inside)
            self.end(0)
        except BaseException as error:
            # What comes out of a process that is gone already is how its tasks end, no more.
            if not self.inside.is_dead:
                if (exit_ := _exit_in(error)) is None:
                    raise
                self.end(exit_.returncode)

    async def _unwind(self, unwinding: trio.CancelScope) -> None:
        """Once the process is gone, cancel what is left of its tasks, shielded or not."""
        with unwinding:
            await self.gone.wait()
            await kill_tasks(self._life)


async def kill_tasks(scope: trio.CancelScope) -> None:
    """Cancel all that is in `scope`, shielded or not, again and again until this is cancelled."""
    while True:
        for inner in _scopes_below(scope):
            inner.shield = False
        scope.cancel()
        await trio.lowlevel.checkpoint()


def _scopes_below(scope: trio.CancelScope) -> Iterator[trio.CancelScope]:
    # trio has no way to cancel what is shielded, for good reasons; none of them is SIGKILL's.
    statuses: list[Any] = [scope._cancel_status]
    while statuses:
        status = statuses.pop()
        if status is not None:
            for child in status._children:
                yield child._scope
                statuses.append(child)


def _exit_in(error: BaseException) -> ProcessExit | None:
    if isinstance(error, BaseExceptionGroup):
        return next(filter(None, map(_exit_in, error.exceptions)), None)
    return error if isinstance(error, ProcessExit) else None


class MemorySpawner:
    """Starts simulated processes that run `program`.

    `processes` lists every process that ever started, in order; `failures` are raised by the next
    starts, one each; `delays` are what the next starts take, in seconds. `alive` counts those that
    are not gone. `on_start` is called with each process before its program runs. Where `home` is
    given, processes are tasks there, and live on after the death of who started them.
    """

    def __init__(
        self, program: Program, *, first_pid: int = 1001, home: trio.Nursery | None = None
    ) -> None:
        self.program = program
        self._home = home
        self.processes: list[MemoryProcess] = []
        self.failures: list[OSError] = []
        self.delays: list[float] = []
        self.on_start: Callable[[MemoryProcess], object] = lambda process: None
        self._next_pid = first_pid

    @property
    def alive(self) -> int:
        return sum(process.returncode is None for process in self.processes)

    async def run(
        self,
        command: Command,
        *,
        deliver_cancel: DeliverCancel,
        task_status: trio.TaskStatus[ProcessHandle],
    ) -> int:
        """See `Spawner.run`."""
        await trio.sleep(self.delays.pop(0) if self.delays else 0)
        if self.failures:
            raise self.failures.pop(0)
        process = MemoryProcess(command, self._next_pid)
        self._next_pid += 1
        self.processes.append(process)
        self.on_start(process)
        async with trio.open_nursery() as nursery:
            (self._home or nursery).start_soon(process.live, self.program)
            task_status.started(process)
            try:
                await process.gone.wait()
            except trio.Cancelled:
                # However the ladder ends, it must not leave the process behind.
                with trio.CancelScope(shield=True):
                    await _stop(process, deliver_cancel)
                raise
        assert process.returncode is not None  # `gone` is set after it
        return process.returncode


async def _stop(process: MemoryProcess, deliver_cancel: DeliverCancel) -> None:
    process.stopping_since = trio.current_time()
    async with trio.open_nursery() as stopping:

        async def deliver() -> None:
            try:
                await deliver_cancel(process)
            finally:
                process.signal_group(signal.SIGKILL)

        stopping.start_soon(deliver)
        await process.gone.wait()
        stopping.cancel_scope.cancel()
