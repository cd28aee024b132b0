"""The demo: a local registry and a worker in one Trio program, and a screen with their jobs."""

from __future__ import annotations

import secrets
import statistics
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager

import attrs
import psutil
import trio
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from .._exceptions import leaves
from ..backend.api import RegistryApi
from ..backend.dialer import DirectDialer
from ..options.room import RoomOptions
from ..options.worker import Options
from ..registry.core import Registry
from ..registry.ledger import Job, LedgerState
from ..registry.server import open_registry
from ..system.signals import ending_signals
from ..worker.worker import Worker, WorkerHandle, WorkerReport
from .demo_agent import entrypoint

REFRESH_SECONDS = 0.25
_STYLES = {
    LedgerState.RUNNING: "cyan",
    LedgerState.COMPLETED: "green",
    LedgerState.FAILED: "red",
    LedgerState.CANCELLED: "yellow",
}


@attrs.define
class Dispatched:
    """One job of the demo: what it is, and what the registry knows of it."""

    kind: str
    expected: LedgerState
    job_id: str


class Screen:
    """Shows the jobs: a live table on a terminal, a line for every change elsewhere."""

    def __init__(self, console: Console, registry: Registry, jobs: list[Dispatched]) -> None:
        self._console = console
        self._registry = registry
        self._jobs = jobs
        self._shown: dict[str, LedgerState] = {}

    async def run(self, *, task_status: trio.TaskStatus[None]) -> None:
        """Show until cancelled; what was there last stays on the screen."""
        task_status.started()
        if self._console.is_terminal:
            await self._show_table()
        try:
            while True:
                self.print_changes()
                await trio.sleep(REFRESH_SECONDS / 5)
        finally:
            self.print_changes()

    async def _show_table(self) -> None:
        with Live(self.table(), console=self._console, auto_refresh=False) as live:
            try:
                while True:
                    live.update(self.table(), refresh=True)
                    await trio.sleep(REFRESH_SECONDS)
            finally:
                live.update(self.table(), refresh=True)

    def print_changes(self) -> None:
        for dispatched in self._jobs:
            job = self._registry.job(dispatched.job_id)
            if self._shown.get(job.job_id) is not job.state:
                self._shown[job.job_id] = job.state
                error = f": {first_line(job.error)}" if job.error else ""
                self._console.print(
                    f"job {job.job_id[:8]} ({dispatched.kind}) {job.state.value}{error}",
                    markup=False,
                    highlight=False,
                )

    def table(self) -> Table:
        table = Table("job", "kind", "state", "after", "cause", title="jobs", expand=True)
        for dispatched in self._jobs:
            job = self._registry.job(dispatched.job_id)
            end = job.ended if job.ended is not None else trio.current_time()
            table.add_row(
                job.job_id[:8],
                dispatched.kind,
                Text(job.state.value, style=_STYLES.get(job.state, "")),
                f"{end - job.created:.1f} s",
                Text(first_line(job.error), overflow="ellipsis", no_wrap=True),
            )
        return table


def first_line(text: str | None) -> str:
    """What of an error fits in a line."""
    return (text or "").partition("\n")[0]


AGENT_ID = "demo-agent"
# What is dispatched, in this order, and how each is expected to end.
PLAN = (
    ("returns", LedgerState.COMPLETED),
    ("raises", LedgerState.FAILED),
    ("crashes", LedgerState.FAILED),
    ("waits", LedgerState.CANCELLED),
    ("returns", LedgerState.COMPLETED),
    ("returns", LedgerState.COMPLETED),
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
            failures += leaves(group)
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
    """Around the body, a signal cancels `scope`; the handlers from before are back after it."""
    with trio.open_signal_receiver(*ending_signals()) as signals:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_cancel_on_signal, signals, scope)
            yield
            nursery.cancel_scope.cancel()


async def _cancel_on_signal(signals: AsyncIterator[int], scope: trio.CancelScope) -> None:
    async for _ in signals:
        scope.cancel()


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
