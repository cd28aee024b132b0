"""Simulated job processes: tasks with pipes in memory, a process table, and a scripted runner."""

from __future__ import annotations

import signal
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, TypeAlias

import attrs
import trio

from .._exceptions import leaves
from .._service import first_of
from ..control.channel import ControlChannel
from ..control.frames import (
    Finished,
    Hello,
    InitFailed,
    JobInfo,
    Joined,
    Ping,
    Pong,
    Ready,
    Running,
    Start,
    Stop,
)
from ..processes.edge import Command, DeliverCancel, ProcessHandle
from ..system.trio_internals import scopes_below
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
        """Its worker is dead: its pipes lead nowhere, and no signal reaches it any more."""
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
                exits = [leaf for leaf in leaves(error) if isinstance(leaf, ProcessExit)]
                if not exits:
                    raise
                self.end(exits[0].returncode)

    async def _unwind(self, unwinding: trio.CancelScope) -> None:
        """Once the process is gone, cancel what is left of its tasks, shielded or not."""
        with unwinding:
            await self.gone.wait()
            await kill_tasks(self._life)


async def kill_tasks(scope: trio.CancelScope) -> None:
    """Cancel all that is in `scope`, shielded or not, again and again until this is cancelled."""
    while True:
        for inner in scopes_below(scope):
            inner.shield = False
        scope.cancel()
        await trio.lowlevel.checkpoint()


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


@attrs.define
class MemoryProcessTable:
    """A `ProcessTable` over simulated processes. `killed` counts those that it had to kill."""

    spawners: list[MemorySpawner] = attrs.field(factory=list)
    killed: int = 0

    async def count(self, cookie_prefixes: Sequence[str]) -> int:
        """See `ProcessTable.count`."""
        await trio.lowlevel.checkpoint()
        return sum(1 for _ in self._marked(cookie_prefixes))

    async def kill(self, cookie_prefixes: Sequence[str]) -> int:
        """See `ProcessTable.kill`."""
        await trio.lowlevel.checkpoint()
        marked = list(self._marked(cookie_prefixes))
        for process in marked:
            process.end(-int(signal.SIGKILL))
        self.killed += len(marked)
        return len(marked)

    def _marked(self, cookie_prefixes: Sequence[str]) -> Iterator[MemoryProcess]:
        beginnings = tuple(f"{prefix}." for prefix in cookie_prefixes)
        for spawner in self.spawners:
            for process in spawner.processes:
                if process.returncode is None and process.inside.command.cookie.startswith(
                    beginnings
                ):
                    yield process


@attrs.define
class ScriptedRunner:
    """A program for `MemorySpawner`.

    `started` lists every job that was started, as (time, job); `callbacks_run` the jobs whose
    shutdown callbacks ran. `init_seconds` is how long a process takes to become ready, and
    `init_error` makes it fail to; `init_passes`, whether that is said to pass.
    """

    init_seconds: float = 0.1
    init_error: str | None = None
    init_passes: bool = False
    participant_name: str = "Agent"
    started: list[tuple[float, JobInfo]] = attrs.field(factory=list)
    callbacks_run: list[str] = attrs.field(factory=list)

    async def __call__(self, inside: InsideProcess) -> None:
        """Be one job process, from its hello to its exit."""
        channel = ControlChannel(inside.stdout, inside.stdin)
        async with trio.open_nursery() as nursery:
            process = _Process(self, inside, channel)
            nursery.start_soon(process.heed_signals)
            await process.live()
            nursery.cancel_scope.cancel()


class _Process:
    def __init__(
        self, script: ScriptedRunner, inside: InsideProcess, channel: ControlChannel
    ) -> None:
        self._script = script
        self._inside = inside
        self._channel = channel
        self._stop = trio.Event()
        self._terminate = trio.Event()
        self._reason = "the worker is gone"
        self._deaf = (0.0, 0.0)

    async def heed_signals(self) -> None:
        async for _ in self._inside.signals:
            self._terminate.set()

    async def live(self) -> None:
        if not isinstance(await anext(self._channel, None), Hello):
            return
        await trio.sleep(self._script.init_seconds)
        script = self._script
        if script.init_error is not None:
            await self._say(InitFailed(error=script.init_error, passes=script.init_passes))
            raise ProcessExit(1)
        await self._say(Ready(pid=self._inside.pid))
        async with trio.open_nursery() as nursery:
            job_sender, jobs = trio.open_memory_channel[JobInfo](1)
            nursery.start_soon(self._read, job_sender)
            job = await self._first_job(jobs)
            if job is not None:
                self._script.started.append((trio.current_time(), job))
                await self._run(job)
            nursery.cancel_scope.cancel()

    async def _first_job(self, jobs: trio.MemoryReceiveChannel[JobInfo]) -> JobInfo | None:
        found: list[JobInfo] = []

        async def wait_for_job() -> None:
            found.extend([job async for job in jobs][:1])

        await first_of(wait_for_job, self._stop.wait, self._terminate.wait)
        return found[0] if found else None

    async def _read(self, jobs: trio.MemorySendChannel[JobInfo]) -> None:
        async for frame in self._channel:
            match frame:
                case Start():
                    job = JobInfo.from_dict(frame.job)
                    begin, end = job.metadata.get("deaf", (0, 0))
                    now = trio.current_time()
                    self._deaf = (now + begin, now + end)
                    jobs.send_nowait(job)
                    jobs.close()
                case Stop():
                    self._reason = frame.reason
                    self._stop.set()
                case Ping():
                    begin, end = self._deaf
                    if begin <= trio.current_time() < end:
                        await trio.sleep_until(end)
                    await self._say(Pong(seq=frame.seq))
                case _:
                    pass
        self._stop.set()

    async def _run(self, job: JobInfo) -> None:
        script = job.metadata
        await self._say(Running())
        if "joins" in script:
            await trio.sleep(float(script["joins"]))
            name = self._script.participant_name
            await self._say(Joined(participant_id="agent", participant_name=name))
        on_stop = script.get("on_stop", "obey")
        waits: list[Callable[[], Awaitable[object]]] = [
            partial(trio.sleep, float(script.get("seconds", 1)))
        ]
        if on_stop == "obey":
            waits.append(self._stop.wait)
        if on_stop != "stuck":
            waits.append(self._terminate.wait)
        await first_of(*waits)
        if on_stop != "obey" and self._terminate.is_set():
            raise ProcessExit(-signal.SIGTERM)
        end = script.get("end", "completed")
        if end == "exit":
            raise ProcessExit(int(script.get("code", 3)))
        if end == "signal":
            raise ProcessExit(-signal.SIGSEGV)
        self._script.callbacks_run.append(job.job_id)
        if self._stop.is_set() and on_stop == "obey":
            await self._say(Finished(status="cancelled", error=self._reason))
        else:
            await self._say(Finished(status=end, error=script.get("error")))

    async def _say(self, frame: Any) -> None:
        # Where the worker is gone, what it would have been told is lost with it.
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            await self._channel.send(frame)
