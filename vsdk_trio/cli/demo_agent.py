"""The agent that `vsdk-trio demo` dispatches: each job does what its metadata asks for."""

from __future__ import annotations

import os
import signal

import trio

from ..runner.job_context import JobContext


async def entrypoint(ctx: JobContext) -> None:
    """Return, raise, crash, or run until terminated, as `metadata["kind"]` says."""
    ctx.add_shutdown_callback(lambda reason: print(f"shutdown callback: {reason}"))
    await ctx.connect()
    match ctx.metadata.get("kind"):
        case "returns":
            await trio.sleep(ctx.metadata.get("seconds", 0.5))
        case "raises":
            await trio.sleep(0.3)
            raise RuntimeError("the agent has a bug")
        case "crashes":
            await trio.sleep(0.3)
            os.kill(os.getpid(), signal.SIGSEGV)
        case "waits":
            await trio.sleep_forever()
        case unknown:
            raise ValueError(f"the demo knows no job of kind {unknown!r}")
