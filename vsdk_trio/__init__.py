"""vsdk_trio: VideoSDK agent workers on Trio.

The names of the published package, each loaded when it is first used: a job process imports this
package too, and must start light.
"""

from __future__ import annotations

from .system.standard_library import require_standard_library

require_standard_library()
# Nothing else is imported here: a Ctrl-C is quiet only once `_signals` is there.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .backend import BackendConnection, open_backend_connection
    from .errors import VsdkTrioError
    from .forkserver.before_fork import before_fork
    from .load import CpuLoad
    from .options.room import (
        LoggingOptions,
        MetricsOptions,
        ObservabilityOptions,
        RecordingOptions,
        RoomOptions,
        TracesOptions,
        TransportMode,
        WebRTCConfig,
        WebSocketConfig,
    )
    from .options.worker import (
        ExecutorType,
        JobRequest,
        Options,
        WorkerOptions,
        WorkerPermissions,
        WorkerType,
    )
    from .registry.core import Registry
    from .registry.server import open_registry
    from .runner.job_context import JobContext, get_current_job_context
    from .worker.worker import Worker, WorkerHandle, WorkerReport
    from .worker_job import WorkerJob

__version__ = "0.1.0"

_MODULE_OF = {
    name: module
    for module, names in {
        "forkserver.before_fork": ("before_fork",),
        "backend": ("BackendConnection", "open_backend_connection"),
        "errors": ("VsdkTrioError",),
        "load": ("CpuLoad",),
        "options.worker": (
            "ExecutorType",
            "JobRequest",
            "Options",
            "WorkerOptions",
            "WorkerPermissions",
            "WorkerType",
        ),
        "registry.core": ("Registry",),
        "registry.server": ("open_registry",),
        "options.room": (
            "LoggingOptions",
            "MetricsOptions",
            "ObservabilityOptions",
            "RecordingOptions",
            "RoomOptions",
            "TracesOptions",
            "TransportMode",
            "WebRTCConfig",
            "WebSocketConfig",
        ),
        "runner.job_context": ("JobContext", "get_current_job_context"),
        "worker.worker": ("Worker", "WorkerHandle", "WorkerReport"),
        "worker_job": ("WorkerJob",),
    }.items()
    for name in names
}

__all__ = [
    "BackendConnection",
    "CpuLoad",
    "ExecutorType",
    "JobContext",
    "JobRequest",
    "LoggingOptions",
    "MetricsOptions",
    "ObservabilityOptions",
    "Options",
    "RecordingOptions",
    "Registry",
    "RoomOptions",
    "TracesOptions",
    "TransportMode",
    "VsdkTrioError",
    "WebRTCConfig",
    "WebSocketConfig",
    "Worker",
    "WorkerHandle",
    "WorkerJob",
    "WorkerOptions",
    "WorkerPermissions",
    "WorkerReport",
    "WorkerType",
    "__version__",
    "before_fork",
    "get_current_job_context",
    "open_backend_connection",
    "open_registry",
]


def __getattr__(name: str) -> Any:
    # `aio` is a module, so that `vsdk_trio.aio.entrypoint` needs no import of its own.
    if (module := _MODULE_OF.get(name)) is None and name != "aio":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if module is None:
        return _load(name)
    value = getattr(_load(module), name)
    globals()[name] = value
    return value


def _load(module: str) -> Any:
    from importlib import import_module

    from .system.signals import heed_signals_as_process_1, interrupt_held_back

    heed_signals_as_process_1()
    with interrupt_held_back():
        try:
            return import_module(f".{module}", __name__)
        except Exception as error:
            from .system.import_hints import explained

            if (why := explained(error)) is None:
                raise
            raise ImportError(why) from error


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
