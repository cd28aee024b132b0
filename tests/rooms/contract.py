"""What every transport must do: one suite, run by each transport's own test file.

A transport's file derives a class from `RoomContract` and gives it two fixtures: `stage`, somebody
who can open the agent's side of a room and bring other people into it; and `clock`, a mock clock
or None (pytest-trio looks for one among the arguments of a test).
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from itertools import pairwise
from typing import Any, Protocol

import pytest
import trio

from vsdk_trio.errors import RoomError, RoomPermissionError
from vsdk_trio.options.room import RoomOptions
from vsdk_trio.options.worker import WorkerPermissions
from vsdk_trio.rooms import (
    AudioFrame,
    ParticipantJoined,
    ParticipantLeft,
    Room,
    RoomEvent,
    RoomJoined,
    RoomLeft,
    RoomRequest,
    SessionEnded,
    StreamStarted,
)
from vsdk_trio.rooms.events import Subscription
from vsdk_trio.rooms.loopback import tone
from vsdk_trio.testing.sounds import loudness, pitch

PATIENCE = 20.0
"""Seconds until something that should happen counts as not happening."""


class Peer(Protocol):
    """Somebody else in the room."""

    participant_id: str
    heard: list[AudioFrame]
    """What it has heard so far of the agent."""
    messages: list[tuple[str, str]]
    """Topic and text of the messages it got, of the topics "chat" and "other"."""

    async def speak(self, frequency: float, seconds: float) -> None:
        """Say a tone; returns when it has been said."""
        ...

    async def send_message(self, text: str, topic: str) -> None: ...

    async def leave(self) -> None: ...

    async def cut(self) -> None:
        """Be gone without a goodbye."""
        ...


class Stage(Protocol):
    """A place where rooms can be opened, and others come in."""

    sees_the_agent_leave: bool
    """Whether `agent_is_there` can be asked after the room was left."""

    def open_room(self, request: RoomRequest) -> AbstractAsyncContextManager[Room]: ...

    async def join(self, room: Room) -> Peer:
        """Somebody comes in."""
        ...

    def agent_is_there(self, room: Room) -> bool:
        """What the others see."""
        ...


def request(permissions: WorkerPermissions | None = None, **options: Any) -> RoomRequest:
    return RoomRequest(
        room_id="room",
        participant_id="agent",
        name="Agent",
        permissions=permissions or WorkerPermissions(),
        options=RoomOptions(**options),
        metadata={"loopback": []},
    )


async def until(
    events: Subscription[RoomEvent], kind: type[Any], seconds: float = PATIENCE
) -> list[RoomEvent]:
    """The events up to the next one of `kind`."""
    seen: list[RoomEvent] = []
    with trio.fail_after(seconds):
        async for event in events:
            seen.append(event)
            if isinstance(event, kind):
                return seen
    raise AssertionError(f"no {kind.__name__} in {seen}")


async def eventually(check: Any, what: str) -> None:
    with trio.move_on_after(PATIENCE):
        while not check():  # noqa: ASYNC110  # of somebody else, who tells nobody
            await trio.sleep(0.02)
        return
    raise AssertionError(f"it never came to be that {what}")


async def collect(frames: Subscription[AudioFrame], seconds: float) -> list[AudioFrame]:
    """As much as makes `seconds`."""
    heard: list[AudioFrame] = []
    with trio.fail_after(PATIENCE):
        async for frame in frames:
            heard.append(frame)
            if sum(one.seconds for one in heard) >= seconds:
                break
    return heard


class RoomContract:
    """See the module."""

    async def test_the_agent_is_joined(self, stage: Stage, clock: object) -> None:
        async with stage.open_room(request()) as room:
            assert (room.room_id, room.participant_id, room.name) == ("room", "agent", "Agent")
            events = room.events()
            assert await anext(events) == RoomJoined(room_id="room", participant_id="agent")
            assert room.participants == {}
            assert room.end_reason is None

    async def test_people_come_and_go(self, stage: Stage, clock: object) -> None:
        async with stage.open_room(request()) as room:
            events = room.events()
            peer = await stage.join(room)
            [*_, came] = await until(events, ParticipantJoined)
            assert isinstance(came, ParticipantJoined)
            assert came.participant.participant_id == peer.participant_id
            assert set(room.participants) == {peer.participant_id}
            for asked in (None, peer.participant_id):
                assert await room.wait_for_participant(asked) == peer.participant_id
            late = room.events()
            assert await until(late, ParticipantJoined) == [
                RoomJoined(room_id="room", participant_id="agent"),
                came,
            ]
            await peer.leave()
            [*_, gone] = await until(events, ParticipantLeft)
            assert gone == ParticipantLeft(participant=came.participant)
            assert room.participants == {}

    async def test_somebody_may_be_waited_for(self, stage: Stage, clock: object) -> None:
        found: list[str | None] = []

        async def wait(room: Room) -> None:
            found.append(await room.wait_for_participant())

        async with stage.open_room(request()) as room:
            with trio.fail_after(PATIENCE):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(wait, room)
                    await trio.testing.wait_all_tasks_blocked()
                    peer = await stage.join(room)
            assert found == [peer.participant_id]

    async def test_nobody_comes(self, stage: Stage, clock: object) -> None:
        async with stage.open_room(request(no_participant_timeout_seconds=0.5)) as room:
            with trio.fail_after(PATIENCE):
                assert await room.wait_for_participant() is None
                assert await room.wait_ended() == "no_participant_joined"
            assert room.end_reason == "no_participant_joined"

    async def test_a_session_ends_when_all_have_left(self, stage: Stage, clock: object) -> None:
        async with stage.open_room(request(session_timeout_seconds=0.3)) as room:
            reasons: list[str] = []
            room.setup_session_end_callback(reasons.append)
            peer = await stage.join(room)
            await room.wait_for_participant()
            await peer.leave()
            with trio.fail_after(PATIENCE):
                reason = await room.wait_ended()
            assert reasons == [reason]
            assert await room.wait_for_participant() is None
            room.setup_session_end_callback(reasons.append)
            assert reasons == [reason, reason]

    async def test_one_who_is_cut_off_has_left(self, stage: Stage, clock: object) -> None:
        async with stage.open_room(request()) as room:
            events = room.events()
            peer = await stage.join(room)
            await room.wait_for_participant()
            await peer.cut()
            await until(events, ParticipantLeft)

    async def test_the_agent_hears(self, stage: Stage, clock: object) -> None:
        async with stage.open_room(request()) as room, trio.open_nursery() as nursery:
            peer = await stage.join(room)
            await room.wait_for_participant()
            events, frames = room.events(), room.audio(peer.participant_id)
            nursery.start_soon(peer.speak, 440.0, 1.5)
            heard = await collect(frames, 0.8)
            await until(events, StreamStarted)
            assert pitch(heard[10:]) == pytest.approx(440, rel=0.03)
            for frame in heard:
                assert frame.participant_id == peer.participant_id
                assert (frame.format, len(frame.data) % 2) == ("s16le", 0)
            places = [frame.timestamp for frame in heard]
            assert places == sorted(places)
            assert all(b.timestamp >= a.timestamp + a.samples for a, b in pairwise(heard))
            assert room.counts.frames_heard >= len(heard)
            nursery.cancel_scope.cancel()

    async def test_hearing_ends_when_the_speaker_leaves(self, stage: Stage, clock: object) -> None:
        async with stage.open_room(request()) as room:
            peer = await stage.join(room)
            await room.wait_for_participant()
            frames = room.audio(peer.participant_id)
            await peer.speak(440, 0.3)
            await peer.leave()
            with trio.fail_after(PATIENCE):
                heard = [frame async for frame in frames]
            assert heard

    async def test_a_slow_listener_loses_the_oldest(self, stage: Stage, clock: object) -> None:
        async with stage.open_room(request()) as room:
            peer = await stage.join(room)
            await room.wait_for_participant()
            frames = room.audio(peer.participant_id)
            await peer.speak(440, 3.0)
            await eventually(lambda: frames.dropped > 0, "frames were dropped")
            first = await anext(frames)
            assert first.timestamp > 0
            assert room.counts.frames_dropped >= frames.dropped - 1

    async def test_the_agent_is_heard(self, stage: Stage, clock: object) -> None:
        async with stage.open_room(request()) as room:
            peer = await stage.join(room)
            await room.wait_for_participant()
            began = trio.current_time()
            with trio.fail_after(PATIENCE):
                await room.play(tone(600, 1.0, sample_rate=16000))
            assert trio.current_time() - began >= 0.95
            await eventually(
                lambda: sum(f.seconds for f in peer.heard if loudness([f]) > 0.02) > 0.8,
                "the tone was heard",
            )
            assert pitch(peer.heard) == pytest.approx(600, rel=0.03)
            assert room.counts.frames_played >= 50

    async def test_an_interruption_is_silence_at_once(self, stage: Stage, clock: object) -> None:
        async with stage.open_room(request()) as room:
            peer = await stage.join(room)
            await room.wait_for_participant()
            with trio.move_on_after(0.8):
                await room.play(tone(600, 10))
            await trio.sleep(1)
            said = sum(frame.seconds for frame in peer.heard if loudness([frame]) > 0.02)
            assert 0.2 < said < 1.4
            await room.play(tone(600, 0.1))

    async def test_one_speech_after_the_other(self, stage: Stage, clock: object) -> None:
        async with stage.open_room(request()) as room:
            peer = await stage.join(room)
            await room.wait_for_participant()
            began = trio.current_time()
            with trio.fail_after(PATIENCE):
                async with trio.open_nursery() as nursery:
                    for _ in range(2):
                        nursery.start_soon(room.play, tone(600, 0.4))
            assert trio.current_time() - began >= 0.75
            await eventually(lambda: peer.heard, "something was heard")

    async def test_speaking_to_nobody_takes_its_time(self, stage: Stage, clock: object) -> None:
        async with stage.open_room(request()) as room:
            began = trio.current_time()
            with trio.fail_after(PATIENCE):
                await room.play(tone(600, 0.4))
            assert trio.current_time() - began >= 0.35

    async def test_messages_go_both_ways(self, stage: Stage, clock: object) -> None:
        async with stage.open_room(request()) as room:
            peer = await stage.join(room)
            await room.wait_for_participant()
            chat, other = await room.messages(), await room.messages("other")
            await peer.send_message("hello", "chat")
            await peer.send_message("elsewhere", "other")
            with trio.fail_after(PATIENCE):
                first, second = await anext(chat), await anext(other)
            assert (first.topic, first.text) == ("chat", "hello")
            assert (second.topic, second.text) == ("other", "elsewhere")
            assert first.sender_id == second.sender_id == peer.participant_id
            await room.send_message("welcome")
            await room.send_message("ümlaut", "other")
            await eventually(lambda: len(peer.messages) == 2, "both messages came")
            assert sorted(peer.messages) == [("chat", "welcome"), ("other", "ümlaut")]

    async def test_a_room_that_was_left_is_over(self, stage: Stage, clock: object) -> None:
        async with stage.open_room(request()) as room:
            peer = await stage.join(room)
            await room.wait_for_participant()
            events, frames = room.events(), room.audio(peer.participant_id)
            chat = await room.messages()
            with trio.fail_after(PATIENCE):
                async with trio.open_nursery() as nursery:  # all wait for the one goodbye
                    nursery.start_soon(room.leave)
                    nursery.start_soon(room.leave)
                seen = [event async for event in events]
                assert seen[-2:] == [SessionEnded(reason="agent_left"), RoomLeft()]
                assert [frame async for frame in frames] == []
                assert [message async for message in chat] == []
            with pytest.raises(RoomError, match="has been left"):
                await room.play([])
            with pytest.raises(RoomError, match="has been left"):
                await room.send_message("late")
            with pytest.raises(RoomError, match="has been left"):
                room.audio("guest")
        if stage.sees_the_agent_leave:
            await eventually(lambda: not stage.agent_is_there(room), "the agent was gone")

    async def test_a_cancelled_body_leaves_too(self, stage: Stage, clock: object) -> None:
        with trio.CancelScope() as scope:
            async with stage.open_room(request()) as room:
                await stage.join(room)
                await room.wait_for_participant()
                events = room.events()
                scope.cancel()
                await trio.sleep_forever()
        assert scope.cancelled_caught
        assert [event async for event in events][-1] == RoomLeft()
        if stage.sees_the_agent_leave:
            await eventually(lambda: not stage.agent_is_there(room), "the agent was gone")

    async def test_an_error_of_the_body_comes_out(self, stage: Stage, clock: object) -> None:
        with pytest.raises(KeyError, match="mine"):
            async with stage.open_room(request()):
                raise KeyError("mine")

    @pytest.mark.parametrize("name", ["can_publish", "can_publish_data", "can_subscribe"])
    async def test_what_is_not_permitted_raises(
        self, stage: Stage, clock: object, name: str
    ) -> None:
        permissions = WorkerPermissions(**{name: False})
        async with stage.open_room(request(permissions=permissions)) as room:
            for permission, action in {
                "can_publish": lambda: room.play([]),
                "can_publish_data": lambda: room.send_message("hi"),
                "can_subscribe": lambda: room.messages(),
            }.items():
                if permission == name:
                    with pytest.raises(RoomPermissionError, match=f"{name}=False"):
                        await action()
                else:
                    await action()
            if name == "can_subscribe":
                with pytest.raises(RoomPermissionError, match=f"{name}=False"):
                    room.audio("guest")
