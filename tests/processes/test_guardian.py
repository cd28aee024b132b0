"""The worker's death, seen in the process table."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import attrs
import pytest
import trio

from vsdk_trio.processes.edge import COOKIE_VARIABLE
from vsdk_trio.processes.guardian import Guardian, command, open_guardian

pytestmark = [pytest.mark.real, pytest.mark.usefixtures("nothing_left")]

WORKER = Path(__file__).with_name("worker_program.py")
SLEEPER = [sys.executable, "-I", "-S", "-c", "import time; time.sleep(600)"]


@attrs.frozen
class Worker:
    """The worker program, running, and what it has told of itself."""

    process: trio.Process
    guardian: int
    notes: Path

    def pids(self, job: int = 0) -> list[int]:
        """The pids that the `job`-th job process has noted: its own, then its grandchildren's."""
        lines = [line for line in self.notes.read_text().splitlines() if "pids" in line]
        return [int(pid) for pid in lines[job].split()[1:]]

    def polite(self) -> set[int]:
        """The job processes that came to run the code after the end of their stdin."""
        lines = self.notes.read_text().splitlines()
        return {int(line.split()[1]) for line in lines if line.startswith("polite")}


def _start_sleeper(cookie: str) -> subprocess.Popen[bytes]:
    environ = {**os.environ, COOKIE_VARIABLE: cookie}
    return subprocess.Popen(SLEEPER, start_new_session=True, env=environ)


def _alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"  # a zombie is left to whoever is process 1 here


async def _until(condition: Callable[[], bool]) -> None:
    with trio.fail_after(20):
        while not condition():  # noqa: ASYNC110  # the kernel sets no events
            await trio.sleep(0.005)


@asynccontextmanager
async def _worker(tmp_path: Path, grace: float, *jobs: str) -> AsyncGenerator[Worker]:
    notes = tmp_path / "notes"
    async with trio.open_nursery() as nursery:
        process: trio.Process = await nursery.start(
            partial(
                trio.run_process,
                [sys.executable, str(WORKER), str(grace), *jobs],
                stdout=subprocess.PIPE,
                check=False,
                env={**os.environ, "CHILD_NOTES": str(notes)},
            )
        )
        assert process.stdout is not None
        async with process.stdout:
            up = b""
            with trio.fail_after(20):
                while not up.endswith(b"\n"):
                    chunk = await process.stdout.receive_some()
                    assert chunk, "the worker program failed"
                    up += chunk
            worker = Worker(process, int(up.split()[1]), notes)
            yield worker
        process.kill()
        await process.wait()
        await _until(lambda: not _alive(worker.guardian))


async def test_when_the_worker_is_killed_jobs_end_politely(tmp_path: Path) -> None:
    async with _worker(tmp_path, 30, "well-behaved", "well-behaved") as worker:
        pids = [worker.pids(0)[0], worker.pids(1)[0]]
        worker.process.kill()
        await _until(lambda: not any(map(_alive, pids)))
        await _until(lambda: not _alive(worker.guardian))  # long before its grace is over
        assert worker.polite() == set(pids)


async def test_what_is_left_after_the_grace_is_killed(tmp_path: Path) -> None:
    jobs = ("blocks,grandchild", "ignores-eof,ignores-sigterm", "well-behaved")
    async with _worker(tmp_path, 0.5, *jobs) as worker:
        stubborn = worker.pids(0) + worker.pids(1)
        assert len(stubborn) == 3
        worker.process.kill()
        died = time.monotonic()
        await _until(lambda: not any(map(_alive, stubborn)))
        assert time.monotonic() - died >= 0.4
        assert worker.polite() == set(worker.pids(2))


async def test_what_left_the_group_is_found_by_its_cookie(tmp_path: Path) -> None:
    async with _worker(tmp_path, 0.2, "escapee", "blocks,escapee") as worker:
        escapees = [worker.pids(0)[1], worker.pids(1)[1]]
        assert [os.getsid(pid) for pid in escapees] == escapees
        worker.process.kill()
        await _until(lambda: not any(map(_alive, escapees)))


async def test_the_guardian_is_not_stopped_by_the_signals_that_stop_a_worker(
    tmp_path: Path,
) -> None:
    async with _worker(tmp_path, 0.1, "blocks") as worker:
        for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            os.kill(worker.guardian, signum)
        worker.process.kill()
        await _until(lambda: not _alive(worker.pids()[0]))


async def test_nor_by_one_that_comes_at_its_first_moment(caplog: pytest.LogCaptureFixture) -> None:
    """While its interpreter starts, nothing of ours runs yet that could ignore them."""
    job = _start_sleeper("")
    try:
        async with open_guardian(grace=0, cookie_prefix="early.") as guardian:
            guardian.watch(job.pid)
            assert guardian.pid is not None
            for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                os.kill(guardian.pid, signum)
            await _until(lambda: not guardian._news)
        assert job.wait(20) == -signal.SIGKILL  # by what was told of it, and lives
        assert caplog.messages == []
    finally:
        job.kill()
        job.wait()


async def test_in_good_order_it_ends_at_once_and_leaves_strangers_alone() -> None:
    stranger = _start_sleeper("other-worker.1")
    try:
        began = trio.current_time()
        async with open_guardian(grace=60, cookie_prefix="this-worker.") as guardian:
            guardian.watch(stranger.pid)
            guardian.forget(stranger.pid)
            guardian.forget(stranger.pid)
            pid = guardian.pid
            assert pid is not None
            assert os.getsid(pid) == pid
        assert not _alive(pid)
        assert trio.current_time() - began < 20
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


async def test_a_number_that_was_given_to_a_stranger_since_is_left_alone(
    tmp_path: Path,
) -> None:
    """The guardian is told of a process that started at another time than this one."""
    stranger = _start_sleeper("")
    try:
        async with trio.open_nursery() as nursery:
            process: trio.Process = await nursery.start(
                partial(
                    trio.run_process,
                    command(0, "no-such-cookie."),
                    stdin=subprocess.PIPE,
                )
            )
            assert process.stdin is not None
            async with process.stdin:
                await process.stdin.send_all(f"+{stranger.pid} 12345\n+{stranger.pid}".encode())
        assert process.returncode == 0
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


async def test_one_that_dies_is_started_again_and_told_everything_anew(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vsdk_trio.processes.guardian._RESTART_SECONDS", 0.01)
    job = _start_sleeper("")
    try:
        async with open_guardian(grace=0, cookie_prefix="reborn.") as guardian:
            guardian.watch(job.pid)
            first = guardian.pid
            assert first is not None
            os.kill(first, signal.SIGKILL)
            await _until(lambda: guardian.pid not in (None, first) and not guardian._news)
            assert job.poll() is None
        # Never forgotten: the one that was told only at its birth kills it at the end.
        assert job.wait(20) == -signal.SIGKILL
        assert caplog.messages == ["the guardian ended and is started again"]
    finally:
        job.kill()
        job.wait()


async def test_one_that_cannot_be_started_is_an_error_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "executable", "/nonexistent/python")
    with pytest.RaisesGroup(FileNotFoundError, flatten_subgroups=True):
        async with open_guardian(grace=0, cookie_prefix="never."):
            raise AssertionError("there is no guardian")


async def test_cancelled_at_any_early_moment_nothing_is_left() -> None:
    for delay in (0, 0.0005, 0.001, 0.002, 0.005, 0.02):
        with trio.move_on_after(delay):
            async with open_guardian(grace=0, cookie_prefix="cancelled."):
                await trio.sleep_forever()


def test_while_there_is_no_guardian_no_news_pile_up_for_it() -> None:
    guardian = Guardian(1.0, "nobody")
    for _ in range(3):
        guardian.watch(os.getpid())
        guardian.forget(os.getpid())
    assert not guardian._news
