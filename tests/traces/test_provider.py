"""Who wants traces, which provider they go to, and that a dead collector delays nobody for long."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import pytest
import trio
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from vsdk_trio.errors import OptionsError
from vsdk_trio.telemetry.events import Observation, Observers
from vsdk_trio.telemetry.traces import provider as provider_module
from vsdk_trio.telemetry.traces.provider import are_wanted, find_provider, flush
from vsdk_trio.telemetry.traces.worker_traces import NoTraces, open_traces


@pytest.mark.parametrize(
    ("option", "environ", "wanted"),
    [
        (None, {}, False),
        (True, {}, True),
        (False, {"OTEL_TRACES_EXPORTER": "otlp"}, False),
        (None, {"OTEL_TRACES_EXPORTER": "console"}, True),
        (None, {"OTEL_TRACES_EXPORTER": "none"}, False),
        (None, {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}, True),
        (None, {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://collector:4318"}, True),
        (
            None,
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x", "OTEL_TRACES_EXPORTER": "none"},
            False,
        ),
        (None, {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_SDK_DISABLED": "true"}, False),
        (True, {"OTEL_SDK_DISABLED": "True"}, False),
    ],
)
def test_who_wants_them(option: bool | None, environ: dict[str, str], wanted: bool) -> None:
    assert are_wanted(option, environ) is wanted


def test_wanted_and_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provider_module, "_is_installed", lambda: False)
    assert not are_wanted(None, {"OTEL_TRACES_EXPORTER": "otlp"})
    with pytest.raises(OptionsError, match=r"pip install .*\[otel\]"):
        are_wanted(True, {})


def test_what_the_user_has_set_up_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    own = TracerProvider(shutdown_on_exit=False)
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", own)
    assert find_provider("agent") is own


@pytest.mark.parametrize(
    ("environ", "service"),
    [
        ({}, "agent"),
        ({"OTEL_SERVICE_NAME": "mine"}, "mine"),
        ({"OTEL_RESOURCE_ATTRIBUTES": "service.name=ours,a=b"}, "ours"),
    ],
)
def test_else_the_environment_describes_one(
    monkeypatch: pytest.MonkeyPatch, environ: dict[str, str], service: str
) -> None:
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "console,none")
    for name, text in environ.items():
        monkeypatch.setenv(name, text)
    made = find_provider("agent")
    assert isinstance(made, TracerProvider)
    assert made.resource.attributes["service.name"] == service
    made.shutdown()


async def test_an_exporter_that_is_not_installed(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "carrier-pigeon")
    observers: Observers[Observation] = Observers()
    with pytest.raises(OptionsError, match="no exporter 'carrier-pigeon' is installed"):
        async with open_traces(True, "agent", observers):
            pass
    # Only the environment wants them, and it is not ours alone: the worker works.
    async with open_traces(None, "agent", observers) as traces:
        assert isinstance(traces, NoTraces)
    assert "carrier-pigeon" in caplog.text


@pytest.mark.parametrize(("protocol", "package"), [("grpc", "grpc"), ("http/protobuf", "http")])
def test_the_package_to_install_is_named(
    monkeypatch: pytest.MonkeyPatch, protocol: str, package: str
) -> None:
    monkeypatch.setattr("importlib.metadata.entry_points", lambda **_: ())
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
    with pytest.raises(OptionsError, match=f"opentelemetry-exporter-otlp-proto-{package}"):
        find_provider("agent")


class Dead(SpanExporter):
    """A collector that takes a connection and never answers."""

    def __init__(self) -> None:
        self.released = threading.Event()
        self.asked = threading.Event()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.asked.set()
        self.released.wait(30)
        return SpanExportResult.FAILURE

    def shutdown(self) -> None: ...


@pytest.mark.real
async def test_a_dead_collector_has_a_bound(caplog: pytest.LogCaptureFixture) -> None:
    dead = Dead()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(dead))
    provider.get_tracer("x").start_span("x").end()
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await trio.sleep(0.01)
            ticks += 1

    began = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(tick)
        with trio.CancelScope() as scope:
            scope.cancel()  # a cancellation does not make the spans get lost
            await flush(provider, seconds=0.5)
        nursery.cancel_scope.cancel()
    assert 0.4 < trio.current_time() - began < 5
    assert dead.asked.is_set()
    assert ticks > 5, "the loop went on meanwhile"
    assert "not sent within 0.5 s" in caplog.text
    dead.released.set()
    provider.shutdown()


async def test_a_provider_that_cannot_be_flushed_is_left_alone() -> None:
    await flush(trace.NoOpTracerProvider(), seconds=1)


async def test_one_that_fails_to_is_said(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(TracerProvider):
        def force_flush(self, timeout_millis: int = 30000) -> bool:
            raise RuntimeError("no route")

    await flush(Broken(shutdown_on_exit=False), seconds=5)
    assert "no route" in caplog.text
