"""An agent that has set up OpenTelemetry: its spans are lines in a file, or go nowhere for ever."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

import trio
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from vsdk_trio import JobContext, Options, WorkerJob


class ToFile(SpanExporter):
    """Appends each span to `spans.jsonl`."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        if os.environ.get("COLLECTOR") == "dead":
            time.sleep(600)
        with Path("spans.jsonl").open("a") as file:
            file.writelines(span.to_json(indent=None) + "\n" for span in spans)
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None: ...


provider = TracerProvider(shutdown_on_exit=False)
provider.add_span_processor(BatchSpanProcessor(ToFile(), schedule_delay_millis=3_600_000))
trace.set_tracer_provider(provider)


async def entrypoint(ctx: JobContext) -> None:
    with trace.get_tracer("agent").start_as_current_span("thinking"):
        await trio.sleep(0.1)
    if ctx.metadata.get("fails"):
        raise ValueError("as asked")


job = WorkerJob(
    entrypoint=entrypoint,
    options=Options.from_env(
        agent_id="agent",
        auth_token="worker-token",
        register=True,
        host="127.0.0.1",
        port=0,
        max_retry=1,
        traces=True,
    ),
)

job.start()
