"""What is particular to the VideoSDK transport: the SDK in its thread, against the stand-in."""

from __future__ import annotations

import gc
import logging
import threading
import time
from typing import Any

import pytest
import trio

from vsdk_trio.errors import RoomError
from vsdk_trio.options.worker import WorkerPermissions
from vsdk_trio.rooms import (
    ParticipantJoined,
    RoomEvent,
    RoomFailure,
    StreamStarted,
    StreamStopped,
)
from vsdk_trio.rooms.loopback import tone
from vsdk_trio.testing.sounds import pitch

from .conftest import TOKEN, Enter

pytest.importorskip("vsaiortc", reason="needs the extra `videosdk`: tox -e videosdk")

from vsdk_trio.testing.videosdk import FakeVideoSDK, RefusedError

pytestmark = [
    pytest.mark.real,
    pytest.mark.slow,
    # What the SDK uses of its own dependencies is deprecated there.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]


async def test_two_agents_hear_each_other(enter: Enter) -> None:
    async with enter("one") as one, enter("two") as two, trio.open_nursery() as nursery:
        assert await one.wait_for_participant() == "two"
        assert await two.wait_for_participant() == "one"
        heard = {room: room.audio(other) for room, other in ((one, "two"), (two, "one"))}
        nursery.start_soon(one.play, tone(440, 1.5))
        nursery.start_soon(two.play, tone(660, 1.5))
        pitches = {}
        for room, feed in heard.items():
            with trio.fail_after(10):
                pitches[room] = pitch([await anext(feed) for _ in range(60)][20:])
        assert pitches[one] == pytest.approx(660, rel=0.02)
        assert pitches[two] == pytest.approx(440, rel=0.02)
        nursery.cancel_scope.cancel()


async def test_muting_is_seen(fake: FakeVideoSDK, enter: Enter) -> None:
    async with enter() as room:
        events = room.events()
        bob = fake.room("room").add_person("bob", "Bob", {"age": 7})
        await room.wait_for_participant()
        await bob.speak(tone(440, 0.2))
        bob.mute()
        await bob.speak(tone(440, 0.2))
        seen: list[RoomEvent] = []
        with trio.fail_after(10):
            async for event in events:
                if isinstance(event, (StreamStarted, StreamStopped)):
                    seen.append(event)
                if isinstance(event, ParticipantJoined):
                    assert event.participant.metadata == {"age": 7}
                if len(seen) == 3:
                    break
        started, stopped = (kind(participant_id="bob") for kind in (StreamStarted, StreamStopped))
        assert seen == [started, stopped, started]


@pytest.mark.parametrize(
    ("name", "stage"),
    [
        ("server-init-config", "asking for the configuration of its server"),
        ("websocket", "opening its signaling socket"),
        ("getRouterRtpCapabilities", "joining"),
        ("createWebRtcTransport", "joining"),
        ("join", "joining"),
        ("produce", "joining"),
    ],
)
async def test_a_refusal_is_the_cause(
    fake: FakeVideoSDK, enter: Enter, name: str, stage: str
) -> None:
    fake.faults.refuse[name] = RefusedError(403, "not on the list")
    with pytest.raises(RoomError, match=f"could not be joined.*{stage}.*not on the list"):
        async with enter():
            raise AssertionError("joined")
    assert fake.room("room").peer_ids == ()


async def test_a_wrong_token_is_the_cause(fake: FakeVideoSDK, enter: Enter) -> None:
    wrong = "a-wrong-token-that-is-long-enough"
    with pytest.raises(RoomError, match=r"answered 401.*Token is invalid") as caught:
        async with enter(token=wrong):
            raise AssertionError("joined")
    assert wrong not in repr(caught.value)
    assert wrong in fake.tokens_seen


async def test_nobody_is_there_to_answer(enter: Enter, free_port: int) -> None:
    with pytest.raises(RoomError, match=r"could not be joined.*Connection refused"):
        async with enter(signaling_base_url=f"127.0.0.1:{free_port}"):
            raise AssertionError("joined")


async def test_a_service_that_is_not_trusted(enter: Enter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REQUESTS_CA_BUNDLE")
    with pytest.raises(RoomError, match=r"not trusted.*REQUESTS_CA_BUNDLE"):
        async with enter():
            raise AssertionError("joined")


async def test_https_is_all_the_sdk_speaks(enter: Enter) -> None:
    with pytest.raises(RoomError, match=r"speaks https only.*registry --rooms"):
        async with enter(signaling_base_url="http://127.0.0.1:8080"):
            raise AssertionError("joined")


async def test_a_token_is_needed(enter: Enter) -> None:
    with pytest.raises(RoomError, match=r"without a token: set RoomOptions\(auth_token"):
        async with enter(token=""):
            raise AssertionError("joined")


@pytest.mark.parametrize("name", ["server-init-config", "websocket", "join"])
async def test_no_answer_costs_a_deadline(
    fake: FakeVideoSDK,
    enter: Enter,
    caplog: pytest.LogCaptureFixture,
    name: str,
) -> None:
    fake.faults.ignore.add(name)
    began = time.monotonic()
    with pytest.raises(RoomError, match=r"not be joined in time.*did not answer \(while"):
        async with enter(join_timeout_seconds=2.0):
            raise AssertionError("joined")
    assert time.monotonic() - began < 8
    if name == "server-init-config":  # the SDK waits for REST in its thread, without a deadline
        assert "is left behind, busy in" in caplog.text


async def test_a_cancelled_join_leaves_nothing_behind(fake: FakeVideoSDK, enter: Enter) -> None:
    fake.faults.delay["join"] = 60
    with trio.move_on_after(1) as scope:
        async with enter():
            raise AssertionError("joined")
    assert scope.cancelled_caught
    assert not [thread for thread in threading.enumerate() if thread.name == "videosdk"]
    with trio.fail_after(5):
        await fake.room("room").wait_gone("agent")


async def ended(room: Any) -> str:
    with trio.fail_after(15):
        reason: str = await room.wait_ended()
        return reason


async def test_thrown_out(fake: FakeVideoSDK, enter: Enter) -> None:
    async with enter() as room:
        fake.room("room").remove("agent")
        assert await ended(room) == "session_ended"


async def test_the_meeting_ends(fake: FakeVideoSDK, enter: Enter) -> None:
    async with enter("one") as one, enter("two") as two:
        fake.room("room").end()
        assert await ended(one) == await ended(two) == "session_ended"


async def test_the_same_participant_twice(enter: Enter) -> None:
    async with enter("twin") as first, enter("twin") as second:
        assert await ended(first) == "session_ended"
        assert second.end_reason is None


@pytest.mark.parametrize(
    ("cut", "seconds", "why"),
    [("drop", 5, "its signaling was cut off"), ("silence", 14, "did not answer a ping")],
)
async def test_a_cut_network_fails_the_job_and_says_so(
    fake: FakeVideoSDK, enter: Enter, cut: str, seconds: float, why: str
) -> None:
    reasons: list[str] = []

    async def stay() -> None:
        async with enter() as room:
            room.setup_session_end_callback(reasons.append)
            getattr(fake, cut)()
            await trio.sleep_forever()

    with pytest.raises(RoomError, match=f"connection to the room was lost: .*{why}"):
        with trio.fail_after(seconds):
            await stay()
    assert reasons == ["connection_lost"]


async def test_an_error_of_the_sdk_is_an_event(fake: FakeVideoSDK, enter: Enter) -> None:
    errors: list[object] = []
    async with enter(on_room_error=errors.append) as room:
        fake.room("room").tell_all("newPeer", {"junk": True})
        with trio.fail_after(5):
            async for event in room.events():
                if isinstance(event, RoomFailure):
                    break
        assert "the VideoSDK SDK says: Internal socket Error" in str(event)
        fake.faults.refuse["pubsubSubscribe"] = RefusedError(400, "no topics today")
        with pytest.raises(RoomError, match="could not be subscribed to"):
            await room.messages("other")
    assert errors


async def test_what_is_not_permitted_is_not_asked_for(fake: FakeVideoSDK, enter: Enter) -> None:
    bob = fake.room("room").add_person("bob")
    bob.unmute()
    mute = WorkerPermissions(can_publish=False, can_subscribe=False)
    async with enter(permissions=mute) as room:
        await room.wait_for_participant()
        assert fake.room("room").sending == {"bob"}
        await bob.speak(tone(440, 0.3))
        assert room.counts.frames_heard == 0


@pytest.mark.parametrize("codec", ["pcmu", "pcma", "opus"])
async def test_an_audio_codec_is_the_sdks(fake: FakeVideoSDK, enter: Enter, codec: str) -> None:
    async with enter("one", audio_codec=codec) as one, enter("two") as two:
        await two.wait_for_participant()
        feed = two.audio("one")
        await one.play(tone(440, 1.0))
        with trio.fail_after(10):
            frames = [await anext(feed) for _ in range(40)]
        assert pitch(frames[20:]) == pytest.approx(440, rel=0.03)
        assert frames[0].sample_rate == (48000 if codec == "opus" else 8000)
        assert fake.room("room").codecs == {"one": f"audio/{codec}", "two": "audio/opus"}


async def test_metadata_cannot_be_changed(enter: Enter) -> None:
    async with enter() as room:
        with pytest.raises(RoomError, match="cannot change the metadata"):
            await room.update_metadata("new")


async def test_the_token_is_in_no_log(
    fake: FakeVideoSDK, enter: Enter, caplog: pytest.LogCaptureFixture, capfd: Any
) -> None:
    caplog.set_level(logging.DEBUG)
    for name in ("websockets", "videosdk", "asyncio", "urllib3"):
        logging.getLogger(name).setLevel(logging.DEBUG)
    try:
        async with enter() as room:
            await room.play(tone(440, 0.1))
        fake.faults.refuse["websocket"] = RefusedError(403, f"no: {TOKEN}")
        with pytest.raises(RoomError) as caught:
            async with enter():
                raise AssertionError("joined")
    finally:
        for name in ("websockets", "videosdk", "asyncio", "urllib3"):
            logging.getLogger(name).setLevel(logging.NOTSET)
    assert TOKEN in fake.tokens_seen
    assert "secret=***" in caplog.text  # where it would have been
    assert TOKEN not in caplog.text
    assert TOKEN not in str(caught.value)
    out, err = capfd.readouterr()
    assert TOKEN not in out + err
    assert "Logging error" not in err


async def test_nothing_is_said_where_nothing_is_wrong(
    enter: Enter, caplog: pytest.LogCaptureFixture
) -> None:
    async with enter("one") as one, enter("two") as two:
        await one.wait_for_participant()
        await two.play(tone(440, 0.2))
    gc.collect()
    assert [record.getMessage() for record in caplog.records] == []


async def recorded(fake: FakeVideoSDK, enter: Enter, **options: Any) -> list[tuple[str, ...]]:
    """What is asked of the service while somebody comes, another one comes, and the agent goes."""
    async with enter(recording=True, **options) as room:
        for name in ("bob", "eve"):
            fake.room("room").add_person(name)
            await room.wait_for_participant(name)
        with trio.move_on_after(0.5):
            await trio.sleep_forever()
    asked = fake.room("room").requests
    return [(who, what, *filter(None, [body.get("kind")])) for who, what, body in asked]


async def test_a_recording(fake: FakeVideoSDK, enter: Enter) -> None:
    asked = await recorded(fake, enter)
    assert asked[:2] == [(who, "recording/track/start", "audio") for who in ("agent", "bob")]
    stops = [(who, "recording/track/stop", "audio") for who in ("agent", "bob")]
    assert sorted(asked[2:4]) == stops
    assert asked[4:] == [("", "recording/merge")]
    merge = fake.room("room").requests[-1][2]
    assert merge == {
        "roomId": "room",
        "sessionId": "session",
        "channel1": [{"participantId": "agent", "type": "track"}],
        "channel2": [{"participantId": "bob", "type": "track"}],
    }


async def test_a_recording_of_all_and_of_everybody(fake: FakeVideoSDK, enter: Enter) -> None:
    asked = await recorded(
        fake,
        enter,
        recording_options={"video": True},
        record_all_participants=True,
        stop_recording_on_leave=False,
    )
    assert asked == [(who, "recording/start") for who in ("agent", "bob", "eve")]


async def test_a_recording_that_cannot_be_had(
    fake: FakeVideoSDK, enter: Enter, caplog: pytest.LogCaptureFixture
) -> None:
    fake.faults.refuse["recordings"] = RefusedError(402, "no credit")
    errors: list[object] = []
    assert await recorded(fake, enter, on_room_error=errors.append) == []
    assert len(errors) == 2
    assert "'agent' is not recorded" in str(errors[0])
    assert "402" in str(errors[0])


async def test_what_has_no_effect_is_said(enter: Enter, caplog: pytest.LogCaptureFixture) -> None:
    async with enter(vision=True, send_logs_to_dashboard=True):
        pass
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 2
    assert "RoomOptions(vision=True) has no effect" in said[0]
    assert "RoomOptions(send_logs_to_dashboard=True) has no effect" in said[1]


async def test_an_sdk_that_is_not_known_is_said(
    enter: Enter, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vsdk_trio.rooms.hosted import sdk

    monkeypatch.setattr(sdk, "_SOCKET", "_RoomClient__link")
    with pytest.raises(RoomError, match=r"cannot use videosdk 0\.4\.\d+.*_RoomClient__link.*pip"):
        async with enter():
            raise AssertionError("joined")
