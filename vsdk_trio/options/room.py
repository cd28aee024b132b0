"""`RoomOptions`: how a job joins its room, with the names and defaults of the published client.

A leaf: attrs and the standard library. Knows what the options are, how the worker's defaults and
an assignment's wishes become one value, and how that value travels as JSON; not what a room does
with it. Unknown names and wrong types are errors that name the culprit, never silence.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, Final, NoReturn

import attrs

from ..errors import OptionsError
from . import room_parts as _configs
from .checks import check_callback, check_seconds, has_type, helpful_init, log_level, unknown_name
from .published import described, fields_of, is_published
from .room_parts import (
    LoggingOptions,
    MetricsOptions,
    ObservabilityOptions,
    RecordingOptions,
    TracesOptions,
    TransportMode,
    WebRTCConfig,
    WebSocketConfig,
    copied,
    overlaid,
    transport_mode_from,
)

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


@helpful_init
@attrs.define(kw_only=True)
class RoomOptions:
    """How to join a room and when to leave it: every option of the published client.

    Times are in seconds, and None means "never". A structured option also takes a mapping. Fields
    can be assigned later and are checked then, too.

    Args:
        room_id: The room to join; None: the one of the assignment, or a new one.
        auth_token: The token for the room; None: the one of the assignment, or of the environment.
        name: The name of the agent in the room.
        agent_participant_id: The participant id of the agent. None: a new one.
        playground: Show the room's playground link.
        vision: Subscribe to video, too.
        recording: Record the agent.
        recording_options: What is recorded, as `RecordingOptions` or a mapping.
        avatar: Kept for agents of the published package; it has no effect here.
        join_meeting: Join the room when the entrypoint connects.
        on_room_error: A function that is called with each error of the room.
        auto_end_session: End the session after the last participant has left.
        session_timeout_seconds: How long after the last participant left. The session ends after so
            many seconds.
        no_participant_timeout_seconds: How long to wait for the first participant. In seconds.
        join_timeout_seconds: The longest time for joining the room. It bounds `connect()`, and how
            long a job that is assigned with `wait` may run without having joined.
        owns_session_metrics: Report the session's metrics.
        stop_recording_on_leave: End the recording when the agent leaves.
        record_all_participants: Record all participants.
        signaling_base_url: The REST API: a host, or a whole URL.
        audio_codec: The codec for audio.
        background_audio: Allow background audio.
        send_logs_to_dashboard: Send the session's logs to the dashboard.
        dashboard_log_level: The lowest level of the logs that are sent.
        traces: Kept for the SDK.
        metrics: Kept for the SDK.
        logs: Kept for the SDK.
        observability: Kept for the SDK.
        websocket: Where a room of transport `websocket` listens.
        webrtc: How a room of transport `webrtc` is reached.
        transport_mode: How the room is reached. A `TransportMode`, or its word.

    Raises:
        OptionsError: for an unknown name, a wrong type, or `screen_share` recording without
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
        default=None, repr=False, validator=check_callback
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

    @classmethod
    def taken_over(cls, value: object) -> RoomOptions:
        """`value` itself, or room options with the fields of the published package's class.

        Its transport is videosdk where none was given, so that is taken for no choice. Raises
        `OptionsError` for anything else, and for a field's value that cannot work.
        """
        if isinstance(value, RoomOptions):
            return value
        if not is_published(value, "RoomOptions"):
            raise OptionsError(
                f"room_options must be vsdk_trio.RoomOptions, got {described(value)}; "
                "write RoomOptions(room_id=..., name=...) with `from vsdk_trio import RoomOptions`"
            )
        given = fields_of(value, attrs.fields_dict(RoomOptions))
        mode = transport_mode_from(getattr(value, "transport_mode", None))
        return cls(**given, transport_mode=None if mode is TransportMode.VIDEOSDK else mode)

    def _resolved_observability(self) -> NoReturn:
        """Only the `JobContext` of the published package asks for this, of its own class."""
        raise OptionsError(
            "a JobContext of videosdk.agents got RoomOptions of vsdk_trio; import both from one "
            "package, and WorkerJob with them"
        )

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
        _check_recording(
            self.recording, self.recording_options, self.observability, vision=self.vision
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
        wire: dict[str, Any] = {}
        for alias in _defaults():
            _put_if_changed(wire, alias, getattr(self, _FIELDS[alias].name))
        return wire

    def assign(self, wire: Mapping[str, Any]) -> None:
        """Set what `wire` names, as `changes_to_wire` gives it; the shortest way to a value.

        Raises `OptionsError` where it is nothing that `to_wire` could have given.
        """
        for alias, value in wire.items():
            if (field := _FIELDS.get(alias)) is None:
                raise unknown_name("RoomOptions", alias, _FIELDS)
            setattr(self, field.name, value)  # checks and converts
        self.check()

    def merged(self, overlay: Mapping[str, Any]) -> tuple[RoomOptions, tuple[str, ...]]:
        """A copy with what `overlay` (JSON, from an assignment) says, and the names it ignored.

        Structured options are merged name by name; a null says nothing. An unknown name is
        returned as a path (`"traces.colour"`), since the registry is deployed independently; a
        known name with a wrong type raises `OptionsError`.
        """
        merged = copied(self)  # so that two jobs never share a structured value
        unknown: list[str] = []
        for alias, value in overlay.items():
            if (field := _FIELDS.get(alias)) is None:
                unknown.append(alias)
            elif value is not None:
                base = getattr(merged, field.name)
                setattr(merged, field.name, overlaid(alias, base, value, unknown))
        merged.check()
        return merged, tuple(unknown)

    def merge_on_wire(self, wire: dict[str, Any], overlay: Mapping[str, Any]) -> tuple[str, ...]:
        """As `merged`, errors included, for a worker that only passes options on.

        Changes `wire`, these options as `changes_to_wire` gives them, and returns the names that
        it ignored. Nothing is copied, and nothing looked at but what `overlay` says.
        """
        changed: dict[str, Any] = {}
        unknown: list[str] = []
        for alias, value in overlay.items():
            if (field := _FIELDS.get(alias)) is None:
                unknown.append(alias)
            elif value is not None:
                convert: Any = field.converter
                if convert is not None:
                    value = convert(overlaid(alias, getattr(self, field.name), value, unknown))
                elif field.validator is not None:
                    field.validator(self, field, value)
                changed[alias] = value
        _check_recording(
            changed.get("recording", self.recording),
            changed.get("recording_options", self.recording_options),
            changed.get("observability", self.observability),
            vision=changed.get("vision", self.vision),
        )
        changed.pop("auth_token", None)
        for alias, value in changed.items():
            _put_if_changed(wire, alias, value)
        return tuple(unknown)


def _check_recording(
    is_on: bool,
    options: RecordingOptions | None,
    observability: ObservabilityOptions | None,
    *,
    vision: bool,
) -> None:
    recording = options if is_on else None
    if observability is not None and observability.recording is not None:
        recording = observability.recording
    if recording is not None and recording.screen_share and not vision:
        raise OptionsError(
            "recording_options.screen_share=True needs RoomOptions(vision=True): "
            "a screen that is not subscribed to cannot be recorded"
        )


_FIELDS: Final[Mapping[str, attrs.Attribute[Any]]] = {
    str(field.alias): field for field in attrs.fields(RoomOptions) if field.name not in _LIVE_FIELDS
}
"""What an assignment may say, by its name there."""


@cache
def _defaults() -> Mapping[str, Any]:
    """The defaults of what travels, by its name on the wire."""
    defaults = RoomOptions()
    travels = (item for item in _FIELDS.items() if item[0] != "auth_token")
    return {alias: getattr(defaults, field.name) for alias, field in travels}


def _put_if_changed(wire: dict[str, Any], alias: str, value: Any) -> None:
    """Put the value of a field on the wire, and take it off where it is the default."""
    default = _defaults()[alias]
    # By type as well: True is 1 to `==`, and no number of seconds.
    if value == default and type(value) is type(default):
        wire.pop(alias, None)
    elif isinstance(value, TransportMode):
        wire[alias] = value.value
    else:
        wire[alias] = attrs.asdict(value) if attrs.has(type(value)) else value
