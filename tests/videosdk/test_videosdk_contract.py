"""What hosted rooms use of the SDK beyond its documentation: fails first with a new version."""

from __future__ import annotations

import asyncio
import importlib.metadata
import inspect
import logging
import tomllib
import warnings
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("vsaiortc", reason="needs the extra `videosdk`: tox -e videosdk")

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # of websockets, which the SDK imports
    import videosdk
    from videosdk import MeetingEventHandler, ParticipantEventHandler, VideoSDK

from vsdk_trio.errors import RoomError
from vsdk_trio.rooms.hosted import sdk

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

ARGUMENTS = {
    *("meeting_id", "participant_id", "name", "token", "mic_enabled", "webcam_enabled"),
    *("custom_microphone_audio_track", "auto_consume", "audio_codec", "signaling_base_url"),
    *("peer_type", "meta_data", "sdk_metadata", "loop"),
}
MEETING_EVENTS = {
    *("on_error", "on_meeting_joined", "on_meeting_left", "on_meeting_state_change"),
    *("on_participant_joined", "on_participant_left", "on_agent_joined", "on_agent_left"),
}


def a_meeting(loop: asyncio.AbstractEventLoop) -> Any:
    return VideoSDK.init_meeting(
        meeting_id="room", participant_id="agent", name="Agent", token="t", loop=loop
    )


async def of_a_meeting() -> sdk.PrivateParts:
    return sdk.PrivateParts(a_meeting(asyncio.get_running_loop()), videosdk.__version__)


def test_a_meeting_has_the_private_parts() -> None:
    parts = asyncio.run(of_a_meeting())
    assert parts.socket is None
    assert not parts.has_lost_media()


@pytest.mark.parametrize("name", ["_CLIENT", "_SOCKET", "_LEAVE"])
def test_a_part_that_is_missing_is_one_clear_error(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(sdk, name, "_gone")
    with pytest.raises(RoomError, match=r"cannot use videosdk .*pip install 'videosdk"):
        asyncio.run(of_a_meeting())


def test_the_calls_and_events_that_are_used() -> None:
    source = inspect.getsource(VideoSDK.init_meeting)
    assert not {name for name in ARGUMENTS if f'"{name}"' not in source}
    assert set(dir(MeetingEventHandler)) >= MEETING_EVENTS
    assert {"on_stream_enabled", "on_stream_disabled"} <= set(dir(ParticipantEventHandler))


def test_the_texts_by_which_errors_are_known() -> None:
    package = Path(videosdk.__file__).parent
    source = "".join(path.read_text(encoding="utf-8") for path in package.rglob("*.py"))
    for text in (sdk.NO_VOICE, *sdk.NOT_SENT, sdk.RESPONSE.strip()):
        assert text in source, text
    assert sdk.TELLS_CAUSES in logging.root.manager.loggerDict


def test_the_bounds_are_those_of_the_package() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    assert sdk.SUPPORTED in project["project"]["optional-dependencies"]["videosdk"]
    assert importlib.metadata.version("videosdk").startswith("0.4.")
