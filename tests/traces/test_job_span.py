"""A trace inside a job process, over memory streams: the entrypoint's span and what is below it."""

from __future__ import annotations

import logging

import pytest
import trio
from opentelemetry import trace
from opentelemetry.trace import StatusCode
from trio.testing import MockClock

from tests.runner.test_runner import running, start
from tests.traces.spans import Spans, ids, parent
from vsdk_trio.control.frames import Finished, Start, Stop
from vsdk_trio.runner.job_context import JobContext
from vsdk_trio.telemetry.traces.job_span import entrypoint_span, prepare

TRACE = 0x0AF7651916CD43DD8448EB211C80319C
PARENT = 0xB7AD6B7169203331
CARRIER = {"traceparent": f"00-{TRACE:032x}-{PARENT:016x}-01", "tracestate": "a=b", "junk": 7}


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Spans:
    spans = Spans()
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", spans.provider)
    return spans


def traced(**keywords: object) -> Start:
    return Start(job=start(**keywords).job, trace=dict(CARRIER))


async def test_the_users_spans_are_below_the_entrypoints(
    spans: Spans, autojump_clock: MockClock
) -> None:
    async def entrypoint(ctx: JobContext) -> None:
        tracer = trace.get_tracer("the agent")

        async def speak() -> None:
            with tracer.start_as_current_span("speak"):
                await trio.sleep(1)

        with tracer.start_as_current_span("think"):
            await trio.sleep(1)
        ctx.nursery.start_soon(speak)
        await trio.sleep(5)

    async with running(entrypoint) as worker:
        await worker.next()
        await worker.send(traced())
        assert (await worker.rest())[-1] == Finished(status="completed")
    [span] = [span for span in spans.all() if span.name.startswith("entrypoint ")]
    assert parent(span) == (TRACE, PARENT)
    assert span.status.status_code is StatusCode.OK
    assert parent(spans.named("think")) == parent(spans.named("speak")) == ids(span)


async def test_a_failure_is_told_without_secrets(spans: Spans, autojump_clock: MockClock) -> None:
    async def entrypoint(ctx: JobContext) -> None:
        raise ValueError("bad tok-123456")

    async with running(entrypoint) as worker:
        await worker.next()
        await worker.send(traced(token="tok-123456"))
        await worker.rest()
    [span] = spans.all()
    assert span.status.status_code is StatusCode.ERROR
    assert "ValueError: 'bad ***'" in (span.status.description or "") or "bad ***" in (
        span.status.description or ""
    )
    assert "tok-123456" not in span.to_json()


@pytest.mark.parametrize("carrier", [CARRIER, {}])
async def test_an_entrypoint_without_a_name(
    spans: Spans, carrier: dict[str, object], autojump_clock: MockClock
) -> None:
    class Agent:
        async def __call__(self, ctx: JobContext) -> None:
            await trio.sleep(1)

    async with running(Agent()) as worker:
        await worker.next()
        await worker.send(Start(job=start().job, trace=dict(carrier)))
        assert (await worker.rest())[-1] == Finished(status="completed")
    assert [span.name for span in spans.all()] == ["entrypoint Agent"] * bool(carrier)


async def test_a_stopped_job_is_cancelled(spans: Spans, autojump_clock: MockClock) -> None:
    async def entrypoint(ctx: JobContext) -> None:
        await trio.sleep_forever()

    async with running(entrypoint) as worker:
        await worker.next()
        await worker.send(traced())
        await worker.next()
        await worker.send(Stop(reason="enough"))
        await worker.rest()
    [span] = spans.all()
    assert (span.attributes or {})["vsdk_trio.end"] == "cancelled"
    assert span.status.status_code is StatusCode.UNSET


async def test_a_job_without_a_trace_has_no_span(spans: Spans, autojump_clock: MockClock) -> None:
    async with running() as worker:
        await worker.next()
        await worker.send(start())
        await worker.rest()
    assert spans.all() == []


def test_what_goes_through_the_span_is_not_quoted_in_it(spans: Spans) -> None:
    with pytest.raises(RuntimeError), entrypoint_span(print, CARRIER):
        raise RuntimeError("with a secret")
    [span] = spans.all()
    assert "secret" not in span.to_json()
    assert (span.attributes or {})["vsdk_trio.end"] == "interrupted"


def test_a_process_that_cannot_make_spans_says_so_and_goes_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "carrier-pigeon")
    with caplog.at_level(logging.WARNING):
        prepare("agent")
    assert "makes no spans" in caplog.text
