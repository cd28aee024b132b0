"""A started program, where the system forbids or lacks what is usually there."""

from __future__ import annotations

import errno
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import trio

from vsdk_trio.errors import Resource, ShortageError
from vsdk_trio.processes.edge import EXIT_UNKNOWN
from vsdk_trio.processes.program import Program, run_program

pytestmark = pytest.mark.real


async def kill(program: Program) -> None:
    program.kill()
    await trio.sleep_forever()


async def run(code: str, **options: object) -> int:
    """Run Python code to its end."""
    call = partial(
        run_program,
        [sys.executable, "-I", "-S", "-c", code],
        "try",
        deliver_cancel=kill,
        task_status=trio.TASK_STATUS_IGNORED,
        **options,  # type: ignore[arg-type]  # a test's
    )
    with trio.fail_after(30):
        return await call()


@pytest.fixture(params=["pidfd", "no pidfd"])
def each_way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    if request.param == "no pidfd":
        monkeypatch.setattr(os, "pidfd_open", refuse, raising=False)


@pytest.fixture
def ignored_child_ends() -> Iterator[None]:
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    yield
    signal.signal(signal.SIGCHLD, before)


@pytest.mark.usefixtures("each_way")
async def test_ends_are_seen_and_told() -> None:
    assert await run("") == 0
    assert await run("raise SystemExit(7)") == 7
    assert await run("import os; os.kill(os.getpid(), 9)") == -signal.SIGKILL
    with pytest.raises(ChildProcessError):  # none is left unburied
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG)  # noqa: ASYNC222  # it does not wait


async def test_a_program_comes_up_with_the_ending_signals_blocked() -> None:
    """So that it can say what they do before one ends it."""
    code = "import os, signal; [os.kill(os.getpid(), n) for n in (1, 2, 15)]; raise SystemExit(7)"
    assert await run(code) == 7
    let_in = "signal.pthread_sigmask(signal.SIG_UNBLOCK, [15])"
    assert await run(f"import os, signal; os.kill(os.getpid(), 15); {let_in}") == -signal.SIGTERM
    assert not signal.pthread_sigmask(signal.SIG_BLOCK, ())  # ours are as they were


@pytest.mark.usefixtures("each_way", "ignored_child_ends")
async def test_an_unknown_end_is_not_a_clean_one() -> None:
    assert await run("raise SystemExit(7)") == EXIT_UNKNOWN


@pytest.mark.usefixtures("each_way")
async def test_a_cancelled_program_is_gone_when_the_cancellation_goes_on() -> None:
    programs: list[Program] = []
    async with trio.open_nursery() as nursery:
        call = partial(run_program, ["sleep", "600"], "try", deliver_cancel=kill)
        programs.append(await nursery.start(call))
        nursery.cancel_scope.cancel()
    assert programs[0].returncode == -signal.SIGKILL


@pytest.mark.usefixtures("each_way")
async def test_what_is_left_of_its_group_goes_with_it(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    child = "import subprocess, sys; p = subprocess.Popen(['sleep', '600']); "
    assert await run(child + f"open({str(note)!r}, 'w').write(str(p.pid)); p.returncode = 0") == 0
    with trio.fail_after(10):
        while _is_alive(int(note.read_text())):  # noqa: ASYNC110  # the kernel sets no events
            await trio.sleep(0.01)


def _is_alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0] != b"Z"
    except OSError:
        return False


async def test_without_a_descriptor_nothing_is_left_half_started() -> None:
    before = len(os.listdir("/proc/self/fd"))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # Enough for one pipe and not for three.
    resource.setrlimit(resource.RLIMIT_NOFILE, (before + 2, hard))
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    try:
        with pytest.raises(ShortageError, match="out of file descriptors: cannot try") as raised:
            await run("", **pipes)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert raised.value.resource is Resource.DESCRIPTORS
    assert len(os.listdir("/proc/self/fd")) == before


async def test_a_process_too_many_is_a_shortage(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    monkeypatch.setattr(subprocess, "Popen", refuse)
    with pytest.raises(ShortageError, match="out of processes: cannot try") as raised:
        await run("")
    assert raised.value.resource is Resource.PROCESSES


async def test_what_is_not_there_is_no_shortage() -> None:
    with pytest.raises(FileNotFoundError):
        await run_program(
            ["/nowhere/at/all"], "try", deliver_cancel=kill, task_status=trio.TASK_STATUS_IGNORED
        )
