"""The loopback room: its script, its timeouts, its permissions."""

from __future__ import annotations

import math
from typing import Any

import pytest
import trio
import trio.testing

from vsdk_trio.errors import RoomError, RoomPermissionError
from vsdk_trio.options.room import RoomOptions, TransportMode
from vsdk_trio.options.worker import WorkerPermissions
from vsdk_trio.rooms import (
    Message,
    Participant,
    ParticipantJoined,
    RoomJoined,
    RoomRequest,
    StreamStarted,
    open_room,
)
from vsdk_trio.rooms.base import read_permissions
from vsdk_trio.rooms.loopback import DEFAULT_SCRIPT, Step, open_loopback_room, read_script, tone
from vsdk_trio.testing.sounds import pitch


def request(
    *script: dict[str, Any],
    permissions: WorkerPermissions | None = None,
    **options: Any,
) -> RoomRequest:
    return RoomRequest(
        room_id="room",
        participant_id="agent",
        token="s3cret",
        permissions=permissions or WorkerPermissions(),
        options=RoomOptions(**options),
        metadata={"loopback": list(script)} if script else {},
    )


async def test_without_a_script_one_guest_is_there(autojump_clock: trio.testing.MockClock) -> None:
    async with open_room(TransportMode.LOOPBACK, request()) as room:
        assert await room.wait_for_participant() == "guest"
        assert await room.wait_for_participant("guest") == "guest"
        assert room.participants == {"guest": Participant(participant_id="guest", name="Guest")}
        assert (room.room_id, room.participant_id, room.name) == ("room", "agent", "Agent")
        assert repr(room) == "<JoinedRoom 'room' by LoopbackTransport, 1 others>"


async def test_a_script_is_played_in_time(autojump_clock: trio.testing.MockClock) -> None:
    script = (
        {"do": "join", "participant": "a", "after": 1},
        {"do": "join", "participant": "b", "after": 1.5},
        {"do": "leave", "participant": "a"},
        {"do": "end", "text": "hang_up", "after": 2},
    )
    timeline: list[tuple[float, str | None]] = []
    async with open_loopback_room(request(*script)) as room:
        room.setup_session_end_callback(lambda why: timeline.append((trio.current_time(), why)))
        start = trio.current_time()
        for participant in (None, "b", "nobody"):
            found = await room.wait_for_participant(participant)
            timeline.append((trio.current_time(), found))
    assert [(when - start, what) for when, what in timeline] == [
        (1.0, "a"),
        (2.5, "b"),
        (4.5, "hang_up"),
        (4.5, None),
    ]


@pytest.mark.parametrize(
    ("script", "options", "ends"),
    [
        # Nobody ever comes.
        ([{"do": "leave"}], {"no_participant_timeout_seconds": 7}, (7, "no_participant_joined")),
        ([{"do": "leave"}], {}, (90, "no_participant_joined")),
        ([{"do": "leave"}], {"no_participant_timeout_seconds": None}, None),
        # Everybody left.
        ([{"do": "join"}, {"do": "leave", "after": 3}], {}, (8, "all_participants_left")),
        ([{"do": "join"}, {"do": "leave", "after": 3}], {"auto_end_session": False}, None),
        ([{"do": "join"}, {"do": "leave", "after": 3}], {"session_timeout_seconds": None}, None),
        # Somebody comes back in time, and leaves again.
        (
            [
                {"do": "join"},
                {"do": "leave", "after": 3},
                {"do": "join", "after": 4},
                {"do": "leave", "after": 10},
            ],
            {},
            (22, "all_participants_left"),
        ),
        ([{"do": "join"}], {}, None),
        # Only the first reason counts.
        ([{"do": "end"}, {"do": "end", "text": "again"}], {}, (0, "session_ended")),
    ],
)
async def test_when_a_session_ends(
    script: list[dict[str, Any]],
    options: dict[str, Any],
    ends: tuple[float, str] | None,
    autojump_clock: trio.testing.MockClock,
) -> None:
    reasons: list[tuple[float, str]] = []
    async with open_loopback_room(request(*script, **options)) as room:
        start = trio.current_time()
        room.setup_session_end_callback(lambda why: reasons.append((trio.current_time(), why)))
        await trio.sleep(1000)
        assert [(when - start, why) for when, why in reasons] == ([] if ends is None else [ends])
        assert room.end_reason == (None if ends is None else ends[1])


async def test_callbacks_add_up_and_a_late_one_is_told_at_once() -> None:
    told: list[str] = []
    async with open_loopback_room(request({"do": "join", "after": 1})) as room:
        room.setup_session_end_callback(lambda why: told.append(f"1 {why}"))
        room.setup_session_end_callback(lambda why: told.append(f"2 {why}"))
        room.transport.perform(Step(do="end", text="x"))
        room.setup_session_end_callback(lambda why: told.append(f"3 {why}"))
    assert told == ["1 x", "2 x", "3 x"]


async def test_the_other_side_can_be_looked_at() -> None:
    async with open_loopback_room(request()) as room:
        chat = await room.messages()
        await room.send_message("hello", "chat")
        room.transport.perform(Step(do="join", participant="guest", name="Ann"))
        room.transport.perform(Step(do="say", participant="guest", text="hi", topic="chat"))
        await room.update_metadata("busy")
        assert room.transport.metadata == "busy"
        assert list(room.transport.sent) == [
            Message(topic="chat", text="hello", sender_id="agent", sender_name="Agent")
        ]
    said = Message(topic="chat", text="hi", sender_id="guest", sender_name="Ann")
    assert [message async for message in chat] == [said]


async def test_a_guest_echoes_the_agent_until_it_is_muted(
    autojump_clock: trio.testing.MockClock,
) -> None:
    script = ({"do": "join"}, {"do": "echo", "after": 1}, {"do": "mute", "after": 2})
    async with open_loopback_room(request(*script)) as room:
        await trio.sleep(1.5)
        with room.audio("guest") as frames:
            await room.play(tone(440, 0.5))
            heard = [await anext(frames) for _ in range(25)]
        assert pitch(heard) == pytest.approx(440, rel=0.01)
        await trio.sleep(5)
        with room.audio("guest") as frames:
            await room.play(tone(440, 0.5))
            with trio.move_on_after(1) as nothing:
                await anext(frames)
        assert nothing.cancelled_caught


async def test_a_script_can_speak(autojump_clock: trio.testing.MockClock) -> None:
    script = ({"do": "join"}, {"do": "speak", "tone": 300, "seconds": 0.5, "after": 1})
    async with open_loopback_room(request(*script)) as room:
        events = room.events()
        start = trio.current_time()
        frames = room.audio("guest")
        first = await anext(frames)
        assert trio.current_time() - start == 1
        heard = [first, *[await anext(frames) for _ in range(24)]]
        assert pitch(heard) == pytest.approx(300, rel=0.02)
        assert trio.current_time() - start == pytest.approx(1.48)
        kinds = [type(await anext(events)) for _ in range(3)]
        assert kinds == [RoomJoined, ParticipantJoined, StreamStarted]


async def test_a_cut_room_fails_whoever_is_in_it(autojump_clock: trio.testing.MockClock) -> None:
    step = {"do": "cut", "text": "no network", "after": 3}
    with pytest.raises(RoomError, match="no network"):
        async with open_loopback_room(request({"do": "join"}, step)) as room:
            await trio.sleep_forever()
    assert room.end_reason == "connection_lost"


async def test_updating_the_metadata_takes_a_permission() -> None:
    permissions = WorkerPermissions(can_update_metadata=False)
    async with open_loopback_room(request(permissions=permissions)) as room:
        with pytest.raises(RoomPermissionError, match="can_update_metadata=False"):
            await room.update_metadata("")


async def test_a_hidden_agent_is_not_on_the_roster() -> None:
    async with open_loopback_room(request(permissions=WorkerPermissions(hidden=True))) as room:
        await room.wait_for_participant()
        assert room.transport.roster == ("guest",)
    async with open_loopback_room(request()) as room:
        await room.wait_for_participant()
        assert room.transport.roster == ("agent", "guest")
    assert room.transport.roster == ("guest",)


async def test_errors_of_the_room_reach_on_room_error() -> None:
    errors: list[Exception] = []
    step = {"do": "error", "text": "no signal"}
    async with open_loopback_room(request(step, on_room_error=errors.append)):
        await trio.testing.wait_all_tasks_blocked()
    async with open_loopback_room(request(step)):  # nobody listens: nothing happens
        await trio.testing.wait_all_tasks_blocked()
    assert [(type(error), str(error)) for error in errors] == [(RoomError, "no signal")]


async def test_leaving_is_prompt_when_cancelled() -> None:
    with trio.move_on_after(math.inf) as scope:
        async with open_loopback_room(request()) as room:
            scope.cancel()
            await trio.sleep_forever()
    assert "agent" not in room.transport.roster


def test_webrtc_rooms_say_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vsdk_trio.rooms.webrtc.find_spec", lambda _: None)
    with pytest.raises(RoomError, match=r"pip install .*\[webrtc\].*loopback"):
        open_room(TransportMode.WEBRTC, request())


def test_the_hosted_rooms_say_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(RoomError, match=r"pip install .*\[videosdk\].*loopback"):
        open_room(TransportMode.VIDEOSDK, request())


def test_a_request_hides_its_token() -> None:
    assert "s3cret" not in repr(request())


@pytest.mark.parametrize(
    ("script", "text"),
    [
        ({}, "must be a list, got dict"),
        (["join"], "step 0 of the loopback script must be an object with a 'do'"),
        ([{"do": "join"}, {"after": 1}], "step 1 of the loopback script must be an object with"),
        (
            [{"do": "dance"}],
            "do must be one of join, leave, say, speak, echo, mute, error, cut, end, ",
        ),
        ([{"do": "join", "after": -1}], "after must be a number of seconds, got -1"),
        ([{"do": "join", "after": True}], "after must be a number of seconds, got True"),
        ([{"do": "join", "after": math.inf}], "after must be a number of seconds, got inf"),
        ([{"do": "say", "text": 1}], "text must be a string, got 1"),
        ([{"do": ["join"]}], "do must be one of"),
        ([{"do": "speak", "tone": 0}], "tone must be a frequency in Hz, got 0"),
        ([{"do": "speak", "seconds": "1"}], "seconds must be a number of seconds, got '1'"),
        ([{"do": "join", "who": "x"}], "unknown key 'who'; known: do, after, participant"),
    ],
)
def test_a_wrong_script_names_its_step(script: Any, text: str) -> None:
    with pytest.raises(RoomError) as caught:
        read_script({"loopback": script})
    assert text in str(caught.value)


def test_no_script_is_the_default_script() -> None:
    assert read_script({}) == read_script({"loopback": None}) == DEFAULT_SCRIPT


def test_permissions_are_read_from_json() -> None:
    assert read_permissions({"hidden": True, "can_fly": 1}) == WorkerPermissions(hidden=True)
    with pytest.raises(RoomError, match="permission 'hidden' must be a bool, got str"):
        read_permissions({"hidden": "no"})
