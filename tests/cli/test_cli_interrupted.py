"""Ctrl-C while a program is loaded; signals that come twice to `dev` and to `connect`."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from .conftest import RunningCli, clean_environment, open_cli, run_cli

pytestmark = [pytest.mark.real, pytest.mark.usefixtures("unmeasured")]

# The program, with a Ctrl-C at the moment in which a module is looked for; in a callback, Python
# drops what is raised.
INTERRUPTED = """
import runpy, signal, sys, weakref

class Interrupt:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            sys.meta_path.remove(self)
            if {in_a_callback}:
                held = set()
                reference = weakref.ref(held, lambda _: signal.raise_signal(signal.SIGINT))
                del held
            else:
                signal.raise_signal(signal.SIGINT)

sys.meta_path.insert(0, Interrupt())
sys.argv = {argv!r}
{program}
"""
MODULE = 'runpy.run_module("vsdk_trio", run_name="__main__", alter_sys=True)'
SCRIPT = "runpy.run_path(sys.argv[0], run_name='__main__')"
SERVES = """
from vsdk_trio import Options, WorkerJob

async def entrypoint(ctx): ...

options = Options(agent_id="a", auth_token="t", register=REGISTER, port=0, host="127.0.0.1")
WorkerJob(entrypoint, options=options).start()
"""


def interrupted(
    directory: Path, program: str, argv: list[str], module: str, in_a_callback: bool
) -> subprocess.CompletedProcess[str]:
    code = INTERRUPTED.format(
        module=module, program=program, argv=argv, in_a_callback=in_a_callback
    )
    return subprocess.run(
        [sys.executable, "-c", code],
        check=False,
        capture_output=True,
        text=True,
        timeout=30,
        env=clean_environment({"VSDK_TRIO_SIGNALING_BASE_URL": "http://127.0.0.1:9"}),
        cwd=directory,
    )


def check(done: subprocess.CompletedProcess[str]) -> None:
    assert done.returncode in {-signal.SIGINT, 130}, done  # to a shell the same
    assert "Traceback" not in done.stderr
    assert "ready" not in done.stdout + done.stderr
    assert "health at" not in done.stdout + done.stderr


@pytest.mark.parametrize("in_a_callback", [False, True], ids=["", "dropped"])
@pytest.mark.parametrize(
    "module", ["vsdk_trio.cli.app", "typer", "trio", "vsdk_trio.registry.core"]
)
def test_ctrl_c_while_a_command_is_loaded_shows_no_traceback(
    tmp_path: Path, module: str, in_a_callback: bool
) -> None:
    argv = ["vsdk-trio", "registry", "--port", "0"]
    check(interrupted(tmp_path, MODULE, argv, module, in_a_callback))


@pytest.mark.parametrize("in_a_callback", [False, True], ids=["", "dropped"])
@pytest.mark.parametrize(
    ("register", "module"),
    [
        ("True", "trio"),
        ("True", "vsdk_trio.telemetry.logs.setup"),
        ("True", "vsdk_trio.worker.worker"),
        ("False", "vsdk_trio.worker_job"),
        ("False", "vsdk_trio.runner.direct"),
    ],
)
def test_ctrl_c_while_an_agent_loads_the_package_shows_no_traceback(
    tmp_path: Path, register: str, module: str, in_a_callback: bool
) -> None:
    """As `python agent.py`."""
    (tmp_path / "agent.py").write_text(SERVES.replace("REGISTER", register))
    check(interrupted(tmp_path, SCRIPT, ["agent.py"], module, in_a_callback))


def test_ctrl_c_while_the_package_is_loaded_can_be_caught(tmp_path: Path) -> None:
    """By whoever embeds it: it is a KeyboardInterrupt, and others have their tracebacks."""
    (tmp_path / "agent.py").write_text(
        "try:\n    from vsdk_trio import WorkerJob\nexcept KeyboardInterrupt:\n    1 / 0"
    )
    done = interrupted(tmp_path, SCRIPT, ["agent.py"], "trio", False)
    assert done.returncode == 1
    assert "ZeroDivisionError" in done.stderr


AGENT = """
import trio
from vsdk_trio import Options, WorkerJob

async def entrypoint(ctx):
    async def clean_up():
        await trio.sleep(GOODBYE)
        print("cleaned", flush=True)

    ctx.add_shutdown_callback(clean_up)
    await ctx.connect()
    print("begins", flush=True)
    await trio.sleep(SECONDS)
    print("ends", flush=True)

options = Options(agent_id="d", max_processes=1, termination_timeout=0.5)
WorkerJob(entrypoint, options=options).start()
"""


def write_agent(directory: Path, *, seconds: float = 600, goodbye: float = 1) -> None:
    text = AGENT.replace("SECONDS", str(seconds)).replace("GOODBYE", str(goodbye))
    (directory / "agent.py").write_text(text)


@asynccontextmanager
async def dev_with_a_job(directory: Path) -> AsyncGenerator[RunningCli]:
    ports = ("--port", "0", "--registry-port", "0")
    async with open_cli("dev", "agent.py", *ports, cwd=directory) as dev:
        await dev.read_until("serving 'd'")
        found = re.search(r"registry at (http://127\.0\.0\.1:\d+)", dev.text)
        assert found is not None, dev.text
        done = await run_cli("dispatch", "d", "--registry", found[1])
        assert done.code == 0, done
        await dev.read_until("begins")
        yield dev


async def test_dev_drains_once_however_often_it_is_asked(tmp_path: Path) -> None:
    write_agent(tmp_path, seconds=3)
    async with dev_with_a_job(tmp_path) as dev:
        for signum in (signal.SIGTERM, signal.SIGHUP, signal.SIGTERM):
            dev.process.send_signal(signum)
            await dev.read_until(signal.Signals(signum).name)
        assert await dev.end() == 0
        assert "job: ends" in dev.text
        assert "job: cleaned" in dev.text


async def test_dev_stops_once_at_a_ctrl_c_that_comes_twice(tmp_path: Path) -> None:
    write_agent(tmp_path)
    async with dev_with_a_job(tmp_path) as dev:
        for signum in (signal.SIGINT, signal.SIGINT, signal.SIGTERM):
            dev.process.send_signal(signum)
        assert await dev.end() == 0, dev.text
        assert "job: cleaned" in dev.text


async def test_dev_hurries_at_a_second_ctrl_c(tmp_path: Path) -> None:
    write_agent(tmp_path, goodbye=600)
    async with dev_with_a_job(tmp_path) as dev:
        dev.process.send_signal(signal.SIGINT)
        await trio.sleep(0.6)  # sooner, it is the same Ctrl-C
        dev.process.send_signal(signal.SIGINT)
        assert await dev.end() == 3, dev.text
        assert "a second SIGINT: every grace is cut short" in dev.text


async def test_connect_hurries_at_a_second_ctrl_c(tmp_path: Path) -> None:
    write_agent(tmp_path, goodbye=600)
    args = ("connect", "agent.py", "--room", "r", "--transport-mode", "loopback")
    async with open_cli(*args, cwd=tmp_path) as one:
        await one.read_until("begins")
        one.process.send_signal(signal.SIGTERM)
        await trio.sleep(0.1)
        one.process.send_signal(signal.SIGINT)
        await trio.sleep(0.6)  # sooner, it is the same Ctrl-C
        one.process.send_signal(signal.SIGINT)
        await one.end()
        assert "a second SIGINT: the clean-up is interrupted" in one.text
        assert "cleaned" not in one.text


@pytest.mark.parametrize("first", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
async def test_connect_runs_its_callbacks_however_often_it_is_signalled(
    tmp_path: Path, first: signal.Signals
) -> None:
    write_agent(tmp_path)
    args = ("connect", "agent.py", "--room", "r", "--transport-mode", "loopback")
    async with open_cli(*args, cwd=tmp_path) as one:
        await one.read_until("begins")
        one.process.send_signal(first)
        one.process.send_signal(signal.SIGTERM)
        one.process.send_signal(signal.SIGHUP)
        assert await one.end() == 0, one.text
        assert "cleaned" in one.text
