"""`vsdk-trio drain`."""

from __future__ import annotations

from typing import Annotated

import typer

from ._options import CaFile, Json


def drain(
    url: Annotated[
        str,
        typer.Argument(
            metavar="WORKER_URL", help="The worker's own HTTP, such as http://127.0.0.1:8081."
        ),
    ],
    wait: Annotated[bool, typer.Option("--wait", help="Wait until it has ended.")] = False,
    timeout: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", min=0, help="Wait no longer; it goes on draining."),
    ] = None,
    ca_file: CaFile = None,
    as_json: Json = False,
) -> None:
    """Have a worker take nothing new, let what runs finish, and end. Like SIGTERM.

    A worker that is not on this machine wants its debug_token, in VSDK_TRIO_DEBUG_TOKEN.
    """
    from ._client import run, worker_at
    from ._drain import drain_worker

    run(drain_worker, worker_at(url, ca_file), wait, timeout, as_json)
