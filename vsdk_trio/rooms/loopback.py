"""A room without a network: scripted participants, and what the agent publishes comes back.

An agent runs in it unchanged: it keeps the permissions of its job and the timeouts of its room
options, so that a session ends for the reasons it would end for elsewhere. Must not know jobs.
"""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager

import trio

from ..errors import RoomError, RoomPermissionError
from .base import Message, Participant, RoomRequest
from .script import Step, read_script

_SUBSCRIPTION_MESSAGES = 256


@asynccontextmanager
async def open_loopback_room(request: RoomRequest) -> AsyncGenerator[LoopbackRoom, None]:
    """Join a loopback room, which plays the script in the job's metadata until it is left.

    Raises `RoomError` for a script that cannot be played.
    """
    script = read_script(request.metadata)
    room = LoopbackRoom(request)
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_play, script, room)
            nursery.start_soon(room._end_when_empty)
            yield room
            nursery.cancel_scope.cancel()
    finally:
        room._close()


async def _play(script: tuple[Step, ...], room: LoopbackRoom) -> None:
    for step in script:
        await trio.sleep(step.after)
        room.perform(step)


class LoopbackRoom:
    """A `Room` inside this process. Open one with `open_loopback_room`.

    `published` records what the agent did, in order; `metadata` is what it last set; `dropped`
    counts the messages that slow subscribers lost.
    """

    def __init__(self, request: RoomRequest) -> None:
        self._request = request
        self._participants: dict[str, Participant] = {}
        self._changed = trio.Event()
        self._end_reason: str | None = None
        self._callbacks: list[Callable[[str], object]] = []
        self._subscriptions: list[tuple[str, trio.MemorySendChannel[Message]]] = []
        self._is_left = False
        self.published: list[Message] = []
        self.metadata = ""
        self.dropped = 0

    def __repr__(self) -> str:
        return f"<LoopbackRoom {self.room_id!r} with {len(self._participants)} others>"

    @property
    def room_id(self) -> str:
        """The room's id."""
        return self._request.room_id

    @property
    def participant_id(self) -> str:
        """The agent's participant id."""
        return self._request.participant_id

    @property
    def name(self) -> str:
        """The agent's name."""
        return self._request.name

    @property
    def participants(self) -> Mapping[str, Participant]:
        """The scripted participants that are present, by id."""
        return dict(self._participants)

    @property
    def roster(self) -> tuple[str, ...]:
        """The ids that the other participants see: the agent's is missing if it is hidden."""
        own = () if self._request.permissions.hidden or self._is_left else (self.participant_id,)
        return (*own, *self._participants)

    @property
    def end_reason(self) -> str | None:
        """Why the session ended; None while it runs."""
        return self._end_reason

    def setup_session_end_callback(self, callback: Callable[[str], object]) -> None:
        """See `Room`."""
        if self._end_reason is None:
            self._callbacks.append(callback)
        else:
            callback(self._end_reason)

    async def wait_for_participant(self, participant_id: str | None = None) -> str | None:
        """See `Room`."""
        await trio.lowlevel.checkpoint()
        while self._end_reason is None:
            if participant_id is None and self._participants:
                return next(iter(self._participants))
            if participant_id is not None and participant_id in self._participants:
                return participant_id
            await self._changed.wait()
        return None

    async def publish(self, track: str, data: bytes) -> None:
        """See `Room`; the frame comes back to the subscribers of `track`."""
        self._require("can_publish")
        await trio.lowlevel.checkpoint()
        self._publish(Message(topic=track, data=data, sender=self.participant_id))

    async def send_data(self, data: bytes | str, topic: str = "") -> None:
        """See `Room`; the message comes back to the subscribers of `topic`."""
        self._require("can_publish_data")
        await trio.lowlevel.checkpoint()
        raw = data.encode() if isinstance(data, str) else data
        self._publish(Message(topic=topic, data=raw, sender=self.participant_id))

    async def update_metadata(self, metadata: str) -> None:
        """See `Room`."""
        self._require("can_update_metadata")
        await trio.lowlevel.checkpoint()
        self.metadata = metadata

    def subscribe(self, topic: str = "") -> trio.MemoryReceiveChannel[Message]:
        """See `Room`."""
        self._require("can_subscribe")
        send, receive = trio.open_memory_channel[Message](_SUBSCRIPTION_MESSAGES)
        self._subscriptions.append((topic, send))
        return receive

    def perform(self, step: Step) -> None:
        """Let something happen in the room now, as a step of its script does."""
        if step.do == "join":
            person = Participant(participant_id=step.participant, name=step.name)
            self._participants[step.participant] = person
        elif step.do == "leave":
            self._participants.pop(step.participant, None)
        elif step.do == "say":
            message = Message(topic=step.topic, data=step.text.encode(), sender=step.participant)
            self._deliver(message)
        elif step.do == "error":
            if self._request.options.on_room_error is not None:
                self._request.options.on_room_error(RoomError(step.text))
        else:
            self._end(step.text or "session_ended")
        self._notify()

    async def _end_when_empty(self) -> None:
        """End the session where nobody comes, or everybody has left, for the options' time."""
        options = self._request.options
        patience, reason = options.no_participant_timeout_seconds, "no_participant_joined"
        while self._end_reason is None:
            if self._participants:
                # From now on it is about people who left, which need not end a session at all.
                patience = options.session_timeout_seconds if options.auto_end_session else None
                reason = "all_participants_left"
                await self._changed.wait()
                continue
            with trio.move_on_after(math.inf if patience is None else patience) as waiting:
                while not self._participants and self._end_reason is None:
                    await self._changed.wait()
            if waiting.cancelled_caught:
                self._end(reason)
                self._notify()

    def _require(self, permission: str) -> None:
        if self._is_left:
            raise RoomError(f"the room {self.room_id!r} has been left")
        if not getattr(self._request.permissions, permission):
            raise RoomPermissionError(f"the job's permissions say {permission}=False")

    def _publish(self, message: Message) -> None:
        self.published.append(message)
        self._deliver(message)

    def _deliver(self, message: Message) -> None:
        open_ones = []
        for topic, channel in self._subscriptions:
            try:
                if topic == message.topic:
                    channel.send_nowait(message)
            except trio.WouldBlock:
                self.dropped += 1
            except trio.BrokenResourceError:
                continue  # its reader has closed it
            open_ones.append((topic, channel))
        self._subscriptions = open_ones

    def _end(self, reason: str) -> None:
        if self._end_reason is None:
            self._end_reason = reason
            callbacks, self._callbacks = self._callbacks, []
            for callback in callbacks:
                callback(reason)

    def _notify(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    def _close(self) -> None:
        self._is_left = True
        for _, channel in self._subscriptions:
            channel.close()
