"""`python -m benchmarks.rooms`: how long a job takes to be in a hosted room, beside the SDK alone.

Against the stand-in for the service, on this machine: no network, so what is left is the SDK, the
job process and the worker. Needs the extra `videosdk`. Times are from the dispatch (or the start of
the program) to the moment in which the room is joined.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trio

from vsdk_trio import JobContext, Options, RoomOptions
from vsdk_trio.registry.ledger import DispatchRequest
from vsdk_trio.registry.server import open_registry
from vsdk_trio.rooms.hosted import preload
from vsdk_trio.testing import FakeVideoSDK, open_fake_videosdk
from vsdk_trio.worker.worker import Worker

TOKEN = "benchmark"
SDK = "vsdk_trio.rooms.hosted.call"
SETTLE_SECONDS = 2.0
ALONE = """
import asyncio, sys, time
async def main(host):
    from videosdk import VideoSDK
    for number in range(2):
        before = began if number == 0 else time.monotonic()
        meeting = VideoSDK.init_meeting(
            meeting_id="room", token="benchmark", name="Agent", webcam_enabled=False,
            signaling_base_url=host, loop=asyncio.get_running_loop())
        await meeting.async_join()
        print(time.monotonic() - before)
        meeting.leave()
        await asyncio.sleep(0.3)
began = float(sys.argv[2])
asyncio.run(main(sys.argv[1]))
"""


async def entrypoint(ctx: JobContext) -> None:
    """The job: joins, notes when, and measures how late Trio is meanwhile and for a second more."""
    lateness: list[float] = []
    ctx.nursery.start_soon(_tick, lateness)
    await ctx.connect()
    joined = time.monotonic()
    await trio.sleep(1)
    lateness.sort()
    late = lateness[int(len(lateness) * 0.99)]
    with open(ctx.metadata["notes"], "w") as notes:  # noqa: ASYNC230 - after all was measured
        notes.write(f"{joined} {late}")


async def _tick(lateness: list[float]) -> None:
    while True:
        before = time.perf_counter()
        await trio.sleep(0.005)
        lateness.append(time.perf_counter() - before - 0.005)


@asynccontextmanager
async def open_worker(fake: FakeVideoSDK, **settings: Any) -> AsyncIterator[Any]:
    """A worker in this program; yields a function that dispatches a job and returns its times."""
    with tempfile.TemporaryDirectory() as directory:
        async with open_registry() as running, trio.open_nursery() as nursery:
            options = Options(
                agent_id="rooms",
                auth_token=TOKEN,
                signaling_base_url=running.url,
                host="127.0.0.1",
                port=0,
                max_processes=2,
                log_level="ERROR",
                **settings,
            )
            room_options = RoomOptions(signaling_base_url=fake.signaling_base_url)
            worker = Worker(options, entrypoint=entrypoint, room_options=room_options)
            handle = await nursery.start(worker.run)

            async def job() -> tuple[float, float]:
                notes = Path(directory) / "notes"
                await trio.sleep(SETTLE_SECONDS)  # an idle process has the time to become one
                began = time.monotonic()
                request = DispatchRequest(
                    agent_id="rooms", room_id="room", metadata={"notes": str(notes)}
                )
                job_id = (await running.registry.dispatch(request)).job_id
                while not running.registry.job(job_id).state.ended:  # noqa: ASYNC110 - of a process
                    await trio.sleep(0.02)
                joined, late = map(float, notes.read_text().split())
                return joined - began, late

            yield job
            handle.stop()


async def alone(fake: FakeVideoSDK) -> tuple[float, float]:
    """The SDK in a program of its own: its first join, import included, and its second."""
    command = [sys.executable, "-c", ALONE, fake.signaling_base_url, str(time.monotonic())]
    done = await trio.run_process(command, capture_stdout=True, stderr=subprocess.DEVNULL)
    first, second = map(float, done.stdout.split())
    return first, second


def show(what: str, seconds: Iterable[float]) -> None:
    """One line of the table."""
    times = sorted(seconds)
    middle, worst = statistics.median(times), times[-1]
    print(f"| {what} | {middle * 1000:.0f} | {worst * 1000:.0f} | {len(times)} |")


async def measure(rounds: int) -> None:
    """Measure all, round by round, and print a table in Markdown."""
    async with open_fake_videosdk() as fake:
        os.environ["REQUESTS_CA_BUNDLE"] = str(fake.ca_file)
        by_themselves = [await alone(fake) for _ in range(rounds)]
        times: dict[str, list[tuple[float, float]]] = {}
        ways: dict[str, Callable[[], Any]] = {
            "job, cold": lambda: open_worker(fake, num_idle_processes=0, start_method="spawn"),
            "job, warm": lambda: open_worker(
                fake, num_idle_processes=1, start_method="spawn", initialize_process_fnc=preload
            ),
            "job, forked": lambda: open_worker(
                fake, num_idle_processes=0, start_method="forkserver", preload=SDK
            ),
        }
        for way, open_one in ways.items():
            async with open_one() as job:
                times[way] = [await job() for _ in range(rounds)]
    print("| from start or dispatch to joined | median, ms | worst, ms | rounds |")
    print("|---|---|---|---|")
    show("SDK alone, cold: a fresh interpreter", (first for first, _ in by_themselves))
    show("SDK alone, warm: its second join", (second for _, second in by_themselves))
    for way, found in times.items():
        show(way, (joined for joined, _ in found))
    for way, found in times.items():
        show(
            f"{way}: lateness of Trio (p99) while it joins and streams", (late for _, late in found)
        )


def main() -> None:
    """The program."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10)
    trio.run(measure, parser.parse_args().rounds)


if __name__ == "__main__":
    main()
