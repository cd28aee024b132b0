from __future__ import annotations

import errno
import logging
import os
import signal
import subprocess
import sys

import pytest
import trio
import trio.testing

from vsdk_trio._service import open_service
from vsdk_trio.processes.edge import COOKIE_VARIABLE
from vsdk_trio.processes.guardian_main import start_time
from vsdk_trio.processes.orphans import Sweeper, kill_carriers

pytestmark = pytest.mark.real
SLEEPER = [sys.executable, "-I", "-S", "-c", "import time; time.sleep(600)"]
FAMILY = [
    sys.executable,
    "-I",
    "-S",
    "-c",
    "import os, time; [os.fork() for _ in range(3)]; time.sleep(600)",
]


def _start(argv: list[str], cookie: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        argv, env={**os.environ, COOKIE_VARIABLE: cookie}, start_new_session=True
    )


async def test_it_kills_what_carries_the_cookie_and_nothing_else(
    caplog: pytest.LogCaptureFixture,
) -> None:
    first, second, other = (_start(SLEEPER, cookie) for cookie in ("a.1", "a.2", "a.11"))
    try:
        sweeper = Sweeper()
        with caplog.at_level(logging.WARNING, "vsdk_trio.sweeper"):
            async with open_service(sweeper.run, grace=20):
                sweeper.sweep("a.1")
                sweeper.sweep("a.2")
                sweeper.sweep("nobody carries this")
        assert first.wait(20) == second.wait(20) == -signal.SIGKILL
        assert other.poll() is None
        assert sweeper.killed == 2
        assert caplog.records[0].__dict__["count"] == 2
    finally:
        for process in (first, second, other):
            process.kill()
            process.wait()


def test_it_kills_whole_families() -> None:
    parent = _start(FAMILY, "family")
    try:
        while kill_carriers(frozenset({"family"})) < 1:
            pass
        assert parent.wait(20) == -signal.SIGKILL
        assert kill_carriers(frozenset({"family"})) == 0
    finally:
        parent.kill()
        parent.wait()


async def test_a_sweep_that_was_cancelled_is_made_up_for() -> None:
    swept: list[frozenset[str]] = []

    def kill(cookies: frozenset[str]) -> int:
        swept.append(cookies)
        return 0

    sweeper = Sweeper(kill)
    async with open_service(sweeper.run, grace=20):
        sweeper.sweep("late")
        await trio.testing.wait_all_tasks_blocked()
    assert swept == [{"late"}]


def test_a_start_time_tells_processes_apart() -> None:
    process = _start(SLEEPER, "start-time")
    try:
        mine, its = start_time(os.getpid()), start_time(process.pid)
        assert mine
        assert int(its) > int(mine)
    finally:
        process.kill()
        process.wait()
    assert start_time(process.pid) == ""


async def test_it_looks_again_where_it_could_not_look(
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Out of file descriptors: that nothing can be seen does not say that nothing is there."""
    left = _start(SLEEPER, "starved")
    listdir, starved = os.listdir, iter([True])

    def list_if_there_is_a_descriptor(path: str) -> list[str]:
        if path == "/proc" and next(starved, False):
            raise OSError(errno.EMFILE, "Too many open files")
        return listdir(path)

    monkeypatch.setattr(os, "listdir", list_if_there_is_a_descriptor)
    try:
        sweeper = Sweeper()
        async with open_service(sweeper.run, grace=20):
            sweeper.sweep("starved")
            with trio.fail_after(20):
                while not sweeper.killed:  # noqa: ASYNC110  # a thread counts
                    await trio.sleep(0.05)
        assert left.wait(20) == -signal.SIGKILL
        said = [record.getMessage() for record in caplog.records]
        assert sum("cannot look" in text for text in said) == 1
    finally:
        left.kill()
        left.wait()
