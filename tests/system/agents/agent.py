"""An agent for the system tests: its options come from a file, each job does what it is told.

Started as a program by the tests, and loaded by the job processes. Jobs write what they live
through into `notes.txt`, one line each, with the job's id.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import trio
import trio.lowlevel

from vsdk_trio import JobContext, Options, RoomOptions, WorkerJob

LET_GO = Path("let-go")
FOREVER = 600

print("printed at import")


def note(text: str) -> None:
    """Append a line; in one write, because several processes do it."""
    with Path("notes.txt").open("ab", buffering=0) as file:
        file.write(f"{text}\n".encode())


def initialize(process: Any) -> None:
    process.userdata["model"] = "loaded"
    process.userdata["pid"] = os.getpid()


def initialize_with_the_model(process: Any) -> None:
    if not Path("model").exists():
        raise RuntimeError("the model is missing")


def refuse(request: Any) -> str | None:
    return "not on Sundays" if request.room_id == "sunday" else None


async def refuse_async(request: Any) -> bool:
    await trio.lowlevel.checkpoint()
    return bool(request.room_id != "sunday")


def slow_load() -> float:
    """Quick at the start, as the worker tries it; then it blocks whoever asks."""
    slow_load.calls += 1  # type: ignore[attr-defined]
    if slow_load.calls > 1:  # type: ignore[attr-defined]
        time.sleep(1.5)
    return 0.0


slow_load.calls = 0  # type: ignore[attr-defined]


def grandchild(*, escapes: bool) -> None:
    """Leave a process behind: in the job's group, or as a daemon in a session of its own."""
    subprocess.Popen(["sleep", str(FOREVER)], start_new_session=escapes)


def record() -> None:
    time.sleep(FOREVER)


async def entrypoint(ctx: JobContext) -> None:
    job_id, options = ctx.job.job_id, ctx.metadata

    def said_goodbye(reason: str) -> None:
        note(f"{job_id} callback: {reason}")

    async def say_goodbye() -> None:
        await trio.sleep(options.get("goodbye_seconds", 0))

    ctx.add_shutdown_callback(said_goodbye)
    ctx.add_shutdown_callback(say_goodbye)
    await ctx.connect()
    # From here on nothing can cancel it before it has begun with what it is to do.
    note(f"{job_id} entered")
    try:
        await run(ctx, options)
    finally:
        note(f"{job_id} left")


async def run(ctx: JobContext, options: dict[str, Any]) -> None:
    match options["kind"]:
        case "returns":
            await trio.sleep(options.get("seconds", 0))
        case "goes on":
            while not LET_GO.exists():  # noqa: ASYNC110, ASYNC240  # the file system sets no events
                await trio.sleep(0.02)
        case "waits":
            await trio.sleep(FOREVER)
        case "raises":
            raise ValueError(options.get("text", "the agent has a bug"))
        case "leaves a thread":
            threading.Thread(target=record, name="recorder").start()
        case "sys.exit":
            sys.exit(options["code"])
        case "os._exit":
            os._exit(options["code"])
        case "signal":
            os.kill(os.getpid(), options["signum"])
        case "prints":
            print("printed by the job")
            sys.stdout.write("no newline at the end")
            os.write(1, b'{"type": "finished", "status": "failed"}\n')
        case "floods":
            line = b"x" * 1023 + b"\n"
            for _ in range(options["megabytes"]):
                await trio.lowlevel.checkpoint()
                os.write(2, line * 1024)
        case "forks":
            grandchild(escapes=False)
            grandchild(escapes=True)
            await trio.sleep(options.get("seconds", 0))
            if options.get("waits"):
                await trio.sleep(FOREVER)
        case "userdata":
            note(f"{ctx.job.job_id} {ctx.process.userdata['model']}")
            note(f"{ctx.job.job_id} same process: {ctx.process.userdata['pid'] == os.getpid()}")
        case "eats":
            hoard = bytearray(options["megabytes"] << 20)
            hoard[::4096] = b"x" * len(hoard[::4096])
            await trio.sleep(FOREVER)
        case "sleeps":
            time.sleep(FOREVER)  # noqa: ASYNC251  # that is the point
        case "blocks":
            time.sleep(options["seconds"])  # noqa: ASYNC251  # as above
            await trio.sleep(FOREVER)
        case "leaks":
            leak = bytearray()
            while True:
                leak += b"x" * (options["megabytes"] << 20)
                await trio.sleep(0.2)
        case "crashes natively":
            ctypes.string_at(0)
        case "spins":
            while True:
                pass
        case "holds the GIL":
            while True:  # a signal interrupts it
                ctypes.PyDLL(None).sleep(FOREVER)
        case "ignores everything":
            grandchild(escapes=True)
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            with trio.CancelScope(shield=True):
                await trio.sleep(FOREVER)
        case "tells":
            print(f"the token is {ctx.room_options.auth_token}")
            raise RuntimeError(f"cannot use {ctx.room_options.auth_token}")
        case unknown:
            raise LookupError(unknown)


def options() -> Options:
    values = json.loads(Path("options.json").read_text(encoding="utf-8"))
    for name in ("initialize_process_fnc", "request_fnc", "load_fnc"):
        if name in values:
            values[name] = globals()[values[name]]
    return Options(**values)


job = WorkerJob(
    entrypoint=entrypoint,
    jobctx=lambda: JobContext(room_options=RoomOptions(transport_mode="loopback")),
    options=options(),
)
job.start()
