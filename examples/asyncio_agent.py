"""An agent that is written for asyncio, as those of `videosdk-agents` are.

With a local registry (`vsdk-trio registry --port 8080`), in another terminal:

    export VSDK_TRIO_REGISTRY_URL=http://127.0.0.1:8080 VSDK_TRIO_TRANSPORT=loopback
    VIDEOSDK_AUTH_TOKEN=local python examples/asyncio_agent.py

and then `vsdk-trio dispatch AsyncioAgent`.
"""

import asyncio
from typing import Any

import vsdk_trio
from vsdk_trio import Options, WorkerJob


class Session:
    """Where `videosdk-agents` is installed, an `AgentSession` with its pipeline goes here."""

    async def start(self) -> None:
        print("the session has started")

    async def close(self) -> None:
        await asyncio.sleep(0)
        print("the session is closed")


@vsdk_trio.aio.entrypoint
async def entrypoint(ctx: Any) -> None:
    """Runs under asyncio, in the job's process."""
    print("running in", asyncio.get_running_loop())
    await ctx.run_until_shutdown(session=Session())


if __name__ == "__main__":
    options = Options.from_env(agent_id="AsyncioAgent", register=True)
    WorkerJob(entrypoint, options=options).start()
