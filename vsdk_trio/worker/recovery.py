"""What a worker does first if it finds the journal of a worker that died.

In this order, and all of it before it registers: the processes of the dead worker end; jobs that
had been running have failed, and that is written down; then the ends may be sent, again if need be.
"""

from __future__ import annotations

import attrs

from ..jobs.lifecycle import Update
from ..journal.journal import Journal
from ..journal.records import Contents, JobEnd, JobEntry, RunBegan, RunsGone
from ..processes.orphans import ProcessTable, reap_orphans
from ..protocol.vocabulary import JobFact
from ..telemetry.logs.loggers import get_logger

logger = get_logger(__name__)

RESTARTED = Update(JobFact.FAILED, "worker was restarted")


@attrs.frozen
class Recovery:
    """What follows from the journal of an earlier life of this worker."""

    contents: Contents

    @property
    def interrupted(self) -> tuple[str, ...]:
        """The jobs whose end is not known: they were running."""
        return tuple(entry.job_id for entry in self.contents.jobs if entry.end is None)

    @property
    def unacknowledged(self) -> dict[str, Update]:
        """The ends that the registry has not acknowledged, in the order of the jobs."""
        return {e.job_id: _end_of(e) for e in self.contents.jobs if not e.is_acknowledged}

    @property
    def remembered(self) -> dict[str, Update]:
        """Every job that must not run again, and how it ended."""
        return {entry.job_id: _end_of(entry) for entry in self.contents.jobs}

    async def run(
        self,
        journal: Journal,
        table: ProcessTable,
        *,
        cookie_prefix: str,
        grace_seconds: float,
    ) -> None:
        """Do what has to be done before registering; safe to be cancelled, and begun again.

        Arguments: `cookie_prefix`, of the job processes of the life that begins; `grace_seconds`,
        how long those of earlier ones may take to stop by themselves.
        """
        earlier = self.contents.cookie_prefixes
        if not earlier or await reap_orphans(table, earlier, grace_seconds=grace_seconds):
            journal.write(RunsGone(earlier))
        else:
            journal.warnings.append(
                "processes that a dead worker had left cannot be found or killed"
            )
        for job_id in self.interrupted:
            journal.write(JobEnd(job_id, RESTARTED.fact, RESTARTED.error))
        await journal.write(RunBegan(cookie_prefix)).wait()
        for job_id, update in self.unacknowledged.items():
            text = "sent again" if update is not RESTARTED else "interrupted by a restart"
            logger.warning(
                "job of an earlier life of this worker: %s", text, extra={"job_id": job_id}
            )


def _end_of(entry: JobEntry) -> Update:
    return RESTARTED if entry.end is None else Update(entry.end.fact, entry.end.error)
