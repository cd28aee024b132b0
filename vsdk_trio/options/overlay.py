"""Structured room options, laid over one another name by name.

A leaf: attrs and the standard library. Knows which names have a structured value and of which
class; must not know `RoomOptions` itself.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from functools import cache
from typing import Any, Final, TypeVar

import attrs

from ..errors import OptionsError
from .room_parts import (
    LoggingOptions,
    MetricsOptions,
    ObservabilityOptions,
    RecordingOptions,
    TracesOptions,
    WebRTCConfig,
    WebSocketConfig,
)

_T = TypeVar("_T")

_STRUCTURED: Final[Mapping[str, type[attrs.AttrsInstance]]] = {
    "logs": LoggingOptions,
    "metrics": MetricsOptions,
    "observability": ObservabilityOptions,
    "recording": RecordingOptions,
    "recording_options": RecordingOptions,
    "traces": TracesOptions,
    "webrtc": WebRTCConfig,
    "websocket": WebSocketConfig,
}
"""Which class the value of a name has; `recording` inside `observability`, a bool outside."""


def overlaid(path: str, base: Any, value: Any, unknown: list[str]) -> Any:
    """`base` with `value` over it; appends to `unknown` the paths of what has no place in it."""
    cls = _STRUCTURED.get(path.rpartition(".")[2])
    if cls is None or isinstance(base, bool):
        return value
    if not isinstance(value, Mapping):
        raise OptionsError(f"RoomOptions.{path} must be an object, got {type(value).__name__}")
    result = copied(base) if base is not None else cls()
    for name, item in value.items():
        if name not in attrs.fields_dict(cls):
            unknown.append(f"{path}.{name}")
        elif item is not None:
            setattr(result, name, overlaid(f"{path}.{name}", getattr(result, name), item, unknown))
    return result


def copied(value: _T) -> _T:
    """A copy that shares no structured value with `value`, so that two jobs never share one."""
    result = copy.copy(value)
    for name in _nested(type(value)):  # type: ignore[arg-type]  # a class is hashable
        if attrs.has(type(nested := getattr(value, name))):
            setattr(result, name, copied(nested))
    return result


@cache
def _nested(cls: type[Any]) -> tuple[str, ...]:
    """Which fields of a class may hold a structured value."""
    return tuple(name for name in attrs.fields_dict(cls) if name in _STRUCTURED)
