"""The other peer's worker, unmodified, as it is measured: run by a Python that has it.

`python livekit_agent.py BACKEND_URL IDLE MAX_PROCESSES`. It knows no number of jobs that would be
the most; its limit by load is off, as the benchmark says how many there are.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import socket
import sys
import time
from typing import Any

from livekit.agents import AgentServer, JobContext, JobProcess


def report(**facts: Any) -> None:
    facts["pid"] = os.getpid()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.sendto(json.dumps(facts).encode(), os.environ["BENCHMARK_REPORTS"])


def announce_process(process: JobProcess) -> None:
    report(kind="process")


async def entrypoint(ctx: JobContext) -> None:
    entered_ns = time.monotonic_ns()
    metadata = json.loads(ctx.job.metadata)
    report(kind="entered", job_id=metadata["job_id"], at_ns=entered_ns)
    if metadata["stay"]:
        await asyncio.sleep(3600)
    ctx.shutdown()  # a job that was in no room does not end by itself


if __name__ == "__main__":
    backend_url, idle, _ = sys.argv[1:]
    server = AgentServer(
        ws_url=backend_url,
        api_key="benchmark",
        api_secret="a-secret-of-the-length-that-secrets-have",
        host="127.0.0.1",
        port=0,
        num_idle_processes=int(idle),
        load_threshold=math.inf,
        setup_fnc=announce_process,
        log_level="ERROR",
    )
    server.rtc_session(entrypoint, agent_name="benchmark")
    asyncio.run(server.run())
