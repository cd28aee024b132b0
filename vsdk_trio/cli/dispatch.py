"""`vsdk-trio dispatch`."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from ._options import DEFAULT_REGISTRY_URL, Json, RegistryUrl


def _metadata(text: str | None) -> dict[str, Any] | None:
    if text is None:
        return None
    try:
        parsed = json.loads(text)
    except ValueError as error:
        raise typer.BadParameter(f"--metadata is not JSON: {error}") from None
    if not isinstance(parsed, dict):
        raise typer.BadParameter(f"--metadata must be an object, not {type(parsed).__name__}")
    return parsed


def dispatch(
    agent: Annotated[str, typer.Argument(metavar="AGENT", help="The agent id of the workers.")],
    room: Annotated[str | None, typer.Option(help="The room; a new one if left out.")] = None,
    metadata: Annotated[
        str | None, typer.Option(metavar="JSON", help="An object for the job.")
    ] = None,
    registry: RegistryUrl = DEFAULT_REGISTRY_URL,
    as_json: Json = False,
) -> None:
    """Send a job to the least loaded worker of an agent."""
    from ._client import call
    from ._output import harmless, print_json

    body = {"agentId": agent, "meetingId": room, "metadata": _metadata(metadata)}
    answer = call(registry, "POST", "/v2/agent/dispatch", body)
    if as_json:
        print_json(answer)
        return
    data = answer.get("data") or {}
    print(harmless(f"{data.get('jobId')} {data.get('status')} in room {data.get('roomId')}"))
