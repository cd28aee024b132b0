"""Direct mode: in this process for what is raised and returned, in a real one for signals."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import trio

from vsdk_trio.options.room import RoomOptions
from vsdk_trio.options.worker import Options, WorkerPermissions
from vsdk_trio.runner.direct import run_direct
from vsdk_trio.runner.job_context import JobContext, JobProcessInfo

pytestmark = pytest.mark.real


def context(**options: Any) -> JobContext:
    return JobContext(room_options=RoomOptions(transport_mode="loopback", **options))


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VIDEOSDK_AUTH_TOKEN", raising=False)


def test_it_runs_to_the_end_with_everything_a_job_has() -> None:
    log: list[Any] = []

    def initialize(process: JobProcessInfo) -> None:
        process.userdata["model"] = 1

    async def entrypoint(ctx: JobContext) -> None:
        ctx.add_shutdown_callback(lambda reason: log.append(reason))
        await ctx.connect()
        log.append((ctx.process.userdata, ctx.permissions.hidden, ctx.job.agent_id))
        log.append(await ctx.wait_for_participant())

    options = Options(
        agent_id="me",
        permissions=WorkerPermissions(hidden=True),
        initialize_process_fnc=initialize,
    )
    run_direct(entrypoint, context(), options=options)
    assert log == [({"model": 1}, True, "me"), "guest", "the entrypoint returned"]


async def minted() -> str:
    return "minted"


@pytest.mark.parametrize(
    ("options", "keywords", "room", "token"),
    [
        ({}, {}, {}, None),
        ({"auth_token": "opt"}, {}, {}, "opt"),
        ({"auth_token": lambda: "called"}, {}, {}, "called"),
        ({"auth_token": "opt"}, {"token": minted}, {}, "minted"),
        ({"auth_token": "opt"}, {"token": minted}, {"auth_token": "room"}, "room"),
    ],
)
def test_which_token(
    options: dict[str, Any], keywords: dict[str, Any], room: dict[str, Any], token: str | None
) -> None:
    seen: list[str | None] = []

    async def entrypoint(ctx: JobContext) -> None:
        seen.append(ctx.videosdk_auth)

    run_direct(entrypoint, context(**room), options=Options(**options), **keywords)
    assert seen == [token]


def test_what_it_raises_comes_out_as_it_is() -> None:
    log: list[str] = []

    async def entrypoint(ctx: JobContext) -> None:
        ctx.add_shutdown_callback(lambda: log.append("callback"))
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        run_direct(entrypoint, context())
    assert log == ["callback"]


def test_sys_exit_ends_the_program_with_its_code() -> None:
    async def entrypoint(ctx: JobContext) -> None:
        sys.exit(3)

    with pytest.raises(SystemExit) as caught:
        run_direct(entrypoint, context())
    assert caught.value.code == 3


def test_in_another_thread_it_works_without_signals() -> None:
    log: list[str] = []

    async def entrypoint(ctx: JobContext) -> None:
        await trio.lowlevel.checkpoint()
        log.append("ran")

    thread = threading.Thread(target=run_direct, args=(entrypoint, context()))
    thread.start()
    thread.join()
    assert log == ["ran"]


def test_the_signal_handlers_are_put_back() -> None:
    async def entrypoint(ctx: JobContext) -> None: ...

    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    run_direct(entrypoint, context())
    assert before == [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]


PROGRAM = """
import trio, sys
from vsdk_trio.options.room import RoomOptions
from vsdk_trio.runner.direct import run_direct
from vsdk_trio.runner.job_context import JobContext

async def entrypoint(ctx):
    ctx.add_shutdown_callback(lambda reason: print("first", reason, flush=True))
    ctx.add_shutdown_callback(clean_up)
    try:
        print("running", flush=True)
        await trio.sleep_forever()
    finally:
        print("finally", flush=True)

async def clean_up():
    print("cleaning", flush=True)
    await trio.sleep(SECONDS)
    print("cleaned", flush=True)

run_direct(entrypoint, JobContext(room_options=RoomOptions()))
print("start returned", flush=True)
"""


def start_program(tmp_path: Path, seconds: float) -> subprocess.Popen[str]:
    script = tmp_path / "app.py"
    script.write_text(textwrap.dedent(PROGRAM).replace("SECONDS", str(seconds)))
    return subprocess.Popen(
        [sys.executable, str(script)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_in_order_with_exit_code_0(number: signal.Signals, tmp_path: Path) -> None:
    with start_program(tmp_path, 0.05) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == "running\n"
        os.kill(program.pid, number)
        output, errors = program.communicate(timeout=20)
    lines = ["finally", "cleaning", "cleaned", f"first received {number.name}", "start returned"]
    assert output.splitlines() == lines
    assert errors == ""
    assert program.returncode == 0


def test_a_second_ctrl_c_interrupts_the_cleaning_up(tmp_path: Path) -> None:
    with start_program(tmp_path, 1000) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == "running\n"
        os.kill(program.pid, signal.SIGINT)
        assert program.stdout.readline() == "finally\n"
        assert program.stdout.readline() == "cleaning\n"
        time.sleep(0.6)  # sooner, it is the same Ctrl-C
        os.kill(program.pid, signal.SIGINT)
        output, errors = program.communicate(timeout=20)
    assert output.splitlines() == ["first received SIGINT", "start returned"]
    assert "shutdown callback clean_up failed: KeyboardInterrupt" in errors
    assert program.returncode == 0


@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_again_lets_the_callbacks_run(first: signal.Signals, tmp_path: Path) -> None:
    """Process managers and closing terminals send several; a wrapper passes a Ctrl-C on."""
    with start_program(tmp_path, 1) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == "running\n"
        os.kill(program.pid, first)
        assert program.stdout.readline() == "finally\n"
        assert program.stdout.readline() == "cleaning\n"
        for number in (first, signal.SIGTERM, signal.SIGHUP):
            os.kill(program.pid, number)
        output, errors = program.communicate(timeout=20)
    assert output.splitlines() == ["cleaned", f"first received {first.name}", "start returned"]
    assert (errors, program.returncode) == ("", 0)


BLOCKED = """
import time, trio
from vsdk_trio.options.room import RoomOptions
from vsdk_trio.runner.direct import run_direct
from vsdk_trio.runner.job_context import JobContext

async def entrypoint(ctx):
    ctx.add_shutdown_callback(lambda: print("cleaned", flush=True))
    print("running", flush=True)
    time.sleep(600)

run_direct(entrypoint, JobContext(room_options=RoomOptions(transport_mode="loopback")))
"""


def test_a_second_ctrl_c_ends_what_blocks_the_event_loop(tmp_path: Path) -> None:
    script = tmp_path / "blocked.py"
    script.write_text(BLOCKED)
    with subprocess.Popen(
        [sys.executable, str(script)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == "running\n"
        program.send_signal(signal.SIGINT)
        time.sleep(0.6)  # sooner, it is the same Ctrl-C
        program.send_signal(signal.SIGINT)
        output, _ = program.communicate(timeout=20)
    assert output.splitlines() == ["cleaned"]
