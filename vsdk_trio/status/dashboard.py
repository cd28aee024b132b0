"""What the worker's page shows, as one value, and how it is kept fresh while somebody looks.

Knows views and the history; not the page. Nothing here runs while nobody looks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import attrs
import trio

from .. import __version__
from .._change import Change
from ..web.events import Push
from .history import History, JobStory
from .sources import Sources
from .view import JobView, ProcessView, WorkerView

# How often memory and CPU are looked at while somebody watches; changes are told at once.
LOOK_SECONDS: Final = 1.0
# Changes come in bursts; one message tells of them all.
SETTLE_SECONDS: Final = 0.1
MAX_LOAD_POINTS: Final = 200


async def follow(sources: Sources, push: Push) -> None:
    """Tell a page what is new, until cancelled: `state` with everything, `log` with new lines."""
    change = Change()
    told: dict[str, Any] = {}
    line = 0
    with sources.observers.listening(lambda _: change.notify()):
        while True:
            view = sources.look()
            state = snapshot(view, sources.history)
            if state != told:
                told = state
                await push("state", {"now": view.now, **state})
            line, lines = sources.lines_since(line)
            if lines:
                await push("log", [attrs.asdict(one) for one in lines])
            with trio.move_on_after(LOOK_SECONDS) as waiting:
                await change.wait()
            if not waiting.cancelled_caught:
                await trio.sleep(SETTLE_SECONDS)


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
        "jobs": _jobs(view.jobs, history),
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
        "warnings": view.warnings,
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


def _jobs(live: Sequence[JobView], history: History) -> list[dict[str, Any]]:
    """Every job that is remembered; what lives has its process and why it stops, too."""
    views = {job.job_id: job for job in live}
    return [_job(story, views.get(story.job_id)) for story in history.jobs()]


def _job(story: JobStory, view: JobView | None) -> dict[str, Any]:
    return {
        "job_id": story.job_id,
        "room_id": story.room_id,
        "state": story.state,
        "is_live": not story.has_ended,
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
    }
