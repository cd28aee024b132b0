"""`vsdk-trio registry --rooms`: the whole system without a network, by the unmodified SDK."""

from __future__ import annotations

import json
import shlex
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import trio

from .conftest import TOKEN
from .test_videosdk_jobs import AGENTS, PATIENCE, eventually

pytest.importorskip("vsaiortc", reason="needs the extra `videosdk`: tox -e videosdk")

pytestmark = [pytest.mark.real, pytest.mark.slow]

PROGRAM = [sys.executable, "-m", "vsdk_trio"]
SCRIPT = """
from videosdk_caller import entrypoint
from vsdk_trio import JobContext, Options, RoomOptions, WorkerJob

WorkerJob(
    entrypoint=entrypoint,
    jobctx=lambda: JobContext(room_options=RoomOptions(name="Caller")),
    options=Options.from_env(
        agent_id="caller", register=True, max_processes=2, host="127.0.0.1", port=0
    ),
).start()
"""


class Output:
    """What a program writes to stdout."""

    def __init__(self) -> None:
        self.text = ""

    async def read(self, stream: trio.abc.ReceiveStream) -> None:
        async for data in stream:
            self.text += data.decode()

    async def after(self, start: str) -> str:
        """The rest of the line that starts so, once it is there."""

        def line() -> str:
            lines = self.text.splitlines(keepends=True)
            return next((one for one in lines if one.startswith(start) and one[-1] == "\n"), "")

        await eventually(lambda: bool(line()), f"a line that starts with {start!r}")
        return line().removeprefix(start).strip()


async def test_agents_in_the_rooms_of_the_registry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VSDK_TRIO_REGISTRY_TOKEN", TOKEN)
    command = [*PROGRAM, "registry", "--rooms", "--quiet", "--port", "0", "--rooms-port", "0"]
    script = tmp_path / "agent.py"
    script.write_text(SCRIPT)
    start = partial(trio.run_process, stdout=subprocess.PIPE)
    output = Output()
    async with trio.open_nursery() as nursery:
        registry = await nursery.start(start, [*command, "--rooms-ca", str(tmp_path / "ca.pem")])
        nursery.start_soon(output.read, registry.stdout)
        url = await output.after("registry ready at ")
        assert (await output.after("rooms ready at ")).startswith("https://127.0.0.1:")
        trust = await output.after("start workers with REQUESTS_CA_BUNDLE=")
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", *shlex.split(trust))
        monkeypatch.setenv("PYTHONPATH", str(AGENTS))
        monkeypatch.setenv("VSDK_TRIO_SIGNALING_BASE_URL", url)
        monkeypatch.setenv("VIDEOSDK_AUTH_TOKEN", TOKEN)
        worker = await nursery.start(start, [sys.executable, str(script)])
        nursery.start_soon(Output().read, worker.stdout)
        for name, tone in (("first", 440), ("second", 660)):
            metadata = {"tone": tone, "seconds": 20, "notes": str(tmp_path / name)}
            job = [*PROGRAM, "dispatch", "caller", "--registry", url, "--room", "meeting"]
            await eventually_dispatched([*job, "--metadata", json.dumps(metadata)])
        for name, heard in (("first", 660), ("second", 440)):
            notes = tmp_path / name
            await eventually(partial(has_heard, notes), f"{name} heard")
            lines = map(json.loads, notes.read_text().splitlines())
            pitch = next(line["pitch"] for line in lines if "pitch" in line)
            assert pitch == pytest.approx(heard, rel=0.02)
        for process in (worker, registry):
            process.send_signal(signal.SIGINT)
            with trio.fail_after(PATIENCE):
                assert await process.wait() == 0


async def eventually_dispatched(command: list[str]) -> None:
    with trio.fail_after(PATIENCE):
        while True:  # until the worker is there
            done = await trio.run_process(command, check=False, capture_stdout=True)
            if done.returncode == 0:
                return
            await trio.sleep(0.2)


def has_heard(notes: Path) -> bool:
    return notes.exists() and "pitch" in notes.read_text()
