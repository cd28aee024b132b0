"""The fake registry, seen through a plain WebSocket client that shares no code with it."""

from __future__ import annotations

import json

import pytest
import trio
import trio.testing
from trio_websocket import ConnectionClosed, ConnectionRejected, wrap_client_stream

from vsdk_trio.errors import ConnectError
from vsdk_trio.testing import MemoryDialer, Rejection, open_fake_registry


async def connect(nursery, registry):
    stream = await registry.dialer.dial("r.test", 80)
    return await wrap_client_stream(nursery, stream, "r.test", "/agent")


async def test_it_registers_and_answers_pings(autojump_clock, nursery):
    async with open_fake_registry() as registry:
        ws = await connect(nursery, registry)
        session = await registry.next_session()
        for worker_id, wanted in (("", "worker-1"), ("mine", "mine")):
            await ws.send_message(json.dumps({"type": "register", "worker_id": worker_id}))
            assert json.loads(await ws.get_message()) == {
                "type": "register",
                "success": True,
                "worker_id": wanted,
            }
        await ws.send_message('{"type": "ping", "timestamp": 5}')
        assert json.loads(await ws.get_message()) == {"type": "pong", "timestamp": 5}
        assert session.types == ["register", "register", "ping"]
        assert (await session.expect("register", worker_id="mine"))["worker_id"] == "mine"
        await ws.aclose()
        assert await session.wait_closed() == 1000
        with pytest.raises(ConnectionClosed):
            await session.expect("status_update")


async def test_it_rejects_closes_and_drops_as_told(autojump_clock):
    async with open_fake_registry() as registry:
        registry.rejections.append(Rejection(status=418, headers=(("X-A", "b"),), body=b"no"))
        with pytest.RaisesGroup(ConnectionRejected):
            async with trio.open_nursery() as nursery:
                await connect(nursery, registry)
        async with trio.open_nursery() as nursery:
            ws = await connect(nursery, registry)
            await (await registry.next_session()).close(4000, "told")
            with pytest.raises(ConnectionClosed, match="4000"):
                await ws.get_message()
            ws = await connect(nursery, registry)
            session = await registry.next_session()
            await session.drop()
            assert await session.wait_closed() == 1006
            with pytest.raises(ConnectionClosed, match="1006"):
                await ws.get_message()


async def test_its_end_closes_with_1001(autojump_clock, nursery):
    async with open_fake_registry() as registry:
        ws = await connect(nursery, registry)
        await registry.next_session()
    with pytest.raises(ConnectionClosed, match="1001"):
        await ws.get_message()


async def test_a_deaf_registry_answers_nothing(autojump_clock, nursery):
    async with open_fake_registry() as registry:
        ws = await connect(nursery, registry)
        registry.is_deaf = True
        await ws.send_message('{"type": "ping"}')
        with trio.move_on_after(100) as scope:
            await ws.get_message()
        assert scope.cancelled_caught


async def test_a_dialer_as_scripted(autojump_clock, nursery):
    dialer = MemoryDialer(trio.aclose_forcefully, nursery)
    dialer.failures.append(KeyError("scripted"))
    with pytest.raises(KeyError):
        await dialer.dial("h", 1)
    dialer.is_up = False
    with pytest.raises(ConnectError, match="down"):
        await dialer.dial("h", 2)
    dialer.is_silent = True
    with trio.move_on_after(1):
        await dialer.dial("h", 3)
    assert dialer.dialed == [(0, "h", 1), (0, "h", 2), (0, "h", 3)]


async def test_an_error_in_its_block_comes_out_as_it_is(autojump_clock):
    with pytest.raises(KeyError, match="mine"):
        async with open_fake_registry():
            raise KeyError("mine")


UPGRADE = (
    b"GET /agent HTTP/1.1\r\nHost: r\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


@pytest.mark.parametrize("rejections", [[], [Rejection(status=503, body=b"not now")]])
async def test_a_client_may_leave_at_any_moment(autojump_clock, rejections):
    for step in range(40):
        async with open_fake_registry() as registry:
            registry.rejections.extend(rejections)
            stream = await registry.dialer.dial("r", 80)
            await stream.send_all(UPGRADE)
            for _ in range(step):
                await trio.lowlevel.checkpoint()
            await trio.aclose_forcefully(stream)
            await trio.testing.wait_all_tasks_blocked()
