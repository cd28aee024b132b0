"""The demo itself: a local registry and a worker in one Trio program.

Real sockets, real job processes. Says at the end what became of every job, and whether anything was
left running; both are looked up, not assumed.
"""

from __future__ import annotations

import secrets
import statistics
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager

import psutil
import trio
from rich.console import Console

from ..backend.api import RegistryApi
from ..backend.dialer import DirectDialer
from ..options.room import RoomOptions
from ..options.worker import Options
from ..registry.core import Registry
from ..registry.ledger import Job, JobState
from ..registry.server import open_registry
from ..system.signals import ending_signals
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
INTERRUPTED = "interrupted: the demo was told to end before it was over"
PAUSE_SECONDS = 0.5  # between dispatches, so that a person can follow


async def run_within_limit(console: Console) -> int:
    """Run the demo; returns the exit code of the program.

    A signal ends it in order. Raises `OSError` where there is no room for what it prints, or
    nobody to read it.
    """
    failures: list[OSError] = []
    problems = [INTERRUPTED]
    with trio.move_on_after(LIMIT_SECONDS) as limit:
        try:
            with trio.CancelScope() as scope:
                async with _cancelled_by_signals(scope):
                    problems = await run_demo(console)
        except* OSError as group:
            failures += _leaves(group)
    if failures:
        raise failures[0]
    if limit.cancelled_caught:
        problems = [f"the demo did not end within {LIMIT_SECONDS:g} s"]
    for problem in problems:
        console.print(problem, highlight=False)
    return 1 if problems else 0


async def run_demo(console: Console) -> list[str]:
    """Run the demo; says what was not as it should be."""
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
                if not running.registry.workers():
                    working.cancel()  # the registration was called off
                with working:
                    # The worker would take a signal for itself, and all that would be seen here
                    # is jobs that end otherwise than they should.
                    async with _cancelled_by_signals(working):
                        await trio.lowlevel.checkpoint()  # it may be cancelled already
                        console.print(f"worker    {handle.worker_id}", highlight=False)
                        await showing.start(Screen(console, running.registry, dispatched).run)
                        api = RegistryApi(running.url, lambda url: DirectDialer())
                        await _run_jobs(api, token, running.registry, dispatched)
                if working.cancelled_caught:
                    handle.stop("the demo was interrupted")
                else:
                    handle.drain("the demo is over")
            showing.cancel_scope.cancel()
    is_clean = _summarize(console, running.registry.jobs(), reports[0], _descendants() - before)
    if working.cancelled_caught:
        return [INTERRUPTED]
    wrong = [d for d in dispatched if running.registry.job(d.job_id).state is not d.expected]
    problems = [f"UNEXPECTED: a job that {d.kind} should be {d.expected.value}" for d in wrong]
    return problems if is_clean else [*problems, "UNEXPECTED: the end was not clean"]


@asynccontextmanager
async def _cancelled_by_signals(scope: trio.CancelScope) -> AsyncGenerator[None]:
    """Around the body, a signal cancels `scope`; whoever had the signals before has them after."""
    with trio.open_signal_receiver(*ending_signals()) as signals:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_cancel_on_signal, signals, scope)
            yield
            nursery.cancel_scope.cancel()


async def _cancel_on_signal(signals: AsyncIterator[int], scope: trio.CancelScope) -> None:
    async for _ in signals:
        scope.cancel()


def _leaves(group: BaseExceptionGroup[OSError]) -> list[OSError]:
    found: list[OSError] = []
    for error in group.exceptions:
        found += _leaves(error) if isinstance(error, BaseExceptionGroup) else [error]
    return found


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


def _summarize(console: Console, jobs: Sequence[Job], report: WorkerReport, left: set[int]) -> bool:
    """Print what became of the jobs; True when nothing was left running or had to be killed."""
    counts = Counter(job.state.value for job in jobs)
    outcomes = ", ".join(f"{count} {state}" for state, count in sorted(counts.items()))
    all_of_them = f"{outcomes} of {len(jobs)} jobs" if jobs else "no job was dispatched"
    console.print(f"outcomes  {all_of_them}", highlight=False)
    if waits := sorted(job.started - job.created for job in jobs if job.started is not None):
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
