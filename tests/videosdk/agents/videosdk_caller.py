"""An agent that calls: says a tone, listens to who else is there, and notes what it hears.

Loaded by job processes. The job's metadata say which tone (`tone`, in Hz), for how long
(`seconds`), and into which file to note what happens (`notes`).
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import trio

from vsdk_trio import JobContext
from vsdk_trio.rooms import ParticipantLeft
from vsdk_trio.rooms.loopback import tone
from vsdk_trio.testing.sounds import pitch


async def entrypoint(ctx: JobContext) -> None:
    notes = Path(ctx.metadata["notes"])

    def note(**fields: Any) -> None:
        with notes.open("a") as file:
            file.write(json.dumps(fields) + "\n")

    lateness: list[float] = []
    ctx.nursery.start_soon(_tick, lateness)
    ctx.add_shutdown_callback(lambda reason: note(callback=reason))
    began = time.monotonic()
    await ctx.connect()
    room = ctx.room
    assert room is not None
    note(joined=room.participant_id, room=room.room_id, seconds=time.monotonic() - began)
    ctx.nursery.start_soon(room.play, tone(ctx.metadata["tone"], ctx.metadata["seconds"]))
    events = room.events()
    chat = await room.messages()
    other = await room.wait_for_participant()
    assert other is not None
    heard = room.audio(other)
    note(pitch=pitch([await anext(heard) for _ in range(75)][25:]), of=other)
    lateness.sort()
    note(p99=lateness[int(len(lateness) * 0.99)], worst=lateness[-1], ticks=len(lateness))
    await room.send_message("I have heard you")
    if ctx.metadata.get("leaves"):
        note(read=(await anext(chat)).text)  # and not before: the other one listens still
        return
    async for event in events:
        if isinstance(event, ParticipantLeft):
            note(left=event.participant.participant_id)
            break
    await ctx.run_until_shutdown()


async def _tick(lateness: list[float]) -> None:
    while True:
        before = time.perf_counter()
        await trio.sleep(0.005)
        lateness.append(time.perf_counter() - before - 0.005)
