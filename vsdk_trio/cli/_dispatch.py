"""Dispatching a job, and seeing it to its end. Knows what a registry's answers mean."""

from __future__ import annotations

import math
from typing import Any, Final
from urllib.parse import quote

import trio

from ..system.stopping import ExitCode
from ._client import CallError, Peer
from ._output import Progress, harmless, print_json, seconds

_POLL_SECONDS: Final = 0.5
# What the wire's words for a failure mean here, and so what could be done about it.
_MEANINGS: Final = {
    "Agent Not Deployed": "no worker of {agent!r} has been seen at {registry}; "
    "`vsdk-trio workers` lists those that have",
    "No Workers Registered": "no worker of {agent!r} is connected to {registry} now; "
    "its own log says why, or `vsdk-trio doctor` does",
    "No workers available": "every worker of {agent!r} is full, draining, or did not take "
    "it; `vsdk-trio workers` shows their load",
}
_CODES: Final = {
    "completed": ExitCode.CLEAN,
    "failed": ExitCode.JOB_FAILED,
    "cancelled": ExitCode.JOB_CANCELLED,
}


async def dispatch_job(registry: Peer, body: dict[str, Any]) -> dict[str, Any]:
    """Send the job; returns the registry's answer. Raises `CallError` where nobody takes it."""
    try:
        return await registry.ask("POST", "/v2/agent/dispatch", body)
    except CallError as error:
        meaning = _MEANINGS.get(str(error), "")
        if not meaning:
            raise
        told = meaning.format(agent=body["agentId"], registry=registry.url)
        raise CallError(f"{error}: {told}") from None


async def dispatch_and_say(
    registry: Peer, body: dict[str, Any], wait: bool, timeout: float | None, as_json: bool
) -> ExitCode:
    """Send the job and say so; with `wait`, see it to its end, which is the exit code."""
    answer = await dispatch_job(registry, body)
    data = answer.get("data") or {}
    if not wait:
        if as_json:
            print_json(answer)
        else:
            print(
                harmless(f"{data.get('jobId')} {data.get('status')} in room {data.get('roomId')}")
            )
        return ExitCode.CLEAN
    job_id = str(data.get("jobId"))
    with trio.move_on_after(math.inf if timeout is None else timeout):
        job = await _end_of(registry, job_id)
        if as_json:
            print_json({"job": job})
        else:
            error = f": {job.get('error')}" if job.get("error") else ""
            lasted = seconds(job.get("ended_after"))
            print(harmless(f"{job_id} {job.get('status')} after {lasted}{error}"))
        return _CODES.get(str(job.get("status")), ExitCode.ERROR)
    raise CallError(
        f"{job_id} has not ended within {timeout:g} s, and goes on; "
        f"`vsdk-trio terminate {job_id}` ends it"
    )


async def _end_of(registry: Peer, job_id: str) -> dict[str, Any]:
    path = f"/v2/agent/jobs/{quote(job_id, safe='')}"
    with Progress() as progress:
        while True:
            job = (await registry.ask("GET", path)).get("job")
            if not isinstance(job, dict):
                raise CallError(f"{registry.url} is not a registry: it knows no job {job_id}")
            if job.get("ended_after") is not None:
                return job
            progress.say(f"{job_id} {job.get('status')}", f"for {job.get('age', 0):.0f} s")
            await trio.sleep(_POLL_SECONDS)
