"""A WebSocket room keeps the contract of rooms, on a simulated network."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest
import trio
import trio.testing

from vsdk_trio.rooms import Room, RoomRequest
from vsdk_trio.rooms.hub import RoomHub
from vsdk_trio.rooms.joined import JoinedRoom, open_joined_room
from vsdk_trio.rooms.websocket import WebSocketTransport

from .contract import RoomContract
from .websocket_client import Client, connect


@asynccontextmanager
async def on_no_network(
    request: RoomRequest, hub: RoomHub
) -> AsyncGenerator[WebSocketTransport, None]:
    """What `open_websocket` does, without listening."""
    transport = WebSocketTransport(hub, request.options.websocket)
    async with trio.open_nursery() as nursery:
        transport.nursery = nursery  # type: ignore[attr-defined]  # for the stage, below
        yield transport
        nursery.cancel_scope.cancel()


class WebSocketStage:
    sees_the_agent_leave = True

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        self._clients: list[Client] = []

    def open_room(self, request: RoomRequest) -> AbstractAsyncContextManager[Room]:
        return open_joined_room(on_no_network, request)

    async def join(self, room: Room) -> Client:
        assert isinstance(room, JoinedRoom)
        ours, theirs = trio.testing.memory_stream_pair()
        room.transport.nursery.start_soon(room.transport.serve_stream, theirs)
        client = await connect(self._nursery, ours)
        await client.send(type="hello", sample_rate=48000, channels=1)
        self._clients.append(client)
        return client

    def agent_is_there(self, room: Room) -> bool:
        return self._clients[-1].close_code == 0


class TestWebSocket(RoomContract):
    @pytest.fixture
    async def stage(self, nursery: trio.Nursery) -> WebSocketStage:
        return WebSocketStage(nursery)

    @pytest.fixture
    def clock(self, autojump_clock: trio.testing.MockClock) -> trio.testing.MockClock:
        return autojump_clock
