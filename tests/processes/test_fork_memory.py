"""What a forked job process costs, counted in memory that is its own and shared with nobody."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import trio

from vsdk_trio.runner.runner import IDLE_SECONDS

from .agents import Agent, until

pytestmark = [pytest.mark.real, pytest.mark.usefixtures("nothing_left", "unmeasured")]

IDLE_KIB = 5900
RUNNING_KIB = 6100


def private_kib(pid: int) -> int:
    text = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
    return sum(map(int, re.findall(r"^Private_\w+: +(\d+) kB", text, re.MULTILINE)))


async def test_most_of_a_forked_process_stays_shared(tmp_path: Path) -> None:
    """Each page that is written to after the fork is a page for each job."""
    agent = Agent(tmp_path)
    agent.write("""
        async def entrypoint(ctx):
            note("runs")
            await trio.sleep_forever()
        """)
    async with (
        agent.forkserver() as forkserver,
        # The first one is forked before all of the template's pages are shared.
        agent.process(forkserver),
        agent.process(forkserver) as process,
    ):
        await trio.sleep(10 * IDLE_SECONDS)  # until it has rehearsed
        idle = private_kib(process.pid)
        await agent.give_job(process)
        await until(lambda: agent.noted("runs"), "the job does not run")
        running = private_kib(process.pid)
    print(f"private: idle {idle} KiB, running {running} KiB")
    assert idle < IDLE_KIB
    assert running < RUNNING_KIB
