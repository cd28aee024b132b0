"""Objects of the published package, handed to our classes: read field by field."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Iterator

import pytest

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # what it imports is not ours to mend
    from videosdk import agents

import vsdk_trio

pytestmark = pytest.mark.filterwarnings("default")  # its warnings are not ours to forbid


async def entrypoint(ctx: object) -> None:
    """Known by its name."""


def test_its_options_are_read() -> None:
    given = agents.Options(agent_id="theirs", max_processes=3, auth_token="t", register=True)
    own = vsdk_trio.WorkerJob(entrypoint, options=given).options
    assert (own.agent_id, own.max_processes, own.auth_token, own.register) == (
        "theirs",
        3,
        "t",
        True,
    )
    assert own.permissions == vsdk_trio.WorkerPermissions()


def test_its_default_room_options_are_our_defaults() -> None:
    own = vsdk_trio.JobContext(room_options=agents.RoomOptions()).room_options
    assert own == vsdk_trio.RoomOptions()


@pytest.fixture
def an_event_loop() -> Iterator[None]:
    """The package's context wants one; a test that ran asyncio before has unset the default."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    yield
    asyncio.set_event_loop(None)
    loop.close()


def test_its_context_is_read(an_event_loop: None) -> None:
    socket = agents.WebSocketConfig(port=9)
    room = agents.RoomOptions(name="Ada", transport_mode="websocket", websocket=socket)
    job = vsdk_trio.WorkerJob(
        entrypoint, jobctx=lambda: agents.JobContext(room_options=room, metadata={"k": "v"})
    )
    own = job.context()
    assert (own.room_options.name, own.metadata) == ("Ada", {"k": "v"})
    assert own.room_options.transport_mode is vsdk_trio.TransportMode.WEBSOCKET
    assert own.room_options.websocket == vsdk_trio.WebSocketConfig(port=9)
