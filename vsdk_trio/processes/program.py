"""Programs that this process starts and waits for, whatever the system forbids or lacks.

The one place in which a worker starts another program: job processes, the guardian, templates. It
differs from `trio.run_process` where something cannot be had:

* No thread, process, descriptor or memory: `ShortageError`, and nothing is left half started.
* No pidfd (an old kernel, a sandbox, no descriptor left): the end is found by looking at
  intervals. trio would wait in a thread for each process, and end the program where there is none.
* Other code took the status, or SIGCHLD is ignored: the status is unknown, and not 0.

The interpreter of a Python program is like this one: it has the same flags, and can import this
package from where it was imported here.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from typing import Final, TypeAlias

import attr
import trio

import vsdk_trio

from ..errors import PreflightError, Resource, ShortageError
from ..system.backoff import next_delay
from ..system.proc import catches_signal
from ..system.shortages import SHORTAGES, resource_of, shortage
from ..system.signals import blocked_in_what_starts
from ..system.threads import run_in_thread
from .edge import EXIT_UNKNOWN, Command, DeliverCancel, OnStarted, ProcessHandle, environment_of
from .memory import GroupMemory, used_cpu_seconds

# Run by `-P -c`: without -P the current directory is first in the path. A file there that is named
# like a module must not be taken for it, and Python 3.13.0 cannot import where it is gone.
_BOOT: Final = (
    "import sys; "
    "sys.path += [p for p in sys.argv[2:] if p not in sys.path and not p.isdigit()]; "
    "from importlib import import_module as i; i(sys.argv[1] + '.__main__').run()"
)


def command_line(module: str) -> tuple[str, ...]:
    """Return the command line that runs a package of this project.

    Args:
        module: Its name.

    Raises:
        PreflightError: There is no interpreter.
    """
    require_interpreter()
    flags = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]  # as multiprocessing
    return (sys.executable, *flags, "-P", "-c", _BOOT, module, *_homes())


def require_interpreter() -> None:
    """Check that there is an interpreter to run job processes.

    Raises:
        PreflightError: There is none.
    """
    if getattr(sys, "frozen", False):
        raise PreflightError(
            "this program is frozen (sys.frozen), so there is no Python to run job processes: "
            "ship the agent as a file and run it by an interpreter: python agent.py"
        )
    if not sys.executable:
        raise PreflightError(
            "it is not known which Python runs this program (sys.executable is empty), so no job "
            "process can be started: run it by an interpreter: python agent.py"
        )
    if not os.access(sys.executable, os.X_OK):
        raise PreflightError(
            f"cannot start a job process: the interpreter {sys.executable} (sys.executable) is "
            "not there, or may not be executed by this user: mend it, or run by another one"
        )


def _homes() -> list[str]:
    """Return the directories or archives from which this package and its needs are imported."""
    files = [module.__file__ for module in (vsdk_trio, trio, attr)]
    homes = (os.path.dirname(os.path.dirname(os.path.abspath(file))) for file in files if file)
    return [*dict.fromkeys(homes)]


# Without a pidfd: how often to look whether a program has ended, at first and later on.
_FIRST_LOOK_SECONDS: Final = 0.005
_LATER_LOOK_SECONDS: Final = 0.1

StopProgram: TypeAlias = Callable[["Program"], Awaitable[None]]


class Program:
    """A started program, which leads a session and a group of its own. See `run_program`."""

    def __init__(
        self,
        popen: subprocess.Popen[bytes],
        stdin: trio.lowlevel.FdStream | None,
        stdout: trio.lowlevel.FdStream | None,
        stderr: trio.lowlevel.FdStream | None,
    ) -> None:
        self._popen = popen
        self.pid: Final = popen.pid
        self.stdin: Final = stdin
        self.stdout: Final = stdout
        self.stderr: Final = stderr
        self.returncode: int | None = None
        """None until it is reaped; then its exit code, minus the signal that ended it, or
        `EXIT_UNKNOWN`."""

    def send_signal(self, signum: int) -> None:
        """Signal the program alone; does nothing once it is reaped."""
        if self.returncode is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signum)

    def kill(self) -> None:
        """End it at once."""
        self.send_signal(signal.SIGKILL)

    def signal_group(self, signum: int) -> None:
        """Signal its whole group; does nothing once it is reaped."""
        if self.returncode is None:
            # PermissionError is macOS's word for a group in which only zombies are left.
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signum)

    def close(self) -> None:
        """Close our ends of its pipes. Idempotent."""
        for stream in (self.stdin, self.stdout, self.stderr):
            if stream is not None:
                stream.close()

    async def wait(self) -> int:
        """Wait for its end, kill its group and reap it. For one task at a time."""
        if self.returncode is None:
            pidfd = open_pidfd(self.pid)
            if pidfd is None:
                await self._look_until_ended()
            else:
                try:
                    await trio.lowlevel.wait_readable(pidfd)
                finally:
                    os.close(pidfd)
            self._reap()
        assert self.returncode is not None, "it was reaped"
        return self.returncode

    async def _look_until_ended(self) -> None:
        seconds = _FIRST_LOOK_SECONDS
        while not self._has_ended():
            await trio.sleep(seconds)
            seconds = next_delay(seconds, first=_FIRST_LOOK_SECONDS, longest=_LATER_LOOK_SECONDS)

    def _has_ended(self) -> bool:
        try:
            flags = os.WEXITED | os.WNOHANG | os.WNOWAIT
            return os.waitid(os.P_PID, self.pid, flags) is not None
        except ChildProcessError:
            return True  # and its status is lost

    def _reap(self) -> None:
        # Before the number, which is that of the group as well, can be given to another process.
        self.signal_group(signal.SIGKILL)
        try:
            _, status = os.waitpid(self.pid, 0)
        except ChildProcessError:
            self.returncode = EXIT_UNKNOWN
        else:
            self.returncode = os.waitstatus_to_exitcode(status)
        self._popen.returncode = self.returncode  # or it would be waited for once more


def open_pidfd(pid: int) -> int | None:
    """Return a pidfd for a child of this process; None if there can be none now."""
    if sys.platform != "linux":
        return None
    try:
        return os.pidfd_open(pid)
    except (OSError, AttributeError):  # the latter: Python was built for an older kernel
        return None


async def run_program(
    argv: Sequence[str],
    doing: str,
    *,
    deliver_cancel: StopProgram,
    task_status: trio.TaskStatus[Program],
    stdin: int = subprocess.DEVNULL,
    stdout: int = subprocess.DEVNULL,
    stderr: int = subprocess.DEVNULL,
    env: Mapping[str, str] | None = None,
    pass_fds: Sequence[int] = (),
) -> int:
    """Start a program, wait for its end, and return its return code.

    It begins with SIGINT, SIGTERM and SIGHUP blocked, and lets them in itself.

    Calls `task_status.started(program)` exactly once if it was started, also where the call was
    cancelled meanwhile. Cancelled, it runs `deliver_cancel(program)` until the program is gone,
    and lets the cancellation go on then. What is left of its group is killed in every case.

    Args:
        argv: The command.
        doing: What this is, as in "cannot <doing>".
        deliver_cancel: Has the program end; where it returns or raises first, it is killed.
        task_status: Gets the `Program`, whose pipes are the caller's then.
        stdin: As `subprocess.Popen` has it, and so are the following.
        stdout: See there.
        stderr: See there.
        env: Its environment; None: this process's.
        pass_fds: Descriptors that it inherits under the same numbers.

    Raises:
        ShortageError: There is too little of something to start it now.
        OSError: It cannot be started.
    """
    try:
        program = await _start(argv, doing, stdin, stdout, stderr, env, pass_fds)
    except ShortageError:
        raise
    except OSError as error:
        if (resource := resource_of(error, is_starting=True)) is None:
            raise
        raise shortage(resource, doing, error.strerror) from error
    SHORTAGES.over(Resource.PROCESSES, Resource.MEMORY, Resource.DESCRIPTORS)

    async def deliver() -> None:
        try:
            await deliver_cancel(program)
        finally:
            program.signal_group(signal.SIGKILL)

    return await see_to_its_end(partial(task_status.started, program), program.wait, deliver)


async def _start(
    argv: Sequence[str],
    doing: str,
    stdin: int,
    stdout: int,
    stderr: int,
    env: Mapping[str, str] | None,
    pass_fds: Sequence[int],
) -> Program:
    with ExitStack() as ours, ExitStack() as theirs:

        def pipe(wanted: int, *, outgoing: bool = False) -> tuple[int, int | None]:
            """Return the descriptor for the program, and our end of the pipe."""
            if wanted != subprocess.PIPE:
                return wanted, None
            reader, writer = os.pipe()
            mine, its = (writer, reader) if outgoing else (reader, writer)
            ours.callback(os.close, mine)
            theirs.callback(os.close, its)
            return its, mine

        ends = (pipe(stdin, outgoing=True), pipe(stdout), pipe(stderr))

        def start() -> subprocess.Popen[bytes]:
            with blocked_in_what_starts():
                return subprocess.Popen(
                    argv,
                    stdin=ends[0][0],
                    stdout=ends[1][0],
                    stderr=ends[2][0],
                    env=env,
                    pass_fds=pass_fds,
                    start_new_session=True,
                )

        popen = await run_in_thread(doing, start)
        ours.pop_all()
        streams = (None if fd is None else trio.lowlevel.FdStream(fd) for _, fd in ends)
        return Program(popen, *streams)


async def see_to_its_end(
    announce: Callable[[], None],
    wait: Callable[[], Awaitable[int]],
    deliver: Callable[[], Awaitable[None]],
) -> int:
    """Announce a process, wait for its end, and return its return code.

    If that is cancelled or fails, `deliver` runs until the process has ended.
    """
    try:
        announce()
        return await wait()
    except BaseException:
        # Without a deadline of its own: a stop ladder has one, and ends with SIGKILL.
        with trio.CancelScope(shield=True):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(deliver)
                # What a ladder raises must not end the wait.
                with trio.CancelScope(shield=True):
                    await wait()
                nursery.cancel_scope.cancel()
        raise


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
        if self._program.returncode is not None or not catches_signal(self.pid, signum):
            return False
        self._program.send_signal(signum)
        return True

    def memory_mb(self) -> float | None:
        return None if self._program.returncode is not None else self._memory.look()

    def cpu_seconds(self) -> float | None:
        return None if self._program.returncode is not None else used_cpu_seconds(self.pid)

    def close(self) -> None:
        self._program.close()


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
