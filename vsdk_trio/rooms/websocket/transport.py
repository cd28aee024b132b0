"""Serves the room's WebSocket to one client at a time, and decides which web pages may connect."""

from __future__ import annotations

import errno
import ipaddress
from collections.abc import AsyncGenerator, Collection
from contextlib import asynccontextmanager, suppress
from urllib.parse import parse_qs, urlsplit

import attrs
import trio

from ..._exceptions import without_own_group
from ..._masking import peer_text
from ...errors import RoomError
from ...http_server.access import is_local_name
from ...http_server.server import accept_connections
from ...options.room import WebSocketConfig
from ...system.threads import starting_threads
from ...telemetry.logs.loggers import get_logger
from ...websocket.handshake import UpgradeRequest, receive_upgrade
from ...websocket.link import Link, LinkLost, ReaderSupervisor
from ..audio import AudioFrame
from ..base import RoomRequest
from ..events import Message
from ..hub import RoomHub
from . import wire
from .visitor import Visitor

_MOST_QUOTED = 100


@attrs.frozen
class OriginDenial:
    """An HTTP status, and what to do about it."""

    status: int
    message: str


def refuse(
    path: str, *, host: str, origin: str | None, wanted_path: str, origins: Collection[str]
) -> OriginDenial | None:
    """None for a client that may connect, else the reason of the refusal.

    Arguments: `path`, `host` and `origin`, as the request has them; `origins`, as the options do.
    """
    if path.partition("?")[0] != wanted_path:
        return OriginDenial(404, f"the room is at {wanted_path}")
    if origin is None:
        return None  # not a browser, so no web page is involved
    if "*" in origins or origin.lower() in {known.lower().rstrip("/") for known in origins}:
        return None
    if _is_page_of_this_machine(origin, host):
        return None
    quoted = peer_text(origin, most=_MOST_QUOTED)
    return OriginDenial(
        403,
        f"pages from {quoted} may not connect; to let them, list it in "
        "RoomOptions(websocket=WebSocketConfig(origins=[...]))",
    )


def name_in(path: str) -> str:
    """The `name` that a client gives itself in the query, fit to be shown; empty for none."""
    names = parse_qs(path.partition("?")[2]).get("name", [""])
    return peer_text(names[0], most=_MOST_QUOTED)


def _is_page_of_this_machine(origin: str, host: str) -> bool:
    """Whether page and socket are both on a host whose name others cannot control.

    A name could be made to point here while the page that uses it is somebody else's (DNS
    rebinding); an address, or `localhost`, could not.
    """
    try:
        page, here = urlsplit(origin).hostname, urlsplit(f"//{host}").hostname
    except ValueError:
        return False
    if not page or not here or not is_local_name(page) or not is_local_name(here):
        return False
    return page == here or (_is_loopback(page) and _is_loopback(here))


def _is_loopback(name: str) -> bool:
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost" or name.endswith(".localhost")


logger = get_logger(__name__)

UPGRADE_SECONDS = 10.0
GOODBYE_SECONDS = 2.0
MOST_STRANGERS = 16
"""Connections that have not yet said what they want; one more is closed at once."""

READ_AHEAD_FRAMES = 32
GOING_AWAY = 1001
OCCUPIED = 1013
"""The close code for "try again later"."""


@asynccontextmanager
async def open_websocket(
    request: RoomRequest, hub: RoomHub
) -> AsyncGenerator[WebSocketTransport, None]:
    """Listen where the options say (`RoomOptions.websocket`) until the room is left.

    Raises `RoomError` where the port is taken, or the host is not this machine's.
    """
    config = request.options.websocket
    listeners = await _listen(config)
    transport = WebSocketTransport(hub, config)
    host, port = listeners[0].socket.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    hub.address = f"ws://{shown}:{port}{config.path}"
    logger.info("the room %s is at %s", request.room_id, hub.address)
    with without_own_group():
        async with trio.open_nursery() as nursery:
            for listener in listeners:
                nursery.start_soon(accept_connections, listener, transport.serve_stream, nursery)
            yield transport
            nursery.cancel_scope.cancel()


async def _listen(config: WebSocketConfig) -> list[trio.SocketListener]:
    where = f"{config.host}:{config.port}"
    try:
        with starting_threads(f"look up {config.host}"):
            return await trio.open_tcp_listeners(config.port, host=config.host)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise RoomError(
                f"the room cannot listen on {where}: the port is taken, perhaps by another job; "
                "RoomOptions(websocket=WebSocketConfig(port=0)) picks a free one and says which"
            ) from None
        raise RoomError(f"the room cannot listen on {where}: {error}") from None


class WebSocketTransport:
    """See `Transport`."""

    playback = wire.AGENT_FORMAT

    def __init__(self, hub: RoomHub, config: WebSocketConfig) -> None:
        self._hub = hub
        self._config = config
        self._visitor: Visitor | None = None
        self._strangers = 0

    async def send_audio(self, frame: AudioFrame) -> None:
        """See `Transport`."""
        if self._visitor is None:
            await trio.lowlevel.checkpoint()
        else:
            await self._visitor.hear(frame.data)

    def interrupt(self) -> None:
        """See `Transport`."""
        if self._visitor is not None:
            self._visitor.interrupt()

    async def send_message(self, text: str, topic: str) -> None:
        """See `Transport`."""
        own = self._hub.request
        await self._tell(
            wire.message(
                Message(topic=topic, text=text, sender_id=own.participant_id, sender_name=own.name)
            )
        )

    async def subscribe(self, topic: str) -> None:
        """See `Transport`; everything comes here anyway."""
        await trio.lowlevel.checkpoint()

    async def update_metadata(self, metadata: str) -> None:
        """See `Transport`."""
        await self._tell(wire.metadata(metadata))

    async def _tell(self, text: str) -> None:
        if self._visitor is None:
            await trio.lowlevel.checkpoint()
        else:
            await self._visitor.read(text)

    async def serve_stream(self, stream: trio.abc.Stream) -> None:
        """Serve one connection, of a socket or of a simulated network, to its end."""
        if self._strangers >= MOST_STRANGERS:
            await trio.aclose_forcefully(stream)
            return
        with without_own_group():
            async with trio.open_nursery() as nursery:
                supervisor = ReaderSupervisor(nursery)
                try:
                    await self._serve(stream, supervisor)
                finally:
                    supervisor.stop()
                    with trio.move_on_after(GOODBYE_SECONDS, shield=True):
                        await trio.aclose_forcefully(stream)

    async def _serve(self, stream: trio.abc.Stream, supervisor: ReaderSupervisor) -> None:
        link: Link | None = None
        name = ""
        self._strangers += 1
        try:
            with trio.move_on_after(UPGRADE_SECONDS), supervisor.while_reading():
                request = await receive_upgrade(
                    stream,
                    supervisor,
                    queue_length=READ_AHEAD_FRAMES,
                    max_message_bytes=wire.MOST_BYTES,
                )
                name = name_in(request.path) or "Client"
                link = await self._let_in(request)
        finally:
            self._strangers -= 1
        if link is not None:
            await self._be_host(link, name)

    async def _let_in(self, request: UpgradeRequest) -> Link | None:
        denial = refuse(
            request.path,
            host=request.host,
            origin=request.origin,
            wanted_path=self._config.path,
            origins=self._config.origins,
        )
        with suppress(LinkLost):  # it has left already
            if denial is None:
                return await request.accept()
            logger.warning("a client was refused: %s", denial.message)
            await request.reject(denial.status, denial.message)
        return None

    async def _be_host(self, link: Link, name: str) -> None:
        code, reason = 1000, "the agent has left"
        try:
            # Said after the upgrade, because a page learns nothing of an HTTP error.
            if self._visitor is not None:
                code, reason = OCCUPIED, "another client is connected to this agent"
                return
            if self._hub.end_reason is not None:
                code, reason = GOING_AWAY, "the session has ended"
                return
            self._visitor = Visitor(link, self._hub, name)
            try:
                await self._visitor.stay()
            finally:
                self._visitor = None
        finally:
            with trio.move_on_after(GOODBYE_SECONDS, shield=True):
                await link.say_goodbye(code, reason)
