"""`vsdk-trio jobs`."""

from __future__ import annotations

from typing import Annotated

import typer

from ._options import DEFAULT_REGISTRY_URL, Every, Json, RegistryUrl


def jobs(
    registry: RegistryUrl = DEFAULT_REGISTRY_URL,
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Go on showing them, until Ctrl-C.")
    ] = False,
    every: Every = 1.0,
    as_json: Json = False,
) -> None:
    """List the jobs that a registry knows, oldest first."""
    from ._client import Peer, run
    from ._top import watch_jobs

    run(watch_jobs, Peer(registry), every, as_json, not watch)
