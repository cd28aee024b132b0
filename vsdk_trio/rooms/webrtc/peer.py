"""The agent's side of a peer connection, by aiortc. asyncio: it lives in a thread of its own.

Imports aiortc: import it in that thread. Tells what happens by two functions that never wait. Must
not know Trio, signaling or rooms.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import attrs
from aiortc import (  # pyright: ignore[reportMissingImports]
    MediaStreamTrack,
    RTCConfiguration,
    RTCIceServer,
    RTCPeerConnection,
    RTCRtpSender,
    RTCSessionDescription,
)
from aiortc.mediastreams import MediaStreamError  # pyright: ignore[reportMissingImports]
from aiortc.sdp import candidate_from_sdp  # pyright: ignore[reportMissingImports]

from ...errors import RoomError
from ..audio import AudioFrame
from ..media import SpeechFrames, hear
from ..playback import Speech
from .messages import PEER_ID, ConnectionState, PeerMessage, TextReceived

CHANNEL_SECONDS = 5.0
_CHANNEL = "messages"

Tell: TypeAlias = Callable[[PeerMessage], None]
Hear: TypeAlias = Callable[[AudioFrame], None]


class AgentTrack(MediaStreamTrack):  # type: ignore[misc]  # aiortc is not checked
    """The track that is sent."""

    kind = "audio"

    def __init__(self, speech: Speech) -> None:
        super().__init__()
        self._voice = SpeechFrames(speech)

    async def recv(self) -> Any:
        """The next 20 ms."""
        if self.readyState != "live":
            raise MediaStreamError
        return await self._voice.next_frame()


@attrs.frozen(kw_only=True)
class PeerSettings:
    """How to connect: `ice_servers` as the options have them, and a codec's name, or any."""

    ice_servers: Sequence[Any] = attrs.field(repr=False)
    codec: str | None


class WebRTCPeer:
    """One connection. Make it in asyncio's thread; `close` it."""

    def __init__(self, terms: PeerSettings, speech: Speech, tell: Tell, hear_frame: Hear) -> None:
        self._tell = tell
        self._hear = hear_frame
        self._listening: set[asyncio.Task[None]] = set()
        self._channel_is_open = asyncio.Event()
        servers = [_ice_server(server) for server in terms.ice_servers]
        self._pc = RTCPeerConnection(RTCConfiguration(iceServers=servers))
        self._pc.addTrack(AgentTrack(speech))
        if terms.codec is not None:
            self._pc.getTransceivers()[0].setCodecPreferences(_codecs(terms.codec))
        self._channel = self._pc.createDataChannel(_CHANNEL)
        self._channel.on("open", self._channel_is_open.set)
        self._channel.on("message", self._said)
        self._pc.on("track", self._track_came)
        self._pc.on("connectionstatechange", self._state_changed)

    async def offer(self) -> dict[str, str]:
        """The offer, with all ICE candidates in it."""
        await self._pc.setLocalDescription(await self._pc.createOffer())
        made = self._pc.localDescription
        return {"sdp": made.sdp, "type": made.type}

    async def accept(self, sdp: str, kind: str) -> None:
        """Take the other side's answer. Raises `RoomError` for one that makes no sense."""
        try:
            await self._pc.setRemoteDescription(RTCSessionDescription(sdp=sdp, type=kind))
        except Exception as error:
            # A peer's text goes through a parser that raises whatever it stumbles over.
            raise RoomError(f"the peer's answer cannot be used: {error!r:.200}") from None

    async def add_candidate(self, text: str, mid: str | None, line: int | None) -> None:
        """Take a candidate that came after the answer. Raises `RoomError` for junk."""
        try:
            candidate = candidate_from_sdp(text.removeprefix("candidate:"))
            candidate.sdpMid, candidate.sdpMLineIndex = mid, line
            await self._pc.addIceCandidate(candidate)
        except Exception as error:
            raise RoomError(f"the peer's candidate cannot be used: {error!r:.200}") from None

    async def send(self, text: str) -> None:
        """Send a text on the data channel; raises `RoomError` where the peer opens none."""
        try:
            await asyncio.wait_for(self._channel_is_open.wait(), CHANNEL_SECONDS)
        except TimeoutError:
            raise RoomError("the peer takes no messages: it has opened no data channel") from None
        if self._channel.readyState == "open":
            self._channel.send(text)

    async def close(self) -> None:
        """Say goodbye and end what runs."""
        for task in self._listening:
            task.cancel()
        await self._pc.close()

    def _said(self, data: object) -> None:
        if isinstance(data, str):
            self._tell(TextReceived(data))

    def _track_came(self, track: Any) -> None:
        if track.kind == "audio":
            task = asyncio.ensure_future(hear(track, PEER_ID, self._hear, MediaStreamError))
            self._listening.add(task)
            task.add_done_callback(self._listening.discard)

    def _state_changed(self) -> None:
        self._tell(ConnectionState(self._pc.connectionState))


def _ice_server(given: Any) -> RTCIceServer:
    if isinstance(given, str):
        return RTCIceServer(urls=given)
    return RTCIceServer(
        urls=given.get("urls") or given.get("url") or [],
        username=given.get("username"),
        credential=given.get("credential"),
    )


def _codecs(name: str) -> list[Any]:
    known = RTCRtpSender.getCapabilities("audio").codecs
    wanted = [codec for codec in known if codec.mimeType.lower() == f"audio/{name.lower()}"]
    if not wanted:
        names = sorted({codec.mimeType.partition("/")[2].lower() for codec in known})
        raise RoomError(f"audio_codec must be one of {', '.join(names)}, got {name!r:.50}")
    return wanted
