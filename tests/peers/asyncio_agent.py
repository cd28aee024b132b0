"""An agent of the published package under our worker: only its first lines know that.

What it lives through it writes into `notes.txt`, one line each.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from pathlib import Path

from videosdk.agents import JobContext
from videosdk.agents.job import get_current_job_context

import vsdk_trio
from vsdk_trio import Options, WorkerJob


def note(text: str) -> None:
    with Path("notes.txt").open("a") as file:
        file.write(f"{text}\n")


class Session:
    """Stands for the package's `AgentSession`, which needs a model to talk to."""

    async def start(self) -> None:
        note(f"session started, in the job: {get_current_job_context() is not None}")

    async def close(self) -> None:
        await asyncio.sleep(0)
        note("session closed")


@vsdk_trio.aio.entrypoint
async def entrypoint(ctx: JobContext) -> None:
    assert isinstance(ctx, JobContext)
    assert get_current_job_context() is ctx
    assert vsdk_trio.get_current_job_context() is ctx
    options = ctx.room_options
    note(
        f"{options.room_id} {options.transport_mode.value} {options.websocket.path} {options.name}"
    )
    note(f"auth {ctx.videosdk_auth} metadata {sorted(ctx.metadata)}")

    async def callback() -> None:
        await asyncio.sleep(0)
        note("callback")

    ctx.add_shutdown_callback(callback)
    match ctx.metadata["do"]:
        case "raise":
            raise ValueError("as told")
        case "wait":
            try:
                await asyncio.Event().wait()
            finally:
                note("cancelled")
        case "wait in a clean-up":
            try:
                await asyncio.Event().wait()
            finally:
                await ctx.run_until_shutdown()
                note("let go")
        case "connect":
            await ctx.connect()
            await asyncio.Event().wait()
        case "swallow":  # as the package's session does
            with contextlib.suppress(OSError):
                await ctx.connect()
            raise RuntimeError("closed before it started; the earlier error is the real one")
        case "run":
            await ctx.run_until_shutdown(session=Session(), wait_for_participant=True)
            note("returned")


if __name__ == "__main__":
    options = Options(agent_id="peer", register=True, max_processes=3, port=0, host="127.0.0.1")
    options.signaling_base_url = os.environ["REGISTRY_URL"]
    options.auth_token = os.environ.pop("WORKER_TOKEN")
    WorkerJob(entrypoint, options=options).start()
