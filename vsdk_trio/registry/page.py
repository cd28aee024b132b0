"""The content of the registry's page as one value, refreshed while a page is open.

Knows the registry; not the page. Nothing here runs while no page is open.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Final

import trio

from .. import __version__
from .._masking import cut
from .._service import Notifier
from ..http_server.answers import Push
from ..jobs.short_ids import find_ids
from .core import Registry
from .ledger import Job
from .roster import RegisteredWorker

# How often reports of workers are looked at; changes of jobs are pushed at once.
LOOK_SECONDS: Final = 1.0
# Changes come in bursts; one message tells of them all.
SETTLE_SECONDS: Final = 0.1
MAX_ENDED: Final = 100
MAX_OPEN: Final = 300
MAX_WORKERS: Final = 200
MAX_ERROR_IN_TABLE: Final = 300


async def follow(registry: Registry, push: Push) -> None:
    """Push changes to a page, until cancelled."""
    # Once for a page, so that a moment has one name for it.
    to_unix = time.time() - trio.current_time()
    await _follow(registry, to_unix, partial(snapshot, registry, to_unix), push)


async def follow_job(registry: Registry, typed: str, push: Push) -> None:
    """Push changes to a job's own page, until cancelled."""
    to_unix = time.time() - trio.current_time()
    await _follow(registry, to_unix, partial(job_snapshot, registry, typed, to_unix), push)


async def _follow(
    registry: Registry, to_unix: float, look: Callable[[], dict[str, Any]], push: Push
) -> None:
    change = Notifier()
    told: dict[str, Any] = {}
    with registry.observers.listening(lambda _: change.notify()):
        while True:
            state = look()
            if state != told:
                told = state
                now = to_unix + trio.current_time()
                await push("state", {"now": now, **state})
                # Changes come in bursts; and what came meanwhile has woken nothing, so look again.
                await trio.sleep(SETTLE_SECONDS)
                continue
            with trio.move_on_after(LOOK_SECONDS):
                await change.wait()


def snapshot(registry: Registry, to_unix: float) -> dict[str, Any]:
    """Workers and jobs, the newest first, for the page; `to_unix` makes Unix time of Trio's."""
    jobs, workers = registry.jobs(), registry.workers()
    open_jobs = [job for job in jobs if not job.state.ended]
    ended = sorted(
        (job for job in jobs if job.state.ended), key=lambda job: job.ended or job.created
    )
    shown = [*reversed(open_jobs[-MAX_OPEN:]), *reversed(ended[-MAX_ENDED:])]
    return {
        "version": __version__,
        "counts": Counter(job.state.value for job in jobs),
        "agents": sorted({worker.agent_id for worker in workers}),
        "worker_count": len(workers),
        "workers": [_worker(worker) for worker in workers[:MAX_WORKERS]],
        "full_agents": sorted(_full_agents(workers)),
        "jobs": [{**_job(job, to_unix), "error": _beginning(job.error)} for job in shown],
    }


def job_snapshot(registry: Registry, typed: str, to_unix: float) -> dict[str, Any]:
    """One job with its whole error and its worker's updates, for a page of its own.

    `job` is None where `typed` names none, or several: `candidates` are those, then.
    """
    found = find_ids(typed, (job.job_id for job in registry.jobs()))
    known = registry.job(found[0]) if len(found) == 1 else None
    updates = () if known is None else registry.updates(known.job_id)
    return {
        "version": __version__,
        "job": None if known is None else _job(known, to_unix),
        "updates": [
            {
                "at": round(to_unix + update.time, 3),
                "status": update.status,
                "is_applied": update.applied,
            }
            for update in updates
        ],
        "candidates": found if known is None else [],
    }


def _full_agents(workers: Iterable[RegisteredWorker]) -> set[str]:
    """The agents whose workers are all full: a dispatch to them waits, and may fail."""
    present = [worker for worker in workers if not worker.away and not worker.is_closed]
    free = {worker.agent_id for worker in present if not worker.is_full}
    return {worker.agent_id for worker in present} - free


def _beginning(error: str | None) -> str | None:
    return None if error is None else cut(error, MAX_ERROR_IN_TABLE)


def _state(worker: RegisteredWorker) -> str:
    """The worker's own status in one word, unless the registry knows better."""
    if worker.away:
        return "away"
    is_taken = worker.is_full and not worker.is_closed
    return "full" if is_taken else worker.status or "registered"


def _worker(worker: RegisteredWorker) -> dict[str, Any]:
    return {
        "worker_id": worker.worker_id,
        "agent_id": worker.agent_id,
        "status": _state(worker),
        "load": round(worker.load, 4),
        "job_count": worker.job_count,
        "max_processes": worker.capacity,
        "held": len(worker.jobs),
        "is_silent": worker.is_silent,
    }


def _job(job: Job, to_unix: float) -> dict[str, Any]:
    moments = (
        ("dispatched", job.created),
        ("assigned", job.assigned),
        ("running", job.started),
        ("ended", job.ended),
    )
    return {
        "job_id": job.job_id,
        "agent_id": job.agent_id,
        "room_id": job.room_id,
        "worker_id": job.worker_id,
        "state": job.state.value,
        "is_open": not job.state.ended,
        "error": job.error,
        "presumed": job.presumed,
        "adopted": job.adopted,
        "terminating": job.terminating,
        "offers": job.offers,
        "participant": job.participant_name or job.participant_identity,
        "moments": {name: round(to_unix + at, 3) for name, at in moments if at is not None},
    }
