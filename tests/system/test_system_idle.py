"""An idle worker costs nothing: no part of it looks at the clock to see whether there is work.

Wakeups are counted, and not CPU time, which a loaded machine makes up.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import trio

from .conftest import Programs, eventually, open_system

pytestmark = [
    pytest.mark.real,
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="wakeups are counted in /proc"),
]

SECONDS = 15.0
MOST_PER_SECOND = 2.0


def wakeups(programs: Programs) -> dict[str, int]:
    """How often each thread of each process has gone to sleep so far, by who it is."""
    counted = {}
    for process in programs.processes():
        name = " ".join(process.cmdline())[-40:]
        for task in Path(f"/proc/{process.pid}/task").iterdir():
            for line in (task / "status").read_text().splitlines():
                if line.startswith("voluntary_ctxt_switches"):
                    counted[f"{name} {process.pid}/{task.name}"] = int(line.split()[1])
    return counted


@pytest.mark.parametrize("start_method", ["spawn", "auto"])
async def test_an_idle_worker_is_hardly_ever_awake(tmp_path: Path, start_method: str) -> None:
    async with open_system(tmp_path) as system:
        await system.open_agent(
            start_method=start_method, num_idle_processes=2, max_processes=4, port=0
        )
        await eventually(lambda: len(system.job_processes()) >= 2, "no idle processes")
        await trio.sleep(3)  # until they are ready, and what was begun has come to rest
        before = wakeups(system)
        await trio.sleep(SECONDS)
        woken = {
            who: count - before.get(who, 0)
            for who, count in wakeups(system).items()
            if count != before.get(who, 0)
        }
        assert sum(woken.values()) <= MOST_PER_SECOND * SECONDS, woken
