"""What the worker's page is told, and when; over a memory of its own, on a mock clock."""

from __future__ import annotations

import json
from typing import Any

import attrs
import trio
from trio.testing import MockClock

from vsdk_trio.status.dashboard import follow, follow_job, snapshot
from vsdk_trio.status.history import History
from vsdk_trio.status.view import LineView
from vsdk_trio.telemetry import events as seen

from .asking import a_view, sources
from .test_history import a_job, moved
from .test_status_routes import DRAIN, VIEW


def told(history: History, view: Any = VIEW) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(json.dumps(snapshot(view, history)))
    return value


async def test_the_page_is_told_everything_at_once(autojump_clock: MockClock) -> None:
    history = History(lambda: 1000.0)
    a_job(history, "job-0", "failed")
    history(moved("job-1", None, "assigned"))
    history(moved("job-1", "assigned", "starting"))
    history(seen.OfferAnswered(job_id="j", room_id="", refusal="at capacity", reason="full"))
    history(seen.StatusReported(load=0.5))
    page = told(history, attrs.evolve(VIEW, drain=DRAIN))
    live, ended = page["jobs"]
    assert (live["job_id"], live["is_live"], live["pid"]) == ("job-1", True, 42)
    assert (ended["state"], ended["is_live"], ended["pid"]) == ("failed", False, None)
    assert ended["moves"][-1] == ["failed", 1000.0]
    assert [process["memory_mb"] for process in page["processes"]] == [17.0, 30.0, None]
    assert page["load"] == [[1000.0, 0.5]]
    assert page["refused"] == {"at capacity": 1}
    assert page["refusals"][0]["reason"] == "full"
    assert page["worker"]["drain"]["jobs_may_run_until"] == 1000 + 3590
    assert page["counts"] == {
        "accepted": 0,
        "refused": 1,
        "completed": 0,
        "failed": 1,
        "cancelled": 0,
    }


async def test_what_has_not_changed_is_not_told_again(autojump_clock: MockClock) -> None:
    view = a_view()
    history = History(lambda: 1000.0)
    lines = [LineView(at=1.0, level="INFO", logger="vsdk_trio", message="registered")]
    pushed: list[tuple[float, str]] = []

    async def push(name: str, value: Any) -> None:
        await trio.lowlevel.checkpoint()
        pushed.append((round(trio.current_time() - began, 2), name))

    def lines_since(number: int) -> tuple[int, list[LineView]]:
        return len(lines), lines[number:]

    began = trio.current_time()
    async with trio.open_nursery() as nursery:
        asked = sources(lambda: view, history=history, lines_since=lines_since)
        asked.observers.add(history)
        nursery.start_soon(follow, asked, push)
        await trio.sleep(5.5)
        assert pushed == [(0.0, "state"), (0.0, "log")]
        a_job(asked.observers, "j")
        await trio.sleep(0.2)
        lines.append(lines[0])
        view = a_view(state="busy")
        await trio.sleep(2)
        assert pushed[2:] == [(5.5, "state"), (6.6, "state"), (6.6, "log")]
        nursery.cancel_scope.cancel()


async def test_a_jobs_own_page_is_told_its_state_and_its_lines(autojump_clock: MockClock) -> None:
    history = History(lambda: 1000.0)
    lines = [
        LineView(at=1.0, level="INFO", logger="vsdk_trio", message="accepted", job_id="j-long")
    ]
    pushed: list[tuple[str, Any]] = []

    async def push(name: str, value: Any) -> None:
        await trio.lowlevel.checkpoint()
        pushed.append((name, value))

    async with trio.open_nursery() as nursery:
        asked = sources(history=history, lines_of=lambda job_id: list(lines))
        asked.observers.add(history)
        nursery.start_soon(follow_job, asked, "j-lo", push)
        await trio.sleep(1.5)
        assert [(name, value["job"]) for name, value in pushed[:1]] == [("state", None)]
        assert pushed[1:] == [("lines", [])]
        a_job(asked.observers, "j-long", "failed")
        await trio.sleep(1.5)
        assert [name for name, _ in pushed[2:]] == ["state", "lines"]
        assert pushed[2][1]["job"]["job_id"] == "j-long"
        assert pushed[3][1][0]["message"] == "accepted"
        lines.append(lines[0])
        await trio.sleep(1.5)
        assert [name for name, _ in pushed[4:]] == ["lines"]
        a_job(asked.observers, "j-lo-other", "failed")
        await trio.sleep(1.5)
        assert sorted(pushed[-2][1]["candidates"]) == ["j-lo-other", "j-long"]
        nursery.cancel_scope.cancel()
