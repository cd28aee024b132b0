"""A joined room, as code under asyncio sees it: the same methods, awaited there.

Must not know jobs. `Room` (in `rooms.base`) says what each of them does.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Mapping
from contextlib import aclosing, suppress
from functools import partial

from ...errors import AioThreadError
from ...rooms.audio import AudioFrame
from ...rooms.base import Room, RoomCounts
from ...rooms.events import Message, Participant, RoomEvent
from .bridge import Bridge


class AsyncioRoom:
    """See `Room`. What iterates and what waits does it under asyncio."""

    def __init__(self, room: Room, bridge: Bridge) -> None:
        self._room = room
        self._bridge = bridge

    def __repr__(self) -> str:
        return f"<AsyncioRoom {self.room_id!r}>"

    @property
    def room_id(self) -> str:
        return self._room.room_id

    @property
    def participant_id(self) -> str:
        return self._room.participant_id

    @property
    def name(self) -> str:
        return self._room.name

    @property
    def address(self) -> str:
        return self._room.address

    @property
    def participants(self) -> Mapping[str, Participant]:
        return self._room.participants

    @property
    def end_reason(self) -> str | None:
        return self._room.end_reason

    @property
    def counts(self) -> RoomCounts:
        return self._room.counts

    def setup_session_end_callback(self, callback: Callable[[str], object]) -> None:
        """See `Room`; the callback is called in the asyncio thread."""

        def call_over_there(reason: str) -> None:
            with suppress(AioThreadError):  # it has ended before the session
                self._bridge.soon_in_asyncio(callback, reason)

        self._bridge.now(partial(self._room.setup_session_end_callback, call_over_there))

    async def wait_ended(self) -> str:
        return await self._bridge.to_trio(self._room.wait_ended)

    async def wait_for_participant(self, participant_id: str | None = None) -> str | None:
        return await self._bridge.to_trio(partial(self._room.wait_for_participant, participant_id))

    def events(self) -> AsyncIterator[RoomEvent]:
        return self._bridge.stream(self._bridge.now(self._room.events))

    def audio(self, participant_id: str) -> AsyncIterator[AudioFrame]:
        feed = self._bridge.now(partial(self._room.audio, participant_id))
        return self._bridge.stream(feed)

    async def play(self, frames: AsyncIterable[AudioFrame] | Iterable[AudioFrame]) -> None:
        await self._bridge.to_trio(partial(self._play, frames))

    async def _play(self, frames: AsyncIterable[AudioFrame] | Iterable[AudioFrame]) -> None:
        """In Trio."""
        if isinstance(frames, AsyncIterable):
            async with aclosing(self._bridge.items_of(frames)) as items:
                await self._room.play(items)
        else:
            await self._room.play(frames)

    async def send_message(self, text: str, topic: str = "chat") -> None:
        await self._bridge.to_trio(partial(self._room.send_message, text, topic))

    async def messages(self, topic: str = "chat") -> AsyncIterator[Message]:
        feed = await self._bridge.to_trio(partial(self._room.messages, topic))
        return self._bridge.stream(feed)

    async def update_metadata(self, metadata: str) -> None:
        await self._bridge.to_trio(partial(self._room.update_metadata, metadata))

    async def leave(self) -> None:
        await self._bridge.to_trio(self._room.leave)
