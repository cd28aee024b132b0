"""`RoomOptions`: how a job joins its room, with the names and defaults of the published client.

A leaf: attrs and the standard library. Knows what the options are, how the worker's defaults and
an assignment's wishes become one value, and how that value travels as JSON; not what a room does
with it. Unknown names and wrong types are errors that name the culprit, never silence.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, Final, TypeVar

import attrs

from . import _room_configs as _configs
from ._keywords import helpful_init, unknown_name
from ._room_configs import (
    LoggingOptions,
    MetricsOptions,
    ObservabilityOptions,
    RecordingOptions,
    TracesOptions,
    TransportMode,
    WebRTCConfig,
    WebSocketConfig,
    check_seconds,
    has_type,
    log_level,
    transport_mode_from,
)
from .errors import OptionsError

_T = TypeVar("_T")

__all__ = [
    "LoggingOptions",
    "MetricsOptions",
    "ObservabilityOptions",
    "RecordingOptions",
    "RoomOptions",
    "TracesOptions",
    "TransportMode",
    "WebRTCConfig",
    "WebSocketConfig",
]

TRANSPORT_VARIABLE = "VSDK_TRIO_TRANSPORT"
"""The environment variable that chooses the transport where `transport_mode` was not given."""

JOIN_TIMEOUT_SECONDS = 30

_LIVE_FIELDS = frozenset({"avatar", "on_room_error"})
"""Fields that hold live objects and so cannot travel to another process."""


def _check_callback(_owner: object, field: attrs.Attribute[Any], value: object) -> None:
    if value is not None and not callable(value):
        kind = type(value).__name__
        raise OptionsError(f"RoomOptions.{field.name} must be callable or None, got {kind}")


@helpful_init
@attrs.define(kw_only=True)
class RoomOptions:
    """How to join a room and when to leave it: every option of the published client.

    Times are in seconds, and None means "never". A structured option also takes a mapping.
    `transport_mode` takes a `TransportMode` or its word. Fields can be assigned later and are
    checked then, too. New here: `join_timeout_seconds`, how long `connect()` may take, and, of a
    job that is assigned with `wait`, how long it may run without having joined.

    Raises `OptionsError` for an unknown name, a wrong type, or `screen_share` recording without
    `vision`.
    """

    room_id: str | None = attrs.field(default=None, validator=has_type(str, none=True))
    auth_token: str | None = attrs.field(
        default=None, repr=False, validator=has_type(str, none=True)
    )
    name: str | None = attrs.field(default="Agent", validator=has_type(str, none=True))
    agent_participant_id: str | None = attrs.field(default=None, validator=has_type(str, none=True))
    playground: bool = attrs.field(default=True, validator=has_type(bool))
    vision: bool = attrs.field(default=False, validator=has_type(bool))
    recording: bool = attrs.field(default=False, validator=has_type(bool))
    recording_options: RecordingOptions | None = attrs.field(
        default=None, converter=_configs.recording_or_none
    )
    avatar: Any = attrs.field(default=None, repr=False)
    join_meeting: bool | None = attrs.field(default=True, validator=has_type(bool, none=True))
    on_room_error: Callable[[Any], object] | None = attrs.field(
        default=None, repr=False, validator=_check_callback
    )
    auto_end_session: bool = attrs.field(default=True, validator=has_type(bool))
    session_timeout_seconds: float | None = attrs.field(default=5, validator=check_seconds)
    no_participant_timeout_seconds: float | None = attrs.field(default=90, validator=check_seconds)
    join_timeout_seconds: float | None = attrs.field(
        default=JOIN_TIMEOUT_SECONDS, validator=check_seconds
    )
    owns_session_metrics: bool = attrs.field(default=True, validator=has_type(bool))
    stop_recording_on_leave: bool = attrs.field(default=True, validator=has_type(bool))
    record_all_participants: bool = attrs.field(default=False, validator=has_type(bool))
    signaling_base_url: str | None = attrs.field(
        default="api.videosdk.live", validator=has_type(str, none=True)
    )
    audio_codec: str | None = attrs.field(default=None, validator=has_type(str, none=True))
    background_audio: bool = attrs.field(default=False, validator=has_type(bool))
    send_logs_to_dashboard: bool = attrs.field(default=False, validator=has_type(bool))
    dashboard_log_level: str = attrs.field(default="INFO", converter=log_level)
    traces: TracesOptions = attrs.field(default=None, converter=_configs.traces)
    metrics: MetricsOptions = attrs.field(default=None, converter=_configs.metrics)
    logs: LoggingOptions = attrs.field(default=None, converter=_configs.logs)
    observability: ObservabilityOptions | None = attrs.field(
        default=None, converter=_configs.observability_or_none
    )
    websocket: WebSocketConfig = attrs.field(default=None, converter=_configs.websocket)
    webrtc: WebRTCConfig = attrs.field(default=None, converter=_configs.webrtc)
    _transport_mode: TransportMode | None = attrs.field(
        default=None, alias="transport_mode", converter=transport_mode_from
    )

    def __attrs_post_init__(self) -> None:
        self.check()

    @property
    def transport_mode(self) -> TransportMode:
        """The transport that was asked for; VIDEOSDK where none was."""
        return self._transport_mode or TransportMode.VIDEOSDK

    @transport_mode.setter
    def transport_mode(self, value: TransportMode | str | None) -> None:
        self._transport_mode = transport_mode_from(value)

    def effective_transport(self, environ: Mapping[str, str]) -> TransportMode:
        """The transport to use: what was asked for, else `VSDK_TRIO_TRANSPORT`, else VIDEOSDK.

        Raises `OptionsError` where the variable holds no known word.
        """
        if self._transport_mode is not None:
            return self._transport_mode
        word = environ.get(TRANSPORT_VARIABLE, "").strip()
        try:
            return transport_mode_from(word or None) or TransportMode.VIDEOSDK
        except OptionsError as error:
            raise OptionsError(f"environment variable {TRANSPORT_VARIABLE}: {error}") from None

    def check(self) -> None:
        """Check what one field alone cannot: raises `OptionsError` for a contradiction.

        Called at construction, and again before joining, since fields can be assigned meanwhile.
        """
        recording = self.recording_options if self.recording else None
        if self.observability is not None and self.observability.recording is not None:
            recording = self.observability.recording
        if recording is not None and recording.screen_share and not self.vision:
            raise OptionsError(
                "recording_options.screen_share=True needs RoomOptions(vision=True): "
                "a screen that is not subscribed to cannot be recorded"
            )

    def to_wire(self) -> tuple[dict[str, Any], tuple[str, ...]]:
        """As a JSON object, and the names of the fields set here that cannot travel.

        `auth_token` is in neither: it goes as the job's own token, which is kept out of logs.
        """
        wire = attrs.asdict(self, filter=lambda field, _: field.name not in _LIVE_FIELDS)
        del wire["auth_token"], wire["_transport_mode"]
        if self._transport_mode is not None:
            wire["transport_mode"] = self._transport_mode.value
        return wire, tuple(sorted(n for n in _LIVE_FIELDS if getattr(self, n) is not None))

    def changes_to_wire(self) -> dict[str, Any]:
        """As `to_wire`, but only what differs from the defaults: `assign` it to those."""
        wire = {}
        for name, default in _defaults_on_wire():
            value = getattr(self, name)
            # By type as well: True is 1 to `==`, and no number of seconds.
            if value != default or type(value) is not type(default):
                wire[name] = attrs.asdict(value) if attrs.has(type(value)) else value
        if self._transport_mode is not None:
            wire["transport_mode"] = self._transport_mode.value
        return wire

    def assign(self, wire: Mapping[str, Any]) -> None:
        """Set what `wire` names, as `changes_to_wire` gives it; the shortest way to a value.

        Raises `OptionsError` where it is nothing that `to_wire` could have given.
        """
        for alias, value in wire.items():
            if (name := _FIELDS.get(alias)) is None:
                raise unknown_name("RoomOptions", alias, _FIELDS)
            setattr(self, name, value)  # checks and converts
        self.check()

    def merged(self, overlay: Mapping[str, Any]) -> tuple[RoomOptions, tuple[str, ...]]:
        """A copy with what `overlay` (JSON, from an assignment) says, and the names it ignored.

        Structured options are merged name by name; a null says nothing. An unknown name is
        returned as a path (`"traces.colour"`), since the registry is deployed independently; a
        known name with a wrong type raises `OptionsError`.
        """
        merged = _copied(self)  # so that two jobs never share a structured value
        return merged, merged._overlay(overlay)

    def merged_to_read(self, overlay: Mapping[str, Any]) -> tuple[RoomOptions, tuple[str, ...]]:
        """As `merged`, for somebody who will only read it: what is not overlaid is shared."""
        merged = copy.copy(self)
        return merged, merged._overlay(overlay)

    def _overlay(self, overlay: Mapping[str, Any]) -> tuple[str, ...]:
        unknown: list[str] = []
        for alias, value in overlay.items():
            if (name := _FIELDS.get(alias)) is None:
                unknown.append(alias)
            elif value is not None:
                setattr(self, name, _overlaid(alias, getattr(self, name), value, unknown))
        self.check()
        return tuple(unknown)


_FIELDS: Final = {
    str(field.alias): field.name
    for field in attrs.fields(RoomOptions)
    if field.name not in _LIVE_FIELDS
}
"""What an assignment may say, by its name there."""


@cache
def _defaults_on_wire() -> tuple[tuple[str, Any], ...]:
    """The names of what travels under the name it has here, and the defaults."""
    defaults = RoomOptions()
    apart = ("auth_token", "_transport_mode")
    return tuple((name, getattr(defaults, name)) for name in _FIELDS.values() if name not in apart)


_STRUCTURED: Mapping[str, type[attrs.AttrsInstance]] = {
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


def _overlaid(path: str, base: Any, value: Any, unknown: list[str]) -> Any:
    """`base` with `value` over it; appends to `unknown` the paths of what has no place in it."""
    cls = _STRUCTURED.get(path.rpartition(".")[2])
    if cls is None or isinstance(base, bool):
        return value
    if not isinstance(value, Mapping):
        raise OptionsError(f"RoomOptions.{path} must be an object, got {type(value).__name__}")
    result = _copied(base) if base is not None else cls()
    for name, item in value.items():
        if name not in attrs.fields_dict(cls):
            unknown.append(f"{path}.{name}")
        elif item is not None:
            setattr(result, name, _overlaid(f"{path}.{name}", getattr(result, name), item, unknown))
    return result


def _copied(value: _T) -> _T:
    """A copy that shares no structured value with `value`, so that two jobs never share one."""
    result = copy.copy(value)
    for name in _NESTED.get(type(value), ()):
        if attrs.has(type(nested := getattr(value, name))):
            setattr(result, name, _copied(nested))
    return result


_NESTED: Final[Mapping[type, tuple[str, ...]]] = {
    cls: tuple(name for name in attrs.fields_dict(cls) if name in _STRUCTURED)
    for cls in (RoomOptions, ObservabilityOptions)
}
"""Which fields of a class may hold a structured value."""
