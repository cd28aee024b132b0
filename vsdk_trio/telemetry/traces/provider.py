"""Where spans go: whether anybody wants them, the provider of this process, and a bounded flush.

What the user has set up with the OpenTelemetry SDK is used as it is. Where there is nothing, a
provider is made from the standard `OTEL_*` variables. Knows OpenTelemetry; no jobs.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import trio

from ...errors import OptionsError
from ...system.threads import run_in_thread
from ..logs.loggers import get_logger

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.trace import TracerProvider

logger = get_logger(__name__)

# What the last spans may delay: the end of a job's process, and with it its slot.
JOB_FLUSH_SECONDS: Final = 1.0
# And the end of a worker.
WORKER_FLUSH_SECONDS: Final = 3.0

_ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")


def are_wanted(option: bool | None, environ: Mapping[str, str]) -> bool:
    """Whether traces are on: the option decides, else the environment.

    The environment wants them where it names an exporter or a collector, and OpenTelemetry is
    installed. Raises `OptionsError` where the option wants them and it is not.
    """
    if option is False or environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    if option:
        if not _is_installed():
            # Only now: it reads what pip wrote down, by modules that no worker needs.
            from ...options.extras import how_to_install

            raise OptionsError(f"option 'traces' needs OpenTelemetry: {how_to_install('otel')}")
        return True
    exporter = environ.get("OTEL_TRACES_EXPORTER", "").strip()
    if exporter == "none":
        return False
    is_asked_for = bool(exporter or any(environ.get(name) for name in _ENDPOINTS))
    # In this order: looking whether it is installed loads a part of it.
    return is_asked_for and _is_installed()


def _is_installed() -> bool:
    try:
        return importlib.util.find_spec("opentelemetry.sdk.trace") is not None
    except ModuleNotFoundError:
        return False


def find_provider(agent_id: str) -> TracerProvider:
    """The provider that is set up in this process, or a new one that the environment describes.

    Raises `OptionsError` where that names an exporter that is not installed. Imports the SDK.
    """
    from opentelemetry import trace

    current = trace.get_tracer_provider()
    if isinstance(current, trace.ProxyTracerProvider):  # what stands for "none yet"
        return _make_provider(agent_id)
    return current


def _make_provider(agent_id: str) -> TracerProvider:
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    names = os.environ.get("OTEL_TRACES_EXPORTER", "").strip() or "otlp"
    is_named = "OTEL_SERVICE_NAME" in os.environ or "service.name" in os.environ.get(
        "OTEL_RESOURCE_ATTRIBUTES", ""
    )
    # Not at exit: that waits for a dead collector for a minute. The end is flushed by `flush`.
    provider = TracerProvider(
        resource=Resource.create({} if is_named else {"service.name": agent_id}),
        shutdown_on_exit=False,
    )
    for name in names.split(","):
        if name.strip() != "none":
            provider.add_span_processor(BatchSpanProcessor(_make_exporter(name.strip())))
    return provider


def _make_exporter(name: str) -> SpanExporter:
    """The exporter of that name, which some installed package provides."""
    from importlib.metadata import entry_points  # slow to load; a job process loads this module

    entry = f"otlp_proto_{_protocol()}" if name == "otlp" else name
    found = [*entry_points(group="opentelemetry_traces_exporter", name=entry)]
    if not found:
        package = f"opentelemetry-exporter-{entry.replace('_', '-')}"
        raise OptionsError(
            f"traces: no exporter {name!r} is installed, which OTEL_TRACES_EXPORTER (by default "
            f"otlp) asks for: pip install {package}, or name another one"
        )
    make: Any = found[0].load()
    exporter: SpanExporter = make()
    return exporter


def _protocol() -> str:
    names = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
    protocol = next((text for name in names if (text := os.environ.get(name))), "http/protobuf")
    return "grpc" if protocol == "grpc" else "http"


async def flush(provider: TracerProvider, *, seconds: float) -> None:
    """Send the remaining spans, for at most `seconds`, even when cancelled.

    In a thread, which is left behind where it takes longer; the spans in it are lost, and it is
    said in the log.
    """
    force_flush = getattr(provider, "force_flush", None)  # a provider need not have it
    if force_flush is None:
        return
    with trio.move_on_after(seconds, shield=True) as patience:
        try:
            await run_in_thread("send spans", force_flush, abandon_on_cancel=True)
        except Exception as error:  # foreign code, and nothing of ours depends on it
            logger.warning("the last spans were not sent: %r", error)
    if patience.cancelled_caught:
        logger.warning("the last spans were not sent within %g s, and are lost", seconds)
