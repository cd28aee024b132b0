"""The fake as a whole: its ports, its rooms, and the cutting of its wires.

Knows REST, the signaling and the media plane only as something to serve.
"""

from __future__ import annotations

import contextlib
import secrets
import socket
import tempfile
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import trio
from trio_websocket import (
    ConnectionClosed,
    HandshakeError,
    WebSocketRequest,
    wrap_server_stream,
)

from ...asyncio_bridge.thread import open_aio_thread
from ...http_server.server import bind_listeners
from ...system.threads import run_in_thread
from .certificate import make_certificate
from .faults import Faults, Refusal
from .gate import GatedStream
from .messages import Json, server_config
from .peer import Peer
from .person import Person
from .plane import MediaPlane
from .rest import serve_rest
from .room import FakeRoom

_CONFIG_PATH = "/infra/v1/meetings/server-init-config"
_RECORDINGS_PATH = "/v2/recordings/participant"
_HANDSHAKE_SECONDS = 10.0
_MOST_ROOMS = 1000
_MOST_TOKENS = 1000


class FakeVideoSDK:
    """A running fake. Open one with `open_fake_videosdk`.

    `signaling_base_url` is for `RoomOptions`; `ca_file` for the environment variable
    `REQUESTS_CA_BUNDLE` of the processes that join. `tokens_seen` is every token that was shown.
    """

    def __init__(self, plane: MediaPlane, ca_file: Path, tokens: frozenset[str] | None) -> None:
        self.faults = Faults()
        self.rooms: dict[str, FakeRoom] = {}
        self.ca_file = ca_file
        self.signaling_base_url = ""
        self.tokens_seen: set[str] = set()
        self._signaling_url = ""
        self._plane = plane
        self._tokens = tokens
        self._connections: dict[GatedStream, trio.CancelScope] = {}
        self._peers: set[Peer] = set()
        self._opened = trio.Event()

    def room(self, room_id: str) -> FakeRoom:
        """The room with this id, which exists from now on."""
        if room_id not in self.rooms:
            if len(self.rooms) >= _MOST_ROOMS:  # of those that somebody may still look into
                empty = [key for key, room in self.rooms.items() if not room.peer_ids]
                for key in empty[: len(self.rooms) // 2]:
                    del self.rooms[key]
            self.rooms[room_id] = FakeRoom(room_id, partial(Person, self._plane))
            self._opened.set()
            self._opened = trio.Event()
        return self.rooms[room_id]

    async def wait_for_room(self) -> FakeRoom:
        """Wait until there is a room, and return the newest."""
        while not self.rooms:
            await self._opened.wait()
        return list(self.rooms.values())[-1]

    async def end_all(self) -> None:
        """End every meeting, and wait until everybody has left."""
        for room in list(self.rooms.values()):
            room.end()
        for room in list(self.rooms.values()):
            for peer_id in room.peer_ids:
                await room.wait_gone(peer_id)

    def drop(self) -> None:
        """Break every connection, without a goodbye."""
        for scope in self._connections.values():
            scope.cancel()

    def silence(self) -> None:
        """Cut the network: connections stay, and nothing goes through them any more."""
        for stream in self._connections:
            stream.shut()
        for peer in self._peers:
            peer.silence()

    async def serve_rest(self, stream: trio.abc.Stream) -> None:
        """Serve one HTTPS connection."""
        await serve_rest(stream, self._rest)

    async def serve_signaling(self, stream: trio.abc.Stream) -> None:
        """Serve one connection of the signaling."""
        gated = GatedStream(stream)
        with trio.CancelScope() as scope:
            self._connections[gated] = scope
            try:
                async with trio.open_nursery() as nursery:
                    await self._shake_hands(nursery, gated)
                    nursery.cancel_scope.cancel()
            finally:
                del self._connections[gated]
                await trio.aclose_forcefully(stream)

    async def _shake_hands(self, nursery: trio.Nursery, stream: GatedStream) -> None:
        with contextlib.suppress(HandshakeError, ConnectionClosed, trio.BrokenResourceError):
            with trio.fail_after(_HANDSHAKE_SECONDS):
                request = await wrap_server_stream(nursery, stream)
            query = {
                name: values[0] for name, values in parse_qs(urlsplit(request.path).query).items()
            }
            try:
                await self.faults.meet("websocket")
                self._check(query.get("secret", ""))
            except Refusal as no:
                await request.reject(no.status, body=no.message.encode())
                return
            await self._serve(request, query)

    async def _serve(self, request: WebSocketRequest, query: dict[str, str]) -> None:
        async with await request.accept(subprotocol="protoo") as ws:
            peer = Peer(
                ws,
                self.room(query["roomId"]),
                self.faults,
                self._plane,
                peer_id=query["peerId"],
                peer_type=query.get("peerType", "normal"),
            )
            self._peers.add(peer)
            try:
                await peer.run()
            finally:
                self._peers.discard(peer)

    async def _rest(self, path: str, token: str, body: Json) -> Json:
        if path == "/v2/rooms":
            await self.faults.meet("rooms")
            self._check(token)
            room_id = "-".join(secrets.token_hex(2) for _ in range(3))
            self.room(room_id)
            return {"roomId": room_id}
        if path == _CONFIG_PATH:
            await self.faults.meet("server-init-config")
            self._check(token)
            return server_config(self._signaling_url, str(body.get("roomId", "")))
        if path.startswith(_RECORDINGS_PATH):
            await self.faults.meet("recordings")
            self._check(token)
            what = path.removeprefix(_RECORDINGS_PATH)
            room = self.room(str(body.get("roomId", "")))
            room.requests.append((str(body.get("participantId", "")), f"recording{what}", body))
            return {"message": "done"}
        raise Refusal(404, f"there is no {path}")

    def _check(self, token: str) -> None:
        if len(self.tokens_seen) < _MOST_TOKENS:
            self.tokens_seen.add(token)
        if self._tokens is not None and token not in self._tokens:
            raise Refusal(401, "Token is invalid or expired")


@asynccontextmanager
async def open_fake_videosdk(
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    tokens: frozenset[str] | None = None,
    ca_file: Path | None = None,
) -> AsyncGenerator[FakeVideoSDK, None]:
    """Serve a room service around the body. See the package.

    Arguments: `host`, a numeric address; `port`, of REST, 0 for any free one; `tokens`, the ones
    that are let in, all of them where it is None; `ca_file`, where to write whom to trust, a
    temporary file where it is None.

    Leaving breaks what is still connected. Raises `PortInUseError` where the port cannot be had.
    """
    (bound,) = await bind_listeners(host, port)
    rest = _listener(bound)
    (bound,) = await bind_listeners(host, 0)
    signaling = _listener(bound)
    async with (
        rest,
        signaling,
        _directory() as directory,
        open_aio_thread(name="fake media", close_seconds=1.0) as thread,
        trio.open_nursery() as nursery,
    ):
        ca_file = directory / "ca.pem" if ca_file is None else ca_file
        context = await run_in_thread("make a certificate", make_certificate, host, ca_file)
        fake = FakeVideoSDK(MediaPlane(thread, host), ca_file, tokens)
        fake._signaling_url = f"ws://{_address_of(signaling)}"
        fake.signaling_base_url = _address_of(rest)
        secure = trio.SSLListener(rest, context, https_compatible=True)
        await nursery.start(trio.serve_listeners, fake.serve_signaling, [signaling])
        await nursery.start(trio.serve_listeners, fake.serve_rest, [secure])
        yield fake
        nursery.cancel_scope.cancel()


def _listener(bound: socket.socket) -> trio.SocketListener:
    return trio.SocketListener(trio.socket.from_stdlib_socket(bound))


def _address_of(listener: trio.SocketListener) -> str:
    host, port = listener.socket.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


@asynccontextmanager
async def _directory() -> AsyncGenerator[Path, None]:
    with tempfile.TemporaryDirectory(prefix="vsdk-trio-rooms-") as name:
        yield Path(name)
