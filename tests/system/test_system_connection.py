"""The connection by itself, in a Trio program of the user's, against a registry on a port."""

from __future__ import annotations

import pytest
import trio

from vsdk_trio.backend import (
    AvailabilityRequest,
    AvailabilityResponse,
    JobAssignment,
    JobTermination,
    JobUpdate,
    open_backend_connection,
)
from vsdk_trio.registry.ledger import DispatchRequest
from vsdk_trio.registry.server import open_registry

from .conftest import RecordingRegistry

pytestmark = pytest.mark.real


async def test_a_program_of_its_own_serves_jobs() -> None:
    registry = RecordingRegistry(auth_token="t")
    async with open_registry(registry) as running, trio.open_nursery() as nursery:
        with trio.fail_after(20):
            async with open_backend_connection(
                "t", "agent", signaling_base_url=running.url
            ) as connection:
                request = DispatchRequest(agent_id="agent", room_id="room", metadata={"n": 1})
                nursery.start_soon(registry.dispatch, request)
                async for event in connection:
                    match event:
                        case AvailabilityRequest():
                            answer = AvailabilityResponse(job_id=event.job_id, available=True)
                            await connection.send_message(answer)
                        case JobAssignment():
                            job_id = event.job_id
                            assert event.metadata == {"n": 1}
                            assert (await connection.wait_for_assignment(job_id)) == event
                            running = JobUpdate(job_id=job_id, status="running")
                            await connection.send_message(running)
                            registry.terminate(job_id, "enough")
                        case JobTermination():
                            ended = JobUpdate(job_id=job_id, status="completed", error="enough")
                            await connection.send_message(ended)
                            break
        (job,) = registry.jobs()
        # The goodbye has proven the last update, so nobody has to wait for it here.
        assert (job.state.value, job.error) == ("cancelled", "enough")
        assert registry.story()[-2:] == ["offline", "closed"]
