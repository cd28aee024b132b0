"""`vsdk-trio jobs`."""

from __future__ import annotations

from typing import Annotated

import typer

from ._options import DEFAULT_REGISTRY_URL, Every, Json, RegistryUrl


def jobs(
    job_id: Annotated[
        str | None,
        typer.Argument(
            metavar="JOB_ID", help="Show all of one job: its id, or a beginning that no other has."
        ),
    ] = None,
    registry: RegistryUrl = DEFAULT_REGISTRY_URL,
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
    from ._client import Peer, run
    from ._top import watch_job, watch_jobs

    if job_id is None:
        run(watch_jobs, Peer(registry), every, as_json, not watch)
    else:
        run(watch_job, Peer(registry), job_id, every, as_json, not watch)
