"""`vsdk-trio jobs`."""

from __future__ import annotations

from typing import Any

from ._options import DEFAULT_REGISTRY_URL, Json, RegistryUrl

_COLUMNS = ("JOB", "AGENT", "ROOM", "STATUS", "WORKER", "AGE", "LASTED", "ERROR")


def jobs(registry: RegistryUrl = DEFAULT_REGISTRY_URL, as_json: Json = False) -> None:
    """List the jobs that a registry knows, oldest first."""
    from ._client import CallError, call
    from ._output import print_json, print_table

    answer = call(registry, "GET", "/v2/agent/jobs")
    known = answer.get("jobs")
    if not isinstance(known, list) or not all(isinstance(job, dict) for job in known):
        raise CallError(f"{registry} is not a registry: it knows no jobs")
    if as_json:
        print_json(answer)
    else:
        print_table(_COLUMNS, [_row(job) for job in known])


def _row(job: dict[str, Any]) -> tuple[str, ...]:
    from ._output import seconds

    status = str(job.get("status"))
    if job.get("presumed"):
        status += " (presumed)"
    elif job.get("terminating") and job.get("ended_after") is None:
        status += " (terminating)"
    texts = [str(job.get(name) or "") for name in ("job_id", "agent_id", "room_id")]
    worker = str(job.get("worker_id") or "")[:8]
    times = seconds(job.get("age")), seconds(job.get("ended_after"))
    return (*texts, status, worker, *times, str(job.get("error") or ""))
