"""The worker's routes, as one table.

Imports starlette, so it is itself imported only when there is somebody to answer. Each answer is
made from what `StatusSources` say at that moment; nothing is kept here.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final

import attrs
import trio
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.types import ASGIApp

from ..http_server.access import AccessDenial, Requester, deny_stranger
from ..http_server.answers import (
    Entry,
    Guard,
    JSONAnswer,
    Pages,
    Streams,
    TextAnswer,
    answer_scrape,
    denied,
    failure,
    load_pages,
    make_application,
    requester_of,
    wants_page,
)
from ..jobs.short_ids import find_ids, name_candidates
from ..system.threads import run_in_thread
from . import dashboard, published, task_tree
from .history import events_of
from .sources import StatusSources

HOW_TO_SET_TOKEN: Final = "Options(debug_token=...) or VSDK_TRIO_DEBUG_TOKEN"

_Answer = Callable[[StatusSources, Request], Awaitable[ASGIApp]]


def make_app(sources: StatusSources, stopping: trio.Event) -> Starlette:
    """The ASGI application that shows a worker; pages stop watching at `stopping`."""
    pages = load_pages("vsdk_trio.http_server", "vsdk_trio.status")
    streams = Streams(stopping)

    def guard(requester: Requester) -> AccessDenial | None:
        return deny_stranger(requester, sources.debug_token, how_to_set=HOW_TO_SET_TOKEN)

    def entry(path: str, answer: _Answer, *, method: str = "GET", is_open: bool = False) -> Entry:
        return Entry(
            path=path,
            method=method,
            handler=partial(answer, sources),
            guard=None if is_open else guard,
        )

    return make_application(
        [
            # Open without a token: probes, and routes that contain only counts.
            entry("/health", _health, is_open=True),
            entry("/livez", _livez, is_open=True),
            entry("/readyz", _readyz, is_open=True),
            entry("/metrics", _metrics, is_open=True),
            entry("/worker", _worker, is_open=True),
            # A page has no data in it; a program that asks for it gets some, if it may.
            entry("/", partial(_index, pages, guard), is_open=True),
            entry("/jobs/{job_id:path}", partial(_job, pages, guard), is_open=True),
            entry("/static/{name}", partial(_static, pages), is_open=True),
            # What shows jobs or processes, or changes anything.
            entry("/events", partial(_events, streams)),
            entry("/stats", _stats),
            entry("/debug", _debug),
            entry("/api/status", _api_status),
            entry("/debug/worker/", _debug_worker),
            entry("/debug/runners/", _debug_runners),
            entry("/debug/runner/", _debug_runner),
            entry("/debug/tasks", _debug_tasks),
            entry("/drain", _drain, method="POST"),
        ]
    )


# Probes


async def _health(sources: StatusSources, _: Request) -> ASGIApp:
    view = sources.look()
    full = () if (taken := view.taken) is None else (f"full: {taken}; offers are refused",)
    warnings = (f"warning: {text}" for text in view.to_be_seen_to)
    lines = [*(view.problems or ("OK",)), *full, *warnings]
    return TextAnswer(lines, 503 if view.problems else 200)


async def _livez(_: StatusSources, __: Request) -> ASGIApp:
    # That it is answered at all is the answer: the event loop turns. A worker without a registry
    # must not be restarted for it: its jobs would die.
    return TextAnswer(["OK"])


async def _readyz(sources: StatusSources, _: Request) -> ASGIApp:
    view = sources.look()
    reasons = view.reasons_not_ready
    drain = view.drain
    leaving = (
        None
        if drain is None
        else {
            "stage": drain.stage,
            "reason": drain.reason,
            "since": drain.since,
            "jobs_may_run_seconds": round(drain.jobs_may_run_seconds, 1),
            "at_most_seconds": round(drain.at_most_seconds, 1),
            "waiting_for": list(drain.waiting_for),
        }
    )
    answer = {"ready": not reasons, "reasons": list(reasons), "draining": leaving}
    return JSONAnswer(answer, 503 if reasons else 200)


async def _metrics(sources: StatusSources, request: Request) -> ASGIApp:
    return await answer_scrape(sources.measure(), request)


# The published client's routes


async def _index(pages: Pages, guard: Guard, sources: StatusSources, request: Request) -> ASGIApp:
    if wants_page(request):
        return pages.answer("worker.html", request)
    if (denial := guard(requester_of(request))) is not None:
        return denied(denial)
    return JSONAnswer(published.api_status_json(sources.look()), headers={"vary": "accept"})


async def _job(pages: Pages, guard: Guard, sources: StatusSources, request: Request) -> ASGIApp:
    if wants_page(request):
        return pages.answer("job.html", request)
    if (denial := guard(requester_of(request))) is not None:
        return denied(denial)
    typed = request.path_params["job_id"]
    found = dashboard.job_snapshot(sources.look(), sources.history, typed)
    if found["candidates"]:
        return failure(409, name_candidates(typed, found["candidates"]))
    if found["job"] is None:
        return failure(404, f"no job {typed!r} is remembered here")
    lines = [*map(attrs.asdict, sources.lines_of(found["job"]["job_id"]))]
    return JSONAnswer({**found, "log": lines}, headers={"vary": "accept"})


async def _static(pages: Pages, _: StatusSources, request: Request) -> ASGIApp:
    return pages.answer(request.path_params["name"], request)


async def _events(streams: Streams, sources: StatusSources, request: Request) -> ASGIApp:
    if typed := request.query_params.get("job"):
        return streams.answer(partial(dashboard.follow_job, sources, typed))
    return streams.answer(partial(dashboard.follow, sources))


async def _worker(sources: StatusSources, _: Request) -> ASGIApp:
    return JSONAnswer(published.worker_json(sources.look()))


async def _stats(sources: StatusSources, _: Request) -> ASGIApp:
    return JSONAnswer(published.stats_json(sources.look()))


async def _debug(sources: StatusSources, _: Request) -> ASGIApp:
    return JSONAnswer(published.debug_json(sources.look()))


async def _api_status(sources: StatusSources, _: Request) -> ASGIApp:
    return JSONAnswer(published.api_status_json(sources.look()))


async def _debug_worker(sources: StatusSources, _: Request) -> ASGIApp:
    history = sources.history
    answer = published.worker_debug_json(
        sources.look(), events=tuple(history.events), load=history.load
    )
    return JSONAnswer(answer)


async def _debug_runners(sources: StatusSources, _: Request) -> ASGIApp:
    return JSONAnswer(published.runners_json(sources.look()))


async def _debug_runner(sources: StatusSources, request: Request) -> ASGIApp:
    if not (typed := request.query_params.get("id")):
        return JSONAnswer({"error": "Missing runner ID"}, 400)
    view = sources.look()
    remembered = (job.job_id for job in sources.history.jobs())
    found = find_ids(typed, {*(job.job_id for job in view.jobs), *remembered})
    if len(found) > 1:
        return failure(409, name_candidates(typed, sorted(found)))
    job_id = found[0] if found else typed
    events = events_of(sources.history.job(job_id))
    return JSONAnswer(published.runner_json(view, view.job(job_id), events=events))


# Ours


async def _debug_tasks(_: StatusSources, request: Request) -> ASGIApp:
    form = request.query_params.get("format")
    if form not in (None, "text", "json"):
        return failure(400, f"format must be text or json, not {form[:20]!r}")
    wants_json = form == "json" or (
        form is None and "application/json" in request.headers.get("accept", "")
    )
    tree = task_tree.look_at_tasks()
    # In a thread: lines of code are read from files.
    if wants_json:
        value: dict[str, Any] = await run_in_thread("read code", task_tree.as_json, tree)
        return JSONAnswer({"tasks": tree.count(), "root": value})
    lines = await run_in_thread("read code", lambda: [*task_tree.as_text(tree), ""])
    return TextAnswer(lines)


async def _drain(sources: StatusSources, request: Request) -> ASGIApp:
    peer = request.client.host if request.client is not None else "somebody"
    sources.drain(f"asked to drain by {peer} over HTTP")
    view = sources.look()
    assert view.drain is not None, "asked to drain, it does"
    answer = {"success": True, "stage": view.drain.stage, "reason": view.drain.reason}
    return JSONAnswer({**answer, "waiting_for": list(view.drain.waiting_for)}, 202)
