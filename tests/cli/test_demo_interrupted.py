"""The demo that is interrupted, or has nobody left to read it, ends in order and says so."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import attrs
import psutil
import pytest
import trio

pytestmark = [pytest.mark.real, pytest.mark.usefixtures("unmeasured")]

DEMO = [sys.executable, "-m", "vsdk_trio", "demo"]


@attrs.define
class Demo:
    """A demo as a process; `text` is what it has printed so far."""

    process: trio.Process
    text: str = ""

    async def read_until(self, part: str) -> None:
        while part not in self.text:
            await self.read_some()

    async def read_some(self) -> bool:
        assert self.process.stdout is not None
        chunk = await self.process.stdout.receive_some()
        self.text += chunk.decode()
        return bool(chunk)

    async def read_to_end(self) -> int:
        while await self.read_some():
            pass
        return await self.process.wait()


@asynccontextmanager
async def open_demo() -> AsyncIterator[Demo]:
    start = partial(
        trio.run_process,
        DEMO,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
        start_new_session=True,
    )
    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            process: trio.Process = await nursery.start(start)
            assert process.stdout is not None
            async with process.stdout:
                yield Demo(process)


@pytest.mark.parametrize(
    ("moment", "times"),
    [
        ("registry ", 1),
        ("worker ", 1),
        ("worker ", 3),
        ("(returns) running", 1),
        ("(crashes) running", 2),
        ("(waits) cancelled", 1),
        ("outcomes ", 1),
    ],
)
async def test_interrupted_it_ends_in_order(moment: str, times: int) -> None:
    async with open_demo() as demo:
        await demo.read_until(moment)
        for _ in range(times):
            demo.process.send_signal(signal.SIGINT)
        code = await demo.read_to_end()
    assert "Traceback" not in demo.text
    assert "UNEXPECTED" not in demo.text
    if moment != "outcomes ":  # there, it may be over before the signal comes
        assert code == 1
        assert demo.text.splitlines()[-1].startswith("interrupted")
        if moment != "registry ":  # there may be no worker yet
            assert "processes nothing left running" in demo.text


async def test_interrupted_before_any_job_it_counts_none() -> None:
    async with open_demo() as demo:
        await demo.read_until("registry ")
        demo.process.send_signal(signal.SIGINT)
        await demo.read_to_end()
    assert "unregistered" not in demo.text
    assert "latency" not in demo.text


async def test_it_listens_on_this_machine_only() -> None:
    async with open_demo() as demo:
        await demo.read_until("worker ")
        us = psutil.Process(demo.process.pid)
        listening = {
            connection.laddr.ip
            for process in [us, *us.children(recursive=True)]
            for connection in process.net_connections("inet")
            if connection.status == psutil.CONN_LISTEN
        }
        demo.process.send_signal(signal.SIGINT)
        await demo.read_to_end()
    assert listening == {"127.0.0.1"}


async def test_nobody_reads_it_any_more() -> None:
    with trio.fail_after(30):
        command = " ".join(DEMO) + " | head -1"
        done = await trio.run_process(
            ["sh", "-c", command], capture_stdout=True, capture_stderr=True
        )
    assert done.stdout.startswith(b"registry ")
    assert done.stderr == b""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
@pytest.mark.parametrize("command", ["demo", "version"])
@pytest.mark.parametrize("flags", [[], ["-u"]])
async def test_there_is_no_room_for_what_it_prints(command: str, flags: list[str]) -> None:
    with trio.fail_after(30):
        full = os.open("/dev/full", os.O_WRONLY)
        done = await trio.run_process(
            [sys.executable, *flags, "-m", "vsdk_trio", command],
            stdout=full,
            capture_stderr=True,
            check=False,
        )
        os.close(full)
    assert (done.returncode, done.stderr) == (1, b"vsdk-trio: [Errno 28] No space left on device\n")
