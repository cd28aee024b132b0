"""The context and the room of a job whose code runs under asyncio.

The names and meanings are those of the reference's `JobContext` and of `Room` (in `rooms.base`).
Whatever waits, waits under asyncio.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Mapping
from contextlib import aclosing, suppress
from functools import partial
from typing import Any

import attrs

from ...control.frames import JobInfo
from ...errors import AioThreadError
from ...options.room import RoomOptions
from ...options.worker import WorkerPermissions
from ...rooms.audio import AudioFrame
from ...rooms.base import Room, RoomCounts
from ...rooms.events import Message, Participant, RoomEvent
from ...rooms.rest import create_room_here
from ..callbacks import ShutdownCallback, taking_the_reason
from ..job_context import JobContext, JobProcessInfo, ManagedSession
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


@attrs.frozen
class _SessionOverThere:
    """A session of the asyncio thread, as Trio manages it."""

    session: ManagedSession
    bridge: Bridge

    async def start(self) -> None:
        await self.bridge.to_asyncio(_call, self.session.start)

    async def close(self) -> None:
        await self.bridge.to_asyncio(_call, self.session.close)


class AsyncioJobContext:
    """See `JobContext`, whose face under asyncio this is."""

    def __init__(self, ctx: JobContext, bridge: Bridge) -> None:
        self._ctx = ctx
        self._bridge = bridge
        self.room: AsyncioRoom | None = None
        """The room, once `connect()` has joined it."""

    def __repr__(self) -> str:
        return f"<AsyncioJobContext job_id={self.job.job_id!r} room={self.room!r}>"

    @property
    def room_options(self) -> RoomOptions:
        return self._ctx.room_options

    @property
    def metadata(self) -> dict[str, Any]:
        return self._ctx.metadata

    @property
    def job(self) -> JobInfo:
        return self._ctx.job

    @property
    def process(self) -> JobProcessInfo:
        return self._ctx.process

    @property
    def permissions(self) -> WorkerPermissions:
        return self._ctx.permissions

    @property
    def videosdk_auth(self) -> str | None:
        return self._ctx.videosdk_auth

    @property
    def want_console(self) -> bool:
        return self._ctx.want_console

    async def connect(self) -> None:
        await self._bridge.to_trio(self._ctx.connect)
        self._note_room()

    def _note_room(self) -> None:
        if self.room is None and self._ctx.room is not None:
            self.room = AsyncioRoom(self._ctx.room, self._bridge)

    async def shutdown(self, reason: str = "") -> None:
        await self._bridge.to_trio(partial(self._ctx.shutdown, reason))

    def add_shutdown_callback(self, callback: ShutdownCallback) -> None:
        call = taking_the_reason(callback)

        async def call_over_there(reason: str) -> None:
            await self._bridge.to_asyncio(_call, call, reason)

        call_over_there.__qualname__ = getattr(callback, "__qualname__", repr(callback))
        self._bridge.now(partial(self._ctx.add_shutdown_callback, call_over_there))

    def notify_meeting_joined(self) -> None:
        self._bridge.soon(self._ctx.notify_meeting_joined)

    async def wait_for_meeting_joined(self, timeout: float = 30.0) -> bool:
        return await self._bridge.to_trio(partial(self._ctx.wait_for_meeting_joined, timeout))

    async def wait_for_participant(self, participant_id: str | None = None) -> str | None:
        return await self._bridge.to_trio(partial(self._ctx.wait_for_participant, participant_id))

    async def run_until_shutdown(
        self, session: ManagedSession | None = None, wait_for_participant: bool = False
    ) -> None:
        over_there = None if session is None else _SessionOverThere(session, self._bridge)
        run = partial(self._ctx.run_until_shutdown, over_there, wait_for_participant)
        await self._bridge.to_trio(run)

    def get_room_id(self) -> str:
        """Create a room over REST; returns its id. Blocks, as the reference's does."""
        return create_room_here(*self._ctx._creation())

    @staticmethod
    def create_room_static(auth_token: str, signaling_base_url: str = "api.videosdk.live") -> str:
        """Create a room over REST without a context. Blocks, as the reference's does."""
        return create_room_here(auth_token, signaling_base_url)


async def _call(function: Callable[..., object], *arguments: object) -> object:
    """Call a sync or async function of the user, under asyncio."""
    result = function(*arguments)
    return await result if inspect.isawaitable(result) else result
