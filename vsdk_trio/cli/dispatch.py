"""`vsdk-trio dispatch`."""

from __future__ import annotations

from typing import Annotated

import typer

from ._options import CaFile, Json, LocalRegistryUrl, Metadata


def dispatch(
    agent: Annotated[str, typer.Argument(metavar="AGENT_ID", help="The agent id of the workers.")],
    room: Annotated[str | None, typer.Option(help="The room; a new one if left out.")] = None,
    metadata: Metadata = None,
    wait: Annotated[
        bool, typer.Option("--wait", help="See the job to its end; that is the exit code.")
    ] = False,
    timeout: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", min=0, help="Wait no longer; the job goes on."),
    ] = None,
    registry: LocalRegistryUrl = None,
    ca_file: CaFile = None,
    as_json: Json = False,
) -> None:
    """Send a job to the least loaded worker of an agent.

    With --wait it ends with 0 where the job completes, with 5 where it fails, and with 6 where it
    is cancelled. Ctrl-C ends the waiting, not the job.
    """
    from ._client import registry_at, run
    from ._dispatch import dispatch_and_say
    from ._json import json_object

    given = None if metadata is None else json_object(metadata, "--metadata")
    body = {"agentId": agent, "meetingId": room, "metadata": given}
    raise typer.Exit(
        run(dispatch_and_say, registry_at(registry, ca_file), body, wait, timeout, as_json)
    )
