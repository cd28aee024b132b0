"""A worker and a registry inside a Trio program: `python examples/embedded_worker.py`.

Dispatches two jobs, waits for their ends, and drains the worker.
"""

import trio

from vsdk_trio import JobContext, Options, RoomOptions, Worker, open_registry
from vsdk_trio.registry.ledger import DispatchRequest


async def entrypoint(ctx: JobContext) -> None:
    await ctx.connect()
    await trio.sleep(ctx.metadata["seconds"])


async def main() -> None:
    async with open_registry() as running, trio.open_nursery() as nursery:
        options = Options(
            agent_id="MyAgent",
            auth_token="any-token",
            signaling_base_url=running.url,
            max_processes=2,
            host="127.0.0.1",
            port=0,
        )
        worker = Worker(
            options,
            entrypoint=entrypoint,
            room_options=RoomOptions(transport_mode="loopback"),
        )
        handle = await nursery.start(worker.run)
        for seconds in (0.2, 0.4):
            job = await running.registry.dispatch(
                DispatchRequest(agent_id="MyAgent", room_id="room", metadata={"seconds": seconds})
            )
            print(f"dispatched a job of {seconds} s")
            nursery.start_soon(report_end, running.registry, job.job_id)
        handle.drain("nothing more to do")


async def report_end(registry, job_id: str) -> None:
    job = await registry.wait_ended(job_id)
    print(f"a job is {job.state.value}")


if __name__ == "__main__":
    trio.run(main)
