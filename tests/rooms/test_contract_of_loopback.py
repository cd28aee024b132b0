"""The loopback room keeps the contract of rooms."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager

import pytest
import trio
import trio.testing

from vsdk_trio.options.room import TransportMode
from vsdk_trio.rooms import AudioFrame, Room, RoomRequest, open_room
from vsdk_trio.rooms.joined import JoinedRoom
from vsdk_trio.rooms.loopback import LoopbackTransport, Step

from .contract import RoomContract


class ScriptedPeer:
    participant_id = "guest"

    def __init__(self, transport: LoopbackTransport) -> None:
        self._transport = transport

    @property
    def heard(self) -> Sequence[AudioFrame]:
        return list(self._transport.heard)

    @property
    def messages(self) -> list[tuple[str, str]]:
        return [(message.topic, message.text) for message in self._transport.sent]

    async def speak(self, frequency: float, seconds: float) -> None:
        self._transport.perform(Step(do="speak", tone=frequency, seconds=seconds))
        await trio.sleep(seconds)

    async def send_message(self, text: str, topic: str) -> None:
        self._transport.perform(Step(do="say", text=text, topic=topic))

    async def leave(self) -> None:
        self._transport.perform(Step(do="leave"))

    cut = leave


class LoopbackStage:
    sees_the_agent_leave = True

    def open_room(self, request: RoomRequest) -> AbstractAsyncContextManager[Room]:
        return open_room(TransportMode.LOOPBACK, request)

    async def join(self, room: Room) -> ScriptedPeer:
        assert isinstance(room, JoinedRoom)
        room.transport.perform(Step(do="join"))
        return ScriptedPeer(room.transport)

    def agent_is_there(self, room: Room) -> bool:
        assert isinstance(room, JoinedRoom)
        return "agent" in room.transport.roster


class TestLoopback(RoomContract):
    @pytest.fixture
    def stage(self) -> LoopbackStage:
        return LoopbackStage()

    @pytest.fixture
    def clock(self, autojump_clock: trio.testing.MockClock) -> trio.testing.MockClock:
        return autojump_clock
