"""`vsdk-trio dispatch`."""

from __future__ import annotations

from typing import Annotated

import typer

from ._options import DEFAULT_REGISTRY_URL, Json, Metadata, RegistryUrl

# What the wire's words for a failure mean here, and so what could be done about it.
_MEANINGS = {
    "Agent Not Deployed": "no worker of {agent!r} has been seen at {registry}",
    "No Workers Registered": "no worker of {agent!r} is connected to {registry} now",
    "No workers available": "every worker of {agent!r} is full, draining, or did not take it",
}


def dispatch(
    agent: Annotated[str, typer.Argument(metavar="AGENT", help="The agent id of the workers.")],
    room: Annotated[str | None, typer.Option(help="The room; a new one if left out.")] = None,
    metadata: Metadata = None,
    registry: RegistryUrl = DEFAULT_REGISTRY_URL,
    as_json: Json = False,
) -> None:
    """Send a job to the least loaded worker of an agent."""
    from ._client import CallError, call
    from ._json import json_object
    from ._output import harmless, print_json

    given = None if metadata is None else json_object(metadata, "--metadata")
    body = {"agentId": agent, "meetingId": room, "metadata": given}
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
