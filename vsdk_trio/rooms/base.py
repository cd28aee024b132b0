"""What every room offers, what it takes to open one, and what a transport cannot do.

Knows the options and permissions of a job's participant. Must not know any one transport.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable, Iterable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol, TypeAlias

import attrs

from ..errors import OptionsError, RoomError
from ..options.room import RoomOptions, TransportMode
from ..options.worker import WorkerPermissions
from .audio import AudioFrame
from .events import Message, Participant, RoomEvent, Subscription


@attrs.frozen(kw_only=True)
class RoomRequest:
    """Which room to join, as whom, and with which rights."""

    room_id: str
    participant_id: str
    name: str = "Agent"
    token: str = attrs.field(default="", repr=False)
    permissions: WorkerPermissions = attrs.field(factory=WorkerPermissions)
    options: RoomOptions = attrs.field(factory=RoomOptions)
    metadata: Mapping[str, Any] = attrs.field(factory=dict)
    """The job's metadata; the loopback room finds its script there."""


@attrs.define(kw_only=True)
class RoomCounts:
    """What went through a room, and what did not; `room.counts` is the live one."""

    frames_heard: int = 0
    """Frames of audio that came from others."""
    frames_played: int = 0
    """Frames that were handed to the transport."""
    frames_dropped: int = 0
    """Frames that a slow reader of `audio` lost, or that the transport had no room for."""
    messages_dropped: int = 0
    """Messages that a slow reader of `messages` lost."""
    events_dropped: int = 0
    """Events that a slow reader of `events` lost."""
    junk_dropped: int = 0
    """What came from a peer and made no sense."""


class Room(Protocol):
    """A room that is joined. What the permissions forbid raises `RoomPermissionError`.

    After it has been left every method that does something raises `RoomError`. After the session
    has ended, playing and sending have no effect and raise no error.
    """

    @property
    def room_id(self) -> str: ...

    @property
    def participant_id(self) -> str:
        """The agent's own."""
        ...

    @property
    def name(self) -> str:
        """The agent's own."""
        ...

    @property
    def address(self) -> str:
        """Where others find it, for example "ws://127.0.0.1:8080/ws"; empty if its id says so."""
        ...

    @property
    def participants(self) -> Mapping[str, Participant]:
        """Who else is there, by participant id; a copy."""
        ...

    @property
    def end_reason(self) -> str | None:
        """Why the session ended; None while it runs."""
        ...

    @property
    def counts(self) -> RoomCounts:
        """What went through, and what was dropped."""
        ...

    def setup_session_end_callback(self, callback: Callable[[str], object]) -> None:
        """Have `callback(reason)` called once when the session ends, also if it has ended.

        It is called synchronously; callbacks that were set up before stay.
        """
        ...

    async def wait_ended(self) -> str:
        """Wait for the end of the session; returns the reason."""
        ...

    async def wait_for_participant(self, participant_id: str | None = None) -> str | None:
        """The id of a participant (this one, or any), as soon as it is there.

        None if the session ends first.
        """
        ...

    def events(self) -> Subscription[RoomEvent]:
        """What happens, for `async for`: `RoomJoined` and who is there, then all that follows.

        Ends after `RoomLeft`. Any number of readers; one that is slow loses the oldest.
        """
        ...

    def audio(self, participant_id: str) -> Subscription[AudioFrame]:
        """What a participant says from now on, for `async for`; it may not be there yet.

        Ends when it leaves, or the session ends. A slow reader loses the oldest frames. Needs
        `can_subscribe`.
        """
        ...

    async def play(self, frames: AsyncIterable[AudioFrame] | Iterable[AudioFrame]) -> None:
        """Say `frames`; returns when the last has been heard.

        Takes the frames as they are needed: no more than a moment is queued, so a source is read
        at the speed of speech. Cancelled, it is silent at once: what was queued is not heard. A
        second call waits for the first to end, or is mixed with it where the options say
        `background_audio`. Needs `can_publish`.
        """
        ...

    async def send_message(self, text: str, topic: str = "chat") -> None:
        """Publish `text` on `topic` to all other participants; needs `can_publish_data`.

        Raises `RoomError` where the transport refuses it, for example because it is too long.
        """
        ...

    async def messages(self, topic: str = "chat") -> Subscription[Message]:
        """What others publish on `topic` from now on, for `async for`; needs `can_subscribe`.

        Ends with the session. A slow reader loses the oldest. The agent's own do not come back.
        """
        ...

    async def update_metadata(self, metadata: str) -> None:
        """Set the metadata of the agent's participant; needs `can_update_metadata`."""
        ...

    async def leave(self) -> None:
        """Leave the room now; returns when it is left. A second call does nothing."""
        ...


RoomFactory: TypeAlias = Callable[[TransportMode, RoomRequest], AbstractAsyncContextManager[Room]]


def read_permissions(wire: Mapping[str, Any]) -> WorkerPermissions:
    """Permissions from JSON. Unknown names are ignored, one that is no boolean is a `RoomError`."""
    known = {f.name: wire[f.name] for f in attrs.fields(WorkerPermissions) if f.name in wire}
    for name, value in known.items():
        if not isinstance(value, bool):
            raise RoomError(f"permission {name!r} must be a bool, got {type(value).__name__}")
    return WorkerPermissions(**known)


_HOSTED = frozenset({TransportMode.VIDEOSDK})
_WITH_CODECS = frozenset({TransportMode.VIDEOSDK, TransportMode.WEBRTC})


def check_transport(options: RoomOptions, mode: TransportMode) -> tuple[str, ...]:
    """Raise `OptionsError` for what `mode` cannot do and the job may rely on.

    Returns texts for the log about options that have no effect. A loopback room stands in for
    every other one, so there all of it is.
    """
    demands = tuple(_demands(options, mode))
    if demands and mode is not TransportMode.LOOPBACK:
        raise OptionsError(
            f"transport_mode={mode.value!r} cannot do what RoomOptions({', '.join(demands)}) asks "
            "for: that needs transport_mode='videosdk'"
        )
    return tuple(
        f"RoomOptions({wish}) has no effect with transport_mode={mode.value!r}"
        for wish in (*demands, *_wishes(options, mode))
    )


def _demands(options: RoomOptions, mode: TransportMode) -> Iterator[str]:
    """What the job may rely on, as it was written."""
    observability = options.observability
    if mode not in _HOSTED:
        if options.recording:
            yield "recording=True"
        if observability is not None and observability.recording is not None:
            yield "observability.recording"
        if options.vision:
            yield "vision=True"
    if mode not in _WITH_CODECS and options.audio_codec is not None:
        yield f"audio_codec={options.audio_codec!r}"


def _wishes(options: RoomOptions, mode: TransportMode) -> Iterator[str]:
    """What is good to have, as it was written."""
    if mode in _HOSTED:
        return
    if options.send_logs_to_dashboard:
        yield "send_logs_to_dashboard=True"
    if options.avatar is not None:
        yield "avatar"
    grouped = options.observability
    for name in ("traces", "metrics", "logs"):
        part = getattr(grouped, name, None) or getattr(options, name)
        if part.export_url is not None:
            yield f"{name}.export_url"
    if (getattr(grouped, "logs", None) or options.logs).send_to_dashboard:
        yield "logs.send_to_dashboard=True"
