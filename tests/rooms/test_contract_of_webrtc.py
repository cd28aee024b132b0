"""A WebRTC room keeps the contract of rooms: aiortc on both sides, on 127.0.0.1, in real time."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest
import trio
from trio_websocket import ConnectionClosed, WebSocketRequest, serve_websocket

from vsdk_trio.asyncio_bridge.thread import AioThread, open_aio_thread
from vsdk_trio.errors import OptionsError, RoomError
from vsdk_trio.options.room import TransportMode, WebRTCConfig
from vsdk_trio.rooms import AudioFrame, Room, RoomRequest, open_room
from vsdk_trio.rooms.loopback import tone
from vsdk_trio.rooms.playback import Speech
from vsdk_trio.rooms.webrtc.messages import Answer, Candidate, read_signal

from .contract import RoomContract, eventually, request

pytest.importorskip("aiortc", reason="needs the extra `webrtc`: tox -e videosdk")

pytestmark = pytest.mark.real


class Remote:
    """The other side of the connection. Its methods with `aio_` belong to asyncio's thread."""

    participant_id = "webrtc_peer"

    def __init__(self, thread: AioThread, speech: Speech) -> None:
        self._thread = thread
        self._speech = speech
        self._pc: Any = None
        self._channel: Any = None
        self._tasks: list[Any] = []
        self.heard: list[AudioFrame] = []
        self.messages: list[tuple[str, str]] = []

    async def aio_answer(self, offer: dict[str, str]) -> dict[str, str]:
        import asyncio

        from aiortc import (
            MediaStreamTrack,
            RTCConfiguration,
            RTCPeerConnection,
            RTCSessionDescription,
        )
        from aiortc.mediastreams import MediaStreamError

        from vsdk_trio.rooms.media import SpeechFrames, hear

        voice = SpeechFrames(self._speech)

        class Track(MediaStreamTrack):  # type: ignore[misc]
            kind = "audio"

            async def recv(self) -> Any:
                return await voice.next_frame()

        self._pc = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self._pc.addTrack(Track())

        @self._pc.on("track")
        def came(track: Any) -> None:
            self._tasks.append(
                asyncio.ensure_future(hear(track, "agent", self.heard.append, MediaStreamError))
            )

        @self._pc.on("datachannel")
        def opened(channel: Any) -> None:
            self._channel = channel
            channel.on("message", self._note)

        await self._pc.setRemoteDescription(RTCSessionDescription(**offer))
        await self._pc.setLocalDescription(await self._pc.createAnswer())
        made = self._pc.localDescription
        return {"sdp": made.sdp, "type": made.type}

    def _note(self, text: str) -> None:
        value = json.loads(text)
        self.messages.append((value["topic"], value["text"]))

    async def aio_close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await self._pc.close()

    async def speak(self, frequency: float, seconds: float) -> None:
        for frame in tone(frequency, seconds):
            await self._speech.put(frame.data)
            await trio.sleep(frame.seconds)

    async def send_message(self, text: str, topic: str) -> None:
        await eventually(lambda: self._channel is not None, "the channel was open")
        said = json.dumps({"type": "message", "topic": topic, "text": text})
        self._thread.call_soon(self._channel.send, said)

    async def leave(self) -> None:
        await self._thread.run(self.aio_close)

    cut = leave  # without a goodbye it takes ICE's own patience, 30 s


class WebRTCStage:
    sees_the_agent_leave = False

    def __init__(self, nursery: trio.Nursery, thread: AioThread) -> None:
        self._nursery = nursery
        self._thread = thread
        self._url = ""
        self._offers: list[tuple[dict[str, str], Callable[[str], Any]]] = []
        self.remotes: list[Remote] = []

    async def serve(self, *, task_status: trio.TaskStatus[None]) -> None:
        server = await self._nursery.start(serve_websocket, self._signal, "127.0.0.1", 0, None)
        self._url = f"ws://127.0.0.1:{server.port}/"
        task_status.started()

    async def _signal(self, asked: WebSocketRequest) -> None:
        try:
            ws = await asked.accept()
            self._offers.append((json.loads(await ws.get_message()), ws.send_message))
            await ws.get_message()
        except ConnectionClosed:
            pass

    @asynccontextmanager
    async def open_room(self, asked: RoomRequest) -> AsyncGenerator[Room, None]:
        asked.options.webrtc = WebRTCConfig(signaling_url=self._url, ice_servers=[])
        async with open_room(TransportMode.WEBRTC, asked) as room:
            yield room

    async def join(self, room: Room) -> Remote:
        await eventually(lambda: self._offers, "there was an offer")
        offer, answer = self._offers.pop()
        remote = Remote(self._thread, Speech())
        self.remotes.append(remote)
        await answer(json.dumps(await self._thread.run(remote.aio_answer, offer)))
        await eventually(lambda: room.participants, "they were connected")
        return remote

    def agent_is_there(self, room: Room) -> bool:
        raise NotImplementedError


class TestWebRTC(RoomContract):
    @pytest.fixture
    async def stage(self, nursery: trio.Nursery) -> AsyncGenerator[WebRTCStage, None]:
        async with open_aio_thread(name="remotes") as thread:
            stage = WebRTCStage(nursery, thread)
            await nursery.start(stage.serve)
            yield stage
            for remote in stage.remotes:
                await remote.leave()

    @pytest.fixture
    def clock(self) -> None:
        return None


def test_signals_are_read() -> None:
    assert read_signal('{"sdp": "v=0", "type": "answer"}') == Answer(sdp="v=0", kind="answer")
    for nothing in ("", "[]", "{", "{}", '{"sdp": 1, "type": "answer"}', '{"candidate": null}'):
        assert read_signal(nothing) is None
    assert read_signal('{"sdp": "v=0", "type": "offer"}') is None
    wanted = Candidate(text="candidate:1 ...", mid="0", line=0)
    flat = {"candidate": wanted.text, "sdpMid": "0", "sdpMLineIndex": 0}
    assert read_signal(json.dumps(flat)) == read_signal(json.dumps({"candidate": flat})) == wanted


def webrtc(**config: Any) -> AbstractAsyncContextManager[Room]:
    config = {"ice_servers": [], **config}
    codec = config.pop("codec", None)
    options = {"webrtc": WebRTCConfig(**config), "audio_codec": codec}
    return open_room(TransportMode.WEBRTC, request(**options))


@pytest.mark.parametrize(
    ("config", "error", "text"),
    [
        ({}, OptionsError, r"needs a signaling server: .*signaling_url"),
        ({"signaling_url": "ws://x", "signaling_type": "pigeon"}, OptionsError, "got 'pigeon'"),
        ({"signaling_url": "ws://127.0.0.1:1"}, RoomError, "no signaling: .*127.0.0.1:1"),
        ({"signaling_url": "ws://127.0.0.1:1", "codec": "mp3"}, RoomError, "one of .*opus.*'mp3'"),
    ],
)
async def test_what_cannot_be_joined_says_why(
    config: dict[str, Any], error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        async with webrtc(**config):
            pytest.fail("not reached")


async def test_signaling_that_ends_before_an_answer_ends_the_room(nursery: trio.Nursery) -> None:
    async def hang_up(asked: WebSocketRequest) -> None:
        ws = await asked.accept()
        await ws.get_message()
        await ws.send_message('{"sdp": "nonsense", "type": "answer"}')
        await trio.sleep(0.5)
        await ws.aclose()

    server = await nursery.start(serve_websocket, hang_up, "127.0.0.1", 0, None)
    with pytest.raises(RoomError, match="no peer has answered"):
        async with webrtc(signaling_url=f"ws://127.0.0.1:{server.port}/") as room:
            await trio.sleep(20)
    assert room.end_reason == "connection_lost"
