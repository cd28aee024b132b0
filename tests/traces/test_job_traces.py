"""One trace for each job, in a simulated world: its spans, its parent, how it says the end."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from opentelemetry.trace import SpanKind, StatusCode
from trio.testing import MockClock

from tests.traces.spans import Spans, ids, parent
from tests.worker.conftest import World, open_world
from tests.worker.test_hot_path import DyingRunner
from vsdk_trio.telemetry.events import DispatchStage
from vsdk_trio.telemetry.traces import worker_traces
from vsdk_trio.telemetry.traces.job_traces import JobTraces

STAGES = [stage.replace("_", " ") for stage in DispatchStage]
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Spans:
    """What a worker with `traces=True` has made."""
    spans = Spans()
    monkeypatch.setattr(worker_traces, "find_provider", lambda agent_id: spans.provider)
    return spans


async def run_to_the_end(world: World, **script: Any) -> str:
    job_id = await world.run_job(**script)
    await world.end_of(job_id)
    await trio.sleep(20)  # until it is proven, too
    return job_id


async def test_a_trace_from_the_offer_to_the_proof(spans: Spans, autojump_clock: MockClock) -> None:
    async with open_world(traces=True) as world:
        job_id = await run_to_the_end(world, seconds=5)
        [(_, told)] = world.runner.started
    assert told.job_id == job_id
    root = spans.named("job agent")
    assert root.kind is SpanKind.CONSUMER
    assert root.parent is None
    assert root.status.status_code is StatusCode.OK
    assert dict(root.attributes or {}) == {
        "vsdk_trio.job_id": job_id,
        "vsdk_trio.room_id": "room",
        "vsdk_trio.agent_id": "agent",
        "vsdk_trio.cause": "returned",
        "vsdk_trio.end": "completed",
    }
    assert sorted(span.name for span in spans.all()) == sorted([*STAGES, "job agent"])
    for name in STAGES:
        stage = spans.named(name)
        assert parent(stage) == ids(root)
        assert stage.start_time is not None
        assert stage.end_time is not None
        assert stage.start_time <= stage.end_time
    offer, proof = spans.named("offer to answer"), spans.named("end to proven")
    assert root.start_time == offer.start_time
    assert root.end_time is not None
    assert proof.end_time is not None
    assert root.end_time <= proof.end_time
    assert [event.name for event in root.events] == ["starting", "running"]


async def test_it_goes_on_from_the_metadata(spans: Spans, autojump_clock: MockClock) -> None:
    async with open_world(traces=True) as world:
        await run_to_the_end(world, seconds=1, traceparent=TRACEPARENT)
    root = spans.named("job agent")
    assert parent(root) == (0x0AF7651916CD43DD8448EB211C80319C, 0xB7AD6B7169203331)
    assert {span.context.trace_id for span in spans.all()} == {0x0AF7651916CD43DD8448EB211C80319C}


@pytest.mark.parametrize("junk", ["", "00-zz", 7, None, ["00"], "00-" + "0" * 32 + "-1-01"])
async def test_junk_for_a_parent_is_no_parent(
    spans: Spans, junk: Any, autojump_clock: MockClock
) -> None:
    async with open_world(traces=True) as world:
        await run_to_the_end(world, seconds=1, traceparent=junk)
    assert spans.named("job agent").parent is None


async def test_what_the_process_is_told_is_the_root(
    spans: Spans, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    carriers: list[dict[str, Any]] = []
    async with open_world(traces=True) as world:
        begin = JobTraces.begin

        def noted(self: Any, *arguments: Any) -> dict[str, Any]:
            carriers.append(begin(self, *arguments))
            return carriers[-1]

        monkeypatch.setattr(JobTraces, "begin", noted)
        await run_to_the_end(world, seconds=1)
    trace_id, span_id = ids(spans.named("job agent"))
    [carrier] = carriers
    assert [*carrier] == ["traceparent"]
    assert carrier["traceparent"].startswith(f"00-{trace_id:032x}-{span_id:016x}-")


@pytest.mark.parametrize(
    ("script", "cause", "text"),
    [
        ({"end": "failed", "error": "boom with worker-token"}, "raised", "boom with ***"),
        ({"end": "signal"}, "process died", "killed by SIG"),
    ],
)
async def test_a_failure_is_an_error_without_secrets(
    spans: Spans, script: dict[str, Any], cause: str, text: str, autojump_clock: MockClock
) -> None:
    async with open_world(traces=True) as world:
        await run_to_the_end(world, seconds=1, **script)
    root = spans.named("job agent")
    assert root.status.status_code is StatusCode.ERROR
    assert text in (root.status.description or "")
    assert (root.attributes or {})["vsdk_trio.cause"] == cause


async def test_a_cancelled_job_is_no_error_and_no_success(
    spans: Spans, autojump_clock: MockClock
) -> None:
    async with open_world(traces=True) as world:
        job_id = await world.run_job(seconds=100)
        await world.session.send({"type": "job_termination", "job_id": job_id})
        await world.end_of(job_id)
    root = spans.named("job agent")
    assert root.status.status_code is StatusCode.UNSET
    attributes = root.attributes or {}
    assert (attributes["vsdk_trio.end"], attributes["vsdk_trio.cause"]) == (
        "cancelled",
        "terminated",
    )


async def test_a_worker_that_ends_ends_its_traces(spans: Spans, autojump_clock: MockClock) -> None:
    async with open_world(traces=True) as world:
        await world.run_job(seconds=100)
    assert (spans.named("job agent").attributes or {})["vsdk_trio.end"] == "cancelled"


async def test_what_comes_to_nothing_leaves_nothing_behind(
    spans: Spans, autojump_clock: MockClock
) -> None:
    async with open_world(traces=True, max_processes=1) as world:
        [traces] = [each for each in world.worker.observers._listeners if hasattr(each, "begin")]
        await world.offer("expires")
        await world.offer("refused")
        await trio.sleep(30)
        assert not traces._offers
        await run_to_the_end(world, seconds=1)
        assert [*traces._offers, *traces._live, *traces._ended] == []


async def test_nobody_asked(autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_ENDPOINT", raising=False)
    async with open_world() as world:
        await run_to_the_end(world, seconds=1)
        assert not [each for each in world.worker.observers._listeners if hasattr(each, "begin")]


async def test_a_job_that_gets_another_process_keeps_its_trace(
    spans: Spans, autojump_clock: MockClock
) -> None:
    async with open_world(traces=True, runner=DyingRunner(deaths=2)) as world:
        await run_to_the_end(world, seconds=1)
    root = spans.named("job agent")  # one
    assert parent(spans.named("offer to answer")) == ids(root)
    assert dict(root.attributes or {})["vsdk_trio.end"] == "completed"
