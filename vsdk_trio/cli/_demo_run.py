"""The demo itself: a local registry and a worker in one Trio program.

Real sockets, real job processes. Says at the end what became of every job, and whether anything was
left running; both are looked up, not assumed.
"""

from __future__ import annotations

import secrets
import statistics
from collections import Counter

import psutil
import trio
from rich.console import Console

from ..backend.api import RegistryApi
from ..backend.dialer import DirectDialer
from ..options import Options
from ..registry.core import Registry
from ..registry.ledger import Job, JobState
from ..registry.server import open_registry
from ..room_options import RoomOptions
from ..worker.worker import Worker, WorkerHandle, WorkerReport
from ._demo_screen import Dispatched, Screen
from .demo_agent import entrypoint

AGENT_ID = "demo-agent"
# What is dispatched, in this order, and how each is expected to end.
PLAN = (
    ("returns", JobState.COMPLETED),
    ("raises", JobState.FAILED),
    ("crashes", JobState.FAILED),
    ("waits", JobState.CANCELLED),
    ("returns", JobState.COMPLETED),
    ("returns", JobState.COMPLETED),
)
LIMIT_SECONDS = 60.0
PAUSE_SECONDS = 0.5  # between dispatches, so that a person can follow


async def run_within_limit(console: Console) -> int:
    """Run the demo; returns the exit code of the program."""
    with trio.move_on_after(LIMIT_SECONDS):
        return 0 if await run_demo(console) else 1
    console.print(f"the demo did not end within {LIMIT_SECONDS:g} s")
    return 1


async def run_demo(console: Console) -> bool:
    """Run the demo; True when everything ended as it should and nothing was left behind."""
    token = secrets.token_urlsafe(16)
    dispatched: list[Dispatched] = []
    reports: list[WorkerReport] = []
    before = _descendants()
    async with open_registry(Registry(auth_token=token)) as running:
        console.print(f"registry  {running.url}", highlight=False)
        worker = _make_worker(running.url, token)
        working = trio.CancelScope()
        async with trio.open_nursery() as showing:
            async with trio.open_nursery() as nursery:
                handle = await nursery.start(_run_worker, worker, reports, working)
                console.print(f"worker    {handle.worker_id}", highlight=False)
                await showing.start(Screen(console, running.registry, dispatched).run)
                with working:
                    api = RegistryApi(running.url, lambda url: DirectDialer())
                    await _run_jobs(api, token, running.registry, dispatched)
                handle.drain("the demo is over")
            showing.cancel_scope.cancel()
        ended = [running.registry.job(job.job_id) for job in dispatched]
    is_clean = _summarize(console, ended, reports[0], _descendants() - before)
    if working.cancelled_caught:
        console.print("interrupted: the worker was told to end before the demo was over")
        return False
    wrong = [d for d, job in zip(dispatched, ended, strict=True) if job.state is not d.expected]
    for item in wrong:
        console.print(f"UNEXPECTED: a job that {item.kind} should be {item.expected.value}")
    return is_clean and not wrong


def _make_worker(url: str, token: str) -> Worker:
    options = Options(
        agent_id=AGENT_ID,
        auth_token=token,
        register=True,
        signaling_base_url=url,
        host="127.0.0.1",
        port=0,
        max_processes=len(PLAN),
        num_idle_processes=2,
        close_timeout=5.0,
        termination_timeout=1.0,
        log_level="ERROR",
    )
    room_options = RoomOptions(transport_mode="loopback")
    return Worker(options, entrypoint=entrypoint, room_options=room_options)


async def _run_worker(
    worker: Worker,
    reports: list[WorkerReport],
    working: trio.CancelScope,
    *,
    task_status: trio.TaskStatus[WorkerHandle],
) -> None:
    """Run the worker; without it there is nothing to dispatch to, so its end ends that, too."""
    reports.append(await worker.run(task_status=task_status))
    working.cancel()


async def _run_jobs(
    api: RegistryApi, token: str, registry: Registry, dispatched: list[Dispatched]
) -> None:
    """Dispatch the plan, terminate what waits for it, and see every job to its end."""
    for number, (kind, expected) in enumerate(PLAN):
        room_id = await api.create_room(token)
        await api.dispatch(token, room_id, AGENT_ID, {"kind": kind, "seconds": 1 + number / 4})
        job = next(job for job in registry.jobs() if job.room_id == room_id)
        dispatched.append(Dispatched(kind=kind, expected=expected, job_id=job.job_id))
        await trio.sleep(PAUSE_SECONDS)
    for item in dispatched:
        if item.kind == "waits":
            registry.terminate(item.job_id, "the demo has seen enough")
    for item in dispatched:
        await registry.wait_ended(item.job_id)


def _summarize(console: Console, ended: list[Job], report: WorkerReport, left: set[int]) -> bool:
    """Print what became of the jobs; True when nothing was left running or had to be killed."""
    counts = Counter(job.state.value for job in ended)
    waits = sorted(j.started - j.created for j in ended if j.started is not None) or [0.0]
    outcomes = ", ".join(f"{count} {state}" for state, count in sorted(counts.items()))
    console.print(f"outcomes  {outcomes} of {len(ended)} jobs", highlight=False)
    console.print(
        f"latency   dispatch to running: median {statistics.median(waits) * 1000:.0f} ms, "
        f"longest {waits[-1] * 1000:.0f} ms ({len(waits)} jobs)",
        highlight=False,
    )
    killed = f", {len(report.killed)} jobs had to be killed" if report.killed else ""
    processes = "nothing left running" if not left else f"LEFT RUNNING: processes {sorted(left)}"
    console.print(f"processes {processes}{killed}", highlight=False)
    return not left and not report.killed


def _descendants() -> set[int]:
    return {process.pid for process in psutil.Process().children(recursive=True)}
