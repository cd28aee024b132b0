"""What runs inside a simulated job process: the real runner, with an entrypoint that keeps a plan.

Writes down what the program really did, and makes happen to its process what the plan says.
"""

from __future__ import annotations

import signal
from collections.abc import Awaitable, Callable
from functools import partial

import attrs
import trio

from vsdk_trio._service import first_of
from vsdk_trio.control.frames import Finished, Hello, Start, Stop, decode_frame
from vsdk_trio.control.ndjson import LineSplitter
from vsdk_trio.errors import FrameError
from vsdk_trio.runner.job_context import JobContext
from vsdk_trio.runner.loader import Loaded
from vsdk_trio.runner.runner import run_runner
from vsdk_trio.testing.pipes import Agenda
from vsdk_trio.testing.processes import InsideProcess, MemoryProcess, ProcessExit

from .logs import speaker
from .schedule import CallbackPlan, JobPlan, WorkerPlan
from .trace import ProcessRecord, Trace

JUNK_LINES = (
    b"hello\n",
    b"\n",
    b"{}\n",
    b"[1]\n",
    b'{"type":"finished"}\n',
    b'{"type":"finished","status":"fine"}\n',
    b'{"type":"start","job":{"job_id":"x"}}\n',
    b'{"type":"joined","participant_id":5}\n',
    b'{"type":"ready","pid":1}\n',
    b"\xff\xfe\n",
    b'{"type":"new"}\n',
)


@attrs.frozen(eq=False)
class _JobSpeaker:
    number: int
    inside: InsideProcess

    @property
    def is_dead(self) -> bool:
        return self.inside.is_dead


class PlannedJobs:
    """The program of one worker's job processes; `watch` each of them as it starts."""

    def __init__(
        self,
        trace: Trace,
        agenda: Agenda,
        worker: int,
        plan: WorkerPlan,
        job_plan: Callable[[int], JobPlan],
    ) -> None:
        self._trace = trace
        self._agenda = agenda
        self._worker = worker
        self._plan = plan
        self._job_plan = job_plan
        self._init_failures = plan.init_failures
        self._records: dict[InsideProcess, ProcessRecord] = {}

    @property
    def running(self) -> int:
        """How many processes are alive that were given a job."""
        return sum(
            record.given_at is not None and record.process.returncode is None
            for record in self._records.values()
        )

    def watch(self, process: MemoryProcess) -> None:
        """Write down what the process is told and says."""
        record = ProcessRecord(self._worker, process, trio.current_time())
        self._records[process.inside] = record
        self._trace.processes.append(record)
        self._trace.note(self._name(record), "started")
        stdin, stdout = process.inside.stdin.pipe, process.inside.stdout.pipe
        stdin.tap = _tap(b'"start"', partial(self._told, record))
        stdout.tap = _tap(b'"finished"', partial(self._said, record))
        process.on_end = partial(self._ended, record)

    def _name(self, record: ProcessRecord) -> str:
        return f"process {record.pid}"

    def _told(self, record: ProcessRecord, line: bytes) -> None:
        frame = decode_frame(line)
        if not isinstance(frame, Start):
            return
        if record.given_at is not None:
            self._trace.violation(f"process {record.pid} was given a second job")
        record.job_id = frame.job["job_id"]
        record.given_at = trio.current_time()
        record.plan = plan = self._job_plan(frame.job["metadata"].get("plan", -1))
        self._trace.note(self._name(record), f"was given the job {record.job_id[:8]}")
        limit = self._plan.options["max_processes"]
        if self.running > limit:
            self._trace.violation(f"{self.running} jobs run at once, of at most {limit}")
        if plan.crash_after is not None:
            crash = partial(self._crash, record, plan.crash_code)
            self._agenda.at(trio.current_time() + plan.crash_after, crash)
        if plan.crash_at_byte is not None:
            stdout = record.process.inside.stdout.pipe
            crash = partial(self._crash, record, plan.crash_code)
            stdout.trip_at(stdout.sent_bytes + plan.crash_at_byte, crash)

    def _said(self, record: ProcessRecord, line: bytes) -> None:
        try:
            frame = decode_frame(line)
        except FrameError:
            return  # it was cut off in the middle of it
        if isinstance(frame, Finished) and record.finished is None:
            record.finished = frame
            self._trace.note(self._name(record), f"says finished: {frame.status} {frame.error}")

    def _ended(self, record: ProcessRecord) -> None:
        record.ended_at = trio.current_time()
        # A last line without its end may be a whole frame all the same.
        record.process.inside.stdout.pipe.tap(b"\n")
        self._trace.note(self._name(record), f"is gone: {record.process.returncode}")

    def _crash(self, record: ProcessRecord, code: int) -> None:
        if record.process.returncode is None:
            self._trace.fault("process crash", f"of {record.pid}: {code}")
            record.crashed = True
            record.process.end(code)

    def kill_any(self, choice: int) -> None:
        """SIGKILL from somebody else, for any process that is alive."""
        alive = [r for r in self._records.values() if r.process.returncode is None]
        if alive:
            self._crash(alive[choice % len(alive)], -int(signal.SIGKILL))

    def orphan_all(self) -> list[ProcessRecord]:
        """Their worker is dead; returns those that live on."""
        alive = [r for r in self._records.values() if r.process.returncode is None]
        for record in alive:
            record.orphaned = True
            record.process.orphan()
        return alive

    # Inside

    async def __call__(self, inside: InsideProcess) -> None:
        """Be one job process."""
        record = self._records[inside]
        speaker.set(_JobSpeaker(self._worker, inside))
        hello, rest = await _read_hello(inside)
        if hello is None:
            return
        await first_of(
            partial(trio.sleep, self._plan.init_seconds), partial(_die_of_signals, inside)
        )
        loaded = Loaded(
            entrypoint=partial(self._entrypoint, inside, record),
            initialize=partial(self._initialize, record),
            callback_seconds=hello.shutdown_callback_timeout,
            started_at=trio.current_time(),
        )
        code = await run_runner(
            inside.stdin, inside.stdout, loaded, already_read=rest, signals=inside.signals
        )
        raise ProcessExit(code)

    def _initialize(self, record: ProcessRecord, process: object) -> None:
        if self._init_failures:
            self._init_failures -= 1
            self._trace.fault("initialization fails", f"in {record.pid}")
            raise RuntimeError("the plan says that this process cannot be initialized")

    async def _entrypoint(
        self, inside: InsideProcess, record: ProcessRecord, ctx: JobContext
    ) -> None:
        plan = record.plan
        assert plan is not None
        record.entered += 1
        self._trace.note(self._name(record), f"runs the job {ctx.job.job_id[:8]}")
        for number, callback in enumerate(plan.callbacks):
            record.callbacks_added += 1
            ctx.add_shutdown_callback(_callback_of(inside, record, number, callback))
        inside.memory_mb = plan.memory_mb
        if plan.stderr_lines:
            await inside.stderr.send_all(b"a line on stderr\n" * plan.stderr_lines)
        for number in range(plan.junk_frames):
            line = JUNK_LINES[(number + plan.junk_frames * 7) % len(JUNK_LINES)]
            self._trace.fault("junk from a job")
            inside.stdout.pipe.inject(line)
        try:
            await self._work(inside, ctx, plan)
        except trio.Cancelled:
            if plan.slow_stop:
                with trio.CancelScope(shield=True):
                    await trio.sleep(plan.slow_stop)
            raise
        if not inside.is_dead:
            record.outcome = "failed" if plan.end in ("raise", "exit3", "nursery") else "completed"
        match plan.end:
            case "raise":
                raise ValueError("the plan says so")
            case "exit0":
                raise SystemExit(0)
            case "exit3":
                raise SystemExit(3)
            case "shutdown":
                await ctx.shutdown("the plan says so")
            case "nursery":
                ctx.nursery.start_soon(_fail)
                await trio.sleep_forever()

    async def _work(self, inside: InsideProcess, ctx: JobContext, plan: JobPlan) -> None:
        if plan.joins_after is not None:
            await trio.sleep(plan.joins_after)
            await ctx.connect()
        if plan.freezes_after is not None:
            await trio.sleep(plan.freezes_after)
            self._trace.fault("frozen job")
            inside.freeze()
            with trio.CancelScope(shield=True):
                await trio.sleep_forever()
        await trio.sleep(plan.seconds)


async def _fail() -> None:
    raise ValueError("the plan says so")


def _callback_of(
    inside: InsideProcess, record: ProcessRecord, number: int, plan: CallbackPlan
) -> Callable[[], Awaitable[None]]:
    async def callback() -> None:
        if inside.is_dead:
            return
        record.callbacks[number] += 1
        if plan.fails:
            raise ValueError("the plan says that this callback fails")
        await trio.sleep(plan.seconds)

    return callback


async def _die_of_signals(inside: InsideProcess) -> None:
    async for number in inside.signals:
        raise ProcessExit(-number)


async def _read_hello(inside: InsideProcess) -> tuple[Hello | None, bytes]:
    buffer = b""
    while chunk := await inside.stdin.receive_some():
        buffer += chunk
        while b"\n" in buffer:
            line, _, buffer = buffer.partition(b"\n")
            frame = decode_frame(line)
            if isinstance(frame, Hello):
                return frame, buffer
            if isinstance(frame, Stop):
                return None, b""
    return None, b""


def _tap(word: bytes, call: Callable[[bytes], None]) -> Callable[[bytes], None]:
    """A tap of a pipe that calls for each complete line that holds `word`."""
    splitter = LineSplitter(1 << 22)

    def take(data: bytes) -> None:
        for line in splitter.feed(data):
            if word in line.data:
                call(line.data)

    return take
