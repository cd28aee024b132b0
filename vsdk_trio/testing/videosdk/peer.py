"""An SDK in a room of the fake: its requests and notifications over its socket.

Knows the signaling and the room. Must not know REST, nor what is in a packet.
"""

from __future__ import annotations

import itertools
import json
import secrets
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import trio
from trio_websocket import ConnectionClosed, WebSocketConnection

from . import messages
from .messages import Json
from .plane import MediaPlane
from .room import FakeRoom, Faults, RefusedError, Track

_MOST_WAITING = 1000


class SDKPeer:
    """One connection of an SDK: a member of `room` once it has joined."""

    def __init__(
        self,
        ws: WebSocketConnection,
        room: FakeRoom,
        faults: Faults,
        plane: MediaPlane,
        *,
        peer_id: str,
        peer_type: str,
    ) -> None:
        self.peer_id = peer_id
        self.name = ""
        self._type = peer_type
        self._metadata: Json | None = None
        self._ws = ws
        self._room = room
        self._faults = faults
        self._plane = plane
        self._outbox, self._unsent = trio.open_memory_channel[str](_MOST_WAITING)
        self._numbers = itertools.count(1)
        self._mids = itertools.count()
        self._consumers: dict[str, tuple[str, Track, int, int]] = {}
        self._sending: Any = None  # the media transport by which it sends, once there is one
        self._receiving: Any = None
        self._transports: dict[str, Any] = {}
        self._media: trio.Nursery | None = None
        self._wants_tracks = True

    @property
    def info(self) -> Json:
        """See `Member`."""
        return messages.peer(self.peer_id, self.name, self._metadata, self._type)

    async def run(self) -> None:
        """Serve it until its socket closes."""
        try:
            async with trio.open_nursery() as nursery:
                self._media = nursery
                nursery.start_soon(self._send)
                await self._receive()
                nursery.cancel_scope.cancel()
        finally:
            self._room.leave(self)
            with trio.move_on_after(1, shield=True):
                for transport in self._transports.values():
                    await self._plane.run(transport.close)

    # What the room tells it.

    def tell(self, method: str, data: Json) -> None:
        """See `Member`."""
        self._post(messages.notification(method, data))

    def hear(self, track: Track, owner: str) -> None:
        """See `Member`."""
        if not self._wants_tracks:
            return
        key, ssrc = secrets.token_hex(8), secrets.randbits(31)
        codec = messages.router_codec(track.mime_type)
        mid = str(next(self._mids))
        self._consumers[key] = (owner, track, ssrc, codec["preferredPayloadType"])
        consumer = messages.new_consumer(key, track.id, track.kind, owner, codec, ssrc, mid)
        self._post(messages.request(next(self._numbers), "newConsumer", consumer))

    def unhear(self, track: Track) -> None:
        """See `Member`."""
        for key, (_, heard, _, _) in list(self._consumers.items()):
            if heard is track:
                self.tell("consumerClosed", {"consumerId": key})
                del self._consumers[key]
                self._plane.call_soon(partial(self._receiving.stop, key))

    def throw_out(self, reason: str) -> None:
        """See `Member`."""
        self._post(messages.request(next(self._numbers), "close", {"reason": reason}))

    def silence(self) -> None:
        """Its media stand still from now on."""
        for transport in self._transports.values():
            self._plane.call_soon(transport.silence)

    def _post(self, text: str) -> None:
        try:
            self._outbox.send_nowait(text)
        except trio.WouldBlock:  # it does not read: as a server would, hang up
            if self._media is not None:
                self._media.cancel_scope.cancel()

    # Its socket.

    async def _send(self) -> None:
        async for text in self._unsent:
            try:
                await self._ws.send_message(text)
            except ConnectionClosed:
                return

    async def _receive(self) -> None:
        while True:
            try:
                frame = json.loads(await self._ws.get_message())
            except ConnectionClosed:
                return
            if frame.get("request"):
                await self._answer(frame["id"], frame["method"], frame.get("data") or {})

    async def _answer(self, number: int, method: str, data: Json) -> None:
        handlers: dict[str, Callable[[Json], Awaitable[Json]]] = {
            "getRouterRtpCapabilities": self._capabilities,
            "createWebRtcTransport": self._create_transport,
            "connectWebRtcTransport": self._connect_transport,
            "requestEntry": self._enter,
            "join": self._join,
            "produce": self._produce,
            "produceData": self._produce_data,
            "closeProducer": self._close_producer,
            "resumeConsumer": self._resume_consumer,
            "pubsubSubscribe": self._subscribe,
            "pubsubPublish": self._publish,
            "removePeer": self._remove_peer,
            "closeRoom": self._close_room,
        }
        try:
            await self._faults.meet(method)
            handler = handlers.get(method) or partial(self._note, method)
            answer = await handler(data)
        except RefusedError as no:
            self._post(messages.refusal(number, no.status, no.message))
            return
        self._post(messages.answer(number, answer))
        if method == "join":
            self._room.join(self)
        elif method == "requestEntry":
            entry = {"peerId": self.peer_id, "sessionId": "session", "decision": "allowed"}
            self.tell("entryResponded", entry)

    # What it asks.

    async def _capabilities(self, _: Json) -> Json:
        return messages.ROUTER_CAPABILITIES

    async def _create_transport(self, data: Json) -> Json:
        transport, description = await self._plane.open_transport()
        self._transports[transport.id] = transport
        if data.get("producing"):
            self._sending = transport
        else:
            self._receiving = transport
        return description

    async def _connect_transport(self, data: Json) -> Json:
        transport = self._transports[data["transportId"]]
        await self._plane.run(transport.connect, data["dtlsParameters"])
        return {}

    async def _enter(self, _: Json) -> Json:
        return {}

    async def _join(self, data: Json) -> Json:
        self.name = data.get("displayName") or self.peer_id
        self._metadata = data.get("metaData")
        self._wants_tracks = bool(data.get("autoConsume", True))
        return {"peers": self._room.others(self), "messages": []}

    async def _produce(self, data: Json) -> Json:
        rtp = data["rtpParameters"]
        track = Track(data["kind"], rtp["codecs"][0]["mimeType"])
        await self._plane.run(self._transports[data["transportId"]].receive, track, rtp)
        self._room.start_track(self, track)
        return {"id": track.id}

    async def _produce_data(self, _: Json) -> Json:
        return {"id": secrets.token_hex(8)}

    async def _close_producer(self, data: Json) -> Json:
        self._room.stop_track(data["producerId"])
        return {}

    async def _resume_consumer(self, data: Json) -> Json:
        key = data["consumerId"]
        if key in self._consumers:
            _, track, ssrc, payload_type = self._consumers[key]
            await self._plane.run(self._receiving.forward, track, key, ssrc, payload_type)
        return {}

    async def _subscribe(self, data: Json) -> Json:
        self._room.subscribe(self.peer_id, data["topic"])
        return {"messages": []}

    async def _publish(self, data: Json) -> Json:
        self._room.publish(self, data["topic"], data["message"], data.get("payload"))
        return {}

    async def _remove_peer(self, data: Json) -> Json:
        self._room.remove(data["peerId"])
        return {}

    async def _close_room(self, _: Json) -> Json:
        self._room.end()
        return {}

    async def _note(self, method: str, data: Json) -> Json:
        self._room.requests.append((self.peer_id, method, data))
        return {}
