"""Jobs of one worker that serve rooms: callers are heard and told of the end, whatever ends it."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
import trio

from vsdk_trio.testing.sounds import pitch

from ..rooms.websocket_client import Client, connect
from .conftest import System, eventually, open_system

pytestmark = pytest.mark.real


async def call(nursery: trio.Nursery, system: System, job_id: str) -> Client:
    address = system.notes(job_id)[0]
    assert address.startswith("ws://127.0.0.1:")
    port = int(address.rpartition(":")[2].partition("/")[0])
    return await connect(nursery, await trio.open_tcp_stream("127.0.0.1", port))


async def test_two_callers_and_two_ends(tmp_path: Path) -> None:
    async with trio.open_nursery() as nursery, open_system(tmp_path) as system:
        worker = await system.open_agent(script="room_agent.py", max_processes=2)
        first, second = [await system.dispatch("echo") for _ in range(2)]
        ann, ben = [await call(nursery, system, job_id) for job_id in (first, second)]
        nursery.start_soon(ann.speak, 440.0, 1.0)
        await ben.speak(800.0, 1.0)
        await eventually(lambda: min(len(ann.frames), len(ben.frames)) > 30, "both were heard")
        assert pitch(ann.frames) == pytest.approx(440, rel=0.05)
        assert pitch(ben.frames) == pytest.approx(800, rel=0.05)

        system.registry.terminate(first, "enough")  # one is ended from outside, in mid-call
        job = await system.end_of(first)
        assert (job.state.value, job.error) == ("cancelled", "terminated: enough")
        await eventually(lambda: ann.close_code, "the caller was told")
        assert (ann.close_code, ann.close_reason) == (1000, "the agent has left")
        assert system.notes(first)[1:] == ["closed", "callback: terminated: enough"]

        worker.signal(signal.SIGTERM)  # a drain waits for the other, which its caller ends
        await eventually(lambda: "draining" in system.registry.story(), "not draining")
        await trio.sleep(0.5)
        assert ben.close_code == 0
        await ben.leave()
        job = await system.end_of(second)
        assert (job.state.value, job.error) == ("completed", None)
        assert system.notes(second)[1:] == [
            "closed",
            "callback: all_participants_left",
            "left",
        ]
        assert await worker.exit_code() == 0, worker.output
        assert "the room" in worker.output
        nursery.cancel_scope.cancel()
