"""Job processes as subprocesses: a fresh interpreter each, in a session of its own.

The edge to the operating system. It knows how to start, signal and measure a process; it does not
know what the process is for.
"""

from __future__ import annotations

import os
import subprocess

import trio

from .caught_signals import catches
from .edge import Command, DeliverCancel, OnStarted, ProcessHandle, environment_of
from .memory import GroupMemory
from .program import Program, run_program


class SubprocessHandle:
    """A `Program` with three pipes."""

    def __init__(self, program: Program) -> None:
        if program.stdin is None or program.stdout is None or program.stderr is None:
            raise ValueError("a job process needs three pipes")
        self._program = program
        self._stdin = program.stdin
        self._stdout = program.stdout
        self._stderr = program.stderr
        self._memory = GroupMemory(program.pid)

    @property
    def pid(self) -> int:
        return self._program.pid

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
        return self._program.returncode

    def signal_group(self, signum: int) -> None:
        self._program.signal_group(signum)

    def ask_for_stacks(self, signum: int) -> bool:
        if self._program.returncode is not None or not catches(self.pid, signum):
            return False
        self._program.send_signal(signum)
        return True

    def memory_mb(self) -> float | None:
        return None if self._program.returncode is not None else self._memory.look()

    def cpu_seconds(self) -> float | None:
        return None if self._program.returncode is not None else used_cpu_seconds(self.pid)

    def close(self) -> None:
        self._program.close()


def used_cpu_seconds(pid: int) -> float | None:
    """What the process `pid` has used of the CPU so far; None where nobody can tell."""
    try:
        import psutil  # late: a worker that never asks need not load it
    except (ImportError, OSError):  # no descriptor to load it with
        return None
    try:
        used = psutil.Process(pid).cpu_times()
    except (psutil.Error, OSError):  # gone, or no descriptor to look with
        return None
    return float(used.user + used.system)


class SubprocessSpawner:
    """The `Spawner` of start method "spawn"."""

    async def run(
        self,
        command: Command,
        *,
        deliver_cancel: DeliverCancel,
        task_status: trio.TaskStatus[ProcessHandle],
    ) -> int:
        """See `Spawner.run`."""
        handles: list[SubprocessHandle] = []

        def announce(program: Program) -> None:
            handles.append(SubprocessHandle(program))
            task_status.started(handles[0])

        async def deliver(_: Program) -> None:
            await deliver_cancel(handles[0])

        return await run_program(
            command.argv,
            "start a job process",
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment_of(command, os.environ),
            deliver_cancel=deliver,
            task_status=OnStarted(announce),
        )
