"""The status routes of the published client, unmodified, beside ours: the same keys in each answer.

Its own `HttpServer` shows a worker with one job and one process; so do our routes.
"""

from __future__ import annotations

import asyncio
import json
import types
import urllib.request
import warnings
from typing import Any

import pytest
import trio

from vsdk_trio.status.view import JobView, ProcessView

from ..status.asking import a_view, app_of, ask

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # what it imports is not ours to mend
    from videosdk.agents import worker as published
    from videosdk.agents.debug.http_server import HttpServer
    from videosdk.agents.debug.tracing import TracingGraph
    from videosdk.agents.execution.resource_manager import ResourceManager
    from videosdk.agents.execution.types import ResourceInfo, ResourceStatus, ResourceType

pytestmark = [
    pytest.mark.real,
    pytest.mark.filterwarnings("default"),  # its warnings are not ours to forbid
]

ROUTES = (
    "/worker",
    "/stats",
    "/debug",
    "/api/status",
    "/debug/worker/",
    "/debug/runners/",
    "/debug/runner/?id=job-1",
)
OURS_ALONE = {"/worker": {"pid"}}
"""What a worker says besides: by its process a second worker on the port can be told of it."""


def _a_resource() -> Any:
    info = ResourceInfo(
        resource_id="r",
        resource_type=ResourceType.PROCESS,
        status=ResourceStatus.BUSY,
        current_load=1.0,
        memory_usage_mb=1.0,
        cpu_usage_percent=1.0,
        active_tasks=1,
        total_tasks_processed=0,
        last_heartbeat=1.0,
        metadata={},
    )
    return types.SimpleNamespace(
        is_available=False, status=ResourceStatus.BUSY, get_info=lambda: info
    )


def _a_published_worker() -> Any:
    """What its server asks of a worker, with the real `get_stats` of both classes."""
    resource = _a_resource()
    resources = types.SimpleNamespace(resources=[resource], dedicated_inference_resource=None)
    manager = types.SimpleNamespace(
        get_stats=lambda: {"resource_stats": ResourceManager.get_stats(resources)},
        get_resource_info=lambda: [resource.get_info()],
    )
    graph = TracingGraph("worker_load", "time", "load", "time", (0, 1))
    graph.add_point(0.5)
    worker = types.SimpleNamespace(
        options=published.WorkerOptions(entrypoint_fnc=print, agent_id="agent"),
        backend_connection=types.SimpleNamespace(is_connected=True, worker_id="worker-1"),
        process_manager=manager,
        _draining=False,
        _worker_load=0.5,
        _worker_load_graph=graph,
        _current_jobs={"job-1": types.SimpleNamespace(worker_id="worker-1", url="wss://room")},
    )
    worker.get_stats = types.MethodType(published.Worker.get_stats, worker)
    return worker


def _published_answers() -> dict[str, Any]:
    """Every route of the published server; run in a thread, because it is asyncio's."""

    async def main() -> dict[str, Any]:
        server = HttpServer("127.0.0.1", 0, asyncio.get_running_loop())
        server.set_worker(_a_published_worker())
        await server.start()
        try:
            return {path: await asyncio.to_thread(_get, server.port, path) for path in ROUTES}
        finally:
            await server.aclose()

    return asyncio.run(main())


def _get(port: int, path: str) -> Any:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
        return json.load(answer)


def keys(value: Any) -> Any:
    """The keys of an answer, all the way down; what is in a list by its first element."""
    if isinstance(value, dict):
        return {name: keys(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [keys(value[0])] if value and isinstance(value[0], dict) else []
    return None


# What is not named the same: what is free to be anything, and what is of ours alone. `name`, and
# whether `graphs` is a list, depend on what else has been traced in their process before.
def _without_free_ones(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            name: _without_free_ones(inner)
            for name, inner in value.items()
            if name not in ("metadata", "events", "dedicated_inference", "name", "graphs")
        }
    return [_without_free_ones(inner) for inner in value] if isinstance(value, list) else value


async def test_the_keys_are_those_of_the_published_client() -> None:
    theirs = await trio.to_thread.run_sync(_published_answers)
    job = JobView(job_id="job-1", room_id="room", state="running", accepted_at=1.0)
    process = ProcessView(pid=1, state="busy", started_at=1.0, heard_at=1.0, job_id="job-1")
    app = app_of(lambda: a_view(jobs=(job,), processes=(process,)))
    for path in ROUTES:
        ours = (await ask(app, path)).json
        for name in OURS_ALONE.get(path, ()):
            del ours[name]
        assert _without_free_ones(keys(ours)) == _without_free_ones(keys(theirs[path])), path
        assert set(ours) == set(theirs[path])
