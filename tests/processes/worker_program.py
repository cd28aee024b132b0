"""A worker for tests of its death: a guardian and one job process per argument.

Each argument is a comma-separated list of the child program's modes. Prints `up` and its pids
once everything runs, and then waits to be killed.
"""

from __future__ import annotations

import secrets
import sys
from functools import partial
from pathlib import Path

import trio

from vsdk_trio.processes.edge import Command
from vsdk_trio.processes.guardian import open_guardian
from vsdk_trio.processes.job_process import JobProcess, run_job_process
from vsdk_trio.processes.program import SubprocessSpawner
from vsdk_trio.processes.stop_ladder import Graces

CHILD = Path(__file__).with_name("child_program.py")


async def main(grace: float, *jobs: str) -> None:
    prefix = f"worker-{secrets.token_hex(8)}."
    graces = Graces(close_timeout=1, termination_timeout=1)
    async with (
        open_guardian(grace=grace, cookie_prefix=prefix) as guardian,
        trio.open_nursery() as nursery,
    ):
        for number, modes in enumerate(jobs):
            command = Command(
                argv=(sys.executable, "-I", "-S", str(CHILD), *modes.split(",")),
                cookie=f"{prefix}{number}",
            )
            process: JobProcess = await nursery.start(
                partial(run_job_process, SubprocessSpawner(), command, graces=graces)
            )
            guardian.watch(process.pid)
            await anext(process.frames())
        print("up", guardian.pid, flush=True)
        await trio.sleep_forever()


trio.run(main, float(sys.argv[1]), *sys.argv[2:])
