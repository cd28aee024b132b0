"""Simulated job processes: a `Spawner` whose processes are tasks with streams in memory.

Works under a mock clock. What a process does is a *program*, an async function that is given the
inside of the process; killing the process cancels it where it stands, as SIGKILL would.
"""

from __future__ import annotations

import signal
from collections.abc import Awaitable, Callable
from typing import TypeAlias

import trio
import trio.testing

from ..processes.edge import Command, DeliverCancel, ProcessHandle


class ProcessExit(Exception):
    """Raised by a program to end its process with this return code (negative: a signal)."""

    def __init__(self, returncode: int) -> None:
        super().__init__(returncode)
        self.returncode = returncode


class InsideProcess:
    """A simulated process as its program sees it.

    `signals` yields the signal numbers that reach it. A program that never reads them ignores
    them, except SIGKILL, which no program sees.
    """

    def __init__(
        self,
        command: Command,
        pid: int,
        stdin: trio.abc.ReceiveStream,
        stdout: trio.abc.SendStream,
        stderr: trio.abc.SendStream,
        signals: trio.MemoryReceiveChannel[int],
    ) -> None:
        self.command = command
        self.pid = pid
        self.stdin = stdin
        self.stdout = stdout
        self.stderr = stderr
        self.signals = signals
        self.memory_mb: float = 20.0


Program: TypeAlias = Callable[[InsideProcess], Awaitable[None]]


class _Handle:
    """The outside of a simulated process: a `ProcessHandle`."""

    def __init__(self, command: Command, pid: int) -> None:
        self._stdin, inner_stdin = trio.testing.memory_stream_one_way_pair()
        inner_stdout, self._stdout = trio.testing.memory_stream_one_way_pair()
        inner_stderr, self._stderr = trio.testing.memory_stream_one_way_pair()
        self._signal, signals = trio.open_memory_channel[int](100)
        self.inside = InsideProcess(command, pid, inner_stdin, inner_stdout, inner_stderr, signals)
        self.life = trio.CancelScope(shield=True)
        self.gone = trio.Event()
        self._returncode: int | None = None

    @property
    def pid(self) -> int:
        return self.inside.pid

    @property
    def stdin(self) -> trio.abc.SendStream:
        return self._stdin

    @property
    def stdout(self) -> trio.abc.ReceiveStream:
        return self._stdout

    @property
    def stderr(self) -> trio.abc.ReceiveStream:
        return self._stderr

    @property
    def returncode(self) -> int | None:
        return self._returncode

    def signal_group(self, signum: int) -> None:
        if self._returncode is not None:
            return
        if signum == signal.SIGKILL:
            self.life.cancel()
        else:
            self._signal.send_nowait(signum)

    def memory_mb(self) -> float | None:
        return None if self._returncode is not None else self.inside.memory_mb

    def close(self) -> None:
        self._stdin.close()
        self._stdout.close()
        self._stderr.close()

    async def live(self, program: Program) -> None:
        """Run the program to its end; then the process is gone and its ends of the pipes closed."""
        returncode = -int(signal.SIGKILL)
        try:
            with self.life:
                try:
                    await program(self.inside)
                    returncode = 0
                except* ProcessExit as ends:
                    returncode = _first_leaf(ends).returncode
        finally:
            self._returncode = returncode
            self.inside.stdin.close()  # type: ignore[attr-defined]  # a memory stream can
            self.inside.stdout.close()  # type: ignore[attr-defined]  # a memory stream can
            self.inside.stderr.close()  # type: ignore[attr-defined]  # a memory stream can
            self.gone.set()


def _first_leaf(ends: BaseExceptionGroup[ProcessExit]) -> ProcessExit:
    end = ends.exceptions[0]
    return end if isinstance(end, ProcessExit) else _first_leaf(end)


class MemorySpawner:
    """Starts simulated processes that run `program`.

    `processes` lists every process that ever started, in order; `failures` are raised by the next
    starts, one each. `alive` counts those that are not gone.
    """

    def __init__(self, program: Program) -> None:
        self.program = program
        self.processes: list[ProcessHandle] = []
        self.failures: list[OSError] = []
        self._next_pid = 1000

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
        await trio.lowlevel.checkpoint()
        if self.failures:
            raise self.failures.pop(0)
        self._next_pid += 1
        handle = _Handle(command, self._next_pid)
        self.processes.append(handle)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(handle.live, self.program)
            task_status.started(handle)
            try:
                await handle.gone.wait()
            except trio.Cancelled:
                # However the ladder ends, it must not leave the process behind.
                with trio.CancelScope(shield=True):
                    await _stop(handle, deliver_cancel)
                raise
        assert handle.returncode is not None  # `gone` is set after it
        return handle.returncode


async def _stop(handle: _Handle, deliver_cancel: DeliverCancel) -> None:
    async with trio.open_nursery() as stopping:

        async def deliver() -> None:
            try:
                await deliver_cancel(handle)
            finally:
                handle.signal_group(signal.SIGKILL)

        stopping.start_soon(deliver)
        await handle.gone.wait()
        stopping.cancel_scope.cancel()
