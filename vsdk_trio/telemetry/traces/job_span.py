"""The part of a job's trace inside its process: one span around its entrypoint.

Imports OpenTelemetry only where a job comes with a trace; a job process must start light. Knows
what the worker has sent along; no frames.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import attrs

from ..._masking import mask
from ...errors import OptionsError
from ..logs.loggers import get_logger
from . import SCOPE
from .provider import JOB_FLUSH_SECONDS, find_provider, flush

logger = get_logger(__name__)


def prepare(agent_id: str) -> None:
    """Load the SDK and set up a provider, before a job arrives and has to wait for it.

    Where that cannot be, the job has no span of its own, and the log says why.
    """
    try:
        from opentelemetry import trace

        provider = find_provider(agent_id)
    except (ImportError, OptionsError) as error:  # a job in another environment than its worker
        logger.warning("this job process makes no spans: %s", error)
        return
    if provider is not trace.get_tracer_provider():
        trace.set_tracer_provider(provider)  # so that the spans of the user's libraries go there


@attrs.define
class Ending:
    """How the entrypoint ended; to be set before the block does."""

    status: str = ""
    error: str | None = None


@contextmanager
def entrypoint_span(entrypoint: object, carrier: Mapping[str, Any]) -> Iterator[Ending]:
    """Run the block as a part of the trace in `carrier`; one without a trace just runs.

    What the block starts is below this span: its own spans, and those of the tasks it starts.
    """
    ending = Ending()
    if not carrier or "opentelemetry.trace" not in sys.modules:  # `prepare` could not load it
        yield ending
        return
    from opentelemetry import trace
    from opentelemetry.trace import Status, StatusCode
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    texts = {key: text for key, text in carrier.items() if isinstance(text, str)}
    context = TraceContextTextMapPropagator().extract(texts)
    # Anything that can be called is one, also what has no name.
    name = getattr(entrypoint, "__qualname__", type(entrypoint).__name__)
    span = trace.get_tracer(SCOPE).start_span(f"entrypoint {name}", context=context)
    try:
        # An error is reported as the outcome, masked: its own text may hold a secret.
        with trace.use_span(span, record_exception=False, set_status_on_exception=False):
            yield ending
    finally:
        if ending.status == "failed":
            span.set_status(Status(StatusCode.ERROR, ending.error and mask(ending.error)))
        elif ending.status == "completed":
            span.set_status(Status(StatusCode.OK))
        span.set_attribute("vsdk_trio.end", ending.status or "interrupted")
        span.end()


async def flush_spans() -> None:
    """Send the spans of this process; takes `JOB_FLUSH_SECONDS` at most."""
    if "opentelemetry.trace" not in sys.modules:
        return
    from opentelemetry import trace

    await flush(trace.get_tracer_provider(), seconds=JOB_FLUSH_SECONDS)
