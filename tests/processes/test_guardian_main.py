"""The guardian's program, run in this process: as a program it is seen in test_guardian."""

from __future__ import annotations

import errno
import io
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import pytest

from vsdk_trio.processes import guardian_main
from vsdk_trio.processes.edge import COOKIE_VARIABLE
from vsdk_trio.processes.guardian_main import start_time
from vsdk_trio.system import proc

pytestmark = pytest.mark.real
SLEEPER = [sys.executable, "-I", "-S", "-c", "import time; time.sleep(600)"]


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(SLEEPER, start_new_session=True)
    yield process
    process.kill()
    process.wait()


@pytest.fixture(autouse=True)
def _bystander(monkeypatch: pytest.MonkeyPatch) -> None:
    """What `main` does to the whole process must not be done to the tests'."""
    monkeypatch.setattr(signal, "signal", lambda signum, handler: None)
    monkeypatch.setattr(os, "chdir", lambda path: None)


def _run(monkeypatch: pytest.MonkeyPatch, grace: float, prefix: str, news: str) -> float:
    monkeypatch.setattr(sys, "argv", ["guardian_main.py", str(grace), prefix])
    monkeypatch.setattr(sys, "stdin", io.StringIO(news))
    began = time.monotonic()
    guardian_main.main()
    return time.monotonic() - began


def test_it_kills_the_groups_it_knows_once_the_grace_is_over(
    sleeper: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    news = f"+{sleeper.pid} {start_time(sleeper.pid)}\n"
    assert _run(monkeypatch, 0.1, "nobody.", news) >= 0.1
    assert sleeper.wait(20) == -signal.SIGKILL


def test_it_ends_as_soon_as_nothing_is_left(
    sleeper: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    news = f"+{sleeper.pid} {start_time(sleeper.pid)}\n"
    sleeper.kill()
    sleeper.wait()
    assert _run(monkeypatch, 60, "nobody.", news) < 30


@pytest.mark.parametrize(
    "news",
    [
        "+{pid} {start}\n-{pid}\n",
        "+{pid} 1{start}\n",
        "+{pid} {start}",
        "\n# nonsense\n",
    ],
)
def test_it_leaves_alone_what_was_forgotten_is_a_stranger_or_was_half_said(
    sleeper: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch, news: str
) -> None:
    text = news.format(pid=sleeper.pid, start=start_time(sleeper.pid))
    assert _run(monkeypatch, 0, "nobody.", text) < 30
    assert sleeper.poll() is None


def test_it_kills_whatever_carries_a_cookie_of_the_worker(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cookie = f"mine-{os.getpid()}.7"
    carrier = subprocess.Popen(SLEEPER, env={**os.environ, COOKIE_VARIABLE: cookie})
    try:
        _run(monkeypatch, 60, f"mine-{os.getpid()}.", "")
        assert carrier.wait(20) == -signal.SIGKILL
    finally:
        carrier.kill()
        carrier.wait()


def test_one_whose_environment_cannot_be_seen_yet_is_found_all_the_same(
    sleeper: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = [b""]  # as of a process in the middle of its exec
    monkeypatch.setattr(proc, "list_pids", lambda: [sleeper.pid, os.getpid()])
    monkeypatch.setattr(
        proc,
        "read_cookie",
        lambda pid: seen.pop() if seen else b"mine" if sleeper.poll() is None else b"",
    )
    assert guardian_main.kill_marked(b"mine".__eq__) >= 1
    assert sleeper.wait(20) == -signal.SIGKILL


def test_a_system_without_a_process_table_has_nothing_to_be_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert guardian_main.kill_marked(lambda cookie: True) == 0
    assert guardian_main.count_marked(lambda cookie: True) == 0


def _names(path: str) -> list[str]:
    return ["1", "self"]  # as where other processes are hidden, this one included


def _no_such_directory(path: str) -> list[str]:
    raise FileNotFoundError(path)


@pytest.mark.parametrize("listdir", [_names, _no_such_directory])
@pytest.mark.parametrize("look", [guardian_main.kill_marked, guardian_main.count_marked])
def test_a_table_that_cannot_be_seen_is_not_an_empty_one(
    monkeypatch: pytest.MonkeyPatch, listdir: Callable[[str], list[str]], look: Callable[..., int]
) -> None:
    monkeypatch.setattr(os, "listdir", listdir)
    with pytest.raises(OSError):
        look(lambda cookie: True)


@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOSYS])
@pytest.mark.parametrize("refused", ["pidfd_open", "pidfd_send_signal"])
def test_without_pidfds_it_kills_by_number(
    sleeper: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch, number: int, refused: str
) -> None:
    def refuse(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os if refused == "pidfd_open" else signal, refused, refuse)
    monkeypatch.setattr(proc, "list_pids", lambda: [sleeper.pid, os.getpid()])
    monkeypatch.setattr(proc, "read_cookie", lambda _: b"mine" if sleeper.poll() is None else b"")
    assert guardian_main.kill_marked(b"mine".__eq__) >= 1
    assert sleeper.wait(20) == -signal.SIGKILL


def test_an_environment_that_cannot_be_read_now_is_not_an_empty_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    monkeypatch.setattr(proc, "list_pids", lambda: [os.getppid(), os.getpid()])
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        with pytest.raises(OSError):
            guardian_main.count_marked(lambda cookie: True)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_group_whose_start_the_worker_could_not_see_is_killed_all_the_same(
    sleeper: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert _run(monkeypatch, 0.1, "nobody.", f"+{sleeper.pid} \n") >= 0.1
    assert sleeper.wait(20) == -signal.SIGKILL


def test_a_process_that_is_gone_before_it_is_killed_is_not_counted(
    sleeper: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    sleeper.kill()
    sleeper.wait()
    monkeypatch.setattr(proc, "list_pids", lambda: [sleeper.pid, os.getpid()])
    monkeypatch.setattr(proc, "read_cookie", lambda pid: b"mine")
    assert guardian_main.kill_marked(b"mine".__eq__) == 0


def test_a_group_of_zombies_is_not_waited_for(
    sleeper: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    news = f"+{sleeper.pid} {start_time(sleeper.pid)}\n"
    os.kill(sleeper.pid, signal.SIGKILL)  # and not reaped
    assert _run(monkeypatch, 60, "nobody.", news) < 30


def test_a_group_whose_leader_is_gone_is_killed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    family = [*SLEEPER[:-1], "import os, time; os.fork() and os._exit(0); time.sleep(600)"]
    leader = subprocess.Popen(family, start_new_session=True, stdout=subprocess.PIPE)
    os.waitid(os.P_PID, leader.pid, os.WEXITED | os.WNOWAIT)
    news = f"+{leader.pid} {start_time(leader.pid)}\n"
    assert _run(monkeypatch, 60, "nobody.", news) < 30
    assert leader.communicate(timeout=20) == (b"", None)  # nobody holds the pipe any more


def test_a_leader_of_somebody_else_is_left_to_its_grace(
    sleeper: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job that has changed its user cannot be signalled; it may still be there."""

    def not_permitted(pid: int, signum: int) -> None:
        raise PermissionError

    with monkeypatch.context() as patch:
        patch.setattr(os, "kill", not_permitted)
        assert guardian_main._is_alive(sleeper.pid)
