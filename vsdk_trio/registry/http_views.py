"""The registry's jobs and workers as JSON has them, for people and programs.

Pure: values in, values out.
"""

from __future__ import annotations

from typing import Any

import attrs

from .ledger import Job, Update
from .workers import Worker


def update_json(update: Update, now: float) -> dict[str, Any]:
    """What a worker said of a job; `age` is in seconds."""
    return {"age": now - update.time, **attrs.asdict(update, filter=_is_not_time)}


def job_json(job: Job, now: float) -> dict[str, Any]:
    """A job for people and programs; times are seconds since it was dispatched."""

    def since(moment: float | None) -> float | None:
        return None if moment is None else moment - job.created

    return {
        "job_id": job.job_id,
        "agent_id": job.agent_id,
        "room_id": job.room_id,
        "worker_id": job.worker_id,
        "status": job.state.value,
        "error": job.error,
        "presumed": job.presumed,
        "adopted": job.adopted,
        "terminating": job.terminating,
        "offers": job.offers,
        "age": now - job.created,
        "assigned_after": since(job.assigned),
        "running_after": since(job.started),
        "ended_after": since(job.ended),
        "participant_identity": job.participant_identity,
        "participant_name": job.participant_name,
    }


def worker_json(worker: Worker) -> dict[str, Any]:
    return {
        "worker_id": worker.worker_id,
        "agent_id": worker.agent_id,
        "status": "away" if worker.away else worker.status,
        "load": worker.load,
        "job_count": worker.job_count,
        "max_processes": worker.capacity,
        "jobs": sorted(worker.jobs),
        "is_full": worker.is_full,
    }


def _is_not_time(attribute: attrs.Attribute[Any], _: Any) -> bool:
    return attribute.name != "time"
