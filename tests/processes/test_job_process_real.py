from __future__ import annotations

import logging
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import trio
import trio.testing

from vsdk_trio.control.frames import Finished, Frame, Ping, Pong, Ready, Running
from vsdk_trio.control.frames import Start as StartFrame
from vsdk_trio.errors import JobProcessError
from vsdk_trio.processes.edge import Command, Spawner
from vsdk_trio.processes.job_process import JOB_LOGGER, JobProcess, run_job_process
from vsdk_trio.processes.program import SubprocessSpawner
from vsdk_trio.processes.stop_ladder import Graces, Rung

pytestmark = [pytest.mark.real, pytest.mark.usefixtures("nothing_left")]

QUICK = Graces(close_timeout=0.2, termination_timeout=0.2)
PATIENT = Graces(close_timeout=20, termination_timeout=20)
Child = Callable[..., Command]


class Start:
    """Starts job processes, by the start method of the test."""

    def __init__(self, spawner: Spawner) -> None:
        self.spawner = spawner

    async def __call__(
        self,
        nursery: trio.Nursery,
        command: Command,
        graces: Graces,
        job_log: logging.Logger = JOB_LOGGER,
    ) -> JobProcess:
        process: JobProcess = await nursery.start(
            partial(run_job_process, self.spawner, command, graces=graces, job_log=job_log)
        )
        return process


@pytest.fixture
def start(real_spawner: Spawner) -> Start:
    return Start(real_spawner)


async def _until_ready(process: JobProcess) -> None:
    assert isinstance(await anext(process.frames()), Ready)


def _gone(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return True
    return state == "Z"  # left to whoever is process 1 here


def _environ(pid: int) -> list[bytes]:
    return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")


async def _until_gone(pid: int) -> None:
    with trio.fail_after(20):
        while not _gone(pid):  # noqa: ASYNC110  # the kernel sets no events
            await trio.sleep(0.005)


async def test_a_job_that_is_stopped_while_it_is_being_given_is_a_broken_resource_to_the_giver(
    start: Start,
    child: Child,
) -> None:
    async with trio.open_nursery() as nursery:
        process = await start(nursery, child("never-ready"), QUICK)

        async def give() -> None:
            with pytest.raises(trio.BrokenResourceError):
                await process.send(StartFrame(job={"more than": "fits into a pipe" * 10_000}))

        nursery.start_soon(give)
        await trio.testing.wait_all_tasks_blocked()
        process.request_stop("changed my mind")
        await process.exited.wait()
        with pytest.raises(trio.BrokenResourceError):
            await process.send(StartFrame(job={}))


async def test_a_job_runs_to_its_end(start: Start, child: Child) -> None:
    async with trio.open_nursery() as nursery:
        process = await start(nursery, child(), PATIENT)
        await _until_ready(process)
        await process.send(Ping(seq=7))
        assert await anext(process.frames()) == Pong(seq=7)
        memory = process.memory_mb()
        assert memory is not None
        assert memory > 1
        await process.send(StartFrame(job={"job_id": "j", "finish": True}))
        rest = [frame async for frame in process.frames()]
        await process.exited.wait()
    assert rest == [Running(), Finished(status="completed")]
    assert process.exit.returncode == 0
    assert process.exit.rung is None
    assert process.exit.stop_reason is None
    assert process.memory_mb() is None


async def test_frames_sent_just_before_the_exit_are_all_seen_by_a_late_reader(
    start: Start,
    child: Child,
) -> None:
    async with trio.open_nursery() as nursery:
        process = await start(nursery, child(), PATIENT)
        await process.send(StartFrame(job={"pongs": 500, "finish": True}))
        await process.exited.wait()
        frames = [frame async for frame in process.frames()]
    assert len(frames) == 503
    assert frames[-1] == Finished(status="completed")


async def test_a_requested_stop_is_polite_and_gives_its_reason(start: Start, child: Child) -> None:
    async with trio.open_nursery() as nursery:
        process = await start(nursery, child(), PATIENT)
        await _until_ready(process)
        process.request_stop("terminated by the registry")
        process.request_stop("a second reason is too late")
        frames = [frame async for frame in process.frames()]
    assert frames == [Finished(status="cancelled", error="terminated by the registry")]
    assert process.exit.returncode == 0
    assert process.exit.rung is Rung.STOP_FRAME
    assert process.exit.stop_reason == "terminated by the registry"


async def test_a_cancellation_is_polite_too_and_its_last_frames_are_read(
    start: Start, child: Child
) -> None:
    frames: list[Frame] = []

    async def consume(process: JobProcess) -> None:
        with trio.CancelScope(shield=True):
            frames.extend([frame async for frame in process.frames()])

    async with trio.open_nursery() as nursery:
        process = await start(nursery, child(), PATIENT)
        await _until_ready(process)
        nursery.start_soon(consume, process)
        nursery.cancel_scope.cancel()
    assert frames == [Finished(status="cancelled", error="the worker is stopping")]
    assert process.exited.is_set()
    assert process.exit.returncode == 0


@pytest.mark.parametrize(
    ("modes", "rung", "returncode"),
    [
        (("ignores-stop",), Rung.EOF, 0),
        (("ignores-stop", "ignores-eof"), Rung.SIGTERM, -signal.SIGTERM),
        (("ignores-stop", "ignores-eof", "ignores-sigterm"), Rung.SIGKILL, -signal.SIGKILL),
        (("blocks",), Rung.SIGKILL, -signal.SIGKILL),
    ],
)
async def test_the_ladder_goes_as_far_down_as_it_must(
    start: Start, child: Child, modes: tuple[str, ...], rung: Rung, returncode: int
) -> None:
    # The long graces are only for rungs that a healthy child is known to answer.
    graces = Graces(close_timeout=0.1, termination_timeout=20 if rung is Rung.EOF else 0.3)
    async with trio.open_nursery() as nursery:
        process = await start(nursery, child(*modes), graces)
        await _until_ready(process)
        if rung is Rung.EOF:
            await process.send(StartFrame(job={}))
        process.request_stop("enough")
    assert (process.exit.rung, process.exit.returncode) == (rung, returncode)
    assert process.exit.killed is (rung is Rung.SIGKILL)


async def test_grandchildren_end_with_their_job(start: Start, child: Child, tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    async with trio.open_nursery() as nursery:
        process = await start(nursery, child("grandchild", CHILD_NOTES=str(notes)), PATIENT)
        await _until_ready(process)
        await process.send(StartFrame(job={"finish": True}))
    assert process.exit.returncode == 0
    _, leader, grandchild = notes.read_text().split()
    assert int(leader) == process.pid
    await _until_gone(int(grandchild))


async def test_a_crash_says_by_what(start: Start, child: Child) -> None:
    async with trio.open_nursery() as nursery:
        process = await start(nursery, child(), PATIENT)
        await _until_ready(process)
        await process.send(StartFrame(job={"kill": int(signal.SIGSEGV)}))
        assert [frame async for frame in process.frames()] == [Running()]
    assert process.exit.signal_name == "SIGSEGV"
    assert process.exit.describe() == "the job process was killed by SIGSEGV"


async def test_a_process_that_exits_at_once_leaves_its_last_words(
    start: Start, child: Child
) -> None:
    async with trio.open_nursery() as nursery:
        process = await start(nursery, child("exits-at-once"), PATIENT)
        assert [frame async for frame in process.frames()] == []
    assert process.exit.describe() == "the job process exited with code 1; stderr: cannot go on"


async def test_junk_on_stdout_is_logged_and_costs_nothing(
    start: Start, child: Child, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "vsdk_trio.job"):
        async with trio.open_nursery() as nursery:
            process = await start(nursery, child("junk"), PATIENT)
            await _until_ready(process)
            process.request_stop("done")
    assert caplog.messages == ["not a frame on the control channel: not a line of JSON"] * 2


async def test_a_flood_on_stderr_neither_blocks_the_job_nor_fills_the_log(
    start: Start, child: Child
) -> None:
    records: list[logging.LogRecord] = []
    job_log = logging.Logger("flooded")  # of its own: a failure must not print the flood
    job_log.addFilter(lambda record: bool(records.append(record)))
    async with trio.open_nursery() as nursery:
        process = await start(nursery, child("floods"), PATIENT, job_log)
        process.bind_job("j-1")
        with trio.fail_after(20):
            await _until_ready(process)
        process.request_stop("done")
    assert process.stderr_tail[-1] == "the last line"
    assert {record.__dict__["job_id"] for record in records} == {"j-1"}
    reports = [record for record in records if record.levelno == logging.WARNING]
    assert len(records) - len(reports) + process.dropped_lines == 202
    assert process.dropped_lines > 0


async def test_what_cannot_be_started_is_one_error(child: Child) -> None:
    command = Command(argv=("/nonexistent/launcher", "python"), cookie="c")
    with pytest.raises(JobProcessError, match=r"/nonexistent/launcher.*No such file"):
        await run_job_process(SubprocessSpawner(), command, graces=PATIENT)


@pytest.mark.parametrize("checkpoint", range(12))
async def test_cancelled_at_any_early_moment_nothing_is_left(
    real_spawner: Spawner, child: Child, checkpoint: int, tmp_path: Path
) -> None:
    """The fixture looks for processes, zombies and fds."""
    async with trio.open_nursery() as nursery:

        async def run() -> None:
            await run_job_process(real_spawner, child(), graces=QUICK)

        nursery.start_soon(run)
        for _ in range(checkpoint):
            await trio.sleep(0 if checkpoint < 6 else 0.001)
        nursery.cancel_scope.cancel()


async def test_cancelled_while_spawning_by_its_starter_nothing_is_left(
    start: Start, child: Child
) -> None:
    for delay in (0, 0.0005, 0.001, 0.002, 0.004):
        with trio.move_on_after(delay):
            async with trio.open_nursery() as nursery:
                await start(nursery, child(), QUICK)
                await trio.sleep_forever()


async def test_an_interrupted_send_is_seen_as_eof_and_stops_the_process(
    start: Start, child: Child
) -> None:
    async with trio.open_nursery() as nursery:
        process = await start(nursery, child("blocks"), QUICK)
        await _until_ready(process)
        with trio.move_on_after(0.05) as scope:
            await process.send(StartFrame(job={"text": "x" * 1_000_000}))
        assert scope.cancelled_caught
        with pytest.raises(trio.BrokenResourceError):
            await process.send(Ping(seq=1))
        process.request_stop("enough")
    assert process.exit.killed


async def test_the_cookie_marks_the_process_and_its_exit_is_not_known_before(
    start: Start,
    child: Child,
) -> None:
    command = child()
    async with trio.open_nursery() as nursery:
        process = await start(nursery, command, PATIENT)
        await _until_ready(process)
        assert f"VSDK_TRIO_COOKIE={command.cookie}".encode() in _environ(process.pid)
        assert process.cookie == command.cookie
        with pytest.raises(RuntimeError, match="not exited"):
            _ = process.exit
        process.request_stop("done")
