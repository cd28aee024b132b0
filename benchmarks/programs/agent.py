"""The worker that is measured: an ordinary agent script, except that its jobs say when they begin.

Run by path, as a user runs theirs: `python agent.py BACKEND_URL IDLE MAX_PROCESSES`. Must import
nothing that a small agent would not, because what it imports is measured, too.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from collections.abc import Callable
from typing import Any

import trio

from vsdk_trio import JobContext, Options, RoomOptions, WorkerJob


def report(**facts: Any) -> None:
    """Tell the benchmark; a datagram needs no answer, and so costs the job no wait."""
    facts["pid"] = os.getpid()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.sendto(json.dumps(facts).encode(), os.environ["BENCHMARK_REPORTS"])


def announce_process(process: object) -> None:
    """Runs in each job process before a job comes."""
    report(kind="process")


async def entrypoint(ctx: JobContext) -> None:
    """Say when this first line was reached; then return, or stay until the job is terminated."""
    entered_ns = time.monotonic_ns()
    report(kind="entered", job_id=ctx.metadata["job_id"], at_ns=entered_ns)
    if ctx.metadata["stay"]:
        await trio.sleep_forever()


def make_context() -> JobContext:
    return JobContext(room_options=RoomOptions(transport_mode="loopback"))


def read_options(arguments: list[str], initialize: Callable[[object], None]) -> Options:
    """The options of a measured worker: `BACKEND_URL IDLE MAX_PROCESSES`, and the environment."""
    backend_url, idle, max_processes = arguments
    return Options(
        agent_id="benchmark",
        auth_token="benchmark-token",
        register=True,
        backend_url=backend_url,
        host="127.0.0.1",
        port=0,
        num_idle_processes=int(idle),
        max_processes=int(max_processes),
        initialize_process_fnc=initialize,
        log_level="ERROR",
        start_method=os.environ["BENCHMARK_START_METHOD"],
        state_dir=os.environ.get("BENCHMARK_STATE_DIR"),
    )


if __name__ == "__main__":
    options = read_options(sys.argv[1:], announce_process)
    WorkerJob(entrypoint=entrypoint, jobctx=make_context, options=options).start()
