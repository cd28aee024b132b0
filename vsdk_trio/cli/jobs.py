"""`vsdk-trio jobs`."""

from __future__ import annotations

from typing import Annotated

import typer

from ._options import CaFile, Every, Json, LocalRegistryUrl


def jobs(
    job_id: Annotated[
        str | None,
        typer.Argument(
            metavar="JOB_ID", help="Show all of one job: its id, or a beginning that no other has."
        ),
    ] = None,
    registry: LocalRegistryUrl = None,
    ca_file: CaFile = None,
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Go on showing them, until Ctrl-C.")
    ] = False,
    every: Every = 1.0,
    as_json: Json = False,
) -> None:
    """List the jobs that a registry knows, oldest first.

    On a terminal a job is one line: ids are shortened, and what does not fit ends with "…". Piped,
    nothing is cut off.
    """
    from ._client import registry_at, run
    from ._top import watch_job, watch_jobs

    peer = registry_at(registry, ca_file)
    if job_id is None:
        run(watch_jobs, peer, every, as_json, not watch)
    else:
        run(watch_job, peer, job_id, every, as_json, not watch)
