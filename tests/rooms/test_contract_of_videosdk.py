"""The unmodified VideoSDK SDK, against the stand-in for its service, keeps the contract."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager

import attrs
import pytest

from vsdk_trio.options.room import TransportMode
from vsdk_trio.rooms import AudioFrame, Room, RoomRequest, open_room
from vsdk_trio.rooms.loopback import tone

from .contract import RoomContract

pytest.importorskip("vsaiortc", reason="needs the extra `videosdk`: tox -e videosdk")

from vsdk_trio.testing.videosdk import FakeVideoSDK, Person, open_fake_videosdk

pytestmark = [
    pytest.mark.real,
    pytest.mark.slow,
    # What the SDK uses of its own dependencies is deprecated there.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]


class FakePeer:
    def __init__(self, person: Person) -> None:
        self.participant_id = person.peer_id
        self._person = person
        for topic in ("chat", "other"):
            person.subscribe(topic)

    @property
    def heard(self) -> list[AudioFrame]:
        return self._person.heard

    @property
    def messages(self) -> list[tuple[str, str]]:
        return self._person.messages

    async def speak(self, frequency: float, seconds: float) -> None:
        await self._person.speak(tone(frequency, seconds))

    async def send_message(self, text: str, topic: str) -> None:
        self._person.publish(topic, text)

    async def leave(self) -> None:
        self._person.leave()

    cut = leave


class VideoSDKStage:
    sees_the_agent_leave = True

    def __init__(self, fake: FakeVideoSDK) -> None:
        self.fake = fake

    def open_room(self, request: RoomRequest) -> AbstractAsyncContextManager[Room]:
        request.options.signaling_base_url = self.fake.signaling_base_url
        request = attrs.evolve(request, token="a-token-of-a-job")
        return open_room(TransportMode.VIDEOSDK, request)

    async def join(self, room: Room) -> FakePeer:
        return FakePeer(self.fake.room(room.room_id).add_person("guest", "Guest"))

    def agent_is_there(self, room: Room) -> bool:
        return room.participant_id in self.fake.room(room.room_id).peer_ids


class TestVideoSDK(RoomContract):
    @pytest.fixture
    def clock(self) -> None:
        """The SDK has only one."""

    @pytest.fixture
    async def stage(self, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[VideoSDKStage]:
        async with open_fake_videosdk() as fake:
            monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(fake.ca_file))
            yield VideoSDKStage(fake)
