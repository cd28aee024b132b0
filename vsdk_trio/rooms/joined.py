"""A joined room: the `Room` above every transport, how it is joined and left, its idle timeout."""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from inspect import isawaitable
from typing import Generic, TypeVar

import trio

from .._exceptions import without_own_group
from .._service import open_service
from ..errors import RoomError, RoomPermissionError
from ..telemetry.logs.loggers import get_logger
from .audio import AudioFrame
from .base import RoomCounts, RoomRequest
from .events import (
    ALL_LEFT,
    CONNECTION_LOST,
    NOBODY_CAME,
    Message,
    Participant,
    RoomEvent,
    RoomFailure,
    Subscription,
)
from .hub import RoomHub, Transport, TransportOpener
from .playback import Mixer, speak


async def end_when_empty(hub: RoomHub) -> None:
    """End the session if no participant comes, or all have left, for the options' time."""
    options = hub.request.options
    while hub.end_reason is None:
        if hub.participants:
            await hub.changed()
            continue
        patience, reason = options.no_participant_timeout_seconds, NOBODY_CAME
        if hub.has_had_participants:
            patience = options.session_timeout_seconds if options.auto_end_session else None
            reason = ALL_LEFT
        with trio.move_on_after(math.inf if patience is None else patience) as waiting:
            while not hub.participants and hub.end_reason is None:
                await hub.changed()
                if reason == NOBODY_CAME and hub.has_had_participants:
                    break  # came and left again at once
        if waiting.cancelled_caught:
            hub.ended(reason)


logger = get_logger(__name__)

LEAVE_SECONDS = 5.0
_GRACE_SECONDS = LEAVE_SECONDS + 1.0

TransportT = TypeVar("TransportT", bound=Transport)


class JoinedRoom(Generic[TransportT]):
    """See `Room`. `transport` is what carries it, for those who know which one it is."""

    def __init__(self, hub: RoomHub, transport: TransportT) -> None:
        self._hub = hub
        self.transport = transport
        self._speaking = trio.StrictFIFOLock()
        self._mixer = Mixer(transport, hub) if hub.request.options.background_audio else None
        self._topics: dict[str, trio.Lock] = {}
        self._subscribed: set[str] = set()
        self._leaving = trio.Event()

    def __repr__(self) -> str:
        name = type(self.transport).__name__
        return f"<JoinedRoom {self.room_id!r} by {name}, {len(self.participants)} others>"

    @property
    def room_id(self) -> str:
        """The room's id."""
        return self._hub.request.room_id

    @property
    def participant_id(self) -> str:
        """The agent's participant id."""
        return self._hub.request.participant_id

    @property
    def name(self) -> str:
        """The agent's name."""
        return self._hub.request.name

    @property
    def address(self) -> str:
        """See `Room`."""
        return self._hub.address

    @property
    def participants(self) -> Mapping[str, Participant]:
        """Who else is there, by id; a copy."""
        return self._hub.participants

    @property
    def end_reason(self) -> str | None:
        """Why the session ended; None while it runs."""
        return self._hub.end_reason

    @property
    def counts(self) -> RoomCounts:
        """What went through, and what was dropped."""
        return self._hub.counts

    def setup_session_end_callback(self, callback: Callable[[str], object]) -> None:
        """See `Room`."""
        self._hub.on_end(callback)

    async def wait_ended(self) -> str:
        """See `Room`."""
        await trio.lowlevel.checkpoint()
        while self._hub.end_reason is None:
            await self._hub.changed()
        return self._hub.end_reason

    async def wait_for_participant(self, participant_id: str | None = None) -> str | None:
        """See `Room`."""
        await trio.lowlevel.checkpoint()
        while self._hub.end_reason is None:
            present = self._hub.participants
            if participant_id is None and present:
                return next(iter(present))
            if participant_id in present:
                return participant_id
            await self._hub.changed()
        return None

    def events(self) -> Subscription[RoomEvent]:
        """See `Room`."""
        return self._hub.events()

    def audio(self, participant_id: str) -> Subscription[AudioFrame]:
        """See `Room`."""
        self._require("can_subscribe")
        return self._hub.audio_of(participant_id)

    async def play(self, frames: AsyncIterable[AudioFrame] | Iterable[AudioFrame]) -> None:
        """See `Room`."""
        self._require("can_publish")
        await trio.lowlevel.checkpoint()
        if self._mixer is not None:
            await self._mixer.speak(frames)
            return
        async with self._speaking:
            self._require("can_publish")
            await speak(frames, self.transport, self._hub)

    async def send_message(self, text: str, topic: str = "chat") -> None:
        """See `Room`."""
        self._require("can_publish_data")
        await trio.lowlevel.checkpoint()
        if self._hub.end_reason is None:
            await self.transport.send_message(text, topic)

    async def messages(self, topic: str = "chat") -> Subscription[Message]:
        """See `Room`."""
        self._require("can_subscribe")
        await trio.lowlevel.checkpoint()
        feed = self._hub.messages_on(topic)
        async with self._topics.setdefault(topic, trio.Lock()):
            if topic not in self._subscribed and self._hub.end_reason is None:
                await self.transport.subscribe(topic)
                self._subscribed.add(topic)
        return feed

    async def update_metadata(self, metadata: str) -> None:
        """See `Room`."""
        self._require("can_update_metadata")
        await trio.lowlevel.checkpoint()
        if self._hub.end_reason is None:
            await self.transport.update_metadata(metadata)

    async def leave(self) -> None:
        """See `Room`."""
        self._leaving.set()
        await self._hub.wait_left()

    def _require(self, permission: str) -> None:
        if self._hub.is_left:
            raise RoomError(f"the room {self.room_id!r} has been left")
        if not getattr(self._hub.request.permissions, permission):
            raise RoomPermissionError(f"the job's permissions say {permission}=False")


@asynccontextmanager
async def open_joined_room(
    opener: TransportOpener[TransportT], request: RoomRequest
) -> AsyncGenerator[JoinedRoom[TransportT], None]:
    """Join by `opener`; the room is left on exit, within `LEAVE_SECONDS`, also when cancelled.

    Raises what `opener` raises, also for a room that is lost while the body runs, which is then
    cancelled.
    """
    with without_own_group():
        async with open_service(partial(_live, opener, request), grace=_GRACE_SECONDS) as room:
            yield room


async def _live(
    opener: TransportOpener[TransportT],
    request: RoomRequest,
    stopping: trio.Event,
    *,
    task_status: trio.TaskStatus[JoinedRoom[TransportT]],
) -> None:
    """The body of the service: joined while it waits."""
    hub = RoomHub(request)
    try:
        with trio.CancelScope() as goodbye:
            async with opener(request, hub) as transport:
                try:
                    await _stay(JoinedRoom(hub, transport), hub, stopping, task_status)
                finally:
                    goodbye.deadline = trio.current_time() + LEAVE_SECONDS
        if goodbye.cancelled_caught:
            logger.warning("leaving the room was cut off after %g s", LEAVE_SECONDS)
    except RoomError:
        hub.ended(CONNECTION_LOST)
        raise
    finally:
        hub.left()
    await stopping.wait()


async def _stay(
    room: JoinedRoom[TransportT],
    hub: RoomHub,
    stopping: trio.Event,
    task_status: trio.TaskStatus[JoinedRoom[TransportT]],
) -> None:
    """Run the room's own tasks until the room is left."""
    with without_own_group():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(end_when_empty, hub)
            nursery.start_soon(_report_errors, hub)
            if room._mixer is not None:
                nursery.start_soon(room._mixer.run)
            nursery.start_soon(_pass_on, stopping, room._leaving)
            task_status.started(room)
            await room._leaving.wait()
            nursery.cancel_scope.cancel()


async def _pass_on(stopping: trio.Event, leaving: trio.Event) -> None:
    await stopping.wait()
    leaving.set()


async def _report_errors(hub: RoomHub) -> None:
    """Call `on_room_error`, sync or async; what it raises ends the room, and fails the job."""
    callback = hub.request.options.on_room_error
    async for event in hub.events():
        if isinstance(event, RoomFailure):
            if callback is None:
                logger.warning("room %s: %s", hub.request.room_id, event.error)
                continue
            result = callback(event.error)
            if isawaitable(result):
                await result
