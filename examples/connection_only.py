"""The connection alone, in a Trio program of your own: answers offers, and runs nothing.

Starts a local registry in the same program to talk to: `python examples/connection_only.py`.
"""

import trio

from vsdk_trio import open_backend_connection, open_registry
from vsdk_trio.backend import (
    AvailabilityRequest,
    AvailabilityResponse,
    JobAssignment,
    JobUpdate,
    Registered,
)
from vsdk_trio.registry.ledger import DispatchRequest


async def main() -> None:
    async with (
        open_registry() as running,
        open_backend_connection("any-token", "MyAgent", signaling_base_url=running.url) as link,
        trio.open_nursery() as nursery,
    ):
        request = DispatchRequest(agent_id="MyAgent", room_id="room-1")
        nursery.start_soon(running.registry.dispatch, request)
        async for event in link:
            match event:
                case Registered():
                    print(f"registered as {event.worker_id}")
                case AvailabilityRequest():
                    print(f"offered {event.room_id}")
                    answer = AvailabilityResponse(job_id=event.job_id, available=True)
                    await link.send_message(answer)
                case JobAssignment():
                    print(f"assigned {event.room_id}")
                    await link.send_message(JobUpdate(job_id=event.job_id, status="completed"))
                    job = await running.registry.wait_ended(event.job_id)
                    print(f"the registry says: {job.state.value}")
                    break


trio.run(main)
