"""After a fault: was the truth told of every job, and is everything back where it was?"""

from __future__ import annotations

import re
import urllib.request

import trio

from ..system.conftest import Program, System, eventually
from .figures import Figures, look

# Threads that wait for more work end after ten seconds.
SETTLE_SECONDS = 30.0


def ends(system: System, job_id: str) -> list[tuple[str, str | None]]:
    """Every end that the registry was told, as it was told."""
    updates = system.registry.updates(job_id)
    return [(u.status, u.error) for u in updates if u.status != "running"]


async def end_of(system: System, job_id: str, *, seconds: float = 30.0) -> tuple[str, str]:
    """Wait for the end of a job; told once, or several times in the same words.

    "cancelled" is what the deployed vocabulary calls completed with an error.
    """
    await eventually(lambda: ends(system, job_id), f"no end of {job_id}", seconds=seconds)
    assert len(set(ends(system, job_id))) == 1, ends(system, job_id)
    status, error = ends(system, job_id)[0]
    return ("cancelled" if status == "completed" and error else status), error or ""


def taken(worker: Program) -> list[str]:
    """The jobs that the worker took, in order."""
    return re.findall(r"job accepted job_id=(\S+)", worker.output)


async def health(worker: Program, *, seconds: float = 20.0) -> tuple[int, str]:
    """What `/health` says."""
    (url,) = re.findall(r"health at (\S+)", worker.output)

    def get() -> tuple[int, str]:
        try:
            with urllib.request.urlopen(url, timeout=seconds) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    return await trio.to_thread.run_sync(get)


async def run_one(system: System) -> None:
    """A job is taken, and runs to its end: there is a slot, a process and a link."""
    job_id = await system.dispatch("returns")
    assert await end_of(system, job_id) == ("completed", "")


async def calm(system: System, worker: Program) -> Figures:
    """What the worker occupies when it has done a job and everything it loads late is loaded."""
    await run_one(system)
    await health(worker)
    return await back_to(worker)


async def back_to(worker: Program, before: Figures | None = None) -> Figures:
    """Wait until the worker occupies no more fds, threads and processes than `before`.

    Without `before`, until that does not change for a second.
    """
    seen: list[tuple[int, int, int]] = []

    def counts() -> tuple[int, int, int]:
        now = look(worker.pid)
        return now.fds, now.threads, now.processes

    def is_back() -> bool:
        seen.append(counts())
        if before is None:
            return len(seen) > 50 and len(set(seen[-50:])) == 1
        was = (before.fds, before.threads, before.processes)
        return all(now <= then for now, then in zip(seen[-1], was, strict=True))

    try:
        await eventually(is_back, "", seconds=SETTLE_SECONDS)
    except AssertionError:
        raise AssertionError(f"fds, threads, processes: {seen[-1]}, were {before}") from None
    return look(worker.pid)


async def all_is_well(system: System, worker: Program, before: Figures) -> None:
    """The truth was told of all that was taken, the next job runs, and nothing is left behind."""
    await eventually(lambda: any(not w.away for w in system.registry.workers()), "not back")
    await run_one(system)
    for job_id in taken(worker):
        await end_of(system, job_id)
    await back_to(worker, before)
    assert await health(worker) == (200, "OK")
