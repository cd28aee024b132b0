"""Agents in job processes under one worker, in rooms of the stand-in, by the unmodified SDK."""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import psutil
import pytest
import trio

from vsdk_trio import Options, RoomOptions
from vsdk_trio.registry.core import Registry
from vsdk_trio.registry.ledger import DispatchRequest, Job
from vsdk_trio.registry.server import open_registry
from vsdk_trio.worker.worker import Worker

from .conftest import TOKEN

pytest.importorskip("vsaiortc", reason="needs the extra `videosdk`: tox -e videosdk")

from vsdk_trio.testing.videosdk import FakeVideoSDK, RefusedError

pytestmark = [pytest.mark.real, pytest.mark.slow]

PATIENCE = 30.0
SCRIPT = """
import os
from vsdk_trio import JobContext, Options, RoomOptions, WorkerJob

async def entrypoint(ctx):
    ctx.add_shutdown_callback(lambda reason: print("goodbye", flush=True))
    await ctx.connect()
    print(await ctx.wait_for_participant(), "is here", flush=True)
    await ctx.run_until_shutdown()

room_options = RoomOptions(signaling_base_url=os.environ["ROOMS"], agent_participant_id="agent")
WorkerJob(
    entrypoint=entrypoint,
    jobctx=lambda: JobContext(room_options=room_options),
    options=Options(register=False),
).start()
"""
AGENTS = Path(__file__).with_name("agents")


@attrs.define
class Calls:
    """A registry, a worker, and what their jobs have noted."""

    registry: Registry
    directory: Path

    async def dispatch(
        self, name: str, *, options: dict[str, Any] | None = None, **metadata: Any
    ) -> str:
        """Have an agent called `name` join; returns the job's id."""
        notes = str(self.directory / name)
        request = DispatchRequest(
            agent_id="caller",
            room_id="room",
            room_options={"agent_participant_id": name, "name": name, **(options or {})},
            metadata={"notes": notes, "tone": 440, "seconds": 20, **metadata},
        )
        with trio.fail_after(PATIENCE):
            return (await self.registry.dispatch(request)).job_id

    async def noted(self, name: str, key: str) -> dict[str, Any]:
        """Wait for a note with this key."""
        notes = self.directory / name
        found: dict[str, Any] = {}

        def look() -> bool:
            lines = notes.read_text().splitlines() if notes.exists() else []
            found.update(next((n for n in map(json.loads, lines) if key in n), {}))
            return bool(found)

        await eventually(look, f"{name} notes {key}")
        return found

    async def end_of(self, job_id: str, seconds: float = PATIENCE) -> Job:
        """Wait for the end of a job."""
        await eventually(lambda: self.registry.job(job_id).state.ended, "it ended", seconds)
        return self.registry.job(job_id)


async def eventually(look: Callable[[], bool], what: str, seconds: float = PATIENCE) -> None:
    with trio.move_on_after(seconds):
        while not look():  # noqa: ASYNC110  # another process sets no events here
            await trio.sleep(0.05)
        return
    raise AssertionError(f"not within {seconds:g} s: {what}")


@pytest.fixture
async def calls(
    fake: FakeVideoSDK, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Calls]:
    monkeypatch.syspath_prepend(AGENTS)  # the job processes will look there, too
    async with open_calls(fake, tmp_path) as running:
        yield running


@asynccontextmanager
async def open_calls(fake: FakeVideoSDK, directory: Path) -> AsyncIterator[Calls]:
    entrypoint = importlib.import_module("videosdk_caller").entrypoint
    async with open_registry() as running, trio.open_nursery() as nursery:
        options = Options(
            agent_id="caller",
            auth_token=TOKEN,
            signaling_base_url=running.url,
            max_processes=4,
            host="127.0.0.1",
            port=0,
        )
        room_options = RoomOptions(signaling_base_url=fake.signaling_base_url)
        worker = Worker(options, entrypoint=entrypoint, room_options=room_options)
        handle = await nursery.start(worker.run)
        try:
            yield Calls(running.registry, directory)
        finally:
            handle.stop()


async def test_two_agents_hear_each_other_and_one_leaves(calls: Calls) -> None:
    first = await calls.dispatch("first", tone=440)
    second = await calls.dispatch("second", tone=660, leaves=True)
    assert (await calls.noted("first", "pitch"))["pitch"] == pytest.approx(660, rel=0.02)
    assert (await calls.noted("second", "pitch"))["pitch"] == pytest.approx(440, rel=0.02)
    assert (await calls.end_of(second)).state.value == "completed"
    assert (await calls.noted("first", "left"))["left"] == "second"
    # Nobody is left, so the session ends after its timeout, and with it the job.
    assert (await calls.end_of(first)).state.value == "completed"
    assert (await calls.noted("first", "callback"))["callback"] == "all_participants_left"
    for name in ("first", "second"):
        late = await calls.noted(name, "p99")
        assert late["p99"] < 0.05, late


async def test_termination_in_the_middle_of_a_call(calls: Calls, fake: FakeVideoSDK) -> None:
    job = await calls.dispatch("first")
    await calls.noted("first", "joined")
    began = trio.current_time()
    calls.registry.terminate(job, "enough")
    assert (await calls.end_of(job)).state.value == "cancelled"
    assert trio.current_time() - began < 5
    assert "enough" in (await calls.noted("first", "callback"))["callback"]
    assert fake.room("room").peer_ids == ()


@pytest.mark.parametrize(("cut", "seconds"), [("drop", 10), ("silence", 20)])
async def test_a_network_that_is_cut(
    calls: Calls, fake: FakeVideoSDK, cut: str, seconds: float
) -> None:
    job = await calls.dispatch("first")
    await calls.noted("first", "joined")
    getattr(fake, cut)()
    ended = await calls.end_of(job, seconds)
    assert ended.state.value == "failed"
    assert "the connection to the room was lost" in str(ended.error)


async def test_a_join_that_fails(calls: Calls, fake: FakeVideoSDK) -> None:
    fake.faults.refuse["server-init-config"] = RefusedError(402, "the account has no credit")
    ended = await calls.end_of(await calls.dispatch("first"))
    assert ended.state.value == "failed"
    assert "could not be joined" in str(ended.error)
    assert "the account has no credit" in str(ended.error)


async def test_a_service_that_never_answers(calls: Calls, fake: FakeVideoSDK) -> None:
    """The SDK blocks its thread for good; neither the job nor its process waits for that."""
    fake.faults.ignore.add("server-init-config")
    job = await calls.dispatch("first", options={"join_timeout_seconds": 10})
    await eventually(lambda: bool(jobs_with_the_sdk()), "the SDK was loaded")
    ended = await calls.end_of(job, 20)
    assert ended.state.value == "failed"
    assert "did not answer (while asking for the configuration" in str(ended.error)
    await eventually(lambda: not jobs_with_the_sdk(), "its process is gone")


def jobs_with_the_sdk() -> list[int]:
    """The processes below this one that have loaded the SDK."""
    found = []
    for child in psutil.Process(os.getpid()).children(recursive=True):
        with suppress(psutil.Error):  # it may be gone by now
            if any("pylibsrtp" in part.path for part in child.memory_maps()):
                found.append(child.pid)
    return found


async def test_a_program_of_its_own_creates_a_room_and_leaves_it_on_ctrl_c(
    fake: FakeVideoSDK, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "agent.py"
    script.write_text(SCRIPT)
    monkeypatch.setenv("VIDEOSDK_AUTH_TOKEN", TOKEN)
    monkeypatch.setenv("ROOMS", fake.signaling_base_url)
    async with trio.open_nursery() as nursery:
        run = partial(trio.run_process, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        program = await nursery.start(partial(run, check=False), [sys.executable, str(script)])
        async with program.stdout, program.stderr:
            with trio.fail_after(PATIENCE):
                room = await fake.wait_for_room()
                await room.wait_for("agent")
                room.add_person("bob")
                said = b""
                while b"bob is here" not in said:
                    said += await program.stdout.receive_some()
                program.send_signal(signal.SIGINT)
                await room.wait_gone("agent")
                said = b"".join([data async for data in program.stdout])
                assert b"goodbye" in said
                assert await program.wait() in (0, 130)
                errors = b"".join([data async for data in program.stderr])
                assert b"Traceback" not in errors, errors.decode()
                assert TOKEN.encode() not in errors
    assert len(fake.rooms) == 1  # the one that it created


async def test_the_token_is_in_no_environment(calls: Calls, fake: FakeVideoSDK) -> None:
    await calls.dispatch("first")
    await calls.noted("first", "joined")
    assert fake.tokens_seen == {TOKEN}
    seen = 0
    for child in psutil.Process(os.getpid()).children(recursive=True):
        with suppress(psutil.Error):  # it may be gone by now
            assert TOKEN not in repr(child.environ())
            assert TOKEN not in repr(child.cmdline())
            seen += 1
    assert seen
