"""The values inside `RoomOptions`, and how one set of them is laid over another.

A leaf. Users import these classes from `options.room`. Must not know `RoomOptions` or any room.
"""

from __future__ import annotations

import copy
import reprlib
from collections.abc import Mapping
from enum import Enum, unique
from functools import cache
from typing import Any, Final, TypeAlias, TypeVar

import attrs

from ..errors import OptionsError
from .checks import (
    check_headers,
    check_path,
    check_port,
    check_texts,
    has_type,
    helpful_init,
    log_levels,
)
from .published import described, fields_of, is_published

_STUN_SERVER = "stun:stun.l.google.com:19302"

_Config = TypeVar("_Config", bound=attrs.AttrsInstance)


@unique
class TransportMode(Enum):
    """How a job reaches its room; LOOPBACK is a scripted room inside the job process."""

    VIDEOSDK = "videosdk"
    WEBSOCKET = "websocket"
    WEBRTC = "webrtc"
    LOOPBACK = "loopback"


_MODES = {mode.value: mode for mode in TransportMode}


def transport_mode_from(value: TransportMode | str | None) -> TransportMode | None:
    """The mode that `value` names; raises `OptionsError` with the words there are."""
    if value is None or isinstance(value, TransportMode):
        return value
    if is_published(value, "TransportMode"):
        value = getattr(value, "value", value)
    if isinstance(value, str) and (mode := _MODES.get(value.lower())) is not None:
        return mode
    raise OptionsError(
        f"transport_mode must be one of {', '.join(_MODES)}, got {reprlib.repr(value)}"
    )


@helpful_init
@attrs.define
class WebSocketConfig:
    """Where an agent listens in websocket mode, and whose web pages may connect.

    Port 0 picks a free one, which `room.address` and the log tell. `host` is this machine's
    address to listen on; "0.0.0.0" is all of them. `origins` lists the pages from elsewhere that
    may connect (`"https://example.com"`, or `"*"` for any); those of this machine always may.
    """

    port: int = attrs.field(default=8080, validator=check_port)
    path: str = attrs.field(default="/ws", validator=check_path)
    host: str = attrs.field(default="127.0.0.1", validator=has_type(str))
    origins: list[str] = attrs.field(factory=list, validator=check_texts)


def _ice_servers(value: list[dict[str, Any]] | None) -> list[dict[str, Any]]:
    return [{"urls": _STUN_SERVER}] if value is None else value


@helpful_init
@attrs.define
class WebRTCConfig:
    """Signaling and ICE in webrtc mode; `ice_servers` may carry credentials, so repr hides them."""

    signaling_url: str | None = attrs.field(default=None, validator=has_type(str, none=True))
    signaling_type: str = attrs.field(default="websocket", validator=has_type(str))
    ice_servers: list[dict[str, Any]] = attrs.field(
        default=None,
        converter=_ice_servers,
        validator=has_type(list),
        repr=False,
    )


@helpful_init
@attrs.define
class TracesOptions:
    """Where traces go; repr hides the headers, which may authorize."""

    enabled: bool = attrs.field(default=True, validator=has_type(bool))
    export_url: str | None = attrs.field(default=None, validator=has_type(str, none=True))
    export_headers: dict[str, str] | None = attrs.field(
        default=None, repr=False, validator=check_headers
    )


@helpful_init
@attrs.define
class MetricsOptions:
    """Where metrics go; repr hides the headers, which may authorize."""

    enabled: bool = attrs.field(default=True, validator=has_type(bool))
    export_url: str | None = attrs.field(default=None, validator=has_type(str, none=True))
    export_headers: dict[str, str] | None = attrs.field(
        default=None, repr=False, validator=check_headers
    )


@helpful_init
@attrs.define
class LoggingOptions:
    """Which logs go where: `level` is a threshold, or a list of exactly the levels wanted."""

    enabled: bool = attrs.field(default=False, validator=has_type(bool))
    level: str | list[str] = attrs.field(default="INFO", converter=log_levels)
    export_url: str | None = attrs.field(default=None, validator=has_type(str, none=True))
    export_headers: dict[str, str] | None = attrs.field(
        default=None, repr=False, validator=check_headers
    )
    send_to_dashboard: bool = attrs.field(default=False, validator=has_type(bool))


@helpful_init
@attrs.define
class RecordingOptions:
    """What is recorded beside the audio; `screen_share` needs `RoomOptions.vision`."""

    video: bool = attrs.field(default=False, validator=has_type(bool))
    screen_share: bool = attrs.field(default=False, validator=has_type(bool))


def config(cls: type[_Config], value: Any) -> _Config:
    """A `cls`: `value` itself, or made from a mapping of its options, or its defaults for None."""
    if isinstance(value, cls):
        return value
    if value is None:
        return cls()
    if isinstance(value, Mapping):
        names: dict[str, Any] = {str(name): item for name, item in value.items()}
        return cls(**names)
    if is_published(value, cls.__name__):
        return cls(**fields_of(value, attrs.fields_dict(cls)))
    raise OptionsError(f"expected {cls.__name__} or a mapping, got {described(value)}")


def config_or_none(cls: type[_Config], value: Any) -> _Config | None:
    """As `config`, but None stays None."""
    return None if value is None else config(cls, value)


# Named converters, because type checkers do not see through a factory of them.
_Given: TypeAlias = _Config | Mapping[str, Any] | None


def recording_or_none(value: _Given[RecordingOptions]) -> RecordingOptions | None:
    return config_or_none(RecordingOptions, value)


def traces(value: _Given[TracesOptions]) -> TracesOptions:
    return config(TracesOptions, value)


def traces_or_none(value: _Given[TracesOptions]) -> TracesOptions | None:
    return config_or_none(TracesOptions, value)


def metrics(value: _Given[MetricsOptions]) -> MetricsOptions:
    return config(MetricsOptions, value)


def metrics_or_none(value: _Given[MetricsOptions]) -> MetricsOptions | None:
    return config_or_none(MetricsOptions, value)


def logs(value: _Given[LoggingOptions]) -> LoggingOptions:
    return config(LoggingOptions, value)


def logs_or_none(value: _Given[LoggingOptions]) -> LoggingOptions | None:
    return config_or_none(LoggingOptions, value)


def websocket(value: _Given[WebSocketConfig]) -> WebSocketConfig:
    return config(WebSocketConfig, value)


def webrtc(value: _Given[WebRTCConfig]) -> WebRTCConfig:
    return config(WebRTCConfig, value)


@helpful_init
@attrs.define
class ObservabilityOptions:
    """Recording, traces, metrics and logs in one; a value here wins over the flat field."""

    recording: RecordingOptions | None = attrs.field(default=None, converter=recording_or_none)
    traces: TracesOptions | None = attrs.field(default=None, converter=traces_or_none)
    metrics: MetricsOptions | None = attrs.field(default=None, converter=metrics_or_none)
    logs: LoggingOptions | None = attrs.field(default=None, converter=logs_or_none)


def observability_or_none(
    value: _Given[ObservabilityOptions],
) -> ObservabilityOptions | None:
    return config_or_none(ObservabilityOptions, value)


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
