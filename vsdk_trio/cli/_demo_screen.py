"""What the demo shows while it runs. Knows the registry's jobs; not how they come to be."""

from __future__ import annotations

import attrs
import trio
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from ..registry.core import Registry
from ..registry.ledger import JobState

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
