"""Many workers on the local registry: connections, dispatches, memory.

The registry is the program that its users run; the workers are so many connections of one process.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial

import httpcore
import trio

from ..contenders import PROGRAMS
from ..figures import Book
from ..plan import Plan
from ..process_memory import pss_mib

CONNECT = "registry: connections per second"
RATE = "registry: dispatches per second"
MEMORY = "registry: memory (MiB PSS)"
LINE = "local registry"
DISPATCHERS = 10
RATE_SECONDS = 3.0
LIMIT_SECONDS = 120.0


async def measure_registry(plan: Plan, book: Book) -> None:
    """For each number of workers, a registry of its own."""
    for count in plan.worker_counts:
        with trio.fail_after(LIMIT_SECONDS):
            async with _program(["-m", "vsdk_trio", "registry", "--port", "0"]) as registry:
                url = await _url_of(registry)
                agent_url = url.replace("http", "ws", 1) + "/agent"
                arguments = [str(PROGRAMS / "many_workers.py"), agent_url, str(count)]
                async with _program(arguments) as workers:
                    assert workers.stdout is not None, "asked for with PIPE"
                    seconds = float(await workers.stdout.receive_some())
                    book.add_point(CONNECT, LINE, count, count / seconds)
                    book.add_point(RATE, LINE, count, await _dispatch_rate(url))
                    book.add_point(MEMORY, LINE, count, pss_mib(registry.pid))


@asynccontextmanager
async def _program(arguments: list[str]) -> AsyncGenerator[trio.Process]:
    async with trio.open_nursery() as nursery:
        process: trio.Process = await nursery.start(
            partial(
                trio.run_process,
                [sys.executable, *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
                check=False,
            )
        )
        yield process
        nursery.cancel_scope.cancel()


async def _url_of(registry: trio.Process) -> str:
    """The URL is in the first line that the registry prints."""
    assert registry.stdout is not None, "asked for with PIPE"
    text = ""
    while "http://" not in text or "\n" not in text.partition("http://")[2]:
        text += (await registry.stdout.receive_some()).decode()
    return "http://" + text.partition("http://")[2].split()[0].rstrip("/")


async def _dispatch_rate(url: str) -> float:
    """Dispatches per second, ten callers at once."""
    done = 0
    body = json.dumps({"agentId": "many", "meetingId": "room", "metadata": {}}).encode()
    headers = [(b"Authorization", b"t"), (b"Content-Type", b"application/json")]

    async with httpcore.AsyncConnectionPool() as pool:

        async def call() -> None:
            nonlocal done
            while True:
                response = await pool.request(
                    "POST", f"{url}/v2/agent/dispatch", headers=headers, content=body
                )
                if response.status != 200:
                    raise RuntimeError(f"a dispatch was answered with {response.status}")
                done += 1

        began = time.monotonic()
        with trio.move_on_after(RATE_SECONDS):
            async with trio.open_nursery() as nursery:
                for _ in range(DISPATCHERS):
                    nursery.start_soon(call)
        return done / (time.monotonic() - began)
