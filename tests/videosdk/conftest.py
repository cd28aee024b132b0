"""A room service of one's own, and a way into it."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest

from vsdk_trio.options.room import RoomOptions, TransportMode
from vsdk_trio.options.worker import WorkerPermissions
from vsdk_trio.rooms import Room, RoomRequest, open_room

TOKEN = "eyJhbGciOiJIUzI1NiJ9.a-token-of-a-job.signature"

Enter = Callable[..., AbstractAsyncContextManager[Room]]


@pytest.fixture
async def fake(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Any]:
    from vsdk_trio.testing.videosdk import open_fake_videosdk

    async with open_fake_videosdk(tokens=frozenset({TOKEN})) as running:
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(running.ca_file))
        yield running


@pytest.fixture
def enter(fake: Any) -> Enter:
    """Opens a room as a job does; its arguments are of the request, the rest room options."""

    def enter(
        participant_id: str = "agent",
        *,
        token: str = TOKEN,
        permissions: WorkerPermissions | None = None,
        **options: Any,
    ) -> AbstractAsyncContextManager[Room]:
        options.setdefault("signaling_base_url", fake.signaling_base_url)
        request = RoomRequest(
            room_id="room",
            participant_id=participant_id,
            token=token,
            permissions=permissions or WorkerPermissions(),
            options=RoomOptions(**options),
        )
        return open_room(TransportMode.VIDEOSDK, request)

    return enter


@pytest.fixture
def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port
