"""The agent of the soak: each job notes what it is about to do, and does it.

The notes are what its status is held against, so they are written before the deed, in one write.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import trio

from vsdk_trio import JobContext, Options, RoomOptions, WorkerJob

FOREVER = 600


def note(job_id: str, text: str) -> None:
    with Path("notes.txt").open("ab", buffering=0) as file:
        file.write(f"{job_id} {text}\n".encode())


def leave_processes() -> None:
    """One in the job's group; and a daemon in a session of its own, whose parent is gone."""
    subprocess.Popen(["sleep", str(FOREVER)])
    program = f"import subprocess; subprocess.Popen(['sleep', '{FOREVER}'], start_new_session=True)"
    subprocess.run([sys.executable, "-I", "-S", "-c", program], check=True)


async def entrypoint(ctx: JobContext) -> None:
    job_id, kind = ctx.job.job_id, ctx.metadata["kind"]
    note(job_id, f"entered {os.getpid()}")
    ctx.add_shutdown_callback(lambda: note(job_id, "callback"))
    await ctx.connect()
    try:
        await trio.sleep(ctx.metadata["seconds"])
    except trio.Cancelled:
        note(job_id, "cancelled")
        raise
    match kind:
        case "raises":
            note(job_id, "raised")
            raise ValueError("the agent has a bug")
        case "exits":
            note(job_id, "exited")
            os._exit(7)
        case "crashes":
            note(job_id, "crashed")
            os.kill(os.getpid(), signal.SIGSEGV)
        case "floods":
            for _ in range(20):
                os.write(1, b"x" * 8191 + b"\n")
                os.write(2, b"y" * 8191 + b"\n")
        case "forks":
            leave_processes()
    note(job_id, "returned")


if __name__ == "__main__":
    settings = json.loads(Path("options.json").read_text(encoding="utf-8"))
else:
    settings = {}

WorkerJob(
    entrypoint=entrypoint,
    jobctx=lambda: JobContext(room_options=RoomOptions(transport_mode="loopback")),
    options=Options(**settings),
).start()
