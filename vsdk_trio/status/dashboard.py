"""The content of the worker's page, as one value that is kept fresh while the page is open.

Knows views and the history; not the page. Nothing here runs while no page is open.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import attrs
import trio

from .. import __version__
from .._masking import cut
from .._service import Notifier
from ..http_server.answers import Push
from .history import History, JobStory
from .sources import StatusSources
from .view import JobView, ProcessView, WorkerView

# How often memory and CPU are read while a page is open; changes are sent at once.
LOOK_SECONDS: Final = 1.0
# Changes come in bursts; one message tells of them all.
SETTLE_SECONDS: Final = 0.1
MAX_LOAD_POINTS: Final = 200
MAX_ERROR_IN_TABLE: Final = 300


async def follow(sources: StatusSources, push: Push) -> None:
    """Send news to a page until cancelled: `state` with everything, `log` with new lines."""
    change = Notifier()
    told: dict[str, Any] = {}
    line = 0
    with sources.observers.listening(lambda _: change.notify()):
        while True:
            view = sources.look()
            state = snapshot(view, sources.history)
            line, lines = sources.lines_since(line)
            is_new = state != told
            if is_new:
                told = state
                await push("state", {"now": view.now, **state})
            if lines:
                await push("log", [attrs.asdict(one) for one in lines])
            await _news(change, has_pushed=is_new or bool(lines))


async def follow_job(sources: StatusSources, typed: str, push: Push) -> None:
    """Send news to a job's page: `state` with all of the job, `lines` with its log."""
    change = Notifier()
    told: dict[str, Any] = {}
    told_lines: list[dict[str, Any]] | None = None
    with sources.observers.listening(lambda _: change.notify()):
        while True:
            view = sources.look()
            state = job_snapshot(view, sources.history, typed)
            job = state["job"]
            lines = [] if job is None else [*map(attrs.asdict, sources.lines_of(job["job_id"]))]
            is_new, has_lines = state != told, lines != told_lines
            if is_new:
                told = state
                await push("state", {"now": view.now, **state})
            if has_lines:
                told_lines = lines
                await push("lines", lines)
            await _news(change, has_pushed=is_new or has_lines)


def job_snapshot(view: WorkerView, history: History, typed: str) -> dict[str, Any]:
    """One job with its whole error; `job` is None where `typed` names none, or several.

    `candidates` are those, then.
    """
    found = history.find(typed)
    known = found[0] if len(found) == 1 else None
    processes = [] if known is None else [p for p in view.processes if p.job_id == known.job_id]
    return {
        "worker": {"agent_id": view.agent_id, "worker_id": view.worker_id, "version": __version__},
        "job": None if known is None else _job(known, view.job(known.job_id), view.blocked),
        "process": _process(processes[0]) if processes else None,
        "candidates": [story.job_id for story in found] if known is None else [],
    }


async def _news(change: Notifier, *, has_pushed: bool) -> None:
    """Wait until something may look otherwise.

    Changes come in bursts; and what comes during a push wakes nothing, so the next look is soon.
    """
    if has_pushed:
        await trio.sleep(SETTLE_SECONDS)
        return
    with trio.move_on_after(LOOK_SECONDS):
        await change.wait()


def snapshot(view: WorkerView, history: History) -> dict[str, Any]:
    """The worker, its jobs, its processes and what was lately, for the page.

    Two of them are equal where the page would look the same: figures are rounded, and there is no
    "now" in it.
    """
    return {
        "worker": _worker(view),
        "counts": {
            "accepted": history.accepted,
            "refused": sum(history.refused.values()),
            **{end: history.ended[end] for end in ("completed", "failed", "cancelled")},
        },
        "load": [[round(at, 1), load] for at, load in history.load[-MAX_LOAD_POINTS:]],
        "jobs": _jobs(view, history),
        "processes": [_process(process) for process in view.processes],
        "refused": dict(history.refused.most_common()),
        "refusals": [attrs.asdict(note) for note in reversed(history.refusals)],
    }


def _worker(view: WorkerView) -> dict[str, Any]:
    drain = view.drain
    return {
        "version": __version__,
        "agent_id": view.agent_id,
        "worker_id": view.worker_id,
        "state": view.state,
        "is_connected": view.is_connected,
        "sessions": view.sessions,
        "started_at": view.started_at,
        "max_processes": view.max_processes,
        "num_idle_processes": view.num_idle_processes,
        "load": round(view.load, 4),
        "load_threshold": view.load_threshold,
        "measures_load": view.measures_load,
        "promised": view.promised,
        "owed": view.owed,
        "problems": view.problems,
        "warnings": view.to_be_seen_to,
        "drain": None
        if drain is None
        else {
            "stage": drain.stage,
            "reason": drain.reason,
            "jobs_may_run_until": round(view.now + drain.jobs_may_run_seconds),
            "over_at": round(view.now + drain.at_most_seconds),
            "waiting_for": drain.waiting_for,
        },
    }


def _jobs(view: WorkerView, history: History) -> list[dict[str, Any]]:
    """Every job that is remembered; what lives has its process and why it stops, too."""
    live = {job.job_id: job for job in view.jobs}
    blocked = view.blocked
    jobs = [_job(story, live.get(story.job_id), blocked) for story in history.jobs()]
    return [{**job, "error": _beginning(job["error"])} for job in jobs]


def _beginning(error: str | None) -> str | None:
    return None if error is None else cut(error, MAX_ERROR_IN_TABLE)


def _job(story: JobStory, view: JobView | None, blocked: Mapping[str, float]) -> dict[str, Any]:
    since = blocked.get(story.job_id)
    return {
        "job_id": story.job_id,
        "room_id": story.room_id,
        "state": story.state,
        "is_live": not story.has_ended,
        "accepted_at": round(story.accepted_at, 3),
        "blocked_since": None if since is None else round(since, 1),
        "moves": [[state, round(at, 3)] for state, at in story.moves],
        "stages": story.stages,
        "cause": story.cause,
        "error": story.error,
        "stopping_because": None if view is None else view.stopping_because,
        "pid": None if view is None else view.pid,
    }


def _process(process: ProcessView) -> dict[str, Any]:
    return {
        "pid": process.pid,
        "state": process.state,
        "job_id": process.job_id,
        "started_at": round(process.started_at, 1),
        "memory_mb": None if process.memory_mb is None else round(process.memory_mb, 1),
        "cpu_seconds": None if process.cpu_seconds is None else round(process.cpu_seconds, 2),
        "lag_seconds": process.lag_seconds,
        "is_blocked": process.blocked_since is not None,
    }
