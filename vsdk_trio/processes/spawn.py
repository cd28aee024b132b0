"""Job processes as subprocesses: a fresh interpreter each, in a session of its own.

The edge to the operating system. It knows how to start, signal, measure and reap a process; it
does not know what the process is for.
"""

from __future__ import annotations

import os
import signal
import subprocess
from contextlib import suppress

import trio

from .caught_signals import catches
from .edge import Command, DeliverCancel, OnStarted, ProcessHandle, environment_of
from .memory import GroupMemory


class SubprocessHandle:
    """A `trio.Process` with three pipes, that leads its own process group."""

    def __init__(self, process: trio.Process) -> None:
        if process.stdin is None or process.stdout is None or process.stderr is None:
            raise ValueError("a job process needs three pipes")
        self._process = process
        self._stdin = process.stdin
        self._stdout = process.stdout
        self._stderr = process.stderr
        self._group_exists = True
        self._memory = GroupMemory(process.pid)

    @property
    def pid(self) -> int:
        return self._process.pid

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
        return self._process.returncode

    def signal_group(self, signum: int) -> None:
        if self._group_exists:
            # PermissionError is macOS's word for a group in which only zombies are left.
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signum)

    def ask_for_stacks(self, signum: int) -> bool:
        if self._process.returncode is not None or not catches(self._process.pid, signum):
            return False
        self._process.send_signal(signum)
        return True

    def end_group(self) -> None:
        """Kill what a process that is gone has left of its group, and never signal it again.

        Once the group is empty its number may be given to somebody else.
        """
        self.signal_group(signal.SIGKILL)
        self._group_exists = False

    def memory_mb(self) -> float | None:
        return None if self._process.returncode is not None else self._memory.look()

    def cpu_seconds(self) -> float | None:
        return None if self._process.returncode is not None else used_cpu_seconds(self.pid)

    def close(self) -> None:
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            # trio types them by what every platform has; each has a `close` that is synchronous.
            stream.close()  # type: ignore[union-attr]


def used_cpu_seconds(pid: int) -> float | None:
    """What the process `pid` has used of the CPU so far; None where there is none."""
    import psutil  # late: a worker that never asks need not load it

    try:
        used = psutil.Process(pid).cpu_times()
    except psutil.Error:
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
        handle: SubprocessHandle | None = None

        def announce(process: trio.Process) -> None:
            nonlocal handle
            handle = SubprocessHandle(process)
            task_status.started(handle)

        async def deliver(process: trio.Process) -> None:
            assert handle is not None, "trio cancels what it has started"
            try:
                await deliver_cancel(handle)
            finally:
                # Had it raised or returned early, trio would wait for the process for ever.
                handle.signal_group(signal.SIGKILL)

        try:
            completed: subprocess.CompletedProcess[bytes] = await trio.run_process(
                command.argv,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                check=False,
                start_new_session=True,
                env=environment_of(command, os.environ),
                deliver_cancel=deliver,
                task_status=OnStarted(announce),
            )
        finally:
            if handle is not None:
                handle.end_group()
        return completed.returncode
