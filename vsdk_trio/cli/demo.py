"""`vsdk-trio demo`: the main job, seen live, on this machine alone.

A local registry and a worker in one Trio program, with real sockets and real job processes. Says
at the end what became of every job, and whether anything was left running; both are looked up, not
assumed.
"""

from __future__ import annotations

import secrets
import statistics
from collections import Counter

import attrs
import psutil
import trio
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from ..backend.api import RegistryApi
from ..backend.dialer import DirectDialer
from ..options import Options
from ..registry.core import Registry
from ..registry.ledger import Job, JobState
from ..registry.server import open_registry
from ..room_options import RoomOptions
from ..worker.worker import Worker, WorkerHandle, WorkerReport
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
REFRESH_SECONDS = 0.25
_STYLES = {
    JobState.RUNNING: "cyan",
    JobState.COMPLETED: "green",
    JobState.FAILED: "red",
    JobState.CANCELLED: "yellow",
}


@attrs.define
class Dispatched:
    """One job of the demo: what it is, and what the registry knows of it."""

    kind: str
    expected: JobState
    job_id: str


class Screen:
    """Shows the jobs: a live table on a terminal, a line for every change elsewhere."""

    def __init__(self, console: Console, registry: Registry, jobs: list[Dispatched]) -> None:
        self._console = console
        self._registry = registry
        self._jobs = jobs
        self._shown: dict[str, JobState] = {}

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
                error = f": {_first_line(job.error)}" if job.error else ""
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
                Text(_first_line(job.error), overflow="ellipsis", no_wrap=True),
            )
        return table


async def run_demo(console: Console) -> bool:
    """Run the demo; True when everything ended as it should and nothing was left behind."""
    token = secrets.token_urlsafe(16)
    dispatched: list[Dispatched] = []
    reports: list[WorkerReport] = []
    before = _descendants()
    async with open_registry(Registry(auth_token=token)) as running:
        console.print(f"registry  {running.url}", highlight=False)
        async with trio.open_nursery() as showing:
            async with trio.open_nursery() as nursery:
                worker: WorkerHandle = await nursery.start(_run_worker, running.url, token, reports)
                console.print(f"worker    {worker.worker_id}", highlight=False)
                await showing.start(Screen(console, running.registry, dispatched).run)
                api = RegistryApi(running.url, lambda url: DirectDialer())
                await _run_jobs(api, token, running.registry, dispatched)
                worker.drain("the demo is over")
            showing.cancel_scope.cancel()
        ended = [running.registry.job(job.job_id) for job in dispatched]
    return _summarize(console, dispatched, ended, reports[0], _descendants() - before)


async def _run_worker(
    url: str,
    token: str,
    reports: list[WorkerReport],
    *,
    task_status: trio.TaskStatus[WorkerHandle],
) -> None:
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
    worker = Worker(options, entrypoint=entrypoint, room_options=room_options)
    reports.append(await worker.run(task_status=task_status))


async def _run_jobs(
    api: RegistryApi, token: str, registry: Registry, dispatched: list[Dispatched]
) -> None:
    """Dispatch the plan, terminate what waits for it, and see every job to its end."""
    for number, (kind, expected) in enumerate(PLAN):
        room_id = await api.create_room(token)
        await api.dispatch(token, room_id, AGENT_ID, {"kind": kind, "seconds": 0.5 + number / 4})
        job = next(job for job in registry.jobs() if job.room_id == room_id)
        dispatched.append(Dispatched(kind=kind, expected=expected, job_id=job.job_id))
    for item in dispatched:
        if item.kind == "waits":
            await trio.sleep(1.5)  # so that it is seen running
            registry.terminate(item.job_id, "the demo has seen enough")
    for item in dispatched:
        await registry.wait_ended(item.job_id)


def _summarize(
    console: Console,
    dispatched: list[Dispatched],
    ended: list[Job],
    report: WorkerReport,
    left: set[int],
) -> bool:
    counts = Counter(job.state.value for job in ended)
    waits = sorted(j.started - j.created for j in ended if j.started is not None)
    wrong = [d for d, job in zip(dispatched, ended, strict=True) if job.state is not d.expected]
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
    for job in wrong:
        console.print(f"UNEXPECTED: a job that {job.kind} should be {job.expected.value}")
    return not wrong and not left and not report.killed


def _descendants() -> set[int]:
    return {process.pid for process in psutil.Process().children(recursive=True)}


def _first_line(text: str | None) -> str:
    return (text or "").partition("\n")[0]


def main() -> int:
    """Run the demo on this terminal; returns the exit code."""
    console = Console()
    return trio.run(_main, console)


async def _main(console: Console) -> int:
    with trio.move_on_after(LIMIT_SECONDS):
        return 0 if await run_demo(console) else 1
    console.print(f"the demo did not end within {LIMIT_SECONDS:g} s")
    return 1
