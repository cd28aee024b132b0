"""The WebRTC room, Trio's side: signaling, and what the peer's thread tells.

Knows options, links and the hub. The media is the business of `peer`, in a thread of its own.
"""

from __future__ import annotations

import json
import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import trio

from ..._exceptions import without_own_group
from ...asyncio_bridge.thread import AioThread, open_aio_thread
from ...asyncio_bridge.thread_channel import ThreadChannel
from ...backend.dialer import choose_dialer
from ...backend.websocket import open_link
from ...errors import ConnectError, OptionsError, RoomError
from ...options.room import WebRTCConfig
from ...websocket.link import Link, LinkLost
from ..audio import AudioFrame
from ..base import RoomRequest
from ..events import Message, Participant
from ..hub import RoomHub
from ..playback import PLAYBACK, Speech
from ..websocket import wire
from .messages import (
    PEER_ID,
    Answer,
    Candidate,
    ConnectionState,
    PeerMessage,
    TextReceived,
    read_signal,
)

if TYPE_CHECKING:
    from .peer import Hear, Tell, WebRTCPeer

GOODBYE_SECONDS = 3.0
_FRAMES = 100
_NEWS = 256


@asynccontextmanager
async def open_webrtc(request: RoomRequest, hub: RoomHub) -> AsyncGenerator[WebRTCTransport, None]:
    """Offer a connection at the options' signaling server; the peer there is the participant.

    Raises `OptionsError` without a signaling server, `RoomError` where it cannot be reached, or is
    gone before anybody has answered.
    """
    config, url = request.options.webrtc, _signaling_url(request.options.webrtc)
    speech = Speech()
    sounds: ThreadChannel[AudioFrame] = ThreadChannel(_FRAMES)
    news: ThreadChannel[PeerMessage] = ThreadChannel(_NEWS)
    async with open_aio_thread(name="webrtc") as thread:
        peer = await thread.run(
            _make_peer, config, request.options.audio_codec, speech, news.put, sounds.put
        )
        try:
            offer = await thread.run(peer.offer)
            async with _open_signaling(url) as link:
                await _send_offer(link, offer)
                transport = WebRTCTransport(hub, thread, peer, speech)
                with without_own_group():
                    async with trio.open_nursery() as nursery:
                        nursery.start_soon(transport._follow_signaling, link)
                        nursery.start_soon(transport._follow_news, news.receive)
                        nursery.start_soon(transport._follow_sounds, sounds)
                        yield transport
                        nursery.cancel_scope.cancel()
        finally:
            with trio.move_on_after(GOODBYE_SECONDS, shield=True):
                await thread.run(peer.close)


def _signaling_url(config: WebRTCConfig) -> str:
    if config.signaling_type != "websocket":
        raise OptionsError(
            f"WebRTCConfig.signaling_type must be 'websocket', got {config.signaling_type!r:.50}"
        )
    if not config.signaling_url:
        raise OptionsError(
            "transport_mode='webrtc' needs a signaling server: "
            "RoomOptions(webrtc=WebRTCConfig(signaling_url='wss://...'))"
        )
    return config.signaling_url


async def _make_peer(
    config: WebRTCConfig, codec: str | None, speech: Speech, tell: Tell, hear: Hear
) -> WebRTCPeer:
    """In the thread: importing aiortc takes its time."""
    from .peer import PeerSettings, WebRTCPeer

    return WebRTCPeer(PeerSettings(ice_servers=config.ice_servers, codec=codec), speech, tell, hear)


@asynccontextmanager
async def _open_signaling(url: str) -> AsyncGenerator[Link, None]:
    try:
        async with open_link(url, dialer=choose_dialer(None, url, os.environ)) as link:
            yield link
    except ConnectError as error:
        raise RoomError(f"no signaling: {error}") from None


async def _send_offer(link: Link, offer: dict[str, str]) -> None:
    await link.send(json.dumps(offer))


class WebRTCTransport:
    """See `Transport`."""

    playback = PLAYBACK

    def __init__(self, hub: RoomHub, thread: AioThread, peer: WebRTCPeer, speech: Speech) -> None:
        self._hub = hub
        self._thread = thread
        self._peer = peer
        self._speech = speech

    async def send_audio(self, frame: AudioFrame) -> None:
        """See `Transport`."""
        if self._hub.participants:
            await self._speech.put(frame.data)
        else:
            await trio.lowlevel.checkpoint()

    def interrupt(self) -> None:
        """See `Transport`."""
        self._speech.clear()

    async def send_message(self, text: str, topic: str) -> None:
        """See `Transport`; `RoomError` where the peer has opened no data channel."""
        own = self._hub.request
        message = Message(
            topic=topic, text=text, sender_id=own.participant_id, sender_name=own.name
        )
        await self._tell(wire.message(message))

    async def subscribe(self, topic: str) -> None:
        """See `Transport`; everything comes here anyway."""
        await trio.lowlevel.checkpoint()

    async def update_metadata(self, metadata: str) -> None:
        """See `Transport`; on the data channel, as a message."""
        await self._tell(wire.metadata(metadata))

    async def _tell(self, text: str) -> None:
        if self._hub.participants:
            await self._thread.run(self._peer.send, text)
        else:
            await trio.lowlevel.checkpoint()

    async def _follow_signaling(self, link: Link) -> None:
        is_answered = False
        while True:
            try:
                match read_signal(await link.receive()):
                    case Answer() as answer if not is_answered:
                        await self._thread.run(self._peer.accept, answer.sdp, answer.kind)
                        is_answered = answer.kind == "answer"
                    case Candidate() as more:
                        await self._thread.run(
                            self._peer.add_candidate, more.text, more.mid, more.line
                        )
                    case _:
                        self._hub.counts.junk_dropped += 1
            except LinkLost as lost:
                if is_answered:
                    return  # it has done its work
                raise RoomError(
                    f"no peer has answered, and the signaling was lost: {lost}"
                ) from None
            except RoomError as error:
                self._hub.failed(error)

    async def _follow_news(self, news: trio.MemoryReceiveChannel[PeerMessage]) -> None:
        async for item in news:
            match item:
                case ConnectionState("connected"):
                    self._hub.participant_joined(Participant(participant_id=PEER_ID, name="Peer"))
                case ConnectionState("disconnected" | "failed" | "closed"):
                    self._hub.participant_left(PEER_ID)
                    self._speech.clear()  # and wakes tasks that wait for room in it
                    self._hub.ended(f"webrtc_{item.name}")
                case TextReceived():
                    self._read(item.text)
                case ConnectionState():
                    pass

    def _read(self, text: str) -> None:
        try:
            said = wire.read_text(text)
        except wire.JunkError:
            self._hub.counts.junk_dropped += 1
            return
        if isinstance(said, wire.Say):
            self._hub.message(
                Message(topic=said.topic, text=said.text, sender_id=PEER_ID, sender_name="Peer")
            )

    async def _follow_sounds(self, sounds: ThreadChannel[AudioFrame]) -> None:
        async for frame in sounds.receive:
            self._hub.counts.frames_dropped += sounds.take_dropped()
            self._hub.stream_started(PEER_ID)
            self._hub.audio(frame)
