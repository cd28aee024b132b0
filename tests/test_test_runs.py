"""The suite's own runs: what is left out is said, what is left running is found."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from .left_out import lines, long_ones, names_in, read_tox_ini

pytestmark = pytest.mark.real

ROOT = Path(__file__).parent.parent


def environments() -> set[str]:
    return {s.removeprefix("testenv:") for s in read_tox_ini() if s.startswith("testenv:")}


def run_tests(directory: Path, text: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The session of a project that has one file of tests, and the check of ours."""
    (directory / "conftest.py").write_text(
        "from tests.alone import StoppedRuns, signals_as_they_were\n"
        "from tests.left_running import LeftRunning\n"
        "def pytest_configure(config):\n"
        "    config.pluginmanager.register(StoppedRuns())\n"
        "    if not hasattr(config, 'workerinput'):\n"
        "        config.pluginmanager.register(LeftRunning(grace_seconds=0.5))\n"
    )
    (directory / "test_it.py").write_text(text)
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-c", "/dev/null", *arguments],
        cwd=directory,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )


def is_running(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


LEAVES_ONE = """
import subprocess, sys
def test_that_forgets():
    silent = subprocess.DEVNULL
    program = [sys.executable, "-c", "import time; time.sleep(600)", "forgotten"]
    process = subprocess.Popen(program, stdin=silent, stdout=silent, stderr=silent)
    with open("pid", "w") as file:
        file.write(str(process.pid))
    process.returncode = 0  # no warning of Python's, which would fail the test before
"""


@pytest.mark.parametrize("workers", ["0", "2"])
def test_what_is_left_running_fails_the_session_and_is_ended(tmp_path: Path, workers: str) -> None:
    done = run_tests(tmp_path, LEAVES_ONE, "-n", workers)
    assert done.returncode == pytest.ExitCode.TESTS_FAILED, done.stdout
    assert "1 passed" in done.stdout
    pid = int((tmp_path / "pid").read_text())
    assert re.search(rf"  {pid}, from test_it.py::test_that_forgets.*'forgotten'", done.stdout)
    ends = time.monotonic() + 10  # until when a process that was killed has ended
    while is_running(pid):
        assert time.monotonic() < ends
        time.sleep(0.01)


STOPPED = """
import subprocess, sys, pytest, trio, psutil
@pytest.mark.timeout(1)
def test_1_that_never_ends():
    async def wait():
        async with trio.open_nursery() as nursery:
            program = [sys.executable, "-c", "import time; time.sleep(600)"]
            await nursery.start(trio.run_process, program)
    trio.run(wait)
def test_2_after_it():
    assert trio.run(trio.lowlevel.checkpoint) is None
    assert psutil.Process().children() == []
"""


def test_a_test_that_is_stopped_fails_alone(tmp_path: Path) -> None:
    done = run_tests(tmp_path, STOPPED, "-p", "no:randomly", "-p", "no:xdist")
    assert "1 failed, 1 passed" in done.stdout, done.stdout
    assert "Timeout (>1.0s)" in done.stdout


def test_what_the_caller_has_set_reaches_no_test() -> None:
    names = ("VSDK_TRIO_PORT", "VIDEOSDK_AUTH_TOKEN", "HTTPS_PROXY", "http_proxy", "COLUMNS")
    code = "import os, tests.conftest; print(sorted(os.environ))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, **dict.fromkeys(names, "7")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "PATH" in done.stdout
    assert not [name for name in names if f"'{name}'" in done.stdout]


CHANGES_SIGNALS = """
import signal
def test_1_that_ignores():
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
def test_2_that_blocks():
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
def test_3_after_them():
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_DFL
    assert signal.SIGTERM not in signal.pthread_sigmask(signal.SIG_BLOCK, ())
"""


def test_a_test_that_changes_signals_fails_alone(tmp_path: Path) -> None:
    done = run_tests(tmp_path, CHANGES_SIGNALS, "-p", "no:randomly", "-p", "no:xdist")
    assert "3 passed, 2 errors" in done.stdout, done.stdout
    assert "'SIGHUP': " in done.stdout
    assert "'SIGTERM': " in done.stdout


def test_a_session_that_leaves_nothing_is_as_it_was(tmp_path: Path) -> None:
    done = run_tests(tmp_path, "def test_it(): pass\n", "-n", "0")
    assert done.returncode == 0, done.stdout
    assert "ERROR" not in done.stdout


def test_all_that_is_left_out_is_named() -> None:
    run = set(names_in(read_tox_ini()["tox"]["env_list"]))
    named = {line.split()[0] for line in lines() if line.startswith("  ")}
    assert named == environments() - run


def test_every_environment_of_a_label_is_defined() -> None:
    assert set(long_ones(read_tox_ini())) <= environments()


def test_ci_runs_the_command_of_the_readme_and_then_what_is_long() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    command = re.search(r"Run the tests:\n\n```sh\n(.+)\n```", readme)
    assert command is not None
    lines = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if "tox &&" in line or "tox -" in line] == [
        f"{command[1]} || failed=1",
        "tox -m long || failed=1",
    ]


TESTS_README = (ROOT / "tests" / "README.md").read_text(encoding="utf-8")


def test_the_readme_of_the_tests_names_each_directory() -> None:
    kinds = TESTS_README.split("## Which kind is where")[1].split("\n## ")[0]
    first_cells = " ".join(re.findall(r"^\| (.+?) \|", kinds, re.MULTILINE))
    named = set(re.findall(r"\w+", first_cells))
    directories = {path.parent.name for path in (ROOT / "tests").glob("*/*.py")}
    assert directories - {"tests"} <= named


def test_the_readme_of_the_tests_names_each_environment() -> None:
    table = TESTS_README.split("## Environments of tox")[1].split("\n## ")[0]
    named = {
        name
        for cell in re.findall(r"^\| (`.+?) \|", table, re.MULTILINE)
        for name in names_in(cell)
    }
    assert named == environments() - {"left-out"}
