"""The published client's worker, unmodified, as it is measured: run by a Python that has it.

`python videosdk_agent.py BACKEND_URL IDLE MAX_PROCESSES`. It asks its service over https where its
registry is; that question is answered here, because the answer of a local one would be refused.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
import time
from typing import Any

from videosdk.agents import worker as published
from videosdk.agents.job import RoomOptions


def report(**facts: Any) -> None:
    facts["pid"] = os.getpid()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.sendto(json.dumps(facts).encode(), os.environ["BENCHMARK_REPORTS"])


async def entrypoint(ctx: Any) -> None:
    entered_ns = time.monotonic_ns()
    metadata = ctx.metadata
    report(kind="entered", job_id=metadata["job_id"], at_ns=entered_ns)
    if metadata["stay"]:
        await asyncio.sleep(3600)


if __name__ == "__main__":
    backend_url, idle, max_processes = sys.argv[1:]

    async def answer(**_: Any) -> str:
        return backend_url.rstrip("/") + "/agent"

    published.fetch_agent_init_config = answer
    options = published.WorkerOptions(
        entrypoint_fnc=entrypoint,
        agent_id="benchmark",
        auth_token="benchmark-token",
        register=True,
        host="127.0.0.1",
        port=0,
        num_idle_processes=int(idle),
        max_processes=int(max_processes),
        load_threshold=2.0,  # else it says no to what would be the last quarter of its jobs
        log_level="ERROR",
    )
    room_options = RoomOptions(auth_token="benchmark-token", join_meeting=False)
    published.Worker.run_worker(options, default_room_options=room_options)
