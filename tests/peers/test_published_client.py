"""The published client `videosdk-agents`, unmodified, on our registry.

Its `BackendConnection` and its `Worker`, under asyncio, against the registry program. Each test
says what a client that nobody here wrote gets from us.
"""

from __future__ import annotations

import asyncio
import sys
import warnings
from collections.abc import Callable, Coroutine, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # what it imports is not ours to mend
    from registry_process import TOKEN, RegistryProcess, running_registry
    from videosdk.agents import worker as published
    from videosdk.agents.backend import (
        AvailabilityResponse,
        BackendConnection,
        JobUpdate,
        WorkerMessage,
    )
    from videosdk.agents.job import RoomOptions

pytestmark = [
    pytest.mark.real,
    pytest.mark.filterwarnings("default"),  # its warnings are not ours to forbid
]


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[RegistryProcess]:
    # It keeps its worker id in the environment; the next test must not find it there.
    monkeypatch.setenv("VIDEOSDK_WORKER_ID_PEER", "")
    with running_registry() as running:
        yield running


async def until(check: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not await asyncio.to_thread(check):  # noqa: ASYNC110 (asked over HTTP)
            await asyncio.sleep(0.05)


def run(main: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(main, 50))


def dispatch(registry: RegistryProcess, **fields: Any) -> tuple[int, dict[str, Any]]:
    body = {"agentId": "peer", "meetingId": "room-1", "metadata": {"k": "v"}} | fields
    return registry.call("POST", "/v2/agent/dispatch", body)


def workers(registry: RegistryProcess) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = registry.call("GET", "/v2/agent/workers")[1]["workers"]
    return found


def test_its_connection_takes_a_job_and_sees_it_terminated(registry: RegistryProcess) -> None:
    async def main() -> None:
        connection = BackendConnection(TOKEN, agent_id="peer", backend_url=registry.websocket_url)
        seen: asyncio.Queue[tuple[str, Any]] = asyncio.Queue()
        connection.on_register(lambda worker_id, _: seen.put_nowait(("register", worker_id)))
        connection.on_availability(lambda request: seen.put_nowait(("availability", request)))
        connection.on_assignment(lambda assignment: seen.put_nowait(("assignment", assignment)))
        connection.on_termination(lambda order: seen.put_nowait(("termination", order)))
        await connection.connect()
        assert await seen.get() == ("register", connection.worker_id)

        answer = asyncio.create_task(asyncio.to_thread(dispatch, registry))
        kind, request = await seen.get()
        assert (kind, request.room_id, request.agent_name) == ("availability", "room-1", "peer")
        await connection.send_message(
            AvailabilityResponse(job_id=request.job_id, available=True, token=TOKEN)
        )
        kind, assignment = await seen.get()
        assert (kind, assignment.room_id, assignment.metadata) == (
            "assignment",
            "room-1",
            {"k": "v"},
        )
        status, body = await answer
        assert (status, body["data"]["jobId"]) == (200, assignment.job_id)

        job_id = assignment.job_id
        await connection.send_message(JobUpdate(job_id=job_id, status="running"))
        await until(lambda: registry.job(job_id)["status"] == "running")
        registry.call("POST", f"/v2/agent/jobs/{job_id}/terminate", {"reason": "enough"})
        kind, order = await seen.get()
        assert (kind, order.job_id, order.reason) == ("termination", job_id, "enough")
        # Its word for "stopped on request": completed, with an error.
        await connection.send_message(JobUpdate(job_id=job_id, status="completed", error="enough"))
        await until(lambda: registry.job(job_id)["status"] == "cancelled")
        await connection.disconnect()
        await until(lambda: workers(registry) == [])

    run(main())


def test_its_refusal_and_its_full_worker(registry: RegistryProcess) -> None:
    async def main() -> None:
        connection = BackendConnection(TOKEN, agent_id="peer", backend_url=registry.websocket_url)

        def refuse(request: Any) -> None:
            response = AvailabilityResponse(job_id=request.job_id, available=False, error="busy")
            tasks.append(asyncio.ensure_future(connection.send_message(response)))

        tasks: list[asyncio.Future[None]] = []
        connection.on_availability(refuse)
        await connection.connect()
        await until(lambda: len(workers(registry)) == 1)
        status, body = await asyncio.to_thread(dispatch, registry)
        assert (status, body["message"]) == (503, "No workers available")
        await connection.send_message(
            WorkerMessage(type="status_update", status="draining", load=1.0, job_count=0)
        )
        await until(lambda: workers(registry)[0]["status"] == "draining")
        status, body = await asyncio.to_thread(dispatch, registry)
        assert (status, len(tasks)) == (503, 1)  # it was not even asked
        await connection.disconnect()

    run(main())


def test_its_connection_keeps_its_id_over_a_lost_link(registry: RegistryProcess) -> None:
    async def main() -> None:
        connection = BackendConnection(TOKEN, agent_id="peer", backend_url=registry.websocket_url)
        registered: asyncio.Queue[str] = asyncio.Queue()
        connection.on_register(lambda worker_id, _: registered.put_nowait(worker_id))
        await connection.connect()
        first = await registered.get()
        assert connection._ws is not None
        await connection._ws.close()
        async with asyncio.timeout(30):
            assert await registered.get() == first
        await until(lambda: [w["worker_id"] for w in workers(registry)] == [first])
        await connection.disconnect()

    run(main())


def test_its_connection_is_refused_with_a_wrong_token(registry: RegistryProcess) -> None:
    async def main() -> None:
        connection = BackendConnection("wrong", agent_id="peer", backend_url=registry.websocket_url)
        with pytest.raises(Exception, match="401"):
            await connection._establish_connection()
        assert connection._http_session is not None
        await connection._http_session.close()

    run(main())


async def entrypoint(ctx: Any) -> None:
    """The job of the published worker; runs in a process of its."""
    if (ctx.metadata or {}).get("raise"):
        raise ValueError("asked to raise")


def test_its_worker_serves_a_job_from_the_dispatch_to_the_end(
    registry: RegistryProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    # It forces `https://` on the base URL; the real function, told the scheme of a local registry.
    fetch = partial(published.fetch_agent_init_config, TOKEN, registry.url)
    monkeypatch.setattr(published, "fetch_agent_init_config", lambda **_: fetch())

    async def main() -> None:
        options = published.WorkerOptions(
            entrypoint_fnc=entrypoint,
            executor_type=published.ExecutorType.THREAD,
            num_idle_processes=1,
            max_processes=2,
            agent_id="peer",
            auth_token=TOKEN,
            register=True,
            host="127.0.0.1",
            port=0,
        )
        worker = published.Worker(options, default_room_options=RoomOptions(auth_token=TOKEN))
        await worker.initialize()
        try:
            await until(lambda: len(workers(registry)) == 1)
            ends = {}
            for metadata in ({}, {"raise": True}):
                send = partial(dispatch, registry, metadata=metadata)
                status, body = await asyncio.to_thread(send)
                assert status == 200, body
                job_id = body["data"]["jobId"]
                await until(
                    partial(lambda id_: registry.job(id_)["ended_after"] is not None, job_id)
                )
                ends[registry.job(job_id)["status"]] = registry.job(job_id)["error"]
            assert set(ends) == {"completed", "failed"}
            assert "asked to raise" in ends["failed"]
        finally:
            await worker.shutdown()
        await until(lambda: workers(registry) == [])

    run(main())
