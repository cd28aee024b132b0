"""What the registry's page shows, as one value, and how it is kept fresh while somebody looks.

Knows the registry; not the page. Nothing here runs while nobody looks.
"""

from __future__ import annotations

import time
from collections import Counter
from typing import Any, Final

import trio

from .. import __version__
from .._change import Change
from ..web.events import Push
from .core import Registry
from .ledger import Job
from .workers import Worker

# What workers report of themselves is looked at as often; what happens to jobs is told at once.
LOOK_SECONDS: Final = 1.0
# Changes come in bursts; one message tells of them all.
SETTLE_SECONDS: Final = 0.1
MAX_ENDED: Final = 100
MAX_OPEN: Final = 300
MAX_WORKERS: Final = 200


async def follow(registry: Registry, push: Push) -> None:
    """Tell a page what is new, until cancelled."""
    # Once for a page, so that a moment has one name for it.
    to_unix = time.time() - trio.current_time()
    change = Change()
    told: dict[str, Any] = {}
    with registry.observers.listening(lambda _: change.notify()):
        while True:
            state = snapshot(registry, to_unix)
            if state != told:
                told = state
                now = to_unix + trio.current_time()
                await push("state", {"now": now, **state})
            with trio.move_on_after(LOOK_SECONDS) as waiting:
                await change.wait()
            if not waiting.cancelled_caught:
                await trio.sleep(SETTLE_SECONDS)


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
        "jobs": [_job(job, to_unix) for job in shown],
    }


def _worker(worker: Worker) -> dict[str, Any]:
    return {
        "worker_id": worker.worker_id,
        "agent_id": worker.agent_id,
        "status": "away" if worker.away else worker.status or "registered",
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
