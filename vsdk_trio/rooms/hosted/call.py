"""One call with the SDK: joining, events, sound, leaving. It runs in the SDK's asyncio thread.

Imports the SDK, which takes seconds: import this module in that thread. Reports to Trio's side by
functions that take a hub. Must not know Trio.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import videosdk  # pyright: ignore[reportMissingImports]
from videosdk import (  # pyright: ignore[reportMissingImports]
    MeetingEventHandler,
    ParticipantEventHandler,
    VideoSDK,
)
from vsaiortc.mediastreams import (  # pyright: ignore[reportMissingImports]
    MediaStreamError,
    MediaStreamTrack,
)

from ...errors import RoomError
from ..audio import AudioFrame
from ..base import RoomRequest
from ..events import MEETING_ENDED, Message, Participant, StreamKind
from ..hub import RoomHub
from ..media import SpeechFrames, hear
from ..playback import Speech
from .sdk import NO_VOICE, NOT_SENT, Phase, PrivateParts, SdkLog


class MicrophoneTrack(MediaStreamTrack):  # type: ignore[misc]  # the SDK's classes are not checked
    """The track that the SDK sends."""

    kind = "audio"

    def __init__(self, speech: Speech) -> None:
        super().__init__()
        self._voice = SpeechFrames(speech)

    async def recv(self) -> Any:
        """The next 20 ms."""
        if self.readyState != "live":
            raise MediaStreamError
        return await self._voice.next_frame()


async def listen(track: Any, participant_id: str, put: Callable[[AudioFrame], None]) -> None:
    """Pass the sound of a participant's track to `put`, until the track ends."""
    await hear(track, participant_id, put, MediaStreamError)


Tell = Callable[[Callable[[RoomHub], None]], None]
Hear = Callable[[AudioFrame], None]

PING_SECONDS = 5.0
PONG_SECONDS = 5.0
_GOODBYE_SECONDS = 1.0
_TOLD_TO_GO = (1000, *range(4000, 5000))
_KINDS = {"audio": StreamKind.AUDIO, "video": StreamKind.VIDEO, "share": StreamKind.SHARE}


class Call:
    """A meeting of the SDK's. `tell` gets what happens, `hear` what is heard; neither waits."""

    def __init__(
        self, request: RoomRequest, host: str, log: SdkLog, speech: Speech, tell: Tell, hear: Hear
    ) -> None:
        options, permissions = request.options, request.permissions
        self.stage = "asking for the configuration of its server"
        self.request = request
        self._log = log
        self._tell = tell
        self._hear = hear
        self.is_under_way = False  # whether the service's server is known, and being connected to
        self._is_joined = False
        self._is_leaving = False
        self._errors: list[str] = []
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(self._on_stray_error)
        self._listening: dict[str, asyncio.Task[None]] = {}
        self._meeting: Any = VideoSDK.init_meeting(
            meeting_id=request.room_id,
            participant_id=request.participant_id,
            name=request.name,
            token=request.token,
            mic_enabled=permissions.can_publish,
            webcam_enabled=False,
            custom_microphone_audio_track=MicrophoneTrack(speech),
            auto_consume=permissions.can_subscribe,
            audio_codec=options.audio_codec,
            signaling_base_url=host,
            peer_type="agent",
            meta_data={"agent_name": request.name, "is_videosdk_agent": True},
            sdk_metadata={"sdk": "vsdk-trio"},
            loop=loop,
        )
        self._private = PrivateParts(self._meeting, videosdk.__version__)
        self._meeting.add_event_listener(_MeetingEvents(self))

    async def join(self) -> bool:
        """Join; whether that worked. Blocks the thread while it talks REST.

        The SDK thinks that it has joined also where it may not speak, or was refused on the way.
        """
        await self._meeting.async_join()
        is_whole = not self._log.refusal and NO_VOICE not in self._errors
        return self._is_joined and is_whole

    @property
    def session_id(self) -> str:
        """What the service calls this meeting, once it is joined."""
        return str(self._meeting.session_id or "")

    async def leave(self) -> None:
        """Leave the meeting and close its connections."""
        self._is_leaving = True
        for task in self._listening.values():
            task.cancel()
        if self._private.socket is not None:
            self._private.socket.close_timeout = _GOODBYE_SECONDS  # a cut network never answers
        await self._private.leave()

    async def publish(self, topic: str, text: str) -> None:
        """Publish a message; raises `RoomError` where the SDK could not."""
        before = len(self._errors)
        config = {"topic": topic, "message": text, "options": {"persist": False}, "payload": None}
        await self._meeting.pubsub.publish(config)
        self._check(before, "a message could not be sent")

    async def subscribe(self, topic: str) -> None:
        """Subscribe to messages on a topic; raises `RoomError` where the SDK could not."""
        before = len(self._errors)
        await self._meeting.pubsub.subscribe({"topic": topic, "cb": self._on_message})
        self._check(before, f"the messages on {topic!r} could not be subscribed to")

    def _check(self, before: int, what: str) -> None:
        for error in self._errors[before:]:
            if error in NOT_SENT:
                raise RoomError(f"{what}: {self._with_cause(error)}")

    async def watch(self) -> str:
        """Wait until the call is over; returns its end, empty where we were asked to leave.

        The SDK itself pings every half hour, and says nothing of a socket that closes.
        """
        socket = self._private.socket
        closed = asyncio.ensure_future(socket.wait_closed())
        try:
            while not closed.done():
                await asyncio.wait({closed}, timeout=PING_SECONDS)
                if not closed.done():
                    failure = await self._probe(socket)
                    if failure:
                        return failure
        finally:
            closed.cancel()
        if self._is_leaving or socket.close_code in _TOLD_TO_GO:
            return ""
        return f"its signaling was cut off ({socket.close_code} {socket.close_reason})".replace(
            " )", ")"
        )

    async def _probe(self, socket: Any) -> str:
        if self._private.has_lost_media():
            return "its media connection failed"
        try:
            async with asyncio.timeout(PONG_SECONDS):
                await (await socket.ping())
        except TimeoutError:
            return f"it did not answer a ping within {PONG_SECONDS:g} s"
        except Exception as error:  # websockets', of a socket that closes meanwhile
            return "" if self._is_leaving else f"its signaling was cut off ({error})"
        return ""

    def _on_stray_error(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Log an exception of the SDK's background tasks, unless the call is closing."""
        if not self._is_leaving:
            loop.default_exception_handler(context)

    # What the SDK says.

    def on_joined(self, data: Mapping[str, Any]) -> None:
        self._is_joined = True
        self._log.phase = Phase.STAYING
        for peer in data.get("participants") or ():
            self._come(peer.get("id"), peer.get("displayName"), peer.get("metaData"))

    def on_left(self) -> None:
        if not self._is_leaving:
            self._tell(lambda hub: hub.ended(MEETING_ENDED))

    def on_state(self, state: str) -> None:
        self.is_under_way = True
        self.stage = {
            "CONNECTING": "opening its signaling socket",
            "CONNECTED": "joining",
        }.get(state, self.stage)

    def on_error(self, text: str) -> None:
        self._errors.append(text)
        if self._is_joined and not self._is_leaving:
            error = RoomError(f"the VideoSDK SDK says: {self._with_cause(text)}")
            self._tell(lambda hub: hub.failed(error))

    def on_come(self, participant: Any) -> None:
        self._come(participant.id, participant.display_name, participant.meta_data)
        participant.add_event_listener(_ParticipantEvents(self, participant.id))

    def _come(self, participant_id: Any, name: Any, metadata: Any) -> None:
        if participant_id and participant_id != self.request.participant_id:
            known = Participant(
                participant_id=str(participant_id),
                name=str(name or ""),
                metadata=metadata if isinstance(metadata, Mapping) else {},
            )
            self._tell(lambda hub: hub.participant_joined(known))

    def on_go(self, participant: Any) -> None:
        participant_id = participant.id
        self._tell(lambda hub: hub.participant_left(participant_id))

    def on_stream(self, participant_id: str, stream: Any) -> None:
        kind = _KINDS.get(stream.kind)
        if kind is not None:
            self._tell(lambda hub: hub.stream_started(participant_id, kind))
        if kind is StreamKind.AUDIO:
            # Read it even without a listener: the SDK's queue has no bound.
            coroutine = listen(stream.track, participant_id, self._hear)
            self._listening[stream.id] = asyncio.ensure_future(coroutine)

    def on_no_stream(self, participant_id: str, stream: Any) -> None:
        kind = _KINDS.get(stream.kind)
        task = self._listening.pop(stream.id, None)
        if task is not None:
            task.cancel()
        if kind is not None:
            self._tell(lambda hub: hub.stream_stopped(participant_id, kind))

    def _on_message(self, data: Mapping[str, Any]) -> None:
        payload = data.get("payload")
        message = Message(
            topic=str(data.get("topic", "")),
            text=str(data.get("message", "")),
            sender_id=str(data.get("senderId", "")),
            sender_name=str(data.get("senderName") or ""),
            payload=payload if isinstance(payload, Mapping) else {},
        )
        self._tell(lambda hub: hub.message(message))

    def _with_cause(self, text: str) -> str:
        cause = self._log.refusal or self._log.last_error
        return f"{text} ({cause})" if cause else text


class _MeetingEvents(MeetingEventHandler):  # type: ignore[misc]  # the SDK is not checked
    def __init__(self, call: Call) -> None:
        super().__init__()
        self._call = call

    def on_error(self, data: Any) -> None:
        self._call.on_error(str(data))

    def on_meeting_joined(self, data: Any) -> None:
        self._call.on_joined(data)

    def on_meeting_left(self, data: Any) -> None:
        self._call.on_left()

    def on_meeting_state_change(self, data: Any) -> None:
        self._call.on_state(str(data.get("state")))

    def on_participant_joined(self, participant: Any) -> None:
        self._call.on_come(participant)

    def on_participant_left(self, participant: Any) -> None:
        self._call.on_go(participant)

    def on_agent_joined(self, agent: Any) -> None:
        self._call.on_come(agent)

    def on_agent_left(self, agent: Any) -> None:
        self._call.on_go(agent)


class _ParticipantEvents(ParticipantEventHandler):  # type: ignore[misc]  # the SDK is not checked
    def __init__(self, call: Call, participant_id: str) -> None:
        super().__init__()
        self._call = call
        self._participant_id = participant_id

    def on_stream_enabled(self, stream: Any) -> None:
        self._call.on_stream(self._participant_id, stream)

    def on_stream_disabled(self, stream: Any) -> None:
        self._call.on_no_stream(self._participant_id, stream)
