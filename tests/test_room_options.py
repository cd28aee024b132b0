"""RoomOptions: the published client's options, checked, merged and sent."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vsdk_trio.errors import OptionsError
from vsdk_trio.options.room import (
    LoggingOptions,
    ObservabilityOptions,
    RecordingOptions,
    RoomOptions,
    TracesOptions,
    TransportMode,
    WebRTCConfig,
    WebSocketConfig,
)


def _assigned(wire: dict[str, object]) -> RoomOptions:
    options = RoomOptions()
    options.assign(wire)
    return options


def test_defaults_are_those_of_the_published_client() -> None:
    options = RoomOptions()
    wire, lost = options.to_wire()
    assert lost == ()
    assert wire == {
        "room_id": None,
        "name": "Agent",
        "agent_participant_id": None,
        "playground": True,
        "vision": False,
        "recording": False,
        "recording_options": None,
        "join_meeting": True,
        "auto_end_session": True,
        "session_timeout_seconds": 5,
        "no_participant_timeout_seconds": 90,
        "join_timeout_seconds": 30,  # a new one
        "owns_session_metrics": True,
        "stop_recording_on_leave": True,
        "record_all_participants": False,
        "signaling_base_url": "api.videosdk.live",
        "audio_codec": None,
        "background_audio": False,
        "send_logs_to_dashboard": False,
        "dashboard_log_level": "INFO",
        "traces": {"enabled": True, "export_url": None, "export_headers": None},
        "metrics": {"enabled": True, "export_url": None, "export_headers": None},
        "logs": {
            "enabled": False,
            "level": "INFO",
            "export_url": None,
            "export_headers": None,
            "send_to_dashboard": False,
        },
        "observability": None,
        "websocket": {"port": 8080, "path": "/ws", "host": "127.0.0.1", "origins": []},
        "webrtc": {
            "signaling_url": None,
            "signaling_type": "websocket",
            "ice_servers": [{"urls": "stun:stun.l.google.com:19302"}],
        },
    }
    assert options.transport_mode is TransportMode.VIDEOSDK
    assert (options.avatar, options.on_room_error, options.auth_token) == (None, None, None)


@pytest.mark.parametrize(
    ("keywords", "text"),
    [
        ({"rom_id": "x"}, "RoomOptions has no option 'rom_id'; did you mean 'room_id'?"),
        ({"vision": "yes"}, "RoomOptions.vision must be bool, got str"),
        ({"vision": 1}, "RoomOptions.vision must be bool, got int"),
        ({"session_timeout_seconds": True}, "session_timeout_seconds must be int or float or None"),
        ({"session_timeout_seconds": -1}, "session_timeout_seconds must be >= 0, got -1"),
        ({"session_timeout_seconds": float("nan")}, "must be >= 0, got nan"),
        ({"auth_token": 7}, "RoomOptions.auth_token must be str or None, got int"),
        ({"on_room_error": "print"}, "RoomOptions.on_room_error must be callable or None, got str"),
        ({"transport_mode": "carrier pigeon"}, "must be one of videosdk, websocket, webrtc, loop"),
        ({"transport_mode": 3}, "transport_mode must be one of"),
        ({"dashboard_log_level": "loud"}, "must be one of DEBUG, INFO, WARNING, ERROR, got 'loud'"),
        ({"websocket": 8080}, "expected WebSocketConfig or a mapping, got int"),
        ({"websocket": {"prt": 1}}, "WebSocketConfig has no option 'prt'; did you mean 'port'?"),
        ({"websocket": {"port": True}}, "WebSocketConfig.port must be int, got bool"),
        ({"traces": {"export_headers": {"a": 1}}}, "TracesOptions.export_headers must map str"),
        ({"metrics": {"export_headers": "a"}}, "MetricsOptions.export_headers must be dict or"),
        ({"logs": {"level": ["INFO", "x"]}}, "a log level must be one of"),
    ],
)
def test_wrong_options_name_the_culprit(keywords: dict[str, object], text: str) -> None:
    with pytest.raises(OptionsError) as caught:
        RoomOptions(**keywords)  # type: ignore[arg-type]
    assert text in str(caught.value)


def test_values_are_checked_when_assigned_and_misspelt_names_are_refused() -> None:
    options = RoomOptions()
    options.vision = True
    options.transport_mode = "websocket"
    assert options.transport_mode is TransportMode.WEBSOCKET
    with pytest.raises(OptionsError):
        options.vision = "no"  # type: ignore[assignment]
    with pytest.raises(OptionsError):
        options.transport_mode = "x"
    with pytest.raises(AttributeError):
        options.vison = True  # type: ignore[attr-defined]


def test_secrets_do_not_show() -> None:
    options = RoomOptions(
        auth_token="s3cret",
        traces=TracesOptions(export_headers={"authorization": "s3cret"}),
        webrtc=WebRTCConfig(ice_servers=[{"urls": "turn:t", "credential": "s3cret"}]),
    )
    assert "s3cret" not in repr(options)
    assert "s3cret" not in str(WebRTCConfig(ice_servers=[{"credential": "s3cret"}]))


def test_structured_options_take_mappings_and_none() -> None:
    options = RoomOptions(
        traces=None,  # as the published client takes it
        logs={"level": ["debug", "error"]},
        recording_options={"video": True},
        observability=ObservabilityOptions(logs=LoggingOptions(level="warning")),
    )
    assert options.traces == TracesOptions()
    assert options.logs == LoggingOptions(level=["DEBUG", "ERROR"])
    assert options.recording_options == RecordingOptions(video=True)
    assert options.observability == ObservabilityOptions(logs=LoggingOptions(level="WARNING"))


@pytest.mark.parametrize(
    ("explicit", "environ", "mode"),
    [
        (None, {}, TransportMode.VIDEOSDK),
        (None, {"VSDK_TRIO_TRANSPORT": ""}, TransportMode.VIDEOSDK),
        (None, {"VSDK_TRIO_TRANSPORT": " Loopback "}, TransportMode.LOOPBACK),
        ("videosdk", {"VSDK_TRIO_TRANSPORT": "loopback"}, TransportMode.VIDEOSDK),
        (TransportMode.WEBRTC, {"VSDK_TRIO_TRANSPORT": "loopback"}, TransportMode.WEBRTC),
        ("LOOPBACK", {}, TransportMode.LOOPBACK),
    ],
)
def test_the_environment_chooses_only_where_nobody_else_did(
    explicit: str | None, environ: dict[str, str], mode: TransportMode
) -> None:
    assert RoomOptions(transport_mode=explicit).effective_transport(environ) is mode


def test_a_bad_word_in_the_environment_names_the_variable() -> None:
    with pytest.raises(OptionsError, match=r"environment variable VSDK_TRIO_TRANSPORT: .*'radio'"):
        RoomOptions().effective_transport({"VSDK_TRIO_TRANSPORT": "radio"})


def test_a_screen_can_only_be_recorded_if_it_is_seen() -> None:
    screen = RecordingOptions(screen_share=True)
    RoomOptions(recording_options=screen)  # recording is off
    RoomOptions(recording=True, recording_options=screen, vision=True)
    with pytest.raises(OptionsError, match="vision=True"):
        RoomOptions(recording=True, recording_options=screen)
    with pytest.raises(OptionsError, match="vision=True"):
        RoomOptions(observability=ObservabilityOptions(recording=screen))
    # What is grouped wins over the flat field.
    grouped = ObservabilityOptions(recording=RecordingOptions(video=True))
    RoomOptions(recording=True, recording_options=screen, observability=grouped)


def test_what_travels_and_what_does_not() -> None:
    options = RoomOptions(
        avatar=object(), on_room_error=print, auth_token="s3cret", transport_mode="loopback"
    )
    wire, lost = options.to_wire()
    assert lost == ("avatar", "on_room_error")
    assert "s3cret" not in json.dumps(wire)
    back = _assigned(json.loads(json.dumps(wire)))
    assert back.to_wire() == (wire, ())
    assert back.effective_transport({}) is TransportMode.LOOPBACK


@given(
    vision=st.booleans(),
    timeout=st.none() | st.integers(0, 1000) | st.floats(0, 1000),
    port=st.integers(0, 65535),
    levels=st.lists(st.sampled_from(["debug", "INFO", "Warning", "error"])),
    mode=st.none() | st.sampled_from(list(TransportMode)),
    observability=st.none() | st.just({"recording": {"video": True}, "logs": {}}),
)
def test_round_trip(
    vision: bool,
    timeout: float | None,
    port: int,
    levels: list[str],
    mode: TransportMode | None,
    observability: dict[str, object] | None,
) -> None:
    options = RoomOptions(
        vision=vision,
        session_timeout_seconds=timeout,
        websocket=WebSocketConfig(port=port),
        logs={"level": levels},
        transport_mode=mode,
        observability=observability,
    )
    wire, lost = options.to_wire()
    assert _assigned(json.loads(json.dumps(wire))) == options
    assert lost == ()
    changes = options.changes_to_wire()
    assert changes.items() <= wire.items()
    assert _assigned(json.loads(json.dumps(changes))) == options


def test_only_what_was_changed_travels() -> None:
    assert RoomOptions().changes_to_wire() == {}
    assert RoomOptions(auth_token="s3cret", avatar=object(), name="Bot").changes_to_wire() == {
        "name": "Bot"
    }
    # 1 == True, and yet no number of seconds is a boolean.
    assert RoomOptions(session_timeout_seconds=5.0).changes_to_wire() == {
        "session_timeout_seconds": 5.0
    }


@pytest.mark.parametrize(
    ("wire", "text"),
    [
        ({"vision": 1}, "RoomOptions.vision must be bool"),
        ({"visoin": True}, "no option 'visoin'; did you mean 'vision'"),
        ({"avatar": "face"}, "no option 'avatar'"),
        ({"recording": True, "recording_options": {"screen_share": True}}, "vision=True"),
    ],
)
def test_what_cannot_be_assigned(wire: dict[str, object], text: str) -> None:
    with pytest.raises(OptionsError, match=text):
        RoomOptions().assign(wire)


def test_an_assignment_overlays_the_workers_defaults() -> None:
    defaults = RoomOptions(
        name="Bot",
        vision=True,
        transport_mode="loopback",
        avatar="face",
        on_room_error=print,
        traces=TracesOptions(export_url="http://traces", export_headers={"a": "b"}),
        websocket=WebSocketConfig(port=9),
    )
    before = repr(defaults)
    overlay = {
        "playground": False,
        "session_timeout_seconds": None,
        "traces": {"enabled": False, "export_url": None, "colour": "red"},
        "recording": True,
        "recording_options": {"screen_share": True, "smell": True},
        "observability": {"recording": {"video": True, "x": 1}, "y": 2},
        "avatar": "no",
        "later": 1,
    }
    merged, unknown = defaults.merged(overlay)
    assert unknown == (
        "traces.colour",
        "recording_options.smell",
        "observability.recording.x",
        "observability.y",
        "avatar",
        "later",
    )
    assert (merged.name, merged.vision, merged.playground) == ("Bot", True, False)
    assert merged.effective_transport({}) is TransportMode.LOOPBACK
    assert (merged.avatar, merged.on_room_error) == ("face", print)
    assert merged.session_timeout_seconds == 5
    assert merged.traces == TracesOptions(
        enabled=False, export_url="http://traces", export_headers={"a": "b"}
    )
    assert merged.recording_options == RecordingOptions(screen_share=True)
    assert merged.observability is not None
    assert merged.observability.recording == RecordingOptions(video=True)
    wire = defaults.changes_to_wire()
    assert defaults.merge_on_wire(wire, overlay) == unknown
    assert wire == merged.changes_to_wire()
    assert repr(defaults) == before
    merged.websocket.port = 10
    assert repr(defaults) == before


@pytest.mark.parametrize(
    ("overlay", "text"),
    [
        ({"vision": "yes"}, "RoomOptions.vision must be bool"),
        ({"traces": [1]}, "RoomOptions.traces must be an object, got list"),
        ({"observability": {"logs": 1}}, "RoomOptions.observability.logs must be an object"),
        ({"logs": {"level": 3}}, "a log level"),
        ({"recording": True, "recording_options": {"screen_share": True}}, "vision=True"),
    ],
)
def test_an_assignment_with_wrong_types_is_an_error(overlay: dict[str, object], text: str) -> None:
    with pytest.raises(OptionsError, match=text):
        RoomOptions().merged(overlay)
    with pytest.raises(OptionsError, match=text):
        RoomOptions().merge_on_wire({}, overlay)


def test_what_an_assignment_sets_to_the_default_does_not_travel() -> None:
    worker = RoomOptions(name="Bot", vision=True, transport_mode="loopback", auth_token="s3cret")
    wire = worker.changes_to_wire()
    overlay = {"name": "Agent", "vision": False, "playground": True, "auth_token": "other"}
    assert worker.merge_on_wire(wire, overlay) == ()
    assert wire == {"transport_mode": "loopback"}
    worker.merge_on_wire(wire, {"transport_mode": "videosdk", "webrtc": {"signaling_url": "x"}})
    merged, _ = worker.merged({"transport_mode": "videosdk", "webrtc": {"signaling_url": "x"}})
    assert wire == {**wire, "transport_mode": "videosdk", "webrtc": merged.to_wire()[0]["webrtc"]}


@pytest.mark.parametrize("name", ["transport_mode", "dashboard_log_level"])
def test_an_error_does_not_quote_a_book(name):
    with pytest.raises(OptionsError, match="must be one of") as caught:
        RoomOptions().merged({name: "x" * 100_000})
    assert len(str(caught.value)) < 300
