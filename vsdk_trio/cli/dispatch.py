"""`vsdk-trio dispatch`."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from ._options import DEFAULT_REGISTRY_URL, Json, RegistryUrl

# What the wire's words for a failure mean here, and so what could be done about it.
_MEANINGS = {
    "Agent Not Deployed": "no worker of {agent!r} has been seen at {registry}",
    "No Workers Registered": "no worker of {agent!r} is connected to {registry} now",
    "No workers available": "every worker of {agent!r} is full, draining, or did not take it",
}


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _metadata(text: str | None) -> dict[str, Any] | None:
    if text is None:
        return None
    try:
        parsed = json.loads(text, parse_constant=_refuse_constant)
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
    from ._client import CallError, call
    from ._output import harmless, print_json

    body = {"agentId": agent, "meetingId": room, "metadata": _metadata(metadata)}
    try:
        answer = call(registry, "POST", "/v2/agent/dispatch", body)
    except CallError as error:
        meaning = _MEANINGS.get(str(error), "").format(agent=agent, registry=registry)
        raise CallError(f"{error}: {meaning}" if meaning else str(error)) from None
    if as_json:
        print_json(answer)
        return
    data = answer.get("data") or {}
    print(harmless(f"{data.get('jobId')} {data.get('status')} in room {data.get('roomId')}"))
