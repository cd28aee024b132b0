"""The status routes: the published client's keys, probes, the task tree, draining."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
import trio

from vsdk_trio.status import dashboard
from vsdk_trio.status.history import History
from vsdk_trio.status.view import DrainView, JobView, LineView, ProcessView, WorkerView
from vsdk_trio.telemetry import events as seen

from .asking import a_view, app_of, ask
from .test_history import a_job

DRAIN = DrainView(
    stage="draining",
    reason="SIGTERM",
    since=990.0,
    jobs_may_run_seconds=3590.0,
    at_most_seconds=3680.0,
    waiting_for=("1 job to end", "2 job updates to be known to the registry"),
)
JOB = JobView(
    job_id="job-1",
    room_id="room-1",
    state="running",
    accepted_at=950.0,
    url="wss://room",
    pid=42,
)
PROCESSES = (
    ProcessView(pid=41, state="idle", started_at=900.0, heard_at=901.0, memory_mb=17.0),
    ProcessView(
        pid=42,
        state="busy",
        started_at=900.0,
        heard_at=999.0,
        job_id="job-1",
        memory_mb=30.0,
        cpu_seconds=5.0,
    ),
    ProcessView(pid=43, state="stopping", started_at=1000.0, heard_at=1000.0, job_id="job-0"),
)
VIEW = a_view(state="busy", load=0.5, jobs=(JOB,), processes=PROCESSES)


async def asked(path: str, view: WorkerView = VIEW, **fields: Any) -> Any:
    answer = await ask(app_of(lambda: view), path, **fields)
    assert answer.status == 200, answer.text
    return answer.json


# The published client's routes


async def test_worker() -> None:
    assert await asked("/worker") == {
        "agent_id": "agent",
        "executor_type": "process",
        "active_jobs": 1,
        "connected": True,
        "worker_id": "worker-1",
        "register": True,
        "draining": False,
        "worker_load": 0.5,
        "pid": 4711,
    }
    assert (await asked("/worker", a_view(drain=DRAIN)))["draining"] is True


async def test_stats() -> None:
    stats = await asked("/stats")
    assert list(stats) == [
        "worker_load",
        "draining",
        "current_jobs",
        "max_processes",
        "agent_id",
        "register",
        "backend_connected",
        "worker_id",
        "resource_stats",
        "resource_info",
        "resource_summary",
    ]
    assert list(stats["resource_stats"]) == [
        "total_resources",
        "available_resources",
        "active_resources",
        "average_load",
        "resources",
        "dedicated_inference",
    ]
    assert stats["resource_summary"] == {
        "total_resources": 3,
        "available_resources": 1,
        "active_resources": 2,
        "dedicated_inference_active": False,
    }
    assert stats["resource_stats"]["average_load"] == pytest.approx(2 / 3)
    assert stats["resource_stats"]["resources"] == stats["resource_info"]
    assert stats["resource_info"][1] == {
        "resource_id": "process-42",
        "resource_type": "process",
        "status": "busy",
        "current_load": 1.0,
        "memory_usage_mb": 30.0,
        "cpu_usage_percent": 5.0,
        "active_tasks": 1,
        "total_tasks_processed": 0,
        "last_heartbeat": 999.0,
        "metadata": {"pid": 42, "job_id": "job-1", "blocked_seconds": None},
    }
    words = [(r["status"], r["total_tasks_processed"]) for r in stats["resource_info"]]
    assert words == [("idle", 0), ("busy", 0), ("shutting_down", 1)]
    nothing = await asked("/stats", a_view())
    assert nothing["resource_stats"]["average_load"] == 0.0


async def test_debug() -> None:
    assert await asked("/debug") == {
        "server": {
            "host": "0.0.0.0",
            "port": 8081,
            "endpoints": ["/", "/health", "/worker", "/stats", "/debug"],
        },
        "worker": {
            "available": True,
            "options": {
                "agent_id": "agent",
                "executor_type": "process",
                "register": True,
                "max_processes": 2,
            },
        },
    }


async def test_api_status() -> None:
    status = await asked("/api/status")
    assert list(status) == ["worker", "stats", "server", "timestamp"]
    assert status["worker"] == {
        "available": True,
        "connected": True,
        "worker_id": "worker-1",
        "options": {
            "agent_id": "agent",
            "executor_type": "process",
            "register": True,
            "max_processes": 2,
            "log_level": "INFO",
        },
    }
    assert status["stats"] == await asked("/stats")
    assert len(status["server"]["endpoints"]) == 9
    assert status["timestamp"] == 1000.0


async def test_debug_worker() -> None:
    answer = await asked("/debug/worker/")
    assert list(answer) == ["tracing"]
    assert list(answer["tracing"]) == ["kv", "events", "graphs", "graph"]
    assert list(answer["tracing"]["kv"]) == [
        "agent_id",
        "executor_type",
        "worker_load",
        "current_jobs",
        "max_processes",
        "backend_connected",
        "worker_id",
        "draining",
        "register",
    ]
    [graph] = answer["tracing"]["graph"]
    assert list(graph) == ["title", "x_label", "y_label", "x_type", "y_range", "data"]


async def test_debug_runners_are_the_jobs_and_nothing_made_up() -> None:
    expected = {"id": "job-1", "room": "room-1", "status": "running", "task_id": "job-1"}
    assert await asked("/debug/runners/") == {"runners": [expected]}
    assert await asked("/debug/runners/", a_view()) == {"runners": []}


async def test_debug_runner() -> None:
    answer = await asked("/debug/runner/?id=job-1")
    assert list(answer["tracing"]) == ["kv", "events", "graphs"]
    assert answer["tracing"]["kv"] == {
        "task_id": "job-1",
        "room_id": "room-1",
        "status": "running",
        "worker_id": "worker-1",
        "url": "wss://room",
    }
    assert await asked("/debug/runner/?id=job-2") == {"tracing": None}
    answer = await ask(app_of(), "/debug/runner/")
    assert (answer.status, answer.json) == (400, {"error": "Missing runner ID"})


# Probes


async def test_alive_whatever_is_wrong() -> None:
    app = app_of(lambda: a_view(problems=("not registered",)))
    answer = await ask(app, "/livez")
    assert (answer.status, answer.text) == (200, "OK")


async def test_ready_at_capacity() -> None:
    app = app_of(lambda: a_view(state="full", load=1.0, jobs=(JOB,) * 2))
    answer = await ask(app, "/readyz")
    assert answer.status == 200
    assert answer.json == {"ready": True, "reasons": [], "draining": None}


async def test_not_ready_says_why_and_for_how_long() -> None:
    view = a_view(problems=("not registered with the registry",), drain=DRAIN)
    answer = await ask(app_of(lambda: view), "/readyz", peer="192.0.2.1")
    assert answer.status == 503
    assert answer.json == {
        "ready": False,
        "reasons": ["not registered with the registry", "draining: SIGTERM"],
        "draining": {
            "stage": "draining",
            "reason": "SIGTERM",
            "since": 990.0,
            "jobs_may_run_seconds": 3590.0,
            "at_most_seconds": 3680.0,
            "waiting_for": ["1 job to end", "2 job updates to be known to the registry"],
        },
    }


async def test_a_worker_that_drains_is_healthy() -> None:
    answer = await ask(app_of(lambda: a_view(drain=DRAIN)), "/health")
    assert (answer.status, answer.text) == (200, "OK")


# The task tree


async def a_task_of_this_test() -> None:
    await trio.sleep_forever()


async def test_the_task_tree_names_tasks_and_where_they_wait() -> None:
    app = app_of()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(a_task_of_this_test)
        await trio.testing.wait_all_tasks_blocked()
        text = await ask(app, "/debug/tasks")
        value = await ask(app, "/debug/tasks", headers={"accept": "application/json"})
        again = await ask(app, "/debug/tasks?format=json")
        wrong = await ask(app, "/debug/tasks?format=xml")
        nursery.cancel_scope.cancel()
    assert text.headers["content-type"].startswith("text/plain")
    assert f"in {a_task_of_this_test.__qualname__}: await trio.sleep_forever()" in text.text
    assert "async with trio.open_nursery() as nursery" not in text.text.splitlines()[0]
    assert value.json["tasks"] == again.json["tasks"] >= 3

    def names(task: dict[str, Any]) -> list[str]:
        return [task["name"], *(n for tasks in task["nurseries"] for t in tasks for n in names(t))]

    assert any(name.endswith("a_task_of_this_test") for name in names(value.json["root"]))
    assert (wrong.status, wrong.json["message"]) == (400, "format must be text or json, not 'xml'")


# Draining


async def test_drain_says_who_asked_and_is_idempotent() -> None:
    asked_by: list[str] = []
    app = app_of(lambda: a_view(drain=DRAIN), drain=asked_by.append)
    first = await ask(app, "/drain", method="POST")
    second = await ask(app, "/drain", method="POST")
    assert first.status == second.status == 202
    assert first.json == {
        "success": True,
        "stage": "draining",
        "reason": "SIGTERM",
        "waiting_for": list(DRAIN.waiting_for),
    }
    assert asked_by == ["asked to drain by 127.0.0.1 over HTTP"] * 2


async def test_head_is_get_without_side_effects_and_the_rest_is_refused_in_json() -> None:
    app = app_of()
    assert (await ask(app, "/health", method="HEAD")).status == 200
    wrong_method = await ask(app, "/drain")
    assert (wrong_method.status, wrong_method.headers["allow"]) == (405, "POST")
    assert wrong_method.json == {
        "success": False,
        "message": "GET is not answered here; POST is",
    }
    unknown = await ask(app, "/nowhere")
    assert unknown.status == 404
    assert unknown.json == {"success": False, "message": "there is nothing at '/nowhere'"}


# What a person should see at once, and the page of one job


async def test_a_blocked_job_and_a_full_worker_are_seen_on_health() -> None:
    async def lines(view: WorkerView) -> list[str]:
        answer = await ask(app_of(lambda: view), "/health")
        assert answer.status == 200
        return list(answer.text.splitlines())

    assert await lines(VIEW) == ["OK"]
    blocked = attrs.evolve(PROCESSES[1], blocked_since=916.0)
    view = attrs.evolve(VIEW, processes=(PROCESSES[0], blocked), warnings=("no journal",))
    one = "warning: 1 job blocks its event loop; the log has the stack"
    assert await lines(view) == ["OK", "warning: no journal", one]
    two = attrs.evolve(blocked, job_id="job-2", pid=44)
    view = attrs.evolve(view, processes=(blocked, two), warnings=())
    assert await lines(view) == [
        "OK",
        "warning: 2 jobs block their event loop; the log has the stack",
    ]
    full = attrs.evolve(VIEW, state="full", max_processes=2, promised=1)
    assert await lines(full) == ["OK", "full: 1 of 2 jobs, 1 promised; offers are refused"]
    resources = (await asked("/stats", view))["resource_info"]
    assert [r["metadata"]["blocked_seconds"] for r in resources] == [84.0, 84.0]


async def test_a_job_has_a_page_of_its_own_with_all_of_its_error_and_its_log() -> None:
    history = History(lambda: 1000.0)
    for job_id in ("job-1", "e32b6455-1", "e32b6455-2"):
        a_job(history, job_id, "failed")
    error = "the model said no\n" + "and why " * 200
    history(seen.JobTold(job_id="e32b6455-1", status="failed", error=error))
    line = LineView(at=1.0, level="INFO", logger="vsdk_trio", message="m", job_id="e32b6455-1")
    app = app_of(history=history, lines_of={"e32b6455-1": [line]}.__getitem__)

    answer = await ask(app, "/jobs/e32b6455-1")
    assert answer.status == 200
    assert answer.json["job"]["error"] == error
    assert [row["message"] for row in answer.json["log"]] == ["m"]
    assert [word for word, _ in answer.json["job"]["moves"]] == [
        "assigned",
        "starting",
        "running",
        "failed",
    ]
    page = await ask(app, "/jobs/e32b6455-1", headers={"accept": "text/html"}, peer="192.0.2.1")
    assert page.headers["content-type"].startswith("text/html")
    assert "model" not in page.text  # it asks for its job, and may have to show a token

    answer = await ask(app, "/jobs/e32b6455")
    assert answer.status == 409
    assert "'e32b6455' may mean 2: e32b6455-2, e32b6455-1" in answer.json["message"]
    assert (await ask(app, "/jobs/nothing-like-it")).status == 404

    # The published client's route for one job takes a beginning, too.
    assert (await ask(app, "/debug/runner/?id=e32b6455")).status == 409
    short = await ask(app, "/debug/runner/?id=job-")
    whole = await ask(app, "/debug/runner/?id=job-1")
    assert short.json == whole.json


async def test_the_table_has_the_beginning_of_an_error() -> None:
    history = History(lambda: 1000.0)
    a_job(history, "j", "failed")
    history(seen.JobTold(job_id="j", status="failed", error="x" * 1000))
    [job] = dashboard.snapshot(VIEW, history)["jobs"]
    assert len(job["error"]) == dashboard.MAX_ERROR_IN_TABLE
