"""An agent whose jobs misbehave in ways that the agent of the system tests does not know.

Its options come from a file, as there. With `odd_clock` in its arguments the wall clock of worker
and jobs jumps back by an hour at each look.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import trio

from vsdk_trio import JobContext, Options, RoomOptions, WorkerJob

FOREVER = 600


def set_the_clock_back() -> None:
    real, looks = time.time, itertools.count()
    time.time = lambda: real() - 3600.0 * next(looks)


# Everything of ours that would keep a `time.time` of its own is loaded by now, or looks it up.
if Path("odd_clock").exists():
    set_the_clock_back()


def note(text: str) -> None:
    with Path("notes.txt").open("ab", buffering=0) as file:
        file.write(f"{text}\n".encode())


def detached() -> None:
    """A daemon as the books have it: two forks, a session of its own, signals ignored."""
    program = (
        "import os, signal, time\n"
        "if os.fork(): os._exit(0)\n"
        "os.setsid()\n"
        "if os.fork(): os._exit(0)\n"
        "for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):\n"
        "    signal.signal(number, signal.SIG_IGN)\n"
        f"time.sleep({FOREVER})\n"
    )
    subprocess.run([sys.executable, "-I", "-S", "-c", program], check=True)


async def entrypoint(ctx: JobContext) -> None:
    job_id, options = ctx.job.job_id, ctx.metadata
    note(f"{job_id} entered")
    ctx.add_shutdown_callback(lambda: note(f"{job_id} callback"))
    await ctx.connect()
    match options["kind"]:
        case "returns":
            await trio.sleep(options.get("seconds", 0))
        case "waits":
            await trio.sleep(FOREVER)
        case "forks daemons":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            for _ in range(3):
                detached()
            if options.get("waits"):
                with trio.CancelScope(shield=True):
                    await trio.sleep(FOREVER)
        case "matches":
            # Exponential: one call into C that keeps the GIL for longer than anybody waits.
            re.match(r"(a+)+$", "a" * 60 + "b")
        case "floods both":
            line = b"x" * 65535 + b"\n"
            for _ in range(options["megabytes"] * 16):
                os.write(1, line)
                os.write(2, line)
        case "hoards":
            resource.setrlimit(resource.RLIMIT_AS, (400 << 20, 400 << 20))
            hoard = []
            while True:
                hoard.append(bytearray(10 << 20))
        case "opens files":
            files = []
            while True:
                files.append(open("/dev/null"))  # noqa: ASYNC230, SIM115  # that is the point
        case unknown:
            raise LookupError(unknown)


job = WorkerJob(
    entrypoint=entrypoint,
    jobctx=lambda: JobContext(room_options=RoomOptions(transport_mode="loopback")),
    options=Options(**json.loads(Path("options.json").read_text(encoding="utf-8"))),
)
job.start()
