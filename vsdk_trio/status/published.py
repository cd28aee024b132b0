"""The answers of the published client's status routes: its JSON keys, with true values in them.

Pure: views in, values out. Where the published client makes something up (a runner for a worker
without jobs, an event for a job without events), nothing is said here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from .view import JobView, ProcessView, WorkerView

ENDPOINTS: Final = (
    "/",
    "/health",
    "/worker",
    "/stats",
    "/debug",
    "/api/status",
    "/debug/worker/",
    "/debug/runners/",
    "/debug/runner/",
)
# What the published client's `/debug` has always named.
DEBUG_ENDPOINTS: Final = ENDPOINTS[:5]

_RESOURCE_STATUS: Final = {
    "starting": "initializing",
    "idle": "idle",
    "busy": "busy",
    "stopping": "shutting_down",
}

Points = Sequence[tuple[float, float]]


def worker_json(view: WorkerView) -> dict[str, Any]:
    """`/worker`."""
    return {
        "agent_id": view.agent_id,
        "executor_type": view.executor_type,
        "active_jobs": len(view.jobs),
        "connected": view.is_connected,
        "worker_id": view.worker_id,
        "register": view.register,
        "draining": view.drain is not None,
        "worker_load": view.load,
        "pid": view.pid,
    }


def stats_json(view: WorkerView) -> dict[str, Any]:
    """`/stats`: a resource is a job process."""
    resources = [_resource(process, view.now) for process in view.processes]
    available = sum(process.state == "idle" for process in view.processes)
    active = len(resources) - available
    return {
        "worker_load": view.load,
        "draining": view.drain is not None,
        "current_jobs": len(view.jobs),
        "max_processes": view.max_processes,
        "agent_id": view.agent_id,
        "register": view.register,
        "backend_connected": view.is_connected,
        "worker_id": view.worker_id,
        "resource_stats": {
            "total_resources": len(resources),
            "available_resources": available,
            "active_resources": active,
            "average_load": active / len(resources) if resources else 0.0,
            "resources": resources,
            # A model server that jobs share: there is none here.
            "dedicated_inference": None,
        },
        "resource_info": resources,
        "resource_summary": {
            "total_resources": len(resources),
            "available_resources": available,
            "active_resources": active,
            "dedicated_inference_active": False,
        },
    }


def debug_json(view: WorkerView) -> dict[str, Any]:
    """`/debug`."""
    options = _options(view)
    del options["log_level"]
    return {
        "server": {"host": view.host, "port": view.port, "endpoints": list(DEBUG_ENDPOINTS)},
        "worker": {"available": True, "options": options},
    }


def api_status_json(view: WorkerView) -> dict[str, Any]:
    """`/api/status`."""
    return {
        "worker": {
            "available": True,
            "connected": view.is_connected,
            "worker_id": view.worker_id,
            "options": _options(view),
        },
        "stats": stats_json(view),
        "server": {"host": view.host, "port": view.port, "endpoints": list(ENDPOINTS)},
        "timestamp": view.now,
    }


def worker_debug_json(
    view: WorkerView, *, events: Sequence[dict[str, Any]], load: Points
) -> dict[str, Any]:
    """`/debug/worker/`: `events` of the worker, `load` as (Unix time, load)."""
    kv = {
        "agent_id": view.agent_id,
        "executor_type": view.executor_type,
        "worker_load": view.load,
        "current_jobs": len(view.jobs),
        "max_processes": view.max_processes,
        "backend_connected": view.is_connected,
        "worker_id": view.worker_id,
        "draining": view.drain is not None,
        "register": view.register,
    }
    graph = {
        "title": "worker_load",
        "x_label": "time",
        "y_label": "load",
        "x_type": "time",
        "y_range": [0, 1],
        "data": [list(point) for point in load],
    }
    return {"tracing": {"kv": kv, "events": list(events), "graphs": [], "graph": [graph]}}


def runners_json(view: WorkerView) -> dict[str, Any]:
    """`/debug/runners/`: a runner is a live job."""
    return {
        "runners": [
            {"id": job.job_id, "room": job.room_id, "status": job.state, "task_id": job.job_id}
            for job in view.jobs
        ]
    }


def runner_json(
    view: WorkerView, job: JobView | None, *, events: Sequence[dict[str, Any]]
) -> dict[str, Any]:
    """`/debug/runner/?id=`; nothing is traced of a job that is not here."""
    if job is None:
        return {"tracing": None}
    kv = {
        "task_id": job.job_id,
        "room_id": job.room_id,
        "status": job.state,
        "worker_id": view.worker_id,
        "url": job.url,
    }
    return {"tracing": {"kv": kv, "events": list(events), "graphs": []}}


def _options(view: WorkerView) -> dict[str, Any]:
    return {
        "agent_id": view.agent_id,
        "executor_type": view.executor_type,
        "register": view.register,
        "max_processes": view.max_processes,
        "log_level": view.log_level,
    }


def _resource(process: ProcessView, now: float) -> dict[str, Any]:
    is_busy = process.state == "busy"
    has_had_job = process.job_id is not None
    return {
        "resource_id": f"process-{process.pid}",
        "resource_type": "process",
        "status": _RESOURCE_STATUS[process.state],
        "current_load": 1.0 if is_busy else 0.0,
        "memory_usage_mb": process.memory_mb,
        "cpu_usage_percent": round(process.cpu_percent(now), 2),
        "active_tasks": int(is_busy),
        # Each process runs one job, and ends with it.
        "total_tasks_processed": int(has_had_job and not is_busy),
        "last_heartbeat": process.heard_at,
        "metadata": {
            "pid": process.pid,
            "job_id": process.job_id,
            "blocked_seconds": None
            if process.blocked_since is None
            else round(now - process.blocked_since, 1),
        },
    }
