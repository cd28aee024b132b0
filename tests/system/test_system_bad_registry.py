"""Registries that are away, refuse, answer junk or nothing, and ports that are taken."""

from __future__ import annotations

import re
import signal
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path

import httpcore
import pytest
import trio

from vsdk_trio.registry.server import open_registry
from vsdk_trio.testing.fake_registry import FakeRegistry, open_fake_registry

from .conftest import RecordingRegistry, eventually, open_system

pytestmark = [pytest.mark.real, pytest.mark.slow]

Serve = Callable[[trio.SocketStream], Awaitable[None]]


@contextmanager
def deaf_port(*, listening: bool) -> Iterator[int]:
    """A port on which nobody answers; connections are refused unless it is `listening`."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        if listening:
            listener.listen()
        yield listener.getsockname()[1]


@asynccontextmanager
async def served(serve: Serve) -> AsyncGenerator[int]:
    """A TCP server for the length of the block; yields its port."""
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, serve, 0, host="127.0.0.1"))
        yield listeners[0].socket.getsockname()[1]
        nursery.cancel_scope.cancel()


def answers(data: bytes) -> Serve:
    """Answers every request with these bytes, and closes."""

    async def serve(stream: trio.SocketStream) -> None:
        try:
            await stream.receive_some()
            await stream.send_all(data)
        except trio.BrokenResourceError:
            pass

    return serve


def http(status: str, body: str) -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()


REST_ANSWERS = {
    "closes at once": b"",
    "speaks no HTTP": b"\x00\xffSSH-2.0-OpenSSH_9.2\r\n" * 20,
    "is broken": http("500 Internal Server Error", "<html>oops</html>"),
    "answers HTML": http("200 OK", "<html>sign in to this network</html>"),
    "answers another JSON": http("200 OK", "[1, 2, 3]"),
    "names no URL": http("200 OK", '{"data": {"registryUrl": 7}}'),
    "answers half": b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{",
}


@pytest.mark.parametrize("how", REST_ANSWERS)
async def test_a_rest_api_that_is_none(tmp_path: Path, how: str) -> None:
    async with open_system(tmp_path) as system, served(answers(REST_ANSWERS[how])) as port:
        url = f"http://127.0.0.1:{port}"
        worker = await system.start_agent(signaling_base_url=url, auth_token="s3cret-token")
        assert await worker.exit_code() == 4, worker.output
        assert worker.verdict.startswith("the registry could not be reached in 2 attempts: ")
        assert "s3cret" not in worker.output
        assert system.processes() == []


async def test_nobody_is_there(tmp_path: Path) -> None:
    async with open_system(tmp_path) as system:
        with deaf_port(listening=False) as port:
            worker = await system.start_agent(signaling_base_url=f"http://127.0.0.1:{port}")
            assert await worker.exit_code() == 4, worker.output
        assert "the registry could not be reached in 2 attempts: " in worker.verdict
        assert f"127.0.0.1:{port}" in worker.verdict
        assert system.processes() == []


async def test_a_name_that_does_not_exist(tmp_path: Path) -> None:
    async with open_system(tmp_path) as system:
        worker = await system.start_agent(backend_url="ws://registry.invalid")
        assert await worker.exit_code() == 4, worker.output
        assert "registry.invalid" in worker.verdict


async def silent(registry: FakeRegistry) -> None:
    registry.auto_register = False


async def closing(registry: FakeRegistry) -> None:
    registry.auto_register = False
    while True:
        await (await registry.next_session()).close(1011)


async def cutting(registry: FakeRegistry) -> None:
    registry.auto_register = False
    while True:
        await (await registry.next_session()).drop()


async def babbling(registry: FakeRegistry) -> None:
    registry.auto_register = False
    while True:
        session = await registry.next_session()
        for junk in ("", "hello", "[]", b"\xff\xfe", '{"type": 7}', '{"type": "job_assignment"}'):
            await session.send(junk)


async def deaf(registry: FakeRegistry) -> None:
    registry.is_deaf = True


@pytest.mark.parametrize("behave", [silent, closing, cutting, babbling, deaf])
async def test_a_registry_that_does_not_register(
    tmp_path: Path, behave: Callable[[FakeRegistry], Awaitable[None]]
) -> None:
    async with (
        open_system(tmp_path) as system,
        open_fake_registry() as registry,
        served(registry.serve_stream) as port,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(behave, registry)
        url = f"ws://127.0.0.1:{port}"
        worker = await system.start_agent(backend_url=url, registration_timeout=0.5, max_retry=0)
        # The time to connect is not an option of the worker's: the deaf one takes ten seconds.
        assert await worker.exit_code() == 4, worker.output
        assert worker.verdict.startswith("the registry could not be reached in 1 attempt: ")
        assert "worker-token" not in worker.output
        assert system.processes() == []
        nursery.cancel_scope.cancel()


async def test_junk_between_the_frames_changes_nothing(tmp_path: Path) -> None:
    """And the order of the end, close code included, as it is on the wire."""
    async with (
        open_system(tmp_path) as system,
        open_fake_registry() as registry,
        served(registry.serve_stream) as port,
    ):
        worker = await system.start_agent(backend_url=f"ws://127.0.0.1:{port}")
        with trio.fail_after(20):
            session = await registry.next_session()
            await session.expect("status_update")  # so it is registered
            for junk in ("", "}", "[]", b"\x00", '{"type": "job_assignment"}', '{"type": "new"}'):
                await session.send(junk)
            offer = {"type": "availability_request", "job_id": "j", "room_id": "r"}
            await session.send(offer)
            assert (await session.expect("availability_response"))["available"]
            assignment = {"job_id": "j", "room_id": "r", "metadata": {"kind": "waits"}}
            await session.send({"type": "job_assignment", **assignment})
            await session.expect("job_update", status="running")
            await eventually(lambda: system.notes("j"), "not begun")
            worker.signal(signal.SIGINT)
            end = await session.expect("job_update")
            assert (end["status"], end["error"]) == ("completed", "worker is shutting down")
            assert await session.wait_closed() == 1000
        last = session.received[-1][1]
        assert (last["type"], last["status"]) == ("status_update", "offline")
        assert await worker.exit_code() == 0, worker.output
        assert system.processes() == []


async def test_a_bad_token_is_refused(tmp_path: Path) -> None:
    async with open_system(tmp_path, auth_token="right") as system:
        worker = await system.start_agent(auth_token="wr0ng-token", max_retry=16)
        assert await worker.exit_code() == 4, worker.output
        assert "invalid token" in worker.verdict
        assert "wr0ng" not in worker.output
        assert system.processes() == []


@pytest.mark.parametrize("option", [{"auth_token": None}, {"auth_token": "two\nlines"}])
async def test_no_usable_token(tmp_path: Path, option: dict[str, str | None]) -> None:
    async with open_system(tmp_path) as system:
        worker = await system.start_agent(**option)
        assert await worker.exit_code() == 2, worker.output
        assert "token" in worker.verdict
        assert "lines" not in worker.output
        assert system.registry.frames == []


async def test_the_port_of_health_is_taken(tmp_path: Path) -> None:
    """Found before registering, so that no job can be lost by it."""
    async with open_system(tmp_path) as system:
        with deaf_port(listening=True) as port:
            worker = await system.start_agent(port=port)
            assert await worker.exit_code() == 1, worker.output
        assert str(port) in worker.verdict
        assert system.registry.frames == []
        assert system.processes() == []


async def status_of(url: str) -> int:
    async with httpcore.AsyncConnectionPool() as pool:
        return (await pool.request("GET", url)).status


async def test_health_is_honest(tmp_path: Path) -> None:
    """200 while registered; 503 before, and after the registry has gone; 200 when it is back."""
    registries = [RecordingRegistry(), RecordingRegistry()]
    async with open_system(tmp_path) as system:
        async with open_registry(registries[0]) as running:
            port = int(running.url.rpartition(":")[2])
            worker = await system.start_agent(signaling_base_url=running.url, max_retry=1000)
            await eventually(registries[0].workers, "no worker")
            (health,) = re.findall(r"http://\S+/health", worker.output)
            assert await status_of(health) == 200
        await eventually(lambda: "no session" in worker.output, "not noticed")
        assert await status_of(health) == 503
        async with open_registry(registries[1], port=port):
            await eventually(registries[1].workers, "not registered again")
            assert await status_of(health) == 200
            worker.signal(signal.SIGTERM)
            assert await worker.exit_code() == 0, worker.output


async def test_the_registry_is_killed_and_comes_back(tmp_path: Path) -> None:
    """The job goes on meanwhile, and its outcome is delivered to the new one."""
    async with open_system(tmp_path) as system:
        command = ["-m", "vsdk_trio", "registry", "--port"]
        first = await system.start(*command, "0")
        await eventually(lambda: "registry ready at" in first.output, "no registry")
        (url,) = re.findall(r"registry ready at (\S+)", first.output)
        worker = await system.start_agent(signaling_base_url=url, max_retry=1000)
        await eventually(lambda: "registered with" in worker.output, "not registered")
        body = (
            b'{"agentId": "agent", "meetingId": "r", "metadata": {"kind": "returns", "seconds": 2}}'
        )
        async with httpcore.AsyncConnectionPool() as pool:
            answer = await pool.request("POST", f"{url}/v2/agent/dispatch", content=body)
            assert answer.status == 200, answer.content
        await eventually(system.notes, "no job")
        first.signal(signal.SIGKILL)
        await first.exit_code()
        await eventually(lambda: "no session" in worker.output, "not noticed")
        again = RecordingRegistry()
        async with open_registry(again, port=int(url.rpartition(":")[2])):
            await eventually(again.jobs, "the job is not known to the new registry")
            with trio.fail_after(20):
                job = await again.wait_ended(again.jobs()[0].job_id)
            assert (job.state.value, job.adopted, job.presumed) == ("completed", True, False)
            worker.signal(signal.SIGTERM)
            assert await worker.exit_code() == 0, worker.output
        assert system.processes() == []
