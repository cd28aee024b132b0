"""Spans that are kept in memory, to look at."""

from __future__ import annotations

import attrs
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter


@attrs.define
class Spans:
    """A provider, and what went through it."""

    exporter: InMemorySpanExporter = attrs.field(factory=InMemorySpanExporter)
    provider: TracerProvider = attrs.field(
        factory=lambda: TracerProvider(shutdown_on_exit=False), init=False
    )

    def __attrs_post_init__(self) -> None:
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))

    def all(self) -> list[ReadableSpan]:
        """Every span that has ended, in the order of the ends."""
        return list(self.exporter.get_finished_spans())

    def named(self, name: str) -> ReadableSpan:
        """The one span of that name."""
        [span] = [span for span in self.all() if span.name == name]
        return span


def ids(span: ReadableSpan) -> tuple[int, int]:
    """The trace and the span."""
    return span.context.trace_id, span.context.span_id


def parent(span: ReadableSpan) -> tuple[int, int] | None:
    """The trace and the span above it."""
    above = span.parent
    return None if above is None else (above.trace_id, above.span_id)
