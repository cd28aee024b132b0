"""One trace for each job, as its worker sees it, built from events.

The root span of a job lasts from the registry's offer, or from an assignment without an offer,
to its end; below it is one span for each stage of the dispatch. Imports OpenTelemetry, so it is
itself imported only if traces are on. Knows events; not where spans go.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, Final

import attrs
from opentelemetry.context import Context
from opentelemetry.trace import (
    Span,
    SpanKind,
    Status,
    StatusCode,
    TracerProvider,
    set_span_in_context,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from ..._masking import mask
from .. import events as seen
from . import SCOPE

_PROPAGATOR: Final = TraceContextTextMapPropagator()
_HEADERS: Final = ("traceparent", "tracestate")
# Offers that were accepted and not assigned yet, and ends that are not proven yet: what is left of
# those for which nothing more comes must not pile up.
_MOST_REMEMBERED: Final = 1024
_ENDS: Final = ("completed", "failed", "cancelled")


@attrs.define
class _Trace:
    """The trace of one job while there is something to add to it."""

    span: Span
    context: Context
    ended_at: int | None = None


class JobTraces:
    """The traces of one worker's jobs; itself an `Observe`. Times are nanoseconds of Unix time."""

    def __init__(self, provider: TracerProvider, *, agent_id: str) -> None:
        self._tracer = provider.get_tracer(SCOPE)
        self._agent_id = agent_id
        self.are_on = True
        # When each offer came, and how long its answer took, in seconds.
        self._offers: OrderedDict[str, tuple[int, int]] = OrderedDict()
        self._live: dict[str, _Trace] = {}
        self._ended: OrderedDict[str, _Trace] = OrderedDict()

    def begin(self, job_id: str, room_id: str, metadata: Mapping[str, Any]) -> dict[str, Any]:
        """Begin the trace of a job that was accepted; returns what its process continues it by.

        A job that gets another process goes on in the trace that it has.

        It goes on where the `traceparent` of the metadata comes from, if there is a valid one.
        """
        trace = self._live.get(job_id) or self._begin(job_id, room_id, metadata)
        carrier: dict[str, Any] = {}
        _PROPAGATOR.inject(carrier, trace.context)
        return carrier

    def _begin(self, job_id: str, room_id: str, metadata: Mapping[str, Any]) -> _Trace:
        offered = self._offers.pop(job_id, None)
        span = self._tracer.start_span(
            f"job {self._agent_id}",
            context=_parent(metadata),
            kind=SpanKind.CONSUMER,
            start_time=None if offered is None else offered[0],
            attributes={
                "vsdk_trio.job_id": job_id,
                "vsdk_trio.room_id": mask(room_id),
                "vsdk_trio.agent_id": self._agent_id,
            },
        )
        trace = _Trace(span, set_span_in_context(span, Context()))
        self._live[job_id] = trace
        if offered is not None:
            self._add_stage(trace, seen.DispatchStage.OFFER_TO_ANSWER, *offered)
        return trace

    def __call__(self, observation: seen.Observation) -> None:
        """Add what happened to the trace of its job."""
        match observation:
            case seen.StageTook(job_id=job_id, stage=stage, seconds=seconds):
                self._took(job_id, stage, seconds)
            case seen.OfferAnswered(job_id=job_id, refusal=refusal) if refusal is not None:
                self._offers.pop(job_id, None)
            case seen.PromiseExpired(job_id=job_id):
                self._offers.pop(job_id, None)
            case seen.JobMoved(job_id=job_id):
                self._moved(job_id, observation)
            case seen.JobTold(job_id=job_id):
                self._told(job_id, observation)
            case seen.LoopBlocked(job_id=job_id) | seen.MemoryWarned(job_id=job_id):
                if (trace := self._live.get(job_id)) is not None:
                    is_memory = isinstance(observation, seen.MemoryWarned)
                    trace.span.add_event("memory warning" if is_memory else "event loop blocked")
            case _:
                pass

    def close(self) -> None:
        """End all open spans: no more events follow."""
        for trace in self._live.values():
            trace.span.end(trace.ended_at)
        self._live.clear()

    def _took(self, job_id: str, stage: seen.DispatchStage, seconds: float) -> None:
        now = time.time_ns()
        began = now - int(seconds * 1e9)
        if stage is seen.DispatchStage.OFFER_TO_ANSWER:
            self._offers[job_id] = (began, now)
            while len(self._offers) > _MOST_REMEMBERED:
                self._offers.popitem(last=False)
            return
        trace = self._live.get(job_id)
        if stage is seen.DispatchStage.END_TO_PROVEN:
            trace = self._ended.pop(job_id, trace)
        if trace is not None:
            self._add_stage(trace, stage, began, now)

    def _add_stage(self, trace: _Trace, stage: seen.DispatchStage, began: int, ended: int) -> None:
        name = stage.replace("_", " ")
        self._tracer.start_span(name, context=trace.context, start_time=began).end(ended)

    def _moved(self, job_id: str, move: seen.JobMoved) -> None:
        if (trace := self._live.get(job_id)) is None:
            return
        if move.cause is not None:
            trace.span.set_attribute("vsdk_trio.cause", move.cause)
        if move.state in _ENDS:
            trace.ended_at = time.time_ns()
        elif move.previous is not None:  # it began as it was assigned
            trace.span.add_event(move.state)

    def _told(self, job_id: str, told: seen.JobTold) -> None:
        """The end as reported to the registry: only now is its masked text known."""
        if told.status not in _ENDS or (trace := self._live.pop(job_id, None)) is None:
            return
        trace.span.set_attribute("vsdk_trio.end", told.status)
        if told.status == "failed":
            trace.span.set_status(Status(StatusCode.ERROR, told.error and mask(told.error)))
        elif told.status == "completed":
            trace.span.set_status(Status(StatusCode.OK))
        trace.span.end(trace.ended_at)
        self._ended[job_id] = trace
        while len(self._ended) > _MOST_REMEMBERED:
            self._ended.popitem(last=False)


def _parent(metadata: Mapping[str, Any]) -> Context:
    carrier = {name: text for name in _HEADERS if isinstance(text := metadata.get(name), str)}
    return _PROPAGATOR.extract(carrier, Context())
