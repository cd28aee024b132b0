"""Dispatches a job or drains a worker, and waits for the end of it if asked to."""

from __future__ import annotations

import json
import math
from typing import Any, Final
from urllib.parse import quote

import trio

from ..system.stopping import ExitCode
from ._client import AwayError, CallError, HttpPeer
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


async def dispatch_job(registry: HttpPeer, body: dict[str, Any]) -> dict[str, Any]:
    """Send the job; returns the registry's answer. Raises `CallError` if no worker takes it."""
    try:
        return await registry.ask("POST", "/v2/agent/dispatch", body)
    except CallError as error:
        meaning = _MEANINGS.get(str(error), "")
        if not meaning:
            raise
        told = meaning.format(agent=body["agentId"], registry=registry.url)
        raise CallError(f"{error}: {told}") from None


async def dispatch_and_say(
    registry: HttpPeer, body: dict[str, Any], wait: bool, timeout: float | None, as_json: bool
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


async def _end_of(registry: HttpPeer, job_id: str) -> dict[str, Any]:
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


async def drain_worker(worker: HttpPeer, wait: bool, timeout: float | None, as_json: bool) -> None:
    """Ask the worker to drain; with `wait`, return once it has gone.

    Raises `CallError` where it refuses, or has not gone within `timeout` seconds.
    """
    answer = await worker.ask("POST", "/drain")
    if wait:
        with trio.move_on_after(math.inf if timeout is None else timeout) as limit:
            await _wait_until_gone(worker)
        if limit.cancelled_caught:
            raise CallError(f"{worker.url} is still draining after {timeout:g} s")
    if as_json:
        print_json({**answer, "ended": wait})
    elif wait:
        print(harmless(f"{worker.url} has ended"))
    else:
        waiting = _listed(answer.get("waiting_for"))
        print(harmless(f"{answer.get('stage')}; {waiting or 'nothing to wait for'}"))


async def _wait_until_gone(worker: HttpPeer) -> None:
    with Progress() as progress:
        while True:
            try:
                _, raw = await worker.exchange("GET", "/readyz")
            except AwayError:
                return
            progress.say(_told(raw))
            await trio.sleep(_POLL_SECONDS)


def _told(raw: bytes) -> str:
    try:
        leaving: Any = json.loads(raw).get("draining") or {}
    except (ValueError, AttributeError):
        return "draining"
    waiting = _listed(leaving.get("waiting_for"))
    return f"{leaving.get('stage') or 'draining'}{f'; {waiting}' if waiting else ''}"


def _listed(waiting: object) -> str:
    found = ", ".join(map(str, waiting)) if isinstance(waiting, list) else ""
    return f"waiting for {found}" if found else ""
