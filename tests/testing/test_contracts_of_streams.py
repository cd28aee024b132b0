"""The simulated streams and the real ones keep the same contract: trio's own checks of streams."""

from __future__ import annotations

import os
import random
from typing import Any

import pytest
import trio
import trio.testing

from vsdk_trio.testing.network import Connection, Weather
from vsdk_trio.testing.pipes import Agenda, Pipe

WEATHERS = {
    "calm": Weather(),
    "rough": Weather(delay_seconds=0.05, jitter_seconds=0.2, split_share=0.5),
    "slow": Weather(delay_seconds=0.01, bytes_per_second=5000),
}


@pytest.mark.parametrize("weather", WEATHERS)
async def test_a_simulated_connection_is_a_stream(
    weather: str, autojump_clock: trio.testing.MockClock
) -> None:
    async with trio.open_nursery() as nursery:
        agenda = Agenda()
        nursery.start_soon(agenda.run)

        async def make() -> tuple[Any, Any]:
            connection = Connection(agenda, WEATHERS[weather], random.Random(1))
            return connection.dialing_end, connection.serving_end

        async def make_clogged() -> tuple[Any, Any]:
            ends = await make()
            with trio.move_on_after(100):
                while True:
                    await ends[0].send_all(b"x" * 100_000)
            with trio.move_on_after(100):
                while True:
                    await ends[1].send_all(b"x" * 100_000)
            return ends

        await trio.testing.check_half_closeable_stream(make, make_clogged)
        nursery.cancel_scope.cancel()


@pytest.mark.real
async def test_a_tcp_connection_is_a_stream() -> None:
    [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listener.socket.getsockname()[1]

    async def make() -> tuple[Any, Any]:
        found: list[trio.SocketStream] = []

        async def accept() -> None:
            found.append(await listener.accept())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(accept)
            client = await trio.open_tcp_stream("127.0.0.1", port)
        return client, found[0]

    async with listener:
        await trio.testing.check_half_closeable_stream(make, None)


async def test_a_simulated_pipe_is_a_stream(autojump_clock: trio.testing.MockClock) -> None:
    async def make() -> tuple[Any, Any]:
        pipe = Pipe(capacity=4096)
        return pipe.sender, pipe.receiver

    async def make_clogged() -> tuple[Any, Any]:
        ends = await make()
        with trio.move_on_after(1):
            await ends[0].send_all(b"x" * 10_000)
        return ends

    await trio.testing.check_one_way_stream(make, make_clogged)


@pytest.mark.real
async def test_an_os_pipe_is_a_stream() -> None:
    async def make() -> tuple[Any, Any]:
        receive, send = os.pipe()
        return trio.lowlevel.FdStream(send), trio.lowlevel.FdStream(receive)

    await trio.testing.check_one_way_stream(make, None)
