"""The fake room service as a whole: its ports, its REST API, its certificate, its rooms."""

from __future__ import annotations

import contextlib
import json
import secrets
import socket
import ssl
import tempfile
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import certifi
import h11
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
from .messages import Json, server_config
from .peer import SDKPeer
from .person import Person
from .plane import MediaPlane
from .room import FakeRoom, Faults, RefusedError


class GatedStream(trio.abc.Stream):
    """`stream` as it is, until `shut()`: from then on nothing comes, and what is sent is lost."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream
        self._shut = trio.Event()

    def shut(self) -> None:
        """Stand still from now on; the other side is not told."""
        self._shut.set()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        data = await self._stream.receive_some(max_bytes)
        if self._shut.is_set():
            await trio.sleep_forever()
        return data

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        if self._shut.is_set():
            await trio.lowlevel.checkpoint()
            return
        await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        await self._stream.aclose()


def make_certificate(host: str, ca_file: Path) -> ssl.SSLContext:
    """A server's TLS context for `host` and localhost; writes whom to trust to `ca_file`.

    The file also has the usual authorities, because a program that is pointed to it trusts nobody
    else. The private keys exist in memory only.
    """
    import trustme

    authority = trustme.CA()
    certificate = authority.issue_cert("localhost", "127.0.0.1", host)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    certificate.configure_cert(context)
    usual = Path(certifi.where()).read_bytes()
    ca_file.write_bytes(authority.cert_pem.bytes() + usual)
    return context


Handler = Callable[[str, str, Json], Awaitable[Json]]
"""Called with path, token and body; returns the answer's body, or raises a `RefusedError`."""

_REQUEST_SECONDS = 60.0
_MAX_BODY_BYTES = 1 << 16


async def serve_rest(stream: trio.abc.Stream, handler: Handler) -> None:
    """Answer one request and hang up."""
    connection = h11.Connection(h11.SERVER)
    async with stream:
        try:
            with trio.move_on_after(_REQUEST_SECONDS):
                status, body = await _answer(stream, connection, handler)
                await _send(stream, connection, status, body)
        except (h11.RemoteProtocolError, trio.BrokenResourceError):
            return  # it does not speak HTTP, or has hung up


async def _answer(
    stream: trio.abc.Stream, connection: h11.Connection, handler: Handler
) -> tuple[int, Json]:
    request, body = await _receive(stream, connection)
    token = dict(request.headers).get(b"authorization", b"").decode("latin-1")
    try:
        parsed = json.loads(body) if body else {}
    except ValueError:
        return 400, {"message": "the body is not JSON"}
    if request.method != b"POST" or not isinstance(parsed, dict):
        return 400, {"message": "expected a POST with an object"}
    try:
        return 200, await handler(request.target.decode("ascii", "replace"), token, parsed)
    except RefusedError as no:
        return no.status, {"message": no.message}


async def _receive(
    stream: trio.abc.Stream, connection: h11.Connection
) -> tuple[h11.Request, bytes]:
    request: Any = None
    body = b""
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(bytes(await stream.receive_some(65536)))
        elif isinstance(event, h11.Request):
            request = event
        elif isinstance(event, h11.Data):
            body += event.data
            if len(body) > _MAX_BODY_BYTES:
                raise h11.RemoteProtocolError("too large", error_status_hint=413)
        elif isinstance(event, h11.EndOfMessage):
            return request, body
        else:
            raise h11.RemoteProtocolError("hung up")


async def _send(
    stream: trio.abc.Stream, connection: h11.Connection, status: int, body: Json
) -> None:
    data = json.dumps(body).encode()
    headers = [
        ("content-type", "application/json"),
        ("content-length", str(len(data))),
        ("connection", "close"),
    ]
    response = h11.Response(status_code=status, headers=headers)
    parts = (response, h11.Data(data=data), h11.EndOfMessage())
    await stream.send_all(b"".join(connection.send(part) or b"" for part in parts))


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
        self._peers: set[SDKPeer] = set()
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
        """End every meeting, and wait until all members have left."""
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
            except RefusedError as no:
                await request.reject(no.status, body=no.message.encode())
                return
            await self._serve(request, query)

    async def _serve(self, request: WebSocketRequest, query: dict[str, str]) -> None:
        async with await request.accept(subprotocol="protoo") as ws:
            peer = SDKPeer(
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
        raise RefusedError(404, f"there is no {path}")

    def _check(self, token: str) -> None:
        if len(self.tokens_seen) < _MOST_TOKENS:
            self.tokens_seen.add(token)
        if self._tokens is not None and token not in self._tokens:
            raise RefusedError(401, "Token is invalid or expired")


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
