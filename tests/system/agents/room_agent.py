"""An agent that serves a WebSocket room and echoes; it notes where, and what becomes of it."""

from __future__ import annotations

import json
from pathlib import Path

from vsdk_trio import JobContext, Options, RoomOptions, WorkerJob


def note(ctx: JobContext, text: str) -> None:
    with Path("notes.txt").open("ab", buffering=0) as file:
        file.write(f"{ctx.job.job_id} {text}\n".encode())


class Echo:
    """A session: what `run_until_shutdown` starts and closes."""

    def __init__(self, ctx: JobContext) -> None:
        self._ctx = ctx

    def start(self) -> None:
        self._ctx.nursery.start_soon(self._echo)

    def close(self) -> None:
        note(self._ctx, "closed")

    async def _echo(self) -> None:
        room = self._ctx.room
        assert room is not None
        await room.play(room.audio(next(iter(room.participants))))


async def entrypoint(ctx: JobContext) -> None:
    await ctx.connect()
    assert ctx.room is not None
    note(ctx, ctx.room.address)
    ctx.add_shutdown_callback(lambda reason: note(ctx, f"callback: {reason}"))
    await ctx.run_until_shutdown(Echo(ctx), wait_for_participant=True)
    note(ctx, "left")


OPTIONS = json.loads(Path("options.json").read_text(encoding="utf-8"))

WorkerJob(
    entrypoint=entrypoint,
    jobctx=lambda: JobContext(
        room_options=RoomOptions(
            transport_mode="websocket", websocket={"port": 0}, session_timeout_seconds=0.5
        )
    ),
    options=Options(**OPTIONS),
).start()
